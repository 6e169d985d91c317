//! The PostgreSQL store satisfies the contract of its port. Needs a server: `TEST_POSTGRES_URL` (`scripts/services`).

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_postgres::{InvalidSchema, PostgresOptions, PostgresStore};
use contracts::store::{StoreSubject, drop_after};
use domain::Uuid;
use domain::access::TenantId;
use domain::dead_letter::DeadLetterQuery;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::partition::murmur2;
use domain::ports::{Append, DeadLetter, GroupPartition, LogStore, StoreError};
use domain::query::{LogQuery, TailQuery};
use domain::stats::{GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);

struct PostgresStores {
    server: String,
    /// Fewer events are written by `INSERT`.
    copy_events_min: usize,
}

impl StoreSubject for PostgresStores {
    /// The URL of a database.
    type Place = String;

    async fn place(&self) -> String {
        let mut connection = PgConnection::connect(&self.server).await.expect("the server answers");
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("contract_{}_{number}", std::process::id());
        for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("a database");
        }
        let (server, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{name}")
    }

    async fn open(&self, place: &String) -> Arc<dyn LogStore> {
        let store = PostgresStore::new(&options(place, "public")).expect("valid").copying_from(self.copy_events_min);
        store.prepare().await.expect("the store opens");
        Arc::new(store)
    }

    fn dedup_window(&self) -> Duration {
        DEDUP_WINDOW
    }

    fn expiry_unit(&self) -> Duration {
        Duration::from_secs(24 * 3_600)
    }

    /// Events are read alike, however they were written.
    fn filters(&self) -> usize {
        if self.copy_events_min == 0 { 300 } else { 1_500 }
    }
}

fn options(place: &str, schema: &str) -> PostgresOptions {
    PostgresOptions {
        url: place.to_owned(),
        schema: schema.to_owned(),
        dedup_window: DEDUP_WINDOW,
        resend_window: DEDUP_WINDOW,
        query_timeout: contracts::DEADLINE,
    }
}

async fn open(place: &str, schema: &str) -> Arc<dyn LogStore> {
    Arc::new(opened(&options(place, schema)).await.expect("the store opens"))
}

/// A store that has connected to its server.
async fn opened(options: &PostgresOptions) -> Result<PostgresStore, StoreError> {
    let store = PostgresStore::new(options).map_err(StoreError::Rejected)?;
    store.prepare().await.map(|()| store)
}

