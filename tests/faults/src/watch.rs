//! Samples the producers twenty times a second during a scenario.
//!
//! Constraint: a producer that does not answer is skipped, so that a suspended or dead one does not block the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use e2e::Http;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::measurements::Measurements;

const INTERVAL: Duration = Duration::from_millis(50);

/// A sample of a producer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Time since the watch began.
    pub at: Duration,
    /// Index of the producer.
    pub producer: usize,
    /// State of its circuit breaker.
    pub breaker: String,
    /// How often the breaker was half-open: it may have been so between two samples.
    pub half_opened: f64,
    /// Events in memory only.
    pub buffered: f64,
    /// Events in its journal.
    pub journaled: f64,
    /// Bytes of its journal.
    pub journal_bytes: f64,
    /// 1 while its journal can be written.
    pub journal_up: f64,
    /// Bytes of memory used by unacknowledged events.
    pub memory_bytes: f64,
}

/// Samples until it is dropped.
pub struct Watch {
    began: Instant,
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    readings: Vec<Reading>,
    /// The first discrepancy by producer and guarantee, with its time.
    unaccounted: BTreeMap<String, String>,
}

impl Watch {
    /// Starts sampling these producers.
    #[must_use]
    pub fn begin(producers: Vec<Http>) -> Self {
        let (began, seen) = (Instant::now(), Arc::<Mutex<Seen>>::default());
        let writing = Arc::clone(&seen);
        let looking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for (producer, http) in producers.iter().enumerate() {
                    let Some(measurements) = Measurements::of(http).await else { continue };
                    lock(&writing).write(began.elapsed(), producer, &measurements);
                }
            }
        });
        Self { began, seen, looking }
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// All samples so far.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        lock(&self.seen).readings.clone()
    }

    /// The last sample of a producer.
    #[must_use]
    pub fn last(&self, producer: usize) -> Option<Reading> {
        lock(&self.seen).readings.iter().rev().find(|reading| reading.producer == producer).cloned()
    }

    /// Discrepancies in the producers' event counts.
    #[must_use]
    pub fn unaccounted(&self) -> Vec<String> {
        lock(&self.seen).unaccounted.values().cloned().collect()
    }

    /// Each change of a producer's circuit breaker, with the time it was seen; changes between two samples are reported
    /// with the later.
    #[must_use]
    pub fn breaker_changes(&self, producer: usize) -> Vec<(Duration, String)> {
        let mut changes: Vec<(Duration, String)> = Vec::new();
        let mut half_opened = 0.0;
        for reading in self.readings().into_iter().filter(|reading| reading.producer == producer) {
            if reading.half_opened > half_opened && reading.breaker != "half_open" {
                changes.push((reading.at, "half_open".to_owned()));
            }
            half_opened = reading.half_opened;
            if changes.last().is_none_or(|(_, state)| *state != reading.breaker) {
                changes.push((reading.at, reading.breaker));
            }
        }
        changes
    }
}

impl Seen {
    fn write(&mut self, at: Duration, producer: usize, measurements: &Measurements) {
        let sum = |name: &str| measurements.sum(name, &[]);
        self.readings.push(Reading {
            at,
            producer,
            breaker: measurements.breaker(),
            half_opened: measurements.sum("spillway_circuitbreaker_entered_total", &[("state", "half_open")]),
            buffered: sum("spillway_events_buffered"),
            journaled: sum("spillway_events_journaled"),
            journal_bytes: sum("spillway_journal_bytes"),
            journal_up: sum("spillway_journal_up"),
            memory_bytes: sum("kafka_producer_buffer_total_bytes") - sum("kafka_producer_buffer_available_bytes"),
        });
        for off in measurements.unaccounted() {
            let guarantee = off.split(':').next().unwrap_or_default().to_owned();
            let told = format!("producer {producer} at t={:.1} s, {off}", at.as_secs_f64());
            self.unaccounted.entry(format!("{producer} {guarantee}")).or_insert(told);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
