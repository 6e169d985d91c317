//! Queries for stored events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Uuid;
use domain::access::Tenant;
use domain::event::LogEvent;
use domain::filter::{Condition, EventFilter, IdField, each_name};
use domain::metadata::{JsonKind, JsonValue};
use domain::ports::{Clock, LogStore, StoreError};
use domain::query::{
    Direction, LogQuery, Order, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, Page, PageKey, StoredEvent, Ties,
};
use domain::stats::{BucketCounts, Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;

use crate::search::{Search, name_in_query};

/// Maximum buckets of an answer to [`Query::stats`].
pub const STATS_BUCKETS_MAX: u64 = 1_000;
/// Values that statistics count by themselves; the rest are counted together.
pub const STATS_VALUES_MAX: usize = 20;
/// Default number of values of an answer to [`Query::values`].
pub const VALUES_DEFAULT: u32 = 20;
/// Maximum number of values of an answer to [`Query::values`].
pub const VALUES_MAX: u32 = 1_000;
/// Newest events in which [`Query::fields`] looks for names.
pub const FIELDS_EVENTS_MAX: u32 = PAGE_EVENTS_MAX;
/// Maximum names of an answer to [`Query::fields`].
pub const FIELDS_MAX: usize = 1_000;
/// Default number of neighbours on each side of [`Query::context`].
pub const CONTEXT_EVENTS_DEFAULT: u32 = 10;
/// Maximum number of neighbours on each side of [`Query::context`].
pub const CONTEXT_EVENTS_MAX: u32 = 500;

/// Default time range of statistics.
const STATS_RANGE: Duration = Duration::from_secs(3_600);
/// A query for a range of timestamps up to this one may take [`NARROW_TIME_MAX`]: an hour, and what passes between the
/// resolution of a relative time and the query. A range without an end ends now.
const NARROW_RANGE: Duration = Duration::from_secs(3_600 + 60);
/// Maximum duration of such a query. A gateway waits a little longer for an answer.
const NARROW_TIME_MAX: Duration = Duration::from_secs(30);
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

/// A request for counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsRequest {
    /// Which events; by default, of the last hour. One that begins with the first event begins with the first that matches, and
    /// if none matches, its range is empty: it begins at its end.
    pub search: Search,
    /// Length of a bucket; chosen to suit unless given.
    pub interval: Option<Duration>,
    /// By what to count.
    pub by: GroupBy,
    /// Whether buckets without events are left out.
    pub sparse: bool,
}

/// Counts per bucket and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Earliest timestamp, inclusive.
    pub from: Timestamp,
    /// Latest timestamp, exclusive.
    pub to: Timestamp,
    /// Length of a bucket.
    pub interval: Duration,
    /// The buckets from the first to the last, each with the counts of the most frequent values of the whole range.
    pub buckets: BTreeMap<Timestamp, BucketCounts>,
}

/// The most frequent values of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Earliest timestamp, inclusive.
    pub from: Timestamp,
    /// Latest timestamp, exclusive.
    pub to: Timestamp,
    /// Values and how many events have them, the most frequent first.
    pub values: Vec<(String, u64)>,
    /// Events with other values.
    pub other: u64,
}

/// The fields of some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// How many events were looked at: the newest ones.
    pub events: usize,
    /// Whether these are all matching events, and all of their names.
    pub complete: bool,
    /// Names and how many of the events have them, the most frequent first.
    pub fields: Vec<(String, u64)>,
}

/// Which neighbours of an event to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextScope {
    /// Of the same source.
    #[default]
    Source,
    /// Of the same trace.
    TraceId,
    /// All.
    All,
}

/// An event and its neighbours in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The events before it, oldest first.
    pub before: Vec<StoredEvent>,
    /// The event.
    pub event: StoredEvent,
    /// The events after it, oldest first.
    pub after: Vec<StoredEvent>,
    /// Where a page of still older events begins, in the order [`CONTEXT_BEFORE`]; `None` if there are none.
    pub more_before: Option<PageKey>,
    /// Where a page of still newer events begins, in the order [`CONTEXT_AFTER`]; `None` if there are none.
    pub more_after: Option<PageKey>,
}

