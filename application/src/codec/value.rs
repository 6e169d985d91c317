//! The members of a record's value.
//!
//! They are read twice at most: in place ([`crate::json_reader`]), which takes what every Spillway writes, and by
//! `serde_json`, which takes any JSON and says what is wrong. Invariant: what is read in place, `serde_json` would read
//! too, as the same members.

use std::borrow::Cow;

use domain::event::EventDraft;
use domain::event_input::MetadataInput;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_reader::JsonReader;

/// The members that a value has beside an event as a client sends it, and that event. Nothing but the JSON is checked.
#[derive(Debug)]
pub(super) struct Value<'a> {
    /// The event, without its id.
    pub(super) draft: EventDraft<'a>,
    /// `eventId`.
    pub(super) event_id: Cow<'a, str>,
    /// `receivedAt`.
    pub(super) received_at: Cow<'a, str>,
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
    pub(super) fn read(value: &'a [u8]) -> Result<Self, serde_json::Error> {
        // Validating the UTF-8 once is cheaper than string by string.
        let members: Members<'a> = match std::str::from_utf8(value) {
            Ok(json) => match in_place(json) {
                Some(value) => return Ok(value),
                None => serde_json::from_str(json)?,
            },
            Err(_) => serde_json::from_slice(value)?,
        };
        Ok(members.into())
    }
}

/// Reads what needs no second look; `None` otherwise.
fn in_place(json: &str) -> Option<Value<'_>> {
    let mut reader = JsonReader::new(json);
    reader.skip_space();
    let mut draft = EventDraft::default();
    let (mut event_id, mut received_at, mut tenant, mut derived_id) = (None, None, None, None);
    let mut seen = 0_u16;
    reader.object(|reader, name| {
        let bit = match name.bytes() {
            b"eventId" => {
                event_id = Some(reader.string()?);
                1
            }
            b"timestamp" => {
                draft.timestamp = Some(reader.string()?.into());
                1 << 1
            }
            b"receivedAt" => {
                received_at = Some(reader.string()?);
                1 << 2
            }
            b"source" => {
                draft.source = Some(reader.string()?);
                1 << 3
            }
            b"level" => {
                draft.level = Some(reader.string()?.into());
                1 << 4
            }
            b"message" => {
                draft.message = Some(reader.string()?);
                1 << 5
            }
            b"stackTrace" => {
                draft.stack_trace = reader.string_or_null()?;
                1 << 6
            }
            b"traceId" => {
                draft.trace_id = reader.string_or_null()?.map(Into::into);
                1 << 7
            }
            b"spanId" => {
                draft.span_id = reader.string_or_null()?.map(Into::into);
                1 << 8
            }
            b"metadata" => {
                draft.metadata = reader.metadata_or_null()?.map(MetadataInput::Checked);
                1 << 9
            }
            b"tenant" => {
                tenant = reader.string_or_null()?;
                1 << 10
            }
            b"derivedId" => {
                derived_id = match reader.value()? {
                    "true" => Some(true),
                    "false" => Some(false),
                    "null" => None,
                    _ => return None,
                };
                1 << 11
            }
            _ => {
                reader.value()?;
                0
            }
        };
        // A member that is there twice is an error.
        let again = seen & bit != 0;
        seen |= bit;
        (!again).then_some(())
    })?;
    reader.end()?;
    let is_complete =
        draft.timestamp.is_some() && draft.source.is_some() && draft.level.is_some() && draft.message.is_some();
    is_complete.then_some(())?;
    Some(Value { draft, event_id: event_id?, received_at: received_at?, tenant, derived_id })
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
            event_id: members.event_id,
            received_at: members.received_at,
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

    /// The same without reading in place.
    fn by_serde(value: &[u8]) -> Result<Value<'_>, serde_json::Error> {
        serde_json::from_slice::<Members<'_>>(value).map(Into::into)
    }

    /// The event, or the words of the error, which include the place in the value.
    fn decoded(read: Result<Value<'_>, serde_json::Error>) -> Result<LogEvent<'static>, String> {
        let event = read.map_err(Undecodable::from).and_then(|value| event_of(value, true));
        event.map(LogEvent::into_owned).map_err(|error| error.to_string())
    }

    fn compare(value: &[u8]) -> Result<(), TestCaseError> {
        prop_assert_eq!(decoded(Value::read(value)), decoded(by_serde(value)), "{}", String::from_utf8_lossy(value));
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
    fn what_spillway_writes_is_read_in_place() {
        let written = concat!(
            r#"{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","#,
            r#""receivedAt":"2024-01-15T10:30:00.25Z","source":"my-app","level":"INFO","#,
            r#""message":"User \"login\"\nsuccessful","stackTrace":"at x","traceId":"abababababababababababababababab","#,
            r#""spanId":"abababababababab","metadata":{"userId":"12345"},"tenant":"abababababababababababababababab","derivedId":true}"#
        );
        assert!(in_place(written).is_some());
        assert!(in_place(&written.replacen('{', "{\"added\":[1],", 1)).is_some());
        // These are left to serde_json.
        for other in [
            "{}",
            "",
            &written.replacen("source", "sourc\\u0065", 1),
            &written.replacen("INFO\"", "INFO\",\"level\":\"INFO\"", 1),
        ] {
            assert!(in_place(other).is_none(), "{other}");
        }
    }
}
