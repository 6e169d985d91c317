//! Events in a SQLite file.
//!
//! Constraints and invariants:
//! * One connection writes; rows, dead letters and the position change in one transaction that is synced to disk
//!   (`synchronous=FULL`) before success is reported.
//! * Readers never wait for the writer (write-ahead log), and no query runs longer than its limit.
//! * Expired events and dead letters return their disk space.
//! * SQLite finds candidates; where they are not exact, the domain decides what matches.
//! * Rollups count exactly the stored events.

mod filter;
mod readers;
mod rollups;
mod rows;
mod stats;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::Uuid;
use domain::access::TenantId;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::event::LogEvent;
use domain::metadata::Metadata;
use domain::ports::{Append, Appended, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, PAGE_BYTES_MAX, Page, PageFilling, StoredEvent, TAIL_BYTES_MAX, TailPage, TailQuery};
use domain::rollup::{RollupSources, Rollups};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, QueryBuilder, Row, Sqlite, SqliteConnection};

use filter::push_candidates;
use readers::{EVENTS_AHEAD, Enough, Readers, VALUES_AHEAD};
use rows::{
    COLUMNS, dead_letter_count_statement, dead_letters_statement, insert_statement, select_statement,
    stored_dead_letter, stored_event,
};
use writer::Writer;

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
}

impl SqliteStore {
    /// Opens the store in a file; creates it if necessary.
    ///
    /// # Errors
    /// The file cannot be opened or migrated.
    pub async fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
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
        })
    }

    async fn insert(
        &self,
        writer: &mut SqliteConnection,
        group_partition: &GroupPartition,
        events: &[&(u64, LogEvent<'_>)],
    ) -> Result<u64, sqlx::Error> {
        let window = i64::try_from(self.dedup_window.as_micros()).unwrap_or(i64::MAX);
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
                stored += insert.bind(window).execute(&mut *writer).await?.rows_affected();
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
        let mut stored = 0;
        for events in without_repeats(append.events) {
            stored += self.insert(&mut *writer, group_partition, &events).await.map_err(store_error)?;
        }
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        self.roll_up(&mut *writer, append.events, stored).await.map_err(store_error)?;
        for letter in append.dead_letters {
            sqlx::query(
                "INSERT INTO dead_letters (consumer_group, topic, partition, \"offset\", record_index, key, value, \
                 trace_parent, reason, attempts, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
        let candidates = query.filter.candidates();
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let select = select_statement(query, &candidates, page.items_wanted());
        let take = |row: &SqliteRow| {
            let event = stored_event(row, 0)?;
            let matches = candidates.exact || query.filter.matches(&event.event);
            Ok(Enough(matches && page.take(event.bytes(), event)))
        };
        match self.readers.read_within(query.time_max, select, take).await {
            // Time was up only for finding out whether there are more.
            Err(StoreError::TooBroad) if page.is_full() => page.page.more = true,
            result => result?,
        }
        Ok(page.page)
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        stats::counts(&self.readers, &self.counters, query).await
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let end: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
            .fetch_one(&mut *reader)
            .await
            .map_err(store_error)?;
        let end = end.cast_unsigned();
        let Some(after) = query.after.filter(|after| *after < end) else {
            return Ok(TailPage { events: Vec::new(), scanned: end, end });
        };
        drop(reader);

        let until = end.min(after.saturating_add(TAIL_EVENTS_MAX));
        let candidates = query.filter.candidates();
        let mut page = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        let take = |row: &SqliteRow| {
            let sequence = row.try_get::<i64, _>(0)?.cast_unsigned();
            let event = stored_event(row, 1)?;
            let matches = candidates.exact || query.filter.matches(&event.event);
            Ok(Enough(matches && page.take(event.bytes(), (sequence, event))))
        };
        // The range of ids makes it fast, whatever the filter.
        let mut select = QueryBuilder::new(format!("SELECT id, {COLUMNS} FROM events NOT INDEXED WHERE id > "));
        select.push_bind(after.cast_signed()).push(" AND id <= ").push_bind(until.cast_signed());
        push_candidates(&mut select, &candidates);
        select.push(" ORDER BY id");
        self.readers.read(select, take).await?;
        let Page { items: events, more } = page.page;
        let last = events.last().filter(|_| more).map_or(until, |(sequence, _)| *sequence);
        Ok(TailPage { scanned: last, events, end })
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
        let mut reader = self.readers.acquire().await?;
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        select.push_bind(event_id.as_bytes().as_slice()).push(" ORDER BY received_at DESC LIMIT 1");
        let row = select.build().fetch_optional(&mut *reader).await.map_err(store_error)?;
        row.as_ref().map(|row| stored_event(row, 0)).transpose().map_err(store_error)
    }

    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        self.writer
            .write(async |writer| {
                let expired = delete_expired(&mut *writer, oldest).await.map_err(store_error)?;
                let letters = "DELETE FROM dead_letters WHERE id IN \
                               (SELECT id FROM dead_letters WHERE at < ? ORDER BY at LIMIT ?)";
                let letters = sqlx::query(letters).bind(oldest.unix_micros()).bind(EXPIRE_EVENTS_MAX);
                let removed = expired + letters.execute(&mut *writer).await.map_err(store_error)?.rows_affected();
                let give_back = format!("PRAGMA incremental_vacuum({EXPIRE_PAGES_MAX})");
                sqlx::query(AssertSqlSafe(give_back)).execute(&mut *writer).await.map_err(store_error)?;
                Ok(removed)
            })
            .await
    }
}

/// Removes at most [`EXPIRE_EVENTS_MAX`] events that were received before a time, and their counts. Returns how many.
async fn delete_expired(writer: &mut SqliteConnection, oldest: Timestamp) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received_at < ? ORDER BY received_at LIMIT ?) \
                  RETURNING timestamp, level, source";
    let delete = sqlx::query(delete).bind(oldest.unix_micros()).bind(EXPIRE_EVENTS_MAX);
    let expired = delete.fetch_all(&mut *writer).await?;
    rollups::subtract(writer, &rollups::of_rows(&expired)?).await?;
    Ok(expired.len() as u64)
}

/// Splits events, in order, into parts without repeated ids: an `INSERT` compares with the rows in the table and not with
/// its own, and whether an event repeats another depends on whether that one was kept. Almost always there is one part.
fn without_repeats<'a, 'b>(events: &'a [(u64, LogEvent<'b>)]) -> Vec<Vec<&'a (u64, LogEvent<'b>)>> {
    let mut parts: Vec<Vec<_>> = Vec::new();
    let mut seen: HashMap<(Uuid, Option<TenantId>), Vec<Timestamp>> = HashMap::with_capacity(events.len());
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
