//! The SQLite store during and after a full disk. A file size limit simulates the full disk; the limit applies to the
//! whole process, so this file has no other test.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::path::{Path, PathBuf};

use adapter_embedded::store::{SqliteStore, StoreOptions};
use domain::Uuid;
use domain::dead_letter::DeadLetterQuery;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::ports::{Append, DeadLetter, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, TailQuery};
use domain::stats::{GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor, Row};
use tokio::signal::unix::{SignalKind, signal};

const EPOCH: i64 = 1_705_314_600_000_000;
const SECOND: i64 = 1_000_000;
/// Receipt time of the first event, later than any dead letter.
const EVENTS_AT: i64 = EPOCH + 60 * SECOND;
/// Events stored at the beginning, in appends of this size.
const EVENTS_BEFORE: u64 = 150_000;
const APPEND_EVENTS: u64 = 5_000;
/// Signal that the kernel sends to a process that writes beyond the limit.
const SIGXFSZ: i32 = 25;

/// While this lives, no file can grow beyond a size.
struct FullDisk(Rlimit);

impl FullDisk {
    fn new(file_bytes_max: u64) -> Self {
        let before = getrlimit(Resource::Fsize);
        let limit = Rlimit { current: Some(file_bytes_max), maximum: before.maximum };
        setrlimit(Resource::Fsize, limit).expect("a lower limit");
        Self(before)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        setrlimit(Resource::Fsize, Rlimit { current: self.0.current, maximum: self.0.maximum })
            .expect("the limit before");
    }
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 0 }
}

/// A text that does not become much smaller when it is compressed; it contains `mm`.
fn text(offset: u64, bytes: usize) -> String {
    let mut state = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state >> 58).expect("six bits"))
    });
    "mm".chars().chain(letters).take(bytes.max(2)).collect()
}

fn event(offset: u64, bytes: usize) -> LogEvent<'static> {
    let at = time(EVENTS_AT + i64::try_from(offset).expect("small"));
    LogEvent {
        event_id: Uuid::from_u128(offset.into()),
        id_origin: IdOrigin::Client,
        source: "shop".into(),
        level: Level::Error,
        message: text(offset, bytes).into(),
        timestamp: at,
        received_at: at,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

async fn open(file: &Path) -> SqliteStore {
    let options =
        StoreOptions { dedup_window: std::time::Duration::from_secs(3_600), query_timeout: contracts::DEADLINE };
    SqliteStore::open(file, options).await.expect("the store opens")
}

async fn append(store: &SqliteStore, from: u64, events: usize, bytes: usize) -> Result<u64, StoreError> {
    let events: Vec<_> = (from..).take(events).map(|offset| (offset, event(offset, bytes))).collect();
    let next = from + events.len() as u64;
    let append =
        Append { group_partition: &group_partition(), expected: Some(from), next, events: &events, dead_letters: &[] };
    store.append(&append).await.map(|appended| {
        assert_eq!(appended.stored, events.len(), "none is a repeat");
        next
    })
}

/// Runs every kind of query. Returns the dead letters: id, and whether it was redriven.
async fn assert_answers(store: &SqliteStore, next: u64) -> Vec<(u64, bool)> {
    assert_eq!(store.position(&group_partition()).await.expect("a position"), Some(next));
    let page = store.query(&LogQuery::newest(EventFilter::default(), 2)).await.expect("a page");
    assert_eq!(page.items.first().map(|newest| newest.offset), Some(next - 1));
    store.query(&LogQuery::newest(EventFilter::message("mM"), 1)).await.expect("a page");
    assert!(store.find(Uuid::from_u128(u128::from(next) - 1)).await.expect("an answer").is_some());
    assert!(store.find(Uuid::from_u128(next.into())).await.expect("an answer").is_none());
    for filter in [EventFilter::default(), EventFilter::message("m")] {
        for by in [GroupBy::Level, GroupBy::Source] {
            let range = EventFilter::between(Some(time(EPOCH)), Some(time(EPOCH + 3_600 * SECOND)));
            let filter = range.and(filter.clone());
            let interval = std::time::Duration::from_secs(300);
            let counts = store.stats(&StatsQuery { filter, interval, by, time_max: None }).await.expect("counts");
            assert_eq!(counts.buckets.values().flat_map(|bucket| bucket.values.values()).sum::<u64>(), next);
        }
    }
    let tail = TailQuery { filter: EventFilter::default(), after: Some(0), limit: 10 };
    assert_eq!(store.tail(&tail).await.expect("a page").events.len(), 10);
    let letters = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&letters).await.expect("a page").items;
    letters.iter().map(|letter| (letter.id, letter.redriven_at.is_some())).collect()
}

fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

/// A store with [`EVENTS_BEFORE`] events and letters 1 to 9, recorded a second apart.
async fn prepared(file: &Path, beside: &mut SqliteConnection, store: &SqliteStore) {
    let letter = |n: u64| DeadLetter {
        offset: n,
        record_index: 0,
        key: b"",
        value: b"",
        trace_parent: None,
        reason: String::new(),
        attempts: 0,
        at: time(EPOCH + SECOND * i64::try_from(n).expect("small")),
    };
    let letters: Vec<_> = (1..10).map(letter).collect();
    let letters =
        Append { group_partition: &group_partition(), expected: None, next: 0, events: &[], dead_letters: &letters };
    store.append(&letters).await.expect("there is room");
    for from in (0..EVENTS_BEFORE).step_by(APPEND_EVENTS as usize) {
        append(store, from, APPEND_EVENTS as usize, 2).await.expect("there is room");
    }
    beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.expect("the database is not locked");
    assert_eq!(wal_bytes(file), 0, "the next write makes the log grow");
}

fn wal_bytes(file: &Path) -> u64 {
    let wal = PathBuf::from(format!("{}-wal", file.display()));
    std::fs::metadata(wal).expect("the log is there").len()
}

/// Only the writer has the file open when the disk is full: it must not remove what the first reader needs.
async fn assert_first_read_works_on_a_full_disk(file: &Path) {
    let store = open(file).await;
    let append = async |expected, next| {
        let append = Append { group_partition: &group_partition(), expected, next, events: &[], dead_letters: &[] };
        store.append(&append).await
    };
    append(None, 1).await.expect("there is room");
    let full = FullDisk::new(0);
    for _ in 0..3 {
        assert_unavailable(append(Some(1), 2).await);
    }
    assert_eq!(store.position(&group_partition()).await.expect("a position"), Some(1));
    drop(full);
    append(Some(1), 2).await.expect("there is room again");
    store.close().await;
}

#[tokio::test]
async fn after_a_full_disk_the_same_store_writes_again_without_loss_or_duplicates() {
    let _not_the_end = signal(SignalKind::from_raw(SIGXFSZ)).expect("a handler");
    let directory = tempfile::tempdir().expect("a directory");
    assert_first_read_works_on_a_full_disk(&directory.path().join("unread.db")).await;
    let file = directory.path().join("events.db");
    let store = open(&file).await;
    let mut beside = SqliteConnectOptions::new().filename(&file).connect().await.expect("the file opens");
    prepared(&file, &mut beside, &store).await;

    let mut next = EVENTS_BEFORE;
    let mut letters = assert_answers(&store, next).await;
    // Room in bytes; events that do not fit, and their bytes. The last ones do not fit into SQLite's memory either, so it
    // fails before the transaction ends.
    for (room, events, bytes) in [(0, 1, 10), (0, 20, 50_000), (70_000, 20, 50_000), (70_000, 160, 200_000)] {
        let full = FullDisk::new(wal_bytes(&file) + room);
        for _ in 0..3 {
            assert_unavailable(append(&store, next, events, bytes).await);
            assert_eq!(assert_answers(&store, next).await, letters, "reads work, and nothing changed");
        }
        let (oldest, _) = letters.remove(0);
        let expire_one = time(EPOCH + SECOND * i64::try_from(oldest).expect("small") + 1);
        let (newest, redriven) = letters.last_mut().expect("some are left");
        let newest = [*newest];
        if room == 0 {
            assert_unavailable(store.mark_redriven(&newest, Timestamp::MAX).await);
            assert_unavailable(store.mark_copied(&[oldest + 1], time(EPOCH)).await);
            assert_unavailable(store.expire(expire_one).await);
        }
        drop(full);

        next = append(&store, next, events, bytes).await.expect("there is room again");
        store.mark_redriven(&newest, time(EPOCH)).await.expect("there is room again");
        store.mark_copied(&[oldest + 1], time(EPOCH)).await.expect("there is room again");
        assert_eq!(store.expire(expire_one).await.expect("there is room again"), 1);
        *redriven = true;
        assert_eq!(assert_answers(&store, next).await, letters);
    }

    store.close().await;
    let store = open(&file).await;
    assert_eq!(assert_answers(&store, next).await, letters, "it is on disk");
    let kept = beside.fetch_one("SELECT sum(event_count), max(last_id) FROM chunks").await.expect("an answer");
    let kept = [0, 1].map(|column| kept.get::<i64, _>(column).unsigned_abs());
    assert_eq!(kept, [next; 2], "each event once");
}