/// The server named by the environment.
fn server() -> Option<PostgresStores> {
    let server = std::env::var("TEST_POSTGRES_URL").ok();
    assert!(server.is_some() || std::env::var("CI").is_err(), "TEST_POSTGRES_URL is missing: scripts/services");
    if server.is_none() {
        eprintln!("skipped: TEST_POSTGRES_URL is missing; scripts/services starts a server");
    }
    server.map(|server| PostgresStores { server, copy_events_min: usize::MAX })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_store_keeps_the_promises_of_its_port() {
    if let Some(server) = server() {
        contracts::store::all(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_store_keeps_the_promises_of_its_port_when_it_copies() {
    if let Some(server) = server() {
        contracts::store::all(&PostgresStores { copy_events_min: 0, ..server }).await;
    }
}

fn event(n: u128) -> LogEvent<'static> {
    let time = Timestamp::parse("2024-01-15T10:30:00Z").expect("a time");
    LogEvent {
        event_id: Uuid::from_u128(n),
        id_origin: IdOrigin::Generated,
        source: "s".into(),
        level: Level::Info,
        message: "m".into(),
        timestamp: time,
        received_at: time,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

async fn append(store: &dyn LogStore, partition: u32, n: u128) {
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition };
    let append = Append {
        group_partition: &group_partition,
        expected: None,
        next: 1,
        events: &[(0, event(n))],
        dead_letters: &[],
    };
    store.append(&append).await.expect("the append succeeds");
}

async fn tail(store: &dyn LogStore, after: Option<u64>) -> (Vec<u64>, u64, u64) {
    let page = store.tail(&TailQuery { filter: EventFilter::default(), after, limit: 10 }).await.expect("a page");
    (page.events.iter().map(|(sequence, _)| *sequence).collect(), page.scanned, page.end)
}

/// A writer of a schema that has determined where it begins and drawn a number, but not committed.
async fn begun_writer(place: &str, schema: &str) -> PgConnection {
    let mut writer = PgConnection::connect(place).await.expect("the server answers");
    let mark = 0x4000 | (murmur2(schema.as_bytes()) & 0x3fff);
    for statement in [
        format!("SET search_path = {schema}"),
        "BEGIN".to_owned(),
        format!("SELECT pg_advisory_xact_lock_shared(({mark}::bigint << 48) | last_value) FROM events_sequence"),
        "SELECT nextval('events_sequence')".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut writer).await.expect("it begins");
    }
    writer
}

#[tokio::test]
async fn a_tail_stays_behind_a_writer_that_has_begun_and_never_goes_back() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    append(store.as_ref(), 0, 1).await;
    let mut writer = begun_writer(&place, "public").await;
    append(store.as_ref(), 1, 2).await;
    assert_eq!(tail(store.as_ref(), Some(0)).await, (vec![1], 1, 1), "number 3 may be seen only after number 2");
    assert_eq!(tail(store.as_ref(), Some(1)).await, (vec![], 1, 1));
    assert_eq!(tail(store.as_ref(), Some(3)).await, (vec![], 3, 3), "the tail does not go back");
    assert_eq!(tail(store.as_ref(), Some(4)).await, (vec![], 1, 1), "a number that was never drawn");
    sqlx::query("COMMIT").execute(&mut writer).await.expect("it ends");
    assert_eq!(tail(store.as_ref(), Some(1)).await, (vec![3], 3, 3));
}

/// The marks of the schemas must differ, so they are part of the test.
#[tokio::test]
async fn two_schemas_of_one_database_are_independent() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let (one, two) = (open(&place, "one").await, open(&place, "two").await);
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
    append(one.as_ref(), 0, 1).await;
    assert_eq!(two.position(&group_partition).await.expect("the store answers"), None);
    assert_eq!(two.find(Uuid::from_u128(1)).await.expect("the store answers"), None);
    assert_eq!(tail(two.as_ref(), Some(0)).await, (vec![], 0, 0));
    // The same event on the same day is new in the other schema.
    append(two.as_ref(), 0, 1).await;
    append(two.as_ref(), 1, 2).await;

    let mut writer = begun_writer(&place, "one").await;
    append(one.as_ref(), 1, 2).await;
    append(two.as_ref(), 2, 3).await;
    assert_eq!(tail(one.as_ref(), Some(0)).await, (vec![1], 1, 1), "it stays behind its own writer");
    assert_eq!(tail(two.as_ref(), Some(0)).await, (vec![1, 2, 3], 3, 3), "and not behind that of others");
    sqlx::query("ROLLBACK").execute(&mut writer).await.expect("it ends");

    while one.expire(Timestamp::MAX).await.expect("the store answers") > 0 {}
    assert_eq!(one.find(Uuid::from_u128(1)).await.expect("the store answers"), None);
    assert!(two.find(Uuid::from_u128(1)).await.expect("the store answers").is_some(), "each removes its own days");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_database_may_be_opened_by_many_at_once() {
    let Some(server) = server() else { return };
    for _ in 0..3 {
        let place = server.place().await;
        let openings: Vec<_> = (0..6)
            .map(|partition| {
                let place = place.clone();
                tokio::spawn(async move {
                    let store = open(&place, "fresh").await;
                    append(store.as_ref(), partition, partition.into()).await;
                })
            })
            .collect();
        for opening in openings {
            opening.await.expect("it opens and creates the day's table");
        }
        let store = open(&place, "fresh").await;
        assert_eq!(tail(store.as_ref(), Some(0)).await.0.len(), 6);
    }
}

/// Makes a schema what migration 1 made of it.
const BEFORE_TENANTS: [&str; 6] = [
    "DROP TABLE rollups, rollup_days",
    // The constraint with the column goes with it.
    "ALTER TABLE dead_letters DROP COLUMN record_index, DROP COLUMN trace_parent, \
     ADD UNIQUE (consumer_group, topic, partition, \"offset\")",
    "ALTER TABLE events DROP CONSTRAINT events_pkey",
    "ALTER TABLE events DROP COLUMN tenant",
    "ALTER TABLE events ADD PRIMARY KEY (event_id, received_at)",
    "DELETE FROM _sqlx_migrations WHERE version > 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_tenants_are_migrated_with_their_events() {
    let Some(server) = server() else { return };
    for copy_events_min in [0, usize::MAX] {
        let place = PostgresStores { server: server.server.clone(), copy_events_min }.place().await;
        append(open(&place, "public").await.as_ref(), 0, 1).await;
        let mut beside = PgConnection::connect(&place).await.expect("the server answers");
        for statement in BEFORE_TENANTS {
            sqlx::query(statement).execute(&mut beside).await.expect("the statement succeeds");
        }
        let store = PostgresStore::new(&options(&place, "public")).expect("valid").copying_from(copy_events_min);
        store.prepare().await.expect("the store opens");
        assert!(store.find(Uuid::from_u128(1)).await.expect("an answer").is_some(), "the event of before");
        // The same record again, and one of a tenant with the same id at the same time.
        append(&store, 1, 1).await;
        let of_tenant = LogEvent { id_origin: IdOrigin::Tenant(TenantId::of_name("shop")), ..event(1) };
        let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 2 };
        let events = &[(0, of_tenant)];
        let one = Append { group_partition: &group_partition, expected: None, next: 1, events, dead_letters: &[] };
        assert_eq!(store.append(&one).await.expect("the append succeeds").stored, 1);
        assert_eq!(count(&mut beside, "events").await, 2);
        // The table of the day is older than rollups: its events are counted from rows until it is removed.
        assert_eq!((counted(&store).await, count(&mut beside, "rollup_days").await), (2, 0));
        assert_eq!(store.expire(Timestamp::MAX).await.expect("it is removed"), 2);
        assert_eq!((counted(&store).await, count(&mut beside, "rollups").await), (0, 0));
        append(&store, 3, 3).await;
        assert_eq!((counted(&store).await, count(&mut beside, "rollup_days").await), (1, 1));
    }
}

/// The number of events, as a request for counts has it that rollups may answer.
async fn counted(store: &PostgresStore) -> u64 {
    let (filter, interval) = (EventFilter::default(), Duration::from_secs(60));
    let query = StatsQuery { filter, interval, by: GroupBy::Level, time_max: None };
    let counts = store.stats(&query).await.expect("counts");
    counts.buckets.values().flat_map(|bucket| bucket.values.values()).sum()
}

/// A row that no append wrote shows from what a read answers.
#[tokio::test]
async fn whole_minutes_of_a_day_with_rollups_are_read_from_them_alone() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = opened(&options(&place, "public")).await.expect("the store opens");
    append(&store, 0, 1).await;
    append(&store, 1, 2).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    assert_eq!(count(&mut beside, "rollups").await, 2, "each partition has a row of its own");
    let more = "UPDATE rollups SET events = 40 WHERE partition = 1";
    sqlx::query(more).execute(&mut beside).await.expect("it is changed");
    assert_eq!(counted(&store).await, 41);
    // While a day is being removed, it is counted from rows.
    sqlx::query("DELETE FROM rollup_days").execute(&mut beside).await.expect("they are gone");
    assert_eq!(counted(&store).await, 2);
}

