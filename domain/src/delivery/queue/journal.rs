//! How the batches of a queue go to the journal, oldest first, and leave it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Queue;
use super::batch::{Batch, Disk, post};
use super::event::{Effect, Promise, Write};
use crate::delivery::{Deliveries, DropReason, Durability, Place};
use crate::ports::{JournalError, PublishError};

impl<L> Queue<L> {
    /// Appends batches that only the bus has to the journal, up to and including batch `last`, then the offered one.
    pub(super) fn append_up_to(&mut self, last: u64, effects: &mut VecDeque<Effect<L>>) {
        if self.has_journal {
            self.journal.to = Some(last);
            self.append_next(effects);
        }
    }

    fn append_next(&mut self, effects: &mut VecDeque<Effect<L>>) {
        let Some(last) = self.journal.to else { return };
        if self.journal.failed {
            let error = JournalError::Unavailable("an earlier write has failed".into());
            return self.not_appended(error, effects);
        }
        let mut candidates = self.batches.range(self.journal.from.min(last)..=last);
        let unwritten = candidates.find(|(_, batch)| batch.disk == Disk::No);
        let offered = self.offered.as_ref();
        let Some((number, batch)) =
            unwritten.map(|(number, batch)| (*number, batch)).or(offered.map(|batch| (self.next, batch)))
        else {
            self.journal.to = None;
            return;
        };
        let write = batch.write(number);
        effects.push_back(Effect::Journal {
            write,
            batch: Arc::clone(&batch.batch),
            guarantees: Arc::clone(&batch.guarantees),
            // If the offered batch has no room, those before it are not written for its sake.
            room_bytes: offered.map_or(write.bytes, |offered| offered.bytes().max(write.bytes)),
        });
    }

    pub(super) fn appended(&mut self, write: Write, effects: &mut VecDeque<Effect<L>>) {
        self.journal.unreported += 1;
        if write.number == self.next
            && let Some(offered) = self.offered.take()
        {
            self.journal.to = None;
            self.journal.bytes += write.bytes;
            self.take(Batch { disk: Disk::Writing, is_writing_bytes: true, ..offered });
            return;
        }
        if let Some(batch) = self.batches.get_mut(&write.number) {
            batch.disk = Disk::Writing;
        }
        self.journal.from = write.number + write.records;
        self.journal.to_release = true;
        self.append_next(effects);
    }

    /// Batches that are not appended now are appended later: after the next silence, or with the next flush.
    pub(super) fn not_appended(&mut self, error: JournalError, effects: &mut VecDeque<Effect<L>>) {
        self.journal.to = None;
        if self.offered.is_some() {
            self.refuse(not_journaled(error), effects);
        }
    }

    pub(super) fn synced(&mut self, write: Write, effects: &mut VecDeque<Effect<L>>) {
        self.journal.synced_to = self.journal.synced_to.max(write.number + write.records);
        self.reported(write);
        let is_with_bus = write.number < self.sent;
        if let Some(batch) = self.batches.get_mut(&write.number) {
            batch.disk = Disk::Synced;
            match batch.place.replace(Place::Journaled) {
                Some(_) => post(&mut self.accounts, batch.counts(), Deliveries::journal),
                None => post(&mut self.accounts, batch.counts(), |of, events| of.accept(events, Place::Journaled)),
            }
            batch.resolve(Ok(Promise { durability: Durability::Journaled, refused: Vec::new() }), effects);
            if !is_with_bus {
                self.batches.remove(&write.number);
            }
        }
        self.resume(effects);
        self.release(effects);
    }

    pub(super) fn sync_failed(&mut self, write: Write, error: JournalError, effects: &mut VecDeque<Effect<L>>) {
        self.journal.failed = true;
        self.reported(write);
        if write.number < self.sent {
            // The bus has it: it is written again.
            if let Some(batch) = self.batches.get_mut(&write.number) {
                batch.disk = Disk::No;
                self.journal.from = self.journal.from.min(write.number);
            }
        } else if let Some(mut batch) = self.batches.remove(&write.number) {
            // Nothing has it.
            batch.resolve(Err(not_journaled(error)), effects);
        }
        self.resume(effects);
        self.release(effects);
    }

    /// A write is over.
    fn reported(&mut self, write: Write) {
        self.journal.unreported = self.journal.unreported.saturating_sub(1);
        self.journal.to_release = true;
        // A batch that is gone was settled while it was written.
        let counted =
            self.batches.get_mut(&write.number).is_none_or(|batch| std::mem::take(&mut batch.is_writing_bytes));
        if counted {
            self.journal.bytes = self.journal.bytes.saturating_sub(write.bytes);
        }
    }

    /// After a failed write, the journal takes writes again once all of them have been reported.
    fn resume(&mut self, effects: &mut VecDeque<Effect<L>>) {
        if self.journal.failed && self.journal.unreported == 0 {
            self.journal.failed = false;
            effects.push_back(Effect::Resume);
        }
    }

    /// Releases settled records of the journal, and detects lost ones.
    pub(super) fn release(&mut self, effects: &mut VecDeque<Effect<L>>) {
        if !self.has_journal || !self.journal.to_release {
            return;
        }
        let released = self.released();
        effects.push_back(Effect::Release(released));
        self.journal.to_release = released < self.next;
        let lost = self.accounts.map(|of| of.journaled);
        if released >= self.journal.synced_to && lost.iter().any(|events| *events > 0) {
            post(&mut self.accounts, lost, |of, events| of.drop(events, Place::Journaled, DropReason::JournalDamaged));
            effects.push_back(Effect::CountLost(lost));
        }
    }
}

fn not_journaled(error: JournalError) -> PublishError {
    match error {
        JournalError::Full => PublishError::Full,
        JournalError::Unavailable(cause) => PublishError::Unavailable(cause),
        JournalError::Closed => PublishError::Closed,
    }
}
