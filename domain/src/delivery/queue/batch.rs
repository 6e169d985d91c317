//! A batch while it is in memory, and batches on their way back from the journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use super::event::{Effect, Promise, Write};
use crate::delivery::{Deliveries, Guarantee, GuaranteeCounts, Place, count_guarantees};
use crate::ports::{JournalChunk, JournaledBatch, PublishError};
use crate::record::RecordBatch;

/// A batch while it is in memory.
#[derive(Debug)]
pub(super) struct Batch<L> {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) guarantees: Arc<[Guarantee]>,
    /// Waits for its promise.
    pub(super) listener: Option<L>,
    pub(super) since: Duration,
    /// The term of the accounts that counts it; `None` until it is accepted.
    pub(super) place: Option<Place>,
    pub(super) disk: Disk,
    /// Its memory counts as [`Queue::writing_bytes`].
    pub(super) is_writing_bytes: bool,
}

/// The progress of a batch towards the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    No,
    Writing,
    Synced,
}

impl<L> Batch<L> {
    /// A batch that a client sent.
    pub(super) fn offered(batch: Arc<RecordBatch>, guarantees: Arc<[Guarantee]>, listener: L, now: Duration) -> Self {
        Self {
            batch,
            guarantees,
            listener: Some(listener),
            since: now,
            place: None,
            disk: Disk::No,
            is_writing_bytes: false,
        }
    }

    /// A batch that was read from the journal.
    fn read_back(batch: Arc<RecordBatch>, guarantees: Arc<[Guarantee]>, now: Duration) -> Self {
        Self {
            batch,
            guarantees,
            listener: None,
            since: now,
            place: Some(Place::Journaled),
            disk: Disk::Synced,
            is_writing_bytes: false,
        }
    }

    /// Its events of each guarantee.
    pub(super) fn counts(&self) -> GuaranteeCounts {
        count_guarantees(&self.guarantees)
    }

    /// Its numbers: an empty batch uses one too, so that each number identifies one batch.
    pub(super) fn records(&self) -> u64 {
        (self.guarantees.len() as u64).max(1)
    }

    /// Its memory usage.
    pub(super) fn bytes(&self) -> u64 {
        self.batch.bytes_in_memory() as u64
    }

    pub(super) fn write(&self, number: u64) -> Write {
        Write { number, records: self.records(), bytes: self.bytes() }
    }

    pub(super) fn resolve(&mut self, promise: Result<Promise, PublishError>, effects: &mut VecDeque<Effect<L>>) {
        if let Some(listener) = self.listener.take() {
            effects.push_back(Effect::Resolve(listener, promise));
        }
    }
}

/// Batches that were read from the journal, while they are sent to the bus.
#[derive(Debug)]
pub(super) struct ReadBack {
    /// The batch that is being sent, and its number.
    current: Option<(u64, Arc<RecordBatch>, Vec<Guarantee>)>,
    others: IntoIter<JournaledBatch>,
    /// Where to continue.
    pub(super) next: u64,
}

impl ReadBack {
    pub(super) fn new(chunk: JournalChunk) -> Self {
        Self { current: None, others: chunk.batches.into_iter(), next: chunk.next }
    }

    /// The next batch to send, and its number.
    pub(super) fn advance(&mut self) -> Option<(u64, Arc<RecordBatch>)> {
        let JournaledBatch { first, batch, guarantees } = self.others.next()?;
        let batch = Arc::new(batch);
        self.current = Some((first, Arc::clone(&batch), guarantees));
        Some((first, batch))
    }

    /// The bus took the batch.
    pub(super) fn sent<L>(&mut self, now: Duration) -> Option<(u64, Batch<L>)> {
        let (number, batch, guarantees) = self.current.take()?;
        Some((number, Batch::read_back(batch, guarantees.into(), now)))
    }
}

/// Moves events of each guarantee.
pub(super) fn post(
    accounts: &mut [Deliveries; Guarantee::ALL.len()],
    events: GuaranteeCounts,
    entry: impl Fn(&mut Deliveries, u64),
) {
    for (deliveries, events) in accounts.iter_mut().zip(events) {
        entry(deliveries, events);
    }
}
