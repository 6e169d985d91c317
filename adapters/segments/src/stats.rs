//! Counting events of segments.
//!
//! Invariant: the counts are those of [`Counts::add`] over all matching events. Rollups answer for whole minutes if the filter
//! looks at time, source and level only; everything else is counted from rows.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::{Condition, EventFilter, TimeField};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::needs::{Need, columns_of};
use crate::reader::Segment;
use crate::rollup::{MINUTE_MICROS, MinuteCount, Rollup, whole_minutes};
use crate::scan::{Scan, read_rows};

/// Adds the matching events of segments to counts.
///
/// # Errors
/// Those of reading, or [`SegmentError::TooBroad`] once `time_is_up`.
pub fn count(
    segments: &[Arc<Segment>],
    query: &StatsQuery,
    counts: &mut Counts,
    time_is_up: &dyn Fn() -> bool,
) -> Result<(), SegmentError> {
    let range = query.filter.time_range();
    let minutes = rollup_filter(query).zip(whole_minutes(&range));
    let Some((rest, (first, last))) = minutes else {
        return count_rows(segments, query, &query.filter, counts, time_is_up);
    };
    let mut without_rollup = Vec::new();
    for segment in segments {
        if time_is_up() {
            return Err(SegmentError::TooBroad);
        }
        if segment.summary().timestamps.to < *range.start() || segment.summary().timestamps.from > *range.end() {
            continue;
        }
        let rollup = segment.rollup()?;
        if rollup.has_all_sources() || !looks_at_source(query, &rest) {
            add_rollup(&rollup, query, &rest, &range, counts);
        } else {
            without_rollup.push(Arc::clone(segment));
        }
    }
    count_rows(&without_rollup, query, &query.filter, counts, time_is_up)?;
    let with_rollup: Vec<Arc<Segment>> = segments
        .iter()
        .filter(|segment| !without_rollup.iter().any(|without| Arc::ptr_eq(without, segment)))
        .cloned()
        .collect();
    for edge in edges(&range, first, last) {
        let edge = EventFilter::from(Condition::Time(TimeField::Timestamp, edge)).and(query.filter.clone());
        count_rows(&with_rollup, query, &edge, counts, time_is_up)?;
    }
    Ok(())
}

fn looks_at_source(query: &StatsQuery, rest: &EventFilter) -> bool {
    query.by == GroupBy::Source || columns_of(rest).contains(Column::Source)
}

/// The parts of a range before and behind its whole minutes.
fn edges(range: &RangeInclusive<Timestamp>, first: i64, last: i64) -> Vec<RangeInclusive<Timestamp>> {
    let (from, to) = (range.start().unix_micros(), range.end().unix_micros());
    let edges = [(from, first * MINUTE_MICROS - 1), ((last + 1) * MINUTE_MICROS, to)];
    let time = |micros| Timestamp::from_unix_micros(micros).ok();
    edges.into_iter().filter(|(from, to)| from <= to).filter_map(|(from, to)| Some(time(from)?..=time(to)?)).collect()
}

/// What a filter says besides the range of timestamps, if rollups can answer it.
fn rollup_filter(query: &StatsQuery) -> Option<EventFilter> {
    let by = matches!(query.by, GroupBy::Level | GroupBy::Source);
    let whole = query.interval_micros() % MINUTE_MICROS == 0;
    let mut rest = Vec::new();
    without_time(&query.filter, &mut rest);
    let rest = EventFilter::All(rest);
    let kept = ColumnSet::of(&[Column::Source, Column::Level]);
    (by && whole && columns_of(&rest).is_within(kept)).then_some(rest)
}

/// The parts of a filter, all of which must hold, without those that [`EventFilter::time_range`] takes into account.
fn without_time(filter: &EventFilter, parts: &mut Vec<EventFilter>) {
    match filter {
        EventFilter::All(filters) => filters.iter().for_each(|filter| without_time(filter, parts)),
        EventFilter::Condition(Condition::Time(TimeField::Timestamp, _)) => {}
        other => parts.push(other.clone()),
    }
}

fn add_rollup(
    rollup: &Rollup,
    query: &StatsQuery,
    rest: &EventFilter,
    range: &RangeInclusive<Timestamp>,
    counts: &mut Counts,
) {
    for count in rollup.within(range) {
        if rest.matches(&event_of(&count)) {
            let value = match &query.by {
                GroupBy::Source => count.source.unwrap_or_default(),
                _ => count.level.name(),
            };
            counts.add_events(query.bucket_of(count.minute), value, count.events);
        }
    }
}

/// An event with the source and the level of a count.
fn event_of<'c>(count: &MinuteCount<'c>) -> LogEvent<'c> {
    LogEvent {
        event_id: Uuid::nil(),
        id_origin: IdOrigin::Generated,
        source: Cow::Borrowed(count.source.unwrap_or_default()),
        level: count.level,
        message: Cow::Borrowed(""),
        timestamp: count.minute,
        received_at: count.minute,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

fn count_rows(
    segments: &[Arc<Segment>],
    query: &StatsQuery,
    filter: &EventFilter,
    counts: &mut Counts,
    time_is_up: &dyn Fn() -> bool,
) -> Result<(), SegmentError> {
    let columns = ColumnSet::of(&[Column::Timestamp]).with(match query.by {
        GroupBy::Level => Column::Level,
        GroupBy::Source => Column::Source,
        GroupBy::TraceId => Column::TraceId,
        GroupBy::Metadata(_) => Column::Metadata,
    });
    let mut scan = Scan::new(segments, filter, Need::All(Vec::new()), time_is_up);
    for unit in scan.units()? {
        let Some((rows, reader)) = scan.matching(unit)? else { continue };
        let read = read_rows(reader, columns, &rows)?;
        for at in 0..read.len() {
            let event = read.event(at);
            counts.add(query, &event.ok_or_else(|| reader.segment().named().damaged("a row is not an event"))?);
        }
    }
    Ok(())
}
