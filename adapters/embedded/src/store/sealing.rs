//! Moving old chunks into sealed segments.
//!
//! Constraints and invariants:
//! * An event is in exactly one place at each moment: one transaction lists the segment and deletes exactly the chunks whose events
//!   are in it; their counts become those of the segment. It fails if the intent is gone, or if a chunk has changed. Nothing is
//!   decided by a clock.
//! * The file is complete and synced, with its directory, before that transaction. What is in no list is removed: first the
//!   intent, then the file. So a segment is never removed while it can still be listed.
//! * The newest events stay in chunks, whatever their age, so that tails and most pages open no segment.
//! * A segment has events of one day of receipt. Chunks are taken in the order in which they were stored; chunks of another day
//!   between them are left for the next segment.
//! * Steps are small, and one at a time: one chunk is in memory at once, and the writing connection is taken for the last
//!   transaction only.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::level::Level;
use domain::ports::StoreError;
use domain::rollup::{Rollup, Rollups};
use segments::{
    GROUP_ROWS_MAX, Row as SegmentRow, SegmentBounds, SegmentError, SegmentSummary, SegmentWriter, TimeIsUp,
};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};
use tokio::runtime::Handle;

use super::hot::{Change, EarlierRows, HotChunk, HotId, ReadError, State, ids_of};
use super::segment_files::SegmentFiles;
use super::segment_list::{self, file_name};
use super::{SqliteStore, rollups, store_error};

/// Claims that one step removes: more than a segment adds.
const CLAIMS_REMOVED_MAX: i64 = 200_000;
/// Claims per `INSERT`, largest first: few statements are ever prepared.
const ADD_CLAIMS: [usize; 3] = [256, 16, 1];
/// Free pages that stay in the file for the next events. Further ones are returned to the disk, some in each step.
const FREE_PAGES_KEPT: i64 = 20_000;
const PAGES_RETURNED_MAX: u32 = 10_000;

/// When events are sealed, and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealOptions {
    /// Whether events are sealed. Sealed ones stay readable in any case.
    pub enabled: bool,
    /// The newest events, at least so many of them, stay in chunks.
    pub hot_events: u64,
    /// With more events in chunks, appends wait until some are sealed: what is known of each is in memory.
    pub hot_events_max: u64,
    /// Nothing is sealed until so many events can be.
    pub events_min: u64,
    /// Ends of a segment, which takes whole chunks: a chunk that exceeds the rows or, uncompressed, the bytes of a file goes to the
    /// next one, or to one of its own.
    pub bounds: SegmentBounds,
    /// Maximum bytes of all segments; the oldest are removed.
    pub segment_bytes_max: u64,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            hot_events: 200_000,
            hot_events_max: 1_000_000,
            // Whole row groups. While events wait, segments are twice as large, and half as many are merged.
            events_min: 2 * GROUP_ROWS_MAX as u64,
            bounds: SegmentBounds { rows_max: 4 * GROUP_ROWS_MAX as u64, ..SegmentBounds::default() },
            segment_bytes_max: u64::MAX,
        }
    }
}

/// What becomes of the chunks of a segment.
struct Sealed {
    summary: SegmentSummary,
    chunks: Vec<HotChunk>,
    /// The ids of their events.
    ids: Vec<HotId>,
    /// Those of clients.
    claims: Vec<HotId>,
    /// Numbers of events by minute, level and source.
    counts: BTreeMap<(i64, Level, Box<str>), u64>,
}

