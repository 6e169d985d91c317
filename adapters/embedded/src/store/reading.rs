//! Answers from both parts of the store: its chunks, and its sealed segments.
//!
//! Constraints and invariants:
//! * Chunks and the list of segments are of one transaction: an event that is being sealed is in exactly one of them.
//! * Everything is read on a thread that may block. The connection stays with the call, which bounds how many read at once. Its
//!   transaction ends before segments are read, which never change.
//! * A segment that cannot be read fails the call, unless nothing in it can be in the answer.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use domain::Uuid;
use domain::filter::{Condition, EventFilter, TimeField};
use domain::ports::StoreError;
use domain::query::{Direction, LogQuery, Page, StoredEvent, TailPage, TailQuery};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use segments::{PageSearch, SegmentError, SegmentSummary, TailSearch, TimeIsUp, count, find};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;

use super::hot::{ChunkReader, HotChunk, ReadError, State};
use super::segment_files::SegmentFiles;
use super::segment_list::SegmentList;
use super::{SqliteStore, TAIL_EVENTS_MAX, rollups};

/// The store as one transaction sees it.
pub(super) struct Snapshot<'r> {
    chunks: ChunkReader<'r>,
    list: Arc<SegmentList>,
    files: &'r SegmentFiles,
    time_is_up: TimeIsUp<'r>,
}

impl SqliteStore {
    /// Reads on a thread that may block: `take` takes from the chunks of a transaction, and `work` answers from that, the bodies of
    /// these chunks and the segments.
    ///
    /// # Errors
    /// Those of `work` and of SQLite.
    pub(super) async fn read<H, T: Send + 'static>(
        &self,
        connection: PoolConnection<Sqlite>,
        deadline: Option<Instant>,
        take: impl Fn(&State) -> H + Send + 'static,
        work: impl FnOnce(Snapshot<'_>, H) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (hot, runtime) = (Arc::clone(&self.hot), Handle::current());
        let done = self.segments.read(deadline, move |files, time_is_up| {
            let mut connection = connection;
            let (transaction, list, taken) = loop {
                let (mut transaction, list) = runtime.block_on(files.snapshot(&mut connection))?;
                if let Some(taken) = runtime.block_on(hot.seen_by(&mut transaction, &take))? {
                    break (transaction, list, taken);
                }
                if time_is_up() {
                    return Err(StoreError::TooBroad.into());
                }
            };
            let chunks = ChunkReader::new(transaction, &runtime, time_is_up);
            work(Snapshot { chunks, list, files, time_is_up }, taken)
        });
        done.await
    }

    pub(super) async fn page(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        let connection = self.readers.acquire().await?;
        let deadline = self.readers.deadline(query.time_max);
        let (range, query) = (query.filter.time_range(), query.clone());
        let take = move |state: &State| state.between(&range);
        self.read(connection, Some(deadline), take, move |snapshot, chunks| page_of(snapshot, chunks, query)).await
    }

    pub(super) async fn event(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let connection = self.readers.acquire().await?;
        let deadline = self.readers.deadline(None);
        let take = move |state: &State| state.with_event_id(event_id);
        self.read(connection, Some(deadline), take, move |snapshot, found| newest_event(snapshot, found, event_id))
            .await
    }

    pub(super) async fn counts(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        let connection = self.counters.acquire().await?;
        let deadline = self.counters.deadline(query.time_max);
        // Edges are beside the range.
        let range = query.rollups().map_or(query.filter.time_range(), |rollups| rollups.range_with_edges());
        let query = query.clone();
        let take = move |state: &State| state.between(&range);
        let work = move |snapshot: Snapshot<'_>, chunks| counts_of(snapshot, chunks, &query, deadline);
        self.read(connection, Some(deadline), take, work).await
    }

