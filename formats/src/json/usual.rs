//! Objects as most programs write them, read in one look at each byte.
//!
//! Invariant: a draft from here is the one that [`super::any_draft`] makes of the object. What is unusual is refused, and read
//! there: members that say the same thing twice, or that cannot be read as what their name says.

use std::borrow::Cow;

use domain::Uuid;
use domain::level::Level;
use domain::metadata::{JsonKind, JsonValue, METADATA_BYTES_MAX, Metadata, UsualMember, UsualReader};
use domain::timestamp::Timestamp;

use super::members::place;
use super::roles::{self, CONTAINERS, PECULIAR, Role};
use super::{text_of, values};
use crate::ansi;
use crate::draft::{self, Draft};
use crate::levels;
use crate::times::Clock;

/// What a member is.
enum Meaning {
    Role(Role),
    /// A member of the metadata.
    Other,
}

/// The members with a role.
#[derive(Default)]
struct Members<'a> {
    level: Option<JsonValue<'a>>,
    time: Option<JsonValue<'a>>,
    message: Option<JsonValue<'a>>,
    source: Option<JsonValue<'a>>,
    stack_trace: Option<JsonValue<'a>>,
    trace_id: Option<JsonValue<'a>>,
    span_id: Option<JsonValue<'a>>,
    event_id: Option<JsonValue<'a>>,
    /// Its members join the metadata.
    metadata: Option<JsonValue<'a>>,
}

/// The draft of a line that is such an object; `None` for everything else.
pub fn draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    let mut reader = UsualReader::default();
    let (members, bytes) = reader.members(line)?;
    if bytes == line.len() { of_members(line, members, clock) } else { None }
}