impl SqliteStore {
    /// Does one step of the work on segments, if there is any: removes files that are not segments, removes segments beyond
    /// [`SealOptions::segment_bytes_max`], joins small chunks, seals old ones, or merges segments. Returns whether there may be
    /// more to do at once. It may be dropped at any time; one step runs at a time.
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
        let (small, old) = self.chunks_to_change().await?;
        if !small.is_empty() {
            self.join_chunks(small).await?;
            return Ok(true);
        }
        if !self.seal.enabled {
            return Ok(false);
        }
        if !old.is_empty() {
            self.seal_chunks(old).await?;
            return Ok(true);
        }
        self.merge_segments(&list).await
    }

    /// Moves the rows of an earlier version into chunks. Old chunks are sealed meanwhile, because the ids of the events of all
    /// chunks are in memory.
    pub(super) async fn move_earlier_rows(&self) -> Result<(), StoreError> {
        let mut earlier = EarlierRows::default();
        while earlier.move_some(&self.writer, self.seal.hot_events_max).await? {
            if self.seal.enabled
                && let Err(error) = self.seal_old_chunks().await
            {
                tracing::warn!(%error, "cannot seal events while they are moved into chunks, trying again later");
            }
        }
        Ok(())
    }

    async fn seal_old_chunks(&self) -> Result<(), StoreError> {
        loop {
            let (_, old) = self.chunks_to_change().await?;
            if old.is_empty() {
                return Ok(());
            }
            self.seal_chunks(old).await?;
        }
    }

    /// Small chunks to be joined, and the chunks of the next segment.
    async fn chunks_to_change(&self) -> Result<(Vec<HotChunk>, Vec<HotChunk>), StoreError> {
        let (connection, options) = (self.readers.acquire().await?, self.seal);
        let take = move |state: &State| (state.to_join(), state.to_seal(&options));
        self.read(connection, None, take, |_, chunks| Ok(chunks)).await
    }

    async fn seal_chunks(&self, chunks: Vec<HotChunk>) -> Result<(), StoreError> {
        self.segments.want_sweep();
        let number = self.writer.write(async |writer| segment_list::intend(writer).await).await?;
        let (bounds, connection, runtime) = (self.seal.bounds, self.readers.acquire().await?, Handle::current());
        let written = self.segments.read(None, move |files, is_over| {
            write_segment(files, &file_name(number), bounds, chunks, connection, &runtime, is_over)
        });
        let Some(sealed) = written.await? else { return Ok(()) };
        let (segment, events, file_bytes) =
            (sealed.summary.name.clone(), sealed.summary.rows, sealed.summary.file_bytes);
        self.list_segment(number, sealed).await?;
        self.sealed.notify_waiters();
        tracing::debug!(segment, events, file_bytes, "events are sealed");
        Ok(())
    }

    /// Lists a segment and deletes its chunks.
    async fn list_segment(&self, number: i64, sealed: Sealed) -> Result<(), StoreError> {
        let version = self
            .writer
            .write(async |writer| {
                let Sealed { summary, chunks, ids, claims, counts } = sealed;
                self.hot.seen_by_writer(writer, |_| ()).await?;
                segment_list::add(writer, number, 0, &summary).await?;
                let (_, claims_from) = segment_list::state(writer).await?;
                add_claims(writer, &claims, claims_from).await.map_err(store_error)?;
                let counts: Vec<Rollup<'_>> = counts
                    .iter()
                    .map(|((minute, level, source), events)| {
                        let (minute, level, events) = (*minute, *level, *events);
                        Rollup { minute, level, source, events }
                    })
                    .collect();
                rollups::count_segment(writer, number, &counts).await.map_err(store_error)?;
                for chunk in &chunks {
                    chunk.delete(writer).await?;
                }
                let change = Change { removed: chunks, forgotten: ids, ..Change::default() };
                let version = self.hot.change(writer, change).await?;
                self.remove_old_claims(writer).await?;
                segment_list::next_generation(writer).await?;
                return_pages(writer).await?;
                Ok(Some(version))
            })
            .await?;
        self.hot.committed(version);
        Ok(())
    }

    /// Removes claims that are older than the dedup window before the oldest event of the chunks: almost no event that arrives is received
    /// before that. For those that are, segments are asked.
    async fn remove_old_claims(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar("SELECT min(received_from) FROM chunks")
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
    async fn segment_list(&self) -> Result<Arc<segment_list::SegmentList>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let (_transaction, list) = self.segments.snapshot(&mut reader).await?;
        Ok(list)
    }
}

