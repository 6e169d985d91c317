//! The shapes of the API, for its document. Requests are parsed and answers written elsewhere, without these types; tests hold
//! them to these schemas.

use std::collections::BTreeMap;

use domain::timestamp::Timestamp;
use poem_openapi::types::Any;
use poem_openapi::{Object, Tags};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::error::problem_json::EventFailure;
use crate::gateway::instances::InstanceState;

/// Operations by what they are for.
#[derive(Tags)]
pub enum Tag {
    /// Hand logs over.
    Ingestion,
    /// Read logs back.
    Query,
    /// Records that can never be stored.
    DeadLetters,
    /// See how a process is.
    Operations,
}

/// A log event. Members that are not listed here join `metadata`.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct LogEvent {
    /// The application that writes the event. 1 to 255 bytes, no control characters.
    #[oai(validator(min_length = 1, max_length = 255))]
    source: String,
    /// TRACE, DEBUG, INFO, WARN, ERROR or FATAL, in any case. WARNING is WARN; CRITICAL, ALERT and EMERGENCY are
    /// FATAL.
    level: String,
    /// What happened. 1 byte to 256 KiB.
    #[oai(validator(min_length = 1, max_length = 262144))]
    message: String,
    /// When it happened, in RFC 3339; the time of receipt unless given. Kept to the microsecond.
    timestamp: Option<OffsetDateTime>,
    /// Identity of the event. Repeats within the dedup window are stored once. A new one is made unless given.
    event_id: Option<Uuid>,
    /// Stack trace of an exception, up to 256 KiB.
    #[oai(validator(max_length = 262144))]
    stack_trace: Option<String>,
    /// W3C trace id; empty counts as absent.
    #[oai(validator(pattern = "^([0-9A-Fa-f]{32})?$"))]
    trace_id: Option<String>,
    /// W3C span id; empty counts as absent.
    #[oai(validator(pattern = "^([0-9A-Fa-f]{16})?$"))]
    span_id: Option<String>,
    /// Anything else: up to 64 KiB as compact JSON, nested at most 16 deep.
    metadata: Option<BTreeMap<String, Any<Value>>>,
}

/// The answer to a single event.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct EventAccepted {
    /// Identity of the event, given or made.
    event_id: Uuid,
    /// Always `Accepted`.
    status: String,
    /// When the event was received.
    timestamp: OffsetDateTime,
    /// What the answer promises: `acknowledged` by the bus, fsynced in the producer's journal (`journaled`), or
    /// in the producer's memory (`buffered`).
    durability: String,
}

/// The answer to a batch.
#[derive(Debug, Object)]
pub struct BatchAccepted {
    /// Events that were accepted.
    accepted: u64,
    /// Events that were not.
    failed: u64,
    /// When the batch was received.
    timestamp: OffsetDateTime,
    /// What the answer promises for how many events.
    durability: DurabilityCounts,
    /// Every event that was not accepted, by index.
    errors: Vec<EventFailure>,
}

/// Accepted events by what the answer promises for them.
#[derive(Debug, Object)]
pub struct DurabilityCounts {
    /// Acknowledged by the bus.
    acknowledged: u64,
    /// Fsynced in the producer's journal.
    journaled: u64,
    /// In the producer's memory.
    buffered: u64,
}

/// How a producer is.
#[derive(Debug, Object)]
pub struct ProducerHealth {
    /// `UP`, or `DOWN` if the producer accepts nothing at the moment.
    pub status: String,
    /// How sending went since the start of the process.
    pub metrics: SendMetrics,
}

/// How sending went since the start of the process.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct SendMetrics {
    /// Events that the bus acknowledged.
    pub messages_sent: u64,
    /// Events that the bus did not take.
    pub messages_failed: u64,
    /// Mean time from sending a batch to its acknowledgement, in milliseconds.
    pub avg_send_duration: f64,
}

/// An event in the store.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "StoredEvent")]
pub struct StoredEventSchema {
    /// Identity of the event.
    event_id: Uuid,
    /// When it happened.
    timestamp: OffsetDateTime,
    /// When a producer received it.
    received_at: OffsetDateTime,
    /// The application that wrote it.
    source: String,
    /// TRACE, DEBUG, INFO, WARN, ERROR or FATAL.
    level: String,
    /// What happened.
    message: String,
    /// Stack trace of an exception.
    stack_trace: Option<String>,
    /// W3C trace id.
    trace_id: Option<String>,
    /// W3C span id.
    span_id: Option<String>,
    /// Anything else.
    metadata: Option<BTreeMap<String, Any<Value>>>,
    /// Topic through which it came.
    topic: String,
    /// Partition through which it came.
    partition: u32,
    /// Offset in the partition.
    offset: u64,
}

