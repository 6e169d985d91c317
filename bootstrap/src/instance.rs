//! What this process tells about its roles: `/actuator/instance`, and its part of `/actuator/fleet`.
//!
//! Constraint: rates need no one who asks regularly. Counters are read every second, and the last readings are kept.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use adapter_http::{
    BreakerReport, ConsumerReport, GatewayReport, InstanceReading, JournalReport, OutageReport, ProducerReport,
};
use application::delivery::Delivery;
use application::outage::{BusFacts, JournalFacts, Outage};
use application::readings::{Change, GROWTH_INTERVAL, RATE_INTERVAL, READING_INTERVAL, Reading, Readings};
use domain::admission::Usage;
use domain::delivery::breaker::BreakerState;
use domain::delivery::Deliveries;
use domain::ports::{Clock, RecordSource};
use domain::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::alerts::Alerts;
use crate::metrics::Metrics;
use crate::role::Addresses;
use crate::settings::BusKind;
use crate::system::SystemClock;

/// Name of the circuit breaker in front of Kafka, as in the metrics.
const BREAKER: &str = "kafka";

/// Reads what the roles of this process tell.
pub struct Instance {
    metrics: Metrics,
    alerts: Arc<Alerts>,
    bus: BusKind,
    address: Option<SocketAddr>,
    began: Instant,
    readings: Mutex<Readings>,
}

/// What changed within the last seconds, if that is known yet.
#[derive(Clone, Copy)]
struct Changes {
    rates: Option<Change>,
    growth: Option<Change>,
}

impl Changes {
    fn per_second(self, counter: fn(&Reading) -> u64) -> Option<f64> {
        self.rates.map(|change| change.per_second(counter))
    }
}

impl Instance {
    /// A process with this bus that listens at these addresses.
    #[must_use]
    pub fn new(metrics: Metrics, alerts: Arc<Alerts>, bus: BusKind, addresses: Addresses) -> Self {
        let address = addresses.gateway.or(addresses.producer).or(addresses.consumer);
        Self { metrics, alerts, bus, address, began: Instant::now(), readings: Mutex::default() }
    }

