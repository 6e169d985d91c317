//! A JSON object of an agent as an entry: which of its members are the fields of an event.
//!
//! Agents and libraries have many names for the same field. A field takes the member whose name comes first in its list
//! and whose value it can have; all other members join the metadata under their own names.

use std::borrow::Cow;

use application::ingest::{AgentEntry, JsonText, Members};
use domain::Uuid;
use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::metadata::{JsonKind, JsonValue};

use crate::ingest::agents::json_values::plain;
use crate::ingest::agents::lines::line;
use crate::ingest::agents::times::AgentTime;

/// The fields of an event that a member may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Message,
    Level,
    Time,
    Source,
    StackTrace,
    TraceId,
    SpanId,
    EventId,
}

/// The names of each field, the best one first. A name with a dot also stands for a member of a member: `log.level` for
/// the `level` in `log`.
const NAMES: [(Field, &[&str]); 8] = [
    (Field::Message, &["message", "msg", "log", "event", "text", "short_message"]),
    (Field::Level, &["level", "severity", "lvl", "log.level", "loglevel", "severity_text"]),
    (Field::Time, &["@timestamp", "timestamp", "time", "ts", "date", "datetime"]),
    (
        Field::Source,
        &[
            "source",
            "service.name",
            "service",
            "app",
            "application",
            "logger",
            "log.logger",
            "logger_name",
            "host",
            "hostname",
        ],
    ),
    (
        Field::StackTrace,
        &["stackTrace", "stack_trace", "error.stack_trace", "stacktrace", "stack", "exception.stacktrace"],
    ),
    (Field::TraceId, &["traceId", "trace_id", "trace.id", "traceID", "otelTraceID"]),
    (Field::SpanId, &["spanId", "span_id", "span.id", "spanID", "otelSpanID"]),
    (Field::EventId, &["eventId", "event_id", "event.id"]),
];

/// Members whose own members may be fields.
const OUTER: [&str; 6] = ["log", "service", "error", "trace", "span", "event"];
/// Longest JSON text of a time or an id.
const SHORT_JSON_BYTES_MAX: usize = 128;
/// The member whose members are metadata.
const METADATA: &str = "metadata";

/// What an object says, with its time.
pub struct Document<'a> {
    /// All but the time and the id that may follow from it.
    pub entry: AgentEntry<'a>,
    /// Its time, if it has one that can be read.
    pub time: Option<AgentTime>,
}

/// The best member for a field so far: its rank among the names, its own name, and its value.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    rank: usize,
    /// Whether it is a member of the object itself, and not of one of its members.
    is_outer: bool,
    value: JsonValue<'a>,
}

/// Reads an object.
#[must_use]
pub fn document(object: JsonValue<'_>) -> Document<'_> {
    let best = best_members(object);
    let mut metadata = Members::default();
    for (name, value) in object.members() {
        let is_field = NAMES.iter().zip(&best).any(|((_, names), best)| {
            best.is_some_and(|best| best.is_outer && names.get(best.rank).is_some_and(|of| *of == name))
        });
        if metadata.is_cut() {
            break;
        }
        if name == METADATA && value.kind() == JsonKind::Object {
            value.members().for_each(|(name, value)| metadata.json(&name, value.json()));
        } else if !is_field && value.kind() != JsonKind::Null {
            metadata.json(&name, value.json());
        }
    }
    let [message, level, time, source, stack_trace, trace_id, span_id, event_id] =
        best.map(|best| best.map(|best| best.value));
    let mut entry = match message {
        Some(message) => message_entry(message),
        None => AgentEntry { message: cut_json(object), ..AgentEntry::default() },
    };
    if let Some(level) = level {
        entry.level = Some(plain(level).into());
    }
    if let Some(source) = source {
        entry.source = Some(plain(source));
    }
    entry.stack_trace = stack_trace.map(plain).or(entry.stack_trace);
    entry.trace_id = trace_id.and_then(|id| from_hex(&id.plain())).or(entry.trace_id);
    entry.span_id = span_id.and_then(|id| from_hex(&id.plain())).or(entry.span_id);
    entry.event_id = event_id.and_then(uuid);
    entry.metadata.all(&metadata);
    Document { entry, time: time.and_then(AgentTime::of_json) }
}

/// An object or a plain text, such as an element of an array or a line.
#[must_use]
pub fn text_document(text: &str) -> Document<'_> {
    Document { entry: line(text), time: None }
}

/// The best member for each field.
fn best_members(object: JsonValue<'_>) -> [Option<Candidate<'_>>; NAMES.len()] {
    let mut best = [None; NAMES.len()];
    for (name, value) in object.members() {
        consider(&mut best, &name, value, true);
        if value.kind() == JsonKind::Object && OUTER.contains(&&*name) {
            for (inner, value) in value.members() {
                consider(&mut best, &format!("{name}.{}", shortened(&inner)), value, false);
            }
        }
    }
    best
}

/// Enough of a name to tell whether it is one of a field.
fn shortened(name: &str) -> &str {
    name.get(..name.floor_char_boundary(32)).unwrap_or_default()
}

fn consider<'a>(best: &mut [Option<Candidate<'a>>; NAMES.len()], name: &str, value: JsonValue<'a>, is_outer: bool) {
    for ((field, names), best) in NAMES.iter().zip(best) {
        let Some(rank) = names.iter().position(|known| *known == name) else { continue };
        if is_value_of(*field, value) && best.is_none_or(|best| rank < best.rank) {
            *best = Some(Candidate { rank, is_outer, value });
        }
    }
}

