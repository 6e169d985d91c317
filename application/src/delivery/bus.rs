//! Whether the bus may be called: the circuit breaker in front of it, and rejected records that wait to be kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::admission::Usage;
use domain::delivery::breaker::{BreakerState, CircuitBreaker, Permit};
use domain::delivery::queue::Origin;
use domain::delivery::replay_window::ReplayWindow;
use domain::ports::{BusState, PublishError, RecordPublisher};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::queues::lock;

/// Rejected records that wait to be kept may use this fraction of the memory for records in flight, in addition to it.
const UNKEPT_SHARE_OF_MEMORY: u64 = 4;

/// The bus.
pub(super) struct Bus {
    pub(super) publisher: Arc<dyn RecordPublisher>,
    /// For a bus that may be unavailable.
    pub(super) breaker: Option<Mutex<CircuitBreaker>>,
    pub(super) window: Mutex<ReplayWindow>,
    /// Without a report for this long, a batch counts as a failure of the bus.
    pub(super) ack_wait: Duration,
    /// Rejected records that wait to be kept.
    pub(super) unkept: Mutex<Unkept>,
    /// Notified when there may be a backlog to replay.
    pub(super) replayable: Notify,
    /// The bus was unavailable, and has not been seen available since.
    was_away: AtomicBool,
    started: Instant,
}

/// Batches with records that the bus permanently rejected and the journal has not kept yet.
#[derive(Default)]
pub(super) struct Unkept {
    pub(super) batches: u64,
    pub(super) bytes: u64,
    /// Of these, batches whose last attempt failed.
    pub(super) failing: u64,
    /// Why they cannot be kept, while there are any of these.
    pub(super) fault: Option<String>,
}

/// A batch that the bus took.
pub(super) struct Publication {
    pub(super) number: u64,
    pub(super) records: u64,
    pub(super) origin: Origin,
    pub(super) permit: Option<Permit>,
}

impl Bus {
    /// A bus with a breaker if `ack_wait` is given.
    pub(super) fn new(publisher: Arc<dyn RecordPublisher>, ack_wait: Option<Duration>) -> Self {
        Self {
            publisher,
            breaker: ack_wait.map(|_| Mutex::default()),
            window: Mutex::default(),
            ack_wait: ack_wait.unwrap_or(Duration::MAX),
            unkept: Mutex::default(),
            replayable: Notify::new(),
            was_away: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// The time for the queues and the breaker.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same time for the runtime.
    pub(super) fn at(&self, time: Duration) -> Instant {
        self.started + time
    }

    pub(super) fn is_up(&self) -> bool {
        self.publisher.state() == BusState::Up
    }

    /// The state of the breaker. Without one: closed while the bus accepts records.
    pub(super) fn breaker_state(&self) -> BreakerState {
        match &self.breaker {
            Some(breaker) => lock(breaker).state(self.now()),
            None if self.is_up() => BreakerState::Closed,
            None => BreakerState::Open,
        }
    }

    /// Permission to send a batch; the inner option is `None` without a breaker.
    pub(super) fn permit(&self, origin: Origin, has_backlogs: bool) -> Option<Option<Permit>> {
        let Some(breaker) = &self.breaker else { return Some(None) };
        if self.is_full_of_unkept() {
            return None;
        }
        let (mut breaker, now) = (lock(breaker), self.now());
        // The few calls of a half-open breaker are reserved for the backlog, if there is one.
        if origin == Origin::Client && has_backlogs && breaker.state(now) != BreakerState::Closed {
            return None;
        }
        breaker.permit(now).map(Some)
    }

    /// Whether so many rejected records wait to be kept that the bus must not reject any further ones, whether the journal
    /// is slow or fails.
    fn is_full_of_unkept(&self) -> bool {
        lock(&self.unkept).bytes > self.publisher.buffer().bytes_max / UNKEPT_SHARE_OF_MEMORY
    }

    /// A batch with rejected records could not be kept, perhaps again. Returns whether it is the first such batch.
    pub(super) fn cannot_keep(&self, again: bool, fault: String) -> bool {
        let mut unkept = lock(&self.unkept);
        unkept.failing += u64::from(!again);
        unkept.fault.replace(fault).is_none()
    }

    /// A batch with rejected records was kept, perhaps after it could not be.
    pub(super) fn can_keep(&self, was_failing: bool) {
        let mut unkept = lock(&self.unkept);
        unkept.failing -= u64::from(was_failing);
        if unkept.failing == 0 && unkept.fault.take().is_some() {
            tracing::info!("records that the bus permanently rejected can be kept again");
        }
    }

    /// Whether nothing is sent until an operator makes room for rejected records.
    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.unkept).fault.is_some() && self.is_full_of_unkept()
    }

