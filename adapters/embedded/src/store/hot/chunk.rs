//! Chunks: rows of SQLite that hold events in a [`Body`].
//!
//! Constraints and invariants:
//! * A chunk has events of one partition that were received on one day (UTC), so that it fits into one sealed segment. It has at
//!   most [`CHUNK_EVENTS_MAX`] events, and [`CHUNK_BYTES_MAX`] unless it has a single event.
//! * The ids of its events ascend. Those of two chunks of one append may alternate, if its events are of several days.
//! * A chunk changes only by losing events, so first id and number of events tell whether it is still the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::event::LogEvent;
use domain::partition::Partition;
use domain::ports::StoreError;
use domain::query::{PageKey, StoredEvent};
use domain::rollup::MINUTE_MICROS;
use domain::timestamp::Timestamp;
use segments::TimeSpan;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::body::{Body, Numbered, encode, pack, unpack};
use super::ids::HotId;
use crate::store::rows::decode_error;
use crate::store::store_error;

/// Maximum events of a chunk.
pub const CHUNK_EVENTS_MAX: usize = 4_000;
/// Maximum bytes of its body, uncompressed.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Chunks that are loaded at once.
const LOADED_AT_ONCE: i64 = 8;
const DAY_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

/// What is known of a chunk without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The id of its first event.
    pub first_id: u64,
    /// The id of its last event.
    pub last_id: u64,
    /// Number of events.
    pub events: u64,
    /// Topic that the events were read from.
    pub topic: String,
    /// Partition that the events were read from.
    pub partition: Partition,
    /// The timestamps of its events.
    pub timestamps: TimeSpan,
    /// The times of receipt of its events.
    pub received: TimeSpan,
    /// Bytes of its body, uncompressed.
    pub body_bytes: u64,
}

impl Chunk {
    /// The ids of its first and its last event.
    pub fn ids(&self) -> (u64, u64) {
        (self.first_id, self.last_id)
    }

    /// The day of receipt of its events, in days since 1970.
    pub fn day(&self) -> i64 {
        day_of(self.received.from)
    }

    /// An event of its body.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the bytes are not those of an event.
    pub fn event<'b>(&self, body: &'b Body, event: usize) -> Result<LogEvent<'b>, StoreError> {
        body.event(event).ok_or_else(|| self.damaged())
    }

    /// An event of its body, with its origin.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the bytes are not those of an event.
    pub fn stored_event(&self, body: &Body, event: usize) -> Result<StoredEvent, StoreError> {
        let offset = body.offset(event).ok_or_else(|| self.damaged())?;
        let event = self.event(body, event)?.into_owned();
        Ok(StoredEvent { event, topic: self.topic.clone(), partition: self.partition, offset })
    }

    /// The place of an event in the orders of pages.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the bytes are not those of an event.
    pub fn page_key(&self, body: &Body, event: usize) -> Result<PageKey, StoreError> {
        let key = || {
            Some(PageKey {
                timestamp: body.timestamp(event)?,
                event_id: body.event_id(event)?,
                received_at: body.received_at(event)?,
                partition: self.partition,
                offset: body.offset(event)?,
            })
        };
        key().ok_or_else(|| self.damaged())
    }

    /// The error for a body that is not one.
    pub fn damaged(&self) -> StoreError {
        let first = self.first_id;
        let why = format!("the chunk of events from {first} on in store.db is damaged: restore store.db from a backup");
        StoreError::Unavailable(why.into())
    }
}

/// A chunk and its body, if that is in memory.
#[derive(Clone, Debug)]
pub struct HotChunk {
    /// What is known of it.
    pub chunk: Arc<Chunk>,
    /// Its body.
    pub body: Option<Arc<Body>>,
}

/// A chunk that is not in SQLite yet.
#[derive(Debug)]
pub struct NewChunk {
    /// What is known of it.
    pub chunk: Chunk,
    /// The bytes of its body.
    bytes: Vec<u8>,
}

/// A chunk that is ready to be inserted.
#[derive(Debug)]
pub struct PackedChunk {
    chunk: Chunk,
    body: Body,
    packed: Vec<u8>,
}

