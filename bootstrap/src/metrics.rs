//! Collects the metrics that are read at scrape time: current states, as opposed to counters.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use adapter_embedded::disk::Disk;
use adapter_embedded::store::SqliteStore;
use adapter_http::{Activity, Availability, BodyBudget, Gateway};
use adapter_telemetry::Prometheus;
use application::delivery::Delivery;
use domain::admission::Usage;
use domain::disk::DiskSpace;
use domain::ports::{Clock, RecordSource};
use tokio::runtime::Handle;

use crate::backends::ClientCounts;
use crate::system::SystemClock;
use crate::tls::ListenerTls;

/// The sources of all metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Counts.
    pub prometheus: Arc<Prometheus>,
    /// Held while states are collected and rendered: two concurrent scrapes would show a mixture of two moments.
    pub rendering: Arc<Mutex<()>>,
    /// The servers of this process by role.
    pub servers: Vec<(&'static str, Arc<Activity>)>,
    /// Request bodies in progress by role.
    pub bodies: Vec<(&'static str, BodyBudget)>,
    /// The gateway, once it is there, if this process has one.
    pub gateway: Arc<OnceLock<Gateway>>,
    /// The disk of the data directory, if the process stores anything there.
    pub disk: Option<Arc<Disk>>,
    /// The TLS of the listeners.
    pub tls: ListenerTls,
    /// The delivery of a producer.
    pub delivery: Option<Arc<Delivery>>,
    /// Statistics of its Kafka client.
    pub kafka: Option<ClientCounts>,
    /// The record source of a consumer.
    pub source: Option<Arc<dyn RecordSource>>,
    /// The store of a consumer, if it has sealed segments.
    pub segments: Option<Arc<SqliteStore>>,
}

impl Metrics {
    /// How much of the file system of the data directory is in use, if the process stores anything there.
    #[must_use]
    pub fn data_dir(&self) -> Option<Usage> {
        let space = self.disk.as_ref()?.space();
        let usage = Usage { used_bytes: space.used_bytes(), bytes_max: space.total_bytes };
        (space != DiskSpace::UNKNOWN).then_some(usage)
    }

    /// All metrics in the Prometheus text format. The accounts of a producer are one consistent snapshot. Needs a tokio
    /// runtime.
    #[must_use]
    pub fn render(&self) -> String {
        let _rendering = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        for (role, activity) in &self.servers {
            self.prometheus.show_connections(role, activity.connections());
        }
        for (role, bodies) in &self.bodies {
            self.prometheus.show_bodies(role, bodies.used_bytes());
        }
        for (role, tls) in self.tls.all() {
            self.prometheus.show_certificate(role, tls.expires());
        }
        if let Some(usage) = self.data_dir() {
            self.prometheus.show_data_dir(usage);
        }
        if let Some(gateway) = self.gateway.get() {
            let instances = gateway.instances();
            for (role, state) in
                ["producer", "consumer"].into_iter().flat_map(|role| Availability::ALL.map(|state| (role, state)))
            {
                let found = instances.iter().filter(|instance| instance.role == role && instance.availability == state);
                self.prometheus.show_upstreams(role, state.name(), found.count());
            }
        }
        if let Some(delivery) = &self.delivery {
            let status = delivery.status();
            self.prometheus.show_deliveries(&status.deliveries, status.oldest_buffered);
            self.prometheus.show_bus(status.breaker, status.breaker_entered, status.buffer);
            if let Some(journal) = status.journal {
                let oldest_age = journal.oldest.map(|oldest| SystemClock.now().since(oldest)).unwrap_or_default();
                let (is_up, (_, damaged_bytes)) = (journal.fault.is_none(), journal.damage);
                self.prometheus.show_journal(journal.usage, oldest_age, is_up, damaged_bytes);
                self.prometheus.show_unkept(journal.unkept.map_or(0, |(_, bytes)| bytes));
            }
        }
        if let Some(source) = &self.source {
            self.prometheus.show_lags(&source.lags(), SystemClock.now());
        }
        if let Some(store) = &self.segments {
            let segments = store.segments_status();
            self.prometheus.show_segments(segments.file_bytes, segments.unreadable);
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