/// The day of a row whose timestamp its rollups do not have is skipped.
#[tokio::test]
async fn a_day_without_minutes_of_the_range_is_not_read() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = opened(&options(&place, "public")).await.expect("the store opens");
    append(&store, 0, 1).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let elsewhere = "UPDATE events SET \"timestamp\" = '2023-12-24T12:00:00Z'";
    sqlx::query(elsewhere).execute(&mut beside).await.expect("it is changed");
    let time = |text| Timestamp::parse(text).expect("a time");
    let range = EventFilter::between(Some(time("2023-12-24T00:00:00Z")), Some(time("2023-12-25T00:00:00Z")));
    let found = async || store.query(&LogQuery::newest(range.clone(), 10)).await.expect("a page").items.len();
    assert_eq!(found().await, 0);
    sqlx::query("DELETE FROM rollup_days").execute(&mut beside).await.expect("they are gone");
    assert_eq!(found().await, 1);
}

#[tokio::test]
async fn an_existing_schema_needs_no_create_privilege_and_reserved_words_are_valid_names() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let mut owner = PgConnection::connect(&place).await.expect("the server answers");
    let role = format!("writer_{}", std::process::id());
    for statement in [
        format!("DROP ROLE IF EXISTS {role}"),
        format!("CREATE ROLE {role} LOGIN"),
        format!("CREATE SCHEMA \"user\" AUTHORIZATION {role}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut owner).await.expect("the statement succeeds");
    }
    let theirs = place.replace("spillway@", &format!("{role}@"));
    append(open(&theirs, "user").await.as_ref(), 0, 1).await;
    let refused = opened(&options(&theirs, "other")).await.err().expect("it lacks the privilege");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
}

