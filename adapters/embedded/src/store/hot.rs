//! The hot part: the newest events, in chunks. SQLite has the chunks; memory has what is known of each, the ids of all events, and
//! the bodies of the newest chunks.
//!
//! Constraints and invariants:
//! * A transaction uses what is in memory only if it sees the same version of the chunks in SQLite. So a commit of which the answer
//!   was lost, a write that its caller dropped, and the changes of another process are noticed.
//! * A write leaves its change in memory before it commits. Who first sees the version of the change applies it. What another
//!   process changed is loaded.
//! * Memory: [`CACHED_BYTES_MAX`] of bodies, and those that calls read; about 500 bytes for each chunk, small ones of which are joined; 37 to 75 bytes for each event
//!   ([`Ids`]). [`SealOptions::hot_events_max`] bounds the number of events. Without sealing, memory grows with the store.

mod body;
mod candidates;
mod chunk;
mod earlier_rows;
mod ids;
mod scan;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Uuid;
use domain::partition::Partition;
use domain::ports::StoreError;
use domain::timestamp::Timestamp;
use sqlx::SqliteConnection;

pub use body::{Body, Numbered};
pub use chunk::{CHUNK_EVENTS_MAX, HotChunk, NewChunk, ids_of, pack_all};
pub use earlier_rows::EarlierRows;
pub use ids::{HotId, Ids};
pub use scan::{ChunkReader, ReadError};

use super::{SealOptions, store_error};

/// A chunk with fewer events and bytes is small.
const SMALL_EVENTS: u64 = 64;
const SMALL_BYTES: u64 = 64 * 1024;
/// Small chunks of one partition and day that are joined.
const JOINED: usize = 64;
/// Maximum bytes of bodies that stay in memory, those of the newest chunks.
const CACHED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Identifies a content of the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// How often the chunks have changed.
    number: i64,
    /// A random number of the store that changed them last.
    writer: i64,
}

/// A change of the chunks by one transaction.
#[derive(Debug, Default)]
pub struct Change {
    /// Chunks that are gone.
    pub removed: Vec<HotChunk>,
    /// The ids of their events.
    pub forgotten: Vec<HotId>,
    /// Chunks that are new, with their bodies.
    pub added: Vec<HotChunk>,
    /// How many ids were given to new events.
    pub ids: u64,
}

/// A change that may be committed.
struct Pending {
    before: Version,
    after: Version,
    change: Change,
}

/// The chunks of one version.
pub struct State {
    version: Version,
    /// The id of the next event.
    next_id: u64,
    /// By first id.
    chunks: BTreeMap<u64, HotChunk>,
    /// Chunks with a lower first id have no body in memory.
    cached_from: u64,
    cached_bytes: usize,
    ids: Ids,
    /// Number of events.
    events: u64,
}

/// The hot part.
pub struct Hot {
    writer: i64,
    memory: Mutex<Memory>,
}

struct Memory {
    state: State,
    pending: Option<Pending>,
}

/// How what is in memory compares to what a transaction sees.
enum Seen {
    /// It is the same.
    Same,
    /// Memory is newer: the transaction began before the latest change.
    Earlier,
    /// Memory lacks a change.
    Later,
}

