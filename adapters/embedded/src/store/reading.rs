//! Answers from both parts of the store: its rows, and its sealed segments.
//!
//! Constraints and invariants:
//! * Rows and the list of segments are of one moment: an event that is being sealed is in exactly one of them.
//! * Segments never change, so they are read after that transaction. The connection stays with the call, which bounds how many
//!   read segments at once.
//! * A segment that cannot be read fails the call, unless nothing in it can be in the answer.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use domain::Uuid;
use domain::filter::{Condition, EventFilter, TimeField};
use domain::ports::StoreError;
use domain::query::{Direction, LogQuery, Page, StoredEvent, TailPage, TailQuery};
use domain::rollup::RollupQuery;
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use segments::{PageSearch, SegmentError, SegmentSummary, TailSearch, count, find};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::filter::push_candidates;
use super::readers::{Enough, read_until};
use super::rows::{COLUMNS, select_statement, stored_event};
use super::segment_files::SegmentFiles;
use super::segment_list::{ListedSegment, SegmentList};
use super::{SqliteStore, TAIL_EVENTS_MAX, rollups, stats, store_error};

impl SqliteStore {
    pub(super) async fn page(&self, query: &LogQuery) -> Result<Page<StoredEvent>, StoreError> {
        let candidates = query.filter.candidates();
        let mut search = PageSearch::new(query.clone());
        let mut reader = self.readers.acquire().await?;
        let deadline = self.readers.deadline(query.time_max);
        let (mut transaction, list) = self.segments.snapshot(&mut reader).await?;
        let select = select_statement(query, &candidates, i64::from(query.limit) + 1);
        let take = |row: &SqliteRow| {
            let event = stored_event(row, 0)?;
            if candidates.exact || query.filter.matches(&event.event) {
                search.offer(event);
            }
            // Rows come in the order of the query.
            Ok(Enough(search.is_full()))
        };
        let read = read_until(&mut transaction, deadline, select, take).await;
        drop(transaction);
        let mut unread = list.segments.iter().map(|listed| listed.summary.timestamps);
        match read {
            // Time was up only for finding out whether there are more.
            Err(StoreError::TooBroad) if search.holds_page(unread.clone()) => return Ok(with_more(search)),
            read => read?,
        }
        if !unread.any(|timestamps| search.needs(timestamps)) {
            return Ok(search.page());
        }
        let direction = query.order.direction;
        let searched = self.segments.read(Some(deadline), move |files, time_is_up| {
            search_segments(files, &list, direction, search, time_is_up)
        });
        searched.await
    }

    pub(super) async fn event(&self, event_id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let (mut transaction, list) = self.segments.snapshot(&mut reader).await?;
        let mut select = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM events WHERE event_id = "));
        select.push_bind(event_id.as_bytes().to_vec()).push(" ORDER BY received_at DESC LIMIT 1");
        let row = select.build().fetch_optional(&mut *transaction).await.map_err(store_error)?;
        drop(transaction);
        let newest = row.as_ref().map(|row| stored_event(row, 0)).transpose().map_err(store_error)?;
        if list.segments.is_empty() {
            return Ok(newest);
        }
        let found =
            self.segments.read(None, move |files, is_over| newest_event(files, &list, event_id, newest, is_over));
        found.await
    }

    pub(super) async fn counts(&self, query: &StatsQuery) -> Result<Counts, StoreError> {
        if let Some(asked) = query.rollups()
            && let Some(counts) = self.counts_of_minutes(query, &asked).await?
        {
            return Ok(counts);
        }
        let readers = if stats::reads_values(query) { &self.counters } else { &self.readers };
        let mut reader = readers.acquire().await?;
        let deadline = readers.deadline(query.time_max);
        let (mut transaction, list) = self.segments.snapshot(&mut reader).await?;
        let counts = stats::counts(&mut transaction, deadline, query).await?;
        drop(transaction);
        self.add_sealed(counts, list, vec![query.clone()], deadline).await
    }

    /// Counts with rollups for whole minutes, rows and sealed events of which they have; edges are counted from both. `None` if
    /// rollups do not have the answer.
    async fn counts_of_minutes(
        &self,
        query: &StatsQuery,
        asked: &RollupQuery<'_>,
    ) -> Result<Option<Counts>, StoreError> {
        let mut reader = self.counters.acquire().await?;
        let deadline = self.counters.deadline(query.time_max);
        let (mut transaction, list) = self.segments.snapshot(&mut reader).await?;
        let counts = rollups::counts(&mut transaction, deadline, asked).await?;
        drop(transaction);
        let Some(counts) = counts else { return Ok(None) };
        let edge = |edge: &RangeInclusive<Timestamp>| {
            let edge = EventFilter::from(Condition::Time(TimeField::Timestamp, edge.clone()));
            StatsQuery { filter: edge.and(query.filter.clone()), ..query.clone() }
        };
        let edges = asked.edges.iter().map(edge).collect();
        self.add_sealed(counts, list, edges, deadline).await.map(Some)
    }