#[tokio::test]
async fn an_invalid_schema_name_is_refused_before_connecting() {
    for name in ["", "Logs", "1a", "a-b", "a\"; DROP SCHEMA public", "pg_logs", "ä", &"a".repeat(64)] {
        let refused = opened(&options("postgres://127.0.0.1:1/none", name)).await.err();
        match refused {
            Some(StoreError::Rejected(cause)) => assert!(cause.is::<InvalidSchema>(), "{name}: {cause}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for name in ["public", "_", "log_processor_2", &"a".repeat(63)] {
        assert_eq!(PostgresOptions::check_schema(name), Ok(()), "{name}");
    }
}

#[tokio::test]
async fn a_partially_removed_day_accepts_no_events_and_its_removal_is_completed() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = open(&place, "public").await;
    append(store.as_ref(), 0, 1).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let refused = async |partition: u32| {
        let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition };
        let events = [(0, event(partition.into()))];
        // A store that does not know the day yet.
        let store = open(&place, "public").await;
        let append =
            Append { group_partition: &group_partition, expected: None, next: 1, events: &events, dead_letters: &[] };
        let outcome = store.append(&append).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    };

    // An unfinished reader keeps the day from being detached.
    for statement in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut beside).await.expect("it begins");
    }
    let outcome = store.expire(Timestamp::MAX).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    refused(2).await;
    sqlx::query("COMMIT").execute(&mut beside).await.expect("it ends");
    assert_eq!(store.expire(Timestamp::MAX).await.expect("it is removed"), 1);
    append(store.as_ref(), 3, 3).await;

    // Detached, but not dropped.
    let detach = "ALTER TABLE events DETACH PARTITION events_20240115";
    sqlx::query(detach).execute(&mut beside).await.expect("it is detached");
    refused(4).await;
    assert_eq!(store.expire(Timestamp::MAX).await.expect("it is removed"), 1);
    assert_eq!(store.expire(Timestamp::MAX).await.expect("nothing is left"), 0);
    append(store.as_ref(), 5, 5).await;
    assert_eq!(tail(store.as_ref(), Some(0)).await.0.len(), 1);
}

