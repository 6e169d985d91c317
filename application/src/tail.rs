//! Follows the store as events arrive.
//!
//! Constraints and invariants:
//! * A tail reads from the store, so it shows the events of all consumers, and the store is its only buffer: a slow
//!   reader costs no memory.
//! * Events come in the order in which they were stored, each once, and none is skipped silently: a reader that falls
//!   behind further than [`TAIL_BACKLOG_EVENTS_MAX`] is told how many it missed.
//! * At most [`TAILS_MAX`] tails at a time, and each ends when the process begins to stop.

use std::sync::Arc;
use std::time::Duration;

use domain::backoff::Backoff;
use domain::filter::EventFilter;
use domain::ports::{BoxFuture, LogStore};
use domain::query::{StoredEvent, TailPage, TailQuery};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::cause::Chain;

/// Maximum number of concurrent tails.
pub const TAILS_MAX: usize = 64;
/// How many events a tail may be behind, matching or not, before it skips to half of that.
pub const TAIL_BACKLOG_EVENTS_MAX: u64 = 100_000;
/// Events read at once.
const PAGE_EVENTS: u32 = 200;
/// How often to look for new events.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum silence while the store answers: after that the reader is told how far the tail has read.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Follows the store.
pub struct Tail {
    store: Arc<dyn LogStore>,
    tails: Arc<Semaphore>,
}

/// Why a tail cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// [`TAILS_MAX`] tails are running already.
    #[error("there are {TAILS_MAX} tails already")]
    TooMany,
}

/// An item of a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailItem {
    /// An event was stored.
    Event {
        /// Sequence number to resume after.
        sequence: u64,
        /// The event.
        event: Box<StoredEvent>,
    },
    /// The reader was too slow, or disconnected too long.
    Missed {
        /// Number of skipped events, matching or not.
        events: u64,
        /// Sequence number to resume after.
        sequence: u64,
    },
    /// No matching event up to here.
    Nothing {
        /// Sequence number to resume after.
        sequence: u64,
    },
}

/// One reader's tail.
pub struct Follow {
    store: Arc<dyn LogStore>,
    query: TailQuery,
    stopping: BoxFuture<()>,
    /// When the last item was returned; `None` before the first one.
    told: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// A use case over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>) -> Self {
        Self { store, tails: Arc::new(Semaphore::new(TAILS_MAX)) }
    }

    /// Begins a tail after a sequence number, by default at the current end. The tail ends when `stopping` resolves.
    ///
    /// # Errors
    /// See [`TailError`].
    pub fn follow(
        &self,
        filter: EventFilter,
        after: Option<u64>,
        stopping: BoxFuture<()>,
    ) -> Result<Follow, TailError> {
        let permit = Arc::clone(&self.tails).try_acquire_owned().map_err(|_| TailError::TooMany)?;
        let query = TailQuery { filter, after, limit: PAGE_EVENTS };
        Ok(Follow { store: Arc::clone(&self.store), query, stopping, told: None, _permit: permit })
    }
}

impl Follow {
    /// Waits for items and returns a non-empty list; `None` when the tail ends. Waits while the store is unavailable.
    pub async fn next(&mut self) -> Option<Vec<TailItem>> {
        let Self { store, query, stopping, told, .. } = self;
        // First, so that a tail that begins while the process stops ends without an item.
        let items = tokio::select! {
            biased;
            () = stopping => return None,
            items = look(store.as_ref(), query, told) => items,
        };
        *told = Some(Instant::now());
        Some(items)
    }
}

