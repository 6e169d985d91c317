//! Records: events as the bus sees them, opaque bytes under a key.
//!
//! A batch of records is stored in one buffer with ranges into it, so that thousands of events cost two allocations.

use crate::delivery::Guarantee;
use crate::partition::Partition;
use crate::timestamp::Timestamp;
use crate::trace_parent::TraceParent;

/// Maximum bytes of key and value together, on every bus (contract, "A log event").
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The source of the event.
    pub key: &'a [u8],
    /// The encoded event; as read from the bus, perhaps several of them ([`crate::pack`]).
    pub value: &'a [u8],
    /// The time of receipt: Kafka's record timestamp.
    pub timestamp: Timestamp,
    /// Whether the client chose the event's id, so that the event may be repeated. Of a derived id, the value says it.
    pub client_id: bool,
}

/// Records in one buffer, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key_from: usize,
    value_from: usize,
    value_to: usize,
    timestamp: Timestamp,
    client_id: bool,
}

/// The record would exceed [`RECORD_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record has at most {RECORD_BYTES_MAX} bytes of key and value")]
pub struct RecordTooLarge;

impl Records {
    /// No records, with capacity for some.
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(records) }
    }

    /// Adds a record whose value `write_value` appends to the buffer.
    ///
    /// # Errors
    /// The record is too large; the batch is unchanged.
    pub fn push(
        &mut self,
        key: &[u8],
        timestamp: Timestamp,
        client_id: bool,
        write_value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), RecordTooLarge> {
        let key_from = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_from = self.bytes.len();
        write_value(&mut self.bytes);
        let value_to = self.bytes.len();
        if value_to - key_from > RECORD_BYTES_MAX {
            self.bytes.truncate(key_from);
            return Err(RecordTooLarge);
        }
        self.entries.push(Entry { key_from, value_from, value_to, timestamp, client_id });
        Ok(())
    }

    /// Adds a record that is already on the bus, from any producer: it may be larger than [`RECORD_BYTES_MAX`].
    pub fn push_found(&mut self, record: Record<'_>) {
        let key_from = self.bytes.len();
        self.bytes.extend_from_slice(record.key);
        let value_from = self.bytes.len();
        self.bytes.extend_from_slice(record.value);
        let (value_to, Record { timestamp, client_id, .. }) = (self.bytes.len(), record);
        self.entries.push(Entry { key_from, value_from, value_to, timestamp, client_id });
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The record at this position, from 0.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Record<'_>> {
        self.entries.get(position).map(|entry| self.record(entry))
    }

    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> + DoubleEndedIterator {
        self.entries.iter().map(|entry| self.record(entry))
    }

    fn record(&self, entry: &Entry) -> Record<'_> {
        Record {
            key: self.bytes.get(entry.key_from..entry.value_from).unwrap_or_default(),
            value: self.bytes.get(entry.value_from..entry.value_to).unwrap_or_default(),
            timestamp: entry.timestamp,
            client_id: entry.client_id,
        }
    }
}

/// Records of one request for one lane of one partition, in request order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The target partition.
    pub partition: Partition,
    /// The strictest guarantee among them: the answer waits for it.
    pub guarantee: Guarantee,
    /// The records.
    pub records: Records,
    /// The trace of the request.
    pub trace_parent: Option<TraceParent>,
}

/// Memory overhead of a batch, and of each record, in addition to the bytes of the records.
const BATCH_OVERHEAD_BYTES: usize = 512;
const RECORD_OVERHEAD_BYTES: usize = 64;

impl RecordBatch {
    /// Its approximate memory usage, in bytes: limits of memory count it.
    #[must_use]
    pub fn bytes_in_memory(&self) -> usize {
        self.records.bytes() + self.records.len() * RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES
    }
}

/// Consecutive records of one partition, as read from the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of each record; ascending, may have gaps.
    pub offsets: Vec<u64>,
    /// The records.
    pub records: Records,
    /// The traces of the requests that the records came with, if the bus keeps them: each applies from its offset on.
    pub traces: Vec<(u64, Option<TraceParent>)>,
    /// Where to continue after this chunk.
    pub next: u64,
}

impl Chunk {
    /// Adds a record from the bus, with the trace of its request.
    pub fn push(&mut self, offset: u64, record: Record<'_>, trace: Option<TraceParent>) {
        if self.traces.last().and_then(|(_, last)| *last) != trace {
            self.traces.push((offset, trace));
        }
        self.offsets.push(offset);
        self.records.push_found(record);
        self.next = offset + 1;
    }

    /// The trace of the request that the record at this offset came with.
    #[must_use]
    pub fn trace_of(&self, offset: u64) -> Option<TraceParent> {
        let changes = self.traces.partition_point(|(from, _)| *from <= offset);
        self.traces.get(changes.checked_sub(1)?)?.1
    }

    /// The records with their offsets.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        self.offsets.iter().copied().zip(self.records.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_knows_the_trace_of_each_record() {
        let traces = [
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00",
        ]
        .map(|value| TraceParent::parse(value));
        assert_ne!(traces[0], traces[1]);
        let given = [None, traces[0], traces[0], traces[1], None, None, traces[0]];
        let mut chunk = Chunk::default();
        assert_eq!(chunk.trace_of(9), None);
        for (offset, trace) in (3..).step_by(2).zip(given) {
            chunk.push(offset, Record { key: b"", value: b"", timestamp: Timestamp::MIN, client_id: false }, trace);
        }
        assert_eq!((3..).step_by(2).zip(given).map(|(offset, _)| chunk.trace_of(offset)).collect::<Vec<_>>(), given);
        assert_eq!((chunk.trace_of(2), chunk.next, chunk.traces.len()), (None, 16, 4));
    }

    #[test]
    fn records_are_returned_unchanged_and_a_record_that_is_too_large_changes_nothing() {
        let time = Timestamp::MIN;
        let mut records = Records::default();
        let value = |byte: u8, len: usize| move |buffer: &mut Vec<u8>| buffer.extend(std::iter::repeat_n(byte, len));
        assert_eq!(records.push(b"a", time, false, value(1, 2)), Ok(()));
        assert_eq!(records.push(b"b", time, false, value(2, RECORD_BYTES_MAX)), Err(RecordTooLarge));
        assert_eq!(records.push(b"", time, true, value(3, 0)), Ok(()));
        assert_eq!(records.push(b"c", time, true, value(4, RECORD_BYTES_MAX - 1)), Ok(()));
        assert_eq!((records.len(), records.bytes()), (3, 3 + RECORD_BYTES_MAX));
        let seen: Vec<_> =
            records.iter().map(|r| (r.key, r.value.len(), r.value.first().copied(), r.client_id)).collect();
        assert_eq!(
            seen,
            [
                (&b"a"[..], 2, Some(1), false),
                (&b""[..], 0, None, true),
                (&b"c"[..], RECORD_BYTES_MAX - 1, Some(4), true)
            ]
        );
    }
}