#[tokio::test]
async fn a_failure_to_create_the_next_day_is_reported_while_events_are_stored() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = opened(&options(&place, "public")).await.expect("the store opens");
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    sqlx::query("CREATE TABLE events_20240116 (n int)").execute(&mut beside).await.expect("it is created");
    append(&store, 0, 1).await;
    let fault = store.next_day_fault().expect("it is reported");
    assert!(fault.contains("events_20240116"), "{fault}");
    sqlx::query("DROP TABLE events_20240116").execute(&mut beside).await.expect("it is gone");
    append(&store, 1, 2).await;
    assert_eq!(store.next_day_fault(), None);
    assert_eq!(tail(&store, Some(0)).await.0.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_priority_partition_does_not_wait_for_others() {
    const OTHERS: u32 = 12;
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    append(store.as_ref(), OTHERS + 1, 1).await;
    // Another consumer is about to move the positions of all other partitions.
    let mut rival = PgConnection::connect(&place).await.expect("the server answers");
    let claim = format!("INSERT INTO positions SELECT 'g', 'logs', n, 9 FROM generate_series(1, {OTHERS}) n");
    for statement in ["BEGIN".to_owned(), claim] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut rival).await.expect("it begins");
    }
    let waiting: Vec<_> = (1..=OTHERS)
        .map(|partition| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition };
                let events = [(0, event(100 + u128::from(partition)))];
                let append = Append {
                    group_partition: &group_partition,
                    expected: None,
                    next: 1,
                    events: &events,
                    dead_letters: &[],
                };
                store.append(&append).await
            })
        })
        .collect();
    let mut observer = PgConnection::connect(&place).await.expect("the server answers");
    loop {
        let locks = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let waiting: i64 = sqlx::query_scalar(locks).fetch_one(&mut observer).await.expect("an answer");
        if waiting >= 2 {
            break;
        }
    }
    append(store.as_ref(), 0, 2).await;
    assert!(waiting.iter().any(|append| !append.is_finished()), "the others did not wait");
    for append in waiting {
        let result = append.await.expect("it ends");
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
}

async fn count(beside: &mut PgConnection, what: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {what}");
    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(beside).await.expect("the server answers")
}

/// Repeats a count until it meets the condition.
async fn until_count(beside: &mut PgConnection, what: &str, expected: impl Fn(i64) -> bool) {
    let waiting = async { while !expected(count(beside, what).await) {} };
    tokio::time::timeout(contracts::DEADLINE, waiting).await.expect(what);
}

const LETTERS: u64 = 6;

async fn append_letters(store: &dyn LogStore) {
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 9 };
    let at = Timestamp::parse("2024-01-15T10:30:00Z").expect("a time");
    let letter = |offset| DeadLetter {
        offset,
        record_index: 0,
        key: b"",
        value: b"",
        trace_parent: None,
        reason: String::new(),
        attempts: 0,
        at,
    };
    let letters: Vec<_> = (0..LETTERS).map(letter).collect();
    let append = Append {
        group_partition: &group_partition,
        expected: None,
        next: LETTERS,
        events: &[],
        dead_letters: &letters,
    };
    store.append(&append).await.expect("the append succeeds");
}

/// A read limits the time of its statements; the next user of its connection has other limits.
#[tokio::test]
async fn a_read_dropped_at_any_await_leaves_nothing_on_its_connection() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let query_timeout = Duration::from_millis(250);
    let store = opened(&PostgresOptions { query_timeout, ..options(&place, "public") }).await.expect("the store opens");
    append(&store, 0, 1).await;
    append_letters(&store).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    for statement in [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END'",
        "CREATE TRIGGER slow BEFORE UPDATE ON dead_letters FOR EACH ROW EXECUTE FUNCTION slow()",
    ] {
        sqlx::query(statement).execute(&mut beside).await.expect("the statement succeeds");
    }
    let all = LogQuery::newest(EventFilter::default(), 10);
    let (filter, interval) = (EventFilter::default(), Duration::from_secs(1 << 40));
    let range = StatsQuery { filter, interval, by: GroupBy::Level, time_max: None };
    let tail = TailQuery { filter: EventFilter::default(), after: Some(0), limit: 10 };
    let letters = DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() };
    for waits in 0.. {
        let done = [
            drop_after(waits, store.query(&all)).await.map(drop),
            drop_after(waits, store.find(Uuid::from_u128(1))).await.map(drop),
            drop_after(waits, store.stats(&range)).await.map(drop),
            drop_after(waits, store.tail(&tail)).await.map(drop),
            drop_after(waits, store.dead_letters(&letters)).await.map(drop),
        ];
        // As many in parallel as there are connections.
        let ids: Vec<[u64; 1]> = (1..=LETTERS).map(|id| [id]).collect();
        let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|n| store.mark_redriven(&ids[n], Timestamp::MAX));
        let (a, b, c, d, e, f) = tokio::join!(a, b, c, d, e, f);
        for marked in [a, b, c, d, e, f] {
            marked.unwrap_or_else(|error| panic!("after {waits} waits: {error:?}"));
        }
        if done.iter().all(Option::is_some) {
            break;
        }
    }
    let left = "pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    until_count(&mut beside, left, |count| count == 0).await;
}

