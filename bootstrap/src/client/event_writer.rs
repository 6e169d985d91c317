//! Events in the formats of the command line.
//!
//! * Text: one line per event, then its stack trace on indented lines. Nothing in it controls a terminal.
//! * JSON: one line per event, exactly as the API gives it.
//! * CSV: RFC 4180, with a header.

use std::fmt::Write as _;

use clap::builder::StringValueParser;
use clap::{Args, ValueEnum};
use jiff::Zoned;
use serde_json::value::RawValue;

use super::escape::{escaped, escaped_trace_line, safe_json};
use super::event::Event;
use super::failure::Failure;
use super::output::Output;
use super::table::csv_row;
use super::times::shown;
use crate::suggested::suggested;

/// Columns of CSV without `--fields`.
const COLUMNS: [&str; 13] = [
    "timestamp",
    "level",
    "source",
    "message",
    "eventId",
    "receivedAt",
    "traceId",
    "spanId",
    "stackTrace",
    "metadata",
    "topic",
    "partition",
    "offset",
];
/// Characters of a trace id in text.
const TRACE_CHARS: usize = 8;

/// The format of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// JSON, as the API gives it
    Json,
    /// CSV with a header (RFC 4180)
    Csv,
}

/// How events are shown.
#[derive(Args, Clone, Debug)]
pub struct Showing {
    /// Format of the events
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub output: Format,
    /// Fields to append as name=value, or the columns of CSV; user.name is `name` within `user` of the metadata
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide_possible_values = true, value_parser = suggested(StringValueParser::new(), &COLUMNS))]
    pub fields: Vec<String>,
    /// Show and read times in UTC instead of the local time zone
    #[arg(long)]
    pub utc: bool,
    /// Print only the messages
    #[arg(long)]
    pub raw: bool,
}

/// Writes events in one format.
pub struct EventWriter {
    showing: Showing,
    color: bool,
    now: Zoned,
}

impl EventWriter {
    /// A writer that shows times in the time zone of `now`.
    #[must_use]
    pub fn new(showing: Showing, color: bool, now: Zoned) -> Self {
        Self { showing, color, now }
    }

    /// Writes what precedes the events: the header of CSV.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn begin(&self, output: &mut Output) -> Result<(), Failure> {
        match self.showing.output {
            Format::Csv => output.write(&csv_row(&self.columns(), output.is_terminal())),
            Format::Text | Format::Json => Ok(()),
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, json: &RawValue, output: &mut Output) -> Result<(), Failure> {
        match self.showing.output {
            Format::Text => output.write(self.text(&Event::of(json)).as_bytes()),
            Format::Json => output.write(json_line(json.get(), output.is_terminal()).as_bytes()),
            Format::Csv => {
                let event = Event::of(json);
                let cells: Vec<String> = self.columns().iter().map(|name| event.text(name)).collect();
                output.write(&csv_row(&cells, output.is_terminal()))
            }
        }
    }

    fn columns(&self) -> Vec<String> {
        if self.showing.fields.is_empty() {
            COLUMNS.iter().map(|name| (*name).to_owned()).collect()
        } else {
            self.showing.fields.clone()
        }
    }

    fn text(&self, event: &Event<'_>) -> String {
        let message = event.text("message");
        if self.showing.raw {
            return format!("{}\n", escaped(&message));
        }
        let (timestamp, level) = (event.text("timestamp"), event.text("level"));
        let mut text = format!(
            "{} {} {}  {}",
            escaped(&shown(&timestamp, &self.now, true)),
            self.level(&escaped(&level)),
            escaped(&event.text("source")),
            escaped(&message)
        );
        // Writing into memory does not fail.
        if let Some(trace) = event.field("traceId") {
            let start: String = trace.chars().take(TRACE_CHARS).collect();
            let rest = if trace.chars().count() > TRACE_CHARS { "…" } else { "" };
            let _ = write!(text, "  trace={}{rest}", escaped(&start));
        }
        for name in &self.showing.fields {
            if let Some(value) = event.field(name) {
                let _ = write!(text, "  {}={}", escaped(name), quoted(&value));
            }
        }
        text.push('\n');
        for line in event.text("stackTrace").lines() {
            let _ = writeln!(text, "    {}", escaped_trace_line(line));
        }
        text
    }

