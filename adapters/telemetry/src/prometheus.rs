//! Metrics in memory, rendered for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::admission::Usage;
use domain::alert::AlertKind;
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, DropReason, Guarantee};
use domain::lag::Lag;
use domain::partition::Partition;
use domain::ports::{AUTH_OUTCOMES, Appended, RequestClass, Telemetry};
use domain::timestamp::Timestamp;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::metric::{Kind, Metric};
use crate::process::{Process, as_float};

/// From 0.5 ms, a fast disk, to 30 s, after which an outcome is unknown.
const SEND_SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// From the duration of a health check to 30 s, after which an outcome is unknown.
const REQUEST_SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// From the duration of a transaction to an outage over a weekend.
const END_TO_END_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 21_600.0, 259_200.0];

/// Name of the circuit breaker in front of the bus.
const BREAKER: &str = "kafka";

/// Outcomes of an alert that is not dropped.
const ALERT_OUTCOMES: [&str; 3] = ["logged", "delivered", "failed"];

const METADATA: Metadata<'static> = Metadata::new("spillway", Level::INFO, None);

/// The metrics of one process. Not global: tests may use several instances.
pub struct Prometheus {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    sent: Counter,
    failed: Counter,
    duration: Histogram,
    fetched: Counter,
    stored: Counter,
    end_to_end: Histogram,
    deduplicated: Counter,
    dead_lettered: Counter,
    given_up: Counter,
    in_work: Gauge,
    /// Partitions whose lag was ever reported.
    partitions: Mutex<BTreeSet<Partition>>,
    /// Brokers that were ever reported, with the quantiles of their answer times.
    brokers: Mutex<BTreeMap<String, Vec<f64>>>,
    totals: Totals,
}

/// Counters that are also read within the process: the recorder cannot be read.
#[derive(Default)]
struct Totals {
    refused: AtomicU64,
    stored: AtomicU64,
    deduplicated: AtomicU64,
    dead_lettered: AtomicU64,
}

/// Events counted since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Events that the producer refused.
    pub refused: u64,
    /// Events that the consumer stored.
    pub stored: u64,
    /// Repeats that the consumer's store dropped.
    pub deduplicated: u64,
    /// Records that can never be stored.
    pub dead_lettered: u64,
}

/// A distribution from the Kafka client: quantiles, such as 0.99, and their values.
pub type Quantiles = [(f64, f64)];

impl Prometheus {
    /// Starts with zero counts.
    #[must_use]
    pub fn new() -> Self {
        let with_buckets = |builder: PrometheusBuilder, metric: Metric, seconds: &[f64]| {
            // Fails only for an empty list of buckets.
            let set = builder.set_buckets_for_metric(Matcher::Full(metric.name().to_owned()), seconds);
            set.unwrap_or_else(|_| PrometheusBuilder::new())
        };
        let builder = with_buckets(PrometheusBuilder::new(), Metric::SendDuration, &SEND_SECONDS);
        let builder = with_buckets(builder, Metric::RequestDuration, &REQUEST_SECONDS);
        let builder = with_buckets(builder, Metric::EndToEnd, &END_TO_END_SECONDS);
        let recorder = builder.build_recorder();
        for metric in Metric::ALL {
            let (name, help): (KeyName, SharedString) = (metric.name().into(), metric.help().into());
            match metric.kind() {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
            }
        }
        let histogram = |metric: Metric| recorder.register_histogram(&Key::from_name(metric.name()), &METADATA);
        let counter = |metric: Metric| recorder.register_counter(&Key::from_name(metric.name()), &METADATA);
        let this = Self {
            sent: counter(Metric::MessagesSent),
            failed: counter(Metric::MessagesFailed),
            duration: histogram(Metric::SendDuration),
            fetched: counter(Metric::RecordsFetched),
            stored: counter(Metric::EventsStored),
            end_to_end: histogram(Metric::EndToEnd),
            deduplicated: counter(Metric::EventsDeduplicated),
            dead_lettered: counter(Metric::EventsDeadLettered),
            given_up: counter(Metric::RecordsGivenUp),
            in_work: recorder.register_gauge(&Key::from_name(Metric::RecordsInWork.name()), &METADATA),
            handle: recorder.handle(),
            recorder,
            partitions: Mutex::default(),
            brokers: Mutex::default(),
            totals: Totals::default(),
        };
        // Known label values exist from the start, so that rates include the first event.
        for class in RequestClass::ALL {
            this.labeled_counter(Metric::RequestsRateLimited, "class", class.name()).absolute(0);
        }
        for outcome in AUTH_OUTCOMES {
            this.labeled_counter(Metric::Auth, "outcome", outcome).absolute(0);
        }
        for (kind, outcome) in AlertKind::ALL.into_iter().flat_map(|kind| ALERT_OUTCOMES.map(|outcome| (kind, outcome)))
        {
            this.alerts(kind.name(), outcome).absolute(0);
        }
        this.alerts_dropped().absolute(0);
        this.labeled_gauge(Metric::BuildInfo, "version", env!("CARGO_PKG_VERSION").into()).set(1.0);
        this
    }