#[tokio::test]
async fn an_append_dropped_at_any_await_is_atomic_and_leaves_nothing_on_its_connection() {
    let Some(server) = server() else { return };
    for copy_events_min in [0, usize::MAX] {
        let server = PostgresStores { copy_events_min, server: server.server.clone() };
        let place = server.place().await;
        let store = server.open(&place).await;
        let mut beside = PgConnection::connect(&place).await.expect("the server answers");
        // Another consumer has stored the same records: this takes the longest path.
        let group_partition = |partition| GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition };
        let (group_partition, other) = (group_partition(1), group_partition(2));
        for waits in 0.. {
            let from = 3 * waits as u64;
            let events: Vec<_> = (from..from + 3).map(|offset| (offset, event(offset.into()))).collect();
            let expected = Some(from).filter(|from| *from > 0);
            let append = |group_partition, events| Append {
                group_partition,
                expected,
                next: from + 3,
                events,
                dead_letters: &[],
            };
            store.append(&append(&other, &events[..1])).await.expect("the append succeeds");
            let mine = append(&group_partition, &events);
            let dropped = drop_after(waits, store.append(&mine)).await;
            let again = store.append(&mine).await;
            let stored = match &again {
                Ok(_) => true,
                Err(StoreError::Conflict { actual }) => *actual == Some(from + 3),
                Err(_) => false,
            };
            assert!(stored, "after {waits} waits: {again:?}");
            assert_eq!(count(&mut beside, "events").await, i64::try_from(from).expect("small") + 3);
            if let Some(outcome) = dropped {
                outcome.expect("the append succeeds");
                break;
            }
        }
        let locks = "pg_locks WHERE locktype = 'advisory' \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        until_count(&mut beside, locks, |count| count == 0).await;
        assert_eq!(count(&mut beside, "pg_class WHERE relname = 'incoming'").await, 0, "no table is left");
    }
}

/// However many calls wait for the migration, one connection runs it.
#[tokio::test]
async fn dropped_calls_leave_one_connection_that_migrates() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let mut other = PgConnection::connect(&place).await.expect("the server answers");
    for statement in ["BEGIN", "CREATE TABLE _sqlx_migrations (version bigint)"] {
        sqlx::query(statement).execute(&mut other).await.expect("it begins");
    }
    let store = PostgresStore::new(&options(&place, "public")).expect("valid");
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
    for _ in 0..30 {
        assert!(drop_after(0, store.position(&group_partition)).await.is_none(), "the tables do not exist yet");
        tokio::task::yield_now().await;
    }
    until_count(&mut beside, "pg_locks WHERE NOT granted", |count| count > 0).await;
    let connections = "pg_stat_activity WHERE datname = current_database() AND application_name = 'spillway'";
    assert_eq!(count(&mut beside, connections).await, 1);
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("it ends");
    assert_eq!(store.position(&group_partition).await.expect("the tables are there"), None);
}

