//! Whether memory remains constant.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Executor};

use super::{number, until};
use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::openloop::{self, Schedule};
use crate::processes::resident_bytes;
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies;
use crate::test_cluster::{Cpu, TestCluster, acknowledged, connect};

const EVENTS_PER_SECOND: f64 = 50_000.0;
const MINUTE: Duration = Duration::from_secs(60);
/// Duration, unless `BENCH_MINUTES` says otherwise.
const MINUTES: u64 = 30;
/// Of each partition, in Kafka.
const RETENTION_BYTES: &str = "1073741824";
const SEGMENT_BYTES: &str = "134217728";

/// All roles under a steady load.
pub async fn soak(test_cluster: &TestCluster) -> Vec<Row> {
    let minutes = number("BENCH_MINUTES", MINUTES);
    let installation = test_cluster.installation(&[]);
    installation.make_topic(&[("retention.bytes", RETENTION_BYTES), ("segment.bytes", SEGMENT_BYTES)]).await;
    let producer = installation.start("producer", &[]).await;
    let consumer = installation.start("consumer", &[]).await;
    let (to_producer, to_consumer) = (producer.http("producer"), consumer.http("consumer"));
    let (producers, consumers) = (to_producer.base().to_owned(), to_consumer.base().to_owned());
    let upstreams =
        [("SPILLWAY_GATEWAY__PRODUCERS", producers.as_str()), ("SPILLWAY_GATEWAY__CONSUMERS", consumers.as_str())];
    let gateway = installation.start("gateway", &upstreams).await;
    let bodies: Arc<[Bytes]> = batch_bodies(BATCH_EVENTS, EVENT_BYTES).into_iter().map(Bytes::from).collect();
    let mut store = connect(&test_cluster.postgres_url()).await;
    let truncate = format!("TRUNCATE {}.events", installation.schema());
    let roles = [&gateway, &producer, &consumer];
    let megabytes = |n: usize| resident_bytes(roles[n].pid()) as f64 / 1e6;
    let (mut rows, mut sent) = (Vec::new(), 0.0);
    for minute in 1..=minutes {
        let cpu = roles.map(Cpu::of_role);
        let schedule = Schedule {
            path: "/api/logs/batch",
            bodies: Arc::clone(&bodies),
            per_second: EVENTS_PER_SECOND / BATCH_EVENTS as f64,
            duration: MINUTE,
        };
        let answers = openloop::run(&gateway.http("gateway"), schedule).await;
        let events = (answers.count() * BATCH_EVENTS) as f64;
        sent += events;
        rows.push(
            Row::new(format!("minute {minute}"))
                .with("events", events)
                .with("202 p50 ms", answers.millis(0.5))
                .with("202 p99 ms", answers.millis(0.99))
                .with("gateway's RSS MB", megabytes(0))
                .with("producer's RSS MB", megabytes(1))
                .with("consumer's RSS MB", megabytes(2))
                .with("producer's CPU µs/event", cpu[1].micros_each(events))
                .with("consumer's CPU µs/event", cpu[2].micros_each(events)),
        );
        store.execute(AssertSqlSafe(truncate.clone())).await.expect("rows are removed");
    }
    until("all events are acknowledged", async || acknowledged(&to_producer).await >= sent).await;
    until("all events are stored", async || e2e::metric(&to_consumer, "spillway_events_stored_total").await >= sent)
        .await;
    for process in [gateway, consumer, producer] {
        process.terminate().await;
    }
    installation.remove().await;
    rows
}
