//! The delivery queue of one partition: events in, effects out. Its head is in memory, sent to the bus; its tail is on disk, in
//! the journal. `docs/delivery.md` shows the states of a batch.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * Pure: time is an argument, counted from any fixed point. All state of a partition is here; what executes the effects
//!   has none of its own.
//! * Records are numbered as they are taken and sent to the bus in that order, each once.
//! * The journal holds a prefix of the unsettled records: before a record goes to the journal, all records before it in
//!   the queue have gone there, unless the bus has settled them.
//! * After a failed write nothing is appended until all writes have been reported. The journal refuses everything behind
//!   the failed write ([`crate::ports::Journal::append`]), so the records on disk remain a prefix.
//! * While records wait to be sent to the bus (the backlog), newer ones go behind them into the journal, never past
//!   them.
//! * A batch is in memory until it is settled, or until it is on disk and not sent to the bus. So a backlog uses memory
//!   only for the batches that are being written.
//! * Everything before the released number is settled; nothing from there on is released.
//! * Accepted records that the bus permanently rejects stay in the queue until the refused log has them.
//! * Each accepted event is in exactly one term of the accounts ([`Queue::imbalances`]).
//! * An event costs no allocation beside that of its batch: effects go to a buffer that the caller reuses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::batch::{Batch, Disk, ReadBack, post};
use super::accounts::{Deliveries, DropReason, GuaranteeCounts, Place};
use super::guarantee::{Durability, Guarantee};
use crate::backoff::Backoff;
use crate::ports::{PublishError, RefusedRecord};
use crate::record::RecordBatch;

mod batch;
mod event;
mod journal;
mod replay;
#[cfg(test)]
mod tests;

pub use self::event::{Effect, Event, NextReplay, Origin, Promise, Write};

/// First wait after a failed attempt to send a backlog.
pub const RETRY_FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait after a failed attempt to send a backlog.
pub const RETRY_LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The queue. `L` waits for the promise of a batch.
#[derive(Debug)]
pub struct Queue<L> {
    /// Without a journal, batches that the bus does not take are refused.
    has_journal: bool,
    /// The number of the next record.
    next: u64,
    /// Everything before it was sent to the bus.
    sent: u64,
    /// Batches in memory, by the number of their first record.
    batches: BTreeMap<u64, Batch<L>>,
    /// The batch that a client offers, while the bus and the journal are asked.
    offered: Option<Batch<L>>,
    journal: Writes,
    accounts: [Deliveries; Guarantee::ALL.len()],
    /// When the backlog began.
    backlog_since: Option<Duration>,
    /// Records read from the journal, while they are sent to the bus.
    read_back: Option<ReadBack>,
    next_replay: NextReplay,
    waits: Backoff,
}

/// The writes to the journal.
#[derive(Debug)]
struct Writes {
    /// Batches in memory before it were appended.
    from: u64,
    /// Batches up to this one are to be appended.
    to: Option<u64>,
    /// Writes that have not been reported yet.
    unreported: u64,
    /// A write failed, and writes have not all been reported.
    failed: bool,
    /// Memory of batches that are being written and are not with the bus.
    bytes: u64,
    /// The number after the last record on disk.
    synced_to: u64,
    /// Records went to the journal that have not been released yet.
    to_release: bool,
}

impl<L> Queue<L> {
    /// An empty queue, with or without a journal.
    #[must_use]
    pub fn new(has_journal: bool) -> Self {
        Self::over(has_journal, 0, 0)
    }

    /// The queue of a journal that was found: it has records with these numbers, and this many events of each guarantee.
    #[must_use]
    pub fn adopted(first: u64, next: u64, events: GuaranteeCounts, now: Duration) -> Self {
        let mut queue = Self::over(true, first, next);
        post(&mut queue.accounts, events, Deliveries::recover);
        queue.note_backlog(now);
        queue
    }

