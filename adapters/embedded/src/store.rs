//! Events in a SQLite file, and in sealed segments beside it.
//!
//! Constraints and invariants:
//! * One connection writes; rows, dead letters and the position change in one transaction that is synced to disk
//!   (`synchronous=FULL`) before success is reported.
//! * Readers never wait for the writer (write-ahead log), and no query runs longer than its limit.
//! * Expired events and dead letters return their disk space.
//! * SQLite finds candidates; where they are not exact, the domain decides what matches.
//! * SQLite has everything that must change together: positions, dead letters, the newest events, the claims of ids, the list of
//!   segments, and the rollups. A segment never changes.
//! * Rollups count exactly the stored events, rows and sealed ones alike.

mod dedup;
mod filter;
mod inspection;
mod merging;
mod readers;
mod reading;
mod removal;
mod rollups;
mod rows;
mod sealing;
mod segment_files;
mod segment_list;
mod stats;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::Uuid;
use domain::access::TenantId;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::event::LogEvent;
use domain::metadata::Metadata;
use domain::ports::{Append, Appended, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, PAGE_BYTES_MAX, Page, PageFilling, StoredEvent, TailPage, TailQuery};
use domain::rollup::{RollupSources, Rollups};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};
use storage::{Directory, Storage};

pub use inspection::list_segments;
use readers::{EVENTS_AHEAD, Enough, Readers, VALUES_AHEAD};
use rows::{dead_letter_count_statement, dead_letters_statement, insert_statement, stored_dead_letter};
pub use sealing::SealOptions;
use segment_files::SegmentFiles;
pub use segment_files::SegmentsStatus;
use writer::Writer;

/// Name of the directory of sealed segments, beside the file.
pub const SEGMENTS: &str = "segments";

