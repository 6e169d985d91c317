//! Queries to the store.

use std::cmp::Ordering;
use std::time::Duration;

use uuid::Uuid;

use crate::event::LogEvent;
use crate::filter::EventFilter;
use crate::partition::Partition;
use crate::timestamp::Timestamp;

/// Default number of events per page.
pub const PAGE_EVENTS_DEFAULT: u32 = 100;
/// Maximum number of events per page.
pub const PAGE_EVENTS_MAX: u32 = 1_000;

/// Maximum sequence number of an event or a dead letter: a round number below 2^53, above which not every JSON reader
/// keeps numbers exactly (RFC 8259, section 6).
pub const SEQUENCE_MAX: u64 = 9_000_000_000_000_000;
/// A page takes no further items once it has this many bytes, whatever its limit: events and dead letters can be large.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same limit for a page of a tail. Many tails run at once, and each may hold several pages for a slow reader.
pub const TAIL_BYTES_MAX: usize = 256 * 1024;

/// Part of an answer: as much as its limits in items and bytes allow, but at least one item if there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether more items follow.
    pub more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: false }
    }
}

/// A page that a store is filling. All stores apply this rule: they read at most [`Self::items_wanted`] items, pass
/// each to [`Self::take`], and stop once that returns true.
#[derive(Clone, Debug)]
pub struct PageFilling<T> {
    /// The page so far.
    pub page: Page<T>,
    items_max: u32,
    bytes_max: usize,
    bytes: usize,
}

impl<T> PageFilling<T> {
    /// An empty page of at most `items_max` items that takes no more once it has `bytes_max` bytes.
    #[must_use]
    pub fn new(items_max: u32, bytes_max: usize) -> Self {
        Self { page: Page::default(), items_max, bytes_max, bytes: 0 }
    }

    /// How many items may be needed to fill the page and to find out whether more follow.
    #[must_use]
    pub fn items_wanted(&self) -> i64 {
        i64::from(self.items_max) + 1
    }

    /// The number of bytes after which the page takes no more items.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether the page is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.page.items.len() >= self.items_max as usize || self.bytes >= self.bytes_max
    }

    /// Adds the next item, unless the page is full: then more items follow, and no further item is needed. Returns
    /// whether that is the case.
    pub fn take(&mut self, bytes: usize, item: T) -> bool {
        if self.is_full() {
            self.page.more = true;
            return true;
        }
        self.bytes += bytes;
        self.page.items.push(item);
        false
    }
}

impl Page<StoredEvent> {
    /// Where the next page begins; `None` on the last page.
    #[must_use]
    pub fn next(&self) -> Option<PageKey> {
        self.items.last().filter(|_| self.more).map(PageKey::from)
    }
}

/// Position of an event in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// The event's timestamp.
    pub timestamp: Timestamp,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's time of receipt.
    pub received_at: Timestamp,
    /// Partition that the event was read from.
    pub partition: Partition,
    /// Offset in the partition; events of one packed record have the same one.
    pub offset: u64,
}

impl From<&StoredEvent> for PageKey {
    fn from(stored: &StoredEvent) -> Self {
        let StoredEvent { event, partition, offset, .. } = stored;
        let (partition, offset) = (*partition, *offset);
        Self { timestamp: event.timestamp, event_id: event.event_id, received_at: event.received_at, partition, offset }
    }
}

/// The order of events on pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Which end comes first.
    pub direction: Direction,
    /// The order of events with one timestamp.
    pub ties: Ties,
}

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The newest timestamp.
    #[default]
    NewestFirst,
    /// The oldest timestamp.
    OldestFirst,
}

