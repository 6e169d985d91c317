//! The store with so few chunks that almost every answer comes from sealed segments.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_embedded::segments::SegmentBounds;
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, SealOptions, SqliteStore, StoreOptions, forget_segment, list_segments};
use async_trait::async_trait;
use contracts::store::{StoreSubject, drop_after};
use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::ports::{Append, Appended, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, TailQuery};
use domain::rollup::ROLLUP_SOURCES_MAX;
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use testkit::store::{Appending, AppendingStore};

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);
const HOUR_MICROS: i64 = 3_600_000_000;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const EPOCH: i64 = 1_705_314_600_000_000;

/// Small enough that a few events are sealed, in several row groups and blocks.
fn tiny() -> SealOptions {
    SealOptions {
        hot_events: 0,
        events_min: 8,
        bounds: SegmentBounds {
            rows_max: 200,
            file_bytes_max: 1_000_000,
            group_rows_max: 24,
            group_bytes_max: 100_000,
            block_rows: 7,
        },
        ..SealOptions::default()
    }
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("store.db")
}

async fn open(directory: &TempDir, seal: SealOptions) -> SqliteStore {
    let options = StoreOptions { dedup_window: DEDUP_WINDOW, query_timeout: contracts::DEADLINE };
    let segments = Directory::open(&directory.path().join(SEGMENTS)).expect("a directory");
    SqliteStore::over(&file(directory), options, seal, Arc::new(segments)).await.expect("the store opens")
}

/// Seals everything that can be sealed.
async fn seal_all(store: &SqliteStore) {
    while store.seal().await.expect("it is sealed") {}
}

/// Seals after each append.
struct Sealing {
    store: Arc<SqliteStore>,
    failures: Arc<AtomicU64>,
}

#[async_trait]
impl Appending for Sealing {
    async fn append<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<Appended, StoreError> {
        let appended = store.append(append).await?;
        loop {
            match self.store.seal().await {
                Ok(true) => {}
                Ok(false) => return Ok(appended),
                // Another store in the same place gave up the intent.
                Err(_) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    return Ok(appended);
                }
            }
        }
    }
}

#[derive(Default)]
struct SealingStores {
    failures: Arc<AtomicU64>,
}

impl StoreSubject for SealingStores {
    type Place = TempDir;

    async fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    async fn open(&self, place: &TempDir) -> Arc<dyn LogStore> {
        let store = Arc::new(open(place, tiny()).await);
        let appending = Sealing { store: Arc::clone(&store), failures: Arc::clone(&self.failures) };
        Arc::new(AppendingStore { store, appending })
    }

    fn dedup_window(&self) -> Duration {
        DEDUP_WINDOW
    }