    fn over(has_journal: bool, first: u64, next: u64) -> Self {
        let journal =
            Writes { from: next, to: None, unreported: 0, failed: false, bytes: 0, synced_to: next, to_release: false };
        Self {
            has_journal,
            next,
            sent: first,
            batches: BTreeMap::new(),
            offered: None,
            journal,
            accounts: Default::default(),
            backlog_since: None,
            read_back: None,
            next_replay: NextReplay::Now,
            waits: Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT),
        }
    }

    /// Takes an event and appends what follows from it to `effects`.
    pub fn handle(&mut self, event: Event<L>, now: Duration, effects: &mut VecDeque<Effect<L>>) {
        match event {
            Event::Offered { batch, guarantees, listener } => self.offer(batch, guarantees, listener, now, effects),
            Event::Published => self.published(now, effects),
            Event::NotPublished(error) => self.not_published(error, now, effects),
            Event::Buffered(number) => self.buffered(number, effects),
            Event::Silent { number, available } => {
                let is_awaited = self.batches.get(&number).is_some_and(|batch| batch.listener.is_some());
                if is_awaited || !available {
                    self.append_up_to(number, effects);
                }
            }
            Event::Flush => self.append_up_to(u64::MAX, effects),
            Event::Acknowledged { number, after } => self.settle(number, Vec::new(), after, effects),
            Event::Rejected { number, refused, after } => match self.batches.get(&number) {
                // If it was not accepted, the waiting client gets the error.
                Some(batch) if self.has_journal && batch.place.is_some() => {
                    effects.push_back(Effect::Keep { number, batch: Arc::clone(&batch.batch), refused, after });
                }
                _ => self.settle(number, refused, after, effects),
            },
            Event::Kept { number, refused, after } => self.settle(number, refused, after, effects),
            Event::Failed { number, error } => self.failed(number, error, effects),
            Event::Appended(write) => self.appended(write, effects),
            Event::NotAppended(error) => self.not_appended(error, effects),
            Event::Synced(write) => self.synced(write, effects),
            Event::SyncFailed(write, error) => self.sync_failed(write, error, effects),
            Event::Tick { records_max } => self.tick(records_max, effects),
            Event::ReadBack(chunk) => self.read_back(chunk, effects),
            Event::ReplayFailed => self.retry_later(now),
        }
        self.note_backlog(now);
    }

    /// Sends a batch to the bus or, behind a backlog, to the journal.
    fn offer(
        &mut self,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
        listener: L,
        now: Duration,
        effects: &mut VecDeque<Effect<L>>,
    ) {
        let sent = Arc::clone(&batch);
        self.offered = Some(Batch::offered(batch, guarantees, listener, now));
        if self.has_backlog() {
            self.append_up_to(u64::MAX, effects);
        } else {
            effects.push_back(Effect::Publish { number: self.next, batch: sent, origin: Origin::Client });
        }
    }

    fn published(&mut self, now: Duration, effects: &mut VecDeque<Effect<L>>) {
        if let Some(offered) = self.offered.take() {
            self.take(offered);
            self.sent = self.next;
            return;
        }
        self.replayed(now, effects);
    }

    fn not_published(&mut self, error: Option<PublishError>, now: Duration, effects: &mut VecDeque<Effect<L>>) {
        if self.offered.is_none() {
            return self.not_replayed(error.as_ref(), now);
        }
        match error {
            Some(error @ (PublishError::Closed | PublishError::Refused(_))) => self.refuse(error, effects),
            _ if self.has_journal => self.append_up_to(u64::MAX, effects),
            error => self.refuse(error.unwrap_or(PublishError::Full), effects),
        }
    }

    /// Gives the offered batch its number.
    fn take(&mut self, batch: Batch<L>) {
        let number = self.next;
        self.next += batch.records();
        self.batches.insert(number, batch);
    }

    fn refuse(&mut self, error: PublishError, effects: &mut VecDeque<Effect<L>>) {
        self.offered = None;
        effects.push_back(Effect::Refuse(error));
    }

    /// The bus has a batch in memory, and its listener waits for no more.
    fn buffered(&mut self, number: u64, effects: &mut VecDeque<Effect<L>>) {
        if let Some(batch) = self.batches.get_mut(&number)
            && batch.place.is_none()
        {
            batch.place = Some(Place::Buffered);
            post(&mut self.accounts, batch.counts(), |of, events| of.accept(events, Place::Buffered));
            batch.resolve(Ok(Promise { durability: Durability::Buffered, refused: Vec::new() }), effects);
        }
    }

    /// The bus has settled a batch: it acknowledged its records, except for the rejected ones.
    fn settle(&mut self, number: u64, refused: Vec<RefusedRecord>, after: Duration, effects: &mut VecDeque<Effect<L>>) {
        let Some(mut batch) = self.batches.remove(&number) else { return };
        if batch.disk == Disk::Writing && !batch.is_writing_bytes {
            // The bus has freed its memory, the journal has not.
            self.journal.bytes += batch.bytes();
        }
        let dead = Guarantee::ALL.map(|guarantee| {
            let of = |record: &&RefusedRecord| batch.guarantees.get(record.position) == Some(&guarantee);
            refused.iter().filter(of).count() as u64
        });
        let mut arrived = batch.counts();
        for (arrived, dead) in arrived.iter_mut().zip(dead) {
            *arrived = arrived.saturating_sub(dead);
        }
        if let Some(place) = batch.place {
            post(&mut self.accounts, arrived, |of, events| of.acknowledge(events, place));
            post(&mut self.accounts, dead, |of, events| of.dead_letter(events, place));
        } else {
            post(&mut self.accounts, arrived, |of, events| {
                of.accept(events, Place::Buffered);
                of.acknowledge(events, Place::Buffered);
            });
        }
        let events = batch.guarantees.len().saturating_sub(refused.len());
        if !refused.is_empty() {
            effects.push_back(Effect::CountRejected { refused: refused.clone(), accepted: batch.place.is_some() });
        }
        if events > 0 {
            effects.push_back(Effect::CountSent { events, after });
        }
        batch.resolve(Ok(Promise { durability: Durability::Acknowledged, refused }), effects);
        self.release(effects);
    }

    /// The bus ends. With a journal, batches on disk wait for the next process; the others are lost with this one.
    fn failed(&mut self, number: u64, error: PublishError, effects: &mut VecDeque<Effect<L>>) {
        if self.has_journal {
            return;
        }
        let Some(batch) = self.batches.remove(&number) else { return };
        if let Some(place) = batch.place {
            post(&mut self.accounts, batch.counts(), |of, events| of.drop(events, place, DropReason::BusFailed));
        }
        let (events, accepted) = (batch.guarantees.len(), batch.place.is_some());
        effects.push_back(Effect::CountFailed { events, accepted, error, listener: batch.listener });
    }

    /// Everything before this number is settled: the journal need not keep it.
    fn released(&self) -> u64 {
        self.batches.range(..self.sent).next().map_or(self.sent, |(number, _)| *number)
    }

    fn note_backlog(&mut self, now: Duration) {
        if !self.has_backlog() {
            self.backlog_since = None;
        } else if self.backlog_since.is_none() {
            self.backlog_since = Some(now);
            self.journal.to_release = true;
        }
    }

    /// Whether records wait to be sent to the bus, so that newer ones must wait behind them.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.sent < self.next
    }

    /// When the backlog began, if there is one.
    #[must_use]
    pub fn backlog_since(&self) -> Option<Duration> {
        self.backlog_since
    }

    /// When to send the next part of the backlog.
    #[must_use]
    pub fn next_replay(&self) -> NextReplay {
        self.next_replay
    }

    /// Memory of batches that are being written to the journal and are not with the bus.
    #[must_use]
    pub fn writing_bytes(&self) -> u64 {
        self.journal.bytes
    }

    /// Whether everything is settled: an adopted journal is no longer needed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.released() == self.next
    }

    /// Whether nothing is only in memory.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.batches.values().all(|batch| batch.place == Some(Place::Journaled))
    }

    /// Since when the oldest accepted batch is only in memory.
    #[must_use]
    pub fn buffered_since(&self) -> Option<Duration> {
        self.batches.values().find(|batch| batch.place == Some(Place::Buffered)).map(|batch| batch.since)
    }

    /// The accounts of its events, for each of [`Guarantee::ALL`].
    #[must_use]
    pub fn accounts(&self) -> [Deliveries; Guarantee::ALL.len()] {
        self.accounts
    }

    /// For each of [`Guarantee::ALL`], how many events are counted too often (positive) or are missing (negative), within
    /// the accounts and compared with the batches in memory: anything but zero is a defect.
    #[must_use]
    pub fn imbalances(&self) -> [i128; Guarantee::ALL.len()] {
        let mut imbalances = self.accounts.map(|of| of.imbalance() - i128::from(of.buffered));
        for batch in self.batches.values().filter(|batch| batch.place == Some(Place::Buffered)) {
            for (imbalance, events) in imbalances.iter_mut().zip(batch.counts()) {
                *imbalance += i128::from(events);
            }
        }
        imbalances
    }
}
