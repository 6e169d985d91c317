//! Tests on mocks of the source and the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::alert::{Alert, AlertState, AlertUpdate};
use domain::lag::Lag;
use domain::partition::Partition;
use domain::ports::{
    Appended, AssignmentChange, GroupPartition, MockAlerter, MockLogStore, MockRecordSource, MockTelemetry,
    RecordSource, SourceError, StoreError,
};
use domain::record::{Chunk, Record};
use domain::timestamp::Timestamp;
use mockall::predicate::eq;
use testkit::clock_at;
use tokio::sync::watch;

use super::Persist;
use super::store_chunk::Halt;
use crate::alerts::ConsumerAlerts;

pub(super) const POISON: &str = "poison";

pub(super) fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 2 }
}

/// A chunk that begins at `first`, with one record per message; an empty message stands for a record that cannot be
/// decoded.
fn chunk(first: u64, messages: &[&str]) -> Chunk {
    let mut chunk = Chunk::default();
    for (offset, message) in (first..).zip(messages) {
        let json = format!(
            r#"{{"eventId":"{}","timestamp":"2024-01-15T10:30:00Z","receivedAt":"2024-01-15T10:30:00Z","source":"s","level":"INFO","message":"{message}"}}"#,
            domain::Uuid::from_u128(offset.into()),
        );
        let record = Record { key: b"s", value: json.as_bytes(), timestamp: Timestamp::MIN, client_id: false };
        chunk.push(offset, record, None);
    }
    chunk
}

fn telemetry() -> MockTelemetry {
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_fetched().return_const(());
    telemetry.expect_appended().return_const(());
    telemetry.expect_given_up().return_const(());
    telemetry
}

/// Appends made to a store: offsets of events, offsets of dead letters, new position.
type Log = Arc<Mutex<Vec<(Vec<u64>, Vec<u64>, u64)>>>;

/// A store that keeps positions and refuses any append with a poison message.
fn store(position: Option<u64>) -> (MockLogStore, Log) {
    failing_store(position, usize::MAX, false)
}