/// Keeps the claims of clients whose receipt the claims cover.
async fn add_claims(writer: &mut SqliteConnection, claims: &[HotId], claims_from: i64) -> Result<(), sqlx::Error> {
    let covered: Vec<&HotId> = claims.iter().filter(|claim| claim.received_at.unix_micros() >= claims_from).collect();
    let mut rest = covered.as_slice();
    for size in ADD_CLAIMS {
        while let Some((part, others)) = rest.split_at_checked(size) {
            let rows = vec!["(?, ?, ?)"; size].join(", ");
            let add = format!("INSERT OR IGNORE INTO claims (event_id, tenant, received_at) VALUES {rows}");
            let mut add = sqlx::query(AssertSqlSafe(add));
            for claim in part {
                add = add
                    .bind(claim.event_id.as_bytes().as_slice())
                    .bind(claim.tenant.map_or_else(Vec::new, |tenant| tenant.as_bytes().to_vec()))
                    .bind(claim.received_at.unix_micros());
            }
            add.execute(&mut *writer).await?;
            rest = others;
        }
    }
    Ok(())
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

/// Returns free pages to the disk if there are many, as after the first start with a store of an earlier version.
async fn return_pages(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *writer).await.map_err(store_error)?;
    if free <= FREE_PAGES_KEPT {
        return Ok(());
    }
    let give_up = format!("PRAGMA incremental_vacuum({PAGES_RETURNED_MAX})");
    sqlx::query(AssertSqlSafe(give_up)).execute(writer).await.map(drop).map_err(store_error)
}

/// Writes the events of chunks into the file of a segment. Blocks.
fn write_segment(
    files: &SegmentFiles,
    name: &str,
    bounds: SegmentBounds,
    chunks: Vec<HotChunk>,
    mut connection: PoolConnection<Sqlite>,
    runtime: &Handle,
    is_over: TimeIsUp<'_>,
) -> Result<Option<Sealed>, ReadError> {
    // The chunks are within the bounds, or are a single one.
    let bounds = SegmentBounds { rows_max: u64::MAX, file_bytes_max: u64::MAX, ..bounds };
    let mut writer = SegmentWriter::create(Arc::clone(&files.storage), name, bounds)?;
    let (mut ids, mut claims, mut counts) = (Vec::new(), Vec::new(), BTreeMap::new());
    for hot in &chunks {
        if is_over() {
            return Err(SegmentError::TooBroad.into());
        }
        let (chunk, body) = (&hot.chunk, runtime.block_on(hot.body(&mut connection))?);
        let mut events = Vec::with_capacity(body.count());
        for at in 0..body.count() {
            events.push(chunk.event(&body, at)?);
        }
        let mut rollups = Rollups::default();
        for (at, event) in events.iter().enumerate() {
            let numbers = body.id(at).zip(body.offset(at));
            let (sequence, offset) = numbers.ok_or_else(|| chunk.damaged())?;
            writer.push(&SegmentRow { sequence, event, topic: &chunk.topic, partition: chunk.partition, offset })?;
            rollups.add(event.timestamp, event.level, &event.source);
            if event.id_origin.is_client() {
                claims.push(HotId::of(event));
            }
        }
        for Rollup { minute, level, source, events } in rollups.as_slice() {
            *counts.entry((*minute, *level, Box::from(*source))).or_insert(0) += events;
        }
        ids.extend(ids_of(&body));
    }
    let summary = writer.finish()?;
    Ok(summary.map(|summary| Sealed { summary, chunks, ids, claims, counts }))
}

/// Runs a file operation on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|panicked| StoreError::Unavailable(panicked.into()))?;
    done.map_err(|error| StoreError::Unavailable(error.into()))
}
