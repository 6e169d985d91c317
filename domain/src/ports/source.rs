use async_trait::async_trait;

use super::Cause;
use crate::lag::Lag;
use crate::partition::Partition;
use crate::record::Chunk;

/// Maximum records of a chunk. A packed record counts as one: what is unpacked together has its own limit.
pub const CHUNK_RECORDS_MAX: usize = 5_000;
/// Maximum bytes of a chunk, unless its first record alone has more.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why no records can be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The bus does not answer, or a read failed: retry later.
    #[error("the bus is unavailable")]
    Unavailable(#[source] Cause),
    /// The bus does not have the records at the position: it removed them before they were stored, or it is another one. Retrying
    /// does not help; an operator decides where the partition continues.
    #[error("the store continues at offset {position}, which is not on the bus: its oldest record has offset {first}")]
    OutOfRange {
        /// Where reading should have continued.
        position: u64,
        /// The oldest available offset.
        first: u64,
    },
    /// The source was closed: no more records will come.
    #[error("the source is closed")]
    Closed,
}

/// A change in which partitions this consumer reads.
pub enum AssignmentChange {
    /// Start reading these partitions. The callback takes the position of each, `None` for the earliest available
    /// record.
    Assigned(Vec<Partition>, Box<dyn FnOnce(Vec<Option<u64>>) + Send>),
    /// Stop reading these partitions. Call the callback once all records read have been stored or abandoned.
    Revoked(Vec<Partition>, Box<dyn FnOnce() + Send>),
}

/// The consuming side of the bus, for one consumer group.
///
/// Promises: records of a partition come in offset order, each once between two assignments. Offsets may have gaps. A
/// record is readable only once it would survive a crash. Reading one partition never waits for the reader of another.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// Waits for the next change of assignment.
    ///
    /// # Errors
    /// [`SourceError::Closed`] at the end.
    async fn assignment(&self) -> Result<AssignmentChange, SourceError>;

    /// The next records of an assigned partition: at least one, at most [`CHUNK_RECORDS_MAX`] and [`CHUNK_BYTES_MAX`].
    /// Waits until there is one. The future may be dropped without losing records.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn chunk(&self, partition: Partition) -> Result<Chunk, SourceError>;

    /// Moves to `position`, backward or forward, `None` for the earliest available record: the next chunk begins there.
    fn seek(&self, partition: Partition, position: Option<u64>);

    /// Tells the bus that all records before `position` are stored, for lag tools and retention.
    fn stored(&self, partition: Partition, position: u64);

    /// For each assigned partition, the records on the bus that are not known to be stored. Makes no request: records
    /// of the last few seconds may be missing.
    fn lags(&self) -> Vec<Lag>;

    /// Releases the partitions at once. All readers should have ended.
    async fn close(&self);
}
