//! A batch on its way to Kafka: the state of its records, who waits for it, and the room that it occupies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::delivery::{Durability, Guarantee};
use domain::partition::Partition;
use domain::ports::{PublishError, RefusedRecord};
use domain::record::{Record, RecordBatch};
use domain::trace_parent::TraceParent;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use tokio::sync::{Notify, oneshot};

use crate::topic::{ID_ORIGIN, ID_ORIGIN_CLIENT, TRACE_PARENT, kafka_time};

/// Bits of a delivery number that identify the record in its batch.
const RECORD_BITS: u32 = 20;
/// Maximum number of records in a batch.
pub(super) const BATCH_RECORDS_MAX: usize = 1 << RECORD_BITS;
const _: () = assert!(usize::BITS == 64, "a delivery's number has 44 bits for its batch");

/// Room for unacknowledged batches.
pub(super) struct Memory {
    pub(super) bytes: AtomicUsize,
    pub(super) bytes_max: usize,
    pub(super) records: AtomicUsize,
    /// Notified whenever a batch is finished.
    pub(super) freed: Notify,
}

impl Memory {
    /// Takes room for a batch, if there is enough.
    pub(super) fn take(&self, bytes: usize, records: usize) -> bool {
        let taken = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
        });
        if taken.is_ok() {
            self.records.fetch_add(records, Ordering::SeqCst);
        }
        taken.is_ok()
    }
}

/// A batch that waits for its last report.
pub(super) struct Batch {
    pub(super) batch: Arc<RecordBatch>,
    /// State of each record.
    pub(super) progress: Vec<Progress>,
    /// Number of records without a final report.
    pub(super) left: usize,
    pub(super) refused: Vec<RefusedRecord>,
    pub(super) receipts: Receipts,
    pub(super) memory: Arc<Memory>,
    pub(super) bytes: usize,
}

/// State of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No final report yet.
    Open,
    /// No final report yet, and refused together with others: sent alone to find out which one is meant.
    Suspect,
    /// A final report has arrived.
    Reported,
}

/// The channels to report the outcome of a batch to.
pub(super) struct Receipts {
    pub(super) promised: Option<oneshot::Sender<Result<Durability, PublishError>>>,
    pub(super) settled: Option<oneshot::Sender<Result<(), PublishError>>>,
}

/// Result of an attempt to hand over a batch.
pub(super) enum HandedOver {
    /// The client has the whole batch.
    All,
    /// The client has this record, which has to be alone.
    Alone(usize),
    /// This record has to be alone, and others are in flight.
    Busy(usize),
    /// The client has no room for this record.
    Full(usize),
    /// This record is left for the next round.
    Enough(usize),
    /// The client accepts nothing.
    Broken(KafkaError),
}

/// What a queue may still hand over in this round.
pub(super) struct Share {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Share {
    /// Takes a record's share, unless the share is used up.
    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || self.bytes == 0 {
            return false;
        }
        (self.records, self.bytes) = (self.records - 1, self.bytes.saturating_sub(bytes));
        true
    }
}

impl Batch {
    pub(super) fn new(batch: Arc<RecordBatch>, receipts: Receipts, memory: Arc<Memory>, bytes: usize) -> Self {
        let records = batch.records.len();
        let mut this = Self {
            progress: vec![Progress::Open; records],
            left: records,
            refused: Vec::new(),
            receipts,
            memory,
            bytes,
            batch,
        };
        if this.batch.guarantee == Guarantee::AtMostOnce {
            this.receipts.promise(Ok(Durability::Buffered));
        }
        if records == 0 {
            this.receipts.settle(Vec::new());
        }
        this
    }