/// The same store, unavailable at one append; with `done`, only its answer is lost.
fn failing_store(position: Option<u64>, away_at: usize, done: bool) -> (MockLogStore, Log) {
    let log = Log::default();
    let mut tries = 0;
    let position = Arc::new(Mutex::new(position));
    let mut store = MockLogStore::new();
    let current = Arc::clone(&position);
    store.expect_position().returning(move |_| Ok(*current.lock().expect("lock")));
    let appends = Arc::clone(&log);
    store.expect_append().returning(move |append| {
        let away = tries == away_at;
        tries += 1;
        if away && !done {
            return Err(StoreError::Unavailable("gone".into()));
        }
        let mut position = position.lock().expect("lock");
        if *position != append.expected {
            return Err(StoreError::Conflict { actual: *position });
        }
        if append.events.iter().any(|(_, event)| event.message == POISON) {
            return Err(StoreError::Rejected("refused".into()));
        }
        *position = Some(append.next);
        appends.lock().expect("lock").push((
            append.events.iter().map(|(offset, _)| *offset).collect(),
            append.dead_letters.iter().map(|letter| letter.offset).collect(),
            append.next,
        ));
        if away {
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        Ok(Appended { stored: append.events.len(), deduplicated: 0, dead_lettered: append.dead_letters.len() })
    });
    (store, log)
}

pub(super) fn persist(source: MockRecordSource, store: MockLogStore) -> Persist {
    let group_partition = group_partition();
    Persist::new(
        Arc::new(source),
        Arc::new(store),
        Arc::new(clock_at("2024-01-15T10:30:02Z")),
        Arc::new(telemetry()),
        group_partition.group,
        group_partition.topic,
    )
}

pub(super) async fn store_chunk(store: MockLogStore, expected: Option<u64>, chunk: &Chunk) -> Result<(), Halt> {
    let (_stop, stopped) = watch::channel(false);
    persist(MockRecordSource::new(), store).store_chunk(&group_partition(), &mut { expected }, chunk, &stopped).await
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_becomes_a_dead_letter_and_its_neighbours_are_stored() {
    let (store, log) = store(Some(10));
    store_chunk(store, Some(10), &chunk(10, &["a", "", "b"])).await.expect("stored");
    assert_eq!(*log.lock().expect("lock"), [(vec![10, 12], vec![11], 13)]);
}

#[tokio::test]
async fn a_refused_event_is_found_by_halving_and_each_record_is_stored_once_and_in_order() {
    for poisoned in 0..9 {
        let mut messages = ["ok"; 9];
        messages[poisoned] = POISON;
        messages[(poisoned + 4) % 9] = "";
        let (store, log) = store(None);
        store_chunk(store, None, &chunk(100, &messages)).await.expect("stored");

        let log = log.lock().expect("lock");
        let taken: Vec<u64> = log
            .iter()
            .flat_map(|(events, letters, next)| {
                let mut offsets: Vec<u64> = events.iter().chain(letters).copied().collect();
                offsets.sort_unstable();
                assert!(offsets.iter().all(|offset| offset < next));
                offsets
            })
            .collect();
        assert_eq!(taken, (100..109).collect::<Vec<u64>>());
        let mut letters: Vec<u64> = log.iter().flat_map(|(_, letters, _)| letters.clone()).collect();
        letters.sort_unstable();
        let mut expected = [100 + poisoned as u64, 100 + (poisoned as u64 + 4) % 9];
        expected.sort_unstable();
        assert_eq!(letters, expected);
        assert_eq!(log.last().map(|(_, _, next)| *next), Some(109));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_gets_smaller_appends_and_no_event_becomes_a_dead_letter() {
    let appends = Arc::<Mutex<Vec<usize>>>::default();
    let (mut store, seen) = (MockLogStore::new(), Arc::clone(&appends));
    store.expect_append().returning(move |append| {
        if append.events.len() > 2 {
            return Err(StoreError::TooBroad);
        }
        seen.lock().expect("lock").push(append.events.len());
        Ok(Appended { stored: append.events.len(), deduplicated: 0, dead_lettered: append.dead_letters.len() })
    });
    store_chunk(store, None, &chunk(0, &["ok"; 9])).await.expect("stored");
    assert_eq!(*appends.lock().expect("lock"), [2, 2, 2, 1, 2]);
}

#[tokio::test]
async fn a_dead_letter_counts_the_refused_appends_that_contained_it() {
    let mut store = MockLogStore::new();
    let letters = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&letters);
    store.expect_append().returning(move |append| {
        if append.events.iter().any(|(_, event)| event.message == POISON) {
            return Err(StoreError::Rejected("refused".into()));
        }
        kept.lock().expect("lock").extend(append.dead_letters.iter().map(|letter| (letter.offset, letter.attempts)));
        Ok(Appended::default())
    });
    // Refused: all, the first two, the first; then the last two and the last.
    store_chunk(store, None, &chunk(0, &[POISON, "a", "", "b", POISON])).await.expect("stored");
    assert_eq!(*letters.lock().expect("lock"), [(0, 3), (2, 0), (4, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_any_step_of_the_halving_makes_no_valid_event_a_dead_letter() {
    for (away_at, done) in (0..24).flat_map(|at| [(at, false), (at, true)]) {
        let mut messages = ["ok"; 9];
        messages[6] = POISON;
        messages[2] = "";
        let (store, log) = failing_store(None, away_at, done);
        store_chunk(store, None, &chunk(100, &messages)).await.expect("stored");
        let log = log.lock().expect("lock");
        let stored: Vec<u64> = log.iter().flat_map(|(events, ..)| events.clone()).collect();
        let letters: Vec<u64> = log.iter().flat_map(|(_, letters, _)| letters.clone()).collect();
        assert_eq!(stored, [100, 101, 103, 104, 105, 107, 108], "unavailable at append {away_at}");
        assert_eq!(letters, [102, 106], "unavailable at append {away_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_retried_and_a_lost_answer_does_not_store_twice() {
    let mut store = MockLogStore::new();
    let mut tries = 0;
    store.expect_append().times(4).returning(move |append| {
        tries += 1;
        match tries {
            1..=3 => Err(StoreError::Unavailable("gone".into())),
            // The third attempt was stored, only its answer was lost.
            _ => Err(StoreError::Conflict { actual: Some(append.next) }),
        }
    });
    store_chunk(store, Some(1), &chunk(1, &["a"])).await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_for_an_unavailable_store() {
    let mut store = MockLogStore::new();
    store.expect_append().returning(|_| Err(StoreError::Unavailable("gone".into())));
    let (stop, stopped) = watch::channel(false);
    let persist = persist(MockRecordSource::new(), store);
    let (group_partition, chunk) = (group_partition(), chunk(0, &["a"]));
    let mut expected = None;
    let storing = persist.store_chunk(&group_partition, &mut expected, &chunk, &stopped);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send(true).expect("the receiver lives");
    };
    let (stored, ()) = tokio::join!(storing, stopping);
    assert!(matches!(stored, Err(Halt::Stopped)));
}

#[tokio::test]
async fn a_reader_follows_the_position_of_the_store_and_tells_the_bus_what_is_stored() {
    let (store, log) = store(Some(3));
    let mut source = MockRecordSource::new();
    let mut assignments = 0;
    source.expect_assignment().returning(move || {
        assignments += 1;
        match assignments {
            1 => Ok(AssignmentChange::Assigned(vec![2], Box::new(|at| assert_eq!(at, [Some(5)])))),
            _ => Err(SourceError::Closed),
        }
    });
    let mut chunks = 0;
    source.expect_chunk().with(eq(2)).returning(move |_| {
        chunks += 1;
        match chunks {
            1 => Ok(chunk(3, &["a", "b"])),
            _ => Err(SourceError::Closed),
        }
    });
    source.expect_stored().with(eq(2), eq(5)).times(1).return_const(());
    let (_stop, stopped) = watch::channel(false);
    let persist = persist(source, store);
    // Reads until its source is closed.
    persist.read_partition(2, Some(3), stopped.clone()).await;
    assert_eq!(*log.lock().expect("lock"), [(vec![3, 4], vec![], 5)]);
    // Begins at the position of the store.
    persist.run(stopped).await;
}

#[tokio::test]
async fn when_another_consumer_has_moved_the_position_the_reader_follows() {
    let (store, log) = store(Some(7));
    let mut source = MockRecordSource::new();
    let mut chunks = 0;
    source.expect_chunk().returning(move |_| {
        chunks += 1;
        match chunks {
            1 => Ok(chunk(3, &["a"])),
            2 => Ok(chunk(7, &["b"])),
            _ => Err(SourceError::Closed),
        }
    });
    source.expect_seek().with(eq(2), eq(Some(7))).times(1).return_const(());
    source.expect_stored().with(eq(2), eq(8)).times(1).return_const(());
    let (_stop, stopped) = watch::channel(false);
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_fetched().with(eq(1)).times(2).return_const(());
    telemetry.expect_given_up().with(eq(1)).times(1).return_const(());
    let is_stored_after = |age| move |_: &Appended, oldest_age: &Option<Duration>| *oldest_age == Some(age);
    telemetry.expect_appended().withf(is_stored_after(Duration::from_secs(2))).times(1).return_const(());
    let persist = Persist { telemetry: Arc::new(telemetry), ..persist(source, store) };
    persist.read_partition(2, Some(3), stopped).await;
    assert_eq!(*log.lock().expect("lock"), [(vec![7], vec![], 8)]);
}

#[tokio::test]
async fn when_the_position_is_removed_the_reader_continues_at_the_earliest_record() {
    let (store, log) = store(None);
    let mut source = MockRecordSource::new();
    let mut chunks = 0;
    source.expect_chunk().returning(move |_| {
        chunks += 1;
        match chunks {
            1 => Ok(chunk(9, &["a"])),
            2 => Ok(chunk(7, &["b"])),
            _ => Err(SourceError::Closed),
        }
    });
    source.expect_seek().with(eq(2), eq(None::<u64>)).times(1).return_const(());
    source.expect_stored().with(eq(2), eq(8)).times(1).return_const(());
    let (_stop, stopped) = watch::channel(false);
    persist(source, store).read_partition(2, Some(9), stopped).await;
    assert_eq!(*log.lock().expect("lock"), [(vec![7], vec![], 8)]);
}

/// A source that assigns a partition, whose reader panics, and then changes nothing.
#[derive(Default)]
struct Faulty {
    assigned: AtomicBool,
}

#[async_trait]
impl RecordSource for Faulty {
    async fn assignment(&self) -> Result<AssignmentChange, SourceError> {
        if self.assigned.swap(true, Ordering::AcqRel) {
            std::future::pending::<()>().await;
        }
        Ok(AssignmentChange::Assigned(vec![2], Box::new(|_| ())))
    }

    async fn chunk(&self, _: Partition) -> Result<Chunk, SourceError> {
        panic!("a fault")
    }

    fn seek(&self, _: Partition, _: Option<u64>) {}

    fn stored(&self, _: Partition, _: u64) {}

    fn lags(&self) -> Vec<Lag> {
        Vec::new()
    }

    async fn close(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_panics_ends_the_consumer() {
    let (store, _log) = store(Some(7));
    let (_stop, stopped) = watch::channel(false);
    let persist = Persist { source: Arc::new(Faulty::default()), ..persist(MockRecordSource::new(), store) };
    let ended = tokio::time::timeout(Duration::from_secs(60), persist.run(stopped)).await;
    assert!(ended.is_ok(), "its partition would not be read until a restart");
}

/// A use case over this source and store, and the alerts that it sends.
fn alerted(source: MockRecordSource, store: MockLogStore) -> (Persist, Arc<Mutex<Vec<Alert>>>) {
    let told = Arc::<Mutex<Vec<Alert>>>::default();
    let (mut alerter, kept) = (MockAlerter::new(), Arc::clone(&told));
    alerter.expect_alert().returning(move |alert| kept.lock().expect("lock").push(alert));
    (persist(source, store).with_alerts(Arc::new(ConsumerAlerts::new(Arc::new(alerter)))), told)
}

#[tokio::test]
async fn dead_letters_are_reported_once_stored_with_their_number_and_the_last_one() {
    let mut away = MockLogStore::new();
    away.expect_append().returning(|_| Err(StoreError::Unavailable("gone".into())));
    let (stop, stopped) = watch::channel(false);
    let (persist, told) = alerted(MockRecordSource::new(), away);
    stop.send(true).expect("the receiver lives");
    let stored = persist.store_chunk(&group_partition(), &mut Some(10), &chunk(10, &["a", "", "b"]), &stopped).await;
    assert!(stored.is_err() && told.lock().expect("lock").is_empty(), "not stored, not reported");

    let (store, _) = store(Some(10));
    let (persist, told) = alerted(MockRecordSource::new(), store);
    let (_stop, stopped) = watch::channel(false);
    persist
        .store_chunk(&group_partition(), &mut Some(10), &chunk(10, &["a", "", "", "b"]), &stopped)
        .await
        .expect("stored");
    let telling = AlertUpdate::Firing { new: 2, total: 2 };
    let told = told.lock().expect("lock");
    let [alert] = told.as_slice() else { panic!("{told:?}") };
    let reason = alert.details.iter().find(|(name, _)| *name == "reason").expect("a reason").1.clone();
    assert_eq!(*alert, Alert::dead_letters(telling, "logs", 2, 12, &reason));
}

#[tokio::test]
async fn a_stopped_partition_is_reported() {
    let mut source = MockRecordSource::new();
    let gone = || SourceError::OutOfRange { position: 3, first: 9 };
    source.expect_chunk().times(1).returning(move |_| Err(gone()));
    let (persist, told) = alerted(source, MockLogStore::new());
    let (_stop, stopped) = watch::channel(false);
    persist.read_partition(2, Some(3), stopped).await;
    let expected = Alert::partition_stopped(AlertState::Firing, "logs", 2, &gone().to_string());
    assert_eq!(*told.lock().expect("lock"), [expected]);
}

#[tokio::test]
async fn a_partition_whose_dead_letter_the_store_refuses_stops_and_is_reported() {
    let (mut source, mut store) = (MockRecordSource::new(), MockLogStore::new());
    source.expect_chunk().times(1).returning(|_| Ok(chunk(3, &["a", "b"])));
    store.expect_append().returning(|_| Err(StoreError::Rejected("no table".into())));
    let (persist, told) = alerted(source, store);
    let (_stop, stopped) = watch::channel(false);
    persist.read_partition(2, Some(3), stopped).await;
    let reason = "the store refuses a dead letter: no table";
    assert_eq!(*told.lock().expect("lock"), [Alert::partition_stopped(AlertState::Firing, "logs", 2, reason)]);
}
