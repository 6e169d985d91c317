//! Counting events by time and value.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{LogEvent, to_hex};
use crate::filter::{EventFilter, any_value};
use crate::metadata::{JsonKind, JsonValue};
use crate::timestamp::Timestamp;

/// Longer values are cut to this many bytes.
pub const VALUE_BYTES_MAX: usize = 256;
/// Maximum pairs of bucket and value that a store counts. Events of further pairs are counted as others.
pub const COUNTS_MAX: usize = 100_000;

/// By what events are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// By level.
    Level,
    /// By source.
    Source,
    /// By trace id; events without one are left out.
    TraceId,
    /// By the values of a name in metadata (see [`any_value`]); events without one are left out. An event with several
    /// values counts for each.
    Metadata(String),
}

/// A request for counts. The caller limits the number of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// Which events. It bounds their timestamps.
    pub filter: EventFilter,
    /// Length of a bucket.
    pub interval: Duration,
    /// By what to count.
    pub by: GroupBy,
    /// Maximum duration; `None` is the limit of the store.
    pub time_max: Option<Duration>,
}

impl StatsQuery {
    /// The length of a bucket in microseconds.
    #[must_use]
    pub fn interval_micros(&self) -> i64 {
        i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX).max(1)
    }

    /// The start of the bucket that contains `time`: buckets begin at multiples of the interval since
    /// 1970-01-01T00:00:00Z, or at the earliest time.
    #[must_use]
    pub fn bucket_of(&self, time: Timestamp) -> Timestamp {
        let interval = self.interval_micros();
        let start = time.unix_micros().div_euclid(interval).checked_mul(interval);
        start.and_then(|micros| Timestamp::from_unix_micros(micros).ok()).unwrap_or(Timestamp::MIN)
    }
}

/// Number of events by bucket and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// For each bucket with events, the number of events by value.
    pub buckets: BTreeMap<Timestamp, BucketCounts>,
    pairs: usize,
}

/// Number of events of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketCounts {
    /// By value.
    pub values: BTreeMap<String, u64>,
    /// Events with values that are not counted by themselves.
    pub other: u64,
}

impl Counts {
    /// Counts the values of one event.
    pub fn add(&mut self, query: &StatsQuery, event: &LogEvent<'_>) {
        let bucket = query.bucket_of(event.timestamp);
        match &query.by {
            GroupBy::Level => self.add_events(bucket, event.level.name(), 1),
            GroupBy::Source => self.add_events(bucket, &event.source, 1),
            GroupBy::TraceId => {
                if let Some(id) = &event.trace_id {
                    self.add_events(bucket, &to_hex(id), 1);
                }
            }
            GroupBy::Metadata(name) => {
                if let Some(metadata) = &event.metadata {
                    self.add_metadata(bucket, name, metadata.as_json());
                }
            }
        }
    }

    /// Counts the values of a name in the metadata of one event.
    pub fn add_metadata(&mut self, bucket: Timestamp, name: &str, metadata: &str) {
        any_value(JsonValue::new(metadata), name, &mut |value| {
            if !matches!(value.kind(), JsonKind::Null | JsonKind::Object) {
                self.add_events(bucket, &value.plain(), 1);
            }
            false
        });
    }

    /// Takes back what `others` counted, of events that these counts have. What was counted as others by one and by itself by the
    /// other is taken from others.
    pub fn subtract(&mut self, others: &Self) {
        for (bucket, others) in &others.buckets {
            let Some(counts) = self.buckets.get_mut(bucket) else { continue };
            let mut rest = others.other;
            for (value, events) in &others.values {
                let counted = counts.values.get_mut(value);
                let Some(counted) = counted else {
                    rest += events;
                    continue;
                };
                rest += events.saturating_sub(*counted);
                *counted = counted.saturating_sub(*events);
                if *counted == 0 {
                    counts.values.remove(value);
                    self.pairs -= 1;
                }
            }
            counts.other = counts.other.saturating_sub(rest);
            if counts.values.is_empty() && counts.other == 0 {
                self.buckets.remove(bucket);
            }
        }
    }

