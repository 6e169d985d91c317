//! Migrates the database.
//!
//! Constraints and invariants:
//! * A process runs one migration at a time, on one connection, however many calls wait for it.
//! * Everything but the migration itself is limited to seconds. A migration may take longer than any call, so it
//!   continues when no call waits for it any longer.

use std::time::Duration;

use domain::ports::StoreError;
use sqlx::migrate::Migrate;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::{ALREADY_THERE, sqlstate, store_error};

/// Maximum wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum duration of everything before the migration.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum duration of a migration, including the wait for another process that runs one. After that, the connection
/// counts as dead.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The schema of a store.
pub struct Schema {
    connect: PgConnectOptions,
    name: String,
    up_to_date: OnceCell<()>,
    update: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl Schema {
    /// A schema in the database of these options. It becomes the search path.
    pub fn new(connect: PgConnectOptions, name: &str) -> Self {
        Self { connect, name: name.to_owned(), up_to_date: OnceCell::new(), update: Mutex::default() }
    }

    /// Migrates the database unless this was done before. If the future is dropped, the next call waits for the same
    /// migration.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.up_to_date.initialized() {
            return Ok(());
        }
        let mut update = self.update.lock().await;
        if self.up_to_date.initialized() {
            return Ok(());
        }
        // The result of a migration that no call waited for may be outdated.
        update.take_if(|update| update.is_finished());
        let running = update.get_or_insert_with(|| {
            let (connect, name) = (self.connect.clone(), self.name.clone());
            tokio::spawn(async move { bring_up_to_date(&connect, &name).await })
        });
        let result = running.await;
        *update = None;
        result.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))?;
        // Cannot be set yet: the lock is held.
        let _ = self.up_to_date.set(());
        Ok(())
    }
}

/// Connects once and returns why that fails. A pool only reports that it waited.
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

/// Creates the schema and its tables, or the missing ones. Many processes may do so at once: the others wait.
async fn bring_up_to_date(connect: &PgConnectOptions, schema: &str) -> Result<(), StoreError> {
    let mut connection = open(connect, CONNECT_TIMEOUT).await?;
    let look = async {
        create_schema(&mut connection, schema).await?;
        Ok(is_up_to_date(&mut connection).await)
    };
    if !within(LOOK_TIMEOUT, "no answer", look).await?.map_err(store_error)? {
        let migrator = sqlx::migrate!();
        // What `run` does; the trait bounds of `run` do not fit a spawned task.
        let migration = migrator.run_direct(None, &mut connection, false);
        let migrated = within(MIGRATION_TIMEOUT, "the database is not migrated", migration).await?;
        migrated.map_err(|error| StoreError::Unavailable(error.into()))?;
    }
    connection.close().await.map_err(store_error)
}

/// Creates the schema only if it is missing: attempting it needs a privilege that the owner of the schema may not have.
async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
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
        created => created.map(drop),
    }
}

/// Whether exactly the migrations of this version were applied. If not, or if unknown, sqlx checks under its lock.
async fn is_up_to_date(connection: &mut PgConnection) -> bool {
    let migrator = sqlx::migrate!();
    let Ok(None) = connection.dirty_version(&migrator.table_name).await else { return false };
    let Ok(applied) = connection.list_applied_migrations(&migrator.table_name).await else { return false };
    let applied = applied.iter().map(|applied| (applied.version, &applied.checksum));
    applied.eq(migrator.iter().map(|migration| (migration.version, &migration.checksum)))
}
