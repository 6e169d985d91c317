//! What the delivery counts beside the accounts of the queues: results of sending, and the last losses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::partition::Partition;
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

/// Counts of all queues.
pub(super) struct Ledger {
    counts: Mutex<Counts>,
    telemetry: Arc<dyn Telemetry>,
}

/// What a [`Ledger`] has counted so far.
#[derive(Clone, Default)]
pub(super) struct Counts {
    sent: u64,
    failed: u64,
    batches: u64,
    duration: Duration,
    /// Partition and reason of the accepted events that were last lost.
    pub last_loss: Option<(Partition, String)>,
    /// The same of events that were permanently rejected.
    pub last_rejection: Option<(Partition, String)>,
    /// The partition of the last damage found in an adopted journal, and the total of damaged bytes.
    pub damage: (Partition, u64),
}

impl Ledger {
    pub(super) fn new(telemetry: Arc<dyn Telemetry>) -> Self {
        Self { counts: Mutex::default(), telemetry }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bus acknowledged events of a batch.
    pub(super) fn sent(&self, events: usize, duration: Duration) {
        let mut counts = self.lock();
        counts.sent += events as u64;
        counts.batches += 1;
        counts.duration += duration;
        drop(counts);
        self.telemetry.sent(events, duration);
    }

    /// The bus did not take events.
    pub(super) fn failed(&self, events: usize, error: &PublishError) {
        self.lock().failed += events as u64;
        self.telemetry.send_failed(events);
        // Under overload this happens with every request, and the metric counts it: too frequent for the log.
        tracing::debug!(events, error = %Chain(error), "the bus did not take a batch");
    }

    /// Accepted events were lost.
    pub(super) fn lost(&self, partition: Partition, reason: String) {
        self.lock().last_loss = Some((partition, reason));
    }

    /// Accepted events were permanently rejected.
    pub(super) fn rejected(&self, partition: Partition, reason: String) {
        self.lock().last_rejection = Some((partition, reason));
    }

    /// An adopted journal is damaged.
    pub(super) fn damaged(&self, partition: Partition, bytes: u64) {
        let mut counts = self.lock();
        counts.damage = (partition, counts.damage.1 + bytes);
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }
}

impl Counts {
    pub(super) fn totals(&self) -> SendTotals {
        #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
        let mean_duration_ms = match self.batches {
            0 => 0.0,
            batches => self.duration.as_secs_f64() * 1_000.0 / batches as f64,
        };
        SendTotals { sent: self.sent, failed: self.failed, mean_duration_ms }
    }
}