impl Hot {
    /// Nothing is in memory.
    pub fn new() -> Self {
        // No file has this version.
        let state = State::new(Version { number: -1, writer: 0 }, 0);
        Self { writer: fastrand::i64(1..), memory: Mutex::new(Memory { state, pending: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `take` takes of the chunks that a transaction sees. `None` if memory is newer: begin another transaction.
    ///
    /// # Errors
    /// Those of SQLite; [`StoreError::Unavailable`] if a body cannot be read.
    pub async fn seen_by<T>(
        &self,
        transaction: &mut SqliteConnection,
        take: impl FnOnce(&State) -> T,
    ) -> Result<Option<T>, StoreError> {
        let select = sqlx::query_as("SELECT version, writer, next_id FROM chunk_state");
        let (number, writer, next_id): (i64, i64, i64) =
            select.fetch_one(&mut *transaction).await.map_err(store_error)?;
        let version = Version { number, writer };
        {
            let mut memory = self.lock();
            match memory.compare(version) {
                Seen::Same => return Ok(Some(take(&memory.state))),
                Seen::Earlier => return Ok(None),
                Seen::Later => {}
            }
        }
        let loaded = State::load(transaction, version, next_id.cast_unsigned()).await?;
        let taken = take(&loaded);
        let mut memory = self.lock();
        // Another call may have loaded a later version meanwhile.
        if memory.state.version.number <= number {
            memory.state = loaded;
        }
        Ok(Some(taken))
    }

    /// What `take` takes of the chunks, in a transaction that writes. It comes before [`Self::change`].
    ///
    /// # Errors
    /// As [`Self::seen_by`].
    pub async fn seen_by_writer<T>(
        &self,
        writer: &mut SqliteConnection,
        take: impl FnOnce(&State) -> T,
    ) -> Result<T, StoreError> {
        let taken = self.seen_by(writer, take).await?;
        // If it was committed, it has been applied.
        self.lock().pending = None;
        taken.ok_or_else(|| StoreError::Unavailable("the chunks in memory are newer than those in store.db".into()))
    }

    /// Ends the part of a transaction that changes chunks. After the commit, call [`Self::committed`].
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn change(&self, writer: &mut SqliteConnection, change: Change) -> Result<Version, StoreError> {
        let (before, next_id) = {
            let memory = self.lock();
            (memory.state.version, memory.state.next_id + change.ids)
        };
        let after = Version { number: before.number + 1, writer: self.writer };
        sqlx::query("UPDATE chunk_state SET version = ?, writer = ?, next_id = ?")
            .bind(after.number)
            .bind(after.writer)
            .bind(next_id.cast_signed())
            .execute(writer)
            .await
            .map_err(store_error)?;
        self.lock().pending = Some(Pending { before, after, change });
        Ok(after)
    }

    /// Number of events, as far as memory knows.
    pub fn events(&self) -> u64 {
        self.lock().state.events
    }

    /// Applies a change that was committed, if there was one.
    pub fn committed(&self, version: Option<Version>) {
        if let Some(version) = version {
            self.lock().compare(version);
        }
    }
}

impl Memory {
    /// Compares what is in memory, after the change that leads to this version, if it is known.
    fn compare(&mut self, version: Version) -> Seen {
        let before = self.state.version;
        let known = self.pending.take_if(|pending| pending.before == before && pending.after == version);
        if let Some(pending) = known {
            self.state.apply(pending);
        }
        if self.state.version == version {
            Seen::Same
        } else if self.state.version.number > version.number {
            Seen::Earlier
        } else {
            Seen::Later
        }
    }
}

impl State {
    fn new(version: Version, next_id: u64) -> Self {
        Self {
            version,
            next_id,
            chunks: BTreeMap::new(),
            cached_from: 0,
            cached_bytes: 0,
            ids: Ids::default(),
            events: 0,
        }
    }

    async fn load(transaction: &mut SqliteConnection, version: Version, next_id: u64) -> Result<Self, StoreError> {
        let mut state = Self::new(version, next_id);
        let mut after = i64::MIN;
        loop {
            let loaded = chunk::load(&mut *transaction, after).await?;
            let Some(last) = loaded.last() else { return Ok(state) };
            after = last.chunk.first_id.cast_signed();
            loaded.into_iter().for_each(|chunk| state.add(chunk));
        }
    }

    fn apply(&mut self, pending: Pending) {
        let Change { removed, forgotten, added, ids } = pending.change;
        for gone in removed {
            if let Some(gone) = self.chunks.remove(&gone.chunk.first_id) {
                self.cached_bytes -= gone.memory_bytes();
                self.events -= gone.chunk.events;
            }
        }
        forgotten.into_iter().for_each(|id| self.ids.remove(id));
        added.into_iter().for_each(|chunk| self.add(chunk));
        self.next_id += ids;
        self.version = pending.after;
    }

    /// Adds a chunk with its body.
    fn add(&mut self, mut added: HotChunk) {
        added.ids().for_each(|id| self.ids.insert(id));
        let first_id = added.chunk.first_id;
        if first_id < self.cached_from {
            added.body = None;
        }
        self.cached_bytes += added.memory_bytes();
        self.events += added.chunk.events;
        self.chunks.insert(first_id, added);
        while self.cached_bytes > CACHED_BYTES_MAX
            && let Some((first_id, oldest)) = self.chunks.range_mut(self.cached_from..).next()
        {
            self.cached_bytes -= oldest.memory_bytes();
            oldest.body = None;
            self.cached_from = first_id + 1;
        }
    }

    /// The id of the next event.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The ids of all events.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    fn chunks(&self, is_wanted: impl Fn(&HotChunk) -> bool) -> Vec<HotChunk> {
        self.chunks.values().filter(|chunk| is_wanted(chunk)).cloned().collect()
    }

    /// The chunks that may have events with timestamps in a range.
    pub fn between(&self, range: &RangeInclusive<Timestamp>) -> Vec<HotChunk> {
        self.chunks(|HotChunk { chunk, .. }| {
            chunk.timestamps.from <= *range.end() && *range.start() <= chunk.timestamps.to
        })
    }

    /// The chunks that may have events with ids in a range, in the order of their first ids.
    pub fn with_ids(&self, range: &RangeInclusive<u64>) -> Vec<HotChunk> {
        self.chunks(|HotChunk { chunk, .. }| chunk.first_id <= *range.end() && *range.start() <= chunk.last_id)
    }

    /// The last receipt of an event with an event id, and the chunks one of which has it.
    pub fn with_event_id(&self, event_id: Uuid) -> Option<(Timestamp, Vec<HotChunk>)> {
        let at = self.ids.last_received(event_id)?;
        Some((at, self.chunks(|HotChunk { chunk, .. }| chunk.received.from <= at && at <= chunk.received.to)))
    }

    /// The chunks of the next segment, which have events of one day of receipt; none if it is too early.
    pub fn to_seal(&self, options: &SealOptions) -> Vec<HotChunk> {
        let last = self.next_id.saturating_sub(1).saturating_sub(options.hot_events);
        let old = || self.chunks.values().filter(move |hot| hot.chunk.last_id <= last);
        let Some(day) = old().next().map(|first| first.chunk.day()) else { return Vec::new() };
        if old().map(|hot| hot.chunk.events).sum::<u64>() < options.events_min {
            return Vec::new();
        }
        let (mut events, mut bytes) = (0, 0);
        let fits = |hot: &&HotChunk| {
            let is_first = events == 0;
            events += hot.chunk.events;
            bytes += hot.chunk.body_bytes;
            is_first || events <= options.bounds.rows_max && bytes <= options.bounds.file_bytes_max
        };
        old().filter(|hot| hot.chunk.day() == day).take_while(fits).cloned().collect()
    }

    /// Small chunks of one partition and day, if there are enough of them.
    pub fn to_join(&self) -> Vec<HotChunk> {
        let mut small: BTreeMap<(&str, Partition, i64), Vec<&HotChunk>> = BTreeMap::new();
        let is_small = |hot: &&HotChunk| hot.chunk.events < SMALL_EVENTS && hot.chunk.body_bytes < SMALL_BYTES;
        for hot in self.chunks.values().filter(is_small) {
            let of_day = small.entry((&hot.chunk.topic, hot.chunk.partition, hot.chunk.day())).or_default();
            of_day.push(hot);
            if of_day.len() >= JOINED {
                return of_day.iter().map(|hot| (*hot).clone()).collect();
            }
        }
        Vec::new()
    }

    /// Chunks with events that were received before a time, the oldest first, with at most so many events; at least one chunk, if
    /// there is any.
    pub fn received_before(&self, oldest: Timestamp, events_max: u64) -> Vec<HotChunk> {
        let mut old = self.chunks(|HotChunk { chunk, .. }| chunk.received.from < oldest);
        old.sort_by_key(|old| old.chunk.received.from);
        let mut events = 0;
        let fits = |old: &HotChunk| {
            let is_first = events == 0;
            events += old.chunk.events;
            is_first || events <= events_max
        };
        old.into_iter().take_while(fits).collect()
    }
}

#[cfg(test)]
mod tests;