/// The order of events with one timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    /// By `event_id`, then, for an id repeated outside of the dedup window, by `received_at`. Events of two tenants that are
    /// equal in all three have no order: where a page ends between them, the next one begins behind both. The indices of the
    /// stores have this order, and a further column would have to be sorted for each page.
    #[default]
    EventId,
    /// In the order of arrival: by `received_at`, partition and offset. What happened at one time is read in the order in
    /// which it was written. Events of one packed record have one offset; they follow each other by `event_id`, which for
    /// ids that Spillway made is the order in which they were written.
    Arrival,
}

impl Order {
    /// How two positions compare: the lesser one comes first.
    #[must_use]
    pub fn compare(self, one: &PageKey, other: &PageKey) -> Ordering {
        let by_time = one.timestamp.cmp(&other.timestamp);
        let ascending = by_time.then_with(|| match self.ties {
            Ties::EventId => (one.event_id, one.received_at).cmp(&(other.event_id, other.received_at)),
            Ties::Arrival => {
                let arrival = |key: &PageKey| (key.received_at, key.partition, key.offset, key.event_id);
                arrival(one).cmp(&arrival(other))
            }
        });
        match self.direction {
            Direction::NewestFirst => ascending.reverse(),
            Direction::OldestFirst => ascending,
        }
    }
}

/// A request for one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Which events.
    pub filter: EventFilter,
    /// In which order.
    pub order: Order,
    /// Only events after this position in the order.
    pub after: Option<PageKey>,
    /// Maximum number of events to return.
    pub limit: u32,
    /// Maximum duration; `None` is the limit of the store.
    pub time_max: Option<Duration>,
}

impl LogQuery {
    /// The newest events, at most `limit` of them.
    #[must_use]
    pub fn newest(filter: EventFilter, limit: u32) -> Self {
        Self { filter, order: Order::default(), after: None, limit, time_max: None }
    }
}

/// A request for events stored after a sequence number. The store assigns each event one; no event ever becomes visible
/// behind an event that was already returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailQuery {
    /// Which events.
    pub filter: EventFilter,
    /// Only events with a higher sequence number; `None` returns no events, only the current end.
    pub after: Option<u64>,
    /// Maximum number of events to return; fewer if they are large (see [`TAIL_BYTES_MAX`]).
    pub limit: u32,
}

/// Events stored after a sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailPage {
    /// Matching events with their sequence numbers, oldest first.
    pub events: Vec<(u64, StoredEvent)>,
    /// Everything up to this sequence number was scanned: where to continue.
    pub scanned: u64,
    /// The highest visible sequence number.
    pub end: u64,
}

/// An event in the store, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: LogEvent<'static>,
    /// Topic that the event was read from.
    pub topic: String,
    /// Partition that the event was read from.
    pub partition: Partition,
    /// Offset in the partition; events of one packed record have the same one.
    pub offset: u64,
}

impl StoredEvent {
    /// Bytes of its texts, the only part that can be large.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let event = &self.event;
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_json().len());
        event.source.len() + event.message.len() + event.stack_trace.as_ref().map_or(0, |text| text.len()) + metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_items_until_it_is_full_and_then_says_that_there_is_more() {
        // Item sizes, limits in items and bytes, number of items taken, and whether more follow.
        for (sizes, items_max, bytes_max, taken, more) in [
            (vec![], 3, 10, 0, false),
            (vec![1, 1, 1], 3, 10, 3, false),
            (vec![1, 1, 1, 1], 3, 10, 3, true),
            (vec![5, 5, 1], 3, 10, 2, true),
            (vec![9, 9, 1], 3, 10, 2, true),
            (vec![5, 4, 1], 3, 10, 3, false),
            (vec![99, 1], 3, 10, 1, true),
            (vec![0, 0, 0], 2, 10, 2, true),
        ] {
            let mut page = PageFilling::new(items_max, bytes_max);
            assert_eq!(page.items_wanted(), i64::from(items_max) + 1);
            let read = sizes.iter().take_while(|size| !page.take(**size, **size)).count();
            assert_eq!((read, page.page.items.len(), page.page.more), (taken, taken, more), "{sizes:?}");
        }
    }
}