/// The draft of an object with these members; `None` if only [`super::any_draft`] understands it.
pub fn of_members(object: &str, all: &[UsualMember<'_>], clock: Clock<'_>) -> Option<Draft> {
    // What a collector of OpenTelemetry writes has them in another form.
    let may_be_converted = |name: &&str| matches!(*name, "resourceLogs" | "attributes" | "body");
    if all.iter().any(|(name, _)| may_be_converted(name)) && super::opentelemetry::may_be_record(object) {
        return None;
    }
    let mut members = Members::default();
    let mut metadata = String::with_capacity(object.len());
    metadata.push('{');
    for (name, value) in all {
        match meaning(name, *value)? {
            Meaning::Role(role) => members.set(role, *value)?,
            Meaning::Other => push_member(&mut metadata, name, *value),
        }
    }
    let mut draft = members.draft(all, clock)?;
    if let Some(inner) = members.metadata {
        // Both may have a name.
        let inner = inner.json().strip_prefix('{')?.strip_suffix('}')?;
        (metadata.len() == 1 || inner.is_empty()).then(|| metadata.push_str(inner))?;
    }
    if metadata.len() >= METADATA_BYTES_MAX {
        return None;
    }
    if metadata.len() > 1 {
        metadata.push('}');
        draft.metadata = Some(Metadata::from_checked(Cow::Owned(metadata)));
    }
    Some(draft)
}

/// What a member is; `None` if only [`super::any_draft`] understands it.
fn meaning(name: &str, value: JsonValue<'_>) -> Option<Meaning> {
    // Most names of metadata are seen to be no others at once.
    let mut buffer = [0; roles::NAME_BYTES_MAX];
    let Some(buffer) = buffer.get_mut(..name.len()).filter(|_| roles::may_be_known(name.as_bytes())) else {
        return Some(Meaning::Other);
    };
    let mut lower = name.as_bytes();
    if lower.iter().any(u8::is_ascii_uppercase) {
        buffer.copy_from_slice(lower);
        buffer.make_ascii_lowercase();
        lower = buffer;
    }
    let is_lower = |known: &&str| known.as_bytes() == lower;
    if PECULIAR.iter().any(is_lower) || (value.kind() == JsonKind::Object && CONTAINERS.iter().any(is_lower)) {
        return None;
    }
    match roles::of(lower) {
        Some((Role::Metadata, _)) if name.as_bytes() != lower || value.kind() != JsonKind::Object => None,
        Some((role, _)) => Some(Meaning::Role(role)),
        None => Some(Meaning::Other),
    }
}

fn push_member(json: &mut String, name: &str, value: JsonValue<'_>) {
    json.push_str(if json.len() == 1 { "\"" } else { ",\"" });
    json.push_str(name);
    json.push_str("\":");
    json.push_str(value.json());
}

impl<'a> Members<'a> {
    /// Refuses a second member with the same role.
    fn set(&mut self, role: Role, value: JsonValue<'a>) -> Option<()> {
        let member = match role {
            Role::Level => &mut self.level,
            Role::Time => &mut self.time,
            Role::Message => &mut self.message,
            Role::Source => &mut self.source,
            Role::StackTrace => &mut self.stack_trace,
            Role::TraceId => &mut self.trace_id,
            Role::SpanId => &mut self.span_id,
            Role::EventId => &mut self.event_id,
            Role::Metadata => &mut self.metadata,
            Role::TraceParent => return None,
        };
        member.replace(value).is_none().then_some(())
    }

    /// The draft without its metadata. Level and message have to be there.
    fn draft(&self, all: &[UsualMember<'_>], clock: Clock<'_>) -> Option<Draft> {
        let message = values::message(self.message.filter(|value| value.kind() == JsonKind::Text)?)?;
        // A text without escapes has no escape character either.
        let message = if matches!(message, Cow::Owned(_)) { ansi::removed(&message) } else { Cow::Borrowed(&*message) };
        let mut draft = Draft { level: Some(level(self.level?)?), ..Draft::default() };
        if let Some(value) = self.time {
            draft.time = Some(time(value, clock)?);
        }
        draft.source = match self.source {
            Some(value) => Some(source(value)?),
            None => place(|| all.iter().map(|(name, value)| (Cow::Borrowed(*name), *value))),
        };
        if let Some(value) = self.stack_trace {
            draft.set_stack_trace(&values::stack_trace(value)?);
        }
        if let Some(value) = self.trace_id {
            draft.trace_id = Some(values::trace_id(value).filter(|_| !value.json().contains('/'))?);
        }
        if let Some(value) = self.span_id {
            draft.span_id = Some(draft::hexadecimal(&text_of(value)?, 16)?);
        }
        if let Some(value) = self.event_id {
            draft.event_id = Some(Uuid::try_parse(&text_of(value)?).ok().filter(|id| !id.is_nil())?);
        }
        let has_text = message.starts_with(|first: char| first.is_ascii_graphic()) || !message.trim().is_empty();
        has_text.then(|| draft.set_message(&message))?;
        Some(draft)
    }
}

/// A level whose text says no more than the level.
fn level(value: JsonValue<'_>) -> Option<Level> {
    let text = text_of(value)?;
    if let Ok(level) = Level::parse(&text) {
        return Some(level);
    }
    let level = levels::of_value(&ansi::removed(&text))?;
    (!values::keeps_more_than(value, level)).then_some(level)
}

fn time(value: JsonValue<'_>, clock: Clock<'_>) -> Option<Timestamp> {
    values::time(value, clock).filter(|_| !values::has_more_digits(value))
}

fn source(value: JsonValue<'_>) -> Option<String> {
    let is_service = |name: &Cow<'_, str>| draft::is_source(name) && !values::is_place_in_code(name);
    text_of(value).filter(is_service).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::json::any_draft;
    use crate::zone::Zone;

    fn both(line: &str) -> (Option<String>, Option<String>) {
        let clock = Clock { zone: &Zone::UTC, now: Timestamp::MIN };
        let shown = |draft: Option<Draft>| draft.map(|draft| format!("{draft:?}"));
        (shown(draft(line, clock)), shown(any_draft(line, clock)))
    }

    #[test]
    fn what_most_programs_write_is_read_here() {
        for line in [
            r#"{"source":"s","level":"INFO","timestamp":"2026-01-01T00:00:00.001Z","message":"m","metadata":{"userId":"1"}}"#,
            r#"{"@timestamp":"2026-01-01T00:00:00.001Z","log.level":"info","service.name":"s","message":"m","k":1,"l":[true]}"#,
            r#"{"level":"warning","time":1705314600500,"hostname":"h","msg":"a\n","host.name":"h"}"#,
            r#"{"LEVEL":"error","Message":"x","stackTrace":"at y","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}"#,
        ] {
            let (read, any) = both(line);
            assert!(read.is_some() && read == any, "{line}\n{read:?}\n{any:?}");
        }
        for other in [r#"{"level":"info"}"#, r#"{"message":"m"}"#, r#"{"level":"info","message":"m","msg":"n"}"#, "x"] {
            assert_eq!(both(other).0, None, "{other}");
        }
    }

    fn name() -> impl Strategy<Value = String> {
        let known = vec![
            "level",
            "LEVEL",
            "message",
            "msg",
            "time",
            "timestamp",
            "source",
            "service",
            "stackTrace",
            "traceId",
            "spanId",
            "eventId",
            "metadata",
            "Metadata",
            "log.level",
            "severity",
            "severityNumber",
            "short_message",
            "t",
            "s",
            "c",
            "@t",
            "@mt",
            "error",
            "resource",
            "date",
            "kind",
            "type",
            "apiVersion",
            "host.name",
            "log.file.path",
            "a",
            "b",
            "timeUnixNano",
            "attributes",
            "traceparent",
            "resourceLogs",
        ];
        select(known).prop_map(str::to_owned)
    }

    fn value() -> impl Strategy<Value = String> {
        let known = vec![
            "\"info\"",
            "\"WARNING\"",
            "\"notice\"",
            "\"i\"",
            "30",
            "17",
            "\"m\"",
            "\"m\\n\"",
            "\"\\u001b[31mred\"",
            "\" \"",
            "\"2026-01-01T00:00:00.001Z\"",
            "\"2026-01-01T00:00:00.1234567Z\"",
            "1705314600500",
            "1705314600.5",
            "\"4bf92f3577b34da6a3ce929d0e0e4736\"",
            "\"00f067aa0ba902b7\"",
            "\"0190163d-8694-739b-aea5-966c26f8ad91\"",
            "\"00000000000000000000000000000000\"",
            "\"p/traces/4bf92f3577b34da6a3ce929d0e0e4736\"",
            "\"a.rs:7\"",
            "null",
            "true",
            "[]",
            "[\"at x\"]",
            "{}",
            "{\"a\":1}",
            "{\"level\":\"error\",\"b\":{\"c\":1.50}}",
            "{\"attributes\":{\"service.name\":\"x\"}}",
            "{\"stringValue\":\"x\"}",
            "{\"a\": 1}",
            "\"Event\"",
            "\"timeUnixNano\"",
        ];
        select(known).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_read_here_is_what_is_read_of_any_object(
            members in prop::collection::vec((name(), value()), 1..8),
            usual in any::<bool>(),
        ) {
            let mut members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            if usual {
                members.extend(["\"lvl\":\"info\"".to_owned(), "\"text\":\"m\"".to_owned()]);
            }
            let (read, any) = both(&format!("{{{}}}", members.join(",")));
            prop_assert!(read.is_none() || read == any, "{:?}\n{:?}", read, any);
        }
    }
}
