//! Finding and counting events of chunks.
//!
//! Constraints and invariants:
//! * [`EventFilter::matches`] decides. Ranges of time and [`Candidates`] only leave out what cannot match.
//! * Time is asked every [`EVENTS_BETWEEN_CLOCKS`] events, and before a body is read from SQLite.
//! * Calls block: bodies that are not in memory are read in the transaction that the chunks are of.

use std::sync::Arc;

use domain::Uuid;
use domain::filter::EventFilter;
use domain::ports::StoreError;
use domain::query::{Direction, StoredEvent};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use segments::{PageSearch, SegmentError, TailSearch, TimeIsUp, TimeSpan};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::runtime::Handle;

use super::body::Body;
use super::candidates::Candidates;
use super::chunk::HotChunk;

/// Events that are examined between two looks at the clock: about 0.5 ms.
const EVENTS_BETWEEN_CLOCKS: usize = 512;

/// Why a read failed.
#[derive(Debug)]
pub enum ReadError {
    /// A segment cannot be read, or time is up.
    Segment(SegmentError),
    /// SQLite or a chunk cannot be read, or time is up.
    Store(StoreError),
}

impl From<SegmentError> for ReadError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reads chunks as a transaction sees them.
pub struct ChunkReader<'r> {
    transaction: Transaction<'r, Sqlite>,
    runtime: &'r Handle,
    time_is_up: TimeIsUp<'r>,
    examined: usize,
}

impl<'r> ChunkReader<'r> {
    /// Reads in a transaction, until `time_is_up`.
    pub fn new(transaction: Transaction<'r, Sqlite>, runtime: &'r Handle, time_is_up: TimeIsUp<'r>) -> Self {
        Self { transaction, runtime, time_is_up, examined: 0 }
    }

    /// Waits for what `work` reads in the transaction.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn wait<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(work(&mut self.transaction))
    }

    fn check_clock(&self) -> Result<(), StoreError> {
        if (self.time_is_up)() { Err(StoreError::TooBroad) } else { Ok(()) }
    }

    /// Counts an event that is examined.
    fn examine(&mut self) -> Result<(), StoreError> {
        self.examined += 1;
        if self.examined.is_multiple_of(EVENTS_BETWEEN_CLOCKS) { self.check_clock() } else { Ok(()) }
    }

    fn body(&mut self, hot: &HotChunk) -> Result<Arc<Body>, StoreError> {
        if let Some(body) = &hot.body {
            return Ok(Arc::clone(body));
        }
        self.check_clock()?;
        self.wait(async |connection| hot.body(connection).await)
    }

    /// Offers the matching events of a chunk to a page. If time is up, `unread` is what was not examined.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`], or [`StoreError::Unavailable`].
    pub fn search(
        &mut self,
        hot: &HotChunk,
        filter: &EventFilter,
        search: &mut PageSearch,
        unread: &mut TimeSpan,
    ) -> Result<(), StoreError> {
        let chunk = &hot.chunk;
        let body = self.body(hot)?;
        let candidates = Candidates::of(filter, &body);
        if candidates.are_none() {
            return self.check_clock();
        }
        let places = body.between(&search.timestamps());
        let direction = search.direction();
        for n in 0..places.len() {
            let event = body.at(match direction {
                Direction::NewestFirst => places.end - 1 - n,
                Direction::OldestFirst => places.start + n,
            });
            let timestamp = body.timestamp(event).ok_or_else(|| chunk.damaged())?;
            match direction {
                Direction::NewestFirst => unread.to = timestamp,
                Direction::OldestFirst => unread.from = timestamp,
            }
            if search.is_beyond(TimeSpan::of(timestamp)) {
                return Ok(());
            }
            if !candidates.contain(event) {
                continue;
            }
            self.examine()?;
            if search.wants(&chunk.page_key(&body, event)?) && filter.matches(&chunk.event(&body, event)?) {
                search.offer(chunk.stored_event(&body, event)?);
            }
        }
        Ok(())
    }

    /// Offers the matching events of a chunk to a page of a tail.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`], or [`StoreError::Unavailable`].
    pub fn tail(&mut self, hot: &HotChunk, filter: &EventFilter, search: &mut TailSearch) -> Result<(), StoreError> {
        let chunk = &hot.chunk;
        let body = self.body(hot)?;
        for event in 0..body.count() {
            let id = body.id(event).ok_or_else(|| chunk.damaged())?;
            if !search.needs((id, id)) {
                continue;
            }
            self.examine()?;
            if filter.matches(&chunk.event(&body, event)?) {
                search.offer(id, chunk.stored_event(&body, event)?);
            }
        }
        Ok(())
    }

    /// Adds the matching events of a chunk to counts.
    ///
    /// # Errors
    /// [`StoreError::TooBroad`], or [`StoreError::Unavailable`].
    pub fn count(&mut self, hot: &HotChunk, query: &StatsQuery, counts: &mut Counts) -> Result<(), StoreError> {
        let body = self.body(hot)?;
        let candidates = Candidates::of(&query.filter, &body);
        if candidates.are_none() {
            return self.check_clock();
        }
        let places = body.between(&query.filter.time_range()).map(|place| body.at(place));
        for event in places.filter(|event| candidates.contain(*event)) {
            self.examine()?;
            let event = hot.chunk.event(&body, event)?;
            if query.filter.matches(&event) {
                counts.add(query, &event);
            }
        }
        Ok(())
    }

    /// An event of a chunk, by its id and the time of its receipt.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn find(
        &mut self,
        hot: &HotChunk,
        event_id: Uuid,
        received_at: Timestamp,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let body = self.body(hot)?;
        let is_it =
            |event: &usize| body.event_id(*event) == Some(event_id) && body.received_at(*event) == Some(received_at);
        (0..body.count()).find(is_it).map(|event| hot.chunk.stored_event(&body, event)).transpose()
    }
}