/// Whether a field can have a value. What it cannot have stays in the metadata.
fn is_value_of(field: Field, value: JsonValue<'_>) -> bool {
    let is_text = value.kind() == JsonKind::Text && value.json() != "\"\"";
    // Times and ids are short: of a longer text, nothing is copied.
    let is_short = value.json().len() <= SHORT_JSON_BYTES_MAX;
    match field {
        Field::Message | Field::Source | Field::StackTrace => is_text,
        Field::Level => is_text || value.kind() == JsonKind::Number,
        Field::Time => is_short && AgentTime::of_json(value).is_some(),
        Field::TraceId => is_text && is_short && from_hex::<16>(&value.plain()).is_some(),
        Field::SpanId => is_text && is_short && from_hex::<8>(&value.plain()).is_some(),
        Field::EventId => uuid(value).is_some(),
    }
}

fn uuid(value: JsonValue<'_>) -> Option<Uuid> {
    let is_short = value.kind() == JsonKind::Text && value.json().len() <= SHORT_JSON_BYTES_MAX;
    is_short.then(|| Uuid::try_parse(&value.plain()).ok()).flatten().filter(|id| !id.is_nil())
}

/// An entry for a text that may be a line as an agent has read it.
fn message_entry(message: JsonValue<'_>) -> AgentEntry<'_> {
    match plain(message) {
        Cow::Borrowed(text) => line(text),
        // The line borrows the text, which ends here.
        Cow::Owned(text) => line(&text).into_owned(),
    }
}

/// The JSON text of a value as a message, cut to what a message may have.
#[must_use]
pub fn cut_json(value: JsonValue<'_>) -> Cow<'_, str> {
    let mut text = JsonText::new(TEXT_BYTES_MAX);
    text.push(value.json());
    if text.is_cut() { Cow::Owned(text.into_string()) } else { Cow::Borrowed(value.json()) }
}

#[cfg(test)]
mod tests {
    use domain::event_input::LevelInput;

    use super::*;

    fn read(json: &str) -> (Document<'_>, String) {
        let document = document(JsonValue::new(json));
        let metadata = document.entry.metadata.clone().into_json().unwrap_or_default();
        (document, metadata)
    }

    fn level(document: &Document<'_>) -> Option<String> {
        document.entry.level.clone().map(|level| match level {
            LevelInput::Text(text) => text.into_owned(),
            LevelInput::Parsed(level) => level.name().to_owned(),
        })
    }

    #[test]
    fn the_documents_of_known_agents_are_understood() {
        // Fluent Bit, pino, Elastic Common Schema in both notations, log4j2.
        for (json, source, level_word, message, metadata) in [
            (r#"{"date":1705314600.5,"log":"a line\n","k":1}"#, None, None, "a line", r#"{"k":1}"#),
            (
                r#"{"level":50,"time":1705314600500,"pid":1,"msg":"m","name":"n"}"#,
                None,
                Some("50"),
                "m",
                r#"{"pid":1,"name":"n"}"#,
            ),
            (
                concat!(
                    r#"{"@timestamp":"2024-01-15T10:30:00.500Z","message":"m","log.level":"warn","service.name":"s","#,
                    r#""trace.id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#
                ),
                Some("s"),
                Some("warn"),
                "m",
                "",
            ),
            (
                concat!(
                    r#"{"@timestamp":"2024-01-15T10:30:00.500Z","message":"m","log":{"level":"warn"},"#,
                    r#""service":{"name":"s"},"ecs":{"version":"8"}}"#
                ),
                Some("s"),
                Some("warn"),
                "m",
                r#"{"log":{"level":"warn"},"service":{"name":"s"},"ecs":{"version":"8"}}"#,
            ),
            (
                concat!(
                    r#"{"date":"2024-01-15T10:30:00.5","severity":"ERROR","loggerName":"l","#,
                    r#""message":"m","host":"h","app":"a"}"#
                ),
                Some("a"),
                Some("ERROR"),
                "m",
                r#"{"loggerName":"l","host":"h"}"#,
            ),
        ] {
            let (document, found) = read(json);
            assert_eq!(document.entry.source.as_deref(), source, "{json}");
            assert_eq!(level(&document).as_deref(), level_word, "{json}");
            assert_eq!((&*document.entry.message, &*found), (message, metadata), "{json}");
            assert_eq!(document.time.map(|time| time.timestamp.to_string()).as_deref(), Some("2024-01-15T10:30:00.5Z"));
        }
    }

    #[test]
    fn the_fields_of_the_native_api_are_understood_and_metadata_is_not_nested() {
        let json = r#"{"source":"s","level":"INFO","message":"m","eventId":"0190163d-8694-739b-aea5-966c26f8ad91",
            "stackTrace":"at x","metadata":{"userId":"1"},"extra":true,"none":null}"#;
        let (document, metadata) = read(json);
        assert_eq!(metadata, r#"{"userId":"1","extra":true}"#);
        assert!(document.entry.event_id.is_some() && document.entry.stack_trace.as_deref() == Some("at x"));
    }

    #[test]
    fn a_value_that_a_field_cannot_have_stays_in_the_metadata() {
        let json =
            r#"{"message":{"a":1},"msg":"m","level":["x"],"time":"soon","traceId":"12","eventId":"42","source":""}"#;
        let (document, metadata) = read(json);
        assert_eq!((&*document.entry.message, document.time), ("m", None));
        assert_eq!(
            metadata,
            r#"{"message":{"a":1},"level":["x"],"time":"soon","traceId":"12","eventId":"42","source":""}"#
        );
    }

    #[test]
    fn an_object_without_a_message_is_its_own_message() {
        let (document, metadata) = read(r#"{"a":1}"#);
        assert_eq!((&*document.entry.message, &*metadata), (r#"{"a":1}"#, r#"{"a":1}"#));
    }
}
