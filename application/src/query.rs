//! Queries for stored events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Uuid;
use domain::level::Level;
use domain::ports::{Clock, LogStore, StoreError};
use domain::query::{
    EventFilter, LogQuery, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, Page, PageKey, StatsQuery, StoredEvent,
};
use domain::timestamp::Timestamp;

/// Maximum length of a search text, in bytes.
pub const SEARCH_TEXT_BYTES_MAX: usize = 1_024;

/// Maximum buckets of an answer to [`Query::stats`].
pub const STATS_BUCKETS_MAX: u64 = 1_000;
/// Default time range of statistics.
const STATS_RANGE: Duration = Duration::from_secs(3_600);
/// Intervals to choose from when the client does not specify one; the last one is long enough for any range.
const STATS_INTERVALS: [Duration; 9] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(30 * 24 * 3_600),
    Duration::from_secs(365 * 24 * 3_600),
];
/// Target for the number of buckets when the interval is chosen here.
const STATS_BUCKETS_WANTED: u64 = 120;

/// Answers queries from the store.
pub struct Query {
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
}

/// Counts per level and bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// What was counted.
    pub query: StatsQuery,
    /// All buckets from the first to the last, including empty ones, each with the count of every level.
    pub buckets: Vec<(Timestamp, [u64; Level::ALL.len()])>,
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is invalid.
    #[error("{parameter} {rule}")]
    Invalid {
        /// The invalid parameter.
        parameter: &'static str,
        /// The rule that it must satisfy.
        rule: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Query {
    /// A use case over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Matching events after `after`, at most `limit` of them.
    ///
    /// # Errors
    /// The limit is not within 1..=[`PAGE_EVENTS_MAX`], `from` is after `to`, the text is empty or longer than
    /// [`SEARCH_TEXT_BYTES_MAX`]; or the store fails.
    pub async fn page(
        &self,
        filter: EventFilter,
        after: Option<PageKey>,
        limit: Option<u32>,
    ) -> Result<Page<StoredEvent>, QueryError> {
        let limit = limit.unwrap_or(PAGE_EVENTS_DEFAULT);
        if !(1..=PAGE_EVENTS_MAX).contains(&limit) {
            return Err(invalid("limit", format!("must be from 1 to {PAGE_EVENTS_MAX}")));
        }
        check_filter(&filter)?;

        Ok(self.store.query(&LogQuery { filter, after, limit }).await?)
    }

    /// Counts of the events from `from` to `to`; by default, of the last hour.
    ///
    /// # Errors
    /// The range is empty or reversed, the interval is shorter than a second or longer than 10,000 years, or there
    /// would be more than [`STATS_BUCKETS_MAX`] buckets; or the store fails.
    pub async fn stats(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        interval: Option<Duration>,
    ) -> Result<Stats, QueryError> {
        let to = to.unwrap_or_else(|| self.clock.now());
        let from = from.unwrap_or_else(|| to.saturating_sub(STATS_RANGE));
        if from >= to {
            return Err(invalid("from", "must be before to".to_owned()));
        }
        let range = Duration::from_micros(to.unix_micros().abs_diff(from.unix_micros()));
        let query = StatsQuery { from, to, interval: interval.unwrap_or_else(|| interval_for(range)) };
        let all_time = Duration::from_micros(Timestamp::MAX.unix_micros().abs_diff(Timestamp::MIN.unix_micros()));
        if query.interval < Duration::from_secs(1) || query.interval > all_time {
            return Err(invalid("interval", "must be from 1s to 10000 years".to_owned()));
        }
        if range.as_micros() / query.interval.as_micros() >= u128::from(STATS_BUCKETS_MAX) {
            return Err(invalid("interval", format!("must make at most {STATS_BUCKETS_MAX} buckets of the range")));
        }

        let counts = self.store.stats(&query).await?;
        let mut buckets = BTreeMap::new();
        let mut start = query.bucket_of(from);
        while start < to {
            buckets.insert(start, [0; Level::ALL.len()]);
            let Some(next) = start.checked_add(query.interval) else { break };
            start = query.bucket_of(next);
        }
        for count in counts {
            let bucket = buckets.get_mut(&count.bucket).and_then(|levels| levels.get_mut(count.level as usize));
            if let Some(events) = bucket {
                *events += count.events;
            }
        }
        Ok(Stats { query, buckets: buckets.into_iter().collect() })
    }

    /// The event with this id.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.store.find(event_id).await
    }
}

fn interval_for(range: Duration) -> Duration {
    let few = |interval: &&Duration| range.as_micros() / interval.as_micros() <= u128::from(STATS_BUCKETS_WANTED);
    STATS_INTERVALS.iter().find(few).copied().unwrap_or(range / 100)
}

