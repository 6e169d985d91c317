//! Events in a SQLite file.
//!
//! Constraints and invariants:
//! * One writing connection; rows, dead letters and the position change in one transaction that is synced to
//!   disk (`synchronous=FULL`) before it is reported.
//! * Readers never wait for the writer (write-ahead log), and no query runs longer than its limit.
//! * SQLite folds case in ASCII only, so it merely narrows down a text search; the rule is the domain's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::{DeadLetterQuery, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent};
use domain::folding::fold;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::{Append, Appended, Feed, LogStore, StoreError};
use domain::query::{LevelCount, LogFilter, LogQuery, Page, PageFilling, StatsQuery, StoredEvent, TailPage, TailQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::Mutex;

/// Events of one `INSERT`, largest first: every number of events is a sum of few of these, so few statements
/// are ever prepared.
const INSERT_EVENTS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];
/// Connections that answer queries.
const READERS: u32 = 4;
/// Events, and dead letters, that one call of `expire` removes.
const EXPIRE_EVENTS_MAX: i64 = 2_000;
/// Events that one call of `tail` looks at.
const TAIL_EVENTS_MAX: u64 = 2_000;
/// Instructions of SQLite's virtual machine between two looks at the clock.
const CLOCK_EVERY: i32 = 10_000;

const COLUMNS: &str = "event_id, client_id, source, level, message, timestamp, received_at, stack_trace, trace_id, \
                       span_id, metadata, topic, partition, \"offset\"";

/// How the store is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How far apart two events with one id must have been received to be two events.
    pub dedup_window: Duration,
    /// Longest time a query may take.
    pub query_timeout: Duration,
}

/// The store.
pub struct SqliteStore {
    /// `None` once the store is closed.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    options: StoreOptions,
    /// One statement for each of [`INSERT_EVENTS`].
    inserts: Vec<String>,
}

