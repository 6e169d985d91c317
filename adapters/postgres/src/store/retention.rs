//! Removal of what has expired.

use domain::ports::StoreError;
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::PostgresStore;
use crate::days::Day;
use crate::error::store_error;
use crate::time::PgTime;

/// Maximum number of dead letters that one call of `expire` removes, and of ids that it removes at once.
const EXPIRE_ROWS_MAX: i64 = 2_000;

/// Maximum number of rows of a day that are counted before its table is dropped.
const COUNTED_ROWS_MAX: i64 = 10_000;

impl PostgresStore {
    /// Removes what has expired, unless another process does so now: two would wait for each other's locks.
    pub(super) async fn expire_on(&self, connection: &mut PgConnection, oldest: Timestamp) -> Result<u64, StoreError> {
        // Two numbers, unlike the locks of writers.
        let lock = "SELECT pg_try_advisory_lock(($1 >> 48)::integer, 1)";
        let is_locked: bool =
            sqlx::query_scalar(lock).bind(self.writer_lock).fetch_one(&mut *connection).await.map_err(store_error)?;
        if !is_locked {
            return Ok(0);
        }
        let removed = self.expire_alone(connection, oldest).await;
        let unlock = sqlx::query("SELECT pg_advisory_unlock(($1 >> 48)::integer, 1)").bind(self.writer_lock);
        let unlocked = unlock.execute(connection).await.map(drop).map_err(store_error);
        removed.and_then(|removed| unlocked.map(|()| removed))
    }

    async fn expire_alone(&self, connection: &mut PgConnection, oldest: Timestamp) -> Result<u64, StoreError> {
        let mut removed = drop_days(connection, oldest).await.map_err(store_error)?;
        self.days.forget_all();
        let letters =
            "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE at < $1 ORDER BY at LIMIT $2)";
        removed += delete_rows(connection, letters, oldest).await?;
        // The result does not count ids, so the caller does not call again for them: remove all that have expired.
        let ids = "DELETE FROM event_ids WHERE event_id IN (SELECT event_id FROM event_ids WHERE latest < $1 LIMIT $2)";
        while delete_rows(connection, ids, oldest).await? == EXPIRE_ROWS_MAX.unsigned_abs() {}
        Ok(removed)
    }
}

/// Removes at most [`EXPIRE_ROWS_MAX`] expired rows. Returns how many.
async fn delete_rows(
    connection: &mut PgConnection,
    delete: &'static str,
    oldest: Timestamp,
) -> Result<u64, StoreError> {
    let delete = sqlx::query(delete).bind(PgTime(oldest)).bind(EXPIRE_ROWS_MAX);
    delete.execute(connection).await.map(|done| done.rows_affected()).map_err(store_error)
}

/// The number of rows of a table: exact up to [`COUNTED_ROWS_MAX`], estimated beyond. Counting a large day could take longer
/// than the call may, so that its table would never be dropped.
async fn rows_about(connection: &mut PgConnection, table: &str) -> Result<i64, sqlx::Error> {
    let count = format!("SELECT count(*) FROM (SELECT FROM {table} LIMIT {COUNTED_ROWS_MAX}) AS counted");
    let counted: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
    if counted < COUNTED_ROWS_MAX {
        return Ok(counted);
    }
    let estimate = "SELECT greatest(reltuples::bigint, $2) FROM pg_class WHERE oid = to_regclass($1)";
    sqlx::query_scalar(estimate).bind(table).bind(COUNTED_ROWS_MAX).fetch_one(connection).await
}

/// Drops the oldest expired day's table, if there is one, and the tables of empty days before it. Detaches tables first,
/// without blocking readers or writers; completes what an earlier call left unfinished. Its events are counted from rows until
/// they are gone, so that counts are right at any moment.
async fn drop_days(connection: &mut PgConnection, oldest: Timestamp) -> Result<u64, sqlx::Error> {
    let tables: Vec<(String, Option<bool>)> = sqlx::query_as(
        "SELECT relname::text, inhdetachpending FROM pg_class \
         LEFT JOIN pg_inherits ON inhrelid = pg_class.oid AND inhparent = 'events'::regclass \
         WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass) AND relkind = 'r' \
         ORDER BY relname",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, detach_pending) in tables {
        let Some(day) = Day::of_table(&table).filter(|day| day.is_before(oldest)) else { continue };
        let rows = rows_about(connection, &table).await?;
        let without_rollups = sqlx::query("DELETE FROM rollup_days WHERE day = $1").bind(day.number());
        without_rollups.execute(&mut *connection).await?;
        if let Some(pending) = detach_pending {
            let how = if pending { "FINALIZE" } else { "CONCURRENTLY" };
            let detach = format!("ALTER TABLE events DETACH PARTITION {table} {how}");
            sqlx::query(AssertSqlSafe(detach)).execute(&mut *connection).await?;
        }
        let mut transaction = connection.begin().await?;
        // Waits for appends to the table, which may have added rollups.
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}"))).execute(&mut *transaction).await?;
        let rollups = sqlx::query("DELETE FROM rollups WHERE day = $1").bind(day.number());
        rollups.execute(&mut *transaction).await?;
        transaction.commit().await?;
        tracing::info!(table, rows_about = rows, "removed a day of events");
        if rows > 0 {
            return Ok(rows.cast_unsigned());
        }
    }
    Ok(0)
}