/// A page of events.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct EventPage {
    /// Events, in the order that was asked for.
    events: Vec<StoredEventSchema>,
    /// Asks for the next page as `cursor`; null after the last page.
    next_cursor: Option<String>,
    /// What may be meant instead, in sentences for people; only if no event matches and something is unusual.
    hints: Option<Vec<String>>,
}

/// An event and its neighbours in time, oldest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct EventContext {
    /// The events before it.
    before: Vec<StoredEventSchema>,
    /// The event.
    event: StoredEventSchema,
    /// The events after it.
    after: Vec<StoredEventSchema>,
    /// As `cursor` of `GET /api/logs`, asks for older events, newest first; null if there are none.
    before_cursor: Option<String>,
    /// As `cursor` of `GET /api/logs`, asks for newer events, oldest first; null if there are none.
    after_cursor: Option<String>,
}

/// Counts of events by interval of time and value.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct LogStats {
    /// Earliest timestamp counted, inclusive.
    pub from: OffsetDateTime,
    /// Latest timestamp counted, exclusive.
    pub to: OffsetDateTime,
    /// Length of a bucket, in seconds.
    pub interval_seconds: f64,
    /// What is counted by.
    pub by: String,
    /// Events of the whole range, by value.
    pub total: BTreeMap<String, u64>,
    /// Events of the whole range with other values.
    pub other: u64,
    /// Buckets in order. The first may begin before `from`, but counts nothing before it.
    pub buckets: Vec<StatsBucket>,
}

/// Counts of one interval of time.
#[derive(Debug, Object)]
pub struct StatsBucket {
    /// When the bucket begins: a multiple of the interval since 1970-01-01T00:00:00Z.
    pub start: OffsetDateTime,
    /// Its events, by value.
    pub counts: BTreeMap<String, u64>,
    /// Its events with other values.
    pub other: u64,
}

/// The most frequent values of a field.
#[derive(Debug, Object)]
pub struct FieldValues {
    /// Earliest timestamp counted, inclusive.
    pub from: OffsetDateTime,
    /// Latest timestamp counted, exclusive.
    pub to: OffsetDateTime,
    /// The field.
    pub field: String,
    /// Its values, the most frequent first. A value is cut to 256 bytes.
    pub values: Vec<ValueCount>,
    /// Events with other values.
    pub other: u64,
}

/// How many events have a value.
#[derive(Debug, Object)]
pub struct ValueCount {
    /// The value.
    pub value: String,
    /// Events that have it.
    pub events: u64,
}

/// The fields of the newest matching events.
#[derive(Debug, Object)]
pub struct LogFields {
    /// How many events were looked at.
    pub events: u64,
    /// Whether these are all matching events, and all of their fields.
    pub complete: bool,
    /// Their fields, the most frequent first.
    pub fields: Vec<FieldCount>,
}

/// How many events have a field.
#[derive(Debug, Object)]
pub struct FieldCount {
    /// The name of the field, as a search takes it.
    pub name: String,
    /// Events that have it.
    pub events: u64,
}

/// A record that can never be stored as an event.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "DeadLetter", skip_serializing_if_is_none)]
pub struct DeadLetterSchema {
    /// Its number in the store, ascending in the order in which letters were found.
    pub id: u64,
    /// Consumer group that read it.
    pub group: String,
    /// Topic that it was read from.
    pub topic: String,
    /// Partition that it was read from.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Position in a packed record, from 0; 0 for a record of its own.
    pub record_index: u32,
    /// The original key.
    pub key: String,
    /// The original value; of an event in a packed record, the event alone.
    pub value: String,
    /// How `key` and `value` are written: `text`, or `base64` if one of them is no UTF-8.
    pub encoding: String,
    /// Why it cannot be stored.
    pub reason: String,
    /// How many appends and probes were refused with it before it was found out; 0 if it cannot be decoded.
    pub attempts: u32,
    /// When that was found.
    pub at: OffsetDateTime,
    /// When it was last sent to the bus again, if it was.
    pub redriven_at: Option<OffsetDateTime>,
}

/// A page of dead letters.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DeadLetterPage {
    /// In the order in which they were found.
    pub dead_letters: Vec<DeadLetterSchema>,
    /// Asks for the next page as `cursor`; null after the last page.
    pub next_cursor: Option<u64>,
    /// How many match on all pages, counted up to 10,000. Null on a page with a `cursor`, and where counting takes too long.
    pub total: Option<u64>,
    /// Whether more than `total` match.
    pub more_than_total: bool,
}