    /// Counts events of one value.
    pub fn add_events(&mut self, bucket: Timestamp, value: &str, events: u64) {
        let counts = self.buckets.entry(bucket).or_default();
        let (value, _) = value.split_at(value.floor_char_boundary(VALUE_BYTES_MAX));
        if let Some(counted) = counts.values.get_mut(value) {
            *counted += events;
        } else if self.pairs < COUNTS_MAX {
            counts.values.insert(value.to_owned(), events);
            self.pairs += 1;
        } else {
            counts.other += events;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(interval: Duration) -> StatsQuery {
        StatsQuery { filter: EventFilter::default(), interval, by: GroupBy::Level, time_max: None }
    }

    #[test]
    fn pairs_beyond_the_limit_count_as_others() {
        let mut counts = Counts::default();
        for n in 0..COUNTS_MAX + 5 {
            counts.add_events(Timestamp::MIN, &n.to_string(), 2);
        }
        counts.add_events(Timestamp::MIN, "0", 1);
        let bucket = &counts.buckets[&Timestamp::MIN];
        assert_eq!((bucket.values.len(), bucket.other, bucket.values["0"]), (COUNTS_MAX, 10, 3));
        let mut counts = Counts::default();
        counts.add_events(Timestamp::MIN, &"é".repeat(VALUE_BYTES_MAX), 1);
        assert_eq!(counts.buckets[&Timestamp::MIN].values.keys().map(String::len).max(), Some(VALUE_BYTES_MAX));
    }

    #[test]
    fn what_was_counted_is_subtracted() {
        let at = |micros| Timestamp::from_unix_micros(micros).expect("in range");
        let mut counts = Counts::default();
        for (bucket, value, events) in [(0, "a", 3), (0, "b", 2), (1, "a", 1), (2, "a", 1)] {
            counts.add_events(at(bucket), value, events);
        }
        let (before, mut outside) = (counts.clone(), Counts::default());
        counts.subtract(&outside);
        assert_eq!(counts, before);
        for (bucket, value, events) in [(0, "a", 1), (0, "b", 2), (1, "a", 1), (3, "a", 1)] {
            outside.add_events(at(bucket), value, events);
        }
        counts.subtract(&outside);
        let mut expected = Counts::default();
        expected.add_events(at(0), "a", 2);
        expected.add_events(at(2), "a", 1);
        assert_eq!(counts, expected);
    }

    #[test]
    fn values_that_were_not_kept_apart_are_subtracted_from_others() {
        let (mut counts, mut outside) = (Counts::default(), Counts::default());
        for n in 0..COUNTS_MAX + 5 {
            counts.add_events(Timestamp::MIN, &n.to_string(), 2);
        }
        outside.add_events(Timestamp::MIN, &COUNTS_MAX.to_string(), 2);
        outside.add_events(Timestamp::MIN, "0", 3);
        counts.subtract(&outside);
        let bucket = &counts.buckets[&Timestamp::MIN];
        assert_eq!((bucket.values.len(), bucket.other, bucket.values.get("0")), (COUNTS_MAX - 1, 7, None));
    }

    proptest! {
        #[test]
        fn a_bucket_begins_at_a_multiple_of_the_interval_not_after_its_events(
            micros in Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros(),
            seconds in 1_u64..100_000_000,
        ) {
            let time = Timestamp::from_unix_micros(micros).expect("in range");
            let query = query(Duration::from_secs(seconds));
            let start = query.bucket_of(time);
            prop_assert!(start <= time);
            prop_assert!(micros - start.unix_micros() < query.interval_micros());
            prop_assert!(
                start.unix_micros().rem_euclid(query.interval_micros()) == 0 || start == Timestamp::MIN
            );
        }
    }
}
