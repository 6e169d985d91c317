//! The single connection that writes.
//!
//! Constraints and invariants:
//! * Everything is written through [`Writer::write`], in one transaction, completely or not at all. [`Writer::probe`] does
//!   the same work and rolls it back.
//! * A connection is used again only if its last transaction was committed, or was rolled back because its content was
//!   refused. On a full or failing disk, and when memory runs out, SQLite rolls back by itself. The driver does not
//!   notice: its own `ROLLBACK` fails, and it refuses every later `BEGIN`. A write that its caller dropped leaves the
//!   connection equally unreliable.
//! * The write-ahead log is bounded. SQLite writes it back by itself only up to the oldest reader, and while reads
//!   overlap there always is one. Beyond the limit the writer waits for the active readers, each of which ends within its
//!   time limit.
//! * The old connection stays open until the new one is. Closing the last connection removes the write-ahead log and its
//!   index, and on a full disk no reader could create them again.

use std::path::{Path, PathBuf};

use domain::ports::StoreError;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::Mutex;

use super::{closed, store_error};

/// Writes, one transaction after another.
pub struct Writer {
    connect: SqliteConnectOptions,
    /// The write-ahead log.
    wal: PathBuf,
    wal_bytes_max: u64,
    slot: Mutex<Slot>,
}

/// How a transaction ends whose work succeeded.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Commit,
    RollBack,
}

struct Slot {
    /// `None` once the store is closed.
    connection: Option<SqliteConnection>,
    /// Whether the connection may be used again.
    usable: bool,
    /// Size above which the write-ahead log is truncated.
    cut_at_bytes: u64,
}

impl Writer {
    /// Opens the file at `path`, which `connect` names, or creates it, and migrates its tables.
    pub async fn open(connect: SqliteConnectOptions, path: &Path, wal_bytes_max: u64) -> Result<Self, StoreError> {
        // Only for a new file: on an existing one this would have no effect, and write to it.
        let first =
            if path.exists() { connect.clone() } else { connect.clone().auto_vacuum(SqliteAutoVacuum::Incremental) };
        let mut connection = SqliteConnection::connect_with(&first).await.map_err(store_error)?;
        sqlx::migrate!().run(&mut connection).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let slot = Slot { connection: Some(connection), usable: true, cut_at_bytes: wal_bytes_max };
        Ok(Self { connect, wal: wal.into(), wal_bytes_max, slot: Mutex::new(slot) })
    }

    /// Runs `work` in a transaction: commits if it succeeds, rolls back otherwise. The future may be dropped at any time;
    /// the write then happened completely or not at all.
    ///
    /// # Errors
    /// The error of `work`, or [`StoreError::Unavailable`] if the connection cannot be opened or the transaction fails;
    /// nothing was written.
    pub async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(Ending::Commit, work).await
    }

    /// Runs `work` in a transaction and rolls it back, whether it succeeds or not.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn probe<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(Ending::RollBack, work).await
    }

    async fn run<T>(
        &self,
        ending: Ending,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.slot.lock().await;
        let Slot { connection, usable, cut_at_bytes } = &mut *slot;
        let connection = connection.as_mut().ok_or_else(closed)?;
        if !*usable {
            let new = SqliteConnection::connect_with(&self.connect).await.map_err(store_error)?;
            close(std::mem::replace(connection, new)).await;
        }
        // Remains false if this future is dropped below.
        *usable = false;
        let outcome = transact(connection, ending, work).await;
        if outcome.is_ok() && self.wal_bytes() > *cut_at_bytes {
            // Waits for readers for as long as the connection waits for locks.
            if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await {
                tracing::warn!(%error, "cannot write back the write-ahead log of the store");
            }
            // If a reader took too long, do not retry on the very next write.
            *cut_at_bytes = self.wal_bytes().saturating_add(self.wal_bytes_max);
        }
        *usable = outcome.is_ok();
        outcome.unwrap_or_else(Err)
    }

    fn wal_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |metadata| metadata.len())
    }

    /// Waits for the write in progress and closes the connection.
    pub async fn close(&self) {
        if let Some(connection) = self.slot.lock().await.connection.take() {
            close(connection).await;
        }
    }
}