/// The order of events before another one.
pub const CONTEXT_BEFORE: Order = Order { direction: Direction::NewestFirst, ties: Ties::Arrival };
/// The order of events after another one.
pub const CONTEXT_AFTER: Order = Order { direction: Direction::OldestFirst, ties: Ties::Arrival };

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

    /// The time, from which relative times are counted.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Matching events after `after`, at most `limit` of them.
    ///
    /// # Errors
    /// The limit is not within 1..=[`PAGE_EVENTS_MAX`]; or the store fails.
    pub async fn page(
        &self,
        search: &Search,
        order: Order,
        after: Option<PageKey>,
        limit: Option<u32>,
    ) -> Result<Page<StoredEvent>, QueryError> {
        let limit = limit.unwrap_or(PAGE_EVENTS_DEFAULT);
        if !(1..=PAGE_EVENTS_MAX).contains(&limit) {
            return Err(invalid("limit", format!("must be from 1 to {PAGE_EVENTS_MAX}")));
        }
        let filter = search.filter();
        let time_max = self.time_max(&filter);
        Ok(self.store.query(&LogQuery { filter, order, after, limit, time_max }).await?)
    }

    /// Counts of matching events by time and value.
    ///
    /// # Errors
    /// The range is empty, the interval is shorter than a second or longer than 10,000 years, or there would be more than
    /// [`STATS_BUCKETS_MAX`] buckets; or the store fails.
    pub async fn stats(&self, request: &StatsRequest) -> Result<Stats, QueryError> {
        let (from, to) = self.range(&request.search).await?;
        let range = Duration::from_micros(to.unix_micros().abs_diff(from.unix_micros()));
        let interval = request.interval.unwrap_or_else(|| interval_for(range));
        if interval < Duration::from_secs(1) || interval > all_time() {
            return Err(invalid("interval", "must be from 1s to 10000 years".to_owned()));
        }
        if range.as_micros() / interval.as_micros() >= u128::from(STATS_BUCKETS_MAX) {
            return Err(invalid("interval", format!("must make at most {STATS_BUCKETS_MAX} buckets of the range")));
        }
        if from == to {
            return Ok(Stats { from, to, interval, buckets: BTreeMap::new() });
        }
        let query = self.stats_query(request, from, to, interval);
        let mut counted = self.store.stats(&query).await?;
        if request.by != GroupBy::Level {
            keep_most_frequent(&mut counted, STATS_VALUES_MAX);
        }
        let mut buckets = counted.buckets;
        let mut start = query.bucket_of(from);
        while !request.sparse && start < to {
            buckets.entry(start).or_default();
            let Some(next) = start.checked_add(interval) else { break };
            start = query.bucket_of(next);
        }
        Ok(Stats { from, to, interval, buckets })
    }

    /// The most frequent values of a field, at most `limit` of them.
    ///
    /// # Errors
    /// The limit is not within 1..=[`VALUES_MAX`], or the range is empty; or the store fails.
    pub async fn values(&self, search: &Search, by: GroupBy, limit: Option<u32>) -> Result<Values, QueryError> {
        let limit = limit.unwrap_or(VALUES_DEFAULT);
        if !(1..=VALUES_MAX).contains(&limit) {
            return Err(invalid("limit", format!("must be from 1 to {VALUES_MAX}")));
        }
        let (from, to) = self.range(search).await?;
        if from == to {
            return Ok(Values { from, to, values: Vec::new(), other: 0 });
        }
        let request = StatsRequest { search: search.clone(), interval: None, by, sparse: true };
        let counted = self.store.stats(&self.stats_query(&request, from, to, all_time())).await?;
        let (mut totals, mut other) = totals(&counted);
        other += totals.split_off((limit as usize).min(totals.len())).iter().map(|(_, events)| events).sum::<u64>();
        Ok(Values { from, to, values: totals, other })
    }

    /// The fields of the newest matching events.
    ///
    /// # Errors
    /// The store fails.
    pub async fn fields(&self, search: &Search) -> Result<Fields, QueryError> {
        let page = self.page(search, Order::default(), None, Some(FIELDS_EVENTS_MAX)).await?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut complete = !page.more;
        for StoredEvent { event, .. } in &page.items {
            for name in names(event) {
                if let Some(events) = counts.get_mut(&name) {
                    *events += 1;
                } else if counts.len() < FIELDS_MAX {
                    counts.insert(name, 1);
                } else {
                    complete = false;
                }
            }
        }
        Ok(Fields { events: page.items.len(), complete, fields: most_frequent_first(counts) })
    }

    /// An event and its neighbours; `None` if there is no such event. A tenant sees its own only.
    ///
    /// # Errors
    /// A number of neighbours is above [`CONTEXT_EVENTS_MAX`], or the event belongs to no trace; or the store fails.
    pub async fn context(
        &self,
        event_id: Uuid,
        before: u32,
        after: u32,
        scope: ContextScope,
        tenant: Option<&Tenant>,
    ) -> Result<Option<Context>, QueryError> {
        for (parameter, events) in [("before", before), ("after", after)] {
            if events > CONTEXT_EVENTS_MAX {
                return Err(invalid(parameter, format!("must be from 0 to {CONTEXT_EVENTS_MAX}")));
            }
        }
        let Some(event) = self.find(event_id, tenant).await? else { return Ok(None) };
        let filter = match (scope, event.event.trace_id) {
            (ContextScope::All, _) => EventFilter::default(),
            (ContextScope::Source, _) => EventFilter::source(&event.event.source),
            (ContextScope::TraceId, Some(id)) => EventFilter::trace(id),
            (ContextScope::TraceId, None) => {
                return Err(invalid("scope", "must not be traceId: this event has none".to_owned()));
            }
        };
        let filter = match tenant {
            Some(tenant) => filter.and(EventFilter::within(&tenant.sources)),
            None => filter,
        };
        let neighbours = async |order, limit| {
            let (filter, after) = (filter.clone(), Some(PageKey::from(&event)));
            // An empty page would not tell whether there are more.
            let wanted = u32::max(limit, 1);
            let mut page = self.store.query(&LogQuery { filter, order, after, limit: wanted, time_max: None }).await?;
            let more = page.more || limit == 0 && !page.items.is_empty();
            page.items.truncate(limit as usize);
            let last = page.items.last().map_or_else(|| PageKey::from(&event), PageKey::from);
            Ok::<_, StoreError>((page.items, more.then_some(last)))
        };
        let (mut before, more_before) = neighbours(CONTEXT_BEFORE, before).await?;
        let (after, more_after) = neighbours(CONTEXT_AFTER, after).await?;
        before.reverse();
        Ok(Some(Context { before, event, after, more_before, more_after }))
    }

    /// The event with this id. A tenant sees its own only, even if others have events with the same id.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find(&self, event_id: Uuid, tenant: Option<&Tenant>) -> Result<Option<StoredEvent>, StoreError> {
        let Some(tenant) = tenant else { return self.store.find(event_id).await };
        let by_id = Condition::IdIs(IdField::Event, event_id.as_bytes().to_vec());
        let filter = EventFilter::within(&tenant.sources).and(by_id.into());
        Ok(self.store.query(&LogQuery::newest(filter, 1)).await?.items.into_iter().next())
    }

    /// The range of a search; by default, the last hour. It is empty only if it should begin with the first matching event, and
    /// no event matches.
    async fn range(&self, search: &Search) -> Result<(Timestamp, Timestamp), QueryError> {
        let to = search.to().unwrap_or_else(|| self.clock.now());
        if search.since_first {
            return Ok((self.first(search, to).await?.unwrap_or(to), to));
        }
        let from = search.from().unwrap_or_else(|| to.saturating_sub(STATS_RANGE));
        if from < to { Ok((from, to)) } else { Err(invalid("from", "must be before to".to_owned())) }
    }

    /// The timestamp of the first matching event before `to`.
    async fn first(&self, search: &Search, to: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let filter = search.conditions.clone().and(EventFilter::between(None, Some(to)));
        let order = Order { direction: Direction::OldestFirst, ..Order::default() };
        let page = self.store.query(&LogQuery { order, ..LogQuery::newest(filter, 1) }).await?;
        Ok(page.items.first().map(|first| first.event.timestamp))
    }

    /// How long a query may take: `None` is the limit of the store.
    fn time_max(&self, filter: &EventFilter) -> Option<Duration> {
        let range = filter.time_range();
        let end = self.clock.now().min(*range.end());
        (end.since(*range.start()) <= NARROW_RANGE).then_some(NARROW_TIME_MAX)
    }

    fn stats_query(&self, request: &StatsRequest, from: Timestamp, to: Timestamp, interval: Duration) -> StatsQuery {
        let filter = request.search.conditions.clone().and(EventFilter::between(Some(from), Some(to)));
        let time_max = self.time_max(&filter);
        StatsQuery { filter, interval, by: request.by.clone(), time_max }
    }
}

