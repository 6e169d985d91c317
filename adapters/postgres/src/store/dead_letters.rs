//! Dead letters: pages of them, their number, and the times of what was done with them.

use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::ports::StoreError;
use domain::query::{PAGE_BYTES_MAX, Page, PageFilling};
use domain::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::PostgresStore;
use crate::error::store_error;
use crate::rows::{dead_letter_count_statement, dead_letters_statement, each_row, row_bytes, stored_dead_letter};
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

    pub(super) async fn count_dead_letters_on(
        &self,
        connection: &mut PgConnection,
        filter: &DeadLetterFilter,
        max: u64,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.timed(connection).await?;
        let mut select = dead_letter_count_statement(filter, max);
        let row = select.build().fetch_one(&mut *transaction).await.map_err(store_error)?;
        row.try_get::<i64, _>(0).map(i64::cast_unsigned).map_err(store_error)
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