/// Runs work in a transaction. The outer error means that the connection must not be used again: the transaction neither
/// committed nor was refused for its content and rolled back.
async fn transact<T>(
    connection: &mut SqliteConnection,
    ending: Ending,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    match work(&mut transaction).await {
        Ok(value) => {
            let ended = match ending {
                Ending::Commit => transaction.commit().await,
                Ending::RollBack => transaction.rollback().await,
            };
            ended.map(|()| Ok(value)).map_err(store_error)
        }
        Err(error) => match (transaction.rollback().await, &error) {
            (Ok(()), StoreError::Conflict { .. } | StoreError::Rejected(_)) => Ok(Err(error)),
            _ => Err(error),
        },
    }
}

async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "a connection to the store did not close cleanly");
    }
}

#[cfg(test)]
mod tests {
    use contracts::store::drop_after;
    use sqlx::{AssertSqlSafe, Executor};

    use super::*;

    /// Adds the two rows of a number.
    async fn add(writer: &mut SqliteConnection, n: u64, bytes: usize) -> Result<(), StoreError> {
        for half in ["a", "b"] {
            let insert = format!(
                "INSERT INTO dead_letters (consumer_group, topic, partition, \"offset\", key, value, reason, at) \
                 VALUES ('g', '{half}', 0, {n}, x'', zeroblob({bytes}), '', 0)"
            );
            writer.execute(AssertSqlSafe(insert)).await.map_err(store_error)?;
        }
        Ok(())
    }

