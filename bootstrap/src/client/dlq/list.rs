//! `spillway dlq list` and `spillway dlq show`.

use std::time::Instant;

use clap::{Args, ValueEnum, ValueHint};
use jiff::Zoned;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::api::Api;
use super::super::connection::Connection;
use super::super::escape::{escaped, escaped_trace_line};
use super::super::event::Event;
use super::super::event_writer::json_line;
use super::super::failure::Failure;
use super::super::numbers::parse_number;
use super::super::output::Output;
use super::super::parameters::Parameters;
use super::super::times::{now, shown};
use super::conditions::Conditions;
use crate::send::grouped;

/// Maximum dead letters of a page, as in the API.
const PAGE_LETTERS_MAX: u64 = 1_000;
/// The fields of a dead letter that `show` prints before its key and value.
const FIELDS: [&str; 9] =
    ["id", "reason", "at", "redrivenAt", "topic", "partition", "offset", "recordIndex", "attempts"];

/// The format of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// JSON, one per line, as the API gives it
    Json,
}

/// Options of `spillway dlq list`.
#[derive(Args, Clone, Debug)]
pub struct ListOptions {
    #[command(flatten)]
    conditions: Conditions,
    /// Only those that were sent again (true), or that were not (false)
    #[arg(long, value_name = "BOOL")]
    redriven: Option<bool>,
    /// Maximum number; 0 for all
    #[arg(short = 'n', long, value_name = "LETTERS", default_value_t = 100, value_parser = parse_number::<u64>)]
    limit: u64,
    #[command(flatten)]
    showing: Showing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// Options of `spillway dlq show`.
#[derive(Args, Clone, Debug)]
pub struct ShowOptions {
    /// Number of the dead letter: the first column of spillway dlq list
    #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = parse_id)]
    id: u64,
    #[command(flatten)]
    showing: Showing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args, Clone, Debug)]
struct Showing {
    /// Format of the dead letters
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
    /// Show and read times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
}

/// A page of dead letters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    dead_letters: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<u64>,
    /// How many match, up to a limit of the server; on the first page only, and `None` where counting takes too long.
    #[serde(default)]
    total: Option<u64>,
    /// Whether more than `total` match.
    #[serde(default)]
    more_than_total: bool,
}

/// How many dead letters were listed, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Listed {
    letters: u64,
    /// Whether there are more.
    more: bool,
    total: Option<u64>,
    more_than_total: bool,
}

/// Runs `spillway dlq list`.
///
/// # Errors
/// See [`Failure`].
pub async fn list(options: ListOptions, output: &mut Output) -> Result<(), Failure> {
    let (began, api, now) = (Instant::now(), Api::new(&options.connection)?, now(options.showing.utc));
    let parameters = options.parameters(&now)?;
    let limit = if options.limit == 0 { u64::MAX } else { options.limit };
    let (mut cursor, mut listed): (Option<u64>, Listed) = (None, Listed::default());
    loop {
        let mut parameters = parameters.with("limit", &(limit - listed.letters).min(PAGE_LETTERS_MAX).to_string());
        parameters.add_some("cursor", cursor.map(|cursor| cursor.to_string()).as_deref());
        let page = api.get_json::<Page>("/api/dlq", &parameters).await;
        let page = page.map_err(|failure| if output.has_data() { failure.after_output() } else { failure })?;
        for letter in &page.dead_letters {
            match options.showing.output {
                Format::Json => output.write(json_line(letter.get(), output.is_terminal()).as_bytes())?,
                Format::Text => output.write(line(&Event::of(letter), &now).as_bytes())?,
            }
        }
        if cursor.is_none() {
            (listed.total, listed.more_than_total) = (page.total, page.more_than_total);
        }
        listed.letters = listed.letters.saturating_add(page.dead_letters.len() as u64);
        match page.next_cursor {
            Some(next) if listed.letters < limit => cursor = Some(next),
            next => {
                listed.more = next.is_some();
                break;
            }
        }
    }
    output.flush()?;
    output.note(note(listed, began.elapsed().as_millis()));
    Ok(())
}

fn note(listed: Listed, millis: u128) -> String {
    let Listed { letters, more, total, more_than_total } = listed;
    let more_than = if more_than_total { "more than " } else { "" };
    let (of_total, counted) = match total {
        Some(total) if more => (format!(" of {more_than}{}", grouped(total)), total),
        _ => (String::new(), letters),
    };
    let plural = if counted == 1 { "" } else { "s" };
    let hint = if more { "; there are more, -n 0 shows all" } else { "" };
    format!("-- {}{of_total} dead letter{plural}, {millis} ms{hint}", grouped(letters))
}

/// Runs `spillway dlq show`.
///
/// # Errors
/// See [`Failure`]; or there is no such dead letter.
pub async fn show(options: ShowOptions, output: &mut Output) -> Result<(), Failure> {
    let (api, now) = (Api::new(&options.connection)?, now(options.showing.utc));
    let letter = find(&api, options.id).await?;
    match options.showing.output {
        Format::Json => output.write(json_line(letter.get(), output.is_terminal()).as_bytes())?,
        Format::Text => output.write(details(&Event::of(&letter), &now).as_bytes())?,
    }
    output.flush()
}

/// The dead letter with this number.
///
/// # Errors
/// There is none, or the request fails.
pub async fn find(api: &Api, id: u64) -> Result<Box<RawValue>, Failure> {
    let mut parameters = Parameters::default();
    parameters.add("id", &id.to_string());
    let page: Page = api.get_json("/api/dlq", &parameters).await?;
    page.dead_letters.into_iter().next().ok_or_else(|| {
        Failure::Other(format!("the server has no dead letter {id}: spillway dlq list shows those that are kept"))
    })
}

