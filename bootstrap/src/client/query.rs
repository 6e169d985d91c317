//! `spillway query`: searches stored events.
//!
//! * Events are shown oldest first. The newest ones within `--limit` are fetched first and held; with `--reverse`, without
//!   a limit, and beyond [`HELD_EVENTS_MAX`], the oldest ones are fetched and nothing is held but one page.
//! * A page that fails after others were written makes the output incomplete, with an exit code of its own.

use std::time::Instant;

use clap::Args;
use domain::Uuid;
use jiff::Zoned;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::Api;
use super::connection::Connection;
use super::escape::printable;
use super::event_writer::{EventWriter, Showing};
use super::failure::Failure;
use super::filters::Filters;
use super::numbers::{number_of, parse_number};
use super::output::Output;
use super::parameters::Parameters;
use super::times::now;
use super::topics::query_language;
use crate::send::grouped;

/// Maximum events of a page, as in the API.
const PAGE_EVENTS_MAX: u64 = 1_000;
/// Maximum events that are held to be shown in the other order.
const HELD_EVENTS_MAX: u64 = 10_000;
/// Maximum bytes of these.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the server says of an id that no event has.
const NO_EVENT: &str = "no event has this id";
/// Maximum hints of the server that are shown.
const HINTS_MAX: usize = 4;
/// Maximum neighbours of an event on each side, as in the API.
const NEIGHBOURS_MAX: u16 = 500;

/// The text after the options in `-h`.
const AFTER_HELP: &str = "\
Events are shown oldest first: the newest ones that fit --limit, or with --reverse, --limit 0 or more than 10,000 the
oldest ones. Without --since and --until, only events of the last hour are searched; -S first searches all events.

Examples:
  spillway query -l ERROR,FATAL -S 15m
  spillway query -s checkout -S today '\"payment timeout\" userId:12345'
  spillway query -t 4bf92f3577b34da6a3ce929d0e0e4736 -S 2d --fields userId,http.status
  spillway query -S 1d -n 0 -o json > events.ndjson
  spillway query --id 01a20f37-31cf-76dd-a6da-0300122616c3 --context 5

Exit codes: 0 success, 1 failure, 3 nothing found (with --exit-status), 64 usage, 69 server not reachable, 75 output
incomplete, 77 not allowed, 130 interrupted.";

