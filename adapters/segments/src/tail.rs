//! Events of segments in the order in which they were stored.
//!
//! Constraints and invariants:
//! * The page has the matching events with the least sequence numbers of a range, and perhaps one more, which tells that more
//!   follow.
//! * Rows are in the order of their timestamps. So the sequence numbers of each block are read, and then only rows in the
//!   range.
//! * Memory: the events of a page, and those of one block that are in the range.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use domain::query::{Page, PageFilling, StoredEvent, TAIL_BYTES_MAX, TailQuery};

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::needs::Need;
use crate::reader::Segment;
use crate::scan::{Found, Plan, Scan, TimeIsUp};

/// A page of a tail that is being found.
pub struct TailSearch {
    query: TailQuery,
    range: RangeInclusive<u64>,
    /// By sequence number.
    events: BTreeMap<u64, StoredEvent>,
    bytes: usize,
}

impl TailSearch {
    /// A search for the matching events whose sequence numbers are in a range.
    #[must_use]
    pub fn new(query: TailQuery, range: RangeInclusive<u64>) -> Self {
        Self { query, range, events: BTreeMap::new(), bytes: 0 }
    }

    /// Offers an event that matches, such as one that is in no segment yet.
    pub fn offer(&mut self, sequence: u64, event: StoredEvent) {
        if !self.needs((sequence, sequence)) {
            return;
        }
        self.bytes += event.bytes();
        self.events.insert(sequence, event);
        while self.events.len() > self.events_max() || self.is_full_without_the_last(2) {
            let Some((_, event)) = self.events.pop_last() else { return };
            self.bytes -= event.bytes();
        }
    }

    /// Whether an event with a sequence number between these two, both included, can be on the page, or tell that more
    /// follow.
    #[must_use]
    pub fn needs(&self, (from, to): (u64, u64)) -> bool {
        let full = self.events.len() >= self.events_max() || self.is_full_without_the_last(1);
        let last = self.events.last_key_value().filter(|_| full);
        from <= *self.range.end() && *self.range.start() <= to && last.is_none_or(|(last, _)| from < *last)
    }

    /// As many as the page holds, and one to tell that more follow.
    fn events_max(&self) -> usize {
        (self.query.limit as usize).saturating_add(1)
    }

    /// Whether the bytes of all but the last events fill a page.
    fn is_full_without_the_last(&self, events: usize) -> bool {
        let last: usize = self.events.values().rev().take(events).map(StoredEvent::bytes).sum();
        self.events.len() > events && self.bytes - last >= TAIL_BYTES_MAX
    }

    /// Searches segments.
    ///
    /// # Errors
    /// Those of reading. [`SegmentError::TooBroad`] once `time_is_up`; what was found until then is not the page.
    pub fn scan(&mut self, segments: &[Arc<Segment>], time_is_up: TimeIsUp<'_>) -> Result<(), SegmentError> {
        let plan = Plan::new(&self.query.filter, Need::All(Vec::new()));
        let mut scan = Scan::new(segments, &plan, time_is_up);
        for unit in plan.units(segments)? {
            let found = scan.matching_among(unit, |rows| self.keep_in_range(rows))?;
            let Some(mut found) = found else { continue };
            found.read(ColumnSet::ALL)?;
            for at in 0..found.rows().len() {
                let event = found.rows().sequence(at).zip(found.rows().stored_event(at));
                let (sequence, event) = event.ok_or_else(|| found.not_an_event())?;
                self.offer(sequence, event);
            }
        }
        Ok(())
    }

    fn keep_in_range(&self, found: &mut Found<'_, '_>) -> Result<(), SegmentError> {
        found.read(ColumnSet::of(&[Column::Sequence]))?;
        let mut in_range = Vec::new();
        for at in 0..found.rows().len() {
            let sequence = found.rows().sequence(at).ok_or_else(|| found.not_an_event())?;
            if self.needs((sequence, sequence)) {
                in_range.push(at);
            }
        }
        found.keep(&in_range)
    }

    /// The page: events with their sequence numbers, the least first.
    #[must_use]
    pub fn page(self) -> Page<(u64, StoredEvent)> {
        let mut page = PageFilling::new(self.query.limit, TAIL_BYTES_MAX);
        for (sequence, event) in self.events {
            if page.take(event.bytes(), (sequence, event)) {
                break;
            }
        }
        page.page
    }
}