/// Which dead letters to send to the bus again. All conditions must hold.
#[derive(Debug, Object, serde::Deserialize)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedriveRequest {
    /// This one only.
    #[oai(validator(minimum(value = "1"), maximum(value = "9000000000000000")))]
    pub id: Option<u64>,
    /// Topic that it was read from.
    pub topic: Option<String>,
    /// Partition that it was read from.
    pub partition: Option<u32>,
    /// Found at this time or later.
    #[serde(default, deserialize_with = "rfc_3339")]
    pub from: Option<OffsetDateTime>,
    /// Found before this time.
    #[serde(default, deserialize_with = "rfc_3339")]
    pub to: Option<OffsetDateTime>,
    /// Most letters to send.
    #[oai(default = "letters_default", validator(minimum(value = "1"), maximum(value = "1000")))]
    #[serde(default = "letters_default")]
    pub limit: u32,
    /// Letters a second.
    #[oai(default = "letters_default", validator(minimum(value = "1"), maximum(value = "1000")))]
    #[serde(default = "letters_default")]
    pub rate_per_second: u32,
    /// Only says what would be sent.
    #[oai(default)]
    #[serde(default)]
    pub dry_run: bool,
    /// Also sends letters that were sent again before.
    #[oai(default)]
    #[serde(default)]
    pub force: bool,
}

fn rfc_3339<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = <Option<String> as serde::Deserialize>::deserialize(deserializer)?;
    let parse = |text: String| OffsetDateTime::parse(&text, &Rfc3339);
    text.map(parse)
        .transpose()
        .map_err(|_| serde::de::Error::custom("not an RFC 3339 time such as 2024-01-15T10:30:00Z"))
}

fn letters_default() -> u32 {
    application::dead_letters::LETTERS_DEFAULT
}

/// What a redrive came to.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RedriveResult {
    /// Letters sent, or in a dry run: letters that would be.
    pub redriven: u64,
    /// Letters that match but were sent again before, counted up to 1,000: they need `force`. And letters that the bus
    /// rejects.
    pub skipped: u64,
    /// Whether there are more letters to send: a redrive takes 20 s at most.
    pub more: bool,
    /// Whether nothing was sent.
    pub dry_run: bool,
}

/// What runs here.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct Info {
    /// The build.
    pub build: BuildInfo,
    /// `all`, `gateway`, `producer` or `consumer`.
    pub role: String,
    /// When the process was started.
    pub started_at: OffsetDateTime,
}

/// A build.
#[derive(Debug, Object)]
pub struct BuildInfo {
    /// Name of the program.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

/// What of a process's own log passes.
#[derive(Debug, Object)]
#[oai(rename = "LogFilter")]
pub struct LogDirectives {
    /// A level, or levels by module.
    pub filter: String,
}

/// The names of all metrics.
#[derive(Debug, Object)]
pub struct MetricNames {
    /// Names to ask for.
    pub names: Vec<String>,
}

/// A metric, summed over all series that have the tags asked for.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct MetricReport {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: String,
    /// Its values.
    pub measurements: Vec<Measurement>,
    /// Tags by which it can be narrowed down: `?tag=name:value`.
    pub available_tags: Vec<MetricTag>,
}

/// A value of a metric.
#[derive(Debug, Object)]
pub struct Measurement {
    /// `VALUE` of a gauge, `COUNT` of a counter or of the observations of a histogram, `TOTAL` of what was observed.
    pub statistic: String,
    /// The value.
    pub value: f64,
}

/// A tag of a metric.
#[derive(Debug, Object)]
pub struct MetricTag {
    /// Its name.
    pub tag: String,
    /// The values that there are.
    pub values: Vec<String>,
}

/// How a process and what it depends on are.
#[derive(Debug, Object)]
pub struct HealthReport {
    /// `UP` or `DOWN`.
    pub status: String,
    /// Everything that the process depends on.
    #[oai(skip_serializing_if_is_none)]
    pub components: Option<BTreeMap<String, ComponentHealth>>,
}

/// How a component is.
#[derive(Clone, Debug, Object)]
pub struct ComponentHealth {
    /// `UP` or `DOWN`.
    pub status: String,
    /// What is wrong.
    #[oai(skip_serializing_if_is_none)]
    pub detail: Option<String>,
    /// The instances behind a gateway.
    #[oai(skip_serializing_if_is_none)]
    pub instances: Option<Vec<InstanceHealth>>,
}

/// How an instance behind a gateway is.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct InstanceHealth {
    /// `producer` or `consumer`.
    pub role: String,
    /// The URL that it was found by.
    pub url: String,
    /// Its address.
    pub address: String,
    /// `available`, `unready` (it asks for no requests) or `ejected` (it failed).
    pub state: String,
    /// Requests under way.
    pub under_way: u32,
    /// What its latency counts as now, in milliseconds: it rises with a slow answer or a failure, and falls with time.
    pub latency_ms: f64,
}

impl From<InstanceState> for InstanceHealth {
    fn from(state: InstanceState) -> Self {
        Self {
            role: state.role.to_owned(),
            url: state.url,
            address: state.address.to_string(),
            state: state.availability.name().to_owned(),
            under_way: state.under_way,
            latency_ms: state.latency_ms,
        }
    }
}

/// A time as the schemas write it.
pub fn date_time(timestamp: Timestamp) -> OffsetDateTime {
    // Every timestamp lies within what the library can hold.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp.unix_micros()) * 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
