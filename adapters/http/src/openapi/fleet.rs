//! What a process tells about its roles, and a gateway about the processes behind it.
//!
//! Constraint: a gateway reads what instances of other versions write. A member that is added must be optional, and none is
//! removed.

use std::collections::BTreeMap;

use domain::admission::Usage;
use domain::alert::FiringAlert;
use poem_openapi::Object;
use time::OffsetDateTime;

use crate::gateway::instances::InstanceState;
use crate::openapi::schemas::{ComponentHealth, date_time};

/// Maximum number of alerts of a report.
pub const ALERTS_MAX: usize = 32;
/// Maximum bytes of a detail of an alert; the rest is cut off.
const DETAIL_BYTES_MAX: usize = 300;

/// A gateway and the producers and consumers that it knows.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct Fleet {
    /// When the gateway answered. What it says about others may be a second older.
    pub at: OffsetDateTime,
    /// The process that answers, then the producers, then the consumers.
    pub instances: Vec<FleetInstance>,
    /// How many instances were left out, because there are more than 100.
    pub instances_left_out: u64,
}

/// One process.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct FleetInstance {
    /// `all`, `gateway`, `producer` or `consumer`.
    pub role: String,
    /// The URL that it is found by; absent for the process that answers.
    pub url: Option<String>,
    /// Its address; empty if its name has none.
    pub address: String,
    /// `UP`, `DOWN` (a component is down) or `UNREACHABLE` (it sent no report).
    pub status: String,
    /// How the gateway treats it; absent for the process that answers.
    pub routing: Option<InstanceRouting>,
    /// Why the instance sent no report.
    pub problem: Option<String>,
    /// What it tells about itself.
    pub report: Option<InstanceReport>,
}

/// How a gateway treats an instance.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct InstanceRouting {
    /// `available`, `unready` (it asks for no requests) or `ejected` (it failed).
    pub state: String,
    /// Requests under way.
    pub under_way: u32,
    /// What its latency counts as now, in milliseconds: it rises with a slow answer or a failure, and falls with time.
    pub latency_ms: f64,
}

/// What a process tells about itself.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct InstanceReport {
    /// `all`, `gateway`, `producer` or `consumer`.
    pub role: String,
    /// The version of the program.
    pub version: String,
    /// When the process was started.
    pub started_at: OffsetDateTime,
    /// When the report was written.
    pub at: OffsetDateTime,
    /// How long the process has run, in seconds.
    pub uptime_seconds: u64,
    /// `UP`, or `DOWN` if a component is down.
    pub status: String,
    /// Whether it asks for requests.
    pub ready: bool,
    /// What the process depends on, without the instances of a gateway.
    pub components: BTreeMap<String, ComponentHealth>,
    /// Memory of the process that is not swapped out, in bytes; absent if the system does not tell.
    pub memory_bytes: Option<u64>,
    /// The file system of the data directory; absent if the process keeps nothing there.
    pub data_dir: Option<SpaceReport>,
    /// The time, in seconds, that all rates of this report cover; absent, as they are, within the first second.
    pub rate_seconds: Option<f64>,
    /// The gateway, if it is one.
    pub gateway: Option<GatewayReport>,
    /// The producer, if it is one.
    pub producer: Option<ProducerReport>,
    /// The consumer, if it is one.
    pub consumer: Option<ConsumerReport>,
    /// The alerts that hold, in the order in which they began.
    pub alerts: Vec<AlertReport>,
    /// How many alerts hold besides.
    pub alerts_left_out: u64,
}

/// How much of a bounded space is in use.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(rename_all = "camelCase")]
pub struct SpaceReport {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Capacity in bytes.
    pub bytes_max: u64,
}

/// A gateway.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct GatewayReport {
    /// Requests per second, without those to `/actuator`.
    pub requests_per_second: Option<f64>,
    /// Open connections.
    pub connections: u64,
}