    /// How many records of a backlog may be sent now, given the memory in use: half of it is left to partitions without
    /// a backlog.
    pub(super) fn replay_records_max(&self, memory: Usage) -> u64 {
        let may_send = self.breaker.as_ref().is_some_and(|breaker| lock(breaker).may_permit(self.now()));
        if may_send && !self.is_full_of_unkept() && memory.used_bytes <= memory.bytes_max / 2 {
            lock(&self.window).next_batch()
        } else {
            0
        }
    }

    /// The bus took a batch from the journal.
    pub(super) fn sent_from_journal(&self, records: u64) {
        lock(&self.window).give(records);
    }

    /// The bus did not take a batch: it is unavailable or full.
    pub(super) fn not_taken(&self, permit: Option<Permit>, error: &PublishError) {
        let Some(permit) = permit else { return };
        if matches!(error, PublishError::Unavailable(_)) {
            self.was_away.store(true, Ordering::Release);
        }
        self.judge(|breaker, now| match error {
            PublishError::Unavailable(_) => breaker.fail(permit, now),
            PublishError::Full | PublishError::Refused(_) | PublishError::Closed => breaker.cancel(permit),
        });
    }

    /// The bus has not reported a batch for another `ack_wait`. Returns whether it counts as available.
    pub(super) fn silent(&self, publication: &Publication) -> bool {
        let state = self.judge(|breaker, now| {
            if let Some(permit) = publication.permit {
                breaker.fail(permit, now);
            }
        });
        state == BreakerState::Closed
    }

    /// The bus reported a batch after this time.
    pub(super) fn reported(&self, publication: &Publication, outcome: &Result<(), PublishError>, after: Duration) {
        let Some(permit) = publication.permit else { return };
        if publication.origin == Origin::Journal {
            lock(&self.window).report(publication.records, after, self.ack_wait);
        }
        self.judge(|breaker, now| match outcome {
            Ok(()) => breaker.succeed(permit, now),
            // The rejection of single records says nothing about the bus; the acceptance of the others does.
            Err(PublishError::Refused(refused)) if (refused.len() as u64) < publication.records => {
                breaker.succeed(permit, now);
            }
            Err(PublishError::Refused(_)) => {
                breaker.cancel(permit);
                breaker.bus_answers();
            }
            Err(_) => breaker.fail(permit, now),
        });
    }

    /// Looks whether the bus is available; if it was not since the last look, and is, the breaker tries it. Returns whether it
    /// is unavailable.
    pub(super) fn look(&self) -> bool {
        let is_away = !self.is_up();
        if self.was_away.swap(is_away, Ordering::AcqRel) && !is_away {
            self.judge(|breaker, _| breaker.bus_answers());
        }
        is_away
    }

    /// Reports a result to the breaker. The replay acts on a change of state.
    pub(super) fn judge(&self, result: impl FnOnce(&mut CircuitBreaker, Duration)) -> BreakerState {
        let Some(breaker) = &self.breaker else { return BreakerState::Closed };
        let now = self.now();
        let mut breaker = lock(breaker);
        let before = breaker.state(now);
        result(&mut breaker, now);
        let after = breaker.state(now);
        drop(breaker);
        if before != after {
            let (from, to) = (before.name(), after.name());
            if before == BreakerState::Closed && after == BreakerState::Open {
                tracing::warn!(from, to, "the circuit breaker in front of the bus changed state");
            } else {
                tracing::info!(from, to, "the circuit breaker in front of the bus changed state");
            }
            self.replayable.notify_one();
        }
        after
    }
}
