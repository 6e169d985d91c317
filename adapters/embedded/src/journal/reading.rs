//! Decodes the frames of a log into batches.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use domain::delivery::{Guarantee, GuaranteeCounts};
use domain::partition::Partition;
use domain::ports::{BacklogPartition, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, JournalChunk, JournalError, JournaledBatch};
use domain::record::{RECORD_BYTES_MAX, RecordBatch, Records};

use super::ages::Ages;
use crate::frame::Journaled;
use crate::lock::lock;
use crate::segmented_log::{FRAME_HEADER_BYTES, LogError, LogReader, Read, name_of};

/// A log to read from, and how messages refer to it.
#[derive(Clone)]
pub(super) struct Reading {
    pub partition: Partition,
    pub reader: Arc<Mutex<LogReader>>,
    /// The directory of its files.
    pub path: Arc<Path>,
    /// The last damaged place that was reported: file and offset.
    told: Arc<Mutex<Option<(u64, u64)>>>,
}

impl Reading {
    pub fn new(partition: Partition, reader: Arc<Mutex<LogReader>>, path: Arc<Path>) -> Self {
        Self { partition, reader, path, told: Arc::default() }
    }

    /// Entries with numbers in `from..to`. All of them must be readable by now, or never become so.
    ///
    /// # Errors
    /// I/O errors.
    pub async fn chunk(&self, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        let reading = self.clone();
        let read = tokio::task::spawn_blocking(move || reading.chunk_blocking(from, to)).await;
        read.map_err(|error| JournalError::Unavailable(error.into()))?.map_err(failed)
    }

    fn chunk_blocking(&self, from: u64, to: u64) -> Result<JournalChunk, LogError> {
        let mut reader = lock(&self.reader);
        let mut position = from;
        loop {
            // Released entries may be removed at any time.
            position = position.max(reader.range().0);
            let mut chunk = Chunk::new(self.partition);
            let read = reader.read_until(position, to, |entry| {
                match Journaled::read(entry.payload, entry.time) {
                    Some(journaled) => chunk.push(entry.sequence, &journaled),
                    None => self.tell_of_stranger(entry.sequence),
                }
                chunk.has_room()
            });
            match read {
                Ok(read) => {
                    self.tell_of_damage(&read);
                    let next = if chunk.has_room() { to } else { read.next };
                    return Ok(JournalChunk { batches: chunk.batches, next });
                }
                Err(LogError::OutOfRange { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Scans all entries.
    ///
    /// # Errors
    /// I/O errors.
    pub fn survey(&self) -> Result<Option<(BacklogPartition, Ages)>, LogError> {
        let mut reader = lock(&self.reader);
        let mut found: Option<(BacklogPartition, Ages)> = None;
        let (first, _) = reader.range();
        let mut strangers_bytes = 0;
        let read = reader.read(first, |entry| {
            let (next, time) = (entry.sequence + 1, entry.time);
            let Some(journaled) = Journaled::read(entry.payload, entry.time) else {
                strangers_bytes += (FRAME_HEADER_BYTES + entry.payload.len()) as u64;
                return true;
            };
            let nothing = BacklogPartition {
                partition: self.partition,
                first: entry.sequence,
                next,
                records: GuaranteeCounts::default(),
                oldest: Some(time),
                damaged_bytes: 0,
            };
            let (of_partition, ages) = found.get_or_insert_with(|| (nothing, Ages::default()));
            of_partition.next = next;
            of_partition.oldest = of_partition.oldest.min(Some(time));
            for (records, guarantee) in of_partition.records.iter_mut().zip(Guarantee::ALL) {
                *records += u64::from(guarantee == journaled.guarantee);
            }
            ages.add(entry.sequence, next, time);
            true
        })?;
        self.tell_of_damage(&read);
        if let Some((of_partition, _)) = &mut found {
            of_partition.damaged_bytes = read.damaged_bytes + strangers_bytes;
        }
        Ok(found)
    }

    fn tell_of_damage(&self, read: &Read) {
        let mut told = lock(&self.told);
        if let Some((base, offset)) = read.first_damage
            && *told < read.first_damage
        {
            *told = read.first_damage;
            let (file, bytes) = (self.path.join(name_of(base)), read.damaged_bytes);
            tracing::error!(file = %file.display(), offset, bytes, "skipped damage in the journal: events are lost");
        }
    }

    fn tell_of_stranger(&self, number: u64) {
        let directory = self.path.display();
        tracing::error!(%directory, number, "skipped a journal entry that is not a record");
    }
}

/// Result of one read.
struct Chunk {
    partition: Partition,
    batches: Vec<JournaledBatch>,
    records: usize,
    bytes: usize,
}

impl Chunk {
    fn new(partition: Partition) -> Self {
        Self { partition, batches: Vec::new(), records: 0, bytes: 0 }
    }

    /// An entry that was shown is consumed, so there must be room for the largest record before the next one is shown.
    fn has_room(&self) -> bool {
        self.records < CHUNK_RECORDS_MAX && self.bytes <= CHUNK_BYTES_MAX - RECORD_BYTES_MAX
    }

    /// Appends an entry to the last batch, or starts a new one.
    fn push(&mut self, number: u64, journaled: &Journaled<'_>) {
        self.records += 1;
        self.bytes += journaled.record.key.len() + journaled.record.value.len();
        let follows = |last: &JournaledBatch| {
            last.first + last.guarantees.len() as u64 == number && last.batch.trace_parent == journaled.trace_parent
        };
        if !self.batches.last().is_some_and(follows) {
            let batch = RecordBatch {
                partition: self.partition,
                guarantee: journaled.guarantee,
                records: Records::default(),
                trace_parent: journaled.trace_parent,
            };
            self.batches.push(JournaledBatch { first: number, batch, guarantees: Vec::new() });
        }
        if let Some(last) = self.batches.last_mut() {
            last.batch.records.push_found(journaled.record);
            last.batch.guarantee = last.batch.guarantee.max(journaled.guarantee);
            last.guarantees.push(journaled.guarantee);
        }
    }
}

/// What the caller of the journal is told.
pub(super) fn failed(error: LogError) -> JournalError {
    match &error {
        LogError::Io(cause) if cause.kind() == io::ErrorKind::StorageFull => JournalError::Full,
        LogError::Io(_) | LogError::TooLarge | LogError::OutOfRange { .. } => {
            JournalError::Unavailable(error.described().into())
        }
    }
}