impl NewChunk {
    /// The chunks of events in the order of their ids, all of one partition.
    pub fn of<'e>(topic: &str, partition: Partition, events: impl IntoIterator<Item = Numbered<'e>>) -> Vec<Self> {
        let mut days: BTreeMap<i64, Vec<Numbered<'e>>> = BTreeMap::new();
        for event in events {
            days.entry(day_of(event.event.received_at)).or_default().push(event);
        }
        let mut chunks = Vec::new();
        for events in days.into_values() {
            let mut rest = events.as_slice();
            while !rest.is_empty() {
                let mut bytes = 0;
                let fits = |event: &&Numbered<'_>| {
                    bytes += event.bytes();
                    bytes <= CHUNK_BYTES_MAX
                };
                let fitting = rest.iter().take(CHUNK_EVENTS_MAX).take_while(fits).count().max(1);
                let (part, others) = rest.split_at(fitting);
                chunks.extend(Self::of_part(topic, partition, part));
                rest = others;
            }
        }
        chunks
    }

    /// `None` without an event.
    fn of_part(topic: &str, partition: Partition, events: &[Numbered<'_>]) -> Option<Self> {
        let span = |time: fn(&LogEvent<'_>) -> Timestamp| {
            events.iter().map(|numbered| TimeSpan::of(time(numbered.event))).reduce(TimeSpan::and)
        };
        let bytes = encode(events);
        let chunk = Chunk {
            first_id: events.first()?.id,
            last_id: events.last()?.id,
            events: events.len() as u64,
            topic: topic.to_owned(),
            partition,
            timestamps: span(|event| event.timestamp)?,
            received: span(|event| event.received_at)?,
            body_bytes: bytes.len() as u64,
        };
        Some(Self { chunk, bytes })
    }

    /// Number of events.
    #[cfg(test)]
    pub fn events(&self) -> u64 {
        self.chunk.events
    }

    /// The chunk as it is in memory.
    #[cfg(test)]
    pub fn in_memory(self) -> Option<HotChunk> {
        Some(HotChunk { chunk: Arc::new(self.chunk), body: Some(Arc::new(Body::decode(self.bytes)?)) })
    }

    fn pack(self) -> Result<PackedChunk, StoreError> {
        let Self { chunk, bytes } = self;
        let packed = pack(&bytes);
        let body = Body::decode(bytes).ok_or_else(|| chunk.damaged())?;
        Ok(PackedChunk { chunk, body, packed })
    }
}

/// Compresses bodies, on a thread that may block: about two milliseconds for a megabyte.
///
/// # Errors
/// [`StoreError::Unavailable`] if the bytes of one are not a body, which is a defect.
pub async fn pack_all(chunks: Vec<NewChunk>) -> Result<Vec<PackedChunk>, StoreError> {
    let packed = tokio::task::spawn_blocking(move || chunks.into_iter().map(NewChunk::pack).collect());
    packed.await.map_err(|panicked| StoreError::Unavailable(panicked.into()))?
}

impl PackedChunk {
    /// Inserts the row.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn insert(self, writer: &mut SqliteConnection) -> Result<HotChunk, StoreError> {
        let Self { chunk, body, packed } = self;
        sqlx::query(
            "INSERT INTO chunks (first_id, last_id, event_count, topic, partition, timestamp_from, timestamp_to, \
             received_from, received_to, body_bytes, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(chunk.first_id.cast_signed())
        .bind(chunk.last_id.cast_signed())
        .bind(chunk.events.cast_signed())
        .bind(chunk.topic.as_str())
        .bind(i64::from(chunk.partition))
        .bind(chunk.timestamps.from.unix_micros())
        .bind(chunk.timestamps.to.unix_micros())
        .bind(chunk.received.from.unix_micros())
        .bind(chunk.received.to.unix_micros())
        .bind(chunk.body_bytes.cast_signed())
        .bind(packed)
        .execute(writer)
        .await
        .map_err(store_error)?;
        Ok(HotChunk { chunk: Arc::new(chunk), body: Some(Arc::new(body)) })
    }
}

impl HotChunk {
    /// The ids of its events, if its body is in memory.
    pub fn ids(&self) -> impl Iterator<Item = HotId> {
        self.body.iter().flat_map(|body| ids_of(body))
    }

    /// Bytes that its body takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.memory_bytes())
    }

    /// Its body, from SQLite if it is not in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also if the chunk is gone or its body cannot be read.
    pub async fn body(&self, connection: &mut SqliteConnection) -> Result<Arc<Body>, StoreError> {
        if let Some(body) = &self.body {
            return Ok(Arc::clone(body));
        }
        let select = "SELECT body FROM chunks WHERE first_id = ? AND event_count = ?";
        let select = sqlx::query(select).bind(self.chunk.first_id.cast_signed()).bind(self.chunk.events.cast_signed());
        let row = select.fetch_optional(connection).await.map_err(store_error)?.ok_or_else(|| self.gone())?;
        let body = unpack(row.try_get(0).map_err(store_error)?).ok_or_else(|| self.chunk.damaged())?;
        Ok(Arc::new(body))
    }

    /// Deletes the row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also if the chunk is gone or has lost events.
    pub async fn delete(&self, writer: &mut SqliteConnection) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM chunks WHERE first_id = ? AND event_count = ?")
            .bind(self.chunk.first_id.cast_signed())
            .bind(self.chunk.events.cast_signed());
        match delete.execute(writer).await.map_err(store_error)?.rows_affected() {
            1 => Ok(()),
            _ => Err(self.gone()),
        }
    }

    fn gone(&self) -> StoreError {
        StoreError::Unavailable(format!("the chunk of events from {} on has changed", self.chunk.first_id).into())
    }
}