    /// A segment has events of one day.
    fn expiry_unit(&self) -> Duration {
        DAY
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_the_promises_of_its_port_with_almost_all_events_in_segments() {
    let subject = SealingStores::default();
    contracts::store::all(&subject).await;
    // Only where two stores seal in one place.
    assert!(subject.failures.load(Ordering::Relaxed) < 50);
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 0 }
}

/// Event `n` is the `n`th in time.
fn event(n: u32) -> LogEvent<'static> {
    LogEvent {
        event_id: Uuid::from_u128(u128::from(n) + 1),
        id_origin: IdOrigin::Client,
        source: "shop".into(),
        level: Level::Info,
        message: format!("order {n} placed").into(),
        timestamp: time(EPOCH + i64::from(n)),
        received_at: time(EPOCH + i64::from(n)),
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

async fn append(store: &SqliteStore, events: impl IntoIterator<Item = LogEvent<'static>>) -> Appended {
    let expected = store.position(&group_partition()).await.expect("a position");
    let from = expected.unwrap_or(0);
    let events: Vec<_> = (from..).zip(events).collect();
    let next = from + events.len() as u64;
    let append = Append { group_partition: &group_partition(), expected, next, events: &events, dead_letters: &[] };
    store.append(&append).await.expect("the append succeeds")
}

async fn rows(directory: &TempDir, table: &str) -> i64 {
    let mut beside = SqliteConnectOptions::new().filename(file(directory)).connect().await.expect("the file opens");
    let count = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut beside).await.expect("the table is there")
}

/// Events in chunks.
async fn hot(directory: &TempDir) -> i64 {
    let mut beside = SqliteConnectOptions::new().filename(file(directory)).connect().await.expect("the file opens");
    let sum = sqlx::query_scalar("SELECT coalesce(sum(event_count), 0) FROM chunks");
    sum.fetch_one(&mut beside).await.expect("the table is there")
}

fn everything() -> LogQuery {
    LogQuery::newest(EventFilter::default(), 1_000)
}

async fn offsets(store: &SqliteStore) -> Vec<u64> {
    let page = store.query(&everything()).await.expect("a page");
    let mut offsets: Vec<u64> = page.items.iter().map(|stored| stored.offset).collect();
    offsets.sort_unstable();
    offsets
}

/// The files of the segments, by name.
fn files(directory: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.path().join(SEGMENTS)).expect("a directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort_unstable();
    files
}

#[tokio::test]
async fn a_damaged_segment_fails_what_needs_it_until_it_is_whole_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, tiny()).await;
    append(&store, (0..100).map(event)).await;
    seal_all(&store).await;
    // Too few to be sealed.
    append(&store, (100..103).map(event)).await;
    seal_all(&store).await;
    assert_eq!((hot(&directory).await, offsets(&store).await.len()), (3, 103));
    let [path]: [PathBuf; 1] = files(&directory).try_into().expect("one segment");
    let whole = std::fs::read(&path).expect("a file");
    let range = EventFilter::between(Some(time(EPOCH)), Some(time(EPOCH + 1_000)));
    let interval = Duration::from_millis(1);
    let stats = StatsQuery { filter: range, interval, by: GroupBy::Level, time_max: None };
    let tail = TailQuery { filter: EventFilter::default(), after: Some(0), limit: 10 };
    // A byte of the first column, one of the tail, and the whole file.
    for damage in [Some(10), Some(whole.len() - 20), None] {
        let expected = (store.query(&everything()).await.expect("a page"), store.stats(&stats).await.expect("counts"));
        let mut damaged = whole.clone();
        match damage {
            Some(at) => {
                damaged[at] ^= 1;
                std::fs::write(&path, damaged).expect("it is written");
            }
            None => std::fs::remove_file(&path).expect("it is removed"),
        }
        // What is open stays so; another process opens it.
        let other = open(&directory, tiny()).await;
        let mut failed = 0;
        match other.query(&everything()).await {
            Err(StoreError::Unreadable(_)) => failed += 1,
            Ok(page) => assert_eq!(page, expected.0, "never fewer hits"),
            Err(error) => panic!("{error:?}"),
        }
        match other.stats(&stats).await {
            Err(StoreError::Unreadable(_)) => failed += 1,
            Ok(counts) => assert_eq!(counts, expected.1, "never fewer events"),
            Err(error) => panic!("{error:?}"),
        }
        failed += u32::from(other.tail(&tail).await.is_err());
        assert!(failed > 0, "{damage:?}");
        let status = other.segments_status();
        assert!(status.unreadable == 1 && status.fault.is_some_and(|fault| fault.contains(".parquet")), "{damage:?}");
        // The newest events are in a chunk.
        let newest = other.query(&LogQuery::newest(EventFilter::default(), 2)).await.expect("no segment is needed");
        assert!(newest.items.len() == 2 && newest.more);
        std::fs::write(&path, &whole).expect("it is restored");
        seal_all(&other).await;
        assert_eq!((other.segments_status().unreadable, offsets(&other).await.len()), (0, 103));
    }
}

