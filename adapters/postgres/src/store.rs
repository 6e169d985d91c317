//! [`LogStore`] over PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::{DeadLetterQuery, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent};
use domain::folding::fold;
use domain::metadata::Metadata;
use domain::partition::{PRIORITY_PARTITION, murmur2};
use domain::ports::{Append, Appended, Cause, GroupPartition, LogStore, StoreError};
use domain::query::{
    LevelCount, LogQuery, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StatsQuery, StoredEvent, TAIL_BYTES_MAX,
    TailPage, TailQuery,
};
use domain::timestamp::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, QueryBuilder, Row};
use tokio::time::timeout;

use crate::claims::repeats;
use crate::copy::{COLUMNS, Rows};
use crate::days::{Day, Days, LOCK_TIMEOUT};
use crate::error::{UNIQUE_VIOLATION, sqlstate, store_error};
use crate::rows::{
    dead_letters_statement, each_row, events_statement, has_text, level, row_bytes, stored_dead_letter, stored_event,
    tail_statement,
};
use crate::schema::{Schema, probe};
use crate::time::PgTime;

/// Connections per process for queries and everything else except appends.
const READ_CONNECTIONS_MAX: u32 = 6;
/// Connections per process for appends, beside that of the priority partition.
const APPEND_CONNECTIONS_MAX: u32 = 6;
/// Maximum wait for a connection from a pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum idle time in a transaction: a stalled client must not block others.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum duration of an append, so that a connection whose peer no longer responds does not block permanently.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum duration of one statement of an append.
const APPEND_STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum duration of a query beyond the server's own limit, to get a connection and the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the server to report why it accepts no connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of one expiry, which counts the rows of a day.
const EXPIRE_TIMEOUT: Duration = Duration::from_secs(600);
/// Rows examined at once for a text; fewer if they are large.
const CANDIDATES: u32 = 1_000;
/// Maximum number of events that one call of `tail` examines.
const TAIL_EVENTS_MAX: u64 = 2_000;
/// Maximum number of dead letters that one call of `expire` removes, and of ids that it removes at once.
const EXPIRE_ROWS_MAX: i64 = 2_000;
/// Fewer events than this are written by `INSERT`, which has lower latency; more by `COPY`, which has higher throughput.
const COPY_EVENTS_MIN: usize = 1_000;
/// Bits of a writer's advisory lock that encode where its events begin. The bits above identify the schema.
const WRITER_LOCK_BITS: u32 = 48;
/// Maximum name, in bytes, that PostgreSQL does not truncate.
const SCHEMA_BYTES_MAX: usize = 63;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// URL of the database: `postgres://user:password@host:port/database`.
    ///
    /// Of libpq's parameters, it supports among others `sslmode` (`prefer`; `require` encrypts, `verify-full` also
    /// verifies the server's identity), `sslrootcert`, `sslcert` and `sslkey`.
    pub url: String,
    /// The schema that contains all the tables, created if it is missing. Stores in different schemas are independent.
    /// See [`InvalidSchema`] for valid names.
    pub schema: String,
    /// Minimum distance between the receipt times of two events with the same id for both to be kept.
    pub dedup_window: Duration,
    /// Maximum duration of a query.
    pub query_timeout: Duration,
}

/// An invalid name for a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSchema;

impl std::fmt::Display for InvalidSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a schema's name has 1 to 63 of a-z, 0-9 and _, and begins neither with a digit nor with pg_, which PostgreSQL \
             reserves",
        )
    }
}

impl std::error::Error for InvalidSchema {}

impl PostgresOptions {
    /// Checks whether a schema may have this name.
    ///
    /// # Errors
    /// The name is invalid.
    pub fn check_schema(name: &str) -> Result<(), InvalidSchema> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let valid = (1..=SCHEMA_BYTES_MAX).contains(&name.len())
            && name.bytes().all(known)
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.starts_with("pg_");
        if valid { Ok(()) } else { Err(InvalidSchema) }
    }
}

/// The store.
pub struct PostgresStore {
    /// Appends have separate connections, so that queries cannot delay them.
    reads: PgPool,
    appends: PgPool,
    /// For appends of the priority partition, which never wait for other partitions.
    priority: PgPool,
    connect: PgConnectOptions,
    schema: Schema,
    /// The bits of this schema's advisory locks above [`WRITER_LOCK_BITS`].
    writer_lock: i64,
    days: Days,
    dedup_window: Duration,
    query_timeout: Duration,
    copy_events_min: usize,
}

