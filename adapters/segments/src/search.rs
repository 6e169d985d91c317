//! Pages of events from segments.
//!
//! Constraints and invariants:
//! * The order is that of the query. Blocks are read from the end where the page begins; reading stops when the page is full
//!   and its last timestamp is strictly beyond everything that was not read. Of equal timestamps, the ids or the arrival
//!   decide, so a block that reaches the same timestamp is read.
//! * Memory: the best events so far, at most as many as the page holds and one more, and the bytes of a page.
//! * Several threads may read blocks: which of them finds an event first does not change the page.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::{Arc, Mutex};

use domain::Uuid;
use domain::query::{Direction, LogQuery, Order, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StoredEvent, Ties};
use domain::timestamp::Timestamp;

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::index::TimeSpan;
use crate::key;
use crate::needs::{FilterKind, Need};
use crate::parallel::{each_block, lock};
use crate::reader::Segment;
use crate::scan::{Found, Plan, Scan, TimeIsUp};
use domain::filter::{Condition, EventFilter, IdField};

/// A place in the order of a query. Places that compare as equal are told apart by the order in which they were found.
#[derive(Clone, Copy, Debug)]
struct Place {
    order: Order,
    key: PageKey,
    found: u64,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let further = |place: &Self| (place.key.partition, place.key.offset, place.found);
        self.order.compare(&self.key, &other.key).then_with(|| further(self).cmp(&further(other)))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

/// A page that is being found.
pub struct PageSearch {
    query: LogQuery,
    best: BTreeMap<Place, StoredEvent>,
    best_bytes: usize,
    found: u64,
}

impl PageSearch {
    /// A search for the page of a query.
    #[must_use]
    pub fn new(query: LogQuery) -> Self {
        Self { query, best: BTreeMap::new(), best_bytes: 0, found: 0 }
    }

    /// Offers an event that matches, such as one that is in no segment yet.
    pub fn offer(&mut self, event: StoredEvent) {
        let key = PageKey::from(&event);
        if !self.wants(&key) {
            return;
        }
        self.found += 1;
        self.best_bytes += event.bytes();
        self.best.insert(Place { order: self.query.order, key, found: self.found }, event);
        // The last event only tells that more follow. Without it, those that remain must still fill the page.
        while self.best.len() > self.events_max() || self.is_full_without_the_last(2) {
            let Some((_, event)) = self.best.pop_last() else { return };
            self.best_bytes -= event.bytes();
        }
    }

    /// As many as the page holds, and one to tell that more follow.
    fn events_max(&self) -> usize {
        (self.query.limit as usize).saturating_add(1)
    }

    /// Whether the bytes of all but the last events fill a page.
    fn is_full_without_the_last(&self, events: usize) -> bool {
        let last: usize = self.best.values().rev().take(events).map(StoredEvent::bytes).sum();
        self.best.len() > events && self.best_bytes - last >= PAGE_BYTES_MAX
    }

    /// The last event of a page that needs no further ones, unless they come before it.
    fn last_of_full_page(&self) -> Option<&PageKey> {
        let full = self.best.len() >= self.events_max() || self.is_full_without_the_last(1);
        self.best.last_key_value().filter(|_| full).map(|(place, _)| &place.key)
    }

    /// Whether an event with one of these timestamps can be on the page, or tell that more follow.
    #[must_use]
    pub fn needs(&self, timestamps: TimeSpan) -> bool {
        let range = self.timestamps();
        *range.start() <= timestamps.to && timestamps.from <= *range.end() && !self.is_beyond(timestamps)
    }

    /// Which end of the order comes first.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.query.order.direction
    }

    /// The timestamps that events of the page can have.
    #[must_use]
    pub fn timestamps(&self) -> RangeInclusive<Timestamp> {
        let (range, behind) = (self.query.filter.time_range(), self.range_behind_after());
        *range.start().max(behind.start())..=*range.end().min(behind.end())
    }

    /// Whether the page has all of its events, and none with these timestamps can come before one of them. Whether more
    /// follow need not be known yet.
    #[must_use]
    pub fn holds_page(&self, unread: impl IntoIterator<Item = TimeSpan>) -> bool {
        let is_complete = self.best.len() >= self.query.limit as usize || self.best_bytes >= PAGE_BYTES_MAX;
        let Some((last, _)) = self.best.last_key_value() else { return is_complete };
        let comes_before = |unread: &TimeSpan| match self.query.order.direction {
            Direction::NewestFirst => unread.to >= last.key.timestamp,
            Direction::OldestFirst => unread.from <= last.key.timestamp,
        };
        is_complete && !unread.into_iter().any(|unread| self.needs(unread) && comes_before(&unread))
    }

    /// Whether an event at this place, if it matches, would be on the page, or tell that more follow.
    #[must_use]
    pub fn wants(&self, key: &PageKey) -> bool {
        let order = self.query.order;
        self.query.after.as_ref().is_none_or(|after| order.compare(after, key).is_lt())
            && self.last_of_full_page().is_none_or(|last| order.compare(key, last).is_le())
    }