/// Asserts that counts by minute are those of these events, by level and by source.
async fn assert_counts(store: &SqliteStore, events: &[LogEvent<'static>], filter: &EventFilter) {
    for by in [GroupBy::Level, GroupBy::Source] {
        let (filter, interval) = (filter.clone(), Duration::from_secs(60));
        let query = StatsQuery { filter, interval, by, time_max: None };
        assert!(query.rollups().is_some(), "{query:?}");
        let mut expected = Counts::default();
        let matching = events.iter().filter(|event| query.filter.matches(event));
        matching.for_each(|event| expected.add(&query, event));
        assert_eq!(store.stats(&query).await.expect("counts"), expected, "{query:?}");
    }
}

async fn expire_all(store: &SqliteStore, oldest: Timestamp) {
    while store.expire(oldest).await.expect("the store answers") > 0 {}
}

/// The further sources of the first day are counted as others, and kept apart on the second day. Removing the events of the first
/// day takes the counts of the second, and leaves as many others.
#[tokio::test]
async fn counts_stay_exact_when_a_segment_goes_whose_sources_were_counted_as_others() {
    const FURTHER: u32 = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let seal = SealOptions { bounds: SegmentBounds { rows_max: 4_000, ..SegmentBounds::default() }, ..tiny() };
    let store = open(&directory, seal).await;
    let kept_apart = u32::try_from(ROLLUP_SOURCES_MAX).expect("few");
    let of_day = |n: u32, day: u32| LogEvent {
        event_id: Uuid::from_u128(u128::from(day) << 64 | u128::from(n)),
        // The names have the order of the numbers.
        source: format!("source-{n:06}").into(),
        received_at: time(EPOCH + i64::from(day) * 24 * HOUR_MICROS),
        ..event(n)
    };
    let first: Vec<_> = (0..kept_apart + FURTHER).map(|n| of_day(n, 0)).collect();
    let second: Vec<_> = (kept_apart..kept_apart + FURTHER).map(|n| of_day(n, 1)).collect();
    append(&store, first.clone()).await;
    append(&store, second.clone()).await;
    let both = [first, second.clone()].concat();
    let everything = EventFilter::default();
    assert_counts(&store, &both, &everything).await;
    seal_all(&store).await;
    assert_eq!(hot(&directory).await, 0);
    assert_counts(&store, &both, &everything).await;
    expire_all(&store, time(EPOCH + HOUR_MICROS)).await;
    assert_eq!(offsets(&store).await.len(), second.len());
    assert_counts(&store, &second, &everything).await;
    assert_eq!(rows(&directory, "rollups").await, 1, "all are others now");
    let last = EventFilter::source(&second.last().expect("an event").source);
    assert_counts(&store, &second, &last).await;
    expire_all(&store, Timestamp::MAX).await;
    assert_counts(&store, &[], &everything).await;
    assert_eq!((rows(&directory, "rollups").await, rows(&directory, "segment_rollups").await), (0, 0));
    assert_eq!(append(&store, second.clone()).await.stored, second.len(), "events that are gone have no repeats");
    assert_counts(&store, &second, &everything).await;
}

/// 100 events that were received on one day, and 50 of the next.
fn two_days() -> Vec<LogEvent<'static>> {
    let of_day = |n: u32| {
        let day = if n < 100 { 0 } else { 24 * HOUR_MICROS };
        let level = if n.is_multiple_of(3) { Level::Warn } else { Level::Info };
        let (timestamp, received_at) = (EPOCH + i64::from(n) * 7_000_000, EPOCH + i64::from(n) + day);
        LogEvent { level, timestamp: time(timestamp), received_at: time(received_at), ..event(n) }
    };
    (0..150).map(of_day).collect()
}

#[tokio::test]
async fn a_lost_segment_is_given_up_beside_the_process_that_has_the_store_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, tiny()).await;
    let events = two_days();
    append(&store, events.clone()).await;
    seal_all(&store).await;
    store.close().await;
    let listed = list_segments(&file(&directory)).await.expect("the list");
    let [lost, kept] = listed.as_slice() else { panic!("a segment for each day: {listed:?}") };
    std::fs::remove_file(directory.path().join(SEGMENTS).join(&lost.name)).expect("it is removed");
    let store = open(&directory, tiny()).await;
    let refused = store.query(&everything()).await;
    assert!(matches!(refused, Err(StoreError::Unreadable(_))), "{refused:?}");
    assert_eq!(store.segments_status().unreadable, 1);

    let forget = async |name: &str| forget_segment(&file(&directory), name).await.expect("the store is there");
    assert_eq!(forget("000000000099.parquet").await, None);
    assert_eq!(forget(&lost.name).await, Some(100));
    assert_eq!(forget(&lost.name).await, None);
    assert_eq!(offsets(&store).await, (100..150).collect::<Vec<u64>>());
    assert_counts(&store, &events[100..], &EventFilter::default()).await;
    seal_all(&store).await;
    let status = store.segments_status();
    assert_eq!((status.segments, status.unreadable, status.file_bytes), (1, 0, kept.file_bytes));
    // Events that are gone have no repeats, and those that are left do.
    let again = append(&store, events).await;
    assert_eq!((again.stored, again.deduplicated), (100, 50));
}

/// Whole minutes need no segment, and expiry reads none.
#[tokio::test]
async fn a_segment_that_is_missing_counts_until_it_expires() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, tiny()).await;
    let events = two_days();
    append(&store, events.clone()).await;
    seal_all(&store).await;
    let minute = 60_000_000;
    let with_edges = EventFilter::between(Some(time(EPOCH + 1)), Some(time(EPOCH + 15 * minute + 1)));
    let whole = EventFilter::between(Some(time(EPOCH)), Some(time(EPOCH + 15 * minute)));
    for filter in [&with_edges, &whole] {
        assert_counts(&store, &events, filter).await;
    }
    store.close().await;
    let [first, _]: [PathBuf; 2] = files(&directory).try_into().expect("a segment for each day");
    std::fs::remove_file(first).expect("it is removed");
    let store = open(&directory, tiny()).await;
    assert_counts(&store, &events, &whole).await;
    let interval = Duration::from_secs(60);
    let query = StatsQuery { filter: with_edges.clone(), interval, by: GroupBy::Level, time_max: None };
    let refused = store.stats(&query).await;
    assert!(matches!(refused, Err(StoreError::Unreadable(_))), "{refused:?}");
    expire_all(&store, time(EPOCH + HOUR_MICROS)).await;
    for filter in [&with_edges, &whole, &EventFilter::default()] {
        assert_counts(&store, &events[100..], filter).await;
    }
}

