use async_trait::async_trait;
use uuid::Uuid;

use super::Cause;
use crate::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use crate::event::LogEvent;
use crate::partition::Partition;
use crate::query::{LogQuery, Page, StoredEvent, TailPage, TailQuery};
use crate::stats::{Counts, StatsQuery};
use crate::timestamp::Timestamp;
use crate::trace_parent::TraceParent;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer or cannot write: retry later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// Events that the operation needs are damaged or missing. Operations that do not need them succeed; this one will once an
    /// operator has restored the events or given them up.
    #[error("events cannot be read")]
    Unreadable(#[source] Cause),
    /// Another consumer moved the position. Read it again before continuing.
    #[error("the position is {actual:?} and not where this append begins")]
    Conflict {
        /// The position in the store.
        actual: Option<u64>,
    },
    /// The store refuses the content. Retrying does not help; a smaller batch may succeed.
    #[error("the store refuses the content")]
    Rejected(#[source] Cause),
    /// A query, or a statement of an append, takes longer than allowed: ask for less, or append less at once.
    #[error("the query takes too long")]
    TooBroad,
}

/// A partition as read by one consumer group: the owner of a position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupPartition {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: Partition,
}

/// A record, or an event of a packed record, that can never be stored as an event. Group, topic, partition, offset and
/// `record_index` are its place: a letter with the same key and value that is appended there again is the same one. One with
/// others replaces it: its topic was created again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The offset of its record.
    pub offset: u64,
    /// Its position in a packed record, from 0; 0 for a record of its own, and for a packed record that cannot be unpacked.
    pub record_index: u32,
    /// The original key; empty if there was none.
    pub key: &'a [u8],
    /// The original value; of an event in a packed record, the event alone, so that it can be sent as a record of its own.
    pub value: &'a [u8],
    /// The trace of the request that the record came with, if the bus keeps it.
    pub trace_parent: Option<TraceParent>,
    /// Why it cannot be stored.
    pub reason: String,
    /// How many appends and probes that contained it the store refused; 0 if it cannot be decoded.
    pub attempts: u32,
    /// When this was found.
    pub at: Timestamp,
}

/// The changes of one transaction.
#[derive(Clone, Debug)]
pub struct Append<'a> {
    /// Group and partition that the records were read from.
    pub group_partition: &'a GroupPartition,
    /// The position as this consumer knows it: the append happens only if the store has the same one.
    pub expected: Option<u64>,
    /// The new position: the offset to continue at. An append never ends within a packed record: it is above every offset
    /// in the append, so that a consumer that was replaced in the middle of one is refused by the fence.
    pub next: u64,
    /// Events with the offsets of their records, ascending. Events of a packed record have the same offset.
    pub events: &'a [(u64, LogEvent<'a>)],
    /// Records that cannot be stored as events.
    pub dead_letters: &'a [DeadLetter<'a>],
}

/// The result of an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// New events.
    pub stored: usize,
    /// Events that the store already had.
    pub deduplicated: usize,
    /// Dead letters.
    pub dead_lettered: usize,
}

/// Stores and finds events.
///
/// Promises: events, dead letters and the position of an [`Append`] are stored together or not at all, and durably
/// before it returns. Of several events with the same id received within the dedup window, the first one appended is
/// kept, in whatever way the others arrive; of an id that was derived from what an agent sent, a store may keep that
/// promise for a shorter time after it was stored. Positions are kept only in the store.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait LogStore: Send + Sync {
    /// The position in a partition, `None` before its first append.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn position(&self, group_partition: &GroupPartition) -> Result<Option<u64>, StoreError>;

    /// Stores events and dead letters and moves the position.
    ///
    /// # Errors
    /// Nothing was stored and the position is unchanged, except after [`StoreError::Unavailable`]: then everything or
    /// nothing was stored (the answer was lost). [`LogStore::position`] tells which.
    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError>;

    /// Finds out whether the store would take an append: does the same work in a transaction and rolls it back. Stores
    /// nothing, moves no position, and leaves no id known.
    ///
    /// # Errors
    /// As [`LogStore::append`]; nothing was stored and the position is unchanged in any case.
    async fn probe<'a>(&self, append: &Append<'a>) -> Result<(), StoreError>;

    /// Matching events in the order of the query.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] when time is up.
    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError>;

    /// The event with this id; if there are several, the one received last.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] when time is up.
    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError>;

    /// Counts matching events by bucket and value.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] when time is up.
    async fn stats(&self, query: &StatsQuery) -> Result<Counts, StoreError>;

    /// Events stored after a sequence number, in the order in which they were stored. Scans a bounded number of events
    /// per call: continue at `scanned` until it reaches `end`. An event that becomes visible later has a higher number
    /// than any earlier `end`, whatever was removed in the meantime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError>;

    /// Matching dead letters, in the order in which they were found.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError>;

    /// How many dead letters match, counted up to `max`.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] when time is up.
    async fn count_dead_letters(&self, filter: &DeadLetterFilter, max: u64) -> Result<u64, StoreError>;

    /// Marks these dead letters as redriven.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; nothing was marked.
    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError>;

    /// Marks these dead letters: they no longer need to be copied to their topic. A later call does not change the time
    /// of an earlier mark.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; nothing was marked.
    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError>;

    /// Removes events received, and dead letters found, before `oldest`, a bounded number per call; including letters
    /// that were not copied. Returns how many it removed; fewer than in the previous call, or zero, when nothing is
    /// left or another process is removing them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError>;

    /// Waits for operations in progress and releases the store's resources; afterwards it is unavailable.
    async fn close(&self);
}