    /// The level, padded to the longest one.
    fn level(&self, level: &str) -> String {
        let color = match level {
            "FATAL" => "1;31",
            "ERROR" => "31",
            "WARN" => "33",
            "INFO" => "32",
            "DEBUG" => "36",
            _ => "2",
        };
        if self.color { format!("\x1b[{color}m{level:<5}\x1b[0m") } else { format!("{level:<5}") }
    }
}

/// JSON on one line; on a terminal its characters are made safe, without a change of the value.
#[must_use]
pub fn json_line(json: &str, terminal: bool) -> String {
    if terminal || json.contains(['\n', '\r']) { format!("{}\n", safe_json(json)) } else { format!("{json}\n") }
}

/// A value after `name=`: in quotation marks if its end would not be clear.
fn quoted(value: &str) -> String {
    let value_is_clear = !value.is_empty() && !value.contains([' ', '"', '=']);
    let value = escaped(value);
    if value_is_clear { value.into_owned() } else { format!("\"{}\"", value.replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::super::escape::is_unsafe;
    use super::*;

    fn writer(fields: &[&str], raw: bool, color: bool) -> EventWriter {
        let fields = fields.iter().map(|name| (*name).to_owned()).collect();
        let now = "2026-11-24T20:20:05Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::fixed(jiff::tz::offset(1)));
        EventWriter::new(Showing { output: Format::Text, fields, utc: false, raw }, color, now)
    }

    fn text(writer: &EventWriter, event: &serde_json::Value) -> String {
        let json = serde_json::value::to_raw_value(event).unwrap();
        writer.text(&Event::of(&json))
    }

    fn payment() -> serde_json::Value {
        serde_json::json!({
            "timestamp": "2026-11-24T20:20:05.199176Z", "level": "ERROR", "source": "checkout",
            "message": "payment timeout after 30 s", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "stackTrace": "java.lang.X: y\n\tat a.B\r\n\x1b[2J", "metadata": {"user": {"name": "A \"B\""}, "n": 1}
        })
    }

    #[test]
    fn an_event_is_a_line_and_its_stack_trace_is_indented() {
        let line = "11-24 21:20:05.199 ERROR checkout  payment timeout after 30 s  trace=4bf92f35…";
        let trace = "    java.lang.X: y\n        at a.B\n    \\x1b[2J\n";
        assert_eq!(text(&writer(&[], false, false), &payment()), format!("{line}\n{trace}"));
        assert_eq!(
            text(&writer(&["user.name", "n", "none"], false, false), &payment()),
            format!("{line}  user.name=\"A \\\"B\\\"\"  n=1\n{trace}")
        );
        assert_eq!(text(&writer(&[], true, false), &payment()), "payment timeout after 30 s\n");
        assert!(text(&writer(&[], false, true), &payment()).contains(" \x1b[31mERROR\x1b[0m checkout"));
    }

    #[test]
    fn messages_stay_on_one_line() {
        let event = serde_json::json!({"timestamp": "?", "level": "WARN", "source": "a\u{202e}", "message": "x\ny\x1b]0;t\x07"});
        assert_eq!(text(&writer(&[], false, false), &event), "? WARN  a\\u{202e}  x\\ny\\x1b]0;t\\x07\n");
    }

    #[test]
    fn json_is_kept_and_made_safe_on_a_terminal() {
        assert_eq!(json_line("{\"a\":\"\u{9b}\",\"n\":1.50}", false), "{\"a\":\"\u{9b}\",\"n\":1.50}\n");
        assert_eq!(json_line("{\"a\":\"\u{9b}\",\"n\":1.50}", true), "{\"a\":\"\\u009b\",\"n\":1.50}\n");
        assert_eq!(json_line("{\n\"a\":1}", false), "{ \"a\":1}\n");
    }

    proptest! {
        #[test]
        fn no_event_controls_the_terminal(texts in prop::collection::vec(any::<String>(), 7)) {
            let event = serde_json::json!({
                "timestamp": texts[0], "level": texts[1], "source": texts[2], "message": texts[3],
                "traceId": texts[4], "stackTrace": texts[5], "metadata": {"f": texts[6]}
            });
            let written = text(&writer(&["f"], false, false), &event);
            prop_assert!(!written.replace('\n', "").contains(is_unsafe));
            prop_assert_eq!(written.lines().count(), 1 + texts[5].lines().count());
        }
    }
}
