//! The delivery: takes batches to the bus, through the journal while the bus is unavailable. `docs/delivery.md` shows the way of
//! an event.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * All decisions about a batch are made by the queue of its partition ([`domain::delivery::queue`]). This module tells it
//!   what happens and executes its effects (`run.rs`): `track.rs` waits for the bus and the journal, `replay.rs` sends
//!   backlogs, `drain.rs` ends it, `bus.rs` decides whether the bus may be called.
//! * Once a batch is in its queue a task completes it; the caller that waits for its promise may go away.
//! * While many rejected records wait to be kept, nothing more is sent to the bus, so they use no more than a fraction of
//!   the memory in addition to the records in flight.
//! * Without a journal (the embedded bus is its own) records that the bus does not take are refused.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::admission::Usage;
use domain::delivery::Guarantee;
pub use domain::delivery::queue::Promise;
use domain::delivery::queue::{Effect, Event};
use domain::partition::Partition;
use domain::ports::{Journal, PublishError, RecordPublisher, Telemetry};
use domain::record::RecordBatch;
use tokio::sync::{oneshot, watch};

use self::bus::Bus;
use self::ledger::Ledger;
use self::queues::Queues;
use self::shared::Shared;

mod bus;
mod drain;
mod ledger;
mod queues;
mod replay;
mod run;
mod shared;
mod status;
mod track;

pub use self::ledger::SendTotals;
pub use self::status::{DeliveryStatus, JournalStatus};

/// Receives the promise. The receiver may be dropped; the delivery continues.
pub type Promised = oneshot::Receiver<Result<Promise, PublishError>>;

/// The delivery queues of a process.
pub struct Delivery {
    shared: Arc<Shared>,
}

impl Delivery {
    /// Queues to a bus that is its own journal.
    #[must_use]
    pub fn new(publisher: Arc<dyn RecordPublisher>, telemetry: Arc<dyn Telemetry>) -> Self {
        Self::over(Bus::new(publisher, None), None, telemetry)
    }

    /// Queues to a bus that may be unavailable, with a journal for outages. A batch that the bus has not reported within
    /// `ack_wait` counts as a failure of the bus, and is journaled if a caller waits for it. [`Delivery::replay`] must
    /// be running.
    #[must_use]
    pub fn with_journal(
        publisher: Arc<dyn RecordPublisher>,
        journal: Arc<dyn Journal>,
        ack_wait: Duration,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        Self::over(Bus::new(publisher, Some(ack_wait)), Some(journal), telemetry)
    }

    fn over(bus: Bus, journal: Option<Arc<dyn Journal>>, telemetry: Arc<dyn Telemetry>) -> Self {
        Self {
            shared: Arc::new(Shared {
                bus,
                journal,
                queues: Queues::default(),
                ledger: Ledger::new(telemetry),
                writing_bytes: AtomicU64::new(0),
                adopting_failed: AtomicBool::new(false),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Takes a batch, with the guarantee of each record, without blocking. The promise resolves when the strictest
    /// guarantee is met.
    ///
    /// # Errors
    /// Nothing of the batch was taken.
    pub fn deliver(&self, batch: RecordBatch, guarantees: Vec<Guarantee>) -> Result<Promised, PublishError> {
        let shared = &self.shared;
        let (listener, promised) = oneshot::channel();
        let queue = shared.queues.of(batch.partition, shared.journal.as_ref());
        let event = Event::Offered { batch: Arc::new(batch), guarantees: guarantees.into(), listener };
        let mut state = queue.lock();
        // Under the lock, so that a drain sees everything taken before it.
        if shared.closed.load(Ordering::SeqCst) {
            return Err(PublishError::Closed);
        }
        match shared.run(&queue, &mut state, event) {
            Some(Effect::Refuse(error)) => Err(error),
            _ => Ok(promised),
        }
    }

    /// Current number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> NonZeroU32 {
        self.shared.bus.publisher.partition_count()
    }

    /// How much of the capacity for a new event of this partition is in use: memory and journal together, or the
    /// journal alone while the bus accepts nothing, since memory alone is then of no use.
    #[must_use]
    pub fn usage(&self, partition: Partition) -> Usage {
        let shared = &self.shared;
        let Some(journal) = &shared.journal else { return shared.bus.publisher.usage(partition) };
        if journal.fault().is_some() {
            return shared.buffer();
        }
        if shared.bus_takes() { shared.buffer().beside(journal.usage()) } else { journal.usage() }
    }

    /// Whether at least an ERROR is accepted now, by the bus or by the journal.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.shared.accepts()
    }

    /// Whether it takes no more batches because the process ends.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Everything else that is known about the delivery now. Looks at each batch in memory: call it for metrics, health and
    /// alerts, not for each request.
    #[must_use]
    pub fn status(&self) -> DeliveryStatus {
        self.shared.status()
    }

    /// Sends backlogs to the bus and adopts those of processes that have ended, until `stop`. Returns at once without a
    /// journal.
    pub async fn replay(self: Arc<Self>, stop: watch::Receiver<bool>) {
        Arc::clone(&self.shared).replay(stop).await;
    }

    /// Takes no more batches, waits until the bus has acknowledged those taken, and journals the rest, all within
    /// `timeout`. Returns the number of accepted events that are only in memory.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.shared.drain(timeout).await
    }
}
