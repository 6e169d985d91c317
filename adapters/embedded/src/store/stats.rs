//! Counting events.
//!
//! Invariant: no statement sorts, since a full disk has no room for temporary files. What neither rollups nor the index of
//! levels answer is counted in memory, which [`Counts`] bounds, row by row.

use domain::event::to_hex;
use domain::ports::StoreError;
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

use super::filter::push_candidates;
use super::readers::{Enough, Readers};
use super::rollups;
use super::rows::{COLUMNS, decode_error, level, level_counts_statement, stored_event};

/// Counts matching events. Whole events are read with `readers`, single values with `counters`.
pub async fn counts(readers: &Readers, counters: &Readers, query: &StatsQuery) -> Result<Counts, StoreError> {
    if let Some(counts) = rollups::counts(counters, query).await? {
        return Ok(counts);
    }
    let mut counts = Counts::default();
    let candidates = query.filter.candidates();
    if let (Some(range), GroupBy::Level) = (query.filter.only_time_range(), &query.by) {
        let interval = query.interval_micros();
        // The first bucket may begin before the minimum timestamp.
        let first = range.start().unix_micros().div_euclid(interval).saturating_mul(interval);
        let take = |row: &SqliteRow| {
            let bucket = Timestamp::from_unix_micros(first + row.try_get::<i64, _>(0)? * interval);
            let (level, events) = (level(row.try_get(1)?)?, row.try_get::<i64, _>(2)?.cast_unsigned());
            counts.add_events(bucket.unwrap_or(Timestamp::MIN), level.name(), events);
            Ok(Enough(false))
        };
        let select = level_counts_statement(first, interval, &range);
        readers.read_within(query.time_max, select, take).await?;
        return Ok(counts);
    }
    let value = match &query.by {
        GroupBy::Level => "level",
        GroupBy::Source => "source",
        GroupBy::TraceId => "trace_id",
        GroupBy::Metadata(_) => "metadata",
    };
    let columns = if candidates.exact { format!("timestamp, {value}") } else { COLUMNS.to_owned() };
    let mut select = QueryBuilder::new(format!("SELECT {columns} FROM events WHERE {value} IS NOT NULL"));
    push_candidates(&mut select, &candidates);
    let take = |row: &SqliteRow| {
        if candidates.exact {
            add_row(&mut counts, query, row)?;
        } else {
            let event = stored_event(row, 0)?.event;
            if query.filter.matches(&event) {
                counts.add(query, &event);
            }
        }
        Ok(Enough(false))
    };
    let readers = if candidates.exact { counters } else { readers };
    readers.read_within(query.time_max, select, take).await?;
    Ok(counts)
}

/// Counts the event in a row of its timestamp and value.
fn add_row(counts: &mut Counts, query: &StatsQuery, row: &SqliteRow) -> Result<(), sqlx::Error> {
    let bucket = query.bucket_of(Timestamp::from_unix_micros(row.try_get(0)?).map_err(decode_error)?);
    match &query.by {
        GroupBy::Level => counts.add_events(bucket, level(row.try_get(1)?)?.name(), 1),
        GroupBy::Source => counts.add_events(bucket, row.try_get(1)?, 1),
        GroupBy::TraceId => counts.add_events(bucket, &to_hex(row.try_get(1)?), 1),
        GroupBy::Metadata(name) => counts.add_metadata(bucket, name, row.try_get(1)?),
    }
    Ok(())
}
