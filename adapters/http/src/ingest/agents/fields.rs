//! A JSON object of an agent as an entry.
//!
//! Which of its members are the fields of an event is decided as for lines of JSON ([`application::ingest::object`]). Agents
//! often name no service, but a logger, a container or a host: then that is the source.

use std::borrow::Cow;

use application::ingest::{AgentEntry, JsonText, line, object};
use domain::event::TEXT_BYTES_MAX;
use domain::metadata::{JsonKind, JsonValue, UsualMember, UsualReader};
use domain::timestamp::Timestamp;

use crate::ingest::agents::json_values::is_json_text;
use crate::ingest::native::check_nesting;

/// Names of what may stand for the source, the best one first. A name with a dot is also a member of a member.
const SOURCES: [&str; 12] = [
    "logger",
    "log.logger",
    "logger_name",
    "PROGRAM",
    "SYSLOG_IDENTIFIER",
    "kubernetes.container_name",
    "kubernetes.container.name",
    "container.name",
    "host",
    "hostname",
    "host.name",
    "HOST",
];
/// Longest object in which such a name is looked for.
const SEARCHED_BYTES_MAX: usize = application::ingest::OBJECT_BYTES_MAX;

/// Reads an object that was checked. `members` are those of the object, if it is a usual one ([`usual_members`]); `now`
/// decides the year of a time without one.
#[must_use]
pub fn document(json: JsonValue<'_>, members: Option<&[UsualMember<'_>]>, now: Timestamp) -> AgentEntry<'static> {
    entry_of(json, members, now).unwrap_or_else(|| line(json.json(), now))
}

/// The members of an object, if it is a usual one.
pub fn usual_members<'a, 'm>(json: &'a str, reader: &'m mut UsualReader<'a>) -> Option<&'m [UsualMember<'a>]> {
    let (members, bytes) = reader.members(json)?;
    (bytes == json.len()).then_some(members)
}

/// Reads a text; `None` if it is not a JSON object. `members` as for [`document`].
#[must_use]
pub fn document_of(text: &str, members: Option<&[UsualMember<'_>]>, now: Timestamp) -> Option<AgentEntry<'static>> {
    // Reading an object checks it, unless it is large.
    let is_checked = || {
        let may_be = text.starts_with('{') && check_nesting(text.as_bytes()).is_ok();
        may_be && (text.len() <= SEARCHED_BYTES_MAX || is_json_text(text))
    };
    if members.is_none() && !is_checked() {
        return None;
    }
    entry_of(JsonValue::new(text), members, now)
}

fn entry_of(json: JsonValue<'_>, members: Option<&[UsualMember<'_>]>, now: Timestamp) -> Option<AgentEntry<'static>> {
    let mut entry = object(json.json(), members, now)?;
    if entry.source.is_none() && json.json().len() <= SEARCHED_BYTES_MAX {
        let source = match members {
            Some(members) => source_in(members.iter().map(|(name, value)| (Cow::Borrowed(*name), *value))),
            None => source_in(json.members()),
        };
        entry.source = source.map(|source| Cow::Owned(source.into_owned()));
    }
    Some(entry)
}

/// The text of the best name among the members of an object.
fn source_in<'a, 'n>(members: impl Iterator<Item = (Cow<'n, str>, JsonValue<'a>)>) -> Option<Cow<'a, str>> {
    let mut best = None;
    for (name, value) in members {
        consider(&mut best, &name, value);
        let is_outer = || SOURCES.iter().any(|path| path.split_once('.').is_some_and(|(outer, _)| outer == name));
        if value.kind() != JsonKind::Object || !is_outer() {
            continue;
        }
        for (inner, value) in value.members() {
            let path = format!("{name}.{}", shortened(&inner));
            consider(&mut best, &path, value);
            if path == "kubernetes.container" && value.kind() == JsonKind::Object {
                value.members().for_each(|(deeper, value)| {
                    consider(&mut best, &format!("{path}.{}", shortened(&deeper)), value);
                });
            }
        }
    }
    best.map(|(_, value)| value.plain())
}

/// Keeps the value of a path that is better than the best one so far.
fn consider<'a>(best: &mut Option<(usize, JsonValue<'a>)>, path: &str, value: JsonValue<'a>) {
    let rank = SOURCES.iter().position(|name| *name == path);
    let is_text = value.kind() == JsonKind::Text && value.json() != "\"\"";
    if let Some(rank) = rank.filter(|rank| is_text && best.is_none_or(|(of_best, _)| *rank < of_best)) {
        *best = Some((rank, value));
    }
}

