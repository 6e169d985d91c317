//! What is asked only when somebody looks at the metrics: states, as opposed to the counts that pile up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_http::{Activity, Availability, BodyBudget, Gateway};
use adapter_telemetry::Prometheus;
use application::deliver::Delivery;
use domain::admission::Fill;
use domain::ports::{Clock, RecordSource};
use tokio::runtime::Handle;

use crate::backends::ClientCounts;
use crate::system::SystemClock;

/// Everything that metrics are made from.
#[derive(Clone)]
pub struct Metrics {
    /// Counts.
    pub prometheus: Arc<Prometheus>,
    /// The servers of this process by role.
    pub servers: Vec<(&'static str, Arc<Activity>)>,
    /// Request bodies in work by role.
    pub bodies: Vec<(&'static str, BodyBudget)>,
    /// A gateway's part.
    pub gateway: Option<Gateway>,
    /// The data directory, if the process keeps something there.
    pub data_dir: Option<PathBuf>,
    /// A producer's part.
    pub delivery: Option<Arc<Delivery>>,
    /// What the client of Kafka counts for it.
    pub kafka: Option<ClientCounts>,
    /// A consumer's way out of the bus.
    pub source: Option<Arc<dyn RecordSource>>,
}

impl Metrics {
    /// All metrics in Prometheus' text format. The accounts of a producer are from one moment. Needs a tokio runtime.
    #[must_use]
    pub fn render(&self) -> String {
        for (role, activity) in &self.servers {
            self.prometheus.show_connections(role, activity.connections());
        }
        for (role, bodies) in &self.bodies {
            self.prometheus.show_bodies(role, bodies.used_bytes());
        }
        if let Some(room) = self.data_dir.as_deref().and_then(room) {
            self.prometheus.show_data_dir(room);
        }
        if let Some(gateway) = &self.gateway {
            let instances = gateway.instances();
            for (role, state) in
                ["producer", "consumer"].into_iter().flat_map(|role| Availability::ALL.map(|state| (role, state)))
            {
                let found = instances.iter().filter(|instance| instance.role == role && instance.availability == state);
                self.prometheus.show_upstreams(role, state.name(), found.count());
            }
        }
        if let Some(delivery) = &self.delivery {
            let snapshot = delivery.snapshot();
            self.prometheus.show_deliveries(&snapshot.deliveries, snapshot.oldest_buffered);
            self.prometheus.show_bus(delivery.breaker_state(), delivery.breaker_entered(), delivery.buffer());
            if let Some(journal) = delivery.journal() {
                let oldest_age = journal.oldest().map(|oldest| SystemClock.now().since(oldest)).unwrap_or_default();
                let (_, damaged_bytes) = delivery.journal_damage();
                let is_up = journal.trouble().is_none();
                self.prometheus.show_journal(journal.fill(), oldest_age, is_up, damaged_bytes);
            }
        }
        if let Some(source) = &self.source {
            self.prometheus.show_lags(&source.lags(), SystemClock.now());
        }
        if let Some(client) = self.kafka.as_ref().and_then(|counts| counts()) {
            let (messages, bytes) = client.queued;
            self.prometheus.show_kafka_client(messages, bytes, &client.batch_bytes, &client.batch_records);
            let brokers = client.brokers.iter();
            self.prometheus.show_kafka_brokers(
                brokers.map(|broker| (broker.name.as_str(), &broker.rtt_seconds[..], broker.outbuf_records)),
            );
        }
        let runtime = Handle::current().metrics();
        self.prometheus.show_runtime(runtime.num_workers(), runtime.num_alive_tasks(), runtime.global_queue_depth());
        self.prometheus.render()
    }
}

/// The room of a file system: what is left is what this process could have (`df`). `None` if the kernel does not say, such as
/// before the directory is made.
fn room(directory: &Path) -> Option<Fill> {
    let found = rustix::fs::statvfs(directory).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let (bytes_max, left) = (bytes(found.f_blocks), bytes(found.f_bavail));
    Some(Fill { used_bytes: bytes_max.saturating_sub(left), bytes_max })
}
