//! Events in a SQLite file, and in sealed segments beside it.
//!
//! Constraints and invariants:
//! * One connection writes; events, dead letters and the position change in one transaction that is synced to disk
//!   (`synchronous=FULL`) before success is reported.
//! * Readers never wait for the writer (write-ahead log), and no query runs longer than its limit.
//! * Expired events and dead letters return their disk space.
//! * The rules of the domain decide which events a search finds, in chunks as in segments.
//! * SQLite has everything that must change together: positions, dead letters, the newest events, the claims of ids, the list of
//!   segments, and the rollups. A segment never changes.
//! * Rollups count exactly the stored events, in chunks and segments alike.

mod append;
mod dedup;
mod forgetting;
mod hot;
mod inspection;
mod joining;
mod merging;
mod readers;
mod reading;
mod removal;
mod rollups;
mod rows;
mod sealing;
mod segment_files;
mod segment_list;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::ports::{Append, Appended, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, PAGE_BYTES_MAX, Page, PageFilling, StoredEvent, TailPage, TailQuery};
use domain::rollup::RollupSources;
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use storage::{Directory, Storage};
use tokio::sync::Notify;
use tokio::time::timeout;

pub use forgetting::forget_segment;
use hot::Hot;
pub use inspection::list_segments;
use readers::{Enough, LARGE_ROWS_AHEAD, Readers, SMALL_ROWS_AHEAD};
use rows::{dead_letter_count_statement, dead_letters_statement, stored_dead_letter};
pub use sealing::SealOptions;
use segment_files::SegmentFiles;
pub use segment_files::SegmentsStatus;
use writer::Writer;

/// Name of the directory of sealed segments, beside the file.
pub const SEGMENTS: &str = "segments";

/// Size above which the write-ahead log is written back to the file and truncated.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Connections that answer queries, and those that count.
const READERS: u32 = 4;
const COUNTERS: u32 = 2;
/// How long an append waits for room in the hot part.
const SEALING_TIME_MAX: Duration = Duration::from_secs(30);
/// Maximum number of events that one call of `tail` examines.
const TAIL_EVENTS_MAX: u64 = 2_000;

/// Settings of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Minimum distance between the receipt times of two events with the same id for both to be kept.
    pub dedup_window: Duration,
    /// Maximum duration of a query.
    pub query_timeout: Duration,
}

/// The store.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    /// Reads rollups, and counts.
    counters: Readers,
    dedup_window: Duration,
    hot: Arc<Hot>,
    rollup_sources: Mutex<RollupSources>,
    segments: Arc<SegmentFiles>,
    seal: SealOptions,
    /// Held by a step of [`SqliteStore::seal`].
    step: tokio::sync::Mutex<()>,
    /// Notified when events were sealed.
    sealed: Notify,
}

