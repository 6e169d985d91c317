//! Storage of one chunk: what is appended together, and which event becomes a dead letter.
//!
//! Constraints and invariants:
//! * An append ends where a record ends. Otherwise a consumer that was replaced could append the rest of a packed record
//!   again: the position would still be where it expects it.
//! * The content of an append that was refused is stored by smaller appends: halves, down to one record. Within a packed
//!   record, probes find the events at fault; then one append stores the others and the dead letters.

use std::ops::Range;

use domain::event::LogEvent;
use domain::ports::{Append, Appended, DeadLetter, GroupPartition, StoreError};
use domain::record::Chunk;
use tokio::sync::watch;

use super::Persist;
use super::unpacking::{Part, RecordPlace, Unpacking};
use crate::alerts::DeadLetterRef;

/// Why a chunk was not stored.
#[derive(Debug)]
pub(super) enum Halt {
    /// The store has another position: continue there.
    Moved(Option<u64>),
    /// The store refuses even a dead letter, for this reason.
    Refused(String),
    /// The process is stopping.
    Stopped,
}

/// The result of an append or of a probe.
enum Tried {
    /// Stored, or, of a probe, acceptable.
    Stored,
    /// The store refuses the content, for this reason.
    Refused(String),
    /// The store is too slow for this many events at once.
    TooSlow,
}

/// What an append or a probe is made of.
struct Attempt<'a, 'b> {
    group_partition: &'a GroupPartition,
    expected: Option<u64>,
    next: u64,
    events: &'a [(u64, LogEvent<'b>)],
    dead_letters: &'a [DeadLetter<'b>],
}

