//! Brings the database up to date.
//!
//! Constraints and invariants:
//! * One update at a time in a process, however many calls wait for it: each needs a connection of its own.
//! * All but a change of the tables has a limit of seconds. A change may take longer than any call, so it goes on when nobody
//!   waits for it any more.

use std::time::Duration;

use domain::ports::StoreError;
use sqlx::migrate::Migrate;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::{ALREADY_THERE, sqlstate, store_error};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for everything but a change of the tables.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time of a change of the tables, with the wait for another process that makes one. Afterwards the connection is taken
/// for dead.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The schema of a store.
pub struct Schema {
    connect: PgConnectOptions,
    name: String,
    up_to_date: OnceCell<()>,
    update: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl Schema {
    /// A schema in the database that these options lead to, and that have it as search path.
    pub fn new(connect: PgConnectOptions, name: &str) -> Self {
        Self { connect, name: name.to_owned(), up_to_date: OnceCell::new(), update: Mutex::default() }
    }

    /// Makes sure once that the schema and its tables are there. May be dropped: a later call waits for the same update.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.up_to_date.initialized() {
            return Ok(());
        }
        let mut update = self.update.lock().await;
        if self.up_to_date.initialized() {
            return Ok(());
        }
        // What an update came to that nobody waited for may be long ago.
        update.take_if(|update| update.is_finished());
        let running = update.get_or_insert_with(|| {
            let (connect, name) = (self.connect.clone(), self.name.clone());
            tokio::spawn(async move { bring_up_to_date(&connect, &name).await })
        });
        let result = running.await;
        *update = None;
        result.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))?;
        // Set by nobody else: the lock is held.
        let _ = self.up_to_date.set(());
        Ok(())
    }
}

/// Connects once. A pool would only say that it waited; this says for what.
pub async fn probe(connect: &PgConnectOptions, time_max: Duration) -> Result<(), StoreError> {
    open(connect, time_max).await?.close().await.map_err(store_error)
}

async fn open(connect: &PgConnectOptions, time_max: Duration) -> Result<PgConnection, StoreError> {
    let connected = within(time_max, "no connection", PgConnection::connect_with(connect)).await?;
    connected.map_err(store_error)
}

async fn within<T>(time_max: Duration, otherwise: &str, work: impl Future<Output = T>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("{otherwise} within {time_max:?}").into());
    timeout(time_max, work).await.map_err(late)
}

/// Makes the schema and its tables, or what is missing of them. Many processes may do so at once: who comes second waits.
async fn bring_up_to_date(connect: &PgConnectOptions, schema: &str) -> Result<(), StoreError> {
    let mut connection = open(connect, CONNECT_TIMEOUT).await?;
    let look = async {
        make_schema(&mut connection, schema).await?;
        Ok(is_up_to_date(&mut connection).await)
    };
    if !within(LOOK_TIMEOUT, "no answer", look).await?.map_err(store_error)? {
        let migrator = sqlx::migrate!();
        // As `run` does, which the compiler does not accept in a task of its own.
        let change = migrator.run_direct(None, &mut connection, false);
        let changed = within(CHANGE_TIMEOUT, "the database is not up to date", change).await?;
        changed.map_err(|error| StoreError::Unavailable(error.into()))?;
    }
    connection.close().await.map_err(store_error)
}

/// To make a schema that is there needs a privilege that its owner may not have.
async fn make_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(format!("\"{schema}\""))
        .fetch_one(&mut *connection)
        .await?;
    if is_there {
        return Ok(());
    }
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
    match sqlx::query(AssertSqlSafe(create)).execute(connection).await {
        Err(error) if sqlstate(&error).is_some_and(|code| ALREADY_THERE.contains(&code.as_str())) => Ok(()),
        made => made.map(drop),
    }
}

/// Whether exactly the changes of this version were made. If not, or if that cannot be told, sqlx looks more closely, and waits
/// for others that do.
async fn is_up_to_date(connection: &mut PgConnection) -> bool {
    let migrator = sqlx::migrate!();
    let Ok(None) = connection.dirty_version(&migrator.table_name).await else { return false };
    let Ok(applied) = connection.list_applied_migrations(&migrator.table_name).await else { return false };
    let applied = applied.iter().map(|applied| (applied.version, &applied.checksum));
    applied.eq(migrator.iter().map(|migration| (migration.version, &migration.checksum)))
}
