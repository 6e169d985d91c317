//! [`LogStore`] over PostgreSQL.

use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::partition::PRIORITY_PARTITION;
use domain::ports::{Append, Appended, Cause, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, Page, StoredEvent, TailPage, TailQuery};
use domain::rollup::RollupSources;
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use self::position::position;
use self::writers::writer_lock;
use crate::claims::Windows;
use crate::days::{Days, LOCK_TIMEOUT};
use crate::error::store_error;
use crate::schema::{Schema, probe};

mod append;
mod dead_letters;
mod options;
mod position;
mod queries;
mod retention;
mod stats;
mod tail;
mod writers;

pub use self::options::{InvalidSchema, PostgresOptions};

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
/// Maximum duration of the statements of an append together, and of each of them: less than [`APPEND_TIMEOUT`], so that a slow
/// server reports a timeout, and the retry has less to do, before the append counts as lost.
const APPEND_TIME_MAX: Duration = Duration::from_secs(20);
/// Maximum duration of a query beyond the server's own limit, to get a connection and the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the server to report why it accepts no connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of one expiry, which counts the rows of a day.
const EXPIRE_TIMEOUT: Duration = Duration::from_secs(600);
/// Fewer events than this are written by `INSERT`, which has lower latency; more by `COPY`, which has higher throughput.
const COPY_EVENTS_MIN: usize = 1_000;

/// The store.
pub struct PostgresStore {
    /// Appends and positions have separate connections, so that queries cannot delay consumers.
    reads: PgPool,
    appends: InTurn,
    /// For appends of the priority partition, which never wait for other partitions.
    priority: InTurn,
    append_time_max: Duration,
    connect: PgConnectOptions,
    schema: Schema,
    /// The bits of this schema's advisory locks above `WRITER_LOCK_BITS`.
    writer_lock: i64,
    days: Days,
    windows: Windows,
    query_timeout: Duration,
    copy_events_min: usize,
    rollup_sources: Mutex<RollupSources>,
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
        // Statements have events in them, which must not be in the log.
        let connect = PgConnectOptions::from_str(&options.url)?.disable_statement_logging();
        let connect = connect.application_name("spillway").options([
            ("search_path", schema.to_owned()),
            ("timezone", "UTC".to_owned()),
            // The server detects within 30 s that the client is gone, and releases its locks.
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "4".to_owned()),
            // Also while it works: a query whose caller is gone ends.
            ("client_connection_check_interval", "10s".to_owned()),
        ]);
        let limits = [
            ("lock_timeout", millis(LOCK_TIMEOUT)),
            ("idle_in_transaction_session_timeout", millis(IDLE_TRANSACTION_TIMEOUT)),
        ];
        let limited = connect.clone().options(limits);
        // So that a slow server reports a timeout, and the retry has less to do, before the append counts as lost.
        let appending = limited.clone().options([
            ("statement_timeout", millis(APPEND_TIME_MAX)),
            // An append looks up rows by their keys. Without statistics, as in the first minute of a day, PostgreSQL would read
            // the whole table instead.
            ("enable_seqscan", "off".to_owned()),
        ]);
        let pool = |connections_max, connect: &PgConnectOptions| {
            let options = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT);
            options.connect_lazy_with(connect.clone())
        };
        let in_turn = |connections_max: u32| InTurn {
            pool: pool(connections_max, &appending),
            turns: Semaphore::new(connections_max as usize),
        };
        Ok(Self {
            reads: pool(READ_CONNECTIONS_MAX, &limited),
            appends: in_turn(APPEND_CONNECTIONS_MAX),
            priority: in_turn(1),
            append_time_max: APPEND_TIME_MAX,
            schema: Schema::new(connect.clone(), schema),
            connect,
            writer_lock: writer_lock(schema),
            days: Days::default(),
            windows: Windows { chosen: options.dedup_window, derived: options.resend_window },
            query_timeout: options.query_timeout,
            copy_events_min: COPY_EVENTS_MIN,
            rollup_sources: Mutex::default(),
        })
    }

    /// The same store with another threshold: this many events of a day or more are written by `COPY`, fewer by `INSERT`.
    /// The default is a good value; this is for tests and benchmarks of either path.
    #[must_use]
    pub fn copying_from(self, events: usize) -> Self {
        Self { copy_events_min: events, ..self }
    }

    /// The same store with another limit for the duration of an append's statements together. The default is a good value; this
    /// is for tests.
    #[must_use]
    pub fn appending_within(self, time_max: Duration) -> Self {
        Self { append_time_max: time_max, ..self }
    }

    /// Connects and migrates the database, if that has not been done yet.
    ///
    /// # Errors
    /// The server cannot be reached, or the database cannot be migrated.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.schema.prepare().await
    }

    /// Maximum duration of reads that have no limit of their own, and of small changes.
    fn read_timeout(&self) -> Duration {
        self.timeout_of(None)
    }

    /// Maximum duration of a read whose statements may take `time_max`.
    fn timeout_of(&self, time_max: Option<Duration>) -> Duration {
        time_max.unwrap_or(self.query_timeout) + ANSWER_TIMEOUT
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

    /// The connections for appends of a partition.
    fn appends_of(&self, group_partition: &GroupPartition) -> &InTurn {
        if group_partition.partition == PRIORITY_PARTITION { &self.priority } else { &self.appends }
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
        limited(connection, self.query_timeout).await
    }
}

