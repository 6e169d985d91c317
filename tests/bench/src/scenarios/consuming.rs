//! From Kafka to PostgreSQL, and queries.

use std::time::Duration;

use e2e::{Http, Process};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row as _};
use tokio::process::Command;
use tokio::time::Instant;

use super::until;
use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::openloop::Latencies;
use crate::processes::resident_bytes;
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies;
use crate::test_cluster::{Cpu, Installation, TestCluster, acknowledged, connect};
use crate::wrk::{self, Bodies};

/// Rows stored to measure throughput.
const ROWS: u64 = 2_000_000;
/// Rows in the table of the query, and their number of sources.
const QUERY_ROWS: u64 = 10_000_000;
const QUERY_SOURCES: u64 = 1_000;
/// Number of queries.
const QUERIES: u64 = 300;

/// Fills the topic with at least this many events, in this form of record; returns how many.
async fn fill(installation: &Installation<'_>, events: u64, form: &str) -> u64 {
    let producer = installation.start("producer", &[("SPILLWAY_KAFKA__RECORDS", form)]).await;
    let http = producer.http("producer");
    let bodies = Bodies::new(&batch_bodies(BATCH_EVENTS, EVENT_BYTES), "application/json", "");
    let url = format!("{}/api/logs/batch", http.base());
    let mut sent = 0;
    while sent < events {
        sent += wrk::run(&url, &bodies, 16, Duration::from_secs(1)).await.requests * BATCH_EVENTS as u64;
        until("all events are acknowledged", async || acknowledged(&http).await >= sent as f64).await;
    }
    // Requests in flight when wrk ended arrive, too.
    let accepted = async || e2e::metric(&http, "spillway_events_accepted_total").await;
    until("nothing is in flight", async || {
        let before = accepted().await;
        let done = acknowledged(&http).await;
        done >= before && accepted().await <= before
    })
    .await;
    let all = acknowledged(&http).await;
    producer.terminate().await;
    all as u64
}

async fn rows_of(store: &mut PgConnection, table: &str) -> u64 {
    let count = store.fetch_one(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).await.expect("a count");
    u64::try_from(count.get::<i64, _>(0)).expect("a count")
}

/// Rows stored by a consumer.
async fn stored(consumer: &Http) -> f64 {
    e2e::metric(consumer, "spillway_events_stored_total").await
}

/// Stores a full topic with each form of record, beside `\copy` of the same rows.
pub async fn consumer(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let ours = stored_topic(test_cluster, &installation, "consumer, exactly once", "single").await;
    let mut store = connect(&test_cluster.postgres_url()).await;
    let copied = copy(test_cluster, &mut store, &installation.schema()).await;
    installation.remove().await;
    let installation = test_cluster.installation(&[]);
    let packed = stored_topic(test_cluster, &installation, "consumer, exactly once, packed records", "packed").await;
    installation.remove().await;
    let mut rows: Vec<Row> = [ours, packed]
        .into_iter()
        .map(|row| {
            let ratio = row.figure("rows/s") / copied;
            row.with("of \\\\copy", ratio)
        })
        .collect();
    rows.push(Row::new("psql \\\\copy, one connection").with("rows/s", copied));
    rows
}

async fn stored_topic(
    test_cluster: &TestCluster,
    installation: &Installation<'_>,
    label: &'static str,
    form: &str,
) -> Row {
    let events = fill(installation, ROWS, form).await as f64;
    let mut store = connect(&test_cluster.postgres_url()).await;
    let consumer = installation.start("consumer", &[]).await;
    let http = consumer.http("consumer");
    // Its start does not count: schema, group, caches.
    until("the consumer stores rows", async || stored(&http).await > events / 20.0).await;
    let (began, cpu, before) = (Instant::now(), Cpu::of_role(&consumer), stored(&http).await);
    until("all events are stored", async || stored(&http).await >= events).await;
    let seconds = began.elapsed().as_secs_f64();
    let rows = rows_of(&mut store, &format!("{}.events", installation.schema())).await as f64;
    assert_eq!(rows.round(), events.round(), "each once");
    let row = Row::new(label)
        .with("rows/s", (rows - before) / seconds)
        .with("CPU µs/row", cpu.micros_each(rows - before))
        .with("RSS MB", resident_bytes(consumer.pid()) as f64 / 1e6);
    consumer.terminate().await;
    row
}

/// Rows per second of `psql \copy` into a table like that of a day.
async fn copy(test_cluster: &TestCluster, store: &mut PgConnection, schema: &str) -> f64 {
    let day = store
        .fetch_one(AssertSqlSafe(format!(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{schema}.events'::regclass \
             ORDER BY pg_relation_size(inhrelid) DESC LIMIT 1"
        )))
        .await
        .expect("a day");
    let day: String = day.get(0);
    let table = format!("{schema}.copied");
    let make = format!("CREATE TABLE {table} (LIKE {day} INCLUDING ALL)");
    store.execute(AssertSqlSafe(make)).await.expect("a table");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rows");
    psql(test_cluster, &format!("\\copy {day} TO '{}' (FORMAT binary)", file.display())).await;
    let rows = rows_of(store, &day).await;
    let began = Instant::now();
    psql(test_cluster, &format!("\\copy {table} FROM '{}' (FORMAT binary)", file.display())).await;
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(rows_of(store, &table).await, rows, "all rows were copied");
    rows as f64 / seconds
}

async fn psql(test_cluster: &TestCluster, command: &str) {
    let url = test_cluster.postgres_url();
    let output = Command::new("psql").args([&url, "-v", "ON_ERROR_STOP=1", "-c", command]).output().await;
    let output = output.expect("psql runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The newest 100 of one source.
pub async fn query(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    // Creates topic and schema.
    let events = fill(&installation, 1, "single").await as f64;
    let consumer: Process = installation.start("consumer", &[]).await;
    let http = consumer.http("consumer");
    until("all events are stored", async || stored(&http).await >= events).await;
    let mut store = connect(&test_cluster.postgres_url()).await;
    // Like stored events, one per millisecond.
    let insert = format!(
        "INSERT INTO {0}.events (event_id, client_id, source, level, message, \"timestamp\", received_at, metadata, topic, \
         partition, \"offset\") SELECT gen_random_uuid(), false, 'source-' || n % {QUERY_SOURCES}, 2, template.message, \
         t, t, template.metadata, 'filled', 0, n FROM generate_series(1, {QUERY_ROWS}) AS n, \
         LATERAL (SELECT greatest(date_trunc('day', now()), now() - interval '3 hours') + n * interval '1 microsecond' AS t) AS times, \
         (SELECT message, metadata FROM {0}.events LIMIT 1) AS template",
        installation.schema()
    );
    store.execute(AssertSqlSafe(insert)).await.expect("rows");
    store.execute(AssertSqlSafe(format!("ANALYZE {}.events", installation.schema()))).await.expect("statistics");
    let mut times = Vec::new();
    for n in 0..QUERIES {
        let began = Instant::now();
        let answer = http.get(&format!("/api/logs?source=source-{}&limit=100", n * 7 % QUERY_SOURCES)).await;
        times.push(began.elapsed());
        assert_eq!(answer.json()["events"].as_array().map(Vec::len), Some(100));
    }
    consumer.terminate().await;
    installation.remove().await;
    let latencies = Latencies::of(times);
    vec![
        Row::new("newest 100 of one source")
            .with("p50 ms", latencies.millis(0.5))
            .with("p99 ms", latencies.millis(0.99))
            .with("longest ms", latencies.millis(1.0)),
    ]
}
