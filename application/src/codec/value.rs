//! The members of a record's value.
//!
//! They are read twice at most: as Spillway writes them, member after member, and by `serde_json`, which takes any JSON
//! and says what is wrong. Invariant: what the first takes, `serde_json` would read too, as the same members.

use std::borrow::Cow;

use domain::Uuid;
use domain::event::{EventDraft, from_hex};
use domain::event_input::{IdInput, MetadataInput, TimestampInput};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_reader::JsonReader;

/// Bytes of a UUID in text form (RFC 9562).
const ID_TEXT_BYTES: usize = 36;

/// The members that a value has beside an event as a client sends it, and that event. Nothing but the JSON is checked.
#[derive(Debug)]
pub(super) struct Value<'a> {
    /// The event, without its id.
    pub(super) draft: EventDraft<'a>,
    /// `eventId`.
    pub(super) event_id: IdInput<'a, 16>,
    /// `receivedAt`.
    pub(super) received_at: TimestampInput<'a>,
    /// `tenant`.
    pub(super) tenant: Option<Cow<'a, str>>,
    /// `derivedId`.
    pub(super) derived_id: Option<bool>,
}

impl<'a> Value<'a> {
    /// Reads the value of a record.
    ///
    /// # Errors
    /// It is not a JSON object with these members.
    pub(super) fn read(value: &'a [u8], reader: &mut JsonReader<'a>) -> Result<Self, serde_json::Error> {
        // Validating the UTF-8 once is cheaper than string by string.
        let members: Members<'a> = match std::str::from_utf8(value) {
            Ok(json) => match as_written(json, reader) {
                Some(value) => return Ok(value),
                None => serde_json::from_str(json)?,
            },
            Err(_) => serde_json::from_slice(value)?,
        };
        Ok(members.into())
    }
}

