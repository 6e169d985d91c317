//! The SQLite store satisfies the contract of its port, and further guarantees.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::store::{SqliteStore, StoreOptions};
use contracts::store::{StoreSubject, drop_after};
use domain::Uuid;
use domain::dead_letter::DeadLetterQuery;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::ports::{Append, DeadLetter, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, PageKey, TailQuery};
use domain::stats::{GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};
use tempfile::TempDir;

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);

struct SqliteStores;

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("events.db")
}

async fn open(directory: &TempDir, query_timeout: Duration) -> SqliteStore {
    let options = StoreOptions { dedup_window: DEDUP_WINDOW, query_timeout };
    SqliteStore::open(&file(directory), options).await.expect("the store opens")
}

impl StoreSubject for SqliteStores {
    type Place = TempDir;

    async fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    async fn open(&self, place: &TempDir) -> Arc<dyn LogStore> {
        Arc::new(open(place, contracts::DEADLINE).await)
    }

    fn dedup_window(&self) -> Duration {
        DEDUP_WINDOW
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlite_store_keeps_the_promises_of_its_port() {
    contracts::store::all(&SqliteStores).await;
}

const EPOCH: i64 = 1_705_314_600_000_000;

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 0 }
}

/// Event `n` is the `n`th in time.
fn event(n: u32) -> LogEvent<'static> {
    LogEvent {
        event_id: Uuid::from_u128(n.into()),
        id_origin: IdOrigin::Client,
        source: "shop".into(),
        level: Level::Info,
        message: "order placed".into(),
        timestamp: time(EPOCH + i64::from(n)),
        received_at: time(EPOCH + i64::from(n)),
        stack_trace: None,
        trace_id: Some([1; 16]),
        span_id: None,
        metadata: None,
    }
}

async fn append(store: &SqliteStore, expected: Option<u64>, events: Vec<LogEvent<'static>>) -> Option<u64> {
    let from = expected.unwrap_or(0);
    let events: Vec<_> = (from..).zip(events).collect();
    let next = from + events.len() as u64;
    let append = Append { group_partition: &group_partition(), expected, next, events: &events, dead_letters: &[] };
    store.append(&append).await.expect("the append succeeds");
    Some(next)
}

/// More rows than a statement may examine before it checks the clock; the first differs from all others in everything,
/// and comes last in every order.
async fn many_events(store: &SqliteStore, message: &'static str) {
    let rare = LogEvent {
        source: "rare".into(),
        level: Level::Fatal,
        trace_id: Some([2; 16]),
        message: message.into(),
        ..event(0)
    };
    let others = (1..20_000).map(|n| LogEvent { message: message.into(), ..event(n) });
    append(store, None, std::iter::once(rare).chain(others).collect()).await;
}

/// A separate connection to the file.
async fn beside(directory: &TempDir) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file(directory)).connect().await.expect("the file opens")
}

async fn count(connection: &mut SqliteConnection, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(connection)
        .await
        .expect("the table is there")
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_does_not_block_others() {
    // SQLite itself rejects the rows of the first message, the domain those of the second.
    for message in ["order placed", "commande passée"] {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(&directory, Duration::ZERO).await;
        many_events(&store, message).await;
        let too_broad = LogQuery::newest(EventFilter::message("refund"), 10);
        // Often enough that every connection was used.
        for _ in 0..10 {
            match store.query(&too_broad).await {
                Err(StoreError::TooBroad) => {}
                other => panic!("{message}: {other:?}"),
            }
            let newest = LogQuery::newest(EventFilter::default(), 1);
            let found = store.query(&newest).await.expect("within the time limit");
            assert_eq!(found.items.first().map(|found| found.offset), Some(19_999));
            assert!(store.find(Uuid::from_u128(7)).await.expect("within the time limit").is_some());
            assert_eq!(store.position(&group_partition()).await.expect("within the time limit"), Some(20_000));
        }
    }
}

/// With a time limit of zero, only a query that goes straight to its event has an answer.
#[tokio::test]
async fn each_filter_goes_straight_to_its_events() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, Duration::ZERO).await;
    many_events(&store, "order placed").await;
    let (rare, fatal) = (|| EventFilter::source("rare"), || EventFilter::levels([Level::Fatal]));
    let until = |to| EventFilter::between(None, Some(time(to)));
    let filters = [
        rare(),
        fatal(),
        EventFilter::levels([Level::Fatal, Level::Error]),
        EventFilter::trace([2; 16]),
        until(EPOCH + 1),
        EventFilter::between(Some(time(EPOCH)), Some(time(EPOCH + 1))),
        EventFilter::source("shop").and(until(EPOCH + 1)),
        rare().and(fatal()).and(EventFilter::trace([2; 16])),
    ];
    for filter in filters {
        let expected = filter.matches(&LogEvent {
            source: "rare".into(),
            level: Level::Fatal,
            trace_id: Some([2; 16]),
            ..event(0)
        });
        match store.query(&LogQuery::newest(filter.clone(), 1)).await {
            Ok(found) => assert_eq!(found.items.len(), usize::from(expected), "{filter:?}"),
            Err(error) => panic!("{filter:?}: {error:?}"),
        }
    }
    let stored = store.find(event(1).event_id).await.expect("an answer").expect("it is stored");
    let after = Some(PageKey::from(&stored));
    let found = store.query(&LogQuery { after, ..LogQuery::newest(EventFilter::default(), 1) }).await;
    assert_eq!(found.expect("straight to the page").items.len(), 1);
}

