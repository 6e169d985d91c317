//! Encoding of events into records, and decoding.
//!
//! The value is the event as compact JSON with `eventId`, `timestamp` and `receivedAt` (contract, "Kafka record"); the
//! key is its source. Other consumers read these records, so members are only ever added. The decoder trusts nothing:
//! it rejects a value that breaks any rule of the event.

use domain::Uuid;
use domain::access::TenantId;
use domain::event::{EventError, IdOrigin, LogEvent, from_hex, to_hex};
use domain::metadata::is_plain;
use domain::record::{Record, RecordTooLarge, Records};
use domain::timestamp::{InvalidTimestamp, Timestamp, TimestampText};

use self::value::Value;
use crate::json_reader::JsonReader;

mod value;

/// How every value begins: the id, and what stands before the time.
const BEGINNING: &[u8; 63] = b"{\"eventId\":\"00000000-0000-0000-0000-000000000000\",\"timestamp\":\"";
const BYTES_BEFORE_ID: usize = 12;

/// Adds an event to a batch of records.
///
/// # Errors
/// Key and value are too large for a record; the batch is unchanged.
pub fn encode(event: &LogEvent<'_>, records: &mut Records) -> Result<(), RecordTooLarge> {
    Encoder::new(event.received_at).encode(event, records)
}

/// Encodes events that were received together.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    received_at: Timestamp,
    /// Written once and not for each event.
    received_at_text: TimestampText,
}

impl Encoder {
    /// For events that were received at this time.
    #[must_use]
    pub fn new(received_at: Timestamp) -> Self {
        Self { received_at, received_at_text: received_at.text() }
    }

    /// Adds an event to a batch of records, as [`encode`] does. It is received when all others are.
    ///
    /// # Errors
    /// Key and value are too large for a record; the batch is unchanged.
    pub fn encode(&self, event: &LogEvent<'_>, records: &mut Records) -> Result<(), RecordTooLarge> {
        // The value says that an id was derived: a header for each record would take librdkafka much time.
        let client_id = event.id_origin.is_client() && !event.id_origin.is_derived();
        records.push(event.source.as_bytes(), self.received_at, client_id, |buffer| {
            write_record_value(event, &self.received_at_text, buffer);
        })
    }
}

/// Decodes the event in a record.
///
/// # Errors
/// The value cannot be decoded. This never happens to a record written by [`encode`].
pub fn decode(record: Record<'_>) -> Result<LogEvent<'_>, Undecodable> {
    Decoder::default().decode(record)
}

/// Decodes records one after another. It keeps its memory from one record to the next.
#[derive(Debug)]
pub struct Decoder<'a> {
    reader: JsonReader<'a>,
}

impl Default for Decoder<'_> {
    fn default() -> Self {
        Self { reader: JsonReader::new("") }
    }
}