#[tokio::test]
async fn a_large_day_is_dropped_without_counting_its_rows() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = open(&place, "public").await;
    append(store.as_ref(), 0, 1).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let without_estimate = "ALTER TABLE events_20240115 SET (autovacuum_enabled = false)";
    sqlx::query(without_estimate).execute(&mut beside).await.expect("it is set");
    let copies = "INSERT INTO events \
         (event_id, client_id, source, level, message, \"timestamp\", received_at, topic, partition, \"offset\") \
         SELECT gen_random_uuid(), client_id, source, level, message, \"timestamp\", received_at, topic, partition, n \
         FROM events, generate_series(1, 12000) AS n";
    sqlx::query(copies).execute(&mut beside).await.expect("they are there");
    assert_eq!(count(&mut beside, "events").await, 12_001);
    assert_eq!(store.expire(Timestamp::MAX).await.expect("it is removed"), 10_000, "counted up to there");
    assert_eq!(store.expire(Timestamp::MAX).await.expect("nothing is left"), 0);
}

#[tokio::test]
async fn one_expiry_removes_all_expired_ids() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let ids = "INSERT INTO event_ids (event_id, kept, latest) SELECT gen_random_uuid(), ARRAY[at], at FROM generate_series(1, 5000) AS n, \
               LATERAL (SELECT timestamptz '2024-01-01' + n * interval '1 second') AS time (at)";
    sqlx::query(ids).execute(&mut beside).await.expect("they are there");
    let oldest = Timestamp::parse("2024-01-01T01:21:40Z").expect("a time");
    assert_eq!(store.expire(oldest).await.expect("the store answers"), 0, "ids are not counted as events");
    assert_eq!(count(&mut beside, "event_ids").await, 101);
}

/// The table of a new day has no statistics yet.
#[tokio::test]
async fn repeats_of_derived_ids_are_looked_up_in_the_key_and_not_in_the_whole_table() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = open(&place, "public").await;
    append(store.as_ref(), 0, 1).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    for statement in [
        "ALTER TABLE events_20240115 SET (autovacuum_enabled = false)",
        "INSERT INTO events \
         (event_id, client_id, source, level, message, \"timestamp\", received_at, topic, partition, \"offset\") \
         SELECT gen_random_uuid(), false, 'shop', 2, 'paid', at, at, 'logs', 0, n \
         FROM generate_series(1, 20000) AS n, (VALUES (timestamptz '2024-01-15T10:30:00Z')) AS time (at)",
    ] {
        sqlx::query(statement).execute(&mut beside).await.expect("the statement succeeds");
    }
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 7 };
    let derived = |n: u64| LogEvent { id_origin: IdOrigin::Derived(None), ..event(u128::from(n)) };
    let events: Vec<(u64, LogEvent<'static>)> = (0..5_000).map(|n| (n, derived(n + 2))).collect();
    let append =
        Append { group_partition: &group_partition, expected: None, next: 5_000, events: &events, dead_letters: &[] };
    assert_eq!(store.append(&append).await.expect("the append succeeds").stored, 5_000);
    let scans = "pg_stat_user_tables WHERE relname = 'events_20240115' AND";
    until_count(&mut beside, &format!("{scans} idx_scan > 0"), |count| count == 1).await;
    assert_eq!(count(&mut beside, &format!("{scans} seq_tup_read < 20000")).await, 1);
}

/// The tables of both days of a window are searched, whose limits are exact.
#[tokio::test]
async fn a_derived_id_has_no_claim_and_is_a_repeat_within_the_resend_window() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let window = Duration::from_micros(4);
    let options = PostgresOptions { resend_window: window, ..options(&place, "public") };
    let store = opened(&options).await.expect("the store opens");
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
    let tenants = [None, Some(TenantId::of_name("shop")), Some(TenantId::of_name("bank"))];
    let midnight = 1_705_363_200_000_000;
    let mut offset = 0;
    // Receipt of each append in microseconds after midnight, and whether its events are repeats; one event for each tenant.
    for (after_midnight, is_repeat) in [(-3, false), (1, true), (2, false), (-7, true), (-8, false), (6, true)] {
        let received_at = Timestamp::from_unix_micros(midnight + after_midnight).expect("in range");
        let next = offset + 3;
        let events: Vec<(u64, LogEvent<'static>)> = (offset..next)
            .zip(tenants)
            .map(|(offset, tenant)| {
                (offset, LogEvent { id_origin: IdOrigin::Derived(tenant), received_at, ..event(1) })
            })
            .collect();
        let expected = (offset > 0).then_some(offset);
        let append = Append { group_partition: &group_partition, expected, next, events: &events, dead_letters: &[] };
        let appended = store.append(&append).await.expect("the append succeeds");
        assert_eq!(
            (appended.stored, appended.deduplicated),
            if is_repeat { (0, 3) } else { (3, 0) },
            "{after_midnight}"
        );
        offset = next;
    }
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    assert_eq!(count(&mut beside, "event_ids").await, 0);
    assert_eq!(count(&mut beside, "events").await, 9);
}

