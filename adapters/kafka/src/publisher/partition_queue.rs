//! The queue of batches of one partition, and what it hands to the client.

use std::collections::VecDeque;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::batch::{Batch, HandedOver, Progress, Share};

/// Maximum number of records, and of bytes of records, that a queue hands over at once: about 4 ms. A queue with 64 MB
/// would need a quarter of a second.
pub(super) const HAND_OVER_RECORDS_MAX: usize = 5_000;
pub(super) const HAND_OVER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a queue needs of its client.
pub(super) trait DeliveryContext: ProducerContext<DeliveryOpaque = usize> {
    /// Requests the replacement of the client. The first reason is kept.
    fn break_off(&self, code: Option<RDKafkaErrorCode>, reason: &str);
}

/// The batches of one partition, oldest first.
pub(super) struct PartitionQueue<C: DeliveryContext> {
    pub(super) topic: Arc<str>,
    pub(super) batches: VecDeque<Batch>,
    /// Number of the first of `batches`.
    pub(super) first: u64,
    /// The next record to hand over: number of its batch and position in it.
    pub(super) next: (u64, usize),
    /// Receives the records; `None` while it is being replaced.
    pub(super) client: Option<Arc<BaseProducer<C>>>,
    /// The client has delivered a record, so more than one may be in flight.
    pub(super) proven: bool,
    /// The only record in flight; the others wait for its report.
    pub(super) alone: Option<(u64, usize)>,
}

impl<C: DeliveryContext> PartitionQueue<C> {
    /// Hands the client its next records, up to a limit. Returns whether there are more for which it may have room; the
    /// thread that receives the reports continues with those.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(client) = self.client.clone() else { return false };
        let topic = Arc::clone(&self.topic);
        let mut more = false;
        let mut share = Share { records: HAND_OVER_RECORDS_MAX, bytes: HAND_OVER_BYTES_MAX };
        while self.alone.is_none() {
            self.let_go();
            let ((number, position), oldest, proven) = (self.next, self.first == self.next.0, self.proven);
            let Some(batch) = self.batch(number) else { break };
            match batch.hand_over(&client, &topic, number, position, (oldest, proven), &mut share) {
                HandedOver::All => self.next = (number + 1, 0),
                HandedOver::Alone(position) => {
                    self.alone = Some((number, position));
                    self.next = (number, position + 1);
                }
                HandedOver::Full(position) | HandedOver::Busy(position) => {
                    self.next = (number, position);
                    break;
                }
                HandedOver::Enough(position) => {
                    self.next = (number, position);
                    more = true;
                    break;
                }
                HandedOver::Broken(error) => {
                    client.context().break_off(error.rdkafka_error_code(), &error.to_string());
                    self.client = None;
                    break;
                }
            }
        }
        self.let_go();
        more
    }

    /// Whether there are records that the client does not have.
    pub(super) fn is_behind(&self) -> bool {
        self.next.0 < self.first + self.batches.len() as u64
    }

    pub(super) fn hands_over_to(&self, client: Option<&Arc<BaseProducer<C>>>) -> bool {
        match (&self.client, client) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        }
    }

    fn batch(&mut self, number: u64) -> Option<&mut Batch> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.batches.get_mut(index)
    }

    /// Handles a final report.
    pub(super) fn report(&mut self, number: u64, position: usize, refused: Option<String>) {
        if let Some(batch) = self.batch(number) {
            batch.report(position, refused);
        }
        if self.alone == Some((number, position)) {
            self.alone = None;
            self.hand_over();
        }
        self.let_go();
    }

    /// Marks a record as refused, possibly because of another one.
    pub(super) fn suspect(&mut self, number: u64, position: usize) {
        let record = self.batch(number).and_then(|batch| batch.progress.get_mut(position));
        if let Some(record) = record.filter(|record| **record == Progress::Open) {
            *record = Progress::Suspect;
        }
    }

    /// Releases the oldest batches whose records are all reported.
    fn let_go(&mut self) {
        while self.first < self.next.0 && self.batches.front().is_some_and(|batch| batch.left == 0) {
            self.batches.pop_front();
            self.first += 1;
        }
    }
}