/// Options of `spillway query`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP, after_long_help = long_help())]
pub struct Options {
    /// Which events.
    #[command(flatten)]
    pub filters: Filters,
    /// Maximum number of events; 0 for all
    #[arg(short = 'n', long, value_name = "EVENTS", default_value_t = 100, value_parser = parse_number::<u64>)]
    limit: u64,
    /// Begin with the oldest events instead of the newest ones
    #[arg(long)]
    reverse: bool,
    /// Show the event with this id
    #[arg(long, value_name = "UUID", conflicts_with_all = ["query", "source", "level", "trace", "since", "until", "reverse"])]
    id: Option<Uuid>,
    /// Also show this number of events of the same source before and after it: 0 to 500
    // `requires` alone is waived for what conflicts with `--id`.
    #[arg(long, value_name = "EVENTS", value_parser = number_of(0..=NEIGHBOURS_MAX), requires = "id", conflicts_with_all = ["query", "source", "level", "trace", "since", "until", "reverse"])]
    context: Option<u16>,
    #[command(flatten)]
    showing: Showing,
    /// Exit with 3 if nothing was found
    #[arg(long)]
    exit_status: bool,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// A page of events.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Its events, as JSON.
    pub events: Vec<Box<RawValue>>,
    /// Asks for the next page; `None` on the last one.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// What may be meant instead, if nothing was found.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// The newest events, oldest first.
pub struct Newest {
    /// As JSON.
    pub events: Vec<Box<RawValue>>,
    has_older: bool,
    hints: Vec<String>,
}

/// An event and its neighbours.
#[derive(Deserialize)]
struct Context {
    before: Vec<Box<RawValue>>,
    event: Box<RawValue>,
    after: Vec<Box<RawValue>>,
}

/// How many events were found.
struct Found {
    events: u64,
    left_out: LeftOut,
    /// What the server says of a search that finds nothing.
    hints: Vec<String>,
}

/// Which events were found and are not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftOut {
    None,
    Older,
    Newer,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(options: Options, output: &mut Output) -> Result<(), Failure> {
    let (began, api) = (Instant::now(), Api::new(&options.connection)?);
    let now = now(options.showing.utc);
    let writer = EventWriter::new(&options.showing, options.connection.has_color(), now.clone())?;
    let found = match options.id {
        Some(id) => match show_one(&api, id, options.context, &writer, output).await {
            Err(Failure::Other(message)) if options.exit_status && message.starts_with(NO_EVENT) => {
                Found { events: 0, left_out: LeftOut::None, hints: Vec::new() }
            }
            shown => shown?,
        },
        None => search(&api, &options, &now, &writer, output).await?,
    };
    let range = if options.id.is_none() { options.filters.or_last_hour().range_in_words() } else { String::new() };
    output.flush()?;
    output.note(note(&found, &range, began.elapsed().as_millis()));
    found.hints.iter().take(HINTS_MAX).for_each(|hint| output.note(format!("-- {}", printable(hint))));
    if let Some(doubt) = options.filters.doubt().filter(|_| found.events == 0) {
        output.note(doubt.to_owned());
    }
    if options.exit_status && found.events == 0 { Err(Failure::NothingFound) } else { Ok(()) }
}

fn note(found: &Found, range: &str, millis: u128) -> String {
    let millis = grouped(u64::try_from(millis).unwrap_or(u64::MAX));
    let left_out = match found.left_out {
        LeftOut::None => "",
        LeftOut::Older => "; only the newest ones, -n 0 shows all",
        LeftOut::Newer => "; only the oldest ones, -n 0 shows all",
    };
    format!("-- {}{range}, {millis} ms{left_out}", counted(found.events))
}

/// A number of events in words.
#[must_use]
pub fn counted(events: u64) -> String {
    format!("{} event{}", grouped(events), if events == 1 { "" } else { "s" })
}

/// A number of events in words; of occurrences, if a field may have several values in an event, which counts for each.
#[must_use]
pub fn counted_by(field: &str, count: u64) -> String {
    match field {
        "level" | "source" | "traceId" => counted(count),
        _ => format!("{} occurrence{}", grouped(count), if count == 1 { "" } else { "s" }),
    }
}

async fn search(
    api: &Api,
    options: &Options,
    now: &Zoned,
    writer: &EventWriter,
    output: &mut Output,
) -> Result<Found, Failure> {
    let parameters = options.filters.or_last_hour().parameters(now)?;
    let limit = if options.limit == 0 { u64::MAX } else { options.limit };
    if !options.reverse && limit <= HELD_EVENTS_MAX {
        let Newest { events, has_older, hints } = newest(api, &parameters, limit).await?;
        writer.begin(output)?;
        for event in &events {
            writer.write(event, output)?;
        }
        let left_out = if has_older { LeftOut::Older } else { LeftOut::None };
        return Ok(Found { events: events.len() as u64, left_out, hints });
    }
    let parameters = parameters.with("order", "asc");
    let (mut cursor, mut found): (Option<String>, u64) = (None, 0);
    let mut hints = Vec::new();
    loop {
        let page = page(api, &parameters, limit - found, cursor.as_deref()).await;
        let page = page.map_err(|failure| if output.has_data() { failure.after_output() } else { failure })?;
        if cursor.is_none() {
            writer.begin(output)?;
            hints = page.hints;
        }
        for event in &page.events {
            writer.write(event, output)?;
        }
        found += page.events.len() as u64;
        output.flush()?;
        match page.next_cursor {
            Some(next) if found < limit => cursor = Some(next),
            next => {
                let left_out = if next.is_some() { LeftOut::Newer } else { LeftOut::None };
                return Ok(Found { events: found, left_out, hints });
            }
        }
    }
}

/// The newest events.
///
/// # Errors
/// A page failed, or the events are too large to be held.
pub async fn newest(api: &Api, parameters: &Parameters, limit: u64) -> Result<Newest, Failure> {
    let (mut cursor, mut bytes): (Option<String>, usize) = (None, 0);
    let (mut events, mut hints): (Vec<Box<RawValue>>, Vec<String>) = Default::default();
    let has_older = loop {
        let page = page(api, parameters, limit - events.len() as u64, cursor.as_deref()).await?;
        bytes += page.events.iter().map(|event| event.get().len()).sum::<usize>();
        if bytes > HELD_BYTES_MAX {
            let (limit, mebibytes) = (grouped(limit), HELD_BYTES_MAX / 1024 / 1024);
            return Err(Failure::Other(format!(
                "the newest {limit} events have more than {mebibytes} MiB: use a smaller --limit, or --reverse"
            )));
        }
        events.extend(page.events);
        hints.extend(page.hints);
        match page.next_cursor {
            Some(next) if (events.len() as u64) < limit => cursor = Some(next),
            next => break next.is_some(),
        }
    };
    events.reverse();
    Ok(Newest { events, has_older, hints })
}

async fn page(api: &Api, parameters: &Parameters, left: u64, cursor: Option<&str>) -> Result<Page, Failure> {
    let mut parameters = parameters.with("limit", &left.min(PAGE_EVENTS_MAX).to_string());
    parameters.add_some("cursor", cursor);
    let mut page: Page = api.get_json("/api/logs", &parameters).await?;
    // Protects the count from a server that sends more than was asked for.
    page.events.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    Ok(page)
}

async fn show_one(
    api: &Api,
    id: Uuid,
    context: Option<u16>,
    writer: &EventWriter,
    output: &mut Output,
) -> Result<Found, Failure> {
    let events = match context {
        None => vec![api.get_json::<Box<RawValue>>(&format!("/api/logs/{id}"), &Parameters::default()).await?],
        Some(neighbours) => {
            let mut parameters = Parameters::default();
            parameters.add("before", &neighbours.to_string());
            parameters.add("after", &neighbours.to_string());
            let Context { before, event, after } =
                api.get_json(&format!("/api/logs/{id}/context"), &parameters).await?;
            before.into_iter().chain([event]).chain(after).collect()
        }
    };
    writer.begin(output)?;
    for event in &events {
        writer.write(event, output)?;
    }
    Ok(Found { events: events.len() as u64, left_out: LeftOut::None, hints: Vec::new() })
}

/// The text after the options in `--help`.
fn long_help() -> String {
    let width = query_language("spillway-query").iter().map(|(condition, _)| condition.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = "Query language:\n".to_owned();
    for (condition, meaning) in query_language("spillway-query") {
        text.push_str(&format!("  {condition:<width$}  {meaning}\n"));
    }
    format!("{text}\n{AFTER_HELP}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_server::{TestServer, reply};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    async fn query(replies: Vec<String>, arguments: &[&str]) -> (Result<(), u8>, String, Vec<String>) {
        let server = TestServer::start(replies).await;
        let arguments = [&["query", "--raw", "--url", &server.url], arguments].concat();
        let options = Arguments::try_parse_from(arguments).unwrap().options;
        let (mut output, written) = Output::in_memory();
        let ended = run(options, &mut output).await.map_err(|failure| failure.exit_code());
        (ended, written.text(), server.requests())
    }

    fn page(messages: &str, cursor: &str) -> String {
        let events: Vec<String> = messages.chars().map(|message| format!(r#"{{"message":"{message}"}}"#)).collect();
        reply(200, &format!(r#"{{"events":[{}],"nextCursor":{cursor}}}"#, events.join(",")))
    }

    #[tokio::test]
    async fn pages_are_followed_and_the_newest_events_are_shown_oldest_first() {
        let replies = vec![page("dc", "\"x+y\""), page("b", "\"z\"")];
        let (ended, text, requests) = query(replies, &["-n", "3"]).await;
        assert_eq!((ended, text.as_str()), (Ok(()), "b\nc\nd\n"));
        assert!(requests[0].starts_with("GET /api/logs?from=-1h&limit=3 "), "{requests:?}");
        assert!(requests[1].starts_with("GET /api/logs?from=-1h&limit=1&cursor=x%2By "), "{requests:?}");
        let (ended, text, requests) = query(vec![page("ab", "\"x\""), page("c", "null")], &["-n", "0"]).await;
        assert_eq!((ended, text.as_str()), (Ok(()), "a\nb\nc\n"));
        assert!(requests[0].starts_with("GET /api/logs?from=-1h&order=asc&limit=1000 "), "{requests:?}");
    }

    #[tokio::test]
    async fn a_page_that_fails_makes_the_output_incomplete_only_after_some_output() {
        let replies = || vec![page("ab", "\"x\""), reply(503, r#"{"detail":"later"}"#)];
        let (ended, text, _) = query(replies(), &["-n", "0"]).await;
        assert_eq!((ended, text.as_str()), (Err(75), "a\nb\n"));
        let (ended, text, _) = query(replies(), &[]).await;
        assert_eq!((ended, text.as_str()), (Err(69), ""));
        assert_eq!(query(vec![], &[]).await.0, Err(69));
        assert_eq!(query(vec![page("", "null")], &["--exit-status"]).await.0, Err(3));
        assert_eq!(query(vec![reply(200, "<html>")], &[]).await.0, Err(1));
    }

    #[test]
    fn contradictions_are_refused() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from([&["query"], arguments].concat());
        let id = "01a20f37-31cf-76dd-a6da-0300122616c3";
        assert!(parse(&["--id", id, "--context", "5"]).is_ok());
        for wrong in [
            &["--context", "5"][..],
            &["--context", "5", "-s", "x"],
            &["--context", "5", "x"],
            &["--id", id, "x"],
            &["--id", id, "-S", "1h"],
            &["--id", "1"],
            &["--id", id, "--context", "501"],
            &["-o", "xml"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let context = parse(&["--id", id, "--context", "many"]).map(drop).unwrap_err().to_string();
        assert!(context.contains("must be a whole number from 0 to 500"), "{context}");
    }

    #[test]
    fn the_note_counts_and_says_when_there_are_more() {
        let found = |events, left_out| Found { events, left_out, hints: Vec::new() };
        assert_eq!(note(&found(1, LeftOut::None), " of the last hour", 41), "-- 1 event of the last hour, 41 ms");
        let older = note(&found(1_000, LeftOut::Older), "", 1_500);
        assert_eq!(older, "-- 1,000 events, 1,500 ms; only the newest ones, -n 0 shows all");
        let newer = note(&found(1_000, LeftOut::Newer), "", 1_500);
        assert_eq!(newer, "-- 1,000 events, 1,500 ms; only the oldest ones, -n 0 shows all");
    }

    #[test]
    fn an_event_with_several_values_occurs_several_times() {
        assert_eq!(counted_by("level", 1), "1 event");
        assert_eq!(counted_by("tags", 2), "2 occurrences");
        assert_eq!(counted_by("tags", 1), "1 occurrence");
    }

    #[tokio::test]
    async fn the_note_says_which_end_is_shown() {
        for (arguments, part) in [(&["-n", "1"][..], "the newest"), (&["-n", "1", "--reverse"], "the oldest")] {
            let server = TestServer::start(vec![page("a", "\"x\"")]).await;
            let arguments = [&["query", "--url", &server.url], arguments].concat();
            let (mut output, _) = Output::in_memory();
            run(Arguments::try_parse_from(arguments).unwrap().options, &mut output).await.unwrap();
            let notes = output.notes();
            assert!(notes[0].contains(part), "{notes:?}");
        }
    }

    #[tokio::test]
    async fn an_id_without_an_event_is_nothing_found_if_the_exit_code_is_to_say_so() {
        let id = "01a20f37-31cf-76dd-a6da-0300122616c3";
        let missing = || vec![reply(404, r#"{"detail":"no event has this id"}"#)];
        assert_eq!(query(missing(), &["--id", id, "--exit-status"]).await.0, Err(3));
        assert_eq!(query(missing(), &["--id", id, "--context", "2", "--exit-status"]).await.0, Err(3));
        assert_eq!(query(missing(), &["--id", id]).await.0, Err(1));
        let wrong_server = vec![reply(404, r#"{"detail":"there is nothing at this path"}"#)];
        assert_eq!(query(wrong_server, &["--id", id, "--exit-status"]).await.0, Err(1));
    }

    #[tokio::test]
    async fn what_may_be_meant_otherwise_is_noted_if_nothing_is_found() {
        let hinting = reply(200, r#"{"events":[],"nextCursor":null,"hints":["say\u001b this"]}"#);
        for (answer, own, hints) in [
            (page("", "null"), true, vec![]),
            (hinting, true, vec![r"-- say\x1b this"]),
            (page("a", "null"), false, vec![]),
        ] {
            for order in [&[] as &[&str], &["--reverse"]] {
                let server = TestServer::start(vec![answer.clone()]).await;
                let (mut output, _) = Output::in_memory();
                let arguments = [&["query", "--url", &server.url, "source:'own'"], order].concat();
                run(Arguments::try_parse_from(arguments).unwrap().options, &mut output).await.unwrap();
                let notes = output.notes();
                assert_eq!(notes[1..notes.len() - usize::from(own)], hints, "{notes:?}");
                assert_eq!(notes.iter().any(|note| note.contains("double quotes")), own, "{notes:?}");
            }
        }
    }

    #[test]
    fn the_help_fits_a_terminal_and_has_the_language() {
        let help = long_help();
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        assert!(help.contains("\n  field:(a OR b)  ") && help.ends_with(AFTER_HELP), "{help}");
    }
}
