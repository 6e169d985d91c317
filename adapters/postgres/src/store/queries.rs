//! Queries about events: pages, one event, and counts.

use std::time::Instant;

use domain::Uuid;
use domain::event::to_hex;
use domain::ports::StoreError;
use domain::query::{LogQuery, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StoredEvent};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{PostgresStore, limit, limited};
use crate::copy::COLUMNS;
use crate::error::store_error;
use crate::filter::push_candidates;
use crate::rows::{each_row, events_statement, level, row_bytes, stored_event};

/// Candidates examined at once; fewer if they are large.
const CANDIDATES: u32 = 1_000;

impl PostgresStore {
    pub(super) async fn query_on(
        &self,
        connection: &mut PgConnection,
        query: &LogQuery,
    ) -> Result<Page<StoredEvent>, StoreError> {
        let time_max = query.time_max.unwrap_or(self.query_timeout);
        let deadline = Instant::now() + time_max;
        let translated = query.filter.candidates();
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let mut after = query.after;
        let mut transaction = limited(connection, time_max).await?;
        loop {
            let rows_max = if translated.exact { query.limit } else { CANDIDATES };
            let mut candidates = PageFilling::new(rows_max, PAGE_BYTES_MAX);
            let select = events_statement(&translated, query.order, after, &candidates);
            let take = |row: &PgRow| {
                let bytes = row_bytes(row)?;
                candidates.take(bytes, ());
                let event = stored_event(row)?;
                after = Some(PageKey::from(&event));
                if translated.exact || query.filter.matches(&event.event) {
                    page.take(bytes, event);
                }
                Ok(())
            };
            match each_row(&mut transaction, select, take).await {
                // Time was up only for finding out whether there are more.
                Err(StoreError::TooBroad) if page.is_full() => page.page.more = true,
                read => read?,
            }
            if page.page.more || !candidates.page.more {
                return Ok(page.page);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::TooBroad);
            }
            limit(&mut transaction, left).await?;
        }
    }

    pub(super) async fn find_on(
        &self,
        connection: &mut PgConnection,
        event_id: Uuid,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let mut transaction = self.timed(connection).await?;
        let mut select = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        select.push_bind(event_id).push(" ORDER BY received_at DESC LIMIT 1");
        let row = select.build().fetch_optional(&mut *transaction).await.map_err(store_error)?;
        row.as_ref().map(stored_event).transpose().map_err(store_error)
    }

    pub(super) async fn stats_on(
        &self,
        connection: &mut PgConnection,
        query: &StatsQuery,
    ) -> Result<Counts, StoreError> {
        let mut transaction = limited(connection, query.time_max.unwrap_or(self.query_timeout)).await?;
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
            push_candidates(&mut select, &candidates);
            let take = |row: &PgRow| {
                let event = stored_event(row)?.event;
                if candidates.exact || query.filter.matches(&event) {
                    counts.add(query, &event);
                }
                Ok(())
            };
            each_row(&mut transaction, select, take).await?;
            return Ok(counts);
        };
        let interval = query.interval_micros();
        // The first bucket may begin before the minimum timestamp.
        let first = query.filter.time_range().start().unix_micros().div_euclid(interval).saturating_mul(interval);
        let mut select = QueryBuilder::new("SELECT ((extract(epoch FROM \"timestamp\") * 1000000)::bigint - ");
        select.push_bind(first).push(") / ").push_bind(interval);
        select.push(format!(", {column}, count(*) FROM events WHERE {column} IS NOT NULL"));
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
        each_row(&mut transaction, select, take).await?;
        Ok(counts)
    }
}
