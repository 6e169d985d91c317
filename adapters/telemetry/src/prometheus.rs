//! Metrics in memory, rendered for Prometheus.

use std::time::Duration;

use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::ports::{Appended, RequestClass, Telemetry};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::metric::{Kind, Metric};

/// From half a millisecond, a fast disk, to the half minute after which an outcome is unknown.
const SEND_SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

const METADATA: Metadata<'static> = Metadata::new("spillway", Level::INFO, None);

/// The metrics of one process. Not global: several may live side by side in tests.
pub struct Prometheus {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    sent: Counter,
    failed: Counter,
    duration: Histogram,
    fetched: Counter,
    stored: Counter,
    deduplicated: Counter,
    dead_lettered: Counter,
}

impl Prometheus {
    /// No counts yet.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let duration = Matcher::Full(Metric::SendDuration.name().to_owned());
        // Refused only for an empty list of buckets.
        let builder =
            builder.set_buckets_for_metric(duration, &SEND_SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        for metric in Metric::ALL {
            let (name, help): (KeyName, SharedString) = (metric.name().into(), metric.help().into());
            match metric.kind() {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
            }
        }
        let counter = |metric: Metric| recorder.register_counter(&Key::from_name(metric.name()), &METADATA);
        let this = Self {
            sent: counter(Metric::MessagesSent),
            failed: counter(Metric::MessagesFailed),
            duration: recorder.register_histogram(&Key::from_name(Metric::SendDuration.name()), &METADATA),
            fetched: counter(Metric::RecordsFetched),
            stored: counter(Metric::EventsStored),
            deduplicated: counter(Metric::EventsDeduplicated),
            dead_lettered: counter(Metric::EventsDeadLettered),
            handle: recorder.handle(),
            recorder,
        };
        // Known label values exist from the start, so that rates do not miss the first event.
        for guarantee in Guarantee::ALL {
            this.labeled_counter(Metric::EventsAccepted, "guarantee", guarantee.name()).absolute(0);
        }
        for class in [RequestClass::Single, RequestClass::Batch] {
            this.labeled_counter(Metric::RequestsRateLimited, "class", class_name(class)).absolute(0);
        }
        this.labeled_gauge(Metric::BuildInfo, "version", env!("CARGO_PKG_VERSION").into()).set(1.0);
        this
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recent samples into their buckets. Call every few seconds, or the memory of a process that nobody
    /// scrapes grows.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn labeled_counter(&self, metric: Metric, label: &'static str, value: &'static str) -> Counter {
        let key = Key::from_parts(metric.name(), vec![Label::from_static_parts(label, value)]);
        self.recorder.register_counter(&key, &METADATA)
    }

    fn labeled_gauge(&self, metric: Metric, label: &'static str, value: SharedString) -> Gauge {
        let key = Key::from_parts(metric.name(), vec![Label::new(label, value)]);
        self.recorder.register_gauge(&key, &METADATA)
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry for Prometheus {
    fn accepted(&self, guarantee: Guarantee, events: usize) {
        self.labeled_counter(Metric::EventsAccepted, "guarantee", guarantee.name()).increment(events as u64);
    }

    fn refused(&self, code: &'static str, events: usize) {
        self.labeled_counter(Metric::EventsRefused, "code", code).increment(events as u64);
    }

    fn rate_limited(&self, class: RequestClass) {
        self.labeled_counter(Metric::RequestsRateLimited, "class", class_name(class)).increment(1);
    }

    fn sent(&self, events: usize, duration: Duration) {
        self.sent.increment(events as u64);
        self.duration.record(duration.as_secs_f64());
    }

    fn send_failed(&self, events: usize) {
        self.failed.increment(events as u64);
    }

    fn fetched(&self, records: usize) {
        self.fetched.increment(records as u64);
    }

    fn appended(&self, appended: Appended) {
        self.stored.increment(appended.stored as u64);
        self.deduplicated.increment(appended.deduplicated as u64);
        self.dead_lettered.increment(appended.dead_lettered as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^52 records of lag are exact enough")]
    fn lag(&self, partition: Partition, records: u64) {
        self.labeled_gauge(Metric::ConsumerLag, "partition", partition.to_string().into()).set(records as f64);
    }
}

fn class_name(class: RequestClass) -> &'static str {
    match class {
        RequestClass::Single => "single",
        RequestClass::Batch => "batch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_rendered_under_the_documented_names() {
        let prometheus = Prometheus::new();
        prometheus.sent(3, Duration::from_millis(2));
        prometheus.send_failed(1);
        prometheus.accepted(Guarantee::AtLeastOnce, 3);
        prometheus.refused("level_unknown", 2);
        prometheus.appended(Appended { stored: 2, deduplicated: 1, dead_lettered: 0 });
        prometheus.lag(2, 7);
        let text = prometheus.render();
        for line in [
            "kafka_producer_messages_sent_total 3",
            "kafka_producer_messages_failed_total 1",
            "kafka_producer_send_duration_seconds_bucket{le=\"0.0025\"} 1",
            "kafka_producer_send_duration_seconds_bucket{le=\"0.001\"} 0",
            "spillway_events_accepted_total{guarantee=\"at-least-once\"} 3",
            "spillway_events_accepted_total{guarantee=\"at-most-once\"} 0",
            "spillway_events_refused_total{code=\"level_unknown\"} 2",
            "spillway_events_stored_total 2",
            "spillway_events_deduplicated_total 1",
            "spillway_requests_rate_limited_total{class=\"batch\"} 0",
            "kafka_consumer_lag_records{partition=\"2\"} 7",
        ] {
            assert!(text.lines().any(|rendered| rendered == line), "{line} is missing in\n{text}");
        }
    }
}
