//! The queue of a partition, and the client that it hands its records to.

use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::batch::Batch;
use super::partition_queue::{PartitionQueue, RecordId};

/// Maximum number of records, and of bytes of records, that a queue hands over at once: about 4 ms. A queue with 64 MB
/// would need a quarter of a second.
pub(super) const HAND_OVER_RECORDS_MAX: usize = 5_000;
pub(super) const HAND_OVER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a queue needs of its client.
pub(super) trait DeliveryContext: ProducerContext<DeliveryOpaque = usize> {
    /// Requests the replacement of the client. The first reason is kept.
    fn break_off(&self, code: Option<RDKafkaErrorCode>, reason: &str);

    /// Whether the topic's limit is known to be that of the client now. If not, it is read.
    fn may_refuse_size(&self) -> bool;
}

/// A partition's queue.
pub(super) struct ClientQueue<C: DeliveryContext> {
    topic: Arc<str>,
    queue: PartitionQueue<Batch>,
    /// Receives the records; `None` while it is being replaced.
    client: Option<Arc<BaseProducer<C>>>,
    /// Receives the reports of the latest client, the last of them after the queue has stopped handing over to it.
    context: Option<Arc<C>>,
    /// The value of a pack, until the client has copied it.
    buffer: Vec<u8>,
}

impl<C: DeliveryContext> ClientQueue<C> {
    /// An empty queue.
    pub(super) fn new(topic: Arc<str>, client: Option<Arc<BaseProducer<C>>>) -> Self {
        let context = client.as_ref().map(|client| Arc::clone(client.context()));
        Self { topic, queue: PartitionQueue::default(), client, context, buffer: Vec::new() }
    }

    /// Adds a batch, and hands it over if nothing is before it. Behind other batches, the thread that hands those over
    /// continues with it: the caller does not do their work.
    pub(super) fn push(&mut self, batch: Batch) {
        let is_behind = self.queue.is_behind();
        let records = batch.batch.records.len();
        self.queue.push(batch, records);
        if !is_behind {
            self.hand_over();
        }
    }

    /// Hands the client its next records, up to a limit. Returns whether there are more for which it may have room; the
    /// thread that receives the reports continues with those.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(client) = self.client.clone() else { return false };
        let topic = Arc::clone(&self.topic);
        let (mut records_left, mut bytes_left) = (HAND_OVER_RECORDS_MAX, HAND_OVER_BYTES_MAX);
        while let Some((batch, id)) = self.queue.next_record() {
            if records_left == 0 || bytes_left == 0 {
                return true;
            }
            let records = batch.pack(id.position).len();
            records_left = records_left.saturating_sub(records);
            bytes_left = bytes_left.saturating_sub(batch.message_bytes(id.position));
            let Some(message) = batch.message(&topic, id, &mut self.buffer) else { return false };
            let Err(error) = client.send(message).map_err(|(error, _)| error) else {
                self.queue.handed_over(records);
                continue;
            };
            match error.rdkafka_error_code() {
                // An operator may have raised the limit since. The thread that receives the reports tries again.
                Some(RDKafkaErrorCode::MessageSizeTooLarge) if records == 1 && !client.context().may_refuse_size() => {
                    return false;
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let reason = Some(error.to_string());
                    // The topic takes smaller records than before: the halves are next.
                    if !self.queue.content_mut(id.batch).is_some_and(|batch| batch.halve(id.position)) {
                        self.queue.report(id, false, |batch, is_last| batch.settle(id.position, reason, is_last));
                    }
                }
                Some(RDKafkaErrorCode::QueueFull) => return false,
                code => {
                    client.context().break_off(code, &error.to_string());
                    self.client = None;
                    return false;
                }
            }
        }
        false
    }

    /// Whether there are records that the client does not have.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        self.queue.is_behind()
    }

    /// Switches to another client, or to none, unless the queue has it already.
    pub(super) fn switch(&mut self, client: Option<&Arc<BaseProducer<C>>>) {
        let has_it = match (&self.client, client) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        if !has_it {
            self.client = client.cloned();
            if let Some(client) = client {
                self.context = Some(Arc::clone(client.context()));
            }
            self.queue.restart(client.is_some());
        }
    }

    /// Whether a report is of the latest client, which all records in flight were handed to. The answers to them often
    /// come after the queue was stopped: a rejection is a fatal error of the client, which is replaced for it.
    pub(super) fn is_of(&self, context: &C) -> bool {
        self.context.as_ref().is_some_and(|latest| std::ptr::eq(Arc::as_ptr(latest), context))
    }

    /// Hands over nothing until there is another client.
    pub(super) fn stop(&mut self) {
        self.client = None;
    }

    /// The final report of a record, or of the pack that begins with it: `delivered` by the latest client, or not, and
    /// perhaps permanently rejected.
    pub(super) fn report(&mut self, id: RecordId, delivered: bool, refused: Option<String>) {
        let others = self.pack(id).filter(|position| *position != id.position);
        for position in others {
            let (id, refused) = (RecordId { position, ..id }, refused.clone());
            self.queue.report(id, delivered, |batch, is_last| batch.settle(position, refused, is_last));
        }
        // The others wait for the record that stands for all of them.
        if self.queue.report(id, delivered, |batch, is_last| batch.settle(id.position, refused, is_last)) {
            self.hand_over();
        }
    }

    /// Marks a record, or a pack, as refused, possibly because of another one.
    pub(super) fn suspect(&mut self, id: RecordId) {
        for position in self.pack(id) {
            self.queue.suspect(RecordId { position, ..id });
        }
    }

    /// Whether the record is a pack of several.
    pub(super) fn is_pack(&self, id: RecordId) -> bool {
        self.pack(id).len() > 1
    }

    /// A pack that is in flight alone was rejected for its content: sends its halves alone, in order.
    pub(super) fn halve(&mut self, id: RecordId) {
        self.suspect(id);
        if let Some(batch) = self.queue.content_mut(id.batch) {
            batch.halve(id.position);
        }
        self.queue.again(id);
        self.hand_over();
    }

    /// The records that were handed over together with this one, which is the first of them.
    pub(super) fn pack(&self, id: RecordId) -> std::ops::Range<usize> {
        self.queue.content(id.batch).map_or(0..0, |batch| batch.pack(id.position))
    }

    /// Whether this record is in flight alone, so that an answer means it.
    pub(super) fn is_alone(&self, id: RecordId) -> bool {
        self.queue.is_alone(id)
    }
}
