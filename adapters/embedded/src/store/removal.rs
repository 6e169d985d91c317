//! Removing what is old: segments as a whole, and events of chunks.
//!
//! Constraints and invariants:
//! * A segment is removed once its last event is too old, or while all segments have too many bytes; those that were received first
//!   go first.
//! * A call removes a bounded number of segments and events, and their counts in the same transaction. No file is read for it: a
//!   segment that is damaged or missing is removed like any other. A chunk of which some events are too old is written again.

use domain::event::LogEvent;
use domain::ports::StoreError;
use domain::rollup::Rollups;
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::hot::{Body, CHUNK_EVENTS_MAX, Change, HotChunk, NewChunk, Numbered, Version, ids_of, pack_all};
use super::sealing::remove_claims;
use super::{SqliteStore, rollups, segment_list, store_error};

/// Maximum dead letters that one call removes.
const LETTERS_REMOVED_MAX: i64 = 2_000;
/// Maximum pages of the file that one call returns to the disk: more than what it removes usually occupies.
const PAGES_RETURNED_MAX: u32 = 4_000;

/// Maximum segments that one call removes. Subtracting the counts of one takes about 5 microseconds for each minute, level and
/// source that it has.
const SEGMENTS_REMOVED_MAX: usize = 8;

impl SqliteStore {
    /// Removes what was received, or found, before `oldest`. Returns how many events and dead letters it removed.
    pub(super) async fn remove_before(&self, oldest: Timestamp) -> Result<u64, StoreError> {
        let (sealed, removed, version) = self
            .writer
            .write(async |writer| {
                let (sealed, _) = self.remove_segments(writer, oldest).await?;
                let (events, version) = self.remove_events(writer, oldest).await?;
                let letters = remove_letters(writer, oldest).await.map_err(store_error)?;
                Ok((sealed, events + letters, version))
            })
            .await?;
        self.hot.committed(version);
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
        let (events, received_until) =
            self.writer.write(async |writer| self.remove_segments(writer, Timestamp::MIN).await).await?;
        self.segments.want_sweep();
        tracing::info!(
            events,
            %received_until,
            "removed the oldest events: sealed segments have more than STORE__BYTES_MAX"
        );
        Ok(())
    }

    /// Takes segments off the list. Returns how many events they have, and their last receipt.
    async fn remove_segments(
        &self,
        writer: &mut SqliteConnection,
        oldest: Timestamp,
    ) -> Result<(u64, Timestamp), StoreError> {
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
            return Ok((0, last));
        }
        for number in &numbers {
            rollups::subtract_segment(&mut *writer, *number).await.map_err(store_error)?;
        }
        segment_list::remove(&mut *writer, &numbers).await?;
        // An event that is gone makes no other a repeat. Events that are left are found in their segments.
        remove_claims(&mut *writer, last.unix_micros().saturating_add(1)).await?;
        segment_list::next_generation(writer).await?;
        Ok((events, last))
    }

    /// Removes events from some chunks. Returns how many, and the version of the chunks after that.
    async fn remove_events(
        &self,
        writer: &mut SqliteConnection,
        oldest: Timestamp,
    ) -> Result<(u64, Option<Version>), StoreError> {
        let events_max = CHUNK_EVENTS_MAX as u64;
        let old = self.hot.seen_by_writer(writer, |state| state.received_before(oldest, events_max)).await?;
        if old.is_empty() {
            return Ok((0, None));
        }
        let (mut change, mut removed) = (Change::default(), 0);
        for hot in old {
            let body = hot.body(&mut *writer).await?;
            let (gone, kept) = split(&hot, &body, oldest)?;
            removed += gone.len() as u64;
            rollups::subtract(&mut *writer, &Rollups::of(&gone)).await.map_err(store_error)?;
            hot.delete(&mut *writer).await?;
            for chunk in pack_all(kept).await? {
                change.added.push(chunk.insert(&mut *writer).await?);
            }
            change.forgotten.extend(ids_of(&body));
            change.removed.push(hot);
        }
        Ok((removed, Some(self.hot.change(writer, change).await?)))
    }
}

/// The events of a chunk that were received before a time, and the others as chunks.
fn split<'b>(
    hot: &HotChunk,
    body: &'b Body,
    oldest: Timestamp,
) -> Result<(Vec<LogEvent<'b>>, Vec<NewChunk>), StoreError> {
    let chunk = &hot.chunk;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for at in 0..body.count() {
        let event = chunk.event(body, at)?;
        if event.received_at < oldest {
            gone.push(event);
        } else {
            let numbers = body.id(at).zip(body.offset(at));
            kept.push((numbers.ok_or_else(|| chunk.damaged())?, event));
        }
    }
    let kept = kept.iter().map(|((id, offset), event)| Numbered { id: *id, offset: *offset, event });
    let kept = NewChunk::of(&chunk.topic, chunk.partition, kept);
    Ok((gone, kept))
}

/// Removes some dead letters that were found before a time. Returns how many.
async fn remove_letters(writer: &mut SqliteConnection, oldest: Timestamp) -> Result<u64, sqlx::Error> {
    let letters = "DELETE FROM dead_letters WHERE id IN \
                   (SELECT id FROM dead_letters WHERE at < ? ORDER BY at LIMIT ?)";
    let letters = sqlx::query(letters).bind(oldest.unix_micros()).bind(LETTERS_REMOVED_MAX);
    let removed = letters.execute(&mut *writer).await?.rows_affected();
    let give_up = format!("PRAGMA incremental_vacuum({PAGES_RETURNED_MAX})");
    sqlx::query(AssertSqlSafe(give_up)).execute(&mut *writer).await?;
    Ok(removed)
}
