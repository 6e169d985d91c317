//! Executes the effects of a queue.
//!
//! Constraints and invariants:
//! * An event and everything that follows from it happen under the lock of the queue, which is never held across an
//!   await. So the bus and the journal see the batches of a partition in the order of their numbers.
//! * Nothing here decides about a batch: see [`domain::delivery::queue`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use domain::delivery::Durability;
use domain::delivery::queue::{Effect, Event, Origin, Write};
use domain::delivery::{Guarantee, GuaranteeCounts};
use domain::partition::Partition;
use domain::ports::{JournalError, PublishError, Receipt, RefusedRecord};
use domain::record::RecordBatch;

use super::bus::Publication;
use super::queues::{Listener, PartitionDelivery, State};
use super::shared::Shared;
use crate::cause::Chain;

impl Shared {
    /// Tells a queue what happened and executes what follows.
    pub(super) fn tell(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        event: Event<Listener>,
    ) -> Option<Effect<Listener>> {
        self.run(queue, &mut queue.lock(), event)
    }

    /// The same under its lock. Returns what the caller has to do itself: [`Effect::Refuse`] or [`Effect::Read`].
    pub(super) fn run(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        state: &mut State,
        event: Event<Listener>,
    ) -> Option<Effect<Listener>> {
        let (had_backlog, bytes_before) = (state.queue.has_backlog(), state.queue.writing_bytes());
        let mut left = None;
        state.now = self.bus.now();
        state.handle(event);
        while let Some(effect) = state.effects.pop_front() {
            match effect {
                Effect::Publish { number, batch, origin } => self.publish(queue, state, number, batch, origin),
                Effect::Journal { write, batch, guarantees, room_bytes } => {
                    let appended = self.append(queue, write, batch, guarantees, room_bytes);
                    state.handle(appended.map_or_else(Event::NotAppended, Event::Appended));
                }
                // The receiver is gone if the client disconnected; the delivery continues.
                Effect::Resolve(listener, promise) => drop(listener.send(promise)),
                Effect::Keep { number, batch, refused, after } => self.keep(queue, number, batch, refused, after),
                Effect::Release(before) => {
                    queue.backlog.iter().for_each(|backlog| backlog.release(queue.partition, before));
                }
                Effect::Resume => self.journal.iter().for_each(|journal| journal.resume(queue.partition)),
                Effect::Refuse(_) | Effect::Read { .. } => left = Some(effect),
                Effect::CountSent { events, after } => self.ledger.sent(events, after),
                Effect::CountRejected { refused, accepted } => self.rejected(queue.partition, refused, accepted),
                Effect::CountFailed { events, accepted, error, listener } => {
                    self.ledger.failed(events, &error);
                    if accepted {
                        self.ledger.lost(queue.partition, Chain(&error).to_string());
                    }
                    if let Some(listener) = listener {
                        drop(listener.send(Err(error)));
                    }
                }
                Effect::CountLost(lost) => self.lost(queue.partition, lost),
            }
        }
        match (had_backlog, state.queue.has_backlog()) {
            (false, true) => _ = self.queues.backlogs.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.queues.backlogs.fetch_sub(1, Ordering::AcqRel),
            (true, true) | (false, false) => {}
        }
        let bytes = state.queue.writing_bytes();
        if bytes != bytes_before {
            self.writing_bytes.fetch_add(bytes.wrapping_sub(bytes_before), Ordering::AcqRel);
        }
        left
    }

    /// Sends a batch to the bus, if that is permitted.
    fn publish(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        state: &mut State,
        number: u64,
        batch: Arc<RecordBatch>,
        origin: Origin,
    ) {
        let Some(permit) = self.bus.permit(origin, self.queues.backlogs.load(Ordering::Acquire) > 0) else {
            return state.handle(Event::NotPublished(None));
        };
        let events = batch.records.len();
        match self.bus.publisher.publish(batch) {
            Ok(receipt) => {
                let publication = Publication { number, records: events as u64, origin, permit };
                self.published(queue, state, publication, receipt);
            }
            Err(error) => {
                if origin == Origin::Client {
                    self.ledger.failed(events, &error);
                }
                self.bus.not_taken(permit, &error);
                state.handle(Event::NotPublished(Some(error)));
            }
        }
    }

    fn published(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        state: &mut State,
        publication: Publication,
        receipt: Receipt,
    ) {
        if publication.origin == Origin::Journal {
            self.bus.sent_from_journal(publication.records);
        }
        state.handle(Event::Published);
        let Receipt { mut promised, settled } = receipt;
        // A promise that is already available is taken at once, without waking a task.
        let promised = match promised.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(promise) => {
                if is_buffered(&promise) {
                    state.handle(Event::Buffered(publication.number));
                }
                None
            }
            Poll::Pending => Some(promised),
        };
        self.track_publish(queue, publication, promised, settled);
    }

    /// Appends a batch to the journal, if there is memory for it.
    fn append(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        write: Write,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
        room_bytes: u64,
    ) -> Result<Write, JournalError> {
        let journal = self.journal.as_ref().ok_or(JournalError::Closed)?;
        // A batch settled in the meantime stays in memory until it is written.
        if !self.may_write(room_bytes) {
            return Err(JournalError::Full);
        }
        let written = journal.append(write.number, batch, guarantees).inspect_err(|error| {
            tracing::debug!(partition = queue.partition, error = %Chain(error), "not journaled");
        })?;
        self.track_write(queue, write, written);
        Ok(write)
    }

    fn rejected(&self, partition: Partition, refused: Vec<RefusedRecord>, accepted: bool) {
        let Some(reason) = refused.first().map(|first| first.reason.clone()) else { return };
        let records = refused.len();
        tracing::error!(partition, records, reason, "the bus permanently rejected records");
        if accepted {
            self.ledger.rejected(partition, reason);
        }
        self.ledger.failed(records, &PublishError::Refused(refused));
    }

    fn lost(&self, partition: Partition, lost: GuaranteeCounts) {
        let events: u64 = lost.iter().sum();
        tracing::error!(partition, events, "the journal is damaged: events are lost");
        self.ledger.lost(partition, "the journal is damaged".to_owned());
    }
}

/// A stronger promise, or none, comes with the outcome.
pub(super) fn is_buffered(promise: &Result<Durability, PublishError>) -> bool {
    matches!(promise, Ok(Durability::Buffered))
}
