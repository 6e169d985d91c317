//! The SQLite store satisfies the contract of its port, and further guarantees.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::store::{SqliteStore, StoreOptions};
use contracts::store::{StoreSubject, drop_after};
use domain::Uuid;
use domain::access::TenantId;
use domain::dead_letter::DeadLetterQuery;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::{Append, DeadLetter, GroupPartition, LogStore, StoreError};
use domain::query::{Direction, LogQuery, Order, PageKey, StoredEvent, TailQuery};
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

/// More events than are examined before a look at the clock; the first is the rare one, and comes last in every order.
async fn many_events(store: &SqliteStore) {
    let rare = LogEvent { source: "rare".into(), ..event(0) };
    append(store, None, std::iter::once(rare).chain((1..20_000).map(event)).collect()).await;
}

/// A separate connection to the file.
async fn beside(directory: &TempDir) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file(directory)).connect().await.expect("the file opens")
}

/// Events in chunks.
async fn stored_events(connection: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(event_count), 0) FROM chunks")
        .fetch_one(connection)
        .await
        .expect("the table is there")
}

async fn count(connection: &mut SqliteConnection, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(connection)
        .await
        .expect("the table is there")
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_does_not_block_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, Duration::ZERO).await;
    many_events(&store).await;
    // Often enough that every connection was used.
    for _ in 0..10 {
        for filter in [EventFilter::message("refund"), EventFilter::source("rare")] {
            match store.query(&LogQuery::newest(filter, 10)).await {
                Err(StoreError::TooBroad) => {}
                other => panic!("{other:?}"),
            }
        }
        let newest = LogQuery::newest(EventFilter::default(), 1);
        let found = store.query(&newest).await.expect("within the time limit");
        assert_eq!(found.items.first().map(|found| found.offset), Some(19_999));
        assert!(store.find(Uuid::from_u128(7)).await.expect("within the time limit").is_some());
        assert_eq!(store.position(&group_partition()).await.expect("within the time limit"), Some(20_000));
    }
}

/// With a time limit of zero, only a query that goes straight to its events has an answer.
#[tokio::test]
async fn a_page_goes_straight_to_its_range_of_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, Duration::ZERO).await;
    many_events(&store).await;
    let between = |from, to| EventFilter::between(Some(time(EPOCH + from)), Some(time(EPOCH + to)));
    let oldest_first = Order { direction: Direction::OldestFirst, ..Order::default() };
    for (filter, offsets) in [
        (EventFilter::between(None, Some(time(EPOCH + 1))), vec![0]),
        (between(0, 1).and(EventFilter::source("rare")), vec![0]),
        (between(0, 2).and(EventFilter::source("shop")), vec![1]),
        (between(10_000, 10_002), vec![10_001, 10_000]),
        (between(3_999, 4_001), vec![4_000, 3_999]),
        (EventFilter::between(Some(time(EPOCH + 19_999)), None), vec![19_999]),
        (between(20_000, 30_000), vec![]),
    ] {
        for order in [Order::default(), oldest_first] {
            let mut offsets: Vec<u64> = offsets.clone();
            if order == oldest_first {
                offsets.reverse();
            }
            match store.query(&LogQuery { order, ..LogQuery::newest(filter.clone(), 5) }).await {
                Ok(found) => {
                    assert_eq!(found.items.iter().map(|found| found.offset).collect::<Vec<_>>(), offsets, "{filter:?}");
                }
                Err(error) => panic!("{filter:?}: {error:?}"),
            }
        }
    }
    let stored = store.find(event(9_000).event_id).await.expect("an answer").expect("it is stored");
    let after = Some(PageKey::from(&stored));
    let found = store.query(&LogQuery { after, ..LogQuery::newest(EventFilter::default(), 1) }).await;
    assert_eq!(found.expect("straight to the page").items.first().map(|found| found.offset), Some(8_999));
}

/// Time is up while it is looked whether more events follow than the page has.
#[tokio::test]
async fn a_page_that_is_complete_is_an_answer_also_when_time_is_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, Duration::ZERO).await;
    let placed = (1..20_000).map(|n| LogEvent { source: if n == 19_990 { "rare" } else { "shop" }.into(), ..event(n) });
    append(&store, None, placed.collect()).await;
    let found = store.query(&LogQuery::newest(EventFilter::source("rare"), 1)).await.expect("an answer");
    assert!(found.more && found.items.len() == 1, "{found:?}");
    let refused = store.query(&LogQuery::newest(EventFilter::source("rare"), 2)).await;
    assert!(matches!(refused, Err(StoreError::TooBroad)), "{refused:?}");
}