    /// Adds the sealed events of each request to counts.
    async fn add_sealed(
        &self,
        mut counts: Counts,
        list: Arc<SegmentList>,
        queries: Vec<StatsQuery>,
        deadline: Instant,
    ) -> Result<Counts, StoreError> {
        let concerned = |listed: &ListedSegment| queries.iter().any(|query| meets(query, &listed.summary));
        if !list.segments.iter().any(concerned) {
            return Ok(counts);
        }
        let counted = self.segments.read(Some(deadline), move |files, time_is_up| {
            for listed in &list.segments {
                for query in queries.iter().filter(|query| meets(query, &listed.summary)) {
                    count(&[files.open(&listed.summary)?], query, &mut counts, time_is_up)?;
                }
            }
            Ok(counts)
        });
        counted.await
    }

    pub(super) async fn tail_page(&self, query: &TailQuery) -> Result<TailPage, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let deadline = self.readers.deadline(None);
        let (mut transaction, list) = self.segments.snapshot(&mut reader).await?;
        let end: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
        let end = end.cast_unsigned();
        let Some(after) = query.after.filter(|after| *after < end) else {
            return Ok(TailPage { events: Vec::new(), scanned: end, end });
        };
        let until = end.min(after.saturating_add(TAIL_EVENTS_MAX));
        let candidates = query.filter.candidates();
        let mut search = TailSearch::new(query.clone(), after + 1..=until);
        let take = |row: &SqliteRow| {
            let sequence = row.try_get::<i64, _>(0)?.cast_unsigned();
            let event = stored_event(row, 1)?;
            if candidates.exact || query.filter.matches(&event.event) {
                search.offer(sequence, event);
            }
            // Once the page is full, this one is the last that can be on it.
            Ok(Enough(!search.needs((sequence, sequence))))
        };
        // The range of ids makes it fast, whatever the filter.
        let mut select = QueryBuilder::new(format!("SELECT id, {COLUMNS} FROM events NOT INDEXED WHERE id > "));
        select.push_bind(after.cast_signed()).push(" AND id <= ").push_bind(until.cast_signed());
        push_candidates(&mut select, &candidates);
        select.push(" ORDER BY id");
        read_until(&mut transaction, deadline, select, take).await?;
        drop(transaction);
        if list.segments.iter().any(|listed| search.needs(listed.summary.sequences)) {
            let searched = self.segments.read(Some(deadline), move |files, time_is_up| {
                for listed in &list.segments {
                    if search.needs(listed.summary.sequences) {
                        search.scan(&[files.open(&listed.summary)?], time_is_up)?;
                    }
                }
                Ok(search)
            });
            search = searched.await?;
        }
        let Page { items: events, more } = search.page();
        let scanned = events.last().filter(|_| more).map_or(until, |(sequence, _)| *sequence);
        Ok(TailPage { scanned, events, end })
    }
}

/// Whether a segment may have events in the range of a request.
fn meets(query: &StatsQuery, summary: &SegmentSummary) -> bool {
    let range = query.filter.time_range();
    summary.timestamps.from <= *range.end() && *range.start() <= summary.timestamps.to
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
    time_is_up: &dyn Fn() -> bool,
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

/// Of the events with an id, the one that was received last, also among those in segments.
fn newest_event(
    files: &SegmentFiles,
    list: &SegmentList,
    event_id: Uuid,
    mut newest: Option<StoredEvent>,
    is_over: &dyn Fn() -> bool,
) -> Result<Option<StoredEvent>, SegmentError> {
    for listed in list.segments.iter().rev() {
        let is_older = |newest: &StoredEvent| listed.summary.received.to <= newest.event.received_at;
        if newest.as_ref().is_some_and(is_older) {
            continue;
        }
        if is_over() {
            return Err(SegmentError::TooBroad);
        }
        for found in find(&[files.open(&listed.summary)?], event_id)? {
            if newest.as_ref().is_none_or(|newest| newest.event.received_at < found.event.received_at) {
                newest = Some(found);
            }
        }
    }
    Ok(newest)
}