    /// The timestamps that can be behind `after`.
    fn range_behind_after(&self) -> RangeInclusive<Timestamp> {
        match (self.query.after, self.query.order.direction) {
            (None, _) => Timestamp::MIN..=Timestamp::MAX,
            (Some(after), Direction::NewestFirst) => Timestamp::MIN..=after.timestamp,
            (Some(after), Direction::OldestFirst) => after.timestamp..=Timestamp::MAX,
        }
    }

    /// Whether no event with one of these timestamps, nor one behind them in the order, can be on the page.
    #[must_use]
    pub fn is_beyond(&self, timestamps: TimeSpan) -> bool {
        self.last_of_full_page().is_some_and(|last| match self.query.order.direction {
            Direction::NewestFirst => timestamps.to < last.timestamp,
            Direction::OldestFirst => timestamps.from > last.timestamp,
        })
    }

    /// Searches segments.
    ///
    /// # Errors
    /// Those of reading. [`SegmentError::TooBroad`] once `time_is_up`; what was found until then is not the page.
    pub fn scan(&mut self, segments: &[Arc<Segment>], time_is_up: TimeIsUp<'_>) -> Result<(), SegmentError> {
        let plan = Plan::new(&self.query.filter, Need::Timestamp(self.range_behind_after()));
        let mut units = plan.units(segments)?;
        match self.direction() {
            Direction::NewestFirst => units.sort_by_key(|unit| std::cmp::Reverse(unit.timestamps.to)),
            Direction::OldestFirst => units.sort_by_key(|unit| unit.timestamps.from),
        }
        let search = Mutex::new(self);
        each_block(segments, &plan, &units, time_is_up, |scan, unit| {
            if lock(&search).is_beyond(unit.timestamps) {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(mut found) = scan.matching(unit)? {
                Self::take_best(&search, &mut found)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Reads, of matching rows, those that can be on the page. Other threads may search at the same time.
    fn take_best(search: &Mutex<&mut Self>, found: &mut Found<'_, '_>) -> Result<(), SegmentError> {
        let order = lock(search).query.order;
        let columns = match order.ties {
            Ties::EventId => ColumnSet::of(&[Column::Timestamp, Column::EventId, Column::ReceivedAt]),
            Ties::Arrival => ColumnSet::of(&[
                Column::Timestamp,
                Column::ReceivedAt,
                Column::Partition,
                Column::Offset,
                Column::EventId,
            ]),
        };
        found.read(columns)?;
        let mut wanted = Vec::new();
        let events_max = {
            let search = lock(search);
            for at in 0..found.rows().len() {
                let key = found.rows().page_key(at).ok_or_else(|| found.not_an_event())?;
                if search.wants(&key) {
                    wanted.push((key, at));
                }
            }
            search.events_max()
        };
        // Rows that compare as equal stay: which of them is first is not decided by these columns.
        wanted.sort_by(|(one, _), (other, _)| order.compare(one, other));
        if let Some((last, _)) = wanted.get(events_max.saturating_sub(1)) {
            let last = *last;
            wanted.retain(|(key, _)| order.compare(key, &last).is_le());
        }
        let mut places: Vec<usize> = wanted.into_iter().map(|(_, at)| at).collect();
        places.sort_unstable();
        if places.is_empty() {
            return Ok(());
        }
        found.keep(&places)?;
        found.read(ColumnSet::ALL)?;
        for at in 0..found.rows().len() {
            let event = found.rows().stored_event(at).ok_or_else(|| found.not_an_event())?;
            lock(search).offer(event);
        }
        Ok(())
    }

    /// The page.
    #[must_use]
    pub fn page(self) -> Page<StoredEvent> {
        let mut page = PageFilling::new(self.query.limit, PAGE_BYTES_MAX);
        for event in self.best.into_values() {
            if page.take(event.bytes(), event) {
                break;
            }
        }
        page.page
    }
}

/// The page of a query over segments alone.
///
/// # Errors
/// Those of reading, or [`SegmentError::TooBroad`] once `time_is_up`.
pub fn search(
    segments: &[Arc<Segment>],
    query: &LogQuery,
    time_is_up: TimeIsUp<'_>,
) -> Result<Page<StoredEvent>, SegmentError> {
    let mut search = PageSearch::new(query.clone());
    search.scan(segments, time_is_up)?;
    Ok(search.page())
}

/// All events with an id, from segments alone, in no particular order. An id may be repeated outside of the dedup window.
///
/// # Errors
/// Those of reading.
pub fn find(segments: &[Arc<Segment>], event_id: Uuid) -> Result<Vec<StoredEvent>, SegmentError> {
    let filter = EventFilter::from(Condition::IdIs(IdField::Event, event_id.as_bytes().to_vec()));
    let need = Need::Key(FilterKind::EventIds, key::event_id(event_id.as_bytes()));
    let plan = Plan::new(&filter, need);
    let mut scan = Scan::new(segments, &plan, &|| false);
    let mut events = Vec::new();
    for unit in plan.units(segments)? {
        let Some(mut found) = scan.matching(unit)? else { continue };
        found.read(ColumnSet::ALL)?;
        for at in 0..found.rows().len() {
            events.push(found.rows().stored_event(at).ok_or_else(|| found.not_an_event())?);
        }
    }
    Ok(events)
}