/// Where the store refused the content of a record, and how often.
struct StoreRefusal {
    /// Its events, of those of its part.
    events: Range<usize>,
    /// The position after it.
    next: u64,
    /// The reason.
    cause: String,
    /// How many refused appends contained it.
    refusals: u32,
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
        for part in Unpacking::new(chunk) {
            self.telemetry.fetched(part.len());
            if let Err(halt) = self.store_part(group_partition, expected, chunk, &part, stop).await {
                self.telemetry.given_up(part.len_from(expected.unwrap_or(0)));
                return Err(halt);
            }
        }
        for (offset, trace) in &chunk.traces {
            if let Some(trace) = trace {
                tracing::debug!(topic = group_partition.topic, partition = group_partition.partition, offset, traceparent = ?trace, "stored");
            }
        }
        Ok(())
    }

    async fn store_part(
        &self,
        group_partition: &GroupPartition,
        expected: &mut Option<u64>,
        chunk: &Chunk,
        part: &Part<'_>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Halt> {
        let undecodable = part.undecodable.iter();
        let dead_letters: Vec<DeadLetter<'_>> = undecodable
            .map(|(place, reason)| self.dead_letter(group_partition, chunk, *place, reason.clone(), 0))
            .collect();
        // Ranges of events still to append, the next one last, each with the position after it and the number of
        // refused appends that contained it.
        let mut ranges = vec![(0..part.events.len(), part.next, 0)];
        while let Some((range, next, refusals)) = ranges.pop() {
            let from = expected.unwrap_or(0);
            let events = part.events.get(range.clone()).unwrap_or_default();
            let letters: Vec<DeadLetter<'_>> =
                dead_letters.iter().filter(|letter| (from..next).contains(&letter.offset)).cloned().collect();
            let attempt = Attempt { group_partition, expected: *expected, next, events, dead_letters: &letters };
            let tried = self.append(&attempt, stop).await?;
            let refusals = refusals + u32::from(matches!(tried, Tried::Refused(_)));
            match (tried, middle(events)) {
                (Tried::Stored, _) => *expected = Some(next),
                (Tried::Refused(_) | Tried::TooSlow, Some((middle, split))) => {
                    let middle = range.start + middle;
                    ranges.push((middle..range.end, next, refusals));
                    ranges.push((range.start..middle, split, refusals));
                }
                // Only an append of several records can be too slow.
                (Tried::TooSlow, None) => ranges.push((range, next, refusals)),
                (Tried::Refused(cause), None) => {
                    let refused = StoreRefusal { events: range, next, cause, refusals };
                    self.store_refused(group_partition, *expected, chunk, part, refused, letters, stop).await?;
                    *expected = Some(next);
                }
            }
        }
        Ok(())
    }

    /// Stores a record that was refused, and the letters beside it: the events at fault become dead letters, the others are
    /// stored with them in one append.
    #[expect(clippy::too_many_arguments, reason = "the state of one record that was refused")]
    async fn store_refused<'a>(
        &self,
        group_partition: &GroupPartition,
        expected: Option<u64>,
        chunk: &Chunk,
        part: &Part<'a>,
        refused: StoreRefusal,
        mut letters: Vec<DeadLetter<'a>>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Halt> {
        let StoreRefusal { next, refusals, .. } = refused;
        let at_fault = self.find_refused(group_partition, expected, part, &refused, stop).await?;
        let mut good = Vec::new();
        for index in refused.events.clone() {
            let (Some(event), Some(place)) = (part.events.get(index), part.places.get(index)) else { continue };
            match at_fault.iter().find(|(refused, ..)| *refused == index) {
                Some((_, cause, refusals)) => {
                    letters.push(self.dead_letter(group_partition, chunk, *place, cause.clone(), *refusals));
                }
                None => good.push((event.clone(), *place)),
            }
        }
        loop {
            letters.sort_by_key(|letter| (letter.offset, letter.record_index));
            let events: Vec<_> = good.iter().map(|(event, _)| event.clone()).collect();
            let attempt = Attempt { group_partition, expected, next, events: &events, dead_letters: &letters };
            match self.append(&attempt, stop).await? {
                Tried::Stored => return Ok(()),
                // Only an append of several records can be too slow.
                Tried::TooSlow => {}
                // Acceptable apart, but not together: as dead letters they are kept, and can be redriven one by one.
                Tried::Refused(cause) if !good.is_empty() => {
                    let rest = std::mem::take(&mut good).into_iter();
                    letters.extend(rest.map(|(_, place)| {
                        self.dead_letter(group_partition, chunk, place, cause.clone(), refusals.saturating_add(1))
                    }));
                }
                Tried::Refused(cause) => return Err(Halt::Refused(cause)),
            }
        }
    }

    /// Which events of a refused record the store refuses, each with the reason and the number of refused appends and
    /// probes that contained it. Stores nothing.
    async fn find_refused(
        &self,
        group_partition: &GroupPartition,
        expected: Option<u64>,
        part: &Part<'_>,
        record: &StoreRefusal,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<(usize, String, u32)>, Halt> {
        let Range { start, end } = record.events;
        if end - start == 1 {
            return Ok(vec![(start, record.cause.clone(), record.refusals)]);
        }
        let mut at_fault = Vec::new();
        // As above, the next one last. Without events, the letters alone were refused.
        let mut ranges = if start == end { Vec::new() } else { halves(start..end, record.refusals).to_vec() };
        while let Some((range, refusals)) = ranges.pop() {
            let events = part.events.get(range.clone()).unwrap_or_default();
            let attempt = Attempt { group_partition, expected, next: record.next, events, dead_letters: &[] };
            match self.probe(&attempt, stop).await? {
                Tried::Stored => {}
                Tried::Refused(cause) if range.len() == 1 => at_fault.push((range.start, cause, refusals + 1)),
                Tried::Refused(_) => ranges.extend(halves(range, refusals + 1)),
                Tried::TooSlow if range.len() == 1 => ranges.push((range, refusals)),
                Tried::TooSlow => ranges.extend(halves(range, refusals)),
            }
        }
        Ok(at_fault)
    }

    /// Appends once.
    async fn append(&self, attempt: &Attempt<'_, '_>, stop: &watch::Receiver<bool>) -> Result<Tried, Halt> {
        let Attempt { group_partition, next, events, dead_letters, .. } = *attempt;
        let append = attempt.as_append();
        let can_be_split = middle(events).is_some();
        let transient = |error: &StoreError| is_transient(error, can_be_split);
        let appended = match self
            .retry_until_stopped(group_partition.partition, stop, transient, || self.store.append(&append))
            .await
        {
            Ok(appended) => appended,
            // The answer to an earlier attempt was lost, but the append had succeeded.
            Err(Some(StoreError::Conflict { actual: Some(actual) })) if actual == next => {
                Appended { stored: events.len(), deduplicated: 0, dead_lettered: dead_letters.len() }
            }
            Err(error) => return failure(attempt, can_be_split, error),
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

    /// Finds out whether the store would take an append.
    async fn probe(&self, attempt: &Attempt<'_, '_>, stop: &watch::Receiver<bool>) -> Result<Tried, Halt> {
        let append = attempt.as_append();
        let can_be_split = attempt.events.len() > 1;
        let transient = |error: &StoreError| is_transient(error, can_be_split);
        match self
            .retry_until_stopped(attempt.group_partition.partition, stop, transient, || self.store.probe(&append))
            .await
        {
            Ok(()) => Ok(Tried::Stored),
            Err(error) => failure(attempt, can_be_split, error),
        }
    }

    fn dead_letter<'a>(
        &self,
        group_partition: &GroupPartition,
        chunk: &Chunk,
        place: RecordPlace<'a>,
        reason: String,
        attempts: u32,
    ) -> DeadLetter<'a> {
        let RecordPlace { offset, record_index, key, value } = place;
        let trace_parent = chunk.trace_of(offset);
        tracing::warn!(
            topic = group_partition.topic,
            partition = group_partition.partition,
            offset,
            record_index,
            reason,
            attempts,
            traceparent = trace_parent.map(tracing::field::debug),
            "a record can never be stored as an event"
        );
        DeadLetter { offset, record_index, key, value, trace_parent, reason, attempts, at: self.clock.now() }
    }
}

