//! Queries about events: pages, and one event.

use std::time::Instant;

use domain::Uuid;
use domain::ports::StoreError;
use domain::query::{LogQuery, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StoredEvent};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{PostgresStore, limit_until, snapshot};
use crate::copy::COLUMNS;
use crate::error::store_error;
use crate::rollups::received;
use crate::rows::{each_row, events_statement, row_bytes, stored_event};

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
        let mut transaction = snapshot(connection, time_max).await?;
        let received = received(&mut transaction, query.filter.time_range()).await.map_err(store_error)?;
        loop {
            let rows_max = if translated.exact { query.limit } else { CANDIDATES };
            let mut candidates = PageFilling::new(rows_max, PAGE_BYTES_MAX);
            let select = events_statement(&translated, &received, query.order, after, &candidates);
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
            limit_until(&mut transaction, deadline).await?;
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
}