/// The length of all time: 10,000 years. It is a multiple of a minute, so that rollups answer.
fn all_time() -> Duration {
    Duration::from_micros(Timestamp::MAX.unix_micros().abs_diff(Timestamp::MIN.unix_micros()) + 1)
}

/// The values of all buckets, the most frequent first, and the events of others.
fn totals(counts: &Counts) -> (Vec<(String, u64)>, u64) {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (value, events) in counts.buckets.values().flat_map(|bucket| &bucket.values) {
        *totals.entry(value).or_default() += events;
    }
    let other = counts.buckets.values().map(|bucket| bucket.other).sum();
    (most_frequent_first(totals.into_iter().map(|(value, events)| (value.to_owned(), events))), other)
}

fn most_frequent_first(counts: impl IntoIterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(one, events), (other, more)| more.cmp(events).then_with(|| one.cmp(other)));
    counts
}

/// Counts all but the most frequent values together.
fn keep_most_frequent(counts: &mut Counts, values_max: usize) {
    let (totals, _) = totals(counts);
    let kept: BTreeSet<String> = totals.into_iter().take(values_max).map(|(value, _)| value).collect();
    for bucket in counts.buckets.values_mut() {
        let other = &mut bucket.other;
        bucket.values.retain(|value, events| {
            let keep = kept.contains(value);
            *other += if keep { 0 } else { *events };
            keep
        });
    }
}

/// The names of the fields of an event that not every event has.
fn names(event: &LogEvent<'_>) -> BTreeSet<String> {
    let optional = [
        ("stackTrace", event.stack_trace.is_some()),
        ("traceId", event.trace_id.is_some()),
        ("spanId", event.span_id.is_some()),
    ];
    let mut names: BTreeSet<String> =
        optional.iter().filter(|(_, exists)| *exists).map(|(name, _)| (*name).to_owned()).collect();
    if let Some(metadata) = &event.metadata {
        each_name(JsonValue::new(metadata.as_json()), &mut |name, value| {
            if value.kind() != JsonKind::Null {
                names.insert(name_in_query(name).into_owned());
            }
        });
    }
    names
}

fn interval_for(range: Duration) -> Duration {
    let few = |interval: &&Duration| range.as_micros() / interval.as_micros() <= u128::from(STATS_BUCKETS_WANTED);
    STATS_INTERVALS.iter().find(few).copied().unwrap_or(range / 100)
}

pub(crate) fn invalid(parameter: &'static str, rule: String) -> QueryError {
    QueryError::Invalid { parameter, rule }
}

#[cfg(test)]
mod tests;
