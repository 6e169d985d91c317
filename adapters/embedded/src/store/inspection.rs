//! Reads the sealed segments of a data directory from outside the process that owns them, for operators.
//!
//! Constraints and invariants:
//! * No event is changed, and a running process is not disturbed.
//! * Segments may be merged or removed meanwhile: one that fails is an error only if it is still listed.

use std::path::Path;
use std::time::Duration;

use domain::ports::StoreError;
use segments::SegmentSummary;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{segment_list, store_error};

/// The segments of the store in a file, in the order of their last receipt.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file is missing, or is of a version without segments.
pub async fn list_segments(file: &Path) -> Result<Vec<SegmentSummary>, StoreError> {
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(5))
        .pragma("query_only", "on")
        .disable_statement_logging();
    let mut connection = connect.connect().await.map_err(store_error)?;
    let listed = segment_list::load(&mut connection).await;
    connection.close().await.map_err(store_error)?;
    Ok(listed?.into_iter().map(|listed| listed.summary).collect())
}
