use async_trait::async_trait;
use uuid::Uuid;

use super::Cause;
use crate::dead_letter::{DeadLetterQuery, StoredDeadLetter};
use crate::event::LogEvent;
use crate::partition::Partition;
use crate::query::{LevelCount, LogQuery, Page, StatsQuery, StoredEvent, TailPage, TailQuery};
use crate::timestamp::Timestamp;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer or cannot write: try again later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// Another consumer moved the position. Read it again before going on.
    #[error("the position is {actual:?} and not where this append begins")]
    Conflict {
        /// The position in the store.
        actual: Option<u64>,
    },
    /// The store refuses the content. Trying again does not help; with fewer events, the others may pass.
    #[error("the store refuses the content")]
    Rejected(#[source] Cause),
    /// The query takes longer than allowed: ask for less.
    #[error("the query takes too long")]
    TooBroad,
}

/// A partition as one consumer group reads it: what a position belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Feed {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: Partition,
}

/// A record that can never be stored as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Its offset.
    pub offset: u64,
    /// The original key; empty if there was none.
    pub key: &'a [u8],
    /// The original value.
    pub value: &'a [u8],
    /// Why it cannot be stored.
    pub reason: String,
    /// How many appends with this record in them the store refused before it was given up; 0 if it is no event at all.
    pub attempts: u32,
    /// When that was found.
    pub at: Timestamp,
}

/// What one transaction does to the store.
#[derive(Clone, Debug)]
pub struct Append<'a> {
    /// Where the records were read.
    pub feed: &'a Feed,
    /// The position as this consumer knows it: the append only happens if the store agrees.
    pub expected: Option<u64>,
    /// The new position: the offset to go on at.
    pub next: u64,
    /// Events with their offsets.
    pub events: &'a [(u64, LogEvent<'a>)],
    /// Records that are no events.
    pub dead_letters: &'a [DeadLetter<'a>],
}

/// What an append came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Events that are new.
    pub stored: usize,
    /// Events that were there already.
    pub deduplicated: usize,
    /// Dead letters.
    pub dead_lettered: usize,
}

/// Where events are kept and found.
///
/// Promises: events, dead letters and the position of an [`Append`] are stored together or not at all, and
/// durably before it returns. Of several events with one id whose times of receipt lie within the dedup
/// window, the first that was appended is kept, whichever way the others come. The store is the only place
/// where positions live.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait LogStore: Send + Sync {
    /// The position of a feed, `None` before its first append.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn position(&self, feed: &Feed) -> Result<Option<u64>, StoreError>;

    /// Stores events and dead letters and moves the position.
    ///
    /// # Errors
    /// Nothing was stored and the position is where it was. After [`StoreError::Unavailable`] it may all have
    /// been stored (the answer was lost): [`LogStore::position`] tells.
    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError>;

    /// Events that match, in the order of [`crate::query::PageKey`], newest first.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] after five seconds.
    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError>;

    /// The event with this id; the one received last, should there be several.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError>;

    /// Counts events by bucket and level, in that order; without those that are zero.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`] after five seconds.
    async fn stats(&self, query: &StatsQuery) -> Result<Vec<LevelCount>, StoreError>;

    /// What was stored after a sequence number, in the order of being stored. Looks at a bounded number of events a
    /// call: go on at `scanned` until it has reached `end`. An event that comes to be seen later has a higher number
    /// than any `end` before, whatever was removed meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError>;

    /// Dead letters that match, in the order in which they were found.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError>;

    /// Notes that these dead letters were sent to the bus again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; nothing was noted.
    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError>;

    /// Notes that these dead letters need not be copied to their topic any more. A later note does not change the time
    /// of an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; nothing was noted.
    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError>;

    /// Removes events received, and dead letters found, before `oldest`, a bounded number a call; letters that were not
    /// copied, too. Returns how many it removed; fewer than before, or none, when nothing is left to do.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError>;

    /// Waits for what is in work and gives back what the store holds; afterwards it is unavailable.
    async fn close(&self);
}