/// Reads a value with the members that Spillway writes, in its order and notation; `None` for any other value.
fn as_written<'a>(json: &'a str, memory: &mut JsonReader<'a>) -> Option<Value<'a>> {
    // A local variable, whose fields the compiler keeps in registers. Its memory is lost if the value is another one.
    let mut reader = std::mem::replace(memory, JsonReader::new(""));
    reader.restart(json);
    reader.literal("{\"eventId\":\"")?;
    let event_id = Uuid::try_parse(reader.bytes(ID_TEXT_BYTES)?).ok()?.into_bytes();
    reader.literal("\",\"timestamp\":\"")?;
    let timestamp = reader.time()?;
    reader.literal("\",\"receivedAt\":\"")?;
    let received_at = reader.time()?;
    reader.literal("\",\"source\":")?;
    let source = reader.string()?;
    reader.literal(",\"level\":")?;
    let level = reader.string()?;
    reader.literal(",\"message\":")?;
    let message = reader.string()?;
    let mut draft = EventDraft {
        source: Some(source),
        level: Some(level.into()),
        message: Some(message),
        timestamp: Some(TimestampInput::Parsed(timestamp)),
        ..EventDraft::default()
    };
    if reader.literal(",\"stackTrace\":").is_some() {
        draft.stack_trace = Some(reader.string()?);
    }
    if reader.literal(",\"traceId\":\"").is_some() {
        draft.trace_id = Some(IdInput::Bytes(from_hex(reader.bytes(32)?)?));
        reader.literal("\"")?;
    }
    if reader.literal(",\"spanId\":\"").is_some() {
        draft.span_id = Some(IdInput::Bytes(from_hex(reader.bytes(16)?)?));
        reader.literal("\"")?;
    }
    if reader.literal(",\"metadata\":").is_some() {
        draft.metadata = Some(MetadataInput::Checked(reader.metadata()?));
    }
    let mut tenant = None;
    if reader.literal(",\"tenant\":").is_some() {
        tenant = Some(reader.string()?);
    }
    let derived_id = reader.literal(",\"derivedId\":true").map(|()| true);
    reader.literal("}")?;
    reader.end()?;
    *memory = reader;
    Some(Value {
        draft,
        event_id: IdInput::Bytes(event_id),
        received_at: TimestampInput::Parsed(received_at),
        tenant,
        derived_id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    received_at: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    level: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    stack_trace: Option<Cow<'a, str>>,
    trace_id: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
    tenant: Option<Cow<'a, str>>,
    derived_id: Option<bool>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl<'a> From<Members<'a>> for Value<'a> {
    fn from(members: Members<'a>) -> Self {
        let draft = EventDraft {
            source: Some(members.source),
            level: Some(members.level.into()),
            message: Some(members.message),
            timestamp: Some(members.timestamp.into()),
            event_id: None,
            stack_trace: members.stack_trace,
            trace_id: members.trace_id.map(Into::into),
            span_id: members.span_id.map(Into::into),
            metadata: members.metadata.map(|json| json.get().into()),
            unknown: Vec::new(),
        };
        Self {
            draft,
            event_id: members.event_id.into(),
            received_at: members.received_at.into(),
            tenant: members.tenant,
            derived_id: members.derived_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::event::LogEvent;
    use proptest::prelude::*;
    use proptest::sample::{Index, select, subsequence};

    use super::super::{Undecodable, event_of};
    use super::*;

    /// The same by `serde_json` alone.
    fn by_serde(value: &[u8]) -> Result<Value<'_>, serde_json::Error> {
        serde_json::from_slice::<Members<'_>>(value).map(Into::into)
    }

    /// The event, or the words of the error, which include the place in the value.
    fn decoded(read: Result<Value<'_>, serde_json::Error>) -> Result<LogEvent<'static>, String> {
        let event = read.map_err(Undecodable::from).and_then(|value| event_of(value, true));
        event.map(LogEvent::into_owned).map_err(|error| error.to_string())
    }

    fn compare(value: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(
            decoded(Value::read(value, &mut JsonReader::new(""))),
            decoded(by_serde(value)),
            "{}",
            String::from_utf8_lossy(value)
        );
        Ok(())
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "\"[a-z é😀]{0,30}\"",
            2 => "\"[a-z]{0,5}(\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-f]{4}){1,2}[a-z]{0,5}\"",
            2 => select(vec!["null", "true", "7", "-1.5e3", "01", "{}", "[]", "{\"a\":1,\"a\":2}", "[1,{\"b\": 2 }]", "\"\\u0000\""])
                .prop_map(str::to_owned),
        ]
    }

    /// Members as Spillway writes them, and others, in any order.
    fn object() -> impl Strategy<Value = String> {
        let written = [
            r#""eventId":"0190163d-8694-739b-aea5-966c26f8ad91""#,
            r#""timestamp":"2024-01-15T10:30:00Z""#,
            r#""receivedAt":"2024-01-15T10:30:00.25Z""#,
            r#""source":"checkout""#,
            r#""level":"INFO""#,
            r#""message":"paid \"twice\"\n""#,
            r#""stackTrace":"at x""#,
            r#""traceId":"4bf92f3577b34da6a3ce929d0e0e4736""#,
            r#""spanId":null"#,
            r#""metadata":{"user":"u", "a":[1]}"#,
            r#""tenant":"abababababababababababababababab""#,
            r#""derivedId":true"#,
            r#""added":{"later":[1,2]}"#,
        ];
        let names =
            ["eventId", "timestamp", "source", "message", "metadata", "tenant", "derivedId", "later", "lev\\u0065l"];
        let other = (select(names.to_vec()), value()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        let other = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(other, 1..3)];
        let members = (subsequence(written.to_vec(), 6..=written.len()), other);
        let members = members
            .prop_map(|(written, other)| written.into_iter().map(str::to_owned).chain(other).collect::<Vec<_>>());
        members.prop_shuffle().prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_value_is_read_as_by_serde_json(object in object()) {
            compare(object.as_bytes())?;
        }

        #[test]
        fn a_damaged_value_is_read_as_by_serde_json(
            object in object(),
            damage in prop::collection::vec((any::<Index>(), any::<bool>(), prop_oneof![
                3 => select(b"\"\\{}[],: \n\x000-e.\x7f\xc3\xa9".to_vec()),
                1 => any::<u8>(),
            ]), 1..3),
        ) {
            let mut value = object.into_bytes();
            for (at, insert, byte) in damage {
                let at = at.index(value.len());
                value.splice(at..at + usize::from(!insert), [byte]);
            }
            compare(&value)?;
        }
    }

    #[test]
    fn what_spillway_writes_needs_no_second_look() {
        let written = concat!(
            r#"{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","#,
            r#""receivedAt":"2024-01-15T10:30:00.25Z","source":"my-app","level":"INFO","#,
            r#""message":"User \"login\"\nsuccessful","stackTrace":"at x","traceId":"abababababababababababababababab","#,
            r#""spanId":"abababababababab","metadata":{"userId":"12345"},"tenant":"abababababababababababababababab","derivedId":true}"#
        );
        let few =
            written.find(",\"stackTrace").and_then(|end| written.get(..end)).expect("a stack trace").to_owned() + "}";
        let taken = |json: &str| as_written(json, &mut JsonReader::new("")).is_some();
        assert!(taken(written));
        assert!(taken(&few));
        // These are left to serde_json.
        for other in [
            "{}",
            "",
            &written.replacen('{', "{\"added\":[1],", 1),
            &written.replacen("source", "sourc\\u0065", 1),
            &written.replacen("INFO\"", "INFO\",\"level\":\"INFO\"", 1),
        ] {
            assert!(!taken(other), "{other}");
        }
    }
}
