//! Network traffic per page. Needs a server: `TEST_POSTGRES_URL` (`scripts/services`).

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter_postgres::{PostgresOptions, PostgresStore};
use domain::dead_letter::{DeadLetterQuery, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::ports::{Append, GroupPartition, LogStore};
use domain::query::{LogQuery, PAGE_BYTES_MAX, PAGE_EVENTS_MAX, StoredEvent, TAIL_BYTES_MAX, TailQuery};
use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// Maximum bytes of a row: a record has at most 1,000,000.
const ROW_BYTES_MAX: usize = 1_000_000;
/// Maximum bytes of everything else that the server sends to a store that is opened and queried once.
const OTHER_BYTES_MAX: usize = 100_000;
const TIME: &str = "2024-01-15T10:30:00Z";

/// Counts the bytes that a server sends to its clients.
struct Counter {
    address: SocketAddr,
    bytes: Arc<AtomicUsize>,
}

impl Counter {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let bytes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server answers");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                        counted.fetch_add(count, Ordering::Relaxed);
                        if to_client.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, bytes }
    }
}

async fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions {
        url: url.to_owned(),
        schema: "public".to_owned(),
        dedup_window: std::time::Duration::from_secs(3_600),
        resend_window: std::time::Duration::from_secs(900),
        query_timeout: contracts::DEADLINE,
    };
    let store = PostgresStore::new(&options).expect("valid");
    store.prepare().await.expect("the store opens");
    store
}

/// A database with 1,000 events and 300 dead letters of the maximum size.
async fn large_database(server: &str) -> String {
    let mut connection = PgConnection::connect(server).await.expect("the server answers");
    let name = format!("bytes_{}", std::process::id());
    for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("a database");
    }
    let place = format!("{}/{name}", server.rsplit_once('/').expect("a URL with a database").0);
    let store = open(&place).await;
    let time = Timestamp::parse(TIME).expect("a time");
    let first = LogEvent {
        event_id: domain::Uuid::nil(),
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
    };
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
    let append =
        Append { group_partition: &group_partition, expected: None, next: 1, events: &[(0, first)], dead_letters: &[] };
    store.append(&append).await.expect("the day's table is created");
    store.close().await;
    let mut beside = PgConnection::connect(&place).await.expect("the server answers");
    let events = format!(
        "INSERT INTO events (event_id, client_id, source, level, message, \"timestamp\", received_at, stack_trace, metadata, topic, \
         partition, \"offset\") SELECT gen_random_uuid(), false, 's', 2, 'ü' || repeat('x', 262142), timestamptz '{TIME}' + n * \
         interval '1 second', timestamptz '{TIME}' + n * interval '1 second', repeat('y', 262144), \
         ('{{\"z\":\"' || repeat('z', 65000) || '\"}}')::json, 'logs', 0, n FROM generate_series(1, 1000) AS n"
    );
    let letters = "INSERT INTO dead_letters (consumer_group, topic, partition, \"offset\", key, value, reason, attempts, at) \
                   SELECT 'g', 'logs', 0, n, '', convert_to(repeat('v', 999000), 'UTF8'), '', 0, now() \
                   FROM generate_series(1, 300) AS n";
    for statement in [events.as_str(), letters] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut beside).await.expect("the statement succeeds");
    }
    place
}

#[tokio::test]
async fn a_page_of_large_rows_moves_little_more_than_its_limit() {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        assert!(std::env::var("CI").is_err(), "TEST_POSTGRES_URL is missing: scripts/services");
        eprintln!("skipped: TEST_POSTGRES_URL is missing; scripts/services starts a server");
        return;
    };
    let place = large_database(&server).await;
    let (before, after) = place.split_once('@').expect("a URL with a user");
    let (host, database) = after.split_once('/').expect("a URL with a database");
    let counter = Counter::before(host.to_owned()).await;
    let url = format!("{before}@{}/{database}", counter.address);

    let text = EventFilter::message("ÜX");
    for read in ["events", "text", "tail", "letters"] {
        let bytes_max = if read == "tail" { TAIL_BYTES_MAX } else { PAGE_BYTES_MAX };
        counter.bytes.store(0, Ordering::Relaxed);
        let store = open(&url).await;
        let sizes: Vec<usize> = match read {
            "tail" => {
                let tail = TailQuery { filter: EventFilter::default(), after: Some(1), limit: PAGE_EVENTS_MAX };
                store.tail(&tail).await.expect("a page").events.iter().map(|(_, event)| event.bytes()).collect()
            }
            "letters" => {
                let letters = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
                store.dead_letters(&letters).await.expect("a page").items.iter().map(StoredDeadLetter::bytes).collect()
            }
            _ => {
                let filter = if read == "text" { text.clone() } else { EventFilter::default() };
                let query = LogQuery::newest(filter, PAGE_EVENTS_MAX);
                store.query(&query).await.expect("a page").items.iter().map(StoredEvent::bytes).collect()
            }
        };
        // Data that is no longer needed arrives as well.
        store.close().await;
        let moved = counter.bytes.load(Ordering::Relaxed);
        eprintln!("{read}: {} items of {} bytes, {moved} bytes moved", sizes.len(), sizes.iter().sum::<usize>());
        assert!(sizes.iter().sum::<usize>() >= bytes_max, "{read}: {} items", sizes.len());
        // The last row of the page may exceed it, and the next one shows that there are more.
        let moved_max = bytes_max + 2 * ROW_BYTES_MAX + OTHER_BYTES_MAX;
        assert!(moved < moved_max, "{read}: {moved} bytes moved for a page of {bytes_max}");
    }
    let (_, name) = place.rsplit_once('/').expect("a database");
    let mut connection = PgConnection::connect(&server).await.expect("the server answers");
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await.expect("it is gone");
}
