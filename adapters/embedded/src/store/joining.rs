//! Joining small chunks.
//!
//! Constraints and invariants:
//! * Appends of few events make small chunks, of which each costs memory and time of each search. In the background, those of one
//!   partition and day are joined; an event is written once more at most.
//! * One transaction replaces the chunks. It fails if one of them has changed.

use std::sync::Arc;

use domain::ports::StoreError;

use super::SqliteStore;
use super::hot::{Body, Change, HotChunk, NewChunk, Numbered, ids_of, pack_all};

impl SqliteStore {
    /// Joins chunks of one partition and day.
    pub(super) async fn join_chunks(&self, small: Vec<HotChunk>) -> Result<(), StoreError> {
        let version = self
            .writer
            .write(async |writer| {
                self.hot.seen_by_writer(writer, |_| ()).await?;
                let mut bodies = Vec::with_capacity(small.len());
                for hot in &small {
                    bodies.push(hot.body(&mut *writer).await?);
                    hot.delete(&mut *writer).await?;
                }
                let forgotten = bodies.iter().flat_map(|body| ids_of(body)).collect();
                let mut change = Change { forgotten, ..Change::default() };
                for chunk in pack_all(joined(&small, &bodies)?).await? {
                    change.added.push(chunk.insert(&mut *writer).await?);
                }
                change.removed = small;
                Ok(Some(self.hot.change(writer, change).await?))
            })
            .await?;
        self.hot.committed(version);
        Ok(())
    }
}

/// The events of chunks as fewer chunks.
fn joined(small: &[HotChunk], bodies: &[Arc<Body>]) -> Result<Vec<NewChunk>, StoreError> {
    let Some(first) = small.first() else { return Ok(Vec::new()) };
    let mut events = Vec::new();
    for (hot, body) in small.iter().zip(bodies) {
        for at in 0..body.count() {
            let numbers = body.id(at).zip(body.offset(at));
            events.push((numbers.ok_or_else(|| hot.chunk.damaged())?, hot.chunk.event(body, at)?));
        }
    }
    events.sort_by_key(|((id, _), _)| *id);
    let numbered = events.iter().map(|((id, offset), event)| Numbered { id: *id, offset: *offset, event });
    Ok(NewChunk::of(&first.chunk.topic, first.chunk.partition, numbered))
}
