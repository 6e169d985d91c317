use std::sync::Arc;

use async_trait::async_trait;

use super::{BoxFuture, Cause, RefusedRecord};
use crate::admission::Usage;
use crate::delivery::{Guarantee, GuaranteeCounts};
use crate::partition::Partition;
use crate::record::RecordBatch;
use crate::timestamp::Timestamp;

/// Why a journal operation failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space. Nothing was kept; retry later.
    #[error("the journal has no room")]
    Full,
    /// The disk does not work. Nothing was kept, as far as is known; retry later.
    #[error("the journal is unavailable")]
    Unavailable(#[source] Cause),
    /// The journal is being closed. Nothing was kept.
    #[error("the journal is closed")]
    Closed,
}

/// The entries of one partition in a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogPartition {
    /// The partition.
    pub partition: Partition,
    /// Number of its first entry.
    pub first: u64,
    /// The number after its last entry.
    pub next: u64,
    /// Entries by guarantee.
    pub records: GuaranteeCounts,
    /// Time of receipt of its oldest entry.
    pub oldest: Option<Timestamp>,
    /// Bytes before intact entries that cannot be read as entries. Either they were being written during a power
    /// failure, so nothing was promised for them, or they are damaged; the two cases cannot be told apart.
    pub damaged_bytes: u64,
}

/// Journal entries with consecutive numbers and the same trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournaledBatch {
    /// Number of the first record; the others follow without a gap.
    pub first: u64,
    /// The records; the guarantee is the strictest among them.
    pub batch: RecordBatch,
    /// The guarantee of each record.
    pub guarantees: Vec<Guarantee>,
}

/// Entries of one partition in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalChunk {
    /// The entries. Numbers that were never appended, and damaged entries, are missing between batches.
    pub batches: Vec<JournaledBatch>,
    /// Where to continue.
    pub next: u64,
}

/// Entries on disk that wait for the bus, to be read and released in order.
///
/// Promises: entries are read back unchanged, in ascending numbers, until they are released, even after a crash of the
/// process or of the machine. After a crash, released entries may reappear: a release is a hint to free space, in units
/// of whole files. A damaged entry is skipped and logged, and affects no other entry.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait Backlog: Send + Sync {
    /// What was found when the backlog was opened, for each partition with entries, lowest partition first; or, of a
    /// backlog without entries, for each partition of which nothing could be read: `first` and `next` are the same.
    fn found(&self) -> Vec<BacklogPartition>;

    /// Entries of a partition with numbers in `from..to` that are fsynced, starting at `from`: at least one if there is
    /// one, at most [`CHUNK_BYTES_MAX`](super::CHUNK_BYTES_MAX) and [`CHUNK_RECORDS_MAX`](super::CHUNK_RECORDS_MAX).
    /// `next` is `to` once nothing is left before it.
    ///
    /// # Errors
    /// The disk failed.
    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError>;

    /// Entries of a partition with numbers before `before` are no longer needed.
    fn release(&self, partition: Partition, before: u64);
}

/// The producer's own journal: a bounded log on local disk for records that the bus has not acknowledged.
///
/// Promises, in addition to those of [`Backlog`]: entries of a partition keep the order of the `append` calls.
/// Everything on disk, including adopted backlogs but excluding refused records, stays within a configured number of
/// bytes. The directory belongs to this process until it ends.
#[async_trait]
pub trait Journal: Backlog {
    /// Takes a batch, at once and without waiting for the disk; its records get the numbers from `first` on, which must
    /// ascend from call to call of a partition. `guarantees` has one entry per record. The future resolves when the
    /// whole batch is fsynced, or when it is certain that nothing of it was kept; it stays pending while a failing disk
    /// leaves that open, and may be dropped.
    ///
    /// Once a batch has failed, the partition takes no further batch, and the batches taken after it fail as well,
    /// until [`Journal::resume`]: so the records on disk are always a prefix of the records taken.
    ///
    /// # Errors
    /// Nothing was kept.
    fn append(
        &self,
        first: u64,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError>;

    /// Takes batches of a partition again after a failure. Call it when all futures of the partition have resolved.
    /// Numbers of failed batches may be reused.
    fn resume(&self, partition: Partition);

    /// Keeps records that the bus permanently rejected, with the reasons, fsynced, for inspection by the operator.
    ///
    /// # Errors
    /// They are not kept; retry later.
    async fn keep_refused(&self, batch: Arc<RecordBatch>, refused: Vec<RefusedRecord>) -> Result<(), JournalError>;

    /// Takes over the backlog of a process that has ended, if there is one with entries.
    ///
    /// # Errors
    /// The disk failed; retry later.
    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError>;

    /// How much of the disk space for ordinary events is in use, including adopted backlogs. The limit is lower than
    /// the configured one if the disk has less free space beyond its reserve ([`crate::disk`]).
    fn usage(&self) -> Usage;

    /// Whether a batch of this many bytes that contains an ERROR or a FATAL would fit now.
    fn has_room(&self, bytes: u64) -> bool;

    /// Time of receipt of the oldest entry that is not released, including adopted backlogs.
    fn oldest(&self) -> Option<Timestamp>;

    /// What is wrong with the disk, if anything.
    fn fault(&self) -> Option<String>;
}
