//! What can be asked of the store.

use uuid::Uuid;

use crate::event::LogEvent;
use crate::folding::fold;
use crate::level::Level;
use crate::partition::Partition;
use crate::timestamp::Timestamp;

/// Events a page has unless the client says otherwise.
pub const PAGE_EVENTS_DEFAULT: u32 = 100;
/// Most events of a page.
pub const PAGE_EVENTS_MAX: u32 = 1_000;

/// Which events to return. All conditions must hold; an absent one holds for every event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Exact source.
    pub source: Option<String>,
    /// One of these levels; empty for any.
    pub levels: Vec<Level>,
    /// Earliest timestamp, inclusive.
    pub from: Option<Timestamp>,
    /// Latest timestamp, exclusive.
    pub to: Option<Timestamp>,
    /// Part of the message, in any case (see [`crate::folding`]).
    pub text: Option<String>,
    /// Exact trace id.
    pub trace_id: Option<[u8; 16]>,
}

impl LogFilter {
    /// Whether the filter holds for an event: the rule that every store's own query language must agree with.
    #[must_use]
    pub fn matches(&self, event: &LogEvent<'_>) -> bool {
        self.source.as_ref().is_none_or(|source| *source == event.source)
            && (self.levels.is_empty() || self.levels.contains(&event.level))
            && self.from.is_none_or(|from| event.timestamp >= from)
            && self.to.is_none_or(|to| event.timestamp < to)
            && self.text.as_ref().is_none_or(|text| fold(&event.message).contains(&fold(text)))
            && self.trace_id.is_none_or(|id| event.trace_id == Some(id))
    }
}

/// Place of an event in the order of query results: newest `timestamp` first, then highest `event_id`, then,
/// for an id that came again outside of the dedup window, newest `received_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// The event's timestamp.
    pub timestamp: Timestamp,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's time of receipt.
    pub received_at: Timestamp,
}

impl From<&LogEvent<'_>> for PageKey {
    fn from(event: &LogEvent<'_>) -> Self {
        Self { timestamp: event.timestamp, event_id: event.event_id, received_at: event.received_at }
    }
}

/// A request for one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Which events.
    pub filter: LogFilter,
    /// Only events after this place in the order.
    pub after: Option<PageKey>,
    /// Most events to return.
    pub limit: u32,
}

/// An event in the store, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: LogEvent<'static>,
    /// Topic that it was read from.
    pub topic: String,
    /// Partition that it was read from.
    pub partition: Partition,
    /// Offset in the partition.
    pub offset: u64,
}
