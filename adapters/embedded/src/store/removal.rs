//! Removing what is old: segments as a whole, and rows.
//!
//! Constraints and invariants:
//! * A segment is removed once its last event is too old, or while all segments have too many bytes; those that were received first
//!   go first.
//! * A call removes a bounded number of segments and rows, and their counts in the same transaction. No file is read for it: a
//!   segment that is damaged or missing is removed like any other.

use domain::ports::StoreError;
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::sealing::remove_claims;
use super::{EXPIRE_EVENTS_MAX, EXPIRE_PAGES_MAX, SqliteStore, rollups, segment_list, store_error};

/// Maximum segments that one call removes. Subtracting the counts of one takes about 5 microseconds for each minute, level and
/// source that it has.
const SEGMENTS_REMOVED_MAX: usize = 8;

impl SqliteStore {
    /// Removes what was received, or found, before `oldest`. Returns how many events and dead letters it removed.
    pub(super) async fn remove_before(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        let (sealed, removed) = self
            .writer
            .write(async |writer| {
                let sealed = self.remove_segments(writer, oldest).await?;
                Ok((sealed, remove_rows(writer, oldest).await?))
            })
            .await?;
        if sealed > 0 {
            self.segments.want_sweep();
            // Otherwise the next step removes the files.
            if let Ok(_step) = self.step.try_lock()
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(%error, "cannot remove the files of expired segments yet");
            }
        }
        Ok(sealed + removed)
    }

    /// Removes segments beyond the maximum of bytes.
    pub(super) async fn remove_beyond_bytes_max(&self) -> Result<(), StoreError> {
        let removed = self.writer.write(async |writer| self.remove_segments(writer, Timestamp::MIN).await).await?;
        self.segments.want_sweep();
        tracing::info!(events = removed, "removed the oldest events: sealed segments have more than STORE__BYTES_MAX");
        Ok(())
    }

    /// Takes segments off the list. Returns how many events they have.
    async fn remove_segments(&self, writer: &mut SqliteConnection, oldest: Timestamp) -> Result<u64, StoreError> {
        let list = self.segments.list(&mut *writer).await?;
        let mut file_bytes = list.file_bytes();
        let (mut numbers, mut events, mut last) = (Vec::new(), 0, Timestamp::MIN);
        // In the order of their last receipt.
        for listed in list.segments.iter().take(SEGMENTS_REMOVED_MAX) {
            let summary = &listed.summary;
            if summary.received.to >= oldest && file_bytes <= self.seal.segment_bytes_max {
                break;
            }
            file_bytes -= summary.file_bytes;
            events += summary.rows;
            last = summary.received.to;
            numbers.push(listed.number);
        }
        if numbers.is_empty() {
            return Ok(0);
        }
        for number in &numbers {
            rollups::subtract_segment(&mut *writer, *number).await.map_err(store_error)?;
        }
        segment_list::remove(&mut *writer, &numbers).await?;
        // An event that is gone makes no other a repeat. Events that are left are found in their segments.
        remove_claims(&mut *writer, last.unix_micros().saturating_add(1)).await?;
        segment_list::next_generation(writer).await?;
        Ok(events)
    }
}

/// Removes at most [`EXPIRE_EVENTS_MAX`] events and as many dead letters. Returns how many.
async fn remove_rows(writer: &mut SqliteConnection, oldest: Timestamp) -> Result<u64, StoreError> {
    let events = remove_events(&mut *writer, oldest).await.map_err(store_error)?;
    let letters = "DELETE FROM dead_letters WHERE id IN \
                   (SELECT id FROM dead_letters WHERE at < ? ORDER BY at LIMIT ?)";
    let letters = sqlx::query(letters).bind(oldest.unix_micros()).bind(EXPIRE_EVENTS_MAX);
    let removed = events + letters.execute(&mut *writer).await.map_err(store_error)?.rows_affected();
    let give_up = format!("PRAGMA incremental_vacuum({EXPIRE_PAGES_MAX})");
    sqlx::query(AssertSqlSafe(give_up)).execute(&mut *writer).await.map_err(store_error)?;
    Ok(removed)
}

async fn remove_events(writer: &mut SqliteConnection, oldest: Timestamp) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received_at < ? ORDER BY received_at LIMIT ?) \
                  RETURNING timestamp, level, source";
    let delete = sqlx::query(delete).bind(oldest.unix_micros()).bind(EXPIRE_EVENTS_MAX);
    let removed = delete.fetch_all(&mut *writer).await?;
    rollups::subtract(writer, &rollups::of_rows(&removed)?).await?;
    Ok(removed.len() as u64)
}