/// Polls until there are items. The position of `query` moves only together with returned items, so that a caller that
/// drops the future misses nothing.
async fn look(store: &dyn LogStore, query: &mut TailQuery, told: &Option<Instant>) -> Vec<TailItem> {
    let began = told.unwrap_or_else(Instant::now);
    let mut waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let page = match store.tail(query).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "a tail waits for the store");
                sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
                continue;
            }
        };
        let (scanned, caught_up) = (page.scanned, page.scanned >= page.end);
        let items = say(query, page);
        if !items.is_empty() {
            return items;
        }
        if told.is_none() || began.elapsed() >= SILENCE_MAX {
            return vec![TailItem::Nothing { sequence: scanned }];
        }
        if caught_up {
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Advances the position past a page, and returns its items.
fn say(query: &mut TailQuery, page: TailPage) -> Vec<TailItem> {
    let TailPage { events, scanned, end } = page;
    // A number beyond the store's end belongs to another store: everything from here on is new.
    let after = query.after.filter(|after| *after <= end);
    if let Some(after) = after
        && end - after > TAIL_BACKLOG_EVENTS_MAX
    {
        let sequence = end - TAIL_BACKLOG_EVENTS_MAX / 2;
        query.after = Some(sequence);
        return vec![TailItem::Missed { events: sequence - after, sequence }];
    }
    query.after = Some(if after.is_some() { scanned } else { end });
    let event = |(sequence, event)| TailItem::Event { sequence, event: Box::new(event) };
    if after.is_some() { events.into_iter().map(event).collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use domain::Uuid;
    use domain::event::{IdOrigin, LogEvent};
    use domain::level::Level;
    use domain::ports::{MockLogStore, StoreError};
    use domain::timestamp::Timestamp;

    use super::*;

    fn stored(sequence: u64) -> StoredEvent {
        let event = LogEvent {
            event_id: Uuid::from_u128(sequence.into()),
            id_origin: IdOrigin::Generated,
            source: "s".into(),
            level: Level::Info,
            message: "m".into(),
            timestamp: Timestamp::MIN,
            received_at: Timestamp::MIN,
            stack_trace: None,
            trace_id: None,
            span_id: None,
            metadata: None,
        };
        StoredEvent { event, topic: "logs".to_owned(), partition: 0, offset: sequence }
    }

    /// A store with events 1 to `end`, which can grow; only every `matching`th matches.
    fn store(end: &Arc<Mutex<u64>>, matching: u64) -> Arc<MockLogStore> {
        let mut store = MockLogStore::new();
        let end = Arc::clone(end);
        store.expect_tail().returning(move |query| {
            let end = *end.lock().expect("lock");
            let Some(after) = query.after.filter(|after| *after < end) else {
                return Ok(TailPage { events: Vec::new(), scanned: end, end });
            };
            let scanned = end.min(after + u64::from(query.limit));
            let events = (after + 1..=scanned).filter(|n| n % matching == 0).map(|n| (n, stored(n))).collect();
            Ok(TailPage { events, scanned, end })
        });
        Arc::new(store)
    }

    fn forever() -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn sequences(items: &[TailItem]) -> Vec<u64> {
        let of = |item: &TailItem| match item {
            TailItem::Event { sequence, .. } => *sequence,
            other => panic!("{other:?} is not an event"),
        };
        items.iter().map(of).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_tail_begins_at_the_end_and_shows_each_event_once_in_order() {
        let end = Arc::new(Mutex::new(7));
        let tail = Tail::new(store(&end, 1));
        let mut follow = tail.follow(EventFilter::default(), None, forever()).expect("a tail");
        assert_eq!(follow.next().await, Some(vec![TailItem::Nothing { sequence: 7 }]));
        *end.lock().expect("lock") = 1_000;
        let mut seen = Vec::new();
        while seen.last() != Some(&1_000) {
            seen.extend(sequences(&follow.next().await.expect("more")));
        }
        assert_eq!(seen, (8..=1_000).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tail_resumes_where_its_reader_stopped_and_reports_silence() {
        let end = Arc::new(Mutex::new(1_000));
        let tail = Tail::new(store(&end, 600));
        let mut follow = tail.follow(EventFilter::default(), Some(3), forever()).expect("a tail");
        assert_eq!(follow.next().await, Some(vec![TailItem::Nothing { sequence: 203 }]));
        assert_eq!(sequences(&follow.next().await.expect("more")), [600]);
        let began = Instant::now();
        assert_eq!(follow.next().await, Some(vec![TailItem::Nothing { sequence: 1_000 }]));
        assert!(began.elapsed() >= SILENCE_MAX && began.elapsed() < SILENCE_MAX * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_too_far_behind_is_told_what_it_missed_and_one_from_another_store_begins_at_the_end() {
        let end = Arc::new(Mutex::new(500_000));
        let tail = Tail::new(store(&end, 1));
        let mut follow = tail.follow(EventFilter::default(), Some(10), forever()).expect("a tail");
        let missed = TailItem::Missed { events: 449_990, sequence: 450_000 };
        assert_eq!(follow.next().await, Some(vec![missed]));
        assert_eq!(sequences(&follow.next().await.expect("more"))[0], 450_001);
        let mut follow = tail.follow(EventFilter::default(), Some(400_000), forever()).expect("a tail");
        assert_eq!(sequences(&follow.next().await.expect("more"))[0], 400_001);
        let mut follow = tail.follow(EventFilter::default(), Some(500_001), forever()).expect("a tail");
        assert_eq!(follow.next().await, Some(vec![TailItem::Nothing { sequence: 500_000 }]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tail_waits_for_an_unavailable_store_and_ends_with_the_process() {
        let mut store = MockLogStore::new();
        let mut tries = 0;
        store.expect_tail().returning(move |_| {
            tries += 1;
            match tries {
                1..5 => Err(StoreError::Unavailable("gone".into())),
                _ => Ok(TailPage::default()),
            }
        });
        let tail = Tail::new(Arc::new(store));
        let stopping = Box::pin(sleep(Duration::from_secs(60)));
        let mut follow = tail.follow(EventFilter::default(), None, stopping).expect("a tail");
        let mut said = 0;
        while follow.next().await.is_some() {
            said += 1;
        }
        assert_eq!(said, 12, "the first item and one every 5 seconds, once the store answers");
    }

    #[tokio::test]
    async fn a_tail_that_begins_while_the_process_stops_ends_without_an_item() {
        // The store is not asked: it would panic.
        let tail = Tail::new(Arc::new(MockLogStore::new()));
        let mut follow = tail.follow(EventFilter::default(), None, Box::pin(async {})).expect("a tail");
        assert_eq!(follow.next().await, None);
    }

    #[test]
    fn tails_are_bounded_and_release_their_slot() {
        let tail = Tail::new(Arc::new(MockLogStore::new()));
        let follow = || tail.follow(EventFilter::default(), None, forever());
        let mut all: Vec<Follow> = (0..TAILS_MAX).map(|_| follow().expect("a tail")).collect();
        assert!(matches!(follow(), Err(TailError::TooMany)));
        all.pop();
        assert!(follow().is_ok());
    }
}