impl SqliteStore {
    /// Opens the store in a file, with its segments in the directory [`SEGMENTS`] beside it; creates both if necessary.
    ///
    /// # Errors
    /// The file cannot be opened or migrated, or the directory cannot be created.
    pub async fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let directory = path.with_file_name(SEGMENTS);
        let directory = Directory::open(&directory).map_err(|error| StoreError::Unavailable(error.into()))?;
        Self::over(path, options, SealOptions::default(), Arc::new(directory)).await
    }

    /// Opens the store in a file, with its segments in this storage. Events of an earlier version are moved into chunks, and
    /// sealed, first.
    ///
    /// # Errors
    /// The file cannot be opened or migrated.
    pub async fn over(
        path: &Path,
        options: StoreOptions,
        seal: SealOptions,
        segments: Arc<dyn Storage>,
    ) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            // Statements are of no use to an operator.
            .disable_statement_logging();
        let writing = connect.clone().pragma("wal_autocheckpoint", "4000").pragma("cache_size", "-16384");
        let writer = Writer::open(writing, path, WAL_BYTES_MAX).await?;
        let store = Self {
            writer,
            counters: Readers::new(connect.clone(), COUNTERS, options.query_timeout, SMALL_ROWS_AHEAD),
            readers: Readers::new(connect, READERS, options.query_timeout, LARGE_ROWS_AHEAD),
            dedup_window: options.dedup_window,
            hot: Arc::new(Hot::new()),
            rollup_sources: Mutex::default(),
            segments: Arc::new(SegmentFiles::new(segments)),
            seal,
            step: tokio::sync::Mutex::default(),
            sealed: Notify::new(),
        };
        store.move_earlier_rows().await?;
        store.writer.write(async |writer| store.hot.seen_by_writer(writer, |_| ()).await).await?;
        Ok(store)
    }

    /// What operators are shown of the sealed segments.
    #[must_use]
    pub fn segments_status(&self) -> SegmentsStatus {
        self.segments.status()
    }

    fn window_micros(&self) -> i64 {
        i64::try_from(self.dedup_window.as_micros()).unwrap_or(i64::MAX)
    }

    /// Waits until the hot part may grow.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if nothing is sealed for [`SEALING_TIME_MAX`].
    async fn until_hot_part_has_room(&self) -> Result<(), StoreError> {
        let max = self.seal.hot_events_max;
        while self.seal.enabled && self.hot.events() > max {
            let sealed = self.sealed.notified();
            // It may have been sealed before the line above.
            if self.hot.events() > max && timeout(SEALING_TIME_MAX, sealed).await.is_err() {
                let why = format!(
                    "more than {max} events wait to be sealed, and none was for {SEALING_TIME_MAX:?}: see the log"
                );
                return Err(StoreError::Unavailable(why.into()));
            }
        }
        Ok(())
    }

    /// Sets a time on each of these dead letters, all or none.
    async fn mark(&self, update: &'static str, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(async |writer| {
                for id in ids {
                    let update = sqlx::query(update).bind(at.unix_micros()).bind(id.cast_signed());
                    update.execute(&mut *writer).await.map_err(store_error)?;
                }
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl LogStore for SqliteStore {
    async fn close(&self) {
        self.readers.close().await;
        self.counters.close().await;
        self.writer.close().await;
    }

    async fn position(&self, group_partition: &GroupPartition) -> Result<Option<u64>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        position(&mut reader, group_partition).await.map_err(store_error)
    }

    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError> {
        self.until_hot_part_has_room().await?;
        let (appended, version) = self.writer.write(async |writer| self.append_on(writer, append).await).await?;
        self.hot.committed(version);
        Ok(appended)
    }

    async fn probe<'a>(&self, append: &Append<'a>) -> Result<(), StoreError> {
        self.writer.probe(async |writer| self.append_on(writer, append).await.map(drop)).await
    }

    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        self.page(query).await
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        self.counts(query).await
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        self.tail_page(query).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError> {
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let select = dead_letters_statement(&query.filter, query.after, page.items_wanted());
        let take = |row: &SqliteRow| {
            let letter = stored_dead_letter(row)?;
            Ok(Enough(page.take(letter.bytes(), letter)))
        };
        self.readers.read(select, take).await?;
        Ok(page.page)
    }

    async fn count_dead_letters(&self, filter: &DeadLetterFilter, max: u64) -> Result<u64, StoreError> {
        let mut letters = 0;
        let take = |row: &SqliteRow| {
            letters = row.try_get::<i64, _>(0)?.cast_unsigned();
            Ok(Enough(true))
        };
        self.readers.read(dead_letter_count_statement(filter, max), take).await?;
        Ok(letters)
    }

    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET redriven_at = ? WHERE id = ?", ids, at).await
    }

    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET copied_at = ? WHERE id = ? AND copied_at IS NULL", ids, at).await
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.event(event_id).await
    }

    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        self.remove_before(oldest).await
    }
}

async fn position(
    connection: &mut SqliteConnection,
    group_partition: &GroupPartition,
) -> Result<Option<u64>, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT next FROM positions WHERE consumer_group = ? AND topic = ? AND partition = ?")
            .bind(group_partition.group.as_str())
            .bind(group_partition.topic.as_str())
            .bind(i64::from(group_partition.partition))
            .fetch_optional(connection)
            .await?;
    Ok(next.map(i64::cast_unsigned))
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// How to handle a SQLite error, by its primary result code (sqlite.org/rescode.html).
fn store_error(error: sqlx::Error) -> StoreError {
    const INTERRUPT: i32 = 9;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(INTERRUPT) => StoreError::TooBroad,
        Some(TOO_BIG | CONSTRAINT | MISMATCH) => StoreError::Rejected(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}