/// Parses the number of a dead letter.
///
/// # Errors
/// Any other text, such as a place in a topic.
pub fn parse_id(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "not the number of a dead letter: it is the first column of `spillway dlq list`")
}

impl ListOptions {
    fn parameters(&self, now: &Zoned) -> Result<Parameters, Failure> {
        let mut parameters = Parameters::default();
        let (from, to) = self.conditions.range(now)?;
        parameters.add_some("topic", self.conditions.topic.as_deref());
        parameters.add_some("partition", self.conditions.partition.map(|number| number.to_string()).as_deref());
        parameters.add_some("from", from.as_deref());
        parameters.add_some("to", to.as_deref());
        parameters.add_some("redriven", self.redriven.map(|redriven| redriven.to_string()).as_deref());
        Ok(parameters)
    }
}

/// A dead letter on one line.
fn line(letter: &Event<'_>, now: &Zoned) -> String {
    let text = |name| escaped(&letter.text(name)).into_owned();
    let (id, at) = (text("id"), escaped(&shown(&letter.text("at"), now, false)).into_owned());
    let redriven = if letter.field("redrivenAt").is_some() { "  (redriven)" } else { "" };
    let (topic, partition, offset, reason) = (text("topic"), text("partition"), text("offset"), text("reason"));
    // Only an event of a packed record has an index.
    let index = letter.field("recordIndex").filter(|index| index != "0");
    let index = index.map(|index| format!("#{}", escaped(&index))).unwrap_or_default();
    format!("{id:>6}  {at}  {topic}/{partition}@{offset}{index}  {reason}{redriven}\n")
}

/// All of a dead letter.
fn details(letter: &Event<'_>, now: &Zoned) -> String {
    let mut text = String::new();
    for name in FIELDS {
        let Some(value) = letter.field(name) else { continue };
        let value = if matches!(name, "at" | "redrivenAt") { shown(&value, now, true) } else { value };
        text.push_str(&format!("{name:<11}  {}\n", escaped(&value)));
    }
    let encoding = letter.text("encoding");
    for name in ["key", "value"] {
        text.push_str(&format!("{name} ({}):\n", escaped(&encoding)));
        for line in letter.text(name).lines() {
            text.push_str(&format!("    {}\n", escaped_trace_line(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::test_server::{TestServer, reply};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: ListOptions,
    }

    #[test]
    fn the_note_counts_and_has_the_total_where_not_all_are_listed() {
        let all = Listed { letters: 1, more: false, total: Some(1), more_than_total: false };
        assert_eq!(note(all, 3), "-- 1 dead letter, 3 ms");
        let some = Listed { letters: 1, more: true, total: Some(2_500), more_than_total: false };
        assert_eq!(note(some, 3), "-- 1 of 2,500 dead letters, 3 ms; there are more, -n 0 shows all");
        let many = Listed { letters: 100, more: true, total: Some(10_000), more_than_total: true };
        assert_eq!(note(many, 3), "-- 100 of more than 10,000 dead letters, 3 ms; there are more, -n 0 shows all");
        let uncounted = Listed { total: None, more_than_total: false, ..many };
        assert_eq!(note(uncounted, 3), "-- 100 dead letters, 3 ms; there are more, -n 0 shows all");
        // Dead letters that were found meanwhile are not in the total.
        let grown = Listed { letters: 3_000, more: false, ..some };
        assert_eq!(note(grown, 3), "-- 3,000 dead letters, 3 ms");
    }

    #[tokio::test]
    async fn the_total_is_that_of_the_first_page() {
        let page = |total: &str, cursor: &str| {
            reply(
                200,
                &format!(
                    r#"{{"deadLetters":[{{"id":7}}],"nextCursor":{cursor},"total":{total},"moreThanTotal":false}}"#
                ),
            )
        };
        let server = TestServer::start(vec![page("5", "7"), page("null", "8")]).await;
        let arguments = ["list", "--url", &server.url, "-n", "2", "-o", "json"];
        let options = Arguments::try_parse_from(arguments).unwrap().options;
        let (mut output, written) = Output::in_memory();
        list(options, &mut output).await.unwrap();
        assert_eq!(written.text().lines().count(), 2);
        let notes = output.notes();
        assert!(notes[0].starts_with("-- 2 of 5 dead letters, "), "{notes:?}");
        assert!(server.requests()[1].starts_with("GET /api/dlq?limit=1&cursor=7 "), "{:?}", server.requests());
    }

    #[test]
    fn a_dead_letter_has_a_number() {
        assert_eq!(parse_id("7"), Ok(7));
        assert!(parse_id("logs/2@41#3").is_err_and(|reason| reason.contains("first column")));
    }

    #[test]
    fn dead_letters_are_shown_without_control_characters() {
        let json = r#"{"id":7,"group":"g","topic":"logs","partition":2,"offset":41,"key":"k","value":"{\n\tx\u001b","encoding":"text",
            "reason":"not an event\r","at":"2024-01-15T10:30:00.5Z","attempts":0}"#;
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        let letter = Event::of(&raw);
        assert_eq!(line(&letter, &now(true)), "     7  2024-01-15 10:30:00  logs/2@41  not an event\\r\n");
        let packed: Box<RawValue> = serde_json::from_str(&json.replace("41,", "41,\"recordIndex\":3,")).unwrap();
        assert_eq!(
            line(&Event::of(&packed), &now(true)),
            "     7  2024-01-15 10:30:00  logs/2@41#3  not an event\\r\n"
        );
        let details = details(&letter, &now(true));
        assert!(
            details.starts_with("id           7\nreason       not an event\\r\nat           2024-01-15 10:30:00.500\n"),
            "{details}"
        );
        assert!(details.ends_with("key (text):\n    k\nvalue (text):\n    {\n        x\\x1b\n"), "{details}");
    }
}
