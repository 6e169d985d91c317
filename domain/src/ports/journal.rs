use std::sync::Arc;

use async_trait::async_trait;

use super::{BoxFuture, Cause, RefusedRecord};
use crate::admission::Fill;
use crate::delivery::{Guarantee, GuaranteeCounts};
use crate::partition::Partition;
use crate::record::RecordBatch;
use crate::timestamp::Timestamp;

/// Why the journal did not do it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room. Nothing was kept; try again later.
    #[error("the journal has no room")]
    Full,
    /// The disk does not work. Nothing was kept, as far as is known; try again later.
    #[error("the journal is unavailable")]
    Unavailable(#[source] Cause),
    /// The journal is being closed. Nothing was kept.
    #[error("the journal is closed")]
    Closed,
}

/// What a backlog has of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogPartition {
    /// Which.
    pub partition: Partition,
    /// Number of its first entry.
    pub first: u64,
    /// Behind the number of its last entry.
    pub next: u64,
    /// Entries by guarantee.
    pub records: GuaranteeCounts,
    /// When its oldest entry was received.
    pub oldest: Option<Timestamp>,
    /// Bytes in front of whole entries that are none. Either they were being written when the power went, so that nobody was
    /// promised anything for them, or they are damaged; nobody can tell.
    pub damaged_bytes: u64,
}

/// Entries of a journal with consecutive numbers, of one trace.
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
    /// Where to go on.
    pub next: u64,
}

/// Entries on disk that wait for the bus, to be read in order and released in order.
///
/// Promises: what was appended is read back as it was, in ascending numbers, until it is released, also after a crash of the
/// process or of the machine. After such a crash entries that were released may be there again: released is a hint to give
/// back room, by whole files. A damaged entry is skipped, said in the log, and costs no other entry.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait Backlog: Send + Sync {
    /// What was there when the backlog was opened, of each partition that had entries, lowest partition first.
    fn found(&self) -> Vec<BacklogPartition>;

    /// Entries of a partition with numbers in `from..to` that are fsynced, from `from` on: at least one if there is one, at
    /// most [`CHUNK_BYTES_MAX`](super::CHUNK_BYTES_MAX) and [`CHUNK_RECORDS_MAX`](super::CHUNK_RECORDS_MAX). `next` is `to`
    /// once nothing is left before it.
    ///
    /// # Errors
    /// The disk's.
    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError>;

    /// Entries of a partition with numbers before `before` are not needed any more.
    fn release(&self, partition: Partition, before: u64);
}

/// The producer's own journal: a bounded log on local disk for what the bus has not acknowledged.
///
/// Promises, beside those of [`Backlog`]: entries of a partition are kept in the order in which `append` took them. Everything
/// on disk, adopted backlogs included and refused records not, stays within a configured number of bytes. The directory belongs
/// to this process until it ends.
#[async_trait]
pub trait Journal: Backlog {
    /// Takes a batch, at once and without waiting for the disk; its records get the numbers from `first` on, which only ascend
    /// from call to call of a partition. `guarantees` has one for each record. The future is done when all of it is fsynced, or it is
    /// certain that nothing of it was kept; it is pending for as long as a failing disk leaves that open, and may be dropped.
    ///
    /// Once a batch that was taken has failed, the partition takes no further one, and those that were taken after it fail as
    /// well, until [`Journal::resume`]: so what is on disk is always a beginning of what was taken.
    ///
    /// # Errors
    /// Nothing was kept.
    fn append(
        &self,
        first: u64,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError>;

    /// Takes batches of a partition again after one has failed. All futures of the partition are done. Numbers of batches that
    /// failed may be used again.
    fn resume(&self, partition: Partition);

    /// Keeps records of a batch that the bus refuses for ever, with the reasons, fsynced, for somebody to look at.
    ///
    /// # Errors
    /// They are not kept; try again later.
    async fn keep_refused(&self, batch: Arc<RecordBatch>, refused: Vec<RefusedRecord>) -> Result<(), JournalError>;

    /// Takes over the backlog of a process that is gone, if there is one with entries.
    ///
    /// # Errors
    /// The disk's; try again later.
    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError>;

    /// How much is used of the room on disk for ordinary events, adopted backlogs included. The limit is lower than the
    /// configured one on a disk that has not so much free beyond its reserve ([`crate::disk`]).
    fn fill(&self) -> Fill;

    /// Whether a batch of so many bytes with an ERROR or a FATAL would find room now.
    fn has_room(&self, bytes: u64) -> bool;

    /// When the oldest entry that is not released was received, adopted backlogs included.
    fn oldest(&self) -> Option<Timestamp>;

    /// What is wrong with the disk, if anything is.
    fn trouble(&self) -> Option<String>;
}
