//! Searches through millions of rows while events arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Http, Process};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::until;
use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::openloop::Latencies;
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies_of_now;
use crate::test_cluster::{TestCluster, connect};

/// Rows of the embedded store, and of PostgreSQL. They are spread over three hours.
const EMBEDDED_ROWS: u64 = 5_000_000;
const POSTGRES_ROWS: u64 = 10_000_000;
/// Rows that are written to the embedded store at once.
const FILL_ROWS: usize = 20_000;
/// Events that arrive meanwhile.
const EVENTS_PER_SECOND: u64 = 2_000;
/// Each search is repeated this often, or for so long, but at least three times.
const REPEATS: usize = 100;
const TIME_MAX: Duration = Duration::from_secs(30);
/// Events of the export whose rate is measured: five minutes of the rows, so that the number does not depend on how long the
/// searches took.
const EXPORT_RANGE: &str = "from=-65m&to=-60m";

/// The searches: their names, and path and query.
const SEARCHES: [(&str, &str); 10] = [
    ("newest 100", "/api/logs?from=-1h"),
    ("newest 100 of a source", "/api/logs?from=-1h&source=source-7"),
    ("a value: userId:12345", "/api/logs?from=-1h&to=now&query=userId:12345"),
    ("a rare word", "/api/logs?from=-1h&to=now&query=zanzibar"),
    ("a common phrase", "/api/logs?from=-1h&to=now&query=%22payment%20accepted%22"),
    ("OR of two", "/api/logs?from=-1h&to=now&query=zanzibar%20OR%20userId:12345"),
    ("histogram by level, 1 minute", "/api/logs/stats?from=-1h&to=now&interval=1m"),
    ("histogram of a value, 1 minute", "/api/logs/stats?from=-1h&to=now&interval=1m&query=http.status:500"),
    ("top values of userId", "/api/logs/values?from=-1h&to=now&field=userId"),
    ("fields", "/api/logs/fields?from=-1h"),
];

/// The columns of row `n`, in a language that both databases understand. `{json}` writes metadata, `{time}` the time.
const COLUMNS: &str = "'source-' || (n % 50), CASE WHEN n % 100 < 75 THEN 2 WHEN n % 100 < 90 THEN 1 WHEN n % 100 < 97 THEN 3 ELSE 4 END, \
     'request ' || n || ' of user ' || (n * 7919 % 100000) || ' answered in ' || (n % 997) || ' ms' \
     || CASE WHEN n % 3 = 0 THEN ': payment accepted' ELSE '' END || CASE WHEN n % 1000003 = 7 THEN ' zanzibar' ELSE '' END";
const METADATA: &str = "'{\"userId\":' || (n * 7919 % 100000) || ',\"http\":{\"method\":\"GET\",\"status\":' \
     || CASE WHEN n % 200 = 0 THEN 500 ELSE 200 END || '},\"region\":\"eu-' || (n % 3) || '\"}'";

/// SQLite in one process.
pub async fn embedded(test_cluster: &TestCluster) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = [("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "0"), ("SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND", "0")];
    // Creates the tables. The next start moves the rows, as those of an earlier version, into chunks.
    Process::start(test_cluster.spillway(), "all", directory.path(), &limits).await.terminate().await;
    let file = directory.path().join("store.db");
    let mut store = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("the file");
    let begin = sqlx::query_scalar("SELECT (unixepoch() - 10800) * 1000000").fetch_one(&mut store).await;
    let begin_micros: i64 = begin.expect("a number");
    for first in (1..=EMBEDDED_ROWS).step_by(FILL_ROWS) {
        let insert = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {first} + {FILL_ROWS} - 1) \
             INSERT INTO events (event_id, client_id, source, level, message, timestamp, received_at, metadata, topic, \
             partition, \"offset\") SELECT randomblob(16), false, {COLUMNS}, t, t, {METADATA}, 'filled', 0, n \
             FROM (SELECT n, {begin_micros} + n * 10800000000 / {EMBEDDED_ROWS} AS t FROM numbers)"
        );
        store.execute(AssertSqlSafe(insert)).await.expect("rows");
    }
    let rollups = "INSERT INTO rollups (minute, level, source, events) SELECT timestamp / 60000000, level, source, count(*) \
                   FROM events GROUP BY 1, 2, 3";
    store.execute(rollups).await.expect("rollups");
    store.close().await.expect("it closes");
    let process = Process::start(test_cluster.spillway(), "all", directory.path(), &limits).await;
    let rows = measure(&process.http("consumer"), &process.http("producer")).await;
    process.terminate().await;
    rows
}