impl<'a> Decoder<'a> {
    /// Decodes the event in a record, as [`decode`] does.
    ///
    /// # Errors
    /// The value cannot be decoded.
    pub fn decode(&mut self, record: Record<'a>) -> Result<LogEvent<'a>, Undecodable> {
        event_of(Value::read(record.value, &mut self.reader)?, record.client_id)
    }
}

/// The event of a value. `client_id` is whether the client chose its id.
fn event_of(value: Value<'_>, client_id: bool) -> Result<LogEvent<'_>, Undecodable> {
    let Value { draft, event_id, received_at, tenant, derived_id } = value;
    let received_at = received_at.parse().ok_or(InvalidTimestamp)?;
    // Not checked as that of a client: the record was accepted under the rules of its time.
    let event_id = event_id.bytes(|text| Uuid::try_parse(text).ok().map(Uuid::into_bytes));
    let event_id = Uuid::from_bytes(event_id.ok_or(EventError::EventIdInvalid)?);
    let tenant = tenant.map(|tenant| from_hex::<16>(&tenant).ok_or(Undecodable::Tenant)).transpose()?;
    let tenant = tenant.map(TenantId::from_bytes);
    let id_origin = match (client_id, derived_id) {
        (_, Some(true)) => IdOrigin::Derived(tenant),
        (true, _) => IdOrigin::Client.in_request_of(tenant),
        (false, _) => IdOrigin::Generated,
    };
    Ok(draft.validate(received_at, || (event_id, id_origin))?)
}

/// Why a record cannot be decoded. Permanent: the bytes will not change.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// The value is not the expected JSON object.
    #[error("the value is not the JSON of an event: {0}")]
    Json(#[from] serde_json::Error),
    /// `receivedAt` is not a time.
    #[error("receivedAt is {0}")]
    ReceivedAt(#[from] InvalidTimestamp),
    /// `tenant` is not the id of a tenant.
    #[error("tenant is not 32 hexadecimal digits")]
    Tenant,
    /// The event breaks a rule.
    #[error("{0}")]
    Event(#[from] EventError),
}

/// Appends the value of a record: the JSON of an event, the tenant whose claim its id is, and whether that was derived.
fn write_record_value(event: &LogEvent<'_>, received_at: &TimestampText, buffer: &mut Vec<u8>) {
    write_members(event, received_at, buffer);
    if let Some(tenant) = event.id_origin.tenant() {
        // Behind all others: most records have none.
        buffer.pop();
        write_plain(",\"tenant\":\"", to_hex(tenant.as_bytes()).as_bytes(), buffer);
        buffer.push(b'}');
    }
    if event.id_origin.is_derived() {
        buffer.pop();
        buffer.extend_from_slice(b",\"derivedId\":true}");
    }
}

/// Appends the JSON of an event, as used in records and in query answers. Who claims its id is in records only.
pub fn write_value(event: &LogEvent<'_>, buffer: &mut Vec<u8>) {
    write_members(event, &event.received_at.text(), buffer);
}

fn write_members(event: &LogEvent<'_>, received_at: &TimestampText, buffer: &mut Vec<u8>) {
    // Written by hand, since encoding is the largest cost per event: ids and times need no escapes, nor do most texts.
    let mut beginning = *BEGINNING;
    if let Some((_, id)) = beginning.split_at_mut_checked(BYTES_BEFORE_ID) {
        event.event_id.hyphenated().encode_lower(id);
    }
    buffer.extend_from_slice(&beginning);
    event.timestamp.text().append_to(buffer);
    buffer.extend_from_slice(b"\",\"receivedAt\":\"");
    received_at.append_to(buffer);
    buffer.extend_from_slice(b"\",\"source\":");
    write_text(&event.source, buffer);
    buffer.extend_from_slice(b",\"level\":\"");
    buffer.extend_from_slice(event.level.name().as_bytes());
    buffer.extend_from_slice(b"\",\"message\":");
    write_text(&event.message, buffer);
    if let Some(stack_trace) = &event.stack_trace {
        buffer.extend_from_slice(b",\"stackTrace\":");
        write_text(stack_trace, buffer);
    }
    if let Some(id) = &event.trace_id {
        write_plain(",\"traceId\":\"", to_hex(id).as_bytes(), buffer);
    }
    if let Some(id) = &event.span_id {
        write_plain(",\"spanId\":\"", to_hex(id).as_bytes(), buffer);
    }
    if let Some(metadata) = &event.metadata {
        // Already checked and compact: copied unchanged.
        buffer.extend_from_slice(b",\"metadata\":");
        buffer.extend_from_slice(metadata.as_json().as_bytes());
    }
    buffer.push(b'}');
}

/// Appends a member name, the opening quotation mark, and a text without characters to escape.
#[inline]
fn write_plain(name: &str, text: &[u8], buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(text);
    buffer.push(b'"');
}

/// Appends a text as JSON.
pub fn write_text(text: &str, buffer: &mut Vec<u8>) {
    if !is_plain(text.as_bytes()) && serde_json::to_writer(&mut *buffer, text).is_ok() {
        return;
    }
    buffer.push(b'"');
    buffer.extend_from_slice(text.as_bytes());
    buffer.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use domain::level::Level;
    use domain::metadata::Metadata;
    use domain::record::RECORD_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;

    fn event() -> LogEvent<'static> {
        LogEvent {
            event_id: Uuid::from_u128(1),
            id_origin: IdOrigin::Generated,
            source: "my-app".into(),
            level: Level::Info,
            message: "User \"login\"\nsuccessful".into(),
            timestamp: Timestamp::from_unix_micros(1_705_314_600_000_000).expect("in range"),
            received_at: Timestamp::from_unix_micros(1_705_314_600_250_000).expect("in range"),
            stack_trace: None,
            trace_id: None,
            span_id: None,
            metadata: None,
        }
    }

    fn record(value: &[u8]) -> Record<'_> {
        Record { key: b"my-app", value, timestamp: Timestamp::MIN, client_id: false }
    }

    #[test]
    fn the_value_is_the_documented_json() {
        let mut records = Records::default();
        let metadata = Metadata::parse(r#"{"userId":"12345"}"#).ok();
        encode(&LogEvent { metadata, trace_id: Some([0xab; 16]), ..event() }, &mut records).expect("small");
        let record = records.iter().next().expect("one record");
        assert_eq!(record.key, b"my-app");
        assert_eq!(
            std::str::from_utf8(record.value).expect("UTF-8"),
            concat!(
                r#"{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","#,
                r#""receivedAt":"2024-01-15T10:30:00.25Z","source":"my-app","level":"INFO","#,
                r#""message":"User \"login\"\nsuccessful","traceId":"abababababababababababababababab","#,
                r#""metadata":{"userId":"12345"}}"#
            )
        );
    }

    #[test]
    fn members_of_a_newer_schema_are_ignored_and_anything_else_is_rejected() {
        let mut value = Vec::new();
        write_value(&event(), &mut value);
        let text = String::from_utf8(value).expect("UTF-8");
        assert!(decode(record(text.replacen('{', "{\"added\":1,", 1).as_bytes())).is_ok());
        for broken in [
            String::new(),
            "[]".to_owned(),
            text.replace("\"source\"", "\"sauce\""),
            text.replace("INFO", "LOUD"),
            text.replace("2024-01-15T10:30:00.25Z", "later"),
            text.replace("00000000-0000", "0000"),
            text.replacen('{', "{\"tenant\":\"shop\",", 1),
        ] {
            assert!(decode(record(broken.as_bytes())).is_err(), "{broken}");
        }
        assert!(decode(record(b"\xff")).is_err());
    }

    #[test]
    fn the_tenant_of_an_id_is_in_the_record_and_not_in_answers() {
        let mut records = Records::default();
        let tenant = TenantId::from_bytes([0xab; 16]);
        let event = LogEvent { id_origin: IdOrigin::Tenant(tenant), ..event() };
        encode(&event, &mut records).expect("small");
        let record = records.iter().next().expect("one record");
        let text = std::str::from_utf8(record.value).expect("UTF-8");
        assert!(record.client_id && text.ends_with(r#","tenant":"abababababababababababababababab"}"#), "{text}");
        let mut answer = Vec::new();
        write_value(&event, &mut answer);
        assert!(!String::from_utf8(answer).expect("UTF-8").contains("tenant"));
        for (tenant, end) in [(None, r#"","derivedId":true}"#), (Some(tenant), r#"ab","derivedId":true}"#)] {
            let (mut records, mut answer) = (Records::default(), Vec::new());
            let event = LogEvent { id_origin: IdOrigin::Derived(tenant), ..event.clone() };
            encode(&event, &mut records).expect("small");
            let record = records.iter().next().expect("one record");
            let text = std::str::from_utf8(record.value).expect("UTF-8");
            assert!(!record.client_id && text.ends_with(end) && text.contains("tenant") == tenant.is_some(), "{text}");
            for client_id in [false, true] {
                let record = Record { client_id, ..record };
                assert_eq!(decode(record).expect("an event").id_origin, event.id_origin);
            }
            write_value(&event, &mut answer);
            assert!(!String::from_utf8(answer).expect("UTF-8").contains("derivedId"));
        }
    }

    #[test]
    fn an_event_larger_than_a_record_is_refused() {
        let mut records = Records::default();
        // Every quotation mark has two bytes in JSON.
        let text = "\"".repeat(RECORD_BYTES_MAX / 4);
        let large = LogEvent { message: text.as_str().into(), stack_trace: Some(text.as_str().into()), ..event() };
        assert_eq!(encode(&large, &mut records), Err(RecordTooLarge));
        assert!(records.is_empty());
    }

    prop_compose! {
        fn any_event()(
            ids in any::<(u128, u8, Option<[u8; 16]>, Option<[u8; 8]>)>(),
            source in "[^\\p{Cc}]{1,40}",
            level in prop::sample::select(Level::ALL.to_vec()),
            message in "[^\0]{1,60}",
            stack_trace in prop::option::of("[^\0]{0,60}"),
            times in (Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros(), Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros()),
            metadata in prop::option::of("[^\0]{0,20}"),
        ) -> LogEvent<'static> {
            let metadata = metadata.map(|text| serde_json::json!({ "text": text, "n": [1, null] }).to_string());
            LogEvent {
                event_id: Uuid::from_u128(ids.0),
                id_origin: match ids.1 % 5 {
                    0 => IdOrigin::Client,
                    1 => IdOrigin::Generated,
                    2 => IdOrigin::Derived(None),
                    3 => IdOrigin::Derived(Some(TenantId::from_bytes([ids.1; 16]))),
                    _ => IdOrigin::Tenant(TenantId::from_bytes([ids.1; 16])),
                },
                source: source.into(),
                level,
                message: message.into(),
                timestamp: Timestamp::from_unix_micros(times.0).expect("in range"),
                received_at: Timestamp::from_unix_micros(times.1).expect("in range"),
                stack_trace: stack_trace.map(Cow::Owned),
                trace_id: ids.2,
                span_id: ids.3,
                metadata: metadata.map(|json| Metadata::parse(&json).expect("valid").into_owned()),
            }
        }
    }

    proptest! {
        #[test]
        fn every_event_round_trips(event in any_event()) {
            let mut records = Records::default();
            encode(&event, &mut records).expect("small");
            prop_assert_eq!(decode(records.iter().next().expect("one record")).expect("an event"), event);
        }
    }
}
