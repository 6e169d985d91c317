//! Moving old rows into sealed segments.
//!
//! Constraints and invariants:
//! * An event is in exactly one place at each moment: one transaction lists the segment and deletes exactly the rows that are in
//!   it; their counts become those of the segment. It fails if the intent is gone, or if other rows are there. Nothing is decided
//!   by a clock.
//! * The file is complete and synced, with its directory, before that transaction. What is in no list is removed: first the
//!   intent, then the file. So a segment is never removed while it can still be listed.
//! * The newest events stay rows, whatever their age, so that tails and most pages open no segment.
//! * A segment has events of one day of receipt. Rows are taken in the order in which they were stored; rows of another day
//!   between them are left for the next segment.
//! * Steps are small, and one at a time: rows are read a few at a time on a connection for queries, and the writing connection is
//!   taken for the last transaction only.

use domain::access::TenantId;
use domain::event::IdOrigin;
use domain::ports::StoreError;
use domain::query::StoredEvent;
use domain::rollup::MINUTE_MICROS;
use segments::{Row as SegmentRow, SegmentBounds, SegmentError, SegmentSummary, SegmentWriter};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, SqliteConnection};
use tokio::sync::mpsc;

use super::readers::Enough;
use super::rows::{COLUMNS, stored_event};
use super::segment_list::{self, file_name};
use super::{SqliteStore, rollups, store_error};

/// Rows that are read at once, and the bytes of their texts after which no further ones are.
const CHUNK_ROWS_MAX: i64 = 500;
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Claims that one step removes: more than a segment adds.
const CLAIMS_REMOVED_MAX: i64 = 200_000;
/// Free pages that stay in the file for the next events. Further ones are returned to the disk, some in each step.
const FREE_PAGES_KEPT: i64 = 20_000;
const PAGES_RETURNED_MAX: u32 = 10_000;
const DAY_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

/// When events are sealed, and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealOptions {
    /// Whether events are sealed. Sealed ones stay readable in any case.
    pub enabled: bool,
    /// The newest events, so many of them, stay rows.
    pub hot_events: u64,
    /// Nothing is sealed until so many events can be.
    pub events_min: u64,
    /// Ends of a segment. The transaction that deletes its rows takes about 10 microseconds for each.
    pub bounds: SegmentBounds,
    /// Maximum bytes of all segments; the oldest are removed.
    pub segment_bytes_max: u64,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            hot_events: 200_000,
            events_min: 50_000,
            bounds: SegmentBounds { rows_max: 50_000, ..SegmentBounds::default() },
            segment_bytes_max: u64::MAX,
        }
    }
}

/// The rows of one segment: those with ids in a range that were received on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowsToSeal {
    first: i64,
    last: i64,
    /// The first and the last microsecond of the day.
    day: (i64, i64),
}

/// A row, and the number that tails follow.
struct HotRow {
    id: i64,
    stored: StoredEvent,
}

impl SqliteStore {
    /// Does one step of the work on segments, if there is any: removes files that are not segments, removes segments beyond
    /// [`SealOptions::segment_bytes_max`], seals rows, or merges segments. Returns whether there may be more to do at once. It may be
    /// dropped at any time; one step runs at a time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: try again later; nothing is lost or visible twice.
    pub async fn seal(&self) -> Result<bool, StoreError> {
        let _step = self.step.lock().await;
        self.sweep().await?;
        let list = self.segment_list().await?;
        self.segments.verify_faults(&list).await;
        if list.file_bytes() > self.seal.segment_bytes_max {
            self.remove_beyond_bytes_max().await?;
            return Ok(true);
        }
        if !self.seal.enabled {
            return Ok(false);
        }
        if let Some(rows) = self.rows_to_seal().await? {
            self.seal_rows(rows).await?;
            return Ok(true);
        }
        self.merge_segments(&list).await
    }

