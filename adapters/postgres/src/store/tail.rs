//! The tail: events in the order in which they became visible.

use domain::ports::StoreError;
use domain::query::{PageFilling, TAIL_BYTES_MAX, TailPage, TailQuery};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::PostgresStore;
use super::writers::{End, end};
use crate::error::store_error;
use crate::rows::{each_row, row_bytes, stored_event, tail_statement};

/// Maximum number of events that one call of `tail` examines.
const TAIL_EVENTS_MAX: u64 = 2_000;

impl PostgresStore {
    pub(super) async fn tail_on(
        &self,
        connection: &mut PgConnection,
        query: &TailQuery,
    ) -> Result<TailPage, StoreError> {
        let mut transaction = self.timed(connection).await?;
        let End { drawn, visible: end } = end(&mut transaction, self.writer_lock).await.map_err(store_error)?;
        let Some(after) = query.after.filter(|after| *after < end) else {
            // A writer that has just begun can be behind events already shown: without new events, the position must not
            // move back.
            let end = query.after.filter(|after| *after <= drawn).unwrap_or(end).max(end);
            return Ok(TailPage { events: Vec::new(), scanned: end, end });
        };
        let until = end.min(after.saturating_add(TAIL_EVENTS_MAX));
        let candidates = query.filter.candidates();
        let mut page = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        // Not every candidate matches, so the last row examined marks the progress.
        let mut looked_at = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        let mut scanned = after;
        let select = tail_statement(&candidates, after..until, &looked_at);
        let take = |row: &PgRow| {
            let (bytes, sequence) = (row_bytes(row)?, row.try_get::<i64, _>("sequence")?.cast_unsigned());
            looked_at.take(bytes, ());
            let event = stored_event(row)?;
            if candidates.exact || query.filter.matches(&event.event) {
                page.take(bytes, (sequence, event));
            }
            if !page.page.more {
                scanned = sequence;
            }
            Ok(())
        };
        each_row(&mut transaction, select, take).await?;
        let whole = !looked_at.page.more && !page.page.more;
        Ok(TailPage { scanned: if whole { until } else { scanned }, events: page.page.items, end })
    }
}