/// Appends events; returns how many were stored.
async fn append_again(store: &SqliteStore, expected: Option<u64>, events: Vec<LogEvent<'static>>) -> usize {
    let from = expected.unwrap_or(0);
    let events: Vec<_> = (from..).zip(events).collect();
    let next = from + events.len() as u64;
    let append = Append { group_partition: &group_partition(), expected, next, events: &events, dead_letters: &[] };
    store.append(&append).await.expect("the append succeeds").stored
}

/// Chunks of more bytes than stay in memory.
#[tokio::test]
async fn events_whose_chunks_are_not_in_memory_are_read_from_the_file() {
    const EVENTS: u32 = 400;
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory, contracts::DEADLINE).await;
    let large = |n: u32| LogEvent { message: format!("{n}{}", "x".repeat(200_000)).into(), ..event(n) };
    let mut position = None;
    for first in (0..EVENTS).step_by(20) {
        position = append(&store, position, (first..first + 20).map(large).collect()).await;
    }
    for _ in 0..2 {
        for n in [0, 1, 21, 399] {
            let stored = store.find(event(n).event_id).await.expect("an answer").expect("it is stored");
            assert!(stored.event == large(n), "{n}");
            let found = store.query(&LogQuery::newest(EventFilter::message(&format!("{n}xx")), 1_000)).await;
            let expected = (0..EVENTS).filter(|other| other.to_string().ends_with(&n.to_string())).count();
            let found = found.expect("a page");
            assert!(found.items.len() == expected.min(42) || found.more, "{n}: {}", found.items.len());
        }
        let tail = TailQuery { filter: EventFilter::default(), after: Some(0), limit: 1 };
        let tailed = store.tail(&tail).await.expect("a page").events;
        assert_eq!(tailed.iter().map(|(id, stored)| (*id, stored.offset)).collect::<Vec<_>>(), [(1, 0)]);
        let by = GroupBy::Source;
        let filter = EventFilter::message("xX");
        let stats = StatsQuery { filter, interval: Duration::from_secs(60), by, time_max: None };
        let counts = store.stats(&stats).await.expect("counts");
        assert_eq!(counts.buckets.values().flat_map(|bucket| bucket.values.values()).sum::<u64>(), u64::from(EVENTS));
        assert_eq!(store.query(&LogQuery::newest(EventFilter::source("none"), 1)).await.expect("a page").items, []);
    }
    let again = append_again(&store, position, (0..EVENTS).map(event).collect()).await;
    assert_eq!(again, 0, "their ids are in memory");
    assert_eq!(store.expire(time(EPOCH + 10)).await.expect("the store answers"), 10);
    assert!(store.find(event(9).event_id).await.expect("an answer").is_none());
    assert!(store.find(event(10).event_id).await.expect("an answer").is_some());
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
    assert_eq!((stored_events(&mut beside).await, count(&mut beside, "dead_letters").await), (1, 0));

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
        assert_eq!(stored_events(&mut beside).await, i64::from(n) + 1);
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
        let rows = (stored_events(&mut beside).await, count(&mut beside, "dead_letters").await);
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
    assert_eq!(removed, [4_000, 1_000], "by chunks");
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

/// The first seven migrations.
async fn before_chunks(directory: &TempDir) -> SqliteConnection {
    let migrations = sqlx::migrate!("./migrations");
    let seven = migrations.iter().take(7).cloned().collect::<Vec<_>>();
    let options = SqliteConnectOptions::new().filename(file(directory)).create_if_missing(true);
    let mut before = options.connect().await.expect("the file opens");
    let earlier = sqlx::migrate::Migrator { migrations: seven.into(), ..sqlx::migrate::Migrator::DEFAULT };
    earlier.run(&mut before).await.expect("the version before");
    before
}

