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
}

/// A partition's queue.
pub(super) struct ClientQueue<C: DeliveryContext> {
    topic: Arc<str>,
    queue: PartitionQueue<Batch>,
    /// Receives the records; `None` while it is being replaced.
    client: Option<Arc<BaseProducer<C>>>,
}

impl<C: DeliveryContext> ClientQueue<C> {
    /// An empty queue.
    pub(super) fn new(topic: Arc<str>, client: Option<Arc<BaseProducer<C>>>) -> Self {
        Self { topic, queue: PartitionQueue::default(), client }
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
            (records_left, bytes_left) = (records_left - 1, bytes_left.saturating_sub(batch.record_bytes(id.position)));
            let Some(message) = batch.message(&topic, id) else { return false };
            let Err(error) = client.send(message).map_err(|(error, _)| error) else {
                self.queue.handed_over();
                continue;
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let reason = Some(error.to_string());
                    self.queue.report(id, false, |batch, is_last| batch.settle(id.position, reason, is_last));
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
            self.queue.restart(client.is_some());
        }
    }

    /// Whether it hands over to the client with this context.
    pub(super) fn is_of(&self, context: &C) -> bool {
        self.client.as_ref().is_some_and(|client| std::ptr::eq(&**client.context(), context))
    }

    /// Hands over nothing until there is another client.
    pub(super) fn stop(&mut self) {
        self.client = None;
    }

    /// The final report of a record: `delivered` by the present client, or not, and perhaps permanently rejected.
    pub(super) fn report(&mut self, id: RecordId, delivered: bool, refused: Option<String>) {
        if self.queue.report(id, delivered, |batch, is_last| batch.settle(id.position, refused, is_last)) {
            self.hand_over();
        }
    }

    /// Marks a record as refused, possibly because of another one.
    pub(super) fn suspect(&mut self, id: RecordId) {
        self.queue.suspect(id);
    }

    /// Whether this record is in flight alone, so that an answer means it.
    pub(super) fn is_alone(&self, id: RecordId) -> bool {
        self.queue.is_alone(id)
    }
}