/// Some chunks whose first ids are above this one, in that order, with their bodies; none behind the last one.
///
/// # Errors
/// Those of SQLite; [`StoreError::Unavailable`] if a body cannot be read.
pub async fn load(connection: &mut SqliteConnection, after: i64) -> Result<Vec<HotChunk>, StoreError> {
    let select = sqlx::query(
        "SELECT first_id, last_id, event_count, topic, partition, timestamp_from, timestamp_to, received_from, \
         received_to, body_bytes, body FROM chunks WHERE first_id > ? ORDER BY first_id LIMIT ?",
    );
    let rows = select.bind(after).bind(LOADED_AT_ONCE).fetch_all(connection).await.map_err(store_error)?;
    let loaded = rows.iter().map(|row| {
        let chunk = chunk(row).map_err(store_error)?;
        let body = unpack(row.try_get(10).map_err(store_error)?).ok_or_else(|| chunk.damaged())?;
        Ok(HotChunk { chunk: Arc::new(chunk), body: Some(Arc::new(body)) })
    });
    loaded.collect()
}

fn chunk(row: &SqliteRow) -> Result<Chunk, sqlx::Error> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let span = |column: usize| -> Result<TimeSpan, sqlx::Error> {
        let time = |column: usize| Timestamp::from_unix_micros(row.try_get(column)?).map_err(decode_error);
        Ok(TimeSpan { from: time(column)?, to: time(column + 1)? })
    };
    Ok(Chunk {
        first_id: number(0)?,
        last_id: number(1)?,
        events: number(2)?,
        topic: row.try_get(3)?,
        partition: row.try_get(4)?,
        timestamps: span(5)?,
        received: span(7)?,
        body_bytes: number(9)?,
    })
}

/// The ids of the events of a body.
pub fn ids_of(body: &Body) -> impl Iterator<Item = HotId> {
    (0..body.count()).filter_map(move |event| {
        let (event_id, received_at) = (body.event_id(event)?, body.received_at(event)?);
        Some(HotId { event_id, tenant: body.id_origin(event)?.tenant(), received_at })
    })
}

/// The day of a time, in days since 1970.
fn day_of(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(DAY_MICROS)
}

#[cfg(test)]
mod tests {
    use domain::Uuid;
    use domain::event::IdOrigin;
    use domain::level::Level;

    use super::*;

    fn received(micros: i64, bytes: usize) -> LogEvent<'static> {
        let at = Timestamp::from_unix_micros(micros).expect("in range");
        LogEvent {
            event_id: Uuid::nil(),
            id_origin: IdOrigin::Generated,
            source: "shop".into(),
            level: Level::Info,
            message: "m".repeat(bytes).into(),
            timestamp: at,
            received_at: at,
            stack_trace: None,
            trace_id: None,
            span_id: None,
            metadata: None,
        }
    }

    /// First and last id, and number of events.
    fn chunks(events: &[LogEvent<'_>]) -> Vec<(u64, u64, u64)> {
        let numbered = (1..).zip(events).map(|(id, event)| Numbered { id, offset: id, event });
        let chunks = NewChunk::of("logs", 0, numbered).into_iter();
        chunks.map(|new| (new.chunk.first_id, new.chunk.last_id, new.chunk.events)).collect()
    }

    #[test]
    fn chunks_are_bounded_and_have_events_of_one_day() {
        assert_eq!(chunks(&[]), []);
        let many: Vec<_> = (0..4_001).map(|n| received(n, 1)).collect();
        assert_eq!(chunks(&many), [(1, 4_000, 4_000), (4_001, 4_001, 1)]);
        let large: Vec<_> = (0..5).map(|n| received(n, 1_000_000)).collect();
        assert_eq!(chunks(&large), [(1, 4, 4), (5, 5, 1)]);
        let huge: Vec<_> = (0..2).map(|n| received(n, 5_000_000)).collect();
        assert_eq!(chunks(&huge), [(1, 1, 1), (2, 2, 1)]);
        let days = [0, DAY_MICROS, DAY_MICROS - 1, -1, DAY_MICROS];
        let days: Vec<_> = days.into_iter().map(|micros| received(micros, 1)).collect();
        assert_eq!(chunks(&days), [(4, 4, 1), (1, 3, 2), (2, 5, 2)]);
    }
}
