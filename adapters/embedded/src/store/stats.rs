//! Counting events.
//!
//! Invariant: no statement sorts, since a full disk has no room for temporary files. What neither rollups nor the index of
//! levels answer is counted in memory, which [`Counts`] bounds, row by row.

use std::time::Instant;

use domain::event::to_hex;
use domain::ports::StoreError;
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

use super::filter::push_candidates;
use super::readers::{Enough, read_until};
use super::rows::{COLUMNS, decode_error, level, level_counts_statement, stored_event};

/// Whether the rows that are counted have single values, and not whole events.
pub fn reads_values(query: &StatsQuery) -> bool {
    query.filter.candidates().exact && !is_histogram_by_level(query)
}

/// A histogram by level of a range of time is read from an index.
fn is_histogram_by_level(query: &StatsQuery) -> bool {
    query.by == GroupBy::Level && query.filter.only_time_range().is_some()
}

/// Counts matching rows.
pub async fn counts(
    reader: &mut SqliteConnection,
    deadline: Instant,
    query: &StatsQuery,
) -> Result<Counts, StoreError> {
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
        read_until(reader, deadline, select, take).await?;
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
    read_until(reader, deadline, select, take).await?;
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
