//! Rollups: numbers of stored events by minute, level and source. They answer requests for counts without reading events.
//!
//! Constraints and invariants:
//! * The rollups of a minute and a level add up to the number of stored events with both. A store adds to them in the
//!   transaction that adds the events, and subtracts from them in the one that removes events.
//! * A rollup does not say when in its minute an event happened. All minutes that a range meets are read from rollups; the events of
//!   its edges, which are in these minutes and outside the range, are read and subtracted. A range that ends now has few behind it,
//!   however many events arrive in a minute.
//! * The rollup of a source never counts more events than the store has. Events that it lacks are counted as
//!   [`OTHER_SOURCES`]. A request that asks for sources is answered from rollups only while none of them counts others.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use uuid::Uuid;

use crate::event::{IdOrigin, LogEvent};
use crate::filter::{Condition, EventFilter, TimeField};
use crate::level::Level;
use crate::stats::{Counts, GroupBy, StatsQuery};
use crate::timestamp::Timestamp;

/// Microseconds of a minute.
pub const MINUTE_MICROS: i64 = 60_000_000;
/// Maximum sources that a process keeps apart for one UTC day of receipt. Events of further ones count as
/// [`OTHER_SOURCES`].
pub const ROLLUP_SOURCES_MAX: usize = 10_000;
/// In place of the name of a source: events of all sources that are not kept apart. It is not a valid source.
pub const OTHER_SOURCES: &str = "";

const DAY_MICROS: i64 = 86_400_000_000;
/// Maximum days of receipt whose sources are remembered: a partition that lags has events of other days than the rest.
const DAYS_MAX: usize = 3;

/// The minute of a time: whole minutes since 1970-01-01T00:00:00Z, negative before.
#[must_use]
pub fn minute_of(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(MINUTE_MICROS)
}

/// How many events of one minute, level and source there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollup<'e> {
    /// The minute of their timestamps, by [`minute_of`].
    pub minute: i64,
    /// Their level.
    pub level: Level,
    /// Their source, or [`OTHER_SOURCES`].
    pub source: &'e str,
    /// How many they are.
    pub events: u64,
}

impl<'e> Rollup<'e> {
    fn key(&self) -> (i64, Level, &'e str) {
        (self.minute, self.level, self.source)
    }
}

/// The rollups of some events, for example of those of one append.
#[derive(Clone, Debug, Default)]
pub struct Rollups<'e> {
    /// Ascending by minute, level and source, each once.
    rollups: Vec<Rollup<'e>>,
    /// Which of them counted the latest event.
    latest: usize,
}

impl<'e> Rollups<'e> {
    /// The rollups of these events.
    #[must_use]
    pub fn of(events: impl IntoIterator<Item = &'e LogEvent<'e>>) -> Self {
        let mut rollups = Self::default();
        events.into_iter().for_each(|event| rollups.add(event.timestamp, event.level, &event.source));
        rollups
    }

    /// Counts an event.
    pub fn add(&mut self, timestamp: Timestamp, level: Level, source: &'e str) {
        self.add_events(Rollup { minute: minute_of(timestamp), level, source, events: 1 });
    }

    fn add_events(&mut self, more: Rollup<'e>) {
        // Neighbours often have the same key.
        if let Some(latest) = self.rollups.get_mut(self.latest)
            && latest.key() == more.key()
        {
            latest.events += more.events;
            return;
        }
        let found = self.rollups.binary_search_by(|rollup| rollup.key().cmp(&more.key()));
        self.latest = found.unwrap_or_else(|at| at);
        match found {
            Ok(at) => self.rollups.get_mut(at).into_iter().for_each(|rollup| rollup.events += more.events),
            Err(at) => self.rollups.insert(at, more),
        }
    }

    /// Counts events of sources that `sources` does not keep apart on this day of receipt as [`OTHER_SOURCES`].
    pub fn limit_sources(&mut self, received_at: Timestamp, sources: &mut RollupSources) {
        let all = std::mem::take(&mut self.rollups).into_iter();
        let (apart, others): (Vec<_>, Vec<_>) = all.partition(|rollup| sources.keeps_apart(received_at, rollup.source));
        self.rollups = apart;
        others.into_iter().for_each(|other| self.add_events(Rollup { source: OTHER_SOURCES, ..other }));
    }

    /// All of them, ascending by minute, level and source, each of these once. Transactions that change rows in this order
    /// do not deadlock.
    #[must_use]
    pub fn as_slice(&self) -> &[Rollup<'e>] {
        &self.rollups
    }
}

/// The sources that a process keeps apart, at most [`ROLLUP_SOURCES_MAX`] for each of the latest days of receipt. A restart
/// begins with none. Which sources are kept apart decides how fast a request is answered, never what the answer is.
#[derive(Debug, Default)]
pub struct RollupSources {
    /// Days since 1970 and their sources, the day that was added last at the end.
    days: Vec<(i64, HashSet<Box<str>>)>,
}

impl RollupSources {
    fn keeps_apart(&mut self, received_at: Timestamp, source: &str) -> bool {
        let day = received_at.unix_micros().div_euclid(DAY_MICROS);
        let known = self.days.iter().position(|(of, _)| *of == day);
        let at = known.unwrap_or_else(|| {
            if self.days.len() >= DAYS_MAX {
                self.days.remove(0);
            }
            self.days.push((day, HashSet::new()));
            self.days.len() - 1
        });
        let Some((_, names)) = self.days.get_mut(at) else { return false };
        names.contains(source) || names.len() < ROLLUP_SOURCES_MAX && names.insert(source.into())
    }
}

