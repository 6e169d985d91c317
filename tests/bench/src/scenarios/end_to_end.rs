//! From the POST of an event until its row is visible.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Http, Process};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::openloop::{self, Latencies, Schedule};
use crate::processes::resident_bytes;
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies;
use crate::test_cluster::{Cpu, TestCluster, connect};

/// Rates, in events per second.
const RATES: [u32; 5] = [5_000, 25_000, 50_000, 75_000, 100_000];
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Maximum time until a row must exist.
const PATIENCE: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(3);

/// Each rate in turn.
pub async fn end_to_end(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let producer = installation.start("producer", &[]).await;
    let consumer = installation.start("consumer", &[]).await;
    let bodies: Arc<[Bytes]> = batch_bodies(BATCH_EVENTS, EVENT_BYTES).into_iter().map(Bytes::from).collect();
    let mut store = connect(&test_cluster.postgres_url()).await;
    let (schema, mut rows) = (installation.schema(), Vec::new());
    for rate in RATES {
        let schedule = |duration| Schedule {
            path: "/api/logs/batch",
            bodies: Arc::clone(&bodies),
            per_second: f64::from(rate) / BATCH_EVENTS as f64,
            duration,
        };
        let http = producer.http("producer");
        openloop::run(&http, schedule(WARM_UP)).await;
        let (of_producer, of_consumer) = (Cpu::of_role(&producer), Cpu::of_role(&consumer));
        let load = openloop::run(&http, schedule(test_cluster.duration));
        let probes = probe(&http, &mut store, &schema, test_cluster.duration);
        let (answers, visible) = tokio::join!(load, probes);
        let events = (answers.count() * BATCH_EVENTS) as f64;
        rows.push(
            Row::new(format!("{} events/s", crate::report::number(f64::from(rate))))
                .with("row p50 ms", visible.millis(0.5))
                .with("row p99 ms", visible.millis(0.99))
                .with("row longest ms", visible.millis(1.0))
                .with("202 p50 ms", answers.millis(0.5))
                .with("202 p99 ms", answers.millis(0.99))
                .with("producer's CPU µs/event", of_producer.micros_each(events))
                .with("consumer's CPU µs/event", of_consumer.micros_each(events))
                .with("producer's RSS MB", megabytes(&producer))
                .with("consumer's RSS MB", megabytes(&consumer)),
        );
    }
    consumer.terminate().await;
    producer.terminate().await;
    installation.remove().await;
    rows
}

fn megabytes(process: &Process) -> f64 {
    resident_bytes(process.pid()) as f64 / 1e6
}

/// Posts single events and polls for their rows; times count from when each should have been posted.
async fn probe(http: &Http, store: &mut PgConnection, schema: &str, duration: Duration) -> Latencies {
    let mut times = Vec::new();
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    while began.elapsed() < duration {
        let at = ticks.tick().await;
        let source = format!("probe-{}-{}", schema, times.len());
        let event = format!(r#"{{"source":"{source}","level":"INFO","message":"probe"}}"#);
        assert_eq!(http.post("/api/logs", event).await.status, 202);
        let query = format!("SELECT 1 FROM {schema}.events WHERE source = '{source}' LIMIT 1");
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while store.fetch_optional(AssertSqlSafe(query.clone())).await.expect("an answer").is_none() {
            assert!(at.elapsed() < PATIENCE, "the row of {source} is missing");
            look.tick().await;
        }
        times.push(at.elapsed());
    }
    Latencies::of(times)
}
