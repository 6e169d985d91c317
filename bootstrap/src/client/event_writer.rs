//! Events in the formats of the command line.
//!
//! * Text: one line per event, then its stack trace on indented lines. Nothing in it controls a terminal. Raw messages are
//!   exact, except on a terminal.
//! * JSON: one line per event, exactly as the API gives it.
//! * CSV: RFC 4180, with a header.

use std::fmt::Write as _;
use std::str::FromStr;

use application::search::written_name;
use clap::{Args, ValueEnum};
use jiff::Zoned;
use serde_json::value::RawValue;

use super::escape::{escaped, escaped_trace_line, safe_json};
use super::event::Event;
use super::failure::Failure;
use super::names::Names;
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
    /// Fields to append as name=value, or the columns of CSV, separated by commas; user.name is `name` within `user` of the metadata
    #[arg(long, value_name = "NAMES", hide_possible_values = true, value_parser = suggested(Names::from_str, &COLUMNS))]
    pub fields: Vec<Names>,
    /// Show and read times in UTC instead of the local time zone
    #[arg(long)]
    pub utc: bool,
    /// Print only the messages, unchanged unless standard output is a terminal
    #[arg(long)]
    pub raw: bool,
}

/// Writes events in one format.
pub struct EventWriter {
    format: Format,
    raw: bool,
    /// Names of the fields to append, or of the columns; empty if none are given.
    fields: Vec<String>,
    color: bool,
    now: Zoned,
}

impl EventWriter {
    /// A writer that shows times in the time zone of `now`.
    ///
    /// # Errors
    /// An option has no effect on the format.
    pub fn new(showing: &Showing, color: bool, now: Zoned) -> Result<Self, Failure> {
        let (format, raw) = (showing.output, showing.raw);
        let fields: Vec<String> = showing.fields.iter().flat_map(|names| names.0.iter().cloned()).collect();
        let without_effect = match (format, raw, fields.is_empty()) {
            (Format::Json | Format::Csv, true, _) => "--raw is for --output text",
            (Format::Text, true, false) => "--raw prints only the messages, without --fields",
            (Format::Json, false, false) => "--fields is for --output text or csv: json has all fields",
            _ => return Ok(Self { format, raw, fields, color, now }),
        };
        Err(Failure::Usage(without_effect.to_owned()))
    }

    /// Writes what precedes the events: the header of CSV.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn begin(&self, output: &mut Output) -> Result<(), Failure> {
        match self.format {
            Format::Csv => output.write(&csv_row(&self.columns(), output.is_terminal())),
            Format::Text | Format::Json => Ok(()),
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, json: &RawValue, output: &mut Output) -> Result<(), Failure> {
        match self.format {
            Format::Text => output.write(self.text(&Event::of(json), output.is_terminal()).as_bytes()),
            Format::Json => output.write(json_line(json.get(), output.is_terminal()).as_bytes()),
            Format::Csv => {
                let event = Event::of(json);
                let cells: Vec<String> = self.columns().iter().map(|name| event.text(name)).collect();
                output.write(&csv_row(&cells, output.is_terminal()))
            }
        }
    }

    fn columns(&self) -> Vec<String> {
        if self.fields.is_empty() {
            COLUMNS.iter().map(|name| (*name).to_owned()).collect()
        } else {
            self.fields.clone()
        }
    }

    fn text(&self, event: &Event<'_>, terminal: bool) -> String {
        let message = event.text("message");
        if self.raw {
            return if terminal { format!("{}\n", escaped(&message)) } else { format!("{message}\n") };
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
        for name in &self.fields {
            if let Some(value) = event.field(name) {
                let _ = write!(text, "  {}={}", escaped(&written_name(name)), quoted(&value));
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

    fn showing(output: Format, fields: &[&str], raw: bool) -> Showing {
        let fields = fields.iter().map(|names| names.parse().unwrap()).collect();
        Showing { output, fields, utc: false, raw }
    }

    fn writer(fields: &[&str], raw: bool, color: bool) -> EventWriter {
        let now = "2026-11-24T20:20:05Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::fixed(jiff::tz::offset(1)));
        EventWriter::new(&showing(Format::Text, fields, raw), color, now).unwrap()
    }

    fn text(writer: &EventWriter, event: &serde_json::Value) -> String {
        let json = serde_json::value::to_raw_value(event).unwrap();
        writer.text(&Event::of(&json), false)
    }

    fn payment() -> serde_json::Value {
        serde_json::json!({
            "timestamp": "2026-11-24T20:20:05.199176Z", "level": "ERROR", "source": "checkout",
            "message": "payment timeout after 30 s", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "stackTrace": "java.lang.X: y\n\tat a.B\r\n\x1b[2J", "metadata": {"user": {"name": "A \"B\""}, "n": 1, "user id": 7}
        })
    }

    #[test]
    fn an_event_is_a_line_and_its_stack_trace_is_indented() {
        let line = "11-24 21:20:05.199 ERROR checkout  payment timeout after 30 s  trace=4bf92f35…";
        let trace = "    java.lang.X: y\n        at a.B\n    \\x1b[2J\n";
        assert_eq!(text(&writer(&[], false, false), &payment()), format!("{line}\n{trace}"));
        assert_eq!(
            text(&writer(&["user.name,n", "none"], false, false), &payment()),
            format!("{line}  user.name=\"A \\\"B\\\"\"  n=1\n{trace}")
        );
        assert_eq!(
            text(&writer(&["\"user id\",n"], false, false), &payment()),
            format!("{line}  \"user id\"=7  n=1\n{trace}")
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
    fn raw_messages_are_exact_except_on_a_terminal() {
        let message = "x\ty\r\nz\\n\x1b[2J\u{202e}";
        let json = serde_json::value::to_raw_value(&serde_json::json!({ "message": message })).unwrap();
        let (event, writer) = (Event::of(&json), writer(&[], true, false));
        assert_eq!(writer.text(&event, false), format!("{message}\n"));
        assert_eq!(writer.text(&event, true), "x\\ty\\r\\nz\\n\\x1b[2J\\u{202e}\n");
    }

    #[test]
    fn options_without_an_effect_on_the_format_are_refused() {
        for (format, fields, raw, is_allowed) in [
            (Format::Text, &["a"][..], false, true),
            (Format::Csv, &["a"], false, true),
            (Format::Json, &["a"], false, false),
            (Format::Text, &["a"], true, false),
            (Format::Text, &[], true, true),
            (Format::Json, &[], true, false),
            (Format::Csv, &[], true, false),
        ] {
            let writer = EventWriter::new(&showing(format, fields, raw), false, Zoned::default());
            let code = writer.map(drop).map_err(|failure| failure.exit_code());
            assert_eq!(code, if is_allowed { Ok(()) } else { Err(64) }, "{format:?} {fields:?} {raw}");
        }
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
