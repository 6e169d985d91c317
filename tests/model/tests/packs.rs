//! A consumer that is replaced while it stores packed records, and continues later.
//!
//! The first consumer stops at one of its calls to the store, before the call or after it, also within a packed record
//! that the store has refused. A second consumer takes over at the position of the store and stores everything. Then the
//! first one continues. Whatever the call: each event was appended once, as an event or as a dead letter.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_embedded::store::{SqliteStore, StoreOptions};
use application::persist::Persist;
use async_trait::async_trait;
use domain::Uuid;
use domain::dead_letter::DeadLetterQuery;
use domain::filter::EventFilter;
use domain::lag::Lag;
use domain::partition::Partition;
use domain::ports::{
    Append, Appended, AssignmentChange, GroupPartition, LogStore, RecordSource, SourceError, StoreError,
};
use domain::query::LogQuery;
use domain::record::{Chunk, Record};
use domain::timestamp::Timestamp;
use testkit::store::{Appending, AppendingStore};
use testkit::{NoTelemetry, clock_at};
use tokio::sync::{Notify, watch};

const DEADLINE: Duration = Duration::from_secs(60);
/// A message that the store refuses.
const POISON: &str = "poison";
/// The messages of each record. An empty one is not an event.
const RECORDS: [&[&str]; 5] =
    [&["ok", "ok"], &["ok", POISON, "", "ok", POISON, "ok"], &[POISON], &["ok"], &["ok", "ok", POISON]];
/// The position behind them.
const END: u64 = RECORDS.len() as u64;

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 0 }
}

/// How often each event was appended as an event or as a letter, by offset and position in the record.
type Tally = Arc<Mutex<BTreeMap<(u64, u128), usize>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_was_replaced_at_any_call_stores_nothing_twice() {
    let undisturbed = one_history(None).await;
    assert!(undisturbed > RECORDS.len(), "halves and probes are calls as well: {undisturbed}");
    for call in 0..undisturbed {
        for happens in [false, true] {
            one_history(Some(Pause { call, happens })).await;
        }
    }
}

/// At which call the first consumer stops.
#[derive(Clone, Copy, Debug)]
struct Pause {
    call: usize,
    /// Whether the call happens before the consumer stops.
    happens: bool,
}

/// Returns the number of calls of the first consumer.
async fn one_history(pause: Option<Pause>) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { dedup_window: Duration::from_secs(3_600), query_timeout: DEADLINE };
    let store = Arc::new(SqliteStore::open(&directory.path().join("store.db"), options).await.expect("it opens"));
    let tally = Tally::default();
    let first = Consumer::start(&store, &tally, pause);
    if pause.is_some() {
        tokio::time::timeout(DEADLINE, first.store.appending.paused.notified())
            .await
            .expect("the first consumer stops in time");
        let second = Consumer::start(&store, &tally, None);
        second.until_it_waits(pause).await;
        second.end().await;
        first.store.appending.go_on.notify_one();
    }
    first.until_it_waits(pause).await;
    let calls = first.store.appending.calls.load(Ordering::Acquire);
    first.end().await;

    assert_eq!(store.position(&group_partition()).await.expect("a position"), Some(END), "{pause:?}");
    let expected: BTreeMap<_, _> = places().into_iter().map(|(offset, index, _)| ((offset, index), 1)).collect();
    assert_eq!(*tally.lock().expect("lock"), expected, "{pause:?}");
    let events = store.query(&LogQuery::newest(EventFilter::default(), 100)).await.expect("a page").items;
    assert!(events.iter().all(|stored| stored.event.message == "ok"), "{pause:?}");
    assert_eq!(events.len(), places().iter().filter(|(.., message)| *message == "ok").count(), "{pause:?}");
    let letters = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&letters).await.expect("a page").items;
    let found: Vec<_> = letters.iter().map(|letter| (letter.offset, u128::from(letter.record_index))).collect();
    let lost = places().into_iter().filter(|(.., message)| *message != "ok");
    assert_eq!(found, lost.map(|(offset, index, _)| (offset, index)).collect::<Vec<_>>(), "{pause:?}");
    store.close().await;
    calls
}

/// Offset, position in the record, and message of each event.
fn places() -> Vec<(u64, u128, &'static str)> {
    let records = (0..).zip(RECORDS);
    records
        .flat_map(|(offset, messages)| (0..).zip(messages).map(move |(index, message)| (offset, index, *message)))
        .collect()
}

struct Consumer {
    store: Arc<AppendingStore<Pausing>>,
    source: Arc<Records>,
    stop: watch::Sender<bool>,
    persist: tokio::task::JoinHandle<()>,
}

impl Consumer {
    fn start(store: &Arc<SqliteStore>, tally: &Tally, pause: Option<Pause>) -> Self {
        let appending = Pausing {
            tally: Arc::clone(tally),
            pause,
            calls: AtomicUsize::new(0),
            paused: Notify::new(),
            go_on: Notify::new(),
        };
        let store = Arc::new(AppendingStore { store: Arc::<SqliteStore>::clone(store), appending });
        let source = Arc::new(Records::default());
        let GroupPartition { group, topic, .. } = group_partition();
        let persist = Persist::new(
            Arc::<Records>::clone(&source),
            Arc::<AppendingStore<Pausing>>::clone(&store),
            Arc::new(clock_at("2024-01-15T12:00:00Z")),
            Arc::new(NoTelemetry),
            group,
            topic,
        );
        let (stop, stopped) = watch::channel(false);
        let persist = tokio::spawn(persist.run(stopped));
        Self { store, source, stop, persist }
    }