    async fn count(writer: &Writer) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar("SELECT count(*) FROM dead_letters");
        writer.write(async |writer| count.fetch_one(writer).await.map_err(store_error)).await
    }

    async fn open(directory: &tempfile::TempDir) -> Writer {
        let path = directory.path().join("file");
        let connect = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        Writer::open(connect, &path, u64::MAX).await.expect("the file opens")
    }

    /// Each reader begins before the previous one ends, so SQLite alone would never truncate the log.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_write_ahead_log_is_bounded_while_reads_overlap() {
        const WAL_BYTES_MAX: u64 = 1_000_000;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(contracts::DEADLINE)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let writer = Writer::open(connect.clone(), &path, WAL_BYTES_MAX).await.expect("the file opens");
        let begin = async move || {
            let mut reader = SqliteConnection::connect_with(&connect).await.expect("a reader");
            reader.execute("BEGIN").await.expect("it begins");
            reader.execute("SELECT count(*) FROM dead_letters").await.expect("it reads");
            reader
        };
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut reader = begin().await;
        let reading = tokio::spawn(async move {
            while !*stopped.borrow() {
                let next = begin().await;
                drop(std::mem::replace(&mut reader, next));
            }
        });
        let mut largest = 0;
        for round in 0..40 {
            writer.write(async |writer| add(writer, round, 100_000).await).await.expect("written");
            largest = largest.max(writer.wal_bytes());
        }
        stop.send_replace(true);
        reading.await.expect("the readers end");
        // 8 MB were written. On a busy machine the readers may keep the log from being truncated once or twice.
        assert!(largest < 4 * WAL_BYTES_MAX, "{largest}");
    }

    /// Reaching SQLite's own size limit gives the error of a full disk, SQLITE_FULL.
    #[tokio::test]
    async fn a_write_without_room_leaves_nothing_and_the_next_one_succeeds() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        for round in 0..3 {
            writer
                .write(async |writer| writer.execute("PRAGMA max_page_count = 1").await.map(drop).map_err(store_error))
                .await
                .expect("the limit is that of this connection alone");
            let full = writer.write(async |writer| add(writer, round, 1_000_000).await).await;
            assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
            assert_eq!(count(&writer).await.expect("a new connection"), 2 * i64::try_from(round).expect("small"));
            writer.write(async |writer| add(writer, round, 1_000_000).await).await.expect("there is room");
        }
    }

    /// `OR ROLLBACK` rolls back without the driver, as a failing disk does.
    #[tokio::test]
    async fn a_transaction_that_sqlite_rolled_back_does_not_block_the_next_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        writer.write(async |writer| add(writer, 0, 0).await).await.expect("there is room");
        for _ in 0..3 {
            let refused = writer
                .write(async |writer| {
                    add(writer, 1, 0).await?;
                    let again = "INSERT OR ROLLBACK INTO dead_letters SELECT * FROM dead_letters LIMIT 1";
                    writer.execute(again).await.map(drop).map_err(store_error)
                })
                .await;
            assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
            assert_eq!(count(&writer).await.expect("a new connection"), 2);
        }
    }

    async fn cache_size(writer: &Writer) -> i64 {
        let size = sqlx::query_scalar("PRAGMA cache_size");
        let size = writer.write(async |writer| size.fetch_one(writer).await.map_err(store_error)).await;
        size.expect("the pragma has a value")
    }

    /// A setting of the connection shows whether it is still the same one.
    async fn mark(writer: &Writer) {
        let set = async |writer: &mut SqliteConnection| {
            writer.execute("PRAGMA cache_size = 77").await.map(drop).map_err(store_error)
        };
        writer.write(set).await.expect("it is set");
        assert_eq!(cache_size(writer).await, 77);
    }

    #[tokio::test]
    async fn a_conflict_keeps_the_connection_and_other_failures_do_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        let conflict = || StoreError::Conflict { actual: None };
        let unavailable = || StoreError::Unavailable("away".into());
        for (failure, kept) in [(conflict as fn() -> StoreError, true), (unavailable, false)] {
            mark(&writer).await;
            let failed = writer
                .write(async |writer| {
                    add(writer, 0, 0).await?;
                    Err::<(), _>(failure())
                })
                .await;
            assert!(failed.is_err());
            assert_eq!(count(&writer).await.expect("it is rolled back"), 0);
            assert_eq!(cache_size(&writer).await == 77, kept);
        }
    }

    #[tokio::test]
    async fn a_write_dropped_at_any_await_is_atomic_and_the_next_one_has_a_new_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        let mut rows = 0;
        for waits in 0.. {
            mark(&writer).await;
            let dropped = drop_after(waits, writer.write(async |writer| add(writer, waits as u64, 0).await)).await;
            let after = count(&writer).await.expect("the database is not locked");
            assert!(after == rows || after == rows + 2, "after {waits} waits: {after} rows after {rows}");
            rows = after;
            if let Some(outcome) = dropped {
                outcome.expect("the write succeeds");
                return;
            }
            assert_ne!(cache_size(&writer).await, 77, "after {waits} waits");
        }
    }

    #[tokio::test]
    async fn a_probe_leaves_nothing_and_keeps_the_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        mark(&writer).await;
        writer.probe(async |writer| add(writer, 0, 0).await).await.expect("the work succeeds");
        assert_eq!(count(&writer).await.expect("it is rolled back"), 0);
        assert_eq!(cache_size(&writer).await, 77);
    }

    #[tokio::test]
    async fn a_closed_writer_stays_closed_also_after_a_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = open(&directory).await;
        let failed = writer.write(async |_| Err::<(), _>(StoreError::Unavailable("away".into()))).await;
        assert!(failed.is_err());
        writer.close().await;
        for _ in 0..2 {
            assert!(matches!(count(&writer).await, Err(StoreError::Unavailable(_))));
            writer.close().await;
        }
        assert!(!directory.path().join("file-wal").exists(), "the last connection removes the log");
    }
}
