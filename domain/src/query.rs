//! Queries to the store.

use std::time::Duration;

use uuid::Uuid;

use crate::event::LogEvent;
use crate::folding::fold;
use crate::level::Level;
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
        self.items.last().filter(|_| self.more).map(|last| PageKey::from(&last.event))
    }
}

/// Selects events. All conditions must hold; an absent condition matches every event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Exact source.
    pub source: Option<String>,
    /// One of these levels; empty means any.
    pub levels: Vec<Level>,
    /// Earliest timestamp, inclusive.
    pub from: Option<Timestamp>,
    /// Latest timestamp, exclusive.
    pub to: Option<Timestamp>,
    /// Substring of the message, case-insensitive (see [`crate::folding`]).
    pub text: Option<String>,
    /// Exact trace id.
    pub trace_id: Option<[u8; 16]>,
}

impl EventFilter {
    /// Whether an event matches: the reference for the query language of every store.
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

/// Position of an event in the query order: newest `timestamp` first, then highest `event_id`, then, for an id repeated
/// outside of the dedup window, newest `received_at`.
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
    pub filter: EventFilter,
    /// Only events after this position in the order.
    pub after: Option<PageKey>,
    /// Maximum number of events to return.
    pub limit: u32,
}

/// A request for counts per level and time interval. The caller limits the number of buckets: a store returns up to six
/// counts for each bucket with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// Earliest timestamp, inclusive.
    pub from: Timestamp,
    /// Latest timestamp, exclusive.
    pub to: Timestamp,
    /// Length of a bucket.
    pub interval: Duration,
}

impl StatsQuery {
    /// The start of the bucket that contains `time`: buckets begin at multiples of the interval since
    /// 1970-01-01T00:00:00Z, or at the earliest time.
    #[must_use]
    pub fn bucket_of(&self, time: Timestamp) -> Timestamp {
        let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let start = time.unix_micros().div_euclid(interval).checked_mul(interval);
        start.and_then(|micros| Timestamp::from_unix_micros(micros).ok()).unwrap_or(Timestamp::MIN)
    }
}

/// Number of events of one level in one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LevelCount {
    /// Start of the bucket.
    pub bucket: Timestamp,
    /// The level.
    pub level: Level,
    /// Number of events, at least 1.
    pub events: u64,
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
    /// Offset in the partition.
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_bucket_begins_at_a_multiple_of_the_interval_not_after_its_events(
            micros in Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros(),
            seconds in 1_u64..100_000_000,
        ) {
            let time = Timestamp::from_unix_micros(micros).expect("in range");
            let interval = Duration::from_secs(seconds);
            let start = StatsQuery { from: time, to: time, interval }.bucket_of(time);
            prop_assert!(start <= time);
            prop_assert!(micros - start.unix_micros() < i64::try_from(interval.as_micros()).expect("small"));
            let micros_of = i64::try_from(interval.as_micros()).expect("small");
            prop_assert!(start.unix_micros().rem_euclid(micros_of) == 0 || start == Timestamp::MIN);
        }
    }
}