/// The claims of clients are kept for the dedup window only. What arrives later than that is looked up in segments.
#[tokio::test]
async fn repeats_are_recognised_however_late_they_arrive() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, tiny()).await;
    let later = |n: u32, micros: i64| {
        let received_at = time(EPOCH + i64::from(n) + micros);
        LogEvent { received_at, ..event(n) }
    };
    append(&store, (0..20).map(event)).await;
    append(&store, (100..120).map(|n| later(n, 40 * HOUR_MICROS))).await;
    append(&store, (200..220).map(|n| later(n, 80 * HOUR_MICROS))).await;
    seal_all(&store).await;
    append(&store, (300..310).map(|n| later(n, 80 * HOUR_MICROS))).await;
    seal_all(&store).await;
    assert_eq!(hot(&directory).await, 0);
    assert_eq!(rows(&directory, "claims").await, 30, "those of the first days are gone");
    // The same receipt, within the window, and beyond it; one per sealed day.
    for (n, micros, at) in [(5, 0, 0), (105, 40 * HOUR_MICROS, 1), (205, 80 * HOUR_MICROS, 2)] {
        for distance in [0, 1, -HOUR_MICROS, HOUR_MICROS] {
            let appended = append(&store, [later(n, micros + distance)]).await;
            assert_eq!(appended.deduplicated, 1, "day {at}, {distance}");
        }
        for distance in [HOUR_MICROS + 1, -HOUR_MICROS - 1] {
            let appended = append(&store, [later(n, micros + distance)]).await;
            assert_eq!(appended.stored, 1, "day {at}, {distance}");
        }
        let generated = LogEvent { id_origin: IdOrigin::Generated, ..later(n + 1, micros) };
        assert_eq!(append(&store, [generated]).await.deduplicated, 1, "day {at}");
    }
}

#[tokio::test]
async fn a_step_that_is_dropped_at_any_await_loses_nothing_and_shows_nothing_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, tiny()).await;
    let mut appended = 0;
    let mut sealed = 0;
    for waits in 0..400 {
        append(&store, (appended..appended + 2).map(event)).await;
        appended += 2;
        if let Some(outcome) = drop_after(waits % 80, store.seal()).await {
            sealed += u32::from(outcome.expect("it is sealed"));
        }
        if waits % 20 == 0 {
            let expected: Vec<u64> = (0..u64::from(appended)).collect();
            assert_eq!(offsets(&store).await, expected, "after {waits} waits");
        }
    }
    assert!(sealed > 10, "{sealed}");
    seal_all(&store).await;
    let expected: Vec<u64> = (0..u64::from(appended)).collect();
    assert_eq!(offsets(&store).await, expected);
    // What was left is removed.
    let listed = list_segments(&file(&directory)).await.expect("the list");
    let names: Vec<PathBuf> =
        listed.iter().map(|summary| directory.path().join(SEGMENTS).join(&summary.name)).collect();
    assert!(!names.is_empty() && files(&directory).iter().all(|file| names.contains(file)));
}

#[tokio::test]
async fn the_oldest_segments_go_first_when_there_are_too_many_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let unlimited = open(&directory, tiny()).await;
    for day in 0..3_u32 {
        let received_at = |n: u32| time(EPOCH + i64::from(n) + i64::from(day) * 24 * HOUR_MICROS);
        append(&unlimited, (day * 50..day * 50 + 50).map(|n| LogEvent { received_at: received_at(n), ..event(n) }))
            .await;
    }
    seal_all(&unlimited).await;
    unlimited.close().await;
    let listed = list_segments(&file(&directory)).await.expect("the list");
    let bytes: u64 = listed.iter().map(|summary| summary.file_bytes).sum();
    let first = listed.first().expect("a segment");
    let limited = open(&directory, SealOptions { segment_bytes_max: bytes - 1, ..tiny() }).await;
    seal_all(&limited).await;
    assert_eq!(offsets(&limited).await, (first.rows..150).collect::<Vec<u64>>(), "the first segment is gone");
    seal_all(&limited).await;
    assert_eq!(files(&directory).len(), listed.len() - 1, "and its file");
    assert!(limited.segments_status().file_bytes < bytes);
}