    /// The oldest rows, if enough of them can be sealed.
    async fn rows_to_seal(&self) -> Result<Option<RowsToSeal>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let ends: (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT min(id) FROM events), (SELECT max(seq) FROM sqlite_sequence WHERE name = 'events')",
        )
        .fetch_one(&mut *reader)
        .await
        .map_err(store_error)?;
        let (Some(first), Some(end)) = ends else { return Ok(None) };
        let count = |events: u64| i64::try_from(events).unwrap_or(i64::MAX);
        let last = end.saturating_sub(count(self.seal.hot_events));
        if last.saturating_sub(first).saturating_add(1) < count(self.seal.events_min.max(1)) {
            return Ok(None);
        }
        let received: Option<i64> = sqlx::query_scalar("SELECT received_at FROM events WHERE id = ?")
            .bind(first)
            .fetch_optional(&mut *reader)
            .await
            .map_err(store_error)?;
        let last = last.min(first.saturating_add(count(self.seal.bounds.rows_max.max(1)) - 1));
        Ok(received.map(|received| {
            let day = received.div_euclid(DAY_MICROS) * DAY_MICROS;
            RowsToSeal { first, last, day: (day, day + DAY_MICROS - 1) }
        }))
    }

    async fn seal_rows(&self, rows: RowsToSeal) -> Result<(), StoreError> {
        self.segments.want_sweep();
        let number = self.writer.write(async |writer| segment_list::intend(writer).await).await?;
        let (storage, bounds, name) = (self.segments.storage.clone(), self.seal.bounds, file_name(number));
        let (sender, receiver) = mpsc::channel(1);
        let writing = tokio::task::spawn_blocking(move || {
            SegmentWriter::create(storage, &name, bounds).and_then(|writer| write_rows(writer, receiver))
        });
        let sent = self.send_rows(rows, sender).await;
        let written = writing.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))?;
        sent?;
        let Some((summary, last)) = written? else { return Ok(()) };
        // The file may be full before all rows are in it.
        self.list_segment(number, &summary, RowsToSeal { last, ..rows }).await?;
        let events = summary.rows;
        tracing::debug!(segment = summary.name, events, file_bytes = summary.file_bytes, "events are sealed");
        Ok(())
    }

    /// Reads rows, a few at a time, until all are sent or the receiver wants no more. Rows never change, so they need not be read
    /// in one transaction; rows that expire meanwhile are noticed at the end.
    async fn send_rows(&self, rows: RowsToSeal, sender: mpsc::Sender<Vec<HotRow>>) -> Result<(), StoreError> {
        let mut after = rows.first.saturating_sub(1);
        loop {
            let mut select =
                QueryBuilder::new(format!("SELECT id, tenant, {COLUMNS} FROM events NOT INDEXED WHERE id > "));
            select.push_bind(after).push(" AND id <= ").push_bind(rows.last);
            select.push(" AND received_at BETWEEN ").push_bind(rows.day.0).push(" AND ").push_bind(rows.day.1);
            select.push(" ORDER BY id LIMIT ").push_bind(CHUNK_ROWS_MAX);
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            let take = |row: &SqliteRow| {
                let row = hot_row(row)?;
                bytes += row.stored.bytes();
                chunk.push(row);
                Ok(Enough(bytes >= CHUNK_BYTES_MAX))
            };
            self.readers.read(select, take).await?;
            let Some(last) = chunk.last() else { return Ok(()) };
            after = last.id;
            if sender.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Lists a segment and deletes its rows.
    async fn list_segment(&self, number: i64, summary: &SegmentSummary, rows: RowsToSeal) -> Result<(), StoreError> {
        self.writer
            .write(async |writer| {
                segment_list::add(writer, number, 0, summary).await?;
                let keep_claims = "INSERT OR IGNORE INTO claims (event_id, tenant, received_at) \
                                   SELECT event_id, tenant, received_at FROM events NOT INDEXED \
                                   WHERE id BETWEEN ? AND ? AND received_at BETWEEN ? AND ? AND client_id \
                                   AND received_at >= (SELECT claims_from FROM segment_state)";
                execute_for(writer, keep_claims, rows).await?;
                count_rows(writer, number, rows).await?;
                let delete = "DELETE FROM events NOT INDEXED \
                              WHERE id BETWEEN ? AND ? AND received_at BETWEEN ? AND ?";
                let deleted = execute_for(writer, delete, rows).await?;
                if deleted != summary.rows {
                    let changed = format!("of the {} rows of {}, {deleted} are left", summary.rows, summary.name);
                    return Err(StoreError::Unavailable(changed.into()));
                }
                self.remove_old_claims(writer).await?;
                segment_list::next_generation(writer).await?;
                return_pages(writer).await
            })
            .await
    }

    /// Removes claims that are older than the dedup window before the oldest row: almost no event that arrives is received
    /// before that. For those that are, segments are asked.
    async fn remove_old_claims(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar("SELECT min(received_at) FROM events")
            .fetch_one(&mut *writer)
            .await
            .map_err(store_error)?;
        match oldest {
            Some(oldest) => remove_claims(writer, oldest.saturating_sub(self.window_micros())).await,
            None => Ok(()),
        }
    }

    /// Removes the files that are not segments, as far as no reader has them. The caller holds the lock of a step.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let Some(wanted) = self.segments.wanted_sweep() else { return Ok(()) };
        // The intents first: a file without one can no longer become a segment.
        self.writer.write(async |writer| segment_list::forget_intents(writer).await).await?;
        let storage = self.segments.storage.clone();
        let names = blocking(move || storage.list()).await?;
        let in_use = {
            let mut reader = self.readers.acquire().await?;
            self.segments.in_use(&mut reader).await?
        };
        let are_held = names.iter().any(|name| in_use.holds(name));
        let removed: Vec<String> = names.into_iter().filter(|name| in_use.allows_removal(name)).collect();
        if !removed.is_empty() {
            self.segments.close(&removed);
            let storage = self.segments.storage.clone();
            blocking(move || {
                removed.iter().try_for_each(|name| match storage.remove(name) {
                    // Another process was faster.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    removed => removed,
                })?;
                storage.sync_directory()
            })
            .await?;
        }
        if !are_held {
            self.segments.is_swept(wanted);
        }
        Ok(())
    }

    /// The list of segments now.
    async fn segment_list(&self) -> Result<std::sync::Arc<segment_list::SegmentList>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let (_transaction, list) = self.segments.snapshot(&mut reader).await?;
        Ok(list)
    }
}

