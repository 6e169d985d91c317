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
use super::event_writer::{EventWriter, Showing};
use super::failure::Failure;
use super::filters::Filters;
use super::output::Output;
use super::parameters::Parameters;
use super::times::now;
use crate::send::grouped;

/// Maximum events of a page, as in the API.
const PAGE_EVENTS_MAX: u64 = 1_000;
/// Maximum events that are held to be shown in the other order.
const HELD_EVENTS_MAX: u64 = 10_000;
/// Maximum bytes of these.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The text after the options in `--help`.
const AFTER_HELP: &str = "\
Events are shown oldest first: the newest ones that fit --limit, or with --reverse, --limit 0 or more than 10,000 the
oldest ones. Without --since and --until, only events of the last hour are searched; -S first searches all events.

Examples:
  spillway query -l ERROR,FATAL -S 15m
  spillway query -s checkout -S today 'payment timeout'
  spillway query -t 4bf92f3577b34da6a3ce929d0e0e4736 -S 2d --fields userId,http.status
  spillway query -S 1d -n 0 -o json > events.ndjson
  spillway query --id 01a20f37-31cf-76dd-a6da-0300122616c3 --context 5

Exit codes: 0 success, 1 failure, 3 nothing found (with --exit-status), 64 usage, 69 server not reachable, 75 output
incomplete, 77 not allowed, 130 interrupted.";

/// Options of `spillway query`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Options {
    #[command(flatten)]
    filters: Filters,
    /// Maximum number of events; 0 for all
    #[arg(short = 'n', long, value_name = "EVENTS", default_value_t = 100)]
    limit: u64,
    /// Begin with the oldest events instead of the newest ones
    #[arg(long)]
    reverse: bool,
    /// Show the event with this id
    #[arg(long, value_name = "UUID", conflicts_with_all = ["query", "source", "level", "trace", "since", "until", "reverse"])]
    id: Option<Uuid>,
    /// Also show this number of events of the same source before and after it
    // `requires` alone is waived for what conflicts with `--id`.
    #[arg(long, value_name = "EVENTS", requires = "id", conflicts_with_all = ["query", "source", "level", "trace", "since", "until", "reverse"])]
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
}

/// An event and its neighbours.
#[derive(Deserialize)]
struct Context {
    before: Vec<Box<RawValue>>,
    event: Box<RawValue>,
    after: Vec<Box<RawValue>>,
}

/// How many events were found, and whether there are more.
struct Found {
    events: u64,
    more: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(options: Options, output: &mut Output) -> Result<(), Failure> {
    let (began, api) = (Instant::now(), Api::new(&options.connection)?);
    let now = now(options.showing.utc);
    let writer = EventWriter::new(options.showing.clone(), options.connection.has_color(), now.clone());
    let found = match options.id {
        Some(id) => show_one(&api, id, options.context, &writer, output).await?,
        None => search(&api, &options, &now, &writer, output).await?,
    };
    let range = if options.id.is_none() { options.filters.or_last_hour().range_in_words() } else { String::new() };
    output.flush()?;
    output.note(note(&found, &range, began.elapsed().as_millis()));
    if options.exit_status && found.events == 0 { Err(Failure::NothingFound) } else { Ok(()) }
}

fn note(found: &Found, range: &str, millis: u128) -> String {
    let millis = grouped(u64::try_from(millis).unwrap_or(u64::MAX));
    let more = if found.more { "; there are more, -n 0 shows all" } else { "" };
    format!("-- {}{range}, {millis} ms{more}", counted(found.events))
}

/// A number of events in words.
#[must_use]
pub fn counted(events: u64) -> String {
    format!("{} event{}", grouped(events), if events == 1 { "" } else { "s" })
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
        let (events, more) = newest(api, &parameters, limit).await?;
        writer.begin(output)?;
        for event in &events {
            writer.write(event, output)?;
        }
        return Ok(Found { events: events.len() as u64, more });
    }
    let parameters = parameters.with("order", "asc");
    let (mut cursor, mut found): (Option<String>, u64) = (None, 0);
    loop {
        let page = page(api, &parameters, limit - found, cursor.as_deref()).await;
        let page = page.map_err(|failure| if output.has_data() { failure.after_output() } else { failure })?;
        if cursor.is_none() {
            writer.begin(output)?;
        }
        for event in &page.events {
            writer.write(event, output)?;
        }
        found += page.events.len() as u64;
        output.flush()?;
        match page.next_cursor {
            Some(next) if found < limit => cursor = Some(next),
            next => return Ok(Found { events: found, more: next.is_some() }),
        }
    }
}

/// The newest events, oldest first, and whether there are older ones.
///
/// # Errors
/// A page failed, or the events are too large to be held.
pub async fn newest(api: &Api, parameters: &Parameters, limit: u64) -> Result<(Vec<Box<RawValue>>, bool), Failure> {
    let (mut cursor, mut bytes): (Option<String>, usize) = (None, 0);
    let mut events: Vec<Box<RawValue>> = Vec::new();
    let more = loop {
        let page = page(api, parameters, limit - events.len() as u64, cursor.as_deref()).await?;
        bytes += page.events.iter().map(|event| event.get().len()).sum::<usize>();
        if bytes > HELD_BYTES_MAX {
            let (limit, mebibytes) = (grouped(limit), HELD_BYTES_MAX / 1024 / 1024);
            return Err(Failure::Other(format!(
                "the newest {limit} events have more than {mebibytes} MiB: use a smaller --limit, or --reverse"
            )));
        }
        events.extend(page.events);
        match page.next_cursor {
            Some(next) if (events.len() as u64) < limit => cursor = Some(next),
            next => break next.is_some(),
        }
    };
    events.reverse();
    Ok((events, more))
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
    Ok(Found { events: events.len() as u64, more: false })
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
            &["-o", "xml"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse(&["--fields", "a,b", "x"]).unwrap().options.showing.fields, ["a", "b"]);
    }

    #[test]
    fn the_note_counts_and_says_when_there_are_more() {
        assert_eq!(
            note(&Found { events: 1, more: false }, " of the last hour", 41),
            "-- 1 event of the last hour, 41 ms"
        );
        let more = note(&Found { events: 1_000, more: true }, "", 1_500);
        assert_eq!(more, "-- 1,000 events, 1,500 ms; there are more, -n 0 shows all");
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(AFTER_HELP.lines().all(|line| line.chars().count() <= 120));
    }
}
