//! Counts of events.
//!
//! Invariant: rollups, the events of edges, and those of days without rollups are read in one snapshot.

use std::ops::RangeInclusive;
use std::time::Instant;

use domain::event::to_hex;
use domain::filter::Candidates;
use domain::ports::StoreError;
use domain::rollup::{MINUTE_MICROS, OTHER_SOURCES, RollupQuery, minute_of};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{PostgresStore, limit_until, snapshot};
use crate::copy::COLUMNS;
use crate::days::Day;
use crate::error::store_error;
use crate::filter::{push_candidates, push_received};
use crate::rollups::DaysOfRange;
use crate::rows::{decode_error, each_row, level, stored_event};
use crate::time::PgTime;

/// The timestamp of an event in microseconds since 1970.
const MICROS: &str = "(extract(epoch FROM \"timestamp\") * 1000000)::bigint";

impl PostgresStore {
    pub(super) async fn stats_on(
        &self,
        connection: &mut PgConnection,
        query: &StatsQuery,
    ) -> Result<Counts, StoreError> {
        let time_max = query.time_max.unwrap_or(self.query_timeout);
        let deadline = Instant::now() + time_max;
        let mut transaction = snapshot(connection, time_max).await?;
        // Before the snapshot: no day of which it has rollups is detached until the end of the transaction.
        let lock = sqlx::query("LOCK TABLE ONLY events IN ACCESS SHARE MODE");
        lock.execute(&mut *transaction).await.map_err(store_error)?;
        let range = query.filter.time_range();
        let days = DaysOfRange::read(&mut transaction, &range).await.map_err(store_error)?;
        if let Some(rollups) = query.rollups() {
            if let Some(counts) = from_rollups(&mut transaction, &rollups, &days).await? {
                return Ok(counts);
            }
            limit_until(&mut transaction, deadline).await?;
        }
        from_events(&mut transaction, query, &days).await
    }
}

/// Counts from rollups, where there are any; `None` if they do not know sources that the answer depends on.
async fn from_rollups(
    connection: &mut PgConnection,
    query: &RollupQuery<'_>,
    days: &DaysOfRange,
) -> Result<Option<Counts>, StoreError> {
    let (mut counts, mut of_edges, mut known) = (Counts::default(), Counts::default(), true);
    let take = |row: &PgRow| {
        let at = Timestamp::from_unix_micros(row.try_get(0)?).map_err(decode_error)?;
        let (source, events): (&str, i64) = (row.try_get(2)?, row.try_get(3)?);
        known &= !(query.asks_for_sources && source == OTHER_SOURCES);
        let counts = if events < 0 { &mut of_edges } else { &mut counts };
        query.count(counts, at, level(row.try_get(1)?)?, source, events.unsigned_abs());
        Ok(())
    };
    each_row(connection, rollups_statement(query, days), take).await?;
    counts.subtract(&of_edges);
    Ok(known.then_some(counts))
}