/// How rollups answer a request for counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupQuery<'q> {
    query: &'q StatsQuery,
    /// The first and the last minute that the range meets, by [`minute_of`].
    pub minutes: RangeInclusive<i64>,
    /// The parts of these minutes before and behind the range, each shorter than a minute. Their events have to be subtracted.
    pub edges: Vec<RangeInclusive<Timestamp>>,
    /// What the filter says besides the range of timestamps: of sources and levels only.
    pub rest: EventFilter,
    /// Whether the answer depends on sources. Then it must be counted from events if a rollup of these minutes counts
    /// [`OTHER_SOURCES`].
    pub asks_for_sources: bool,
}

impl StatsQuery {
    /// How rollups answer this, if they can: its filter has times, sources and levels only, its range is a minute or longer, its
    /// interval is a multiple of a minute, and it counts by level or source.
    #[must_use]
    pub fn rollups(&self) -> Option<RollupQuery<'_>> {
        if self.interval_micros() % MINUTE_MICROS != 0 {
            return None;
        }
        let by_source = match self.by {
            GroupBy::Level => false,
            GroupBy::Source => true,
            GroupBy::TraceId | GroupBy::Metadata(_) => return None,
        };
        let range = self.filter.time_range();
        if range.end().unix_micros().saturating_sub(range.start().unix_micros()) < MINUTE_MICROS - 1 {
            return None;
        }
        let minutes = minute_of(*range.start())..=minute_of(*range.end());
        let mut rest = Vec::new();
        without_range(&self.filter, &mut rest);
        let rest = EventFilter::All(rest);
        let asks_for_sources = asks_for_sources(&rest)? || by_source;
        Some(RollupQuery { query: self, edges: edges(&range, &minutes), minutes, rest, asks_for_sources })
    }
}

impl RollupQuery<'_> {
    /// The range of timestamps.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<Timestamp> {
        self.query.filter.time_range()
    }

    /// The range of timestamps, from the beginning of the first edge to the end of the last one.
    #[must_use]
    pub fn range_with_edges(&self) -> RangeInclusive<Timestamp> {
        let range = self.range();
        let (from, to) =
            (self.edges.iter().map(RangeInclusive::start).min(), self.edges.iter().map(RangeInclusive::end).max());
        *range.start().min(from.unwrap_or(range.start()))..=*range.end().max(to.unwrap_or(range.end()))
    }

    /// The length of a bucket, in minutes; at least one.
    #[must_use]
    pub fn bucket_minutes(&self) -> i64 {
        (self.query.interval_micros() / MINUTE_MICROS).max(1)
    }

    /// Whether events of a level and a source match, if their timestamps do. The source does not matter unless
    /// [`Self::asks_for_sources`].
    #[must_use]
    pub fn matches(&self, level: Level, source: &str) -> bool {
        self.rest.matches(&event_of(level, source))
    }

    /// Counts events of the bucket that contains `at`, unless the filter leaves out their level or source.
    pub fn count(&self, counts: &mut Counts, at: Timestamp, level: Level, source: &str, events: u64) {
        if events > 0 && self.matches(level, source) {
            let value = if self.query.by == GroupBy::Source { source } else { level.name() };
            counts.add_events(self.query.bucket_of(at), value, events);
        }
    }
}

/// The parts of the first and the last minute of a range that are outside of it.
fn edges(range: &RangeInclusive<Timestamp>, minutes: &RangeInclusive<i64>) -> Vec<RangeInclusive<Timestamp>> {
    let before = (minutes.start() * MINUTE_MICROS, range.start().unix_micros() - 1);
    let behind = (range.end().unix_micros() + 1, (minutes.end() + 1) * MINUTE_MICROS - 1);
    let time = |micros| Timestamp::from_unix_micros(micros).ok();
    let edges = [before, behind].into_iter().filter(|(from, to)| from <= to);
    edges.filter_map(|(from, to)| Some(time(from)?..=time(to)?)).collect()
}

/// The parts of a filter, all of which must hold, without those that [`EventFilter::time_range`] takes into account.
fn without_range(filter: &EventFilter, rest: &mut Vec<EventFilter>) {
    match filter {
        EventFilter::All(filters) => filters.iter().for_each(|filter| without_range(filter, rest)),
        EventFilter::Condition(Condition::Time(TimeField::Timestamp, _)) => {}
        other => rest.push(other.clone()),
    }
}

/// Whether a filter says something of sources; `None` if it says something of what rollups do not have.
fn asks_for_sources(filter: &EventFilter) -> Option<bool> {
    match filter {
        EventFilter::All(filters) | EventFilter::Any(filters) => {
            filters.iter().try_fold(false, |asks, filter| Some(asks_for_sources(filter)? || asks))
        }
        EventFilter::Not(filter) => asks_for_sources(filter),
        EventFilter::Condition(condition) => match condition {
            Condition::Source(_) | Condition::SourceIs(_) | Condition::SourceWithin(_) => Some(true),
            Condition::Levels(_) => Some(false),
            Condition::Anywhere(_)
            | Condition::Message(_)
            | Condition::StackTrace(_)
            | Condition::Time(..)
            | Condition::IdIs(..)
            | Condition::Id(..)
            | Condition::Metadata { .. } => None,
        },
    }
}

/// An event with nothing but a level and a source.
fn event_of(level: Level, source: &str) -> LogEvent<'_> {
    LogEvent {
        event_id: Uuid::nil(),
        id_origin: IdOrigin::Generated,
        source: Cow::Borrowed(source),
        level,
        message: Cow::Borrowed(""),
        timestamp: Timestamp::MIN,
        received_at: Timestamp::MIN,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

#[cfg(test)]
mod tests;
