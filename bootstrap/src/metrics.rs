//! What is asked only when somebody looks at the metrics: states, as opposed to the counts that pile up.

use std::sync::Arc;

use adapter_http::{Activity, BodyBudget};
use adapter_telemetry::Prometheus;
use application::ingest::Ingest;
use domain::ports::{Clock, RecordPublisher, RecordSource};

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
    /// A producer's part.
    pub producer: Option<(Arc<Ingest>, Arc<dyn RecordPublisher>)>,
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
        if let Some((ingest, publisher)) = &self.producer {
            let snapshot = ingest.snapshot();
            self.prometheus.show_deliveries(&snapshot.deliveries, snapshot.oldest_buffered);
            self.prometheus.show_bus(&publisher.state(), publisher.buffer());
        }
        if let Some(source) = &self.source {
            self.prometheus.show_lags(&source.lags(), SystemClock.now());
        }
        self.prometheus.render()
    }
}
