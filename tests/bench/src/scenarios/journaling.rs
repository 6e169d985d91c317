//! While Kafka is down, and after it is back.

use std::time::Duration;

use e2e::metric;
use tokio::time::Instant;

use super::until;
use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies;
use crate::test_cluster::{Cpu, TestCluster, acknowledged};
use crate::wrk::{self, Bodies};

/// Room for a few seconds at any rate.
const JOURNAL_BYTES_MAX: (&str, &str) = ("SPILLWAY_JOURNAL__BYTES_MAX", "16GiB");
const ACKNOWLEDGED: (&str, &str) = ("SPILLWAY_DELIVERY__INFO", "at-least-once");

/// Fills the journal at full speed, and sends it.
pub async fn journal(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[JOURNAL_BYTES_MAX, ACKNOWLEDGED]);
    let producer = installation.start("producer", &[]).await;
    let http = producer.http("producer");
    let bodies = Bodies::new(&batch_bodies(BATCH_EVENTS, EVENT_BYTES), "application/json", "");
    let url = format!("{}/api/logs/batch", http.base());
    test_cluster.apply("stop", "kafka").await;
    // Answers are slow until the producer has detected the outage.
    wrk::run(&url, &bodies, 64, Duration::from_secs(5)).await;
    let journaled = async || metric(&http, "spillway_events_journaled").await;
    let (before, cpu) = (journaled().await, Cpu::of_role(&producer));
    let began = Instant::now();
    let figures = wrk::run(&url, &bodies, 64, test_cluster.duration).await;
    until("all events are journaled", async || metric(&http, "spillway_events_buffered").await < 0.5).await;
    let (events, seconds) = (journaled().await - before, began.elapsed().as_secs_f64());
    let written = Row::new("written, fsynced")
        .with("events/s", events / seconds)
        .with("CPU µs/event", cpu.micros_each(events))
        .with("p50 ms", figures.p50.as_secs_f64() * 1e3)
        .with("p99 ms", figures.p99.as_secs_f64() * 1e3);
    let backlog = journaled().await;
    test_cluster.apply("start", "kafka").await;
    // From the first acknowledgement on: Kafka's own restart does not count.
    let before = acknowledged(&http).await;
    until("Kafka is back", async || acknowledged(&http).await > before).await;
    let (began, sent, cpu) = (Instant::now(), acknowledged(&http).await, Cpu::of_role(&producer));
    until("the journal is empty", async || journaled().await < 0.5).await;
    let events = before + backlog - sent;
    let replayed = Row::new("sent when Kafka is back")
        .with("events/s", events / began.elapsed().as_secs_f64())
        .with("CPU µs/event", cpu.micros_each(events));
    // Kafka restarted in the same way: its first seconds are its slowest.
    test_cluster.apply("stop", "kafka").await;
    test_cluster.apply("start", "kafka").await;
    let event = r#"{"source":"bench","level":"ERROR","message":"Kafka is back"}"#;
    until("Kafka accepts events", async || http.post("/api/logs", event).await.json()["durability"] == "acknowledged")
        .await;
    let (began, before, cpu) = (Instant::now(), acknowledged(&http).await, Cpu::of_role(&producer));
    let took = began + Duration::from_secs_f64(events / replayed.figure("events/s"));
    wrk::run(&url, &bodies, 64, took - began).await;
    until("all events are acknowledged", async || metric(&http, "spillway_events_buffered").await < 0.5).await;
    let events = acknowledged(&http).await - before;
    let live = Row::new("live, from when Kafka is back, for as long")
        .with("events/s", events / began.elapsed().as_secs_f64())
        .with("CPU µs/event", cpu.micros_each(events));
    let ratio = replayed.figure("events/s") / live.figure("events/s");
    producer.terminate().await;
    installation.remove().await;
    vec![written, replayed.with("of live", ratio), live]
}
