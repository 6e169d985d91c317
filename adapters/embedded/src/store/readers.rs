//! The connections that answer queries.
//!
//! Constraints and invariants:
//! * No statement of [`read_until`] exceeds its deadline, or outlives its caller.
//! * Everything that a call sets on a connection is removed before the connection returns to the pool, however the call
//!   ended.
//! * Few rows are read ahead of their consumer, because each may be large.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ports::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::store_error;

/// How long a read takes rows before it lets other tasks run.
const YIELD_INTERVAL: Duration = Duration::from_millis(1);
/// Instructions of SQLite's virtual machine between two checks of the clock.
const CLOCK_EVERY: i32 = 10_000;
/// Rows read ahead of which each may be large, such as dead letters.
pub const LARGE_ROWS_AHEAD: usize = 8;
/// Rollups read ahead. Each wait for the thread of a connection costs more than a small row.
pub const SMALL_ROWS_AHEAD: usize = 128;

/// Reads, with several connections in parallel.
pub struct Readers {
    pool: SqlitePool,
    query_timeout: Duration,
}

/// Whether a reader needs no more rows.
pub struct Enough(pub bool);

impl Readers {
    /// Opens connections on demand, at most `connections_max`, each of which reads so many rows ahead.
    pub fn new(
        connect: SqliteConnectOptions,
        connections_max: u32,
        query_timeout: Duration,
        rows_ahead: usize,
    ) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections_max)
            .min_connections(0)
            .acquire_timeout(query_timeout.max(Duration::from_secs(1)))
            // Also runs after a dropped call. Its statement may still run, or not have begun: the ping waits until the
            // handler has ended it. Removing the handler first would leave the statement without a limit.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    connection.lock_handle().await?.remove_progress_handler();
                    Ok(true)
                })
            })
            .connect_lazy_with(connect.pragma("query_only", "on").row_buffer_size(rows_ahead));
        Self { pool, query_timeout }
    }

    /// A connection for statements that go straight to their rows.
    pub async fn acquire(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.pool.acquire().await.map_err(store_error)
    }

    /// When a read that begins now must end: after `time_max`, or after the query timeout.
    pub fn deadline(&self, time_max: Option<Duration>) -> Instant {
        Instant::now() + time_max.unwrap_or(self.query_timeout)
    }

    /// Reads what a statement selects, until `take` has enough or the query timeout expires.
    pub async fn read(
        &self,
        select: QueryBuilder<Sqlite>,
        take: impl FnMut(&SqliteRow) -> Result<Enough, sqlx::Error> + Send,
    ) -> Result<(), StoreError> {
        let mut reader = self.acquire().await?;
        read_until(&mut reader, self.deadline(None), select, take).await
    }

    /// Waits for active reads and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Reads what a statement selects on a connection of [`Readers::acquire`], until `take` has enough or the deadline is over.
pub async fn read_until(
    reader: &mut SqliteConnection,
    deadline: Instant,
    mut select: QueryBuilder<Sqlite>,
    mut take: impl FnMut(&SqliteRow) -> Result<Enough, sqlx::Error> + Send,
) -> Result<(), StoreError> {
    // Stops the statement itself when time is up, or when this future is dropped or has enough. Otherwise it would go on
    // using the disk and the connection.
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    let mut handle = reader.lock_handle().await.map_err(store_error)?;
    handle.set_progress_handler(CLOCK_EVERY, move || still_wanted.strong_count() > 0 && Instant::now() < deadline);
    drop(handle);

    let mut rows = select.build().fetch(&mut *reader);
    let mut yielded_at = Instant::now();
    loop {
        // Rows may arrive faster than they are consumed, and then the driver's channel never makes a reader wait.
        if yielded_at.elapsed() >= YIELD_INTERVAL {
            tokio::task::yield_now().await;
            yielded_at = Instant::now();
        }
        let next = std::future::poll_fn(|context| rows.as_mut().poll_next(context)).await;
        match next.map(|row| row.and_then(|row| take(&row))) {
            Some(Ok(Enough(false))) if Instant::now() >= deadline => return Err(StoreError::TooBroad),
            Some(Ok(Enough(false))) => {}
            Some(Ok(Enough(true))) | None => return Ok(()),
            Some(Err(error)) => return Err(store_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::store::drop_after;

    use super::*;

    fn one_connection(directory: &tempfile::TempDir) -> Readers {
        let connect = SqliteConnectOptions::new().filename(directory.path().join("file")).create_if_missing(true);
        Readers::new(connect, 1, Duration::from_secs(60), LARGE_ROWS_AHEAD)
    }

    fn numbers(to: u64) -> String {
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to})")
    }

    /// Runs for many times [`CLOCK_EVERY`] on the connection as a call left it.
    async fn long_statement(readers: &Readers) -> Result<i64, StoreError> {
        let mut reader = readers.acquire().await?;
        let count = format!("{} SELECT count(*) FROM n", numbers(100_000));
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut *reader).await.map_err(store_error)
    }

    /// On a runtime of one thread.
    #[tokio::test]
    async fn a_read_of_many_rows_lets_other_tasks_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let readers = one_connection(&directory);
        let turns = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        // Slower than the rows arrive, as when folding a large message.
        let slow = |_: &SqliteRow| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(200) {}
            Ok(Enough(false))
        };
        readers.read(QueryBuilder::new(format!("{} SELECT i FROM n", numbers(1_000))), slow).await.expect("rows");
        other.abort();
        // 200 ms, with a pause in each millisecond.
        let turns = turns.load(std::sync::atomic::Ordering::Relaxed);
        assert!(turns > 100, "{turns}");
    }

    #[tokio::test]
    async fn a_read_dropped_at_any_await_leaves_nothing_on_its_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let readers = one_connection(&directory);
        for waits in 0.. {
            let mut rows = 0;
            let count = |_: &SqliteRow| {
                rows += 1;
                Ok(Enough(false))
            };
            let select = QueryBuilder::new(format!("{} SELECT i FROM n", numbers(30)));
            let read = drop_after(waits, readers.read(select, count)).await;
            assert_eq!(long_statement(&readers).await.expect("not interrupted"), 100_000, "after {waits} waits");
            if let Some(read) = read {
                read.expect("the read succeeds");
                assert_eq!(rows, 30);
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_read_that_fails_or_has_enough_leaves_nothing_on_its_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let readers = one_connection(&directory);
        for (enough, fails) in [(true, false), (false, true)] {
            let take = |_: &SqliteRow| if fails { Err(sqlx::Error::RowNotFound) } else { Ok(Enough(enough)) };
            let select = QueryBuilder::new(format!("{} SELECT i FROM n", numbers(1_000_000)));
            assert_eq!(readers.read(select, take).await.is_err(), fails);
            assert_eq!(long_statement(&readers).await.expect("not interrupted"), 100_000);
        }
    }

    /// Otherwise the statement would keep the only connection busy.
    #[tokio::test]
    async fn the_statement_of_a_dropped_read_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let readers = one_connection(&directory);
        // Several times, because the outcome of a race with the connection's thread differs.
        for waits in (0..6).cycle().take(30) {
            let numbers = numbers(u64::from(u32::MAX));
            let read =
                readers.read(QueryBuilder::new(format!("{numbers} SELECT count(*) FROM n")), |_| Ok(Enough(true)));
            let read = tokio::time::timeout(Duration::from_millis(10), read);
            let read = drop_after(waits, read).await;
            assert!(!matches!(read, Some(Ok(_))), "the statement cannot have finished: {read:?}");
            assert_eq!(long_statement(&readers).await.expect("the connection is free again"), 100_000);
        }
    }
}