    pub(super) async fn tail_page(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        let connection = self.readers.acquire().await?;
        let deadline = self.readers.deadline(None);
        let (after, query) = (query.after, query.clone());
        let take = move |state: &State| {
            let end = state.next_id().saturating_sub(1);
            let wanted = after.filter(|after| *after < end);
            let range = wanted.map(|after| after + 1..=end.min(after.saturating_add(TAIL_EVENTS_MAX)));
            (end, range.map(|range| (state.with_ids(&range), range)))
        };
        let work = move |snapshot: Snapshot<'_>, (end, wanted)| match wanted {
            Some((chunks, range)) => tail_of(snapshot, chunks, query, range, end),
            None => Ok(TailPage { events: Vec::new(), scanned: end, end }),
        };
        self.read(connection, Some(deadline), take, work).await
    }
}

/// The page of a query, first from the chunks and then from the segments that it needs.
fn page_of(snapshot: Snapshot<'_>, mut hot: Vec<HotChunk>, query: LogQuery) -> Result<Page<StoredEvent>, ReadError> {
    let Snapshot { mut chunks, list, files, time_is_up } = snapshot;
    let (direction, filter) = (query.order.direction, query.filter.clone());
    let mut search = PageSearch::new(query);
    match direction {
        Direction::NewestFirst => hot.sort_by_key(|hot| Reverse(hot.chunk.timestamps.to)),
        Direction::OldestFirst => hot.sort_by_key(|hot| hot.chunk.timestamps.from),
    }
    let sealed = || list.segments.iter().map(|listed| listed.summary.timestamps);
    let mut rest = hot.as_slice();
    while let Some((hot, others)) = rest.split_first() {
        rest = others;
        let mut unread = hot.chunk.timestamps;
        if !search.needs(unread) {
            continue;
        }
        match chunks.search(hot, &filter, &mut search, &mut unread) {
            // Time was up only for finding out whether there are more.
            Err(StoreError::TooBroad) => {
                let unread = std::iter::once(unread).chain(others.iter().map(|hot| hot.chunk.timestamps));
                if search.holds_page(unread.chain(sealed())) {
                    return Ok(with_more(search));
                }
                return Err(StoreError::TooBroad.into());
            }
            searched => searched?,
        }
    }
    drop(chunks);
    if !sealed().any(|timestamps| search.needs(timestamps)) {
        return Ok(search.page());
    }
    Ok(search_segments(files, &list, direction, search, time_is_up)?)
}

/// The page, of which is known that it has all of its events, and not whether more follow.
fn with_more(search: PageSearch) -> Page<StoredEvent> {
    Page { more: true, ..search.page() }
}

/// Searches the segments from the end where the page begins, as far as the page needs them.
fn search_segments(
    files: &SegmentFiles,
    list: &SegmentList,
    direction: Direction,
    mut search: PageSearch,
    time_is_up: TimeIsUp<'_>,
) -> Result<Page<StoredEvent>, SegmentError> {
    let mut summaries: Vec<&SegmentSummary> = list.segments.iter().map(|listed| &listed.summary).collect();
    match direction {
        Direction::NewestFirst => summaries.sort_by_key(|summary| Reverse(summary.timestamps.to)),
        Direction::OldestFirst => summaries.sort_by_key(|summary| summary.timestamps.from),
    }
    let mut rest = summaries.as_slice();
    while let Some((summary, others)) = rest.split_first() {
        if search.needs(summary.timestamps) {
            let scanned = files.open(summary).and_then(|segment| search.scan(&[segment], time_is_up));
            match scanned {
                Err(SegmentError::TooBroad) if search.holds_page(rest.iter().map(|unread| unread.timestamps)) => {
                    return Ok(with_more(search));
                }
                scanned => scanned?,
            }
        }
        rest = others;
    }
    Ok(search.page())
}

