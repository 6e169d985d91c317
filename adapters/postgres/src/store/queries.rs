//! Queries about events: pages, one event, and counts.

use std::time::Instant;

use domain::Uuid;
use domain::folding::fold;
use domain::ports::StoreError;
use domain::query::{LevelCount, LogQuery, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StatsQuery, StoredEvent};
use domain::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::{PostgresStore, limit};
use crate::copy::COLUMNS;
use crate::error::store_error;
use crate::rows::{each_row, events_statement, has_text, level, row_bytes, stored_event};
use crate::time::PgTime;

/// Rows examined at once for a text; fewer if they are large.
const CANDIDATES: u32 = 1_000;

impl PostgresStore {
    pub(super) async fn query_on(
        &self,
        connection: &mut PgConnection,
        query: &LogQuery,
    ) -> Result<Page<StoredEvent>, StoreError> {
        let deadline = Instant::now() + self.query_timeout;
        let text = query.filter.text.as_deref().map(fold);
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let mut after = query.after;
        let mut transaction = self.timed(connection).await?;
        loop {
            let mut candidates =
                PageFilling::new(if text.is_some() { CANDIDATES } else { query.limit }, PAGE_BYTES_MAX);
            let select = events_statement(&query.filter, after, text.as_deref(), &candidates);
            let take = |row: &PgRow| {
                let bytes = row_bytes(row)?;
                candidates.take(bytes, ());
                let event = stored_event(row)?;
                after = Some(PageKey::from(&event.event));
                if has_text(&event, text.as_deref()) {
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
    ) -> Result<Vec<LevelCount>, StoreError> {
        let interval = i64::try_from(query.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let first = query.from.unix_micros().div_euclid(interval).saturating_mul(interval);
        let mut transaction = self.timed(connection).await?;
        let rows = sqlx::query(
            "SELECT ((extract(epoch FROM \"timestamp\") * 1000000)::bigint - $1) / $2 AS bucket, level, count(*) AS events \
             FROM events WHERE \"timestamp\" >= $3 AND \"timestamp\" < $4 GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .bind(first)
        .bind(interval)
        .bind(PgTime(query.from))
        .bind(PgTime(query.to))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let count = |row: &PgRow| {
            let bucket = Timestamp::from_unix_micros(first + row.try_get::<i64, _>(0)? * interval);
            let events = row.try_get::<i64, _>(2)?.cast_unsigned();
            Ok(LevelCount { bucket: bucket.unwrap_or(Timestamp::MIN), level: level(row.try_get(1)?)?, events })
        };
        rows.iter().map(count).collect::<Result<_, _>>().map_err(store_error)
    }
}
