//! How far the store is behind the bus.
//!
//! Invariant: memory is bounded, however much is read without being stored.

use std::collections::VecDeque;

use crate::partition::Partition;
use crate::timestamp::Timestamp;

/// Maximum number of unstored chunks that are tracked separately; beyond it the newest chunks are merged.
const CHUNKS_MAX: usize = 64;

/// Records read until the number of events in a record counts half: the estimate follows a change of the records.
const MEAN_RECORDS: u64 = 10_000;

/// Records of a partition that are on the bus and not known to be stored. The bus numbers records, not events: a packed
/// record counts as one, so that the number of events can only be estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The partition.
    pub partition: Partition,
    /// Number of records.
    pub records: u64,
    /// Number of events in them, estimated from the records that were read last; the number of records before any was read.
    pub events: u64,
    /// A lower bound for the time of receipt of the oldest of them; `None` if there is none, or if none has been read
    /// yet.
    pub oldest: Option<Timestamp>,
}

/// Tracks one partition.
#[derive(Clone, Debug, Default)]
pub struct LagTracker {
    /// Everything before this offset is stored.
    stored: u64,
    /// Everything before this offset is on the bus, as far as is known.
    end: u64,
    /// Chunks that were read and are not stored: the end of each and the time of receipt of its first record.
    in_work: VecDeque<(u64, Timestamp)>,
    /// Time of receipt of the last record that was read.
    last: Option<Timestamp>,
    /// Records that were read lately, and the events in them.
    counted: (u64, u64),
}

impl LagTracker {
    /// A partition that is stored up to `position` and ends at `end`.
    #[must_use]
    pub fn new(position: u64, end: u64) -> Self {
        Self { stored: position, end, ..Self::default() }
    }

    /// The bus has everything before `end`.
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Records were read, received from `first` to `last`; reading continues at `next`.
    pub fn read(&mut self, first: Timestamp, last: Timestamp, next: u64) {
        self.extend(next);
        self.last = Some(last);
        if next <= self.stored || self.in_work.back().is_some_and(|(end, _)| next <= *end) {
            return;
        }
        let full = self.in_work.len() == CHUNKS_MAX;
        match self.in_work.back_mut() {
            Some((end, _)) if full => *end = next,
            _ => self.in_work.push_back((next, first)),
        }
    }

    /// This many records that were read have this many events.
    pub fn count(&mut self, records: u64, events: u64) {
        let (of_records, of_events) = &mut self.counted;
        if *of_records >= MEAN_RECORDS {
            (*of_records, *of_events) = (*of_records / 2, *of_events / 2);
        }
        (*of_records, *of_events) = (of_records.saturating_add(records), of_events.saturating_add(events));
    }

    /// Everything before `position` is stored.
    pub fn store(&mut self, position: u64) {
        self.stored = self.stored.max(position);
        while self.in_work.front().is_some_and(|(end, _)| *end <= self.stored) {
            self.in_work.pop_front();
        }
    }

    /// The current lag.
    #[must_use]
    pub fn lag(&self, partition: Partition) -> Lag {
        let records = self.end.saturating_sub(self.stored);
        let oldest = self.in_work.front().map(|(_, first)| *first).or(self.last);
        let (of_records, of_events) = self.counted;
        let estimated = (u128::from(records) * u128::from(of_events)).checked_div(u128::from(of_records));
        let events = estimated.map_or(records, |events| u64::try_from(events).unwrap_or(u64::MAX));
        Lag { partition, records, events, oldest: oldest.filter(|_| records > 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).expect("in range")
    }

    fn seen(tracker: &LagTracker) -> (u64, Option<i64>) {
        let lag = tracker.lag(0);
        (lag.records, lag.oldest.map(Timestamp::unix_micros))
    }

    #[test]
    fn the_lag_counts_unstored_records_and_is_as_old_as_the_first_of_them() {
        let mut tracker = LagTracker::new(5, 20);
        assert_eq!(seen(&tracker), (15, None));
        tracker.read(time(100), time(109), 15);
        tracker.read(time(110), time(114), 20);
        assert_eq!(seen(&tracker), (15, Some(100)));
        tracker.store(15);
        assert_eq!(seen(&tracker), (5, Some(110)));
        tracker.store(20);
        assert_eq!(seen(&tracker), (0, None));
        tracker.extend(30);
        assert_eq!(seen(&tracker), (10, Some(114)), "unread records are newer than read ones");
    }

    #[test]
    fn reading_again_changes_neither_the_position_nor_the_age() {
        let mut tracker = LagTracker::new(0, 0);
        tracker.read(time(1), time(2), 10);
        tracker.read(time(3), time(4), 20);
        tracker.store(10);
        tracker.read(time(1), time(2), 10);
        tracker.read(time(3), time(4), 20);
        assert_eq!(seen(&tracker), (10, Some(3)));
    }

    #[test]
    fn the_number_of_events_is_estimated_from_the_records_read_last() {
        let mut tracker = LagTracker::new(0, 600);
        assert_eq!(tracker.lag(0).events, 600, "nothing was read");
        tracker.count(10, 10);
        assert_eq!(tracker.lag(0).events, 600);
        tracker.count(30, 3_030);
        assert_eq!(tracker.lag(0).events, 600 * 76);
        for _ in 0..1_000 {
            tracker.count(1_000, 50_000);
        }
        assert_eq!(tracker.lag(0).events / 600, 50, "earlier records no longer matter");
        tracker.store(600);
        assert_eq!(tracker.lag(0).events, 0);
    }

    #[test]
    fn memory_is_bounded_however_much_is_read() {
        let mut tracker = LagTracker::new(0, 0);
        for n in 0..10_000_u64 {
            tracker.read(time(n.cast_signed()), time(n.cast_signed()), n + 1);
        }
        assert_eq!(tracker.in_work.len(), CHUNKS_MAX);
        assert_eq!(seen(&tracker), (10_000, Some(0)));
        tracker.store(9_999);
        assert_eq!(tracker.lag(0).records, 1);
        tracker.store(10_000);
        assert_eq!(seen(&tracker), (0, None));
    }
}