    /// Reads the counters every second, until `stop`.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(READING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => self.read_counters(),
            }
        }
    }

    /// What the roles tell now.
    pub fn reading(&self) -> InstanceReading {
        let now = SystemClock.now();
        let changes = {
            let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
            Changes { rates: readings.change_over(RATE_INTERVAL), growth: readings.change_over(GROWTH_INTERVAL) }
        };
        let firing = self.alerts.firing();
        InstanceReading {
            address: self.address,
            memory_bytes: adapter_telemetry::resident_bytes(),
            data_dir: self.metrics.data_dir(),
            rate_seconds: changes.rates.map(|change| change.seconds()),
            gateway: self.connections("gateway").map(|connections| GatewayReport {
                requests_per_second: changes.per_second(|of| of.gateway_requests),
                connections,
            }),
            producer: self
                .connections("producer")
                .zip(self.metrics.delivery.as_ref())
                .map(|(connections, delivery)| self.producer(connections, delivery, changes, now)),
            consumer: self
                .connections("consumer")
                .zip(self.metrics.source.as_ref())
                .map(|(connections, source)| self.consumer(connections, source.as_ref(), changes, now)),
            alerts: firing.all().to_vec(),
            alerts_left_out: firing.left_out(),
            ..InstanceReading::at(now)
        }
    }

    fn read_counters(&self) {
        let totals = self.metrics.prometheus.totals();
        let requests = |role| self.server(role, |activity| activity.requests().0).unwrap_or_default();
        let mut reading = Reading {
            refused: totals.refused,
            stored: totals.stored,
            gateway_requests: requests("gateway"),
            producer_requests: requests("producer"),
            consumer_requests: requests("consumer"),
            ..Reading::default()
        };
        if let Some(delivery) = &self.metrics.delivery {
            let status = delivery.status();
            reading.accepted = sum(&status.deliveries, |of| of.accepted);
            reading.published = sum(&status.deliveries, |of| of.acknowledged);
            reading.journal_bytes = status.journal.map(|journal| journal.usage.used_bytes).unwrap_or_default();
        }
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).add(self.began.elapsed(), reading);
    }

    /// Something of the server of a role, if this process has that role.
    fn server<T>(&self, role: &str, of: impl FnOnce(&adapter_http::Activity) -> T) -> Option<T> {
        let server = self.metrics.servers.iter().find(|(name, _)| *name == role);
        server.map(|(_, activity)| of(activity))
    }

    fn connections(&self, role: &str) -> Option<u64> {
        self.server(role, |activity| activity.connections() as u64)
    }

    fn producer(&self, connections: u64, delivery: &Delivery, changes: Changes, now: Timestamp) -> ProducerReport {
        let status = delivery.status();
        let (deliveries, breaker) = (&status.deliveries, status.breaker);
        let facts = status.journal.as_ref().map(|journal| JournalFacts {
            events: sum(deliveries, |of| of.journaled),
            usage: journal.usage,
            growth_bytes_per_second: changes.growth.map(|change| change.journal_growth()),
        });
        let journal = facts.zip(status.journal.as_ref()).map(|(facts, journal)| JournalReport {
            events: facts.events,
            used_bytes: facts.usage.used_bytes,
            bytes_max: facts.usage.bytes_max,
            oldest_age_seconds: journal.oldest.map(|oldest| now.since(oldest).as_secs_f64()),
            growth_bytes_per_second: facts.growth_bytes_per_second,
            growth_seconds: changes.growth.map(|change| change.seconds()),
            full_in_seconds: facts.full_in().map(|full_in| full_in.as_secs()),
        });
        let outage = Outage::of(&BusFacts { state: status.bus, breaker, journal: facts });
        let opened = BreakerState::ALL.into_iter().zip(status.breaker_entered);
        let opened = opened.filter(|(state, _)| *state == BreakerState::Open).map(|(_, entered)| entered).sum::<u64>();
        let breakers =
            facts.map(|_| BreakerReport { name: BREAKER.to_owned(), state: breaker.name().to_owned(), opened });
        let partitions = 0..delivery.partition_count().get();
        let space = partitions.map(|partition| delivery.usage(partition)).reduce(Usage::tighter);
        ProducerReport {
            ready: status.accepts,
            requests_per_second: changes.per_second(|of| of.producer_requests),
            connections,
            accepted_per_second: changes.per_second(|of| of.accepted),
            refused_per_second: changes.per_second(|of| of.refused),
            published_per_second: changes.per_second(|of| of.published),
            accepted: sum(deliveries, |of| of.accepted),
            refused: self.metrics.prometheus.totals().refused,
            published: sum(deliveries, |of| of.acknowledged),
            rejected: sum(deliveries, |of| of.dead_lettered),
            lost: sum(deliveries, |of| of.dropped.iter().sum()),
            buffered: sum(deliveries, |of| of.buffered),
            bus: self.bus.word().to_owned(),
            breakers: breakers.into_iter().collect(),
            buffer: status.buffer.into(),
            space: space.unwrap_or(status.buffer).into(),
            journal,
            outage: outage.map(|outage| OutageReport {
                state: outage.state.name().to_owned(),
                reason: outage.reason,
                summary: outage.summary,
            }),
        }
    }

    fn consumer(
        &self,
        connections: u64,
        source: &dyn RecordSource,
        changes: Changes,
        now: Timestamp,
    ) -> ConsumerReport {
        let (lags, totals) = (source.lags(), self.metrics.prometheus.totals());
        let oldest = lags.iter().filter_map(|lag| lag.oldest).min();
        ConsumerReport {
            requests_per_second: changes.per_second(|of| of.consumer_requests),
            connections,
            stored_per_second: changes.per_second(|of| of.stored),
            stored: totals.stored,
            deduplicated: totals.deduplicated,
            dead_letters: totals.dead_lettered,
            lag_records: lags.iter().fold(0, |sum: u64, lag| sum.saturating_add(lag.records)),
            lag_age_seconds: oldest.map(|oldest| now.since(oldest).as_secs_f64()),
            partitions: lags.len() as u64,
        }
    }
}

fn sum(deliveries: &[Deliveries], events: fn(&Deliveries) -> u64) -> u64 {
    deliveries.iter().map(events).sum()
}