/// Events per `INSERT`, largest first: every number of events is a sum of few of these, so few statements are ever
/// prepared.
const INSERT_EVENTS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];
/// Size above which the write-ahead log is written back to the file and truncated.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Connections that answer queries, and those that read single values.
const READERS: u32 = 4;
const COUNTERS: u32 = 2;
/// Maximum number of events, and of dead letters, that one call of `expire` removes.
const EXPIRE_EVENTS_MAX: i64 = 2_000;
/// Maximum number of file pages that one call of `expire` returns: more than the events that it removes usually occupy.
const EXPIRE_PAGES_MAX: u32 = 4_000;
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
    /// Reads rows of a single value, to count them.
    counters: Readers,
    dedup_window: Duration,
    /// One statement for each of [`INSERT_EVENTS`].
    inserts: Vec<String>,
    rollup_sources: Mutex<RollupSources>,
    segments: Arc<SegmentFiles>,
    seal: SealOptions,
    /// Held by a step of [`SqliteStore::seal`].
    step: tokio::sync::Mutex<()>,
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

    /// Opens the store in a file, with its segments in this storage.
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
        Ok(Self {
            writer: Writer::open(writing, path, WAL_BYTES_MAX).await?,
            counters: Readers::new(connect.clone(), COUNTERS, options.query_timeout, VALUES_AHEAD),
            readers: Readers::new(connect, READERS, options.query_timeout, EVENTS_AHEAD),
            dedup_window: options.dedup_window,
            inserts: INSERT_EVENTS.iter().map(|events| insert_statement(*events)).collect(),
            rollup_sources: Mutex::default(),
            segments: Arc::new(SegmentFiles::new(segments)),
            seal,
            step: tokio::sync::Mutex::default(),
        })
    }

    /// What operators are shown of the sealed segments.
    #[must_use]
    pub fn segments_status(&self) -> SegmentsStatus {
        self.segments.status()
    }

    fn window_micros(&self) -> i64 {
        i64::try_from(self.dedup_window.as_micros()).unwrap_or(i64::MAX)
    }

    async fn insert(
        &self,
        writer: &mut SqliteConnection,
        group_partition: &GroupPartition,
        events: &[&(u64, LogEvent<'_>)],
    ) -> Result<u64, sqlx::Error> {
        let window = self.window_micros();
        let mut stored = 0;
        let mut rest = events;
        for (size, statement) in INSERT_EVENTS.into_iter().zip(&self.inserts) {
            while let Some((part, others)) = rest.split_at_checked(size) {
                let mut insert = sqlx::query(AssertSqlSafe(statement.as_str()));
                for (offset, event) in part {
                    insert = insert
                        .bind(event.event_id.as_bytes().as_slice())
                        .bind(event.id_origin.is_client())
                        .bind(event.source.as_ref())
                        .bind(i64::from(event.level.number()))
                        .bind(event.message.as_ref())
                        .bind(event.timestamp.unix_micros())
                        .bind(event.received_at.unix_micros())
                        .bind(event.stack_trace.as_deref())
                        .bind(event.trace_id.as_ref().map(<[u8; 16]>::as_slice))
                        .bind(event.span_id.as_ref().map(<[u8; 8]>::as_slice))
                        .bind(event.metadata.as_ref().map(Metadata::as_json))
                        .bind(group_partition.topic.as_str())
                        .bind(i64::from(group_partition.partition))
                        .bind(offset.cast_signed())
                        .bind(event.id_origin.tenant().map_or_else(Vec::new, |tenant| tenant.as_bytes().to_vec()));
                }
                stored += insert.bind(window).bind(window).execute(&mut *writer).await?.rows_affected();
                rest = others;
            }
        }
        Ok(stored)
    }

    /// Adds the events of an append to the rollups, of which so many were new.
    async fn roll_up(
        &self,
        writer: &mut SqliteConnection,
        events: &[(u64, LogEvent<'_>)],
        stored: usize,
    ) -> Result<(), sqlx::Error> {
        let Some((_, first)) = events.first() else { return Ok(()) };
        let newest;
        let mut rollups = if stored == events.len() {
            Rollups::of(events.iter().map(|(_, event)| event))
        } else {
            newest = rollups::newest(&mut *writer, stored).await?;
            rollups::of_rows(&newest)?
        };
        let sources = &self.rollup_sources;
        rollups.limit_sources(first.received_at, &mut sources.lock().unwrap_or_else(PoisonError::into_inner));
        rollups::add(writer, &rollups).await
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

    async fn append_on(&self, writer: &mut SqliteConnection, append: &Append<'_>) -> Result<Appended, StoreError> {
        let group_partition = append.group_partition;
        let actual = position(&mut *writer, group_partition).await.map_err(store_error)?;
        if actual != append.expected {
            return Err(StoreError::Conflict { actual });
        }
        let repeats = self.sealed_repeats(&mut *writer, append.events).await?;
        let events = append.events.iter().enumerate().filter(|(at, _)| !repeats.contains(at)).map(|(_, event)| event);
        let mut stored = 0;
        for events in without_repeats(events) {
            stored += self.insert(&mut *writer, group_partition, &events).await.map_err(store_error)?;
        }
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        self.roll_up(&mut *writer, append.events, stored).await.map_err(store_error)?;
        for letter in append.dead_letters {
            sqlx::query(
                "INSERT OR REPLACE INTO dead_letters (consumer_group, topic, partition, \"offset\", record_index, key, value, \
                 trace_parent, reason, attempts, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
                 WHERE NOT EXISTS (SELECT 1 FROM dead_letters WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3 \
                 AND \"offset\" = ?4 AND record_index = ?5 AND key = ?6 AND value = ?7)",
            )
            .bind(group_partition.group.as_str())
            .bind(group_partition.topic.as_str())
            .bind(i64::from(group_partition.partition))
            .bind(letter.offset.cast_signed())
            .bind(letter.record_index)
            .bind(letter.key)
            .bind(letter.value)
            .bind(letter.trace_parent.as_ref().map(TraceParent::as_bytes))
            .bind(letter.reason.as_str())
            .bind(letter.attempts)
            .bind(letter.at.unix_micros())
            .execute(&mut *writer)
            .await
            .map_err(store_error)?;
        }
        sqlx::query(
            "INSERT INTO positions (consumer_group, topic, partition, next) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET next = excluded.next",
        )
        .bind(group_partition.group.as_str())
        .bind(group_partition.topic.as_str())
        .bind(i64::from(group_partition.partition))
        .bind(append.next.cast_signed())
        .execute(&mut *writer)
        .await
        .map_err(store_error)?;
        Ok(Appended {
            stored,
            deduplicated: append.events.len().saturating_sub(stored),
            dead_lettered: append.dead_letters.len(),
        })
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
        self.writer.write(async |writer| self.append_on(writer, append).await).await
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

/// Splits events, in order, into parts without repeated ids: an `INSERT` compares with the rows in the table and not with
/// its own, and whether an event repeats another depends on whether that one was kept. Almost always there is one part.
fn without_repeats<'a, 'b: 'a>(
    events: impl Iterator<Item = &'a (u64, LogEvent<'b>)>,
) -> Vec<Vec<&'a (u64, LogEvent<'b>)>> {
    let mut parts: Vec<Vec<_>> = Vec::new();
    let (_, events_max) = events.size_hint();
    let mut seen: HashMap<(Uuid, Option<TenantId>), Vec<Timestamp>> =
        HashMap::with_capacity(events_max.unwrap_or_default());
    for event in events {
        let times = seen.entry((event.1.event_id, event.1.id_origin.tenant())).or_default();
        // An event received at exactly the time of an earlier one is a repeat as well: of that event, or of the one that
        // it repeated.
        if times.contains(&event.1.received_at) {
            continue;
        }
        match parts.get_mut(times.len()) {
            Some(part) => part.push(event),
            None => parts.push(vec![event]),
        }
        times.push(event.1.received_at);
    }
    parts
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
