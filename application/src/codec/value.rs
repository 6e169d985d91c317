//! The members of a record's value.
//!
//! They are read twice at most: in the order in which Spillway writes them, and by `serde_json`, which takes any JSON and
//! says what is wrong. Invariant: what is read in that order, `serde_json` would read too, as the same members.

use std::borrow::Cow;

use domain::event::EventDraft;
use domain::event_input::MetadataInput;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_reader::JsonReader;

/// The members that a value has beside an event as a client sends it, and that event. Nothing but the JSON is checked.
#[derive(Debug, Default)]
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
    /// Reads the value of a record, in place because it is large.
    ///
    /// # Errors
    /// It is not a JSON object with these members.
    pub(super) fn read(&mut self, value: &'a [u8]) -> Result<(), serde_json::Error> {
        // Validating the UTF-8 once is cheaper than string by string.
        let members: Members<'a> = match std::str::from_utf8(value) {
            Ok(json) if self.read_written(json).is_some() => return Ok(()),
            Ok(json) => serde_json::from_str(json)?,
            Err(_) => serde_json::from_slice(value)?,
        };
        *self = members.into();
        Ok(())
    }

    /// Reads what [`super::encode`] writes: the same members in the same order, without white space. `None` for all else,
    /// of which some members are read.
    pub(super) fn read_written(&mut self, json: &'a str) -> Option<()> {
        let mut reader = JsonReader::new(json);
        self.event_id = reader.skip(b"{\"eventId\":").then(|| reader.string())??;
        self.draft.timestamp = Some(reader.skip(b",\"timestamp\":").then(|| reader.string())??.into());
        self.received_at = reader.skip(b",\"receivedAt\":").then(|| reader.string())??;
        self.draft.source = Some(reader.skip(b",\"source\":").then(|| reader.string())??);
        self.draft.level = Some(reader.skip(b",\"level\":").then(|| reader.string())??.into());
        self.draft.message = Some(reader.skip(b",\"message\":").then(|| reader.string())??);
        // The others are optional.
        if reader.skip(b",\"stackTrace\":") {
            self.draft.stack_trace = Some(reader.string()?);
        }
        if reader.skip(b",\"traceId\":") {
            self.draft.trace_id = Some(reader.string()?.into());
        }
        if reader.skip(b",\"spanId\":") {
            self.draft.span_id = Some(reader.string()?.into());
        }
        if reader.skip(b",\"metadata\":") {
            self.draft.metadata = Some(MetadataInput::Checked(reader.metadata()?));
        }
        if reader.skip(b",\"tenant\":") {
            self.tenant = Some(reader.string()?);
        }
        if reader.skip(b",\"derivedId\":true") {
            self.derived_id = Some(true);
        }
        reader.skip(b"}").then(|| reader.end())?
    }
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
        let mut read = Value::default();
        let read = read.read(value).map(|()| read);
        prop_assert_eq!(decoded(read), decoded(by_serde(value)), "{}", String::from_utf8_lossy(value));
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

    /// Members as Spillway writes them: in its order, or in any order and with others.
    fn object() -> impl Strategy<Value = String> {
        let required = [
            r#""eventId":"0190163d-8694-739b-aea5-966c26f8ad91""#,
            r#""timestamp":"2024-01-15T10:30:00Z""#,
            r#""receivedAt":"2024-01-15T10:30:00.25Z""#,
            r#""source":"checkout""#,
            r#""level":"INFO""#,
            r#""message":"paid \"twice\"\n""#,
        ];
        let optional = [
            r#""stackTrace":"at x""#,
            r#""traceId":"4bf92f3577b34da6a3ce929d0e0e4736""#,
            r#""spanId":"00f067aa0ba902b7""#,
            r#""metadata":{"user":"u", "a":[1]}"#,
            r#""tenant":"abababababababababababababababab""#,
            r#""derivedId":true"#,
            r#""added":{"later":[1,2]}"#,
        ];
        let names = [
            "eventId",
            "timestamp",
            "source",
            "message",
            "spanId",
            "metadata",
            "tenant",
            "derivedId",
            "later",
            "lev\\u0065l",
        ];
        let other = (select(names.to_vec()), value()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        let other = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(other, 1..3)];
        let written = [required.as_slice(), &optional].concat();
        let in_order = subsequence(optional.to_vec(), 0..=optional.len())
            .prop_map(move |optional| required.into_iter().chain(optional).map(str::to_owned).collect::<Vec<_>>());
        let in_any_order = (subsequence(written.clone(), required.len()..=written.len()), other)
            .prop_map(|(written, other)| written.into_iter().map(str::to_owned).chain(other).collect::<Vec<_>>())
            .prop_shuffle();
        prop_oneof![in_order, in_any_order].prop_map(|members| format!("{{{}}}", members.join(",")))
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
    fn what_spillway_writes_is_read_in_its_order() {
        let required = concat!(
            r#"{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","#,
            r#""receivedAt":"2024-01-15T10:30:00.25Z","source":"my-app","level":"INFO","#,
            r#""message":"User \"login\"\nsuccessful""#,
        );
        let others = concat!(
            r#","stackTrace":"at x","traceId":"abababababababababababababababab","spanId":"abababababababab","#,
            r#""metadata":{"userId":"12345"},"tenant":"abababababababababababababababab","derivedId":true"#
        );
        let written = format!("{required}{others}}}");
        let is_in_order = |json: &str| Value::default().read_written(json).is_some();
        assert!(is_in_order(&written) && is_in_order(&format!("{required}}}")));
        // These are left to serde_json.
        for other in [
            "{}",
            "",
            &written.replacen("source", "sourc\\u0065", 1),
            &written.replacen("INFO\"", "INFO\",\"level\":\"INFO\"", 1),
            &written.replacen('{', "{\"added\":[1],", 1),
            &format!("{required}, {others}}}"),
            required,
        ] {
            assert!(!is_in_order(other), "{other}");
        }
    }
}
