//! How a queue sends its backlog to the bus, oldest first: from the journal, or from memory while a batch is being written.
//!
//! All batches that are being written are sent in one go, so that the queue catches up however fast new batches come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::batch::ReadBack;
use super::event::{Effect, NextReplay, Origin};
use super::{Queue, RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT};
use crate::backoff::Backoff;
use crate::ports::{JournalChunk, PublishError};

impl<L> Queue<L> {
    /// Begins to send the next part of the backlog.
    pub(super) fn tick(&mut self, records_max: u64, effects: &mut VecDeque<Effect<L>>) {
        self.next_replay = NextReplay::AfterReport;
        if records_max == 0 || !self.has_backlog() {
            return;
        }
        let to = self.batches.range(self.sent..).next().map_or(self.next, |(number, _)| *number);
        if to > self.sent {
            effects.push_back(Effect::Read { from: self.sent, to: to.min(self.sent.saturating_add(records_max)) });
        } else {
            self.publish_next(effects);
        }
    }

    pub(super) fn read_back(&mut self, chunk: JournalChunk, effects: &mut VecDeque<Effect<L>>) {
        self.read_back = Some(ReadBack::new(chunk));
        self.publish_next(effects);
    }

    /// Sends the next batch of this part of the backlog, if there is one.
    fn publish_next(&mut self, effects: &mut VecDeque<Effect<L>>) {
        if let Some(read_back) = &mut self.read_back {
            if let Some((number, batch)) = read_back.advance() {
                effects.push_back(Effect::Publish { number, batch, origin: Origin::Journal });
                return;
            }
            // Nothing is left to send before it.
            self.sent = self.sent.max(read_back.next.min(self.next));
            self.read_back = None;
            self.release(effects);
        } else if let Some(batch) = self.batches.get(&self.sent) {
            let (number, batch) = (self.sent, Arc::clone(&batch.batch));
            effects.push_back(Effect::Publish { number, batch, origin: Origin::Memory });
            return;
        }
        self.next_replay = NextReplay::Now;
        self.waits = Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT);
    }

    /// The bus took a batch of the backlog.
    pub(super) fn replayed(&mut self, now: Duration, effects: &mut VecDeque<Effect<L>>) {
        if let Some((number, batch)) = self.read_back.as_mut().and_then(|read_back| read_back.sent(now)) {
            self.sent = number + batch.records();
            self.batches.insert(number, batch);
        } else if let Some(batch) = self.batches.get(&self.sent) {
            self.sent += batch.records();
        }
        self.publish_next(effects);
    }

    /// The bus did not take a batch of the backlog.
    pub(super) fn not_replayed(&mut self, error: Option<&PublishError>, now: Duration) {
        self.read_back = None;
        match error {
            None | Some(PublishError::Full) => self.next_replay = NextReplay::AfterReport,
            Some(_) => self.retry_later(now),
        }
    }

    pub(super) fn retry_later(&mut self, now: Duration) {
        self.next_replay = self.waits.next().map_or(NextReplay::AfterReport, |wait| NextReplay::At(now + wait));
    }
}