/// Connections that are used in turn. An append that waits for others is not at fault, and each of those ends in bounded time, so
/// the wait for a turn has no limit of its own.
struct InTurn {
    pool: PgPool,
    /// As many as connections.
    turns: Semaphore,
}

impl InTurn {
    /// Waits for a connection to be free for the caller.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.turns.acquire().await.map_err(|error| StoreError::Unavailable(error.into()))
    }
}

/// The time that the statements of an append have together. The server ends a statement that exceeds it.
struct AppendTime {
    time_max: Duration,
    deadline: Instant,
    /// The limit of a statement that is in force.
    limit: Duration,
}

impl AppendTime {
    /// Begins now, on a connection for appends.
    fn begin(time_max: Duration) -> Self {
        Self { time_max, deadline: Instant::now() + time_max, limit: APPEND_TIME_MAX }
    }

    /// Limits the next statements to the time that is left, once that differs from their limit by more than a twentieth of all:
    /// a fast append is spared the round trip.
    async fn limit(&mut self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() && self.limit <= left + self.time_max / 20 {
            return Ok(());
        }
        self.limit = left;
        limit_until(transaction, self.deadline).await
    }

    /// Removes the limit in front of the commit: a server with synchronous standbys would otherwise confirm a commit that none of
    /// them has yet.
    async fn restore(&self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        if self.limit == APPEND_TIME_MAX { Ok(()) } else { limit(transaction, APPEND_TIME_MAX).await }
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

/// A transaction whose statements are limited.
async fn limited(
    connection: &mut PgConnection,
    timeout: Duration,
) -> Result<sqlx::Transaction<'_, Postgres>, StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    limit(&mut transaction, timeout).await?;
    Ok(transaction)
}

/// A transaction whose statements are limited, and all see what was stored at one moment: that of the first one that reads.
async fn snapshot(
    connection: &mut PgConnection,
    timeout: Duration,
) -> Result<sqlx::Transaction<'_, Postgres>, StoreError> {
    let begin = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    let mut transaction = begin.await.map_err(store_error)?;
    limit(&mut transaction, timeout).await?;
    Ok(transaction)
}

/// Limits the statements of a transaction to the time that is left.
async fn limit_until(connection: &mut PgConnection, deadline: Instant) -> Result<(), StoreError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(StoreError::TooBroad) } else { limit(connection, left).await }
}

/// Limits the statements of a transaction from here on.
async fn limit(connection: &mut PgConnection, timeout: Duration) -> Result<(), StoreError> {
    // Zero would mean no limit.
    let set = format!("SET LOCAL statement_timeout = {}", timeout.as_millis().max(1));
    sqlx::query(AssertSqlSafe(set)).execute(connection).await.map(drop).map_err(store_error)
}

#[async_trait]
impl LogStore for PostgresStore {
    async fn close(&self) {
        for pool in [&self.reads, &self.appends.pool, &self.priority.pool] {
            pool.close().await;
        }
    }

    async fn position(&self, group_partition: &GroupPartition) -> Result<Option<u64>, StoreError> {
        let position =
            async |connection: &mut PgConnection| position(connection, group_partition).await.map_err(store_error);
        let _turn = self.appends.turn().await?;
        self.lend(&self.appends.pool, self.read_timeout(), position).await
    }

    async fn append<'a>(&self, append: &Append<'a>) -> Result<Appended, StoreError> {
        let appends = self.appends_of(append.group_partition);
        let _turn = appends.turn().await?;
        self.lend(&appends.pool, APPEND_TIMEOUT, async |connection| self.append_on(connection, append).await).await
    }

    async fn probe<'a>(&self, append: &Append<'a>) -> Result<(), StoreError> {
        let appends = self.appends_of(append.group_partition);
        let _turn = appends.turn().await?;
        self.lend(&appends.pool, APPEND_TIMEOUT, async |connection| self.probe_on(connection, append).await).await
    }

    async fn query(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        let time_max = self.timeout_of(query.time_max);
        self.lend(&self.reads, time_max, async |connection| self.query_on(connection, query).await).await
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.find_on(connection, event_id).await).await
    }

    async fn stats(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        let time_max = self.timeout_of(query.time_max);
        self.lend(&self.reads, time_max, async |connection| self.stats_on(connection, query).await).await
    }

    async fn tail(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.tail_on(connection, query).await).await
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<StoredDeadLetter>, StoreError> {
        self.lend(&self.reads, self.read_timeout(), async |connection| self.dead_letters_on(connection, query).await)
            .await
    }

    async fn count_dead_letters(&self, filter: &DeadLetterFilter, max: u64) -> Result<u64, StoreError> {
        let count = async |connection: &mut PgConnection| self.count_dead_letters_on(connection, filter, max).await;
        self.lend(&self.reads, self.read_timeout(), count).await
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