/// Enough of a name to tell whether it is one of a source.
fn shortened(name: &str) -> &str {
    name.get(..name.floor_char_boundary(32)).unwrap_or_default()
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
    use super::*;

    fn read(json: &str) -> (AgentEntry<'static>, String) {
        let mut entry = document(JsonValue::new(json), None, Timestamp::MIN);
        let mut reader = UsualReader::default();
        if let Some(members) = usual_members(json, &mut reader) {
            let usual = document(JsonValue::new(json), Some(members), Timestamp::MIN);
            assert_eq!(format!("{usual:?}"), format!("{entry:?}"), "{json}");
        }
        let metadata = std::mem::take(&mut entry.metadata).into_json().unwrap_or_default();
        (entry, metadata)
    }

    #[test]
    fn the_documents_of_known_agents_are_understood() {
        // Fluent Bit, pino, Elastic Common Schema in both notations, log4j2, syslog-ng, journald, Serilog, Monolog.
        for (json, source, level, message) in [
            (r#"{"date":1705314600.5,"log":"a line\n","k":1}"#, None, None, "a line"),
            (
                r#"{"date":1705314600.5,"log":"2024-01-15 10:30:00 ERROR x"}"#,
                None,
                Some("ERROR"),
                "2024-01-15 10:30:00 ERROR x",
            ),
            (r#"{"level":50,"time":1705314600500,"pid":1,"hostname":"h","msg":"m"}"#, Some("h"), Some("ERROR"), "m"),
            (
                r#"{"@timestamp":"2024-01-15T10:30:00.500Z","message":"m","log.level":"warn","service.name":"s"}"#,
                Some("s"),
                Some("WARN"),
                "m",
            ),
            (
                r#"{"@timestamp":"2024-01-15T10:30:00.500Z","message":"m","log":{"level":"warn"},"service":{"name":"s"}}"#,
                Some("s"),
                Some("WARN"),
                "m",
            ),
            (
                r#"{"date":"2024-01-15T10:30:00.5","severity":"ERROR","message":"m","host":"h","app":"a"}"#,
                Some("a"),
                Some("ERROR"),
                "m",
            ),
            (
                r#"{"MESSAGE":"m","PRIORITY":"err","PROGRAM":"p","HOST":"h","date":"2024-01-15T10:30:00.5Z"}"#,
                Some("p"),
                Some("ERROR"),
                "m",
            ),
            (
                r#"{"MESSAGE":"m","PRIORITY":"3","SYSLOG_IDENTIFIER":"p","__REALTIME_TIMESTAMP":"1705314600500000"}"#,
                Some("p"),
                Some("ERROR"),
                "m",
            ),
            (r#"{"@t":"2024-01-15T10:30:00.5Z","@mt":"m","@l":"Error"}"#, None, Some("ERROR"), "m"),
            (
                r#"{"message":"m","level":400,"level_name":"ERROR","datetime":"2024-01-15T10:30:00.5Z"}"#,
                None,
                Some("ERROR"),
                "m",
            ),
            (
                r#"{"@timestamp":"2024-01-15T10:30:00.500Z","message":"m","kubernetes":{"container":{"name":"c"}},"host":{"name":"h"}}"#,
                Some("c"),
                None,
                "m",
            ),
        ] {
            let (entry, _) = read(json);
            let found = entry.level.and_then(|level| level.parse()).map(|level| level.name());
            assert_eq!((entry.source.as_deref(), found, &*entry.message), (source, level, message), "{json}");
            assert_eq!(
                entry.timestamp.map(|time| time.to_string()).as_deref(),
                Some("2024-01-15T10:30:00.5Z"),
                "{json}"
            );
        }
    }

    #[test]
    fn the_fields_of_the_native_api_are_understood_and_metadata_is_not_nested() {
        let json = r#"{"source":"s","level":"INFO","message":"m","eventId":"0190163d-8694-739b-aea5-966c26f8ad91",
            "stackTrace":"at x","metadata":{"userId":"1"},"extra":true}"#;
        let (entry, metadata) = read(json);
        assert_eq!(metadata, r#"{"userId":"1","extra":true}"#);
        assert!(entry.event_id.is_some() && entry.stack_trace.as_deref() == Some("at x"));
    }

    #[test]
    fn other_texts_are_no_documents() {
        let large = |end: &str| format!("{{\"a\":\"{}\"{end}", "x".repeat(SEARCHED_BYTES_MAX));
        for (text, is_document) in [
            ("{}", true),
            ("{\"a\":1e999,\"a\":\"\\ud800\"}", true),
            ("{\"log\":\"x\",\"stream\":\"stdout\"}", true),
            ("{\"log\":\"x\",\"stream\":\"stdout\"", false),
            ("{\"a\":01}", false),
            ("{\"a\":\"\u{1b}[0m\"}", false),
            ("[]", false),
            ("", false),
            (large("}").as_str(), true),
            (large("").as_str(), false),
        ] {
            assert_eq!(
                document_of(text, None, Timestamp::MIN).is_some(),
                is_document,
                "{}",
                &text[..text.len().min(40)]
            );
        }
    }

    #[test]
    fn an_object_without_a_message_is_its_own_message() {
        let (entry, metadata) = read(r#"{"a":1}"#);
        assert_eq!((&*entry.message, &*metadata), (r#"{"a":1}"#, r#"{"a":1}"#));
    }
}
