//! What is asked only when somebody looks at the metrics: states, as opposed to the counts that pile up.

use std::sync::Arc;

use adapter_http::{Activity, Availability, BodyBudget, Gateway};
use adapter_telemetry::Prometheus;
use application::deliver::Delivery;
use domain::ports::{Clock, RecordSource};

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
    /// A producer's part.
    pub delivery: Option<Arc<Delivery>>,
    /// A consumer's way out of the bus.
    pub source: Option<Arc<dyn RecordSource>>,
}

impl Metrics {
    /// All metrics in Prometheus' text format. The accounts of a producer are from one moment.
    #[must_use]
    pub fn render(&self) -> String {
        for (role, activity) in &self.servers {
            self.prometheus.show_connections(role, activity.connections());
        }
        for (role, bodies) in &self.bodies {
            self.prometheus.show_bodies(role, bodies.used_bytes());
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
        self.prometheus.render()
    }
}