#[tokio::test]
async fn an_append_waits_while_too_many_events_are_not_sealed() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, SealOptions { hot_events_max: 20, ..tiny() }).await;
    append(&store, (0..21).map(event)).await;
    let mut next = std::pin::pin!(append(&store, (21..25).map(event)));
    // Many times what an append takes.
    let reads = async {
        for _ in 0..500 {
            store.position(&group_partition()).await.expect("a position");
        }
    };
    tokio::select! {
        _ = &mut next => panic!("the append did not wait"),
        () = reads => {}
    }
    seal_all(&store).await;
    next.await;
    assert_eq!(offsets(&store).await, (0..25).collect::<Vec<u64>>());
    // Without sealing, nothing would end the wait.
    let unsealed = open(&directory, SealOptions { hot_events_max: 20, enabled: false, ..tiny() }).await;
    append(&unsealed, (25..50).map(event)).await;
    append(&unsealed, (50..51).map(event)).await;
}

#[tokio::test]
async fn events_of_a_store_that_did_not_seal_are_sealed_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let before = open(&directory, SealOptions { enabled: false, ..tiny() }).await;
    append(&before, (0..500).map(event)).await;
    assert!(!before.seal().await.expect("nothing to do"));
    before.close().await;
    assert_eq!((hot(&directory).await, files(&directory).len()), (500, 0));
    let after = open(&directory, tiny()).await;
    seal_all(&after).await;
    assert_eq!(hot(&directory).await, 0);
    assert_eq!(offsets(&after).await, (0..500).collect::<Vec<u64>>());
    assert_eq!(append(&after, (0..500).map(event)).await.deduplicated, 500);
    after.close().await;
    // And is read without sealing.
    let again = open(&directory, SealOptions { enabled: false, ..tiny() }).await;
    assert_eq!(offsets(&again).await.len(), 500);
}

/// Each segment is asked, however many there are.
#[tokio::test]
async fn looking_for_an_event_in_segments_takes_no_longer_than_a_query() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { dedup_window: DEDUP_WINDOW, query_timeout: Duration::ZERO };
    let segments = Directory::open(&directory.path().join(SEGMENTS)).expect("a directory");
    let store = SqliteStore::over(&file(&directory), options, tiny(), Arc::new(segments)).await;
    let store = store.expect("the store opens");
    append(&store, (0..20).map(event)).await;
    seal_all(&store).await;
    let found = store.find(Uuid::from_u128(1)).await;
    assert!(matches!(found, Err(StoreError::TooBroad)), "{found:?}");
}

#[tokio::test]
async fn small_chunks_of_a_partition_and_day_are_joined() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, SealOptions { enabled: false, ..tiny() }).await;
    let group_partitions = [0, 1].map(|partition| GroupPartition { partition, ..group_partition() });
    for n in 0..400_u32 {
        // Two partitions take turns, and a day ends in the middle.
        let received_at = time(EPOCH + i64::from(n / 200) * 24 * HOUR_MICROS);
        let of = &group_partitions[n as usize % 2];
        let (offset, expected) = (u64::from(n / 2), Some(u64::from(n / 2)).filter(|offset| *offset > 0));
        let events = [(offset, LogEvent { received_at, ..event(n) })];
        let append = Append { group_partition: of, expected, next: offset + 1, events: &events, dead_letters: &[] };
        store.append(&append).await.expect("the append succeeds");
    }
    let tail = async |store: &SqliteStore| {
        let query = TailQuery { filter: EventFilter::default(), after: Some(0), limit: 1_000 };
        store.tail(&query).await.expect("a page")
    };
    let before = (store.query(&everything()).await.expect("a page"), tail(&store).await);
    assert_eq!((rows(&directory, "chunks").await, before.1.events.len()), (400, 400));
    seal_all(&store).await;
    // Of each partition and day, 64 of 100 chunks become one.
    assert_eq!((rows(&directory, "chunks").await, hot(&directory).await), (4 * 37, 400));
    assert!((store.query(&everything()).await.expect("a page"), tail(&store).await) == before);
    store.close().await;
    let store = open(&directory, tiny()).await;
    assert!((store.query(&everything()).await.expect("a page"), tail(&store).await) == before);
    seal_all(&store).await;
    assert!((store.query(&everything()).await.expect("a page"), tail(&store).await) == before);
    assert_eq!(append(&store, [event(0)]).await.deduplicated, 1);
}
