//! Records that can never be stored as events, as the store keeps them.

use crate::ports::Feed;
use crate::query::Page;
use crate::timestamp::Timestamp;

/// Which dead letters to return. All conditions must hold; an absent one holds for every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// This one only.
    pub id: Option<u64>,
    /// Topic that it was read from.
    pub topic: Option<String>,
    /// Partition that it was read from.
    pub partition: Option<u32>,
    /// Found at this time or later.
    pub from: Option<Timestamp>,
    /// Found before this time.
    pub to: Option<Timestamp>,
    /// Whether it was sent to the bus again.
    pub redriven: Option<bool>,
    /// Whether it was copied to the topic of dead letters.
    pub copied: Option<bool>,
}

/// A request for dead letters, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Which letters.
    pub filter: DeadLetterFilter,
    /// Only letters with a higher id.
    pub after: Option<u64>,
    /// Most letters to return.
    pub limit: u32,
}

/// A dead letter in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its number in the store, ascending in the order in which letters were found.
    pub id: u64,
    /// Where the record was read, and by which group.
    pub feed: Feed,
    /// Offset in the partition.
    pub offset: u64,
    /// The original key; empty if there was none.
    pub key: Vec<u8>,
    /// The original value.
    pub value: Vec<u8>,
    /// Why it cannot be stored.
    pub reason: String,
    /// How many appends with this record in them the store refused before it was given up; 0 if it is no event at all.
    pub attempts: u32,
    /// When that was found.
    pub at: Timestamp,
    /// When it was last sent to the bus again, if it was.
    pub redriven_at: Option<Timestamp>,
}

impl StoredDeadLetter {
    /// Bytes of its content, which are what can be large.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.reason.len()
    }
}

impl Page<StoredDeadLetter> {
    /// The next page begins after this id; `None` after the last one.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.items.last().filter(|_| self.more).map(|last| last.id)
    }
}