#[tokio::test]
async fn a_dead_letter_is_kept_once_and_only_with_its_append() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    let letter = |offset| DeadLetter {
        offset,
        record_index: 0,
        key: b"\xff",
        value: b"\0",
        trace_parent: None,
        reason: "why".to_owned(),
        attempts: 0,
        at: time(EPOCH),
    };
    let one = [letter(1), letter(2)];
    let mut beside = beside(&directory).await;
    let group_partition = group_partition();
    let append = |expected, next, dead_letters| Append {
        group_partition: &group_partition,
        expected,
        next,
        events: &[],
        dead_letters,
    };
    store.append(&append(None, 3, &one)).await.expect("the append succeeds");
    assert_eq!(count(&mut beside, "dead_letters").await, 2);
    let again = [letter(2), letter(3)];
    store.append(&append(Some(3), 4, &again)).await.expect("a repeat is accepted");
    assert_eq!(count(&mut beside, "dead_letters").await, 3);
    let fenced = [letter(4)];
    store.append(&append(Some(3), 5, &fenced)).await.expect_err("another position");
    assert_eq!(count(&mut beside, "dead_letters").await, 3);
    // Other group_partitions have their own dead letters.
    let others = [
        GroupPartition { group: "audit".to_owned(), ..group_partition.clone() },
        GroupPartition { topic: "logs2".to_owned(), ..group_partition.clone() },
        GroupPartition { partition: 1, ..group_partition.clone() },
    ];
    for other in &others {
        let append = Append { group_partition: other, expected: None, next: 3, events: &[], dead_letters: &one };
        store.append(&append).await.expect("the append succeeds");
    }
    assert_eq!(count(&mut beside, "dead_letters").await, 9);
    let kept: (Vec<u8>, Vec<u8>, String) =
        sqlx::query_as("SELECT key, value, reason FROM dead_letters WHERE \"offset\" = 3")
            .fetch_one(&mut beside)
            .await
            .expect("it is there");
    assert_eq!(kept, (b"\xff".to_vec(), b"\0".to_vec(), "why".to_owned()));
}

fn letter(offset: u64) -> DeadLetter<'static> {
    DeadLetter {
        offset,
        record_index: 0,
        key: b"",
        value: b"",
        trace_parent: None,
        reason: String::new(),
        attempts: 0,
        at: time(EPOCH),
    }
}

#[tokio::test]
async fn an_append_that_fails_at_its_last_statement_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    let position = append(&store, None, vec![event(0)]).await;
    let mut beside = beside(&directory).await;
    beside
        .execute("CREATE TRIGGER refuse BEFORE UPDATE ON positions BEGIN SELECT RAISE(ABORT, 'refused'); END")
        .await
        .expect("the trigger is created");

    let events = [(1, event(1)), (2, event(2))];
    let letters = [letter(3)];
    let refused = Append {
        group_partition: &group_partition(),
        expected: position,
        next: 4,
        events: &events,
        dead_letters: &letters,
    };
    match store.append(&refused).await {
        Err(StoreError::Rejected(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(store.position(&group_partition()).await.expect("the store answers"), position);
    assert_eq!((count(&mut beside, "events").await, count(&mut beside, "dead_letters").await), (1, 0));

    beside.execute("DROP TRIGGER refuse").await.expect("the trigger is dropped");
    let appended = store.append(&refused).await.expect("the same append now succeeds");
    assert_eq!((appended.stored, appended.dead_lettered), (2, 1));
}

/// `RAISE(ROLLBACK)` rolls back without the driver, as a full or failing disk does.
#[tokio::test]
async fn an_append_that_sqlite_rolls_back_does_not_block_later_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    let mut position = append(&store, None, vec![event(0)]).await;
    let mut beside = beside(&directory).await;
    for n in 1..4 {
        beside
            .execute("CREATE TRIGGER refuse BEFORE UPDATE ON positions BEGIN SELECT RAISE(ROLLBACK, 'refused'); END")
            .await
            .expect("the trigger is created");
        let from = position.unwrap_or(0);
        let events = [(from, event(n))];
        let refused = Append {
            group_partition: &group_partition(),
            expected: position,
            next: from + 1,
            events: &events,
            dead_letters: &[],
        };
        for _ in 0..2 {
            let outcome = store.append(&refused).await;
            assert!(matches!(outcome, Err(StoreError::Rejected(_))), "{outcome:?}");
        }
        beside.execute("DROP TRIGGER refuse").await.expect("the trigger is dropped");
        position = append(&store, position, vec![event(n)]).await;
        assert_eq!(count(&mut beside, "events").await, i64::from(n) + 1);
    }
}

#[tokio::test]
async fn an_append_dropped_at_any_await_is_atomic_and_later_ones_succeed() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    let mut beside = beside(&directory).await;
    let mut position = None;
    for waits in 0.. {
        let from = position.unwrap_or(0);
        let events: Vec<_> = (from..from + 3).map(|offset| (offset, event(offset as u32))).collect();
        let letters = [letter(from + 3)];
        let next = from + 4;
        let mine = Append {
            group_partition: &group_partition(),
            expected: position,
            next,
            events: &events,
            dead_letters: &letters,
        };
        let outcome = drop_after(waits, store.append(&mine)).await;
        // Waits until the dropped append has finished, whether it was committed or not.
        let actual = match store.append(&mine).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {
                store.position(&group_partition()).await.expect("the store answers")
            }
            outcome => panic!("after {waits} waits: {outcome:?}"),
        };
        assert_eq!(actual, Some(next), "after {waits} waits");
        position = actual;
        let rows = (count(&mut beside, "events").await, count(&mut beside, "dead_letters").await);
        let appends = i64::try_from(waits + 1).expect("few");
        assert_eq!(rows, (3 * appends, appends), "after {waits} waits");
        if let Some(outcome) = outcome {
            outcome.expect("the append succeeds");
            return;
        }
    }
}

