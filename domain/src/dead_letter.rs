//! Records that can never be stored as events, as the store keeps them.

use crate::ports::GroupPartition;
use crate::query::Page;
use crate::timestamp::Timestamp;
use crate::trace_parent::TraceParent;

/// Selects dead letters. All conditions must hold; an absent condition matches every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Only the letter with this id.
    pub id: Option<u64>,
    /// Topic that the letter was read from.
    pub topic: Option<String>,
    /// Partition that the letter was read from.
    pub partition: Option<u32>,
    /// Found at this time or later.
    pub from: Option<Timestamp>,
    /// Found before this time.
    pub to: Option<Timestamp>,
    /// Whether the letter was redriven.
    pub redriven: Option<bool>,
    /// Whether the letter was copied to the dead letter topic.
    pub copied: Option<bool>,
}

/// A request for dead letters, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Which letters.
    pub filter: DeadLetterFilter,
    /// Only letters with a higher id.
    pub after: Option<u64>,
    /// Maximum number of letters to return.
    pub limit: u32,
}

/// A dead letter in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its number in the store, ascending in the order in which letters were found.
    pub id: u64,
    /// Group and partition that the record was read from.
    pub group_partition: GroupPartition,
    /// Offset in the partition.
    pub offset: u64,
    /// Position in a packed record, from 0; 0 for a record of its own.
    pub record_index: u32,
    /// The original key; empty if there was none.
    pub key: Vec<u8>,
    /// The original value; of an event in a packed record, the event alone.
    pub value: Vec<u8>,
    /// The trace of the request that the record came with, if the bus keeps it.
    pub trace_parent: Option<TraceParent>,
    /// Why the record cannot be stored.
    pub reason: String,
    /// How many appends and probes that contained this record the store refused; 0 if the record cannot be decoded.
    pub attempts: u32,
    /// When this was found.
    pub at: Timestamp,
    /// When the letter was last redriven, if ever.
    pub redriven_at: Option<Timestamp>,
}

impl StoredDeadLetter {
    /// Bytes of its content, the only part that can be large.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.reason.len()
    }
}

impl Page<StoredDeadLetter> {
    /// Id after which the next page begins; `None` on the last page.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.items.last().filter(|_| self.more).map(|last| last.id)
    }
}
