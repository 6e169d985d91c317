//! The PostgreSQL store keeps the promises of its port. Needs a server: `TEST_POSTGRES_URL` (`scripts/services`).

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_postgres::{PostgresOptions, PostgresStore};
use contracts::store::StoreSubject;
use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::ports::{Append, Feed, LogStore};
use domain::query::{LogFilter, TailQuery};
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);

struct PostgresStores {
    server: String,
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
        let options =
            PostgresOptions { url: place.clone(), dedup_window: DEDUP_WINDOW, query_timeout: contracts::DEADLINE };
        Arc::new(PostgresStore::open(&options).await.expect("the store opens"))
    }

    fn dedup_window(&self) -> Duration {
        DEDUP_WINDOW
    }

    fn expiry_unit(&self) -> Duration {
        Duration::from_secs(24 * 3_600)
    }
}

/// The server of the environment, if there is one.
fn server() -> Option<PostgresStores> {
    let server = std::env::var("TEST_POSTGRES_URL").ok();
    assert!(server.is_some() || std::env::var("CI").is_err(), "TEST_POSTGRES_URL is missing: scripts/services");
    if server.is_none() {
        eprintln!("skipped: TEST_POSTGRES_URL is missing; scripts/services starts a server");
    }
    server.map(|server| PostgresStores { server })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_store_keeps_the_promises_of_its_port() {
    if let Some(server) = server() {
        contracts::store::all(&server).await;
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
    let feed = Feed { group: "g".to_owned(), topic: "logs".to_owned(), partition };
    let append = Append { feed: &feed, expected: None, next: 1, events: &[(0, event(n))], dead_letters: &[] };
    store.append(&append).await.expect("the append is in order");
}

async fn tail(store: &dyn LogStore, after: Option<u64>) -> (Vec<u64>, u64, u64) {
    let page = store.tail(&TailQuery { filter: LogFilter::default(), after, limit: 10 }).await.expect("a page");
    (page.events.iter().map(|(sequence, _)| *sequence).collect(), page.scanned, page.end)
}

#[tokio::test]
async fn a_tail_stays_behind_a_writer_that_has_begun_and_never_goes_back() {
    let Some(server) = server() else { return };
    let place = server.place().await;
    let store = server.open(&place).await;
    append(store.as_ref(), 0, 1).await;
    // A writer that has looked where it begins, drawn a number, and not committed.
    let mut writer = PgConnection::connect(&place).await.expect("the server answers");
    for statement in [
        "BEGIN",
        "SELECT pg_advisory_xact_lock_shared((21328::bigint << 48) | last_value) FROM events_sequence",
        "SELECT nextval('events_sequence')",
    ] {
        sqlx::query(statement).execute(&mut writer).await.expect("it begins");
    }
    append(store.as_ref(), 1, 2).await;
    assert_eq!(tail(store.as_ref(), Some(0)).await, (vec![1], 1, 1), "number 3 may be seen only after number 2");
    assert_eq!(tail(store.as_ref(), Some(1)).await, (vec![], 1, 1));
    assert_eq!(tail(store.as_ref(), Some(3)).await, (vec![], 3, 3), "what was seen stays seen");
    assert_eq!(tail(store.as_ref(), Some(4)).await, (vec![], 1, 1), "a number that nobody has drawn");
    sqlx::query("COMMIT").execute(&mut writer).await.expect("it ends");
    assert_eq!(tail(store.as_ref(), Some(1)).await, (vec![3], 3, 3));
}