/// Runs a statement on the rows of a segment. Returns how many rows it changed.
async fn execute_for(
    writer: &mut SqliteConnection,
    statement: &'static str,
    rows: RowsToSeal,
) -> Result<u64, StoreError> {
    let statement = sqlx::query(statement).bind(rows.first).bind(rows.last).bind(rows.day.0).bind(rows.day.1);
    Ok(statement.execute(writer).await.map_err(store_error)?.rows_affected())
}

/// Removes claims of receipts before a time in microseconds since 1970, in a transaction that changes the list. Segments are asked
/// instead, as long as they are there.
pub async fn remove_claims(writer: &mut SqliteConnection, before: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE segment_state SET claims_from = max(claims_from, ?)")
        .bind(before)
        .execute(&mut *writer)
        .await
        .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM claims WHERE (event_id, tenant, received_at) IN (SELECT event_id, tenant, received_at \
         FROM claims WHERE received_at < (SELECT claims_from FROM segment_state) ORDER BY received_at LIMIT ?)",
    )
    .bind(CLAIMS_REMOVED_MAX)
    .execute(writer)
    .await
    .map(drop)
    .map_err(store_error)
}

/// Keeps the counts of the rows of a segment, for its removal.
async fn count_rows(writer: &mut SqliteConnection, segment: i64, rows: RowsToSeal) -> Result<(), StoreError> {
    let count = sqlx::query(AssertSqlSafe(rollups::seal_statement()));
    let count = count.bind(rows.first).bind(rows.last).bind(rows.day.0).bind(rows.day.1).bind(segment);
    count.execute(writer).await.map(drop).map_err(store_error)
}

/// Returns free pages to the disk if there are many, as after the first start with a store of an earlier version.
async fn return_pages(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *writer).await.map_err(store_error)?;
    if free <= FREE_PAGES_KEPT {
        return Ok(());
    }
    let give_up = format!("PRAGMA incremental_vacuum({PAGES_RETURNED_MAX})");
    sqlx::query(AssertSqlSafe(give_up)).execute(writer).await.map(drop).map_err(store_error)
}

fn hot_row(row: &SqliteRow) -> Result<HotRow, sqlx::Error> {
    let mut stored = stored_event(row, 2)?;
    let tenant: &[u8] = row.try_get(1)?;
    // Empty without a tenant.
    if let Ok(tenant) = tenant.try_into() {
        stored.event.id_origin = IdOrigin::Tenant(TenantId::from_bytes(tenant));
    }
    Ok(HotRow { id: row.try_get(0)?, stored })
}

/// Writes rows until the file is full or no further ones come. Returns the id of the last row.
fn write_rows(
    mut writer: SegmentWriter,
    mut rows: mpsc::Receiver<Vec<HotRow>>,
) -> Result<Option<(SegmentSummary, i64)>, SegmentError> {
    let mut last = None;
    'file: while let Some(chunk) = rows.blocking_recv() {
        for HotRow { id, stored } in chunk {
            if writer.is_full() {
                break 'file;
            }
            let StoredEvent { event, topic, partition, offset } = &stored;
            let sequence = id.cast_unsigned();
            writer.push(&SegmentRow { sequence, event, topic, partition: *partition, offset: *offset })?;
            last = Some(id);
        }
    }
    Ok(writer.finish()?.zip(last))
}

/// Runs a file operation on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|panicked| StoreError::Unavailable(panicked.into()))?;
    done.map_err(|error| StoreError::Unavailable(error.into()))
}