impl SqliteStore {
    /// Opens the store in a file, or makes it.
    ///
    /// # Errors
    /// The file cannot be opened or brought up to date.
    pub async fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let writing = connect.clone().pragma("wal_autocheckpoint", "4000").pragma("cache_size", "-16384");
        let mut writer = SqliteConnection::connect_with(&writing).await.map_err(store_error)?;
        sqlx::migrate!().run(&mut writer).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .acquire_timeout(options.query_timeout.max(Duration::from_secs(1)))
            .connect_lazy_with(connect.pragma("query_only", "on"));
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            readers,
            options,
            inserts: INSERT_EVENTS.iter().map(|events| insert_statement(*events)).collect(),
        })
    }

    async fn insert(
        &self,
        writer: &mut SqliteConnection,
        feed: &Feed,
        events: &[&(u64, LogEvent<'_>)],
    ) -> Result<u64, sqlx::Error> {
        let window = i64::try_from(self.options.dedup_window.as_micros()).unwrap_or(i64::MAX);
        let mut stored = 0;
        let mut rest = events;
        for (size, statement) in INSERT_EVENTS.into_iter().zip(&self.inserts) {
            while let Some((part, others)) = rest.split_at_checked(size) {
                let mut insert = sqlx::query(AssertSqlSafe(statement.as_str()));
                for (offset, event) in part {
                    insert = insert
                        .bind(event.event_id.as_bytes().as_slice())
                        .bind(event.id_origin == IdOrigin::Client)
                        .bind(event.source.as_ref())
                        .bind(i64::from(event.level.number()))
                        .bind(event.message.as_ref())
                        .bind(event.timestamp.unix_micros())
                        .bind(event.received_at.unix_micros())
                        .bind(event.stack_trace.as_deref())
                        .bind(event.trace_id.as_ref().map(<[u8; 16]>::as_slice))
                        .bind(event.span_id.as_ref().map(<[u8; 8]>::as_slice))
                        .bind(event.metadata.as_ref().map(Metadata::as_json))
                        .bind(feed.topic.as_str())
                        .bind(i64::from(feed.partition))
                        .bind(offset.cast_signed());
                }
                stored += insert.bind(window).execute(&mut *writer).await?.rows_affected();
                rest = others;
            }
        }
        Ok(stored)
    }

    /// Notes a time in each of these dead letters, all or none.
    async fn mark(&self, update: &'static str, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or_else(closed)?;
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        for id in ids {
            let update = sqlx::query(update).bind(at.unix_micros()).bind(id.cast_signed());
            update.execute(&mut *transaction).await.map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)
    }

    /// Reads what a statement selects, until `take` has enough or the time for queries is over.
    async fn read(
        &self,
        mut select: QueryBuilder<Sqlite>,
        mut take: impl FnMut(&SqliteRow) -> Result<Enough, sqlx::Error> + Send,
    ) -> Result<(), StoreError> {
        let mut reader = self.readers.acquire().await.map_err(store_error)?;
        let deadline = Instant::now() + self.options.query_timeout;
        // Stops the statement itself: one that was merely given up, or has given enough, would go on using the disk
        // and the connection.
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let mut handle = reader.lock_handle().await.map_err(store_error)?;
        handle.set_progress_handler(CLOCK_EVERY, move || still_wanted.strong_count() > 0 && Instant::now() < deadline);
        drop(handle);

        let mut rows = select.build().fetch(&mut *reader);
        let result = loop {
            let next = std::future::poll_fn(|context| rows.as_mut().poll_next(context)).await;
            match next.map(|row| row.and_then(|row| take(&row))) {
                Some(Ok(Enough(false))) if Instant::now() >= deadline => break Err(StoreError::TooBroad),
                Some(Ok(Enough(false))) => {}
                Some(Ok(Enough(true))) | None => break Ok(()),
                Some(Err(error)) => break Err(store_error(error)),
            }
        };
        drop(rows);
        drop(wanted);
        reader.lock_handle().await.map_err(store_error)?.remove_progress_handler();
        result
    }
}

/// Whether a reader needs no more rows.
struct Enough(bool);

#[async_trait]
impl LogStore for SqliteStore {
    async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.close().await
        {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    }

    async fn position(&self, feed: &Feed) -> Result<Option<u64>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(store_error)?;
        position(&mut reader, feed).await.map_err(store_error)
    }

    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError> {
        let feed = append.feed;
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or_else(closed)?;
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        let actual = position(&mut transaction, feed).await.map_err(store_error)?;
        if actual != append.expected {
            return Err(StoreError::Conflict { actual });
        }
        let mut stored = 0;
        for events in without_repeats(append.events) {
            stored += self.insert(&mut transaction, feed, &events).await.map_err(store_error)?;
        }
        for letter in append.dead_letters {
            sqlx::query(
                "INSERT INTO dead_letters (consumer_group, topic, partition, \"offset\", key, value, reason, \
                 attempts, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(feed.group.as_str())
            .bind(feed.topic.as_str())
            .bind(i64::from(feed.partition))
            .bind(letter.offset.cast_signed())
            .bind(letter.key)
            .bind(letter.value)
            .bind(letter.reason.as_str())
            .bind(letter.attempts)
            .bind(letter.at.unix_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        }
        sqlx::query(
            "INSERT INTO positions (consumer_group, topic, partition, next) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET next = excluded.next",
        )
        .bind(feed.group.as_str())
        .bind(feed.topic.as_str())
        .bind(i64::from(feed.partition))
        .bind(append.next.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;

        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        Ok(Appended {
            stored,
            deduplicated: append.events.len().saturating_sub(stored),
            dead_lettered: append.dead_letters.len(),
        })
    }

    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        let text = query.filter.text.as_deref().map(fold);
        let mut page = PageFilling::new(query.limit);
        let take = |row: &SqliteRow| {
            let event = Some(stored_event(row, 0)?).filter(|event| has_text(event, text.as_deref()));
            Ok(event.map_or(Enough(false), |event| Enough(page.take(event.bytes(), event))))
        };
        match self.read(select_statement(query, text.as_deref()), take).await {
            // There was time for everything but to find out whether there is more.
            Err(StoreError::TooBroad) if page.is_full() => page.page.more = true,
            result => result?,
        }
        Ok(page.page)
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Vec<LevelCount>, StoreError> {
        let interval = i64::try_from(query.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        // Counted from the start of the first bucket, which may lie before all time: SQLite's division rounds towards
        // zero.
        let first = query.from.unix_micros().div_euclid(interval).saturating_mul(interval);
        let mut select = QueryBuilder::new("SELECT (timestamp - ");
        select.push_bind(first).push(") / ").push_bind(interval).push(" AS bucket, level, count(*) FROM events");
        select.push(" WHERE timestamp >= ").push_bind(query.from.unix_micros());
        select.push(" AND timestamp < ").push_bind(query.to.unix_micros()).push(" GROUP BY 1, 2 ORDER BY 1, 2");
        let mut counts = Vec::new();
        let take = |row: &SqliteRow| {
            let bucket = Timestamp::from_unix_micros(first + row.try_get::<i64, _>(0)? * interval);
            let level = Level::from_number(row.try_get(1)?).ok_or(domain::level::UnknownLevel);
            let events = row.try_get::<i64, _>(2)?.cast_unsigned();
            counts.push(LevelCount {
                bucket: bucket.unwrap_or(Timestamp::MIN),
                level: level.map_err(decode_error)?,
                events,
            });
            Ok(Enough(false))
        };
        self.read(select, take).await?;
        Ok(counts)
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(store_error)?;
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
        let text = query.filter.text.as_deref().map(fold);
        let mut page = PageFilling::new(query.limit);
        let take = |row: &SqliteRow| {
            let sequence = row.try_get::<i64, _>(0)?.cast_unsigned();
            let event = Some(stored_event(row, 1)?).filter(|event| has_text(event, text.as_deref()));
            Ok(event.map_or(Enough(false), |event| Enough(page.take(event.bytes(), (sequence, event)))))
        };
        // The range of ids is what makes it fast, whatever the filter.
        let mut select = QueryBuilder::new(format!("SELECT id, {COLUMNS} FROM events NOT INDEXED WHERE id > "));
        select.push_bind(after.cast_signed()).push(" AND id <= ").push_bind(until.cast_signed());
        push_filter(&mut select, &query.filter, text.as_deref());
        select.push(" ORDER BY id");
        self.read(select, take).await?;
        let Page { items: events, more } = page.page;
        let last = events.last().filter(|_| more).map_or(until, |(sequence, _)| *sequence);
        Ok(TailPage { scanned: last, events, end })
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError> {
        let DeadLetterQuery { filter, after, limit } = query;
        let mut select = QueryBuilder::new(
            "SELECT id, consumer_group, topic, partition, \"offset\", key, value, reason, at, redriven_at, \
             attempts FROM dead_letters WHERE id > ",
        );
        select.push_bind(after.unwrap_or(0).cast_signed());
        if let Some(id) = filter.id {
            select.push(" AND id = ").push_bind(id.cast_signed());
        }
        if let Some(topic) = &filter.topic {
            select.push(" AND topic = ").push_bind(topic.clone());
        }
        if let Some(partition) = filter.partition {
            select.push(" AND partition = ").push_bind(i64::from(partition));
        }
        if let Some(from) = filter.from {
            select.push(" AND at >= ").push_bind(from.unix_micros());
        }
        if let Some(to) = filter.to {
            select.push(" AND at < ").push_bind(to.unix_micros());
        }
        match filter.redriven {
            Some(true) => select.push(" AND redriven_at IS NOT NULL"),
            Some(false) => select.push(" AND redriven_at IS NULL"),
            None => &mut select,
        };
        match filter.copied {
            Some(true) => select.push(" AND copied_at IS NOT NULL"),
            Some(false) => select.push(" AND copied_at IS NULL"),
            None => &mut select,
        };
        select.push(" ORDER BY id LIMIT ").push_bind(i64::from(*limit) + 1);
        let mut page = PageFilling::new(*limit);
        let take = |row: &SqliteRow| {
            let letter = stored_dead_letter(row)?;
            Ok(Enough(page.take(letter.bytes(), letter)))
        };
        self.read(select, take).await?;
        Ok(page.page)
    }

    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET redriven_at = ? WHERE id = ?", ids, at).await
    }

    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET copied_at = ? WHERE id = ? AND copied_at IS NULL", ids, at).await
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(store_error)?;
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        select.push_bind(event_id.as_bytes().as_slice()).push(" ORDER BY received_at DESC LIMIT 1");
        let row = select.build().fetch_optional(&mut *reader).await.map_err(store_error)?;
        row.as_ref().map(|row| stored_event(row, 0)).transpose().map_err(store_error)
    }

    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or_else(closed)?;
        let mut removed = 0;
        for statement in [
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received_at < ? ORDER BY received_at LIMIT ?)",
            "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE at < ? ORDER BY at LIMIT ?)",
        ] {
            let delete = sqlx::query(statement).bind(oldest.unix_micros()).bind(EXPIRE_EVENTS_MAX);
            removed += delete.execute(&mut *writer).await.map_err(store_error)?.rows_affected();
        }
        Ok(removed)
    }
}

/// Cuts events, in order, into parts none of which has an id twice: an `INSERT` compares with what is in the table
/// and not with its own rows, and whether an event repeats another depends on whether that one was kept. Almost
/// always there is one part.
fn without_repeats<'a, 'b>(events: &'a [(u64, LogEvent<'b>)]) -> Vec<Vec<&'a (u64, LogEvent<'b>)>> {
    let mut parts: Vec<Vec<_>> = Vec::new();
    let mut seen: HashMap<Uuid, Vec<Timestamp>> = HashMap::with_capacity(events.len());
    for event in events {
        let times = seen.entry(event.1.event_id).or_default();
        // Received at the very time of an earlier one it fares no better: it would meet that one or what that one met.
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

async fn position(connection: &mut SqliteConnection, feed: &Feed) -> Result<Option<u64>, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT next FROM positions WHERE consumer_group = ? AND topic = ? AND partition = ?")
            .bind(feed.group.as_str())
            .bind(feed.topic.as_str())
            .bind(i64::from(feed.partition))
            .fetch_optional(connection)
            .await?;
    Ok(next.map(i64::cast_unsigned))
}

fn insert_statement(events: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![row; events].join(", ");
    format!(
        "WITH incoming ({COLUMNS}) AS (VALUES {rows}) INSERT INTO events ({COLUMNS}) SELECT * FROM incoming \
         WHERE NOT EXISTS (SELECT 1 FROM events AS kept WHERE kept.event_id = incoming.event_id \
         AND abs(kept.received_at - incoming.received_at) <= ?)"
    )
}

fn select_statement(query: &LogQuery, text: Option<&str>) -> QueryBuilder<Sqlite> {
    let mut select = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events WHERE true"));
    push_filter(&mut select, &query.filter, text);
    if let Some(after) = &query.after {
        select.push(" AND (timestamp, event_id, received_at) < (").push_bind(after.timestamp.unix_micros());
        select.push(", ").push_bind(after.event_id.as_bytes().to_vec());
        select.push(", ").push_bind(after.received_at.unix_micros()).push(")");
    }
    select.push(" ORDER BY timestamp DESC, event_id DESC, received_at DESC");
    if text.is_none() {
        // One more tells whether there is more.
        select.push(" LIMIT ").push_bind(i64::from(query.limit) + 1);
    }
    select
}

/// Adds the conditions of a filter. That of its text, given folded, only narrows down: see [`has_text`].
fn push_filter(select: &mut QueryBuilder<Sqlite>, filter: &LogFilter, text: Option<&str>) {
    if let Some(source) = &filter.source {
        select.push(" AND source = ").push_bind(source.clone());
    }
    if !filter.levels.is_empty() {
        select.push(" AND level IN (");
        let mut levels = select.separated(", ");
        for level in &filter.levels {
            levels.push_bind(i64::from(level.number()));
        }
        select.push(")");
    }
    if let Some(from) = filter.from {
        select.push(" AND timestamp >= ").push_bind(from.unix_micros());
    }
    if let Some(to) = filter.to {
        select.push(" AND timestamp < ").push_bind(to.unix_micros());
    }
    if let Some(trace_id) = filter.trace_id {
        select.push(" AND trace_id = ").push_bind(trace_id.to_vec());
    }
    if let Some(text) = text {
        // Only a message with other than ASCII characters may need more than SQLite's ASCII folding.
        select.push(" AND (octet_length(message) <> length(message)");
        if text.is_ascii() {
            select.push(" OR instr(lower(message), ").push_bind(text.to_owned()).push(") > 0");
        }
        select.push(")");
    }
}

/// Whether the message has a folded text.
fn has_text(event: &StoredEvent, text: Option<&str>) -> bool {
    text.is_none_or(|text| fold(&event.event.message).contains(text))
}

fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// The event in a row whose columns from `first` on are [`COLUMNS`].
fn stored_event(row: &SqliteRow, first: usize) -> Result<StoredEvent, sqlx::Error> {
    let time = |column: usize| Timestamp::from_unix_micros(row.try_get(column)?).map_err(decode_error);
    let level = Level::from_number(row.try_get(first + 3)?).ok_or(domain::level::UnknownLevel).map_err(decode_error)?;
    let trace_id: Option<&[u8]> = row.try_get(first + 8)?;
    let span_id: Option<&[u8]> = row.try_get(first + 9)?;
    let metadata: Option<String> = row.try_get(first + 10)?;
    let event = LogEvent {
        event_id: Uuid::from_slice(row.try_get(first)?).map_err(decode_error)?,
        id_origin: if row.try_get(first + 1)? { IdOrigin::Client } else { IdOrigin::Generated },
        source: Cow::Owned(row.try_get(first + 2)?),
        level,
        message: Cow::Owned(row.try_get(first + 4)?),
        timestamp: time(first + 5)?,
        received_at: time(first + 6)?,
        stack_trace: row.try_get::<Option<String>, _>(first + 7)?.map(Cow::Owned),
        trace_id: trace_id.map(<[u8; 16]>::try_from).transpose().map_err(decode_error)?,
        span_id: span_id.map(<[u8; 8]>::try_from).transpose().map_err(decode_error)?,
        metadata: metadata.map(|json| Metadata::from_checked(Cow::Owned(json))),
    };
    Ok(StoredEvent {
        event,
        topic: row.try_get(first + 11)?,
        partition: row.try_get(first + 12)?,
        offset: row.try_get::<i64, _>(first + 13)?.cast_unsigned(),
    })
}

fn stored_dead_letter(row: &SqliteRow) -> Result<StoredDeadLetter, sqlx::Error> {
    let time = |micros| Timestamp::from_unix_micros(micros).map_err(decode_error);
    Ok(StoredDeadLetter {
        id: row.try_get::<i64, _>(0)?.cast_unsigned(),
        feed: Feed { group: row.try_get(1)?, topic: row.try_get(2)?, partition: row.try_get(3)? },
        offset: row.try_get::<i64, _>(4)?.cast_unsigned(),
        key: row.try_get(5)?,
        value: row.try_get(6)?,
        reason: row.try_get(7)?,
        at: time(row.try_get(8)?)?,
        redriven_at: row.try_get::<Option<i64>, _>(9)?.map(time).transpose()?,
        attempts: row.try_get(10)?,
    })
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// What to do about an error of SQLite, by its primary result code (sqlite.org/rescode.html).
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