/// Selects time, level, source and number of events, added up by bucket: minutes of days with rollups from these, and all other
/// days from events. The numbers of edges are negative: their events are in these minutes. Without a question about sources, the source
/// is empty.
fn rollups_statement(query: &RollupQuery<'_>, days: &DaysOfRange) -> QueryBuilder<Postgres> {
    let rest = query.rest.candidates();
    let step = query.bucket_minutes();
    // No minute of the range is before the first bucket.
    let first = minute_of(*query.range().start()).div_euclid(step).saturating_mul(step);
    let (source, by_source) = if query.asks_for_sources { ("source", ", source") } else { ("''::text", "") };

    let mut select = QueryBuilder::new(format!(
        "SELECT (extract(epoch FROM min(\"timestamp\")) * 1000000)::bigint, level, {source}, count(*)"
    ));
    push_events(&mut select, &query.range(), &days.received_on_others(), &rest);
    select.push(format!(" GROUP BY ({MICROS} - ")).push_bind(first.saturating_mul(MINUTE_MICROS)).push(") / ");
    select.push_bind(step.saturating_mul(MINUTE_MICROS)).push(format!(", level{by_source}"));
    if days.rolled_up().is_empty() {
        return select;
    }

    // An edge is shorter than a minute, so it is in one bucket.
    for edge in &query.edges {
        select.push(" UNION ALL SELECT ").push_bind(edge.start().unix_micros());
        select.push(format!(", level, {source}, -count(*)"));
        push_events(&mut select, edge, &days.received_on_rolled_up(), &rest);
        select.push(format!(" GROUP BY level{by_source}"));
    }

    select.push(format!(" UNION ALL SELECT min(minute) * {MINUTE_MICROS}, level, {source}, sum(events)::bigint"));
    let days: Vec<i64> = days.rolled_up().iter().copied().map(Day::number).collect();
    select.push(" FROM rollups WHERE day = ANY(").push_bind(days).push(") AND minute BETWEEN ");
    select.push_bind(*query.minutes.start()).push(" AND ").push_bind(*query.minutes.end());
    if query.asks_for_sources {
        // Whether events of other sources match is not known.
        select.push(" AND (true");
        push_candidates(&mut select, &rest);
        select.push(format!(" OR source = '{OTHER_SOURCES}')"));
    } else {
        push_candidates(&mut select, &rest);
    }
    select.push(" GROUP BY (minute - ").push_bind(first).push(") / ").push_bind(step);
    select.push(format!(", level{by_source}"));
    select
}

/// Adds the events of a range that were received in others.
fn push_events(
    select: &mut QueryBuilder<Postgres>,
    range: &RangeInclusive<Timestamp>,
    received: &[RangeInclusive<Timestamp>],
    rest: &Candidates<'_>,
) {
    select.push(" FROM events WHERE \"timestamp\" BETWEEN ").push_bind(PgTime(*range.start()));
    select.push(" AND ").push_bind(PgTime(*range.end()));
    push_received(select, received);
    push_candidates(select, rest);
}

/// Counts from the rows of events.
async fn from_events(
    connection: &mut PgConnection,
    query: &StatsQuery,
    days: &DaysOfRange,
) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let candidates = query.filter.candidates();
    let column = match &query.by {
        GroupBy::Level => Some("level"),
        GroupBy::Source => Some("source"),
        GroupBy::TraceId => Some("trace_id"),
        GroupBy::Metadata(_) => None,
    };
    let Some(column) = column.filter(|_| candidates.exact) else {
        let mut select = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events WHERE true"));
        push_received(&mut select, &days.received());
        push_candidates(&mut select, &candidates);
        let take = |row: &PgRow| {
            let event = stored_event(row)?.event;
            if candidates.exact || query.filter.matches(&event) {
                counts.add(query, &event);
            }
            Ok(())
        };
        each_row(connection, select, take).await?;
        return Ok(counts);
    };
    let interval = query.interval_micros();
    // The first bucket may begin before the minimum timestamp.
    let first = query.filter.time_range().start().unix_micros().div_euclid(interval).saturating_mul(interval);
    let mut select = QueryBuilder::new(format!("SELECT ({MICROS} - "));
    select.push_bind(first).push(") / ").push_bind(interval);
    select.push(format!(", {column}, count(*) FROM events WHERE {column} IS NOT NULL"));
    push_received(&mut select, &days.received());
    push_candidates(&mut select, &candidates);
    select.push(" GROUP BY 1, 2");
    let take = |row: &PgRow| {
        let bucket = Timestamp::from_unix_micros(first + row.try_get::<i64, _>(0)? * interval);
        let (bucket, events) = (bucket.unwrap_or(Timestamp::MIN), row.try_get::<i64, _>(2)?.cast_unsigned());
        match &query.by {
            GroupBy::Level => counts.add_events(bucket, level(row.try_get(1)?)?.name(), events),
            GroupBy::TraceId => counts.add_events(bucket, &to_hex(row.try_get(1)?), events),
            GroupBy::Source | GroupBy::Metadata(_) => counts.add_events(bucket, row.try_get(1)?, events),
        }
        Ok(())
    };
    each_row(connection, select, take).await?;
    Ok(counts)
}