/// PostgreSQL behind Kafka.
pub async fn postgres(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let producer = installation.start("producer", &[]).await;
    let consumer = installation.start("consumer", &[]).await;
    // The first event creates the tables.
    let answer = producer.http("producer").post("/api/logs", r#"{"source":"s","level":"ERROR","message":"m"}"#).await;
    assert_eq!(answer.status, 202);
    let http = consumer.http("consumer");
    until("it is stored", async || e2e::metric(&http, "spillway_events_stored_total").await >= 1.0).await;
    let mut store = connect(&test_cluster.postgres_url()).await;
    let insert = format!(
        "INSERT INTO {0}.events (event_id, client_id, source, level, message, \"timestamp\", received_at, metadata, topic, \
         partition, \"offset\") SELECT gen_random_uuid(), false, {COLUMNS}, t, now(), ({METADATA})::json, 'filled', 0, n \
         FROM generate_series(1, {POSTGRES_ROWS}::bigint) AS n, \
         LATERAL (SELECT now() - interval '3 hours' + n * interval '10800 seconds' / {POSTGRES_ROWS} AS t) AS times",
        installation.schema()
    );
    store.execute(AssertSqlSafe(insert)).await.expect("rows");
    let rollups = format!(
        "INSERT INTO {0}.rollups (day, minute, level, source, partition, events) \
         SELECT floor(extract(epoch FROM received_at) / 86400), floor(extract(epoch FROM \"timestamp\") / 60), level, source, \
         partition, count(*) FROM {0}.events WHERE topic = 'filled' GROUP BY 1, 2, 3, 4, 5 \
         ON CONFLICT (day, minute, level, source, partition) DO UPDATE SET events = rollups.events + excluded.events",
        installation.schema()
    );
    store.execute(AssertSqlSafe(rollups)).await.expect("rollups");
    // As autovacuum would, which must not begin during the measurement.
    store
        .execute(AssertSqlSafe(format!("VACUUM ANALYZE {0}.events, {0}.rollups", installation.schema())))
        .await
        .expect("statistics");
    let rows = measure(&http, &producer.http("producer")).await;
    producer.terminate().await;
    consumer.terminate().await;
    installation.remove().await;
    rows
}

/// Measures all searches while events arrive. A search that fails is a figure: half an hour of work must not end with a panic.
async fn measure(consumer: &Http, producer: &Http) -> Vec<Row> {
    let (arriving, stop) = arrive(producer.clone());
    let mut rows = Vec::new();
    for (name, path) in SEARCHES {
        // Each time another range: an answer that was given before may be cached.
        rows.push(latencies(name, consumer, |n| path.replace("-1h", &format!("-{}s", 3_600 - n))).await);
    }
    let newest = consumer.get("/api/logs?from=-1h&to=now-10m&limit=1").await.json();
    match newest["events"][0]["eventId"].as_str() {
        Some(id) => rows.push(latencies("context of an event", consumer, |_| format!("/api/logs/{id}/context")).await),
        None => rows.push(Row::new("context of an event").with("failed", 1.0)),
    }
    rows.push(export(consumer).await);
    let total = consumer.get("/api/logs/stats?from=-1h&to=now&interval=1h").await;
    if total.status == 200 {
        let total = total.json()["total"]
            .as_object()
            .map(|counts| counts.values().filter_map(|count| count.as_f64()).sum::<f64>());
        rows.push(Row::new("rows of the hour").with("rows", total.unwrap_or(0.0)));
    }
    stop.store(true, Ordering::Relaxed);
    rows.push(arriving.await.expect("a task without a panic"));
    rows
}

/// Repeats a search and returns its latencies.
async fn latencies(name: &str, http: &Http, path: impl Fn(usize) -> String) -> Row {
    let (mut times, mut failed, began) = (Vec::new(), 0, Instant::now());
    while times.len() + failed < 3 || times.len() + failed < REPEATS && began.elapsed() < TIME_MAX {
        let asked = Instant::now();
        match http.try_send("GET", &path(times.len() + failed), &[], "").await {
            Some(answer) if answer.status == 200 => times.push(asked.elapsed()),
            answer => {
                failed += 1;
                eprintln!("{name}: {:?}", answer.map(|answer| (answer.status, answer.body)));
            }
        }
    }
    let (answers, mut row) = (times.len() as f64, Row::new(name));
    if !times.is_empty() {
        let latencies = Latencies::of(times);
        row = row.with("p50 ms", latencies.millis(0.5)).with("p99 ms", latencies.millis(0.99));
    }
    row.with("answers", answers).with("failed", failed as f64)
}

/// The rate of an export.
async fn export(http: &Http) -> Row {
    let (began, row) = (Instant::now(), Row::new("export of five minutes"));
    match http.try_send("GET", &format!("/api/logs/export?{EXPORT_RANGE}"), &[], "").await {
        Some(export) if export.status == 200 => {
            let lines = export.body.iter().filter(|byte| **byte == b'\n').count() as f64;
            row.with("events/s", lines / began.elapsed().as_secs_f64()).with("rows", lines)
        }
        _ => row.with("failed", 1.0),
    }
}

/// Sends events at a steady rate until it is told to stop; returns the rate at which they were accepted.
fn arrive(producer: Http) -> (JoinHandle<Row>, Arc<AtomicBool>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let arriving = tokio::spawn(async move {
        let bodies = batch_bodies_of_now(BATCH_EVENTS, EVENT_BYTES);
        let mut ticks = interval(Duration::from_micros(1_000_000 * BATCH_EVENTS as u64 / EVENTS_PER_SECOND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut bodies, mut accepted, mut failed) = (bodies.iter().cycle(), 0, 0);
        let began = Instant::now();
        while !stopped.load(Ordering::Relaxed) {
            ticks.tick().await;
            let body = bodies.next().cloned().unwrap_or_default();
            let answer =
                producer.try_send("POST", "/api/logs/batch", &[("content-type", "application/json")], body).await;
            match answer {
                Some(answer) if answer.status == 202 => accepted += BATCH_EVENTS,
                _ => failed += BATCH_EVENTS,
            }
        }
        let rate = accepted as f64 / began.elapsed().as_secs_f64();
        Row::new("events that arrived meanwhile").with("events/s", rate).with("failed", failed as f64)
    });
    (arriving, stop)
}
