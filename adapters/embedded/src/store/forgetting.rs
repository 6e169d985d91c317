//! Gives up a sealed segment whose file is lost, from outside the process that owns the store, for operators.
//!
//! Constraints and invariants:
//! * One transaction takes the segment off the list, subtracts its counts and removes the claims of its receipts, as the removal of
//!   an expired segment does. It changes the generation of the list, so a process that has the store open works with the new list from
//!   its next transaction on.
//! * No file is read or removed. A process removes the file, if there is one, when it next removes files that are not segments.

use std::path::Path;
use std::time::Duration;

use domain::ports::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::sealing::remove_claims;
use super::{rollups, segment_list, store_error};

/// Takes the segment with this name off the list of the store in a file. Its events cannot be found again. Returns how many it
/// has; `None` if it is not on the list.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file is missing, is of a version without segments, cannot be written, or is locked by a writer
/// for 5 s; nothing was changed.
pub async fn forget_segment(file: &Path, name: &str) -> Result<Option<u64>, StoreError> {
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let mut connection = connect.connect().await.map_err(store_error)?;
    let forgotten = forget(&mut connection, name).await;
    connection.close().await.map_err(store_error)?;
    forgotten
}

async fn forget(connection: &mut SqliteConnection, name: &str) -> Result<Option<u64>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    let segments = segment_list::load(&mut transaction).await?;
    let Some(lost) = segments.into_iter().find(|listed| listed.summary.name == name) else { return Ok(None) };
    rollups::subtract_segment(&mut transaction, lost.number).await.map_err(store_error)?;
    segment_list::remove(&mut transaction, &[lost.number]).await?;
    // An event that is gone makes no other a repeat. Events of these receipts that are left are found in their segments.
    let (from, to) = (lost.summary.received.from.unix_micros(), lost.summary.received.to.unix_micros());
    remove_claims(&mut transaction, to.saturating_add(1)).await?;
    // That removes a limited number, the oldest first.
    sqlx::query("DELETE FROM claims WHERE received_at BETWEEN ? AND ?")
        .bind(from)
        .bind(to)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    segment_list::next_generation(&mut transaction).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(lost.summary.rows))
}
