//! Dead letters: pages of them, and the times of what was done with them.

use domain::dead_letter::{DeadLetterQuery, StoredDeadLetter};
use domain::ports::StoreError;
use domain::query::{PAGE_BYTES_MAX, Page, PageFilling};
use domain::timestamp::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use crate::error::store_error;
use crate::rows::{dead_letters_statement, each_row, row_bytes, stored_dead_letter};
use crate::time::PgTime;

impl PostgresStore {
    pub(super) async fn dead_letters_on(
        &self,
        connection: &mut PgConnection,
        query: &DeadLetterQuery,
    ) -> Result<Page<StoredDeadLetter>, StoreError> {
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let select = dead_letters_statement(&query.filter, query.after, &page);
        let take = |row: &PgRow| {
            page.take(row_bytes(row)?, stored_dead_letter(row)?);
            Ok(())
        };
        let mut transaction = self.timed(connection).await?;
        each_row(&mut transaction, select, take).await?;
        Ok(page.page)
    }

    /// Sets a time on dead letters.
    pub(super) async fn mark(&self, update: &'static str, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<i64> = ids.iter().copied().map(u64::cast_signed).collect();
        let update = sqlx::query(update).bind(ids).bind(PgTime(at));
        self.lend(&self.reads, self.read_timeout(), async |connection| {
            update.execute(connection).await.map(drop).map_err(store_error)
        })
        .await
    }
}
