use async_trait::async_trait;

use super::Cause;
use crate::lag::Lag;
use crate::partition::Partition;
use crate::record::Chunk;

/// Most records of a chunk.
pub const CHUNK_RECORDS_MAX: usize = 5_000;
/// Most bytes of a chunk, unless its first record alone has more.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why no records can be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The bus does not answer, or a read failed: try again later.
    #[error("the bus is unavailable")]
    Unavailable(#[source] Cause),
    /// The bus no longer has the records at the position. Trying again does not help.
    #[error("offset {position} is no longer on the bus, which begins at offset {first}")]
    OutOfRange {
        /// Where reading should have gone on.
        position: u64,
        /// The oldest offset that is left.
        first: u64,
    },
    /// The source was closed: no more records will come.
    #[error("the source is closed")]
    Closed,
}

/// A change in which partitions this consumer reads.
pub enum AssignmentChange {
    /// Read these partitions from now on. The callback takes the position of each, `None` for the earliest
    /// record that there is.
    Assigned(Vec<Partition>, Box<dyn FnOnce(Vec<Option<u64>>) + Send>),
    /// Stop reading these partitions. The callback says that what was read has been stored or given up.
    Revoked(Vec<Partition>, Box<dyn FnOnce() + Send>),
}

/// The way out of the bus for one consumer group.
///
/// Promises: records of a partition come in the order of their offsets, each once between two assignments.
/// Offsets may have gaps. A record is readable only once it would survive a crash. Reading one partition never
/// waits for the reader of another.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// Waits for the next change of assignment.
    ///
    /// # Errors
    /// [`SourceError::Closed`] at the end.
    async fn assignment(&self) -> Result<AssignmentChange, SourceError>;

    /// The next records of an assigned partition: at least one, at most [`CHUNK_RECORDS_MAX`] and
    /// [`CHUNK_BYTES_MAX`]. Waits until there is one. May be dropped while it waits, without losing records.
    ///
    /// # Errors
    /// See [`SourceError`].
    async fn chunk(&self, partition: Partition) -> Result<Chunk, SourceError>;

    /// Goes back, or forward, to `position`: the next chunk begins there.
    fn seek(&self, partition: Partition, position: u64);

    /// Tells the bus that all records before `position` are stored, for lag tools and retention.
    fn stored(&self, partition: Partition, position: u64);

    /// For each assigned partition, what is on the bus and not yet known as stored. Asks nobody: what the bus got in the
    /// last few seconds may be missing.
    fn lags(&self) -> Vec<Lag>;

    /// Lets others have the partitions at once. All readers should have ended.
    async fn close(&self);
}