impl Attempt<'_, '_> {
    fn as_append(&self) -> Append<'_> {
        let Self { group_partition, expected, next, events, dead_letters } = *self;
        Append { group_partition, expected, next, events, dead_letters }
    }
}

/// Whether an error passes by itself. A smaller append may be fast enough, if there is one.
fn is_transient(error: &StoreError, can_be_split: bool) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::Unreadable(_) => true,
        StoreError::TooBroad => !can_be_split,
        StoreError::Conflict { .. } | StoreError::Rejected(_) => false,
    }
}

/// What follows from an error that was not tried again; `None` if the process stops.
fn failure(attempt: &Attempt<'_, '_>, can_be_split: bool, error: Option<StoreError>) -> Result<Tried, Halt> {
    match error {
        Some(StoreError::Conflict { actual }) => Err(Halt::Moved(actual)),
        Some(StoreError::Rejected(cause)) => Ok(Tried::Refused(cause.to_string())),
        Some(StoreError::TooBroad) if can_be_split => {
            let (partition, events) = (attempt.group_partition.partition, attempt.events.len());
            tracing::warn!(
                partition,
                events,
                "the store is too slow for this many events at once, trying half of them"
            );
            Ok(Tried::TooSlow)
        }
        Some(StoreError::Unavailable(_) | StoreError::Unreadable(_) | StoreError::TooBroad) | None => {
            Err(Halt::Stopped)
        }
    }
}

/// Both halves of a range of events, the second one first.
fn halves(range: Range<usize>, refusals: u32) -> [(Range<usize>, u32); 2] {
    let middle = range.start + range.len() / 2;
    [(middle..range.end, refusals), (range.start..middle, refusals)]
}

/// Where the second half of events of several records begins: its index and the offset of its first record. `None` if
/// there are not several records.
fn middle(events: &[(u64, LogEvent<'_>)]) -> Option<(usize, u64)> {
    let (around, _) = events.get(events.len() / 2)?;
    let begins = events.partition_point(|(offset, _)| offset < around);
    let index = if begins > 0 { begins } else { events.partition_point(|(offset, _)| offset <= around) };
    events.get(index).map(|(offset, _)| (index, *offset))
}