impl PostgresStore {
    /// Why the next day's table could not be created, if so: without it, nothing can be stored from midnight (UTC) on.
    #[must_use]
    pub fn next_day_fault(&self) -> Option<String> {
        self.days.fault()
    }

    /// Creates a store that connects and migrates the database on first use: an unreachable server at startup is handled
    /// like one that becomes unreachable later. Needs a tokio runtime.
    ///
    /// # Errors
    /// The URL or the schema's name is invalid.
    pub fn new(options: &PostgresOptions) -> Result<Self, Cause> {
        let schema = options.schema.as_str();
        PostgresOptions::check_schema(schema)?;
        let millis = |duration: Duration| duration.as_millis().to_string();
        let connect = PgConnectOptions::from_str(&options.url)?.application_name("spillway").options([
            ("search_path", schema.to_owned()),
            ("timezone", "UTC".to_owned()),
            // The server detects within 30 s that the client is gone, and releases its locks.
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "4".to_owned()),
        ]);
        let limits = [
            ("lock_timeout", millis(LOCK_TIMEOUT)),
            ("idle_in_transaction_session_timeout", millis(IDLE_TRANSACTION_TIMEOUT)),
        ];
        let limited = connect.clone().options(limits);
        // So that a slow server reports a timeout, and the retry has less to do, before the append counts as lost.
        let appending = limited.clone().options([("statement_timeout", millis(APPEND_STATEMENT_TIMEOUT))]);
        let pool = |connections_max, connect: &PgConnectOptions| {
            let options = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT);
            options.connect_lazy_with(connect.clone())
        };
        Ok(Self {
            reads: pool(READ_CONNECTIONS_MAX, &limited),
            appends: pool(APPEND_CONNECTIONS_MAX, &appending),
            priority: pool(1, &appending),
            schema: Schema::new(connect.clone(), schema),
            connect,
            writer_lock: writer_lock(schema),
            days: Days::default(),
            dedup_window: options.dedup_window,
            query_timeout: options.query_timeout,
            copy_events_min: COPY_EVENTS_MIN,
        })
    }

    /// The same store with another threshold: this many events of a day or more are written by `COPY`, fewer by `INSERT`.
    /// The default is a good value; this is for tests and benchmarks of either path.
    #[must_use]
    pub fn copying_from(self, events: usize) -> Self {
        Self { copy_events_min: events, ..self }
    }

    /// Connects and migrates the database, if that has not been done yet.
    ///
    /// # Errors
    /// The server cannot be reached, or the database cannot be migrated.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.schema.prepare().await
    }

    /// Writes events into the tables of their days. Returns how many were new.
    async fn write(
        &self,
        connection: &mut PgConnection,
        group_partition: &GroupPartition,
        events: &[&(u64, LogEvent<'_>)],
    ) -> Result<u64, sqlx::Error> {
        let mut tables: BTreeMap<Day, Vec<&(u64, LogEvent<'_>)>> = BTreeMap::new();
        for event in events {
            tables.entry(Day::of(event.1.received_at)).or_default().push(event);
        }
        let mut stored = 0;
        for (day, events) in tables {
            if events.len() < self.copy_events_min {
                stored += insert(connection, &day.table(), group_partition, &events).await?;
                continue;
            }
            let mut rows = Rows::default();
            events.iter().for_each(|(offset, event)| rows.push(group_partition, *offset, event));
            let (count, bytes) = (rows.count(), rows.finish());
            let mut attempt = connection.begin().await?;
            let copied = copy_in(&mut attempt, &day.table(), &bytes).await;
            stored += match copied {
                Ok(()) => {
                    attempt.commit().await?;
                    count
                }
                Err(error) if sqlstate(&error).as_deref() == Some(UNIQUE_VIOLATION) => {
                    attempt.rollback().await?;
                    merge_in(connection, &day.table(), &bytes).await?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(stored)
    }

    /// Maximum duration of reads, and of small changes.
    fn read_timeout(&self) -> Duration {
        self.query_timeout + ANSWER_TIMEOUT
    }

    /// Runs work on a connection, within a time limit. If the work does not finish, because of the limit or because its
    /// caller is gone, the connection may be in any state or dead: it is closed.
    async fn lend<T>(
        &self,
        pool: &PgPool,
        time_max: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lending = async {
            self.prepare().await?;
            let connection = match pool.acquire().await {
                Ok(connection) => connection,
                Err(error) => return Err(self.why_none(error).await),
            };
            let mut loan = Loan { connection, ended: false };
            let result = work(&mut loan.connection).await;
            loan.ended = true;
            result
        };
        let in_time = timeout(time_max, lending).await;
        in_time.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {time_max:?}").into())))
    }

    /// Why no connection is available: the pool only reports that it waited.
    async fn why_none(&self, error: sqlx::Error) -> StoreError {
        if !matches!(error, sqlx::Error::PoolTimedOut) {
            return store_error(error);
        }
        let in_use = || StoreError::Unavailable("all connections are in use".into());
        probe(&self.connect, PROBE_TIMEOUT).await.err().unwrap_or_else(in_use)
    }

    /// A transaction whose statements are limited by the query timeout.
    async fn timed<'c>(&self, connection: &'c mut PgConnection) -> Result<sqlx::Transaction<'c, Postgres>, StoreError> {
        let mut transaction = connection.begin().await.map_err(store_error)?;
        limit(&mut transaction, self.query_timeout).await?;
        Ok(transaction)
    }
}

/// A connection of the pool that is in use.
struct Loan {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

/// Advisory locks belong to a database, so the locks of each schema's writers have a mark. If two schemas have the same
/// mark, the tails of each wait for the writers of both.
fn writer_lock(schema: &str) -> i64 {
    // Neither zero nor negative, where locks of other applications usually are.
    (0x4000 | i64::from(murmur2(schema.as_bytes()) & 0x3fff)) << WRITER_LOCK_BITS
}

/// Limits the statements of a transaction from here on.
async fn limit(connection: &mut PgConnection, timeout: Duration) -> Result<(), StoreError> {
    // Zero would mean no limit.
    let set = format!("SET LOCAL statement_timeout = {}", timeout.as_millis().max(1));
    sqlx::query(AssertSqlSafe(set)).execute(connection).await.map(drop).map_err(store_error)
}

/// The path for few events: one statement that skips existing rows, and one answer. The end of a `COPY` is a separate
/// message, which the connection, as sqlx configures it, holds back until the server has acknowledged the data before it
/// (Nagle's algorithm): about 40 ms.
async fn insert(
    connection: &mut PgConnection,
    table: &str,
    group_partition: &GroupPartition,
    events: &[&(u64, LogEvent<'_>)],
) -> Result<u64, sqlx::Error> {
    fn column<'e, T>(events: &[&'e (u64, LogEvent<'e>)], value: impl Fn(&'e LogEvent<'e>) -> T) -> Vec<T> {
        events.iter().map(|(_, event)| value(event)).collect()
    }
    let statement = format!(
        "INSERT INTO {table} ({COLUMNS}) SELECT event_id, client_id, source, level, message, at, received_at, stack_trace, trace_id, \
         span_id, metadata::json, $12, $13, place FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::smallint[], $5::text[], \
         $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bytea[], $10::bytea[], $11::text[], $14::bigint[]) \
         AS event (event_id, client_id, source, level, message, at, received_at, stack_trace, trace_id, span_id, metadata, place) \
         ON CONFLICT (event_id, received_at) DO NOTHING"
    );
    let inserted = sqlx::query(AssertSqlSafe(statement))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.id_origin == IdOrigin::Client))
        .bind(column(events, |event| &*event.source))
        .bind(column(events, |event| i16::from(event.level.number())))
        .bind(column(events, |event| &*event.message))
        .bind(column(events, |event| PgTime(event.timestamp)))
        .bind(column(events, |event| PgTime(event.received_at)))
        .bind(column(events, |event| event.stack_trace.as_deref()))
        .bind(column(events, |event| event.trace_id.as_ref().map(<[u8; 16]>::as_slice)))
        .bind(column(events, |event| event.span_id.as_ref().map(<[u8; 8]>::as_slice)))
        .bind(column(events, |event| event.metadata.as_ref().map(Metadata::as_json)))
        .bind(&group_partition.topic)
        .bind(group_partition.partition.cast_signed())
        .bind(events.iter().map(|(offset, _)| offset.cast_signed()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected())
}

async fn copy_in(connection: &mut PgConnection, table: &str, bytes: &[u8]) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(&format!("COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)")).await?;
    copy.send(bytes).await?;
    copy.finish().await.map(drop)
}

/// The slower path: through a temporary table, skipping existing rows and repeats in the same chunk.
async fn merge_in(connection: &mut PgConnection, table: &str, bytes: &[u8]) -> Result<u64, sqlx::Error> {
    // Dropped with the transaction, because the connection returns to the pool.
    sqlx::query("CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE events INCLUDING DEFAULTS) ON COMMIT DROP")
        .execute(&mut *connection)
        .await?;
    sqlx::query("TRUNCATE incoming").execute(&mut *connection).await?;
    copy_in(connection, "incoming", bytes).await?;
    let insert = format!(
        "INSERT INTO {table} (sequence, {COLUMNS}) SELECT sequence, {COLUMNS} FROM incoming ORDER BY sequence \
         ON CONFLICT (event_id, received_at) DO NOTHING"
    );
    Ok(sqlx::query(AssertSqlSafe(insert)).execute(connection).await?.rows_affected())
}

/// Advances the position, or returns the current one. Locks it until the end of the transaction.
async fn advance(connection: &mut PgConnection, append: &Append<'_>) -> Result<(), StoreError> {
    let group_partition = append.group_partition;
    let statement = match append.expected {
        Some(_) => {
            "UPDATE positions SET next = $4 WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next = $5"
        }
        None => {
            "INSERT INTO positions (consumer_group, topic, partition, next) SELECT $1, $2, $3, $4 WHERE $5::bigint IS NULL \
             ON CONFLICT DO NOTHING"
        }
    };
    let moved = sqlx::query(statement)
        .bind(&group_partition.group)
        .bind(&group_partition.topic)
        .bind(group_partition.partition.cast_signed())
        .bind(append.next.cast_signed())
        .bind(append.expected.map(u64::cast_signed))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict { actual: position(connection, group_partition).await.map_err(store_error)? })
}

async fn position(connection: &mut PgConnection, group_partition: &GroupPartition) -> Result<Option<u64>, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT next FROM positions WHERE consumer_group = $1 AND topic = $2 AND partition = $3")
            .bind(&group_partition.group)
            .bind(&group_partition.topic)
            .bind(group_partition.partition.cast_signed())
            .fetch_optional(connection)
            .await?;
    Ok(next.map(i64::cast_unsigned))
}

/// How far the sequence numbers of events have advanced.
struct End {
    /// Highest number drawn.
    drawn: u64,
    /// Highest number up to which no further events will become visible.
    visible: u64,
}

/// How far a tail may read. Numbers are drawn before their events are visible, so it stays behind every active writer:
/// each takes a lock that encodes where its events begin before it draws a number, and holds it until they are visible.
async fn end(connection: &mut PgConnection, writer_lock: i64) -> Result<End, sqlx::Error> {
    // The order matters: a writer that takes its lock after the first statement draws numbers above the one returned.
    let drawn: i64 = sqlx::query_scalar("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_sequence")
        .fetch_one(&mut *connection)
        .await?;
    let begun: Option<i64> = sqlx::query_scalar(
        "SELECT min(((classid::bigint << 32) | objid::bigint) & ((1::bigint << $1) - 1)) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (((classid::bigint << 32) | objid::bigint) >> $1) = ($2 >> $1)",
    )
    .bind(WRITER_LOCK_BITS.cast_signed())
    .bind(writer_lock)
    .fetch_one(connection)
    .await?;
    let visible = begun.map_or(drawn, |begun| begun.min(drawn));
    Ok(End { drawn: drawn.cast_unsigned(), visible: visible.cast_unsigned() })
}

/// The operations of [`LogStore`], each on one connection.
impl PostgresStore {
    async fn append_on(&self, connection: &mut PgConnection, append: &Append<'_>) -> Result<Appended, StoreError> {
        let days: BTreeSet<Day> = append.events.iter().map(|(_, event)| Day::of(event.received_at)).collect();
        self.days.ensure(connection, &days).await.map_err(store_error)?;
        let mut transaction = connection.begin().await.map_err(store_error)?;
        advance(&mut transaction, append).await?;
        sqlx::query(
            "SELECT pg_advisory_xact_lock_shared($1 | CASE WHEN is_called THEN last_value ELSE 0 END) FROM events_sequence",
        )
        .bind(self.writer_lock)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        let repeats = repeats(&mut transaction, append.events, self.dedup_window).await.map_err(store_error)?;
        let new: Vec<_> = append
            .events
            .iter()
            .enumerate()
            .filter(|(index, _)| !repeats.contains(index))
            .map(|(_, event)| event)
            .collect();
        let stored = self.write(&mut transaction, append.group_partition, &new).await.map_err(|error| {
            // The table of a day may have been dropped.
            self.days.forget_all();
            store_error(error)
        })?;
        for letter in append.dead_letters {
            sqlx::query(
                "INSERT INTO dead_letters (consumer_group, topic, partition, \"offset\", key, value, reason, \
                 attempts, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            )
            .bind(&append.group_partition.group)
            .bind(&append.group_partition.topic)
            .bind(append.group_partition.partition.cast_signed())
            .bind(letter.offset.cast_signed())
            .bind(letter.key)
            .bind(letter.value)
            .bind(letter.reason.replace('\0', "\u{fffd}"))
            .bind(i64::from(letter.attempts))
            .bind(PgTime(letter.at))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        Ok(Appended {
            stored,
            deduplicated: append.events.len().saturating_sub(stored),
            dead_lettered: append.dead_letters.len(),
        })
    }

    async fn query_on(&self, connection: &mut PgConnection, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        let deadline = Instant::now() + self.query_timeout;
        let text = query.filter.text.as_deref().map(fold);
        let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
        let mut after = query.after;
        let mut transaction = self.timed(connection).await?;
        loop {
            let mut candidates =
                PageFilling::new(if text.is_some() { CANDIDATES } else { query.limit }, PAGE_BYTES_MAX);
            let select = events_statement(&query.filter, after, text.as_deref(), &candidates);
            let take = |row: &PgRow| {
                let bytes = row_bytes(row)?;
                candidates.take(bytes, ());
                let event = stored_event(row)?;
                after = Some(PageKey::from(&event.event));
                if has_text(&event, text.as_deref()) {
                    page.take(bytes, event);
                }
                Ok(())
            };
            match each_row(&mut transaction, select, take).await {
                // Time was up only for finding out whether there are more.
                Err(StoreError::TooBroad) if page.is_full() => page.page.more = true,
                read => read?,
            }
            if page.page.more || !candidates.page.more {
                return Ok(page.page);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::TooBroad);
            }
            limit(&mut transaction, left).await?;
        }
    }

    async fn find_on(&self, connection: &mut PgConnection, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let mut transaction = self.timed(connection).await?;
        let mut select = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        select.push_bind(event_id).push(" ORDER BY received_at DESC LIMIT 1");
        let row = select.build().fetch_optional(&mut *transaction).await.map_err(store_error)?;
        row.as_ref().map(stored_event).transpose().map_err(store_error)
    }

    async fn stats_on(&self, connection: &mut PgConnection, query: &StatsQuery) -> Result<Vec<LevelCount>, StoreError> {
        let interval = i64::try_from(query.interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let first = query.from.unix_micros().div_euclid(interval).saturating_mul(interval);
        let mut transaction = self.timed(connection).await?;
        let rows = sqlx::query(
            "SELECT ((extract(epoch FROM \"timestamp\") * 1000000)::bigint - $1) / $2 AS bucket, level, count(*) AS events \
             FROM events WHERE \"timestamp\" >= $3 AND \"timestamp\" < $4 GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .bind(first)
        .bind(interval)
        .bind(PgTime(query.from))
        .bind(PgTime(query.to))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let count = |row: &PgRow| {
            let bucket = Timestamp::from_unix_micros(first + row.try_get::<i64, _>(0)? * interval);
            let events = row.try_get::<i64, _>(2)?.cast_unsigned();
            Ok(LevelCount { bucket: bucket.unwrap_or(Timestamp::MIN), level: level(row.try_get(1)?)?, events })
        };
        rows.iter().map(count).collect::<Result<_, _>>().map_err(store_error)
    }

    async fn tail_on(&self, connection: &mut PgConnection, query: &TailQuery) -> Result<TailPage, StoreError> {
        let mut transaction = self.timed(connection).await?;
        let End { drawn, visible: end } = end(&mut transaction, self.writer_lock).await.map_err(store_error)?;
        let Some(after) = query.after.filter(|after| *after < end) else {
            // A writer that has just begun can be behind events already shown: without new events, the position must not
            // move back.
            let end = query.after.filter(|after| *after <= drawn).unwrap_or(end).max(end);
            return Ok(TailPage { events: Vec::new(), scanned: end, end });
        };
        let until = end.min(after.saturating_add(TAIL_EVENTS_MAX));
        let text = query.filter.text.as_deref().map(fold);
        let mut page = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        // With a text not every row counts, so the last row examined marks the progress.
        let mut looked_at = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        let mut scanned = after;
        let select = tail_statement(&query.filter, after..until, text.as_deref(), &looked_at);
        let take = |row: &PgRow| {
            let (bytes, sequence) = (row_bytes(row)?, row.try_get::<i64, _>("sequence")?.cast_unsigned());
            looked_at.take(bytes, ());
            let event = stored_event(row)?;
            if has_text(&event, text.as_deref()) {
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

    async fn dead_letters_on(
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
    async fn mark(&self, update: &'static str, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<i64> = ids.iter().copied().map(u64::cast_signed).collect();
        let update = sqlx::query(update).bind(ids).bind(PgTime(at));
        self.lend(&self.reads, self.read_timeout(), async |connection| {
            update.execute(connection).await.map(drop).map_err(store_error)
        })
        .await
    }

    async fn expire_on(&self, connection: &mut PgConnection, oldest: Timestamp) -> Result<u64, StoreError> {
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

#[async_trait]
impl LogStore for PostgresStore {
    async fn close(&self) {
        for pool in [&self.reads, &self.appends, &self.priority] {
            pool.close().await;
        }
    }

    async fn position(&self, group_partition: &GroupPartition) -> Result<Option<u64>, StoreError> {
        let position =
            async |connection: &mut PgConnection| position(connection, group_partition).await.map_err(store_error);
        self.lend(&self.reads, self.read_timeout(), position).await
    }

    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError> {
        let pool = if append.group_partition.partition == PRIORITY_PARTITION { &self.priority } else { &self.appends };
        self.lend(pool, APPEND_TIMEOUT, async |connection| self.append_on(connection, append).await).await
    }

    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.query_on(connection, query).await).await
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.find_on(connection, event_id).await).await
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Vec<LevelCount>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.stats_on(connection, query).await).await
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.tail_on(connection, query).await).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.dead_letters_on(connection, query).await)
            .await
    }

    async fn mark_redriven(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET redriven_at = $2 WHERE id = ANY($1)", ids, at).await
    }

    async fn mark_copied(&self, ids: &[u64], at: Timestamp) -> Result<(), StoreError> {
        self.mark("UPDATE dead_letters SET copied_at = $2 WHERE id = ANY($1) AND copied_at IS NULL", ids, at).await
    }

    async fn expire(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        self.lend(&self.reads, EXPIRE_TIMEOUT, async |connection| self.expire_on(connection, oldest).await).await
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

/// Drops the oldest expired day's table, if there is one, and the tables of empty days before it. Detaches tables first,
/// without blocking readers or writers; completes what an earlier call left unfinished.
async fn drop_days(connection: &mut PgConnection, oldest: Timestamp) -> Result<u64, sqlx::Error> {
    let tables: Vec<(String, Option<bool>)> = sqlx::query_as(
        "SELECT relname::text, inhdetachpending FROM pg_class \
         LEFT JOIN pg_inherits ON inhrelid = pg_class.oid AND inhparent = 'events'::regclass \
         WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass) AND relkind = 'r' \
         ORDER BY relname",
    )
    .fetch_all(&mut *connection)
    .await?;
    let is_over = |name: &str| Day::of_table(name).is_some_and(|day| day.is_before(oldest));
    for (table, detach_pending) in tables.into_iter().filter(|(name, _)| is_over(name)) {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        if let Some(pending) = detach_pending {
            let how = if pending { "FINALIZE" } else { "CONCURRENTLY" };
            let detach = format!("ALTER TABLE events DETACH PARTITION {table} {how}");
            sqlx::query(AssertSqlSafe(detach)).execute(&mut *connection).await?;
        }
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}"))).execute(&mut *connection).await?;
        tracing::info!(table, rows, "removed a day of events");
        if rows > 0 {
            return Ok(rows.cast_unsigned());
        }
    }
    Ok(0)
}