    /// Hands the client the unreported records from `position` on: all of them, as many as the share allows, or one that
    /// has to be alone.
    pub(super) fn hand_over(
        &mut self,
        client: &BaseProducer<impl ProducerContext<DeliveryOpaque = usize>>,
        topic: &str,
        number: u64,
        position: usize,
        (oldest, proven): (bool, bool),
        share: &mut Share,
    ) -> HandedOver {
        let mut refused = Vec::new();
        let mut outcome = HandedOver::All;
        for (index, record) in self.batch.records.iter().enumerate().skip(position) {
            let alone = match self.progress.get(index) {
                Some(Progress::Open) => !proven,
                Some(Progress::Suspect) => true,
                Some(Progress::Reported) | None => continue,
            };
            let before = self.progress.get(..index).unwrap_or_default();
            if alone && !(oldest && before.iter().all(|before| *before == Progress::Reported)) {
                outcome = HandedOver::Busy(index);
                break;
            }
            if !share.take(record.key.len() + record.value.len()) {
                outcome = HandedOver::Enough(index);
                break;
            }
            let message = message(topic, self.batch.partition, &record, self.batch.trace_parent, opaque(number, index));
            let Err((error, _)) = client.send(message) else {
                if alone {
                    outcome = HandedOver::Alone(index);
                    break;
                }
                continue;
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => refused.push((index, error.to_string())),
                Some(RDKafkaErrorCode::QueueFull) => {
                    outcome = HandedOver::Full(index);
                    break;
                }
                _ => {
                    outcome = HandedOver::Broken(error);
                    break;
                }
            }
        }
        for (index, reason) in refused {
            self.report(index, Some(reason));
        }
        outcome
    }

    pub(super) fn report(&mut self, position: usize, refused: Option<String>) {
        let record = self.progress.get_mut(position).filter(|record| **record != Progress::Reported);
        let Some(record) = record else { return };
        *record = Progress::Reported;
        self.left -= 1;
        if let Some(reason) = refused {
            tracing::error!(partition = self.batch.partition, reason, "Kafka rejected a record permanently");
            self.refused.push(RefusedRecord { position, reason });
        }
        if self.left == 0 {
            self.receipts.settle(std::mem::take(&mut self.refused));
        }
    }
}

impl Receipts {
    /// Reports the first promise, if the caller still listens.
    fn promise(&mut self, promise: Result<Durability, PublishError>) {
        if let Some(promised) = self.promised.take() {
            let _ = promised.send(promise);
        }
    }

    fn settle(&mut self, refused: Vec<RefusedRecord>) {
        let outcome = || if refused.is_empty() { Ok(()) } else { Err(PublishError::Refused(refused.clone())) };
        self.promise(outcome().map(|()| Durability::Acknowledged));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(outcome());
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.records.fetch_sub(self.batch.records.len(), Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

/// A record in Kafka's format (contract, "Kafka record").
fn message<'a>(
    topic: &'a str,
    partition: Partition,
    record: &Record<'a>,
    trace_parent: Option<TraceParent>,
    opaque: usize,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let message = BaseRecord::with_opaque_to(topic, opaque)
        .partition(i32::try_from(partition).unwrap_or(i32::MAX))
        .key(record.key)
        .payload(record.value)
        .timestamp(kafka_time(record.timestamp));
    if !record.client_id && trace_parent.is_none() {
        return message;
    }
    let mut headers = OwnedHeaders::new_with_capacity(2);
    if record.client_id {
        headers = headers.insert(Header { key: ID_ORIGIN, value: Some(ID_ORIGIN_CLIENT) });
    }
    if let Some(trace_parent) = &trace_parent {
        headers = headers.insert(Header { key: TRACE_PARENT, value: Some(trace_parent.as_bytes()) });
    }
    message.headers(headers)
}

/// Delivery number: the number of the batch, and the position of the record.
pub(super) fn opaque(number: u64, position: usize) -> usize {
    // Both fit: see `BATCH_RECORDS_MAX`; a million batches per second take half a year to fill 44 bits.
    usize::try_from(number).unwrap_or(usize::MAX) << RECORD_BITS | position
}

pub(super) fn delivery_of(opaque: usize) -> (u64, usize) {
    ((opaque >> RECORD_BITS) as u64, opaque & (BATCH_RECORDS_MAX - 1))
}
