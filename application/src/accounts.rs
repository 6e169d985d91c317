//! The accounts of all accepted events, as a consistent snapshot.
//!
//! Invariant: each change moves events from one term to another under one lock, so that a snapshot taken at any time
//! balances (contract, "Conservation").

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::delivery::{Deliveries, Guarantee, GuaranteeCounts};
use domain::ports::{PublishError, Telemetry};

use crate::cause::Chain;

/// Send results since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SendTotals {
    /// Events that the bus acknowledged.
    pub sent: u64,
    /// Events that the bus did not take when they were published.
    pub failed: u64,
    /// Mean time from publishing a batch to its acknowledgement, in milliseconds.
    pub mean_duration_ms: f64,
}

/// Counts of deliveries.
pub(crate) struct Accounts {
    ledger: Mutex<Ledger>,
    telemetry: Arc<dyn Telemetry>,
}

#[derive(Default)]
struct Ledger {
    deliveries: [Deliveries; Guarantee::ALL.len()],
    sent: u64,
    failed: u64,
    batches: u64,
    duration: Duration,
}

impl Accounts {
    pub fn new(telemetry: Arc<dyn Telemetry>) -> Self {
        Self { ledger: Mutex::default(), telemetry }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves events of each guarantee.
    pub fn post(&self, events: GuaranteeCounts, entry: impl Fn(&mut Deliveries, u64)) {
        for (deliveries, events) in self.ledger().deliveries.iter_mut().zip(events) {
            entry(deliveries, events);
        }
    }

    /// The bus acknowledged events of a batch.
    pub fn sent(&self, events: usize, duration: Duration) {
        let mut ledger = self.ledger();
        ledger.sent += events as u64;
        ledger.batches += 1;
        ledger.duration += duration;
        drop(ledger);
        self.telemetry.sent(events, duration);
    }

    /// The bus did not take events.
    pub fn failed(&self, events: usize, error: &PublishError) {
        self.ledger().failed += events as u64;
        self.telemetry.send_failed(events);
        // Under overload this happens with every request, and the metric counts it: too frequent for the log.
        tracing::debug!(events, error = %Chain(error), "the bus did not take a batch");
    }

    pub fn totals(&self) -> SendTotals {
        let ledger = self.ledger();
        #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
        let mean_duration_ms = match ledger.batches {
            0 => 0.0,
            batches => ledger.duration.as_secs_f64() * 1_000.0 / batches as f64,
        };
        SendTotals { sent: ledger.sent, failed: ledger.failed, mean_duration_ms }
    }

    pub fn deliveries(&self) -> [Deliveries; Guarantee::ALL.len()] {
        self.ledger().deliveries
    }
}