/// A producer.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct ProducerReport {
    /// Whether it accepts at least an ERROR.
    pub ready: bool,
    /// Requests per second, without those to `/actuator`.
    pub requests_per_second: Option<f64>,
    /// Open connections.
    pub connections: u64,
    /// Events per second that were accepted.
    pub accepted_per_second: Option<f64>,
    /// Events per second that were refused.
    pub refused_per_second: Option<f64>,
    /// Events per second that the bus acknowledged.
    pub published_per_second: Option<f64>,
    /// Events accepted since the start.
    pub accepted: u64,
    /// Events refused since the start.
    pub refused: u64,
    /// Events that the bus acknowledged since the start.
    pub published: u64,
    /// Accepted events that the bus permanently rejected since the start: they are kept in the refused log.
    pub rejected: u64,
    /// Accepted events that were lost since the start.
    pub lost: u64,
    /// Accepted events that are in memory only.
    pub buffered: u64,
    /// `embedded` or `kafka`.
    pub bus: String,
    /// The circuit breakers, one in front of each bus.
    pub breakers: Vec<BreakerReport>,
    /// Memory for events that are not acknowledged.
    pub buffer: SpaceReport,
    /// The fullest partition's space: it decides which levels are accepted.
    pub space: SpaceReport,
    /// The journal; absent with the embedded bus.
    pub journal: Option<JournalReport>,
    /// The outage of the bus, if there is one.
    pub outage: Option<OutageReport>,
}

/// A circuit breaker.
#[derive(Clone, Debug, Object)]
pub struct BreakerReport {
    /// Its name.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// How often it has opened since the start.
    pub opened: u64,
}

/// A journal.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct JournalReport {
    /// Events in it.
    pub events: u64,
    /// Bytes of it.
    pub used_bytes: u64,
    /// Maximum bytes of it now: less than configured if its disk has less room.
    pub bytes_max: u64,
    /// Age of the oldest event in it, in seconds.
    pub oldest_age_seconds: Option<f64>,
    /// How fast it grows, in bytes per second: negative if it shrinks.
    pub growth_bytes_per_second: Option<f64>,
    /// The time, in seconds, that the growth covers.
    pub growth_seconds: Option<f64>,
    /// When it is full, in seconds from now, if it goes on like this.
    pub full_in_seconds: Option<u64>,
}

/// An outage of the bus.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct OutageReport {
    /// `away` (the bus takes no records) or `replaying` (it does again, and the journal is not empty).
    pub state: String,
    /// Why the bus takes no records, if that is known.
    pub reason: Option<String>,
    /// What it means, in whole sentences.
    pub summary: String,
}

/// A consumer.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct ConsumerReport {
    /// Requests per second, without those to `/actuator`.
    pub requests_per_second: Option<f64>,
    /// Open connections.
    pub connections: u64,
    /// Events per second that were stored.
    pub stored_per_second: Option<f64>,
    /// Events stored since the start.
    pub stored: u64,
    /// Repeats dropped since the start.
    pub deduplicated: u64,
    /// Events found since the start that can never be stored.
    pub dead_letters: u64,
    /// Records on the bus that are not known to be stored; a packed record, which has several events, counts as one.
    pub lag_records: u64,
    /// Age of the oldest of them, in seconds; absent if there is none, or if none was read yet.
    pub lag_age_seconds: Option<f64>,
    /// How many partitions it reads.
    pub partitions: u64,
}

/// An alert that holds.
#[derive(Clone, Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AlertReport {
    /// Stable name of its kind.
    pub name: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// When it began.
    pub since: OffsetDateTime,
    /// When it was last reported.
    pub last_at: OffsetDateTime,
    /// What is wrong, and what to do next.
    pub summary: String,
    /// Path of the runbook in the repository.
    pub runbook: String,
    /// Details by name.
    pub details: BTreeMap<String, String>,
}

impl From<Usage> for SpaceReport {
    fn from(usage: Usage) -> Self {
        Self { used_bytes: usage.used_bytes, bytes_max: usage.bytes_max }
    }
}

impl From<&InstanceState> for InstanceRouting {
    fn from(state: &InstanceState) -> Self {
        Self { state: state.availability.name().to_owned(), under_way: state.under_way, latency_ms: state.latency_ms }
    }
}

impl From<&FiringAlert> for AlertReport {
    fn from(firing: &FiringAlert) -> Self {
        let alert = &firing.alert;
        let details = alert.details.iter().filter(|(name, _)| *name != "runbook").map(|(name, value)| {
            let mut value = value.clone();
            value.truncate(value.floor_char_boundary(DETAIL_BYTES_MAX));
            ((*name).to_owned(), value)
        });
        Self {
            name: alert.kind.name().to_owned(),
            severity: alert.kind.severity().name().to_owned(),
            since: date_time(firing.since),
            last_at: date_time(firing.last_at),
            summary: alert.summary().to_owned(),
            runbook: alert.kind.runbook(),
            details: details.collect(),
        }
    }
}