/// Makes each statement that changes a table take this long.
async fn slow_down(beside: &mut PgConnection, table: &str, seconds: f64) {
    let body = format!("BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END");
    for statement in [
        format!("CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS '{body}'"),
        format!(
            "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slow_{table}()"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *beside).await.expect("the statement succeeds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_read_though_queries_have_all_of_their_connections_and_these_end_with_their_callers() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    append_letters(store.as_ref()).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    // Longer than a call waits for a connection.
    slow_down(&mut beside, "dead_letters", 600.0).await;
    let marks: Vec<_> = (1..=LETTERS)
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.mark_redriven(&[id], Timestamp::MAX).await })
        })
        .collect();
    let busy = "pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until_count(&mut beside, busy, |count| count == 6).await;
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 9 };
    assert_eq!(store.position(&group_partition).await.expect("the store answers"), Some(LETTERS));
    // The server looks after clients that are gone, also while it works for them.
    marks.iter().for_each(|mark| mark.abort());
    until_count(&mut beside, busy, |count| count == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_waits_for_others_is_not_lost() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    append(store.as_ref(), 9, 9).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    // Longer than a call waits for a connection.
    slow_down(&mut beside, "events_20240115", 6.0).await;
    // One more than there are connections.
    let appends: Vec<_> = (1..=7)
        .map(|partition| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { append(store.as_ref(), partition, partition.into()).await })
        })
        .collect();
    for append in appends {
        append.await.expect("it succeeds");
    }
}

#[tokio::test]
async fn an_append_whose_statements_together_take_too_long_is_reported_as_too_broad() {
    let Some(server) = server() else { return };
    for copy_events_min in [0, usize::MAX] {
        let place = server.place().await;
        let store = opened(&options(&place, "public")).await.expect("the store opens");
        append(&store, 1, 1).await;
        let mut beside = PgConnection::connect(&place).await.expect("the server answers");
        for table in ["events_20240115", "rollups"] {
            slow_down(&mut beside, table, 0.6).await;
        }
        append(&store, 2, 2).await;
        let store = store.appending_within(Duration::from_secs(1)).copying_from(copy_events_min);
        let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 3 };
        let events = [(0, event(3))];
        let append =
            Append { group_partition: &group_partition, expected: None, next: 1, events: &events, dead_letters: &[] };
        let outcome = store.append(&append).await;
        assert!(matches!(outcome, Err(StoreError::TooBroad)), "{outcome:?}");
        assert_eq!(store.position(&group_partition).await.expect("the store answers"), None);
    }
}

#[tokio::test]
async fn only_one_process_removes_at_a_time() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let (store, other) = (server.open(&place).await, server.open(&place).await);
    append(store.as_ref(), 0, 1).await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let mark = 0x4000 | (murmur2(b"public") & 0x3fff);
    let lock = format!("SELECT pg_advisory_lock({mark}, 1)");
    sqlx::query(AssertSqlSafe(lock)).execute(&mut beside).await.expect("it is free");
    assert_eq!(store.expire(Timestamp::MAX).await.expect("the store answers"), 0, "another process does so now");
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut beside).await.expect("it ends");
    let (one, two) = tokio::join!(store.expire(Timestamp::MAX), other.expire(Timestamp::MAX));
    assert_eq!(one.expect("the store answers") + two.expect("the store answers"), 1);
}