#[tokio::test]
async fn one_expiry_removes_a_bounded_number_of_events_and_returns_their_disk_space() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    append(&store, None, (0..5_000).map(event).collect()).await;
    let mut removed = Vec::new();
    loop {
        match store.expire(Timestamp::MAX).await.expect("the store answers") {
            0 => break,
            events => removed.push(events),
        }
    }
    assert_eq!(removed, [2_000, 2_000, 1_000]);
    store.close().await;
    let bytes = std::fs::metadata(file(&directory)).expect("the file").len();
    assert!(bytes < 200_000, "{bytes} bytes without an event");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_migrated_with_all_its_data() {
    let directory = tempfile::tempdir().expect("a directory");
    let migrations = sqlx::migrate!("./migrations");
    let first = migrations.iter().take(1).cloned().collect::<Vec<_>>();
    let options = SqliteConnectOptions::new().filename(file(&directory)).create_if_missing(true);
    let mut before = options.connect().await.expect("the file opens");
    let first_only = sqlx::migrate::Migrator { migrations: first.into(), ..sqlx::migrate::Migrator::DEFAULT };
    first_only.run(&mut before).await.expect("the first version");
    before
        .execute(
            "INSERT INTO events VALUES (41, zeroblob(16), 1, 's', 2, 'kept', 7, 8, NULL, NULL, NULL, NULL, 'logs', 0, 3);
             INSERT INTO dead_letters VALUES (9, 'g', 'logs', 0, 4, x'00', x'01', 'no event', 5);
             INSERT INTO positions VALUES ('log-processor', 'logs', 0, 5);",
        )
        .await
        .expect("what the first version had");
    drop(before);

    let store = open(&directory, contracts::DEADLINE).await;
    assert_eq!(store.position(&group_partition()).await.expect("a position"), Some(5));
    let page =
        store.tail(&TailQuery { filter: EventFilter::default(), after: Some(0), limit: 10 }).await.expect("a page");
    assert_eq!(
        page.events.iter().map(|(id, event)| (*id, event.event.message.as_ref())).collect::<Vec<_>>(),
        [(41, "kept")]
    );
    let letters =
        store.dead_letters(&DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() }).await.expect("letters");
    assert_eq!(
        letters.items.iter().map(|letter| (letter.id, letter.redriven_at, letter.attempts)).collect::<Vec<_>>(),
        [(9, None, 0)]
    );
    let [kept] = letters.items.as_slice() else { panic!("{letters:?}") };
    assert_eq!((kept.offset, kept.record_index, kept.trace_parent), (4, 0, None));
    assert_eq!((kept.key.as_slice(), kept.value.as_slice()), (&[0][..], &[1][..]));
    let counted = async || {
        let filter = EventFilter::default();
        let query = StatsQuery { filter, interval: Duration::from_secs(60), by: GroupBy::Source, time_max: None };
        let counts = store.stats(&query).await.expect("counts");
        counts.buckets.iter().map(|(at, bucket)| (at.unix_micros(), bucket.values.clone())).collect::<Vec<_>>()
    };
    let one = |source: &str| BTreeMap::from([(source.to_owned(), 1)]);
    assert_eq!(counted().await, [(0, one("s"))]);
    append(&store, Some(5), vec![event(1)]).await;
    assert_eq!(counted().await, [(0, one("s")), (EPOCH, one("shop"))]);
    store.expire(time(9)).await.expect("the store answers");
    assert_eq!(counted().await, [(EPOCH, one("shop"))]);
    let end =
        store.tail(&TailQuery { filter: EventFilter::default(), after: None, limit: 10 }).await.expect("a page").end;
    assert_eq!(end, 42);
}