/// Of two partitions and days, with gaps between the ids, and more than one transaction moves.
#[tokio::test]
async fn the_rows_of_the_version_before_become_chunks_with_the_same_ids() {
    const ROWS: i64 = 9_000;
    const DAY: i64 = 24 * 3_600_000_000;
    let directory = tempfile::tempdir().expect("a directory");
    let mut before = before_chunks(&directory).await;
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO events (id, event_id, client_id, source, level, message, timestamp, received_at, stack_trace, trace_id, \
         span_id, metadata, topic, partition, \"offset\", tenant) \
         SELECT i * 2, unhex(printf('%032x', i)), i % 2, 'source-' || (i % 7), i % 6, 'message ' || i, {EPOCH} + (i * 7 % 100), \
         {EPOCH} + i + (i % 2) * {DAY}, iif(i % 3, 'at ' || i, NULL), iif(i % 4, zeroblob(16), NULL), \
         iif(i % 5, zeroblob(8), NULL), iif(i % 6, '{{\"i\":' || i || '}}', NULL), 'logs', i % 2, i, \
         iif(i % 11, x'', x'000102030405060708090a0b0c0d0e0f') FROM n;
         INSERT INTO rollups SELECT timestamp / 60000000, level, source, count(*) FROM events GROUP BY 1, 2, 3;
         UPDATE sqlite_sequence SET seq = 20000 WHERE name = 'events';"
    );
    before.execute(sqlx::AssertSqlSafe(fill)).await.expect("rows");
    drop(before);

    let store = open(&directory, contracts::DEADLINE).await;
    let mut beside = beside(&directory).await;
    assert_eq!((count(&mut beside, "events").await, stored_events(&mut beside).await), (0, ROWS));
    let (mut after, mut tailed) = (0, Vec::new());
    loop {
        let query = TailQuery { filter: EventFilter::default(), after: Some(after), limit: 1_000 };
        let page = store.tail(&query).await.expect("a page");
        tailed.extend(page.events);
        after = page.scanned;
        if after == page.end {
            break;
        }
    }
    assert_eq!((after, tailed.len()), (20_000, 9_000));
    let tenant = TenantId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    for (i, (id, stored)) in (1_i64..).zip(&tailed) {
        let id_origin = match (i % 11, i % 2) {
            (0, _) => IdOrigin::Tenant(tenant),
            (_, 0) => IdOrigin::Generated,
            _ => IdOrigin::Client,
        };
        let given = |has: bool, text: String| has.then(|| text.into());
        let event = LogEvent {
            event_id: Uuid::from_u128(i.unsigned_abs().into()),
            id_origin,
            source: format!("source-{}", i % 7).into(),
            level: Level::from_number(i % 6).expect("a level"),
            message: format!("message {i}").into(),
            timestamp: time(EPOCH + i * 7 % 100),
            received_at: time(EPOCH + i + i % 2 * DAY),
            stack_trace: given(i % 3 != 0, format!("at {i}")),
            trace_id: (i % 4 != 0).then_some([0; 16]),
            span_id: (i % 5 != 0).then_some([0; 8]),
            metadata: given(i % 6 != 0, format!("{{\"i\":{i}}}")).map(Metadata::from_checked),
        };
        let partition = u32::try_from(i % 2).expect("small");
        let expected = StoredEvent { event, topic: "logs".to_owned(), partition, offset: i.unsigned_abs() };
        assert_eq!((*id, stored), (i.unsigned_abs() * 2, &expected));
    }
    let one = StatsQuery {
        filter: EventFilter::source("source-3"),
        interval: Duration::from_secs(60),
        by: GroupBy::Source,
        time_max: None,
    };
    let counts = store.stats(&one).await.expect("counts");
    assert_eq!(counts.buckets.values().flat_map(|bucket| bucket.values.values()).sum::<u64>(), 1_286);
    let repeat = LogEvent { received_at: time(EPOCH + 13 + DAY), ..event(13) };
    assert_eq!(append_again(&store, None, vec![repeat, event(20_000)]).await, 1, "ids are known");
    let new = store.tail(&TailQuery { filter: EventFilter::default(), after: Some(20_000), limit: 10 }).await;
    let new: Vec<u64> = new.expect("a page").events.into_iter().map(|(id, _)| id).collect();
    assert_eq!(new, [20_001]);
    store.close().await;
    // A second start has nothing to move.
    let store = open(&directory, contracts::DEADLINE).await;
    assert_eq!(stored_events(&mut beside).await, ROWS + 1);
    store.close().await;
}
