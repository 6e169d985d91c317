//! Storage of one chunk: what is appended together, and which record becomes a dead letter.

use domain::event::LogEvent;
use domain::ports::{Append, Appended, DeadLetter, GroupPartition, StoreError};
use domain::record::{Chunk, Record};
use tokio::sync::watch;

use super::Persist;
use crate::alerts::DeadLetterRef;
use crate::codec;

/// Why a chunk was not stored.
#[derive(Debug)]
pub(super) enum Halt {
    /// The store has another position: continue there.
    Moved(Option<u64>),
    /// The process is stopping.
    Stopped,
}

/// The result of an append.
enum Tried {
    Stored,
    /// The store refuses the content, for this reason.
    Refused(String),
    /// The store is too slow for this many events at once.
    TooSlow,
}

impl Persist {
    /// Stores a whole chunk and advances `expected`. If the store refuses the content of an append, or an append times
    /// out, its halves are tried separately, down to the single event at fault: if that was refused, it becomes a dead
    /// letter.
    pub(super) async fn store_chunk(
        &self,
        group_partition: &GroupPartition,
        expected: &mut Option<u64>,
        chunk: &Chunk,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Halt> {
        let (events, dead_letters) = self.decode(group_partition, chunk);
        // Ranges of events still to append, the next one last, each with the position after it and the number of
        // refused appends that contained it.
        let mut ranges = vec![(0..events.len(), chunk.next, 0)];
        while let Some((range, next, refusals)) = ranges.pop() {
            let from = expected.unwrap_or(0);
            let part = events.get(range.clone()).unwrap_or_default();
            let mut letters: Vec<DeadLetter<'_>> =
                dead_letters.iter().filter(|letter| (from..next).contains(&letter.offset)).cloned().collect();
            match self.append(group_partition, *expected, next, part, &letters, stop).await? {
                Tried::Stored => *expected = Some(next),
                tried @ (Tried::Refused(_) | Tried::TooSlow) if part.len() > 1 => {
                    let refusals = refusals + u32::from(matches!(tried, Tried::Refused(_)));
                    let middle = range.start + part.len() / 2;
                    let split = events.get(middle).map_or(next, |(offset, _)| *offset);
                    ranges.push((middle..range.end, next, refusals));
                    ranges.push((range.start..middle, split, refusals));
                }
                // Only an append of several events can be too slow.
                Tried::TooSlow => ranges.push((range, next, refusals)),
                Tried::Refused(cause) => {
                    let refused = part.first().map(|(offset, _)| *offset);
                    let record = chunk.iter().find(|(offset, _)| Some(*offset) == refused);
                    letters.extend(
                        record.map(|found| self.dead_letter(group_partition, chunk, found, cause, refusals + 1)),
                    );
                    letters.sort_by_key(|letter| letter.offset);
                    if let Tried::Refused(cause) =
                        self.append(group_partition, *expected, next, &[], &letters, stop).await?
                    {
                        tracing::error!(
                            partition = group_partition.partition,
                            cause,
                            "the store refuses a dead letter"
                        );
                        return Err(Halt::Stopped);
                    }
                    *expected = Some(next);
                }
            }
        }
        for (offset, trace) in &chunk.traces {
            if let Some(trace) = trace {
                tracing::debug!(topic = group_partition.topic, partition = group_partition.partition, offset, traceparent = ?trace, "stored");
            }
        }
        Ok(())
    }

    /// Appends once.
    async fn append(
        &self,
        group_partition: &GroupPartition,
        expected: Option<u64>,
        next: u64,
        events: &[(u64, LogEvent<'_>)],
        dead_letters: &[DeadLetter<'_>],
        stop: &watch::Receiver<bool>,
    ) -> Result<Tried, Halt> {
        let append = Append { group_partition, expected, next, events, dead_letters };
        let can_be_split = events.len() > 1;
        let transient = |error: &StoreError| match error {
            StoreError::Unavailable(_) => true,
            StoreError::TooBroad => !can_be_split,
            StoreError::Conflict { .. } | StoreError::Rejected(_) => false,
        };
        let appended = match self.retry_until_stopped(stop, transient, || self.store.append(&append)).await {
            Ok(appended) => appended,
            // The answer to an earlier attempt was lost, but the append had succeeded.
            Err(Some(StoreError::Conflict { actual: Some(actual) })) if actual == next => {
                Appended { stored: events.len(), deduplicated: 0, dead_lettered: dead_letters.len() }
            }
            Err(Some(StoreError::Conflict { actual })) => return Err(Halt::Moved(actual)),
            Err(Some(StoreError::Rejected(cause))) => return Ok(Tried::Refused(cause.to_string())),
            Err(Some(StoreError::TooBroad)) if can_be_split => {
                let (partition, events) = (group_partition.partition, events.len());
                tracing::warn!(
                    partition,
                    events,
                    "the store is too slow for this many events at once, trying half of them"
                );
                return Ok(Tried::TooSlow);
            }
            Err(Some(StoreError::Unavailable(_) | StoreError::TooBroad) | None) => return Err(Halt::Stopped),
        };
        let oldest = events.iter().map(|(_, event)| event.received_at).min();
        self.telemetry.appended(appended, oldest.map(|oldest| self.clock.now().since(oldest)));
        if let (Some(alerts), Some(letter)) = (&self.alerts, dead_letters.last()) {
            let (topic, reason) = (group_partition.topic.clone(), letter.reason.clone());
            let last = DeadLetterRef { topic, partition: group_partition.partition, offset: letter.offset, reason };
            alerts.dead_letters.occurred(appended.dead_lettered as u64, last);
        }
        Ok(Tried::Stored)
    }

    fn decode<'a>(
        &self,
        group_partition: &GroupPartition,
        chunk: &'a Chunk,
    ) -> (Vec<(u64, LogEvent<'a>)>, Vec<DeadLetter<'a>>) {
        let mut events = Vec::with_capacity(chunk.records.len());
        let mut dead_letters = Vec::new();
        for (offset, record) in chunk.iter() {
            match codec::decode(record) {
                Ok(event) => events.push((offset, event)),
                Err(error) => {
                    dead_letters.push(self.dead_letter(group_partition, chunk, (offset, record), error.to_string(), 0))
                }
            }
        }
        (events, dead_letters)
    }

    fn dead_letter<'a>(
        &self,
        group_partition: &GroupPartition,
        chunk: &Chunk,
        (offset, record): (u64, Record<'a>),
        reason: String,
        attempts: u32,
    ) -> DeadLetter<'a> {
        tracing::warn!(
            topic = group_partition.topic,
            partition = group_partition.partition,
            offset,
            reason,
            attempts,
            traceparent = chunk.trace_of(offset).map(tracing::field::debug),
            "a record can never be stored as an event"
        );
        DeadLetter { offset, key: record.key, value: record.value, reason, attempts, at: self.clock.now() }
    }
}