/// Counts with rollups without the events of edges, if they have the answer; otherwise all events of chunks and segments.
fn counts_of(
    snapshot: Snapshot<'_>,
    hot: Vec<HotChunk>,
    query: &StatsQuery,
    deadline: Instant,
) -> Result<Counts, ReadError> {
    let Snapshot { mut chunks, list, files, time_is_up } = snapshot;
    let (mut rolled_up, mut queries) = (None, vec![query.clone()]);
    if let Some(asked) = query.rollups() {
        rolled_up = chunks.wait(async |reader| rollups::counts(reader, deadline, &asked).await)?;
        if rolled_up.is_some() {
            let of_edge = |edge: &RangeInclusive<Timestamp>| {
                let edge = EventFilter::from(Condition::Time(TimeField::Timestamp, edge.clone()));
                StatsQuery { filter: edge.and(asked.rest.clone()), ..query.clone() }
            };
            queries = asked.edges.iter().map(of_edge).collect();
        }
    }
    let mut counts = Counts::default();
    for query in &queries {
        let range = query.filter.time_range();
        let meets = |from: Timestamp, to: Timestamp| from <= *range.end() && *range.start() <= to;
        for hot in hot.iter().filter(|hot| meets(hot.chunk.timestamps.from, hot.chunk.timestamps.to)) {
            chunks.count(hot, query, &mut counts)?;
        }
    }
    drop(chunks);
    for query in &queries {
        let range = query.filter.time_range();
        let summaries = list.segments.iter().map(|listed| &listed.summary);
        for summary in summaries.filter(|it| it.timestamps.from <= *range.end() && *range.start() <= it.timestamps.to) {
            count(&[files.open(summary)?], query, &mut counts, time_is_up)?;
        }
    }
    let Some(mut rolled_up) = rolled_up else { return Ok(counts) };
    rolled_up.subtract(&counts);
    Ok(rolled_up)
}

/// The page of a tail with ids in a range.
fn tail_of(
    snapshot: Snapshot<'_>,
    hot: Vec<HotChunk>,
    query: TailQuery,
    range: RangeInclusive<u64>,
    end: u64,
) -> Result<TailPage, ReadError> {
    let Snapshot { mut chunks, list, files, time_is_up } = snapshot;
    let (until, filter) = (*range.end(), query.filter.clone());
    let mut search = TailSearch::new(query, range);
    for hot in &hot {
        if search.needs(hot.chunk.ids()) {
            chunks.tail(hot, &filter, &mut search)?;
        }
    }
    drop(chunks);
    for listed in &list.segments {
        if search.needs(listed.summary.sequences) {
            search.scan(&[files.open(&listed.summary)?], time_is_up)?;
        }
    }
    let Page { items: events, more } = search.page();
    let scanned = events.last().filter(|_| more).map_or(until, |(sequence, _)| *sequence);
    Ok(TailPage { scanned, events, end })
}

/// Of the events with an id, the one that was received last. `found` is the last receipt in the hot part, and the chunks of which
/// one has that event.
fn newest_event(
    snapshot: Snapshot<'_>,
    found: Option<(Timestamp, Vec<HotChunk>)>,
    event_id: Uuid,
) -> Result<Option<StoredEvent>, ReadError> {
    let Snapshot { mut chunks, list, files, time_is_up } = snapshot;
    let mut newest: Option<StoredEvent> = None;
    if let Some((received_at, hot)) = found {
        for hot in &hot {
            newest = chunks.find(hot, event_id, received_at)?;
            if newest.is_some() {
                break;
            }
        }
    }
    drop(chunks);
    for listed in list.segments.iter().rev() {
        let is_older = |newest: &StoredEvent| listed.summary.received.to <= newest.event.received_at;
        if newest.as_ref().is_some_and(is_older) {
            continue;
        }
        if time_is_up() {
            return Err(SegmentError::TooBroad.into());
        }
        for found in find(&[files.open(&listed.summary)?], event_id)? {
            if newest.as_ref().is_none_or(|newest| newest.event.received_at < found.event.received_at) {
                newest = Some(found);
            }
        }
    }
    Ok(newest)
}
