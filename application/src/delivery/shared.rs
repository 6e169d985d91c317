//! What the tasks of the delivery share: the queues and what their effects need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domain::admission::Usage;
use domain::delivery::breaker::BreakerState;
use domain::ports::Journal;
use domain::record::RECORD_BYTES_MAX;

use super::bus::Bus;
use super::ledger::Ledger;
use super::queues::Queues;

/// Batches being written to disk may use this fraction of the memory for records in flight, in addition to it.
const WRITING_SHARE_OF_MEMORY: u64 = 4;

pub(super) struct Shared {
    pub(super) bus: Bus,
    pub(super) journal: Option<Arc<dyn Journal>>,
    pub(super) queues: Queues,
    pub(super) ledger: Ledger,
    /// Bytes of batches that are being written to disk and are not with the bus: the sum of all queues.
    pub(super) writing_bytes: AtomicU64,
    /// Set when looking for journals without an owner failed, so that the failure is logged once and not with every
    /// attempt.
    pub(super) adopting_failed: AtomicBool,
    pub(super) closed: AtomicBool,
}

impl Shared {
    /// How much of the memory for unsettled records is in use.
    pub(super) fn buffer(&self) -> Usage {
        self.bus.publisher.buffer().with(self.writing_bytes.load(Ordering::Acquire))
    }

    /// Whether there is memory for a batch that is being written to disk. The journal must work when the bus has filled
    /// its memory, so this memory is separate. One batch always fits.
    pub(super) fn may_write(&self, bytes: u64) -> bool {
        let writing = self.writing_bytes.load(Ordering::Acquire);
        writing == 0 || writing + bytes <= self.bus.publisher.buffer().bytes_max / WRITING_SHARE_OF_MEMORY
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the bus takes batches without a backlog.
    pub(super) fn bus_takes(&self) -> bool {
        self.bus.breaker_state() == BreakerState::Closed && self.bus.is_up()
    }

    pub(super) fn accepts(&self) -> bool {
        if self.is_closed() {
            return false;
        }
        let Some(journal) = &self.journal else { return self.bus.is_up() };
        let journal_takes = || journal.fault().is_none() && journal.has_room(RECORD_BYTES_MAX as u64);
        !self.bus.is_blocked() && (self.bus_takes() || journal_takes())
    }
}
