//! The report of a process about itself.

use std::net::SocketAddr;

use application::health::Health;
use domain::admission::Usage;
use domain::alert::FiringAlert;
use domain::timestamp::Timestamp;

use crate::openapi::fleet::{ALERTS_MAX, ConsumerReport, GatewayReport, InstanceReport, ProducerReport};
use crate::openapi::schemas::{ComponentHealth, date_time};

/// What the parts of a process tell about themselves at one moment.
#[derive(Clone, Debug)]
pub struct InstanceReading {
    /// When it was taken.
    pub at: Timestamp,
    /// Where the process listens: the gateway, if it is one.
    pub address: Option<SocketAddr>,
    /// Memory of the process that is not swapped out, in bytes.
    pub memory_bytes: Option<u64>,
    /// The file system of the data directory, if the process keeps anything there.
    pub data_dir: Option<Usage>,
    /// The time, in seconds, that all rates cover, if there are any yet.
    pub rate_seconds: Option<f64>,
    /// The gateway, if it is one.
    pub gateway: Option<GatewayReport>,
    /// The producer, if it is one.
    pub producer: Option<ProducerReport>,
    /// The consumer, if it is one.
    pub consumer: Option<ConsumerReport>,
    /// The alerts that hold, in the order in which they began.
    pub alerts: Vec<FiringAlert>,
    /// How many alerts hold besides.
    pub alerts_left_out: u64,
}

impl InstanceReading {
    /// Nothing but a time: of a process without any role.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            address: None,
            memory_bytes: None,
            data_dir: None,
            rate_seconds: None,
            gateway: None,
            producer: None,
            consumer: None,
            alerts: Vec::new(),
            alerts_left_out: 0,
        }
    }
}

/// The report of a process with this role and health. It waits a second for its components at most.
pub async fn report_of(
    role: &'static str,
    started_at: Timestamp,
    health: &Health,
    read: &(dyn Fn() -> InstanceReading + Send + Sync),
) -> (InstanceReport, Option<SocketAddr>) {
    let components = health.components().await;
    let reading = read();
    let up = components.iter().all(|(_, wrong)| wrong.is_none());
    let components = components.into_iter().map(|(name, wrong)| {
        (name.to_owned(), ComponentHealth { status: status(wrong.is_none()), detail: wrong, instances: None })
    });
    let ready = health.is_ready();
    let shown = reading.alerts.len().min(ALERTS_MAX);
    let report = InstanceReport {
        role: role.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: date_time(started_at),
        at: date_time(reading.at),
        uptime_seconds: reading.at.since(started_at).as_secs(),
        status: status(up),
        ready,
        components: components.collect(),
        memory_bytes: reading.memory_bytes,
        data_dir: reading.data_dir.map(Into::into),
        rate_seconds: reading.rate_seconds,
        gateway: reading.gateway,
        // A process that stops asks for nothing, whatever its producer could still accept.
        producer: reading.producer.map(|producer| ProducerReport { ready: producer.ready && ready, ..producer }),
        consumer: reading.consumer,
        alerts: reading.alerts.iter().take(shown).map(Into::into).collect(),
        alerts_left_out: reading.alerts_left_out.saturating_add((reading.alerts.len() - shown) as u64),
    };
    (report, reading.address)
}

/// A status as the answers write it.
pub fn status(up: bool) -> String {
    if up { "UP" } else { "DOWN" }.to_owned()
}
