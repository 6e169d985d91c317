//! A batch on its way to Kafka: its messages, the caller that waits for it, and the room that it occupies.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::delivery::{Durability, Guarantee};
use domain::pack::{Packs, write_pack};
use domain::partition::Partition;
use domain::ports::{PublishError, RefusedRecord};
use domain::record::{Record, RecordBatch};
use domain::trace_parent::TraceParent;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use tokio::sync::{Notify, oneshot};

use super::partition_queue::RecordId;
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
    /// How its records are packed; `None` if each is sent by itself.
    packs: Option<Packs>,
    refused: Vec<RefusedRecord>,
    receipts: Receipts,
    memory: Arc<Memory>,
    bytes: usize,
}

/// The channels to report the outcome of a batch to.
pub(super) struct Receipts {
    pub(super) promised: Option<oneshot::Sender<Result<Durability, PublishError>>>,
    pub(super) settled: Option<oneshot::Sender<Result<(), PublishError>>>,
}

impl Batch {
    pub(super) fn new(
        batch: Arc<RecordBatch>,
        packs: Option<Packs>,
        receipts: Receipts,
        memory: Arc<Memory>,
        bytes: usize,
    ) -> Self {
        let mut this = Self { packs, refused: Vec::new(), receipts, memory, bytes, batch };
        if this.batch.guarantee == Guarantee::AtMostOnce {
            this.receipts.promise(Ok(Durability::Buffered));
        }
        if this.batch.records.is_empty() {
            this.receipts.settle(Vec::new());
        }
        this
    }

    /// A record by its position in the order of sending, which is that of [`RecordId`].
    fn record(&self, position: usize) -> Option<Record<'_>> {
        self.batch.records.get(self.in_batch(position))
    }

    /// The position in the batch of a record, by its position in the order of sending.
    fn in_batch(&self, position: usize) -> usize {
        self.packs.as_ref().map_or(position, |packs| packs.in_batch(position))
    }

    /// The positions of the records that are sent together with this one.
    pub(super) fn pack(&self, position: usize) -> Range<usize> {
        self.packs.as_ref().map_or(position..position + 1, |packs| packs.containing(position))
    }

    /// Divides the pack that contains this record. Returns whether it had several records.
    pub(super) fn halve(&mut self, position: usize) -> bool {
        self.packs.as_mut().is_some_and(|packs| packs.halve(position))
    }

    /// The message of a record, or of the pack that begins with it, for the client. The value of a pack is written to
    /// `buffer`.
    pub(super) fn message<'a>(
        &'a self,
        topic: &'a str,
        id: RecordId,
        buffer: &'a mut Vec<u8>,
    ) -> Option<BaseRecord<'a, [u8], [u8], usize>> {
        let mut record = self.record(id.position)?;
        let pack = self.pack(id.position);
        if pack.len() > 1 {
            buffer.clear();
            write_pack(pack.filter_map(|position| self.record(position)), buffer);
            record.value = buffer.as_slice();
        }
        Some(message(topic, self.batch.partition, &record, self.batch.trace_parent, opaque(id)))
    }

    /// Bytes of a record, or of the pack that begins with it.
    pub(super) fn message_bytes(&self, position: usize) -> usize {
        let records = self.pack(position).filter_map(|position| self.record(position));
        records.map(|record| record.key.len() + record.value.len()).sum()
    }

    /// A record has its final report: Kafka has it, or permanently rejected it for this reason.
    pub(super) fn settle(&mut self, position: usize, refused: Option<String>, is_last: bool) {
        if let Some(reason) = refused {
            tracing::error!(partition = self.batch.partition, reason, "Kafka rejected a record permanently");
            self.refused.push(RefusedRecord { position: self.in_batch(position), reason });
        }
        if is_last {
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
pub(super) fn opaque(id: RecordId) -> usize {
    // Both fit: see `BATCH_RECORDS_MAX`; a million batches per second take half a year to fill 44 bits.
    usize::try_from(id.batch).unwrap_or(usize::MAX) << RECORD_BITS | id.position
}

pub(super) fn delivery_of(opaque: usize) -> RecordId {
    RecordId { batch: (opaque >> RECORD_BITS) as u64, position: opaque & (BATCH_RECORDS_MAX - 1) }
}