    /// Waits until it has read and stored everything.
    async fn until_it_waits(&self, pause: Option<Pause>) {
        let deadline = Instant::now() + DEADLINE;
        while !self.source.waits.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "not in time: {pause:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        let _ = self.stop.send(true);
        self.persist.await.expect("persist ends by itself");
    }
}

/// The records, one chunk from the position on.
#[derive(Default)]
struct Records {
    assigned: AtomicBool,
    position: Arc<AtomicU64>,
    /// Whether the reader has come to the end.
    waits: AtomicBool,
}

#[async_trait]
impl RecordSource for Records {
    async fn assignment(&self) -> Result<AssignmentChange, SourceError> {
        if self.assigned.swap(true, Ordering::AcqRel) {
            std::future::pending::<()>().await;
        }
        let position = Arc::clone(&self.position);
        let start = move |positions: Vec<Option<u64>>| {
            position.store(positions.first().copied().flatten().unwrap_or(0), Ordering::Release);
        };
        Ok(AssignmentChange::Assigned(vec![0], Box::new(start)))
    }

    async fn chunk(&self, _: Partition) -> Result<Chunk, SourceError> {
        let from = self.position.load(Ordering::Acquire);
        if from >= END {
            self.waits.store(true, Ordering::Release);
            std::future::pending::<()>().await;
        }
        let mut chunk = Chunk::default();
        for (offset, messages) in (0..).zip(RECORDS).filter(|(offset, _)| *offset >= from) {
            let value = value(offset, messages);
            let record = Record { key: b"s", value: value.as_bytes(), timestamp: Timestamp::MIN, client_id: false };
            chunk.push(offset, record, None);
        }
        self.position.store(END, Ordering::Release);
        Ok(chunk)
    }

    fn seek(&self, _: Partition, position: Option<u64>) {
        self.position.store(position.unwrap_or_default(), Ordering::Release);
    }

    fn stored(&self, _: Partition, _: u64) {}

    fn lags(&self) -> Vec<Lag> {
        Vec::new()
    }

    async fn close(&self) {}
}

/// The value of a record: a pack, or a single event.
fn value(offset: u64, messages: &[&str]) -> String {
    let events: Vec<String> = (0..)
        .zip(messages)
        .map(|(index, message)| {
            let id = Uuid::from_u128(u128::from(offset) << 64 | index);
            format!(
                r#"{{"eventId":"{id}","timestamp":"2024-01-15T10:30:00Z","receivedAt":"2024-01-15T10:30:00Z","source":"s","level":"INFO","message":"{message}"}}"#
            )
        })
        .collect();
    if messages.len() == 1 { events.concat() } else { format!("[{}]", events.join("\n,")) }
}

/// Refuses [`POISON`], counts what the store took, and stops the consumer at one call.
struct Pausing {
    tally: Tally,
    pause: Option<Pause>,
    calls: AtomicUsize,
    paused: Notify,
    go_on: Notify,
}

impl Pausing {
    async fn pause(&self, call: usize, happened: bool) {
        if self.pause.is_some_and(|pause| pause.call == call && pause.happens == happened) {
            self.paused.notify_one();
            self.go_on.notified().await;
        }
    }

    /// Refuses what a store with such a rule would refuse: behind the fence.
    async fn refuse(&self, store: &dyn LogStore, append: &Append<'_>) -> Result<(), StoreError> {
        if append.events.iter().any(|(_, event)| event.message == POISON) {
            store.probe(&Append { events: &[], dead_letters: &[], ..append.clone() }).await?;
            return Err(StoreError::Rejected(POISON.into()));
        }
        Ok(())
    }

    async fn take(&self, store: &dyn LogStore, append: &Append<'_>) -> Result<Appended, StoreError> {
        self.refuse(store, append).await?;
        let appended = store.append(append).await?;
        let mut tally = self.tally.lock().expect("lock");
        let index = |id: Uuid| id.as_u128() & u128::from(u64::MAX);
        let events = append.events.iter().map(|(offset, event)| (*offset, index(event.event_id)));
        let letters = append.dead_letters.iter().map(|letter| (letter.offset, u128::from(letter.record_index)));
        events.chain(letters).for_each(|place| *tally.entry(place).or_default() += 1);
        Ok(appended)
    }
}

#[async_trait]
impl Appending for Pausing {
    async fn append<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<Appended, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::AcqRel);
        self.pause(call, false).await;
        let appended = self.take(store, append).await;
        self.pause(call, true).await;
        appended
    }

    async fn probe<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::AcqRel);
        self.pause(call, false).await;
        let probed = match self.refuse(store, append).await {
            Ok(()) => store.probe(append).await,
            refused => refused,
        };
        self.pause(call, true).await;
        probed
    }
}