/// Rejects a filter that cannot match anything or is too expensive.
pub(crate) fn check_filter(filter: &EventFilter) -> Result<(), QueryError> {
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        return Err(invalid("from", "must not be after to".to_owned()));
    }
    if filter.text.as_ref().is_some_and(|text| text.is_empty() || text.len() > SEARCH_TEXT_BYTES_MAX) {
        return Err(invalid("q", format!("must have 1 to {SEARCH_TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

pub(crate) fn invalid(parameter: &'static str, rule: String) -> QueryError {
    QueryError::Invalid { parameter, rule }
}

#[cfg(test)]
mod tests {
    use domain::ports::MockLogStore;
    use domain::query::LevelCount;

    use testkit::FixedClock;

    use super::*;

    /// A store in which nothing matches.
    fn empty() -> Query {
        let mut store = MockLogStore::new();
        store.expect_query().returning(|_| Ok(Page::default()));
        Query::new(Arc::new(store), Arc::new(FixedClock(at(0))))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000).expect("in range")
    }

    /// Statistics of a store that has one ERROR and two INFO events in the bucket of each of these seconds.
    fn stats(now: i64, seconds: &'static [i64]) -> Query {
        let mut store = MockLogStore::new();
        store.expect_stats().returning(move |query| {
            let count =
                |second: &i64, level, events| LevelCount { bucket: query.bucket_of(at(*second)), level, events };
            let counts = seconds.iter().flat_map(|s| [count(s, Level::Info, 2), count(s, Level::Error, 1)]);
            Ok(counts.collect())
        });
        Query::new(Arc::new(store), Arc::new(FixedClock(at(now))))
    }

    #[tokio::test]
    async fn statistics_have_every_bucket_of_the_range_and_every_level() {
        let query = stats(0, &[-1, 121]);
        let stats = query.stats(Some(at(-61)), Some(at(180)), Some(Duration::from_secs(60))).await.expect("counts");
        let starts: Vec<i64> = stats.buckets.iter().map(|(start, _)| start.unix_micros() / 1_000_000).collect();
        assert_eq!(starts, [-120, -60, 0, 60, 120]);
        let counted: Vec<_> = stats.buckets.iter().map(|(_, levels)| *levels).collect();
        assert_eq!(counted[1], [0, 0, 2, 0, 1, 0]);
        assert_eq!(counted[4], [0, 0, 2, 0, 1, 0]);
        assert_eq!(counted.iter().flatten().sum::<u64>(), 6);
    }

    #[tokio::test]
    async fn statistics_cover_the_last_hour_by_default_and_choose_a_suitable_interval() {
        let stats = stats(10_000, &[]);
        let hour = stats.stats(None, None, None).await.expect("counts");
        assert_eq!((hour.query.from, hour.query.to), (at(6_400), at(10_000)));
        assert_eq!((hour.query.interval, hour.buckets.len()), (Duration::from_secs(60), 61));
        for (from, interval, buckets) in [(9_990, 1, 10), (9_000, 10, 100), (-10_000_000, 24 * 3_600, 117)] {
            let counted = stats.stats(Some(at(from)), None, None).await.expect("counts");
            assert_eq!((counted.query.interval.as_secs(), counted.buckets.len()), (interval, buckets), "{from}");
        }
        let all = stats.stats(Some(Timestamp::MIN), Some(Timestamp::MAX), None).await.expect("counts");
        assert!(all.buckets.len() <= 121, "{}", all.buckets.len());
    }

    #[tokio::test]
    async fn invalid_statistics_and_too_many_buckets_are_refused() {
        let stats = stats(10_000, &[]);
        let seconds = Duration::from_secs;
        for (from, to, interval, at_fault) in [
            (5, 5, None, "from"),
            (6, 5, None, "from"),
            (0, 5, Some(Duration::from_millis(999)), "interval"),
            (0, 5, Some(Duration::MAX), "interval"),
            (0, 1_000, Some(seconds(1)), "interval"),
        ] {
            let refused = stats.stats(Some(at(from)), Some(at(to)), interval).await;
            assert!(matches!(refused, Err(QueryError::Invalid { parameter, .. }) if parameter == at_fault), "{from}");
        }
        let most = stats.stats(Some(at(0)), Some(at(999)), Some(seconds(1))).await.expect("counts");
        assert_eq!(most.buckets.len(), 999);
    }

    #[tokio::test]
    async fn invalid_queries_are_refused_with_the_parameter_at_fault() {
        let at = |seconds| Some(at(seconds));
        let text = |text: &str| EventFilter { text: Some(text.to_owned()), ..EventFilter::default() };
        for (filter, limit, at_fault) in [
            (EventFilter::default(), Some(0), "limit"),
            (EventFilter::default(), Some(PAGE_EVENTS_MAX + 1), "limit"),
            (EventFilter { from: at(2), to: at(1), ..EventFilter::default() }, None, "from"),
            (text(""), None, "q"),
            (text(&"x".repeat(SEARCH_TEXT_BYTES_MAX + 1)), None, "q"),
        ] {
            let refused = empty().page(filter, None, limit).await;
            assert!(
                matches!(refused, Err(QueryError::Invalid { parameter, .. }) if parameter == at_fault),
                "{at_fault}"
            );
        }
        let empty_range = EventFilter { from: at(1), to: at(1), ..EventFilter::default() };
        assert!(empty().page(empty_range, None, Some(PAGE_EVENTS_MAX)).await.is_ok());
    }
}