    /// All metrics in the Prometheus text format, including the current process metrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        Process::read().render(&mut text);
        text
    }

    /// Events counted so far.
    #[must_use]
    pub fn totals(&self) -> EventTotals {
        let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
        EventTotals {
            refused: of(&self.totals.refused),
            stored: of(&self.totals.stored),
            deduplicated: of(&self.totals.deduplicated),
            dead_lettered: of(&self.totals.dead_lettered),
        }
    }

    /// Folds recent samples into their buckets. Call it every few seconds; otherwise memory grows in a process that is
    /// not scraped.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// A server answered.
    pub fn answered(&self, role: &'static str, status: u16, duration: Duration) {
        let labels = vec![Label::from_static_parts("role", role), Label::new("status", status.to_string())];
        let key = Key::from_parts(Metric::RequestDuration.name(), labels);
        self.recorder.register_histogram(&key, &METADATA).record(duration.as_secs_f64());
    }

    /// An alert with this name was only logged, without a webhook.
    pub fn alert_logged(&self, name: &'static str) {
        self.alerts(name, "logged").increment(1);
    }

    /// The webhook accepted an alert.
    pub fn alert_delivered(&self, name: &'static str) {
        self.alerts(name, "delivered").increment(1);
    }

    /// The webhook did not accept an alert.
    pub fn alert_failed(&self, name: &'static str) {
        self.alerts(name, "failed").increment(1);
    }

    /// An alert was not sent to the webhook, as the queue was full.
    pub fn alert_dropped(&self) {
        self.alerts_dropped().increment(1);
    }

    fn alerts(&self, name: &'static str, outcome: &'static str) -> Counter {
        let labels = vec![Label::from_static_parts("name", name), Label::from_static_parts("outcome", outcome)];
        self.recorder.register_counter(&Key::from_parts(Metric::Alerts.name(), labels), &METADATA)
    }

    fn alerts_dropped(&self) -> Counter {
        self.recorder.register_counter(&Key::from_name(Metric::AlertsDropped.name()), &METADATA)
    }

    /// Sets the accounts of a producer's accepted events, from one consistent snapshot.
    pub fn show_deliveries(&self, deliveries: &[Deliveries], oldest_buffered: Duration) {
        for (guarantee, of) in Guarantee::ALL.into_iter().zip(deliveries) {
            let counter = |metric| self.labeled_counter(metric, "guarantee", guarantee.name());
            counter(Metric::EventsAccepted).absolute(of.accepted);
            counter(Metric::EventsRecovered).absolute(of.recovered);
            counter(Metric::EventsAcknowledged).absolute(of.acknowledged);
            counter(Metric::EventsDeadLettered).absolute(of.dead_lettered);
            for (reason, events) in DropReason::ALL.into_iter().zip(of.dropped) {
                let labels = vec![
                    Label::from_static_parts("guarantee", guarantee.name()),
                    Label::from_static_parts("reason", reason.name()),
                ];
                let dropped = Key::from_parts(Metric::EventsDropped.name(), labels);
                self.recorder.register_counter(&dropped, &METADATA).absolute(events);
            }
            let gauge = |metric| self.labeled_gauge(metric, "guarantee", guarantee.name().into());
            gauge(Metric::EventsJournaled).set(as_float(of.journaled));
            gauge(Metric::EventsBuffered).set(as_float(of.buffered));
        }
        self.gauge(Metric::OldestBufferedAge).set(oldest_buffered.as_secs_f64());
    }

    /// Sets the state of the producing side of the bus.
    pub fn show_bus(&self, now: BreakerState, entered: [u64; BreakerState::ALL.len()], buffer: Usage) {
        for (state, entered) in BreakerState::ALL.into_iter().zip(entered) {
            self.labeled_counter(Metric::CircuitBreakerEntered, "state", state.name()).absolute(entered);
            let labels =
                vec![Label::from_static_parts("name", BREAKER), Label::from_static_parts("state", state.name())];
            let key = Key::from_parts(Metric::CircuitBreakerState.name(), labels);
            self.recorder.register_gauge(&key, &METADATA).set(f64::from(u8::from(state == now)));
        }
        self.gauge(Metric::BufferAvailable).set(as_float(buffer.bytes_max.saturating_sub(buffer.used_bytes)));
        self.gauge(Metric::BufferTotal).set(as_float(buffer.bytes_max));
    }

    /// Sets the state of the journal.
    pub fn show_journal(&self, usage: Usage, oldest_age: Duration, is_up: bool, damaged_bytes: u64) {
        self.gauge(Metric::JournalBytes).set(as_float(usage.used_bytes));
        self.gauge(Metric::JournalBytesMax).set(as_float(usage.bytes_max));
        self.gauge(Metric::JournalOldestAge).set(oldest_age.as_secs_f64());
        self.gauge(Metric::JournalUp).set(f64::from(u8::from(is_up)));
        let damaged = Key::from_name(Metric::JournalDamagedBytes.name());
        self.recorder.register_counter(&damaged, &METADATA).absolute(damaged_bytes);
    }

    /// Sets the bytes of permanently rejected records that wait to be kept.
    pub fn show_unkept(&self, bytes: u64) {
        self.gauge(Metric::RefusedUnkept).set(as_float(bytes));
    }

    /// Sets the bytes of the sealed segments, and how many segments cannot be read.
    pub fn show_segments(&self, bytes: u64, unreadable: u64) {
        self.gauge(Metric::SegmentBytes).set(as_float(bytes));
        self.gauge(Metric::SegmentsUnreadable).set(as_float(unreadable));
    }

    /// Sets when the certificate of a role's listener ends.
    pub fn show_certificate(&self, role: &'static str, expires: Timestamp) {
        let seconds = u64::try_from(expires.unix_micros() / 1_000_000).unwrap_or(0);
        self.labeled_gauge(Metric::TlsCertificateExpiry, "role", role.into()).set(as_float(seconds));
    }

    /// Sets the number of connections of a server.
    pub fn show_connections(&self, role: &'static str, connections: usize) {
        self.labeled_gauge(Metric::Connections, "role", role.into()).set(as_float(connections as u64));
    }

    /// Sets the bytes of request bodies in progress.
    pub fn show_bodies(&self, role: &'static str, bytes: usize) {
        self.labeled_gauge(Metric::BodyBytes, "role", role.into()).set(as_float(bytes as u64));
    }

    /// Sets the number of instances of a role in a state, behind a gateway.
    pub fn show_upstreams(&self, role: &'static str, state: &'static str, instances: usize) {
        let labels = vec![Label::from_static_parts("role", role), Label::from_static_parts("state", state)];
        let key = Key::from_parts(Metric::Upstreams.name(), labels);
        self.recorder.register_gauge(&key, &METADATA).set(as_float(instances as u64));
    }

    /// Sets whether a dependency of the process is healthy.
    pub fn show_component(&self, component: &'static str, is_up: bool) {
        self.labeled_gauge(Metric::ComponentUp, "component", component.into()).set(as_float(u64::from(is_up)));
    }

    /// Sets the size and the free bytes of the file system of the data directory.
    pub fn show_data_dir(&self, usage: Usage) {
        self.gauge(Metric::DataDirSize).set(as_float(usage.bytes_max));
        self.gauge(Metric::DataDirAvailable).set(as_float(usage.bytes_max.saturating_sub(usage.used_bytes)));
    }

    /// Sets the lag of a consumer's store. A partition that it no longer reads counts as zero: its current reader
    /// reports it.
    pub fn show_lags(&self, lags: &[Lag], now: Timestamp) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.extend(lags.iter().map(|lag| lag.partition));
        for partition in partitions.iter() {
            let lag = lags.iter().find(|lag| lag.partition == *partition);
            let oldest = lag.and_then(|lag| lag.oldest).unwrap_or(now);
            let age = now.since(oldest);
            let gauge = |metric| self.labeled_gauge(metric, "partition", partition.to_string().into());
            gauge(Metric::ConsumerLagRecords).set(as_float(lag.map_or(0, |lag| lag.records)));
            gauge(Metric::ConsumerLagEvents).set(as_float(lag.map_or(0, |lag| lag.events)));
            gauge(Metric::ConsumerLagAge).set(age.as_secs_f64());
        }
    }

    /// Sets the state of the runtime: the number of worker threads, of unfinished tasks, and of those that wait for any
    /// thread.
    pub fn show_runtime(&self, workers: usize, alive_tasks: usize, queue_depth: usize) {
        self.gauge(Metric::RuntimeWorkers).set(as_float(workers as u64));
        self.gauge(Metric::RuntimeTasks).set(as_float(alive_tasks as u64));
        self.gauge(Metric::RuntimeQueueDepth).set(as_float(queue_depth as u64));
    }

    /// Sets the queue and batch sizes of the Kafka client.
    pub fn show_kafka_client(&self, messages: u64, bytes: u64, batch_bytes: &Quantiles, batch_events: &Quantiles) {
        self.gauge(Metric::KafkaQueueMessages).set(as_float(messages));
        self.gauge(Metric::KafkaQueueBytes).set(as_float(bytes));
        for (metric, quantiles) in [(Metric::KafkaBatchBytes, batch_bytes), (Metric::KafkaBatchEvents, batch_events)] {
            for (quantile, value) in quantiles {
                self.labeled_gauge(metric, "quantile", quantile.to_string().into()).set(*value);
            }
        }
    }

    /// Sets the broker statistics of the Kafka client: name, answer times in seconds, records waiting to be sent. A
    /// broker that is gone counts as zero.
    pub fn show_kafka_brokers<'a>(&self, brokers: impl IntoIterator<Item = (&'a str, &'a Quantiles, u64)>) {
        let mut known = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = known.clone();
        for (broker, rtt, outbuf) in brokers {
            gone.remove(broker);
            known.insert(broker.to_owned(), rtt.iter().map(|(quantile, _)| *quantile).collect());
            self.show_kafka_broker(broker, rtt, outbuf);
        }
        for (broker, quantiles) in gone {
            let zero: Vec<_> = quantiles.into_iter().map(|quantile| (quantile, 0.0)).collect();
            self.show_kafka_broker(&broker, &zero, 0);
        }
    }

    fn show_kafka_broker(&self, broker: &str, rtt: &Quantiles, outbuf: u64) {
        self.labeled_gauge(Metric::KafkaBrokerOutbuf, "broker", broker.to_owned().into()).set(as_float(outbuf));
        for (quantile, seconds) in rtt {
            let labels = vec![Label::new("broker", broker.to_owned()), Label::new("quantile", quantile.to_string())];
            let key = Key::from_parts(Metric::KafkaBrokerRtt.name(), labels);
            self.recorder.register_gauge(&key, &METADATA).set(*seconds);
        }
    }

    fn gauge(&self, metric: Metric) -> Gauge {
        self.recorder.register_gauge(&Key::from_name(metric.name()), &METADATA)
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

fn count(total: &AtomicU64, events: usize) {
    total.fetch_add(events as u64, Ordering::Relaxed);
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry for Prometheus {
    fn refused(&self, code: &'static str, events: usize) {
        self.labeled_counter(Metric::EventsRefused, "code", code).increment(events as u64);
        count(&self.totals.refused, events);
    }

    fn rate_limited(&self, class: RequestClass) {
        self.labeled_counter(Metric::RequestsRateLimited, "class", class.name()).increment(1);
    }

    fn agent_request(&self, protocol: &'static str, events: usize, as_text: usize) {
        self.labeled_counter(Metric::AgentEvents, "protocol", protocol).increment(events as u64);
        self.labeled_counter(Metric::AgentEventsAsText, "protocol", protocol).increment(as_text as u64);
    }

    fn agent_request_held(&self, protocol: &'static str) {
        self.labeled_counter(Metric::AgentRequestsHeld, "protocol", protocol).increment(1);
    }

    fn judged(&self, outcome: &'static str) {
        self.labeled_counter(Metric::Auth, "outcome", outcome).increment(1);
    }

    fn sent(&self, events: usize, duration: Duration) {
        self.sent.increment(events as u64);
        self.duration.record(duration.as_secs_f64());
    }

    fn send_failed(&self, events: usize) {
        self.failed.increment(events as u64);
    }

    fn fetched(&self, events: usize) {
        self.fetched.increment(events as u64);
        self.in_work.increment(as_float(events as u64));
    }

    fn appended(&self, appended: Appended, oldest_age: Option<Duration>) {
        if let Some(age) = oldest_age {
            self.end_to_end.record(age);
        }
        self.stored.increment(appended.stored as u64);
        self.deduplicated.increment(appended.deduplicated as u64);
        self.dead_lettered.increment(appended.dead_lettered as u64);
        count(&self.totals.stored, appended.stored);
        count(&self.totals.deduplicated, appended.deduplicated);
        count(&self.totals.dead_lettered, appended.dead_lettered);
        let events = appended.stored + appended.deduplicated + appended.dead_lettered;
        self.in_work.decrement(as_float(events as u64));
    }

    fn given_up(&self, events: usize) {
        self.given_up.increment(events as u64);
        self.in_work.decrement(as_float(events as u64));
    }
}

#[cfg(test)]
mod tests;
