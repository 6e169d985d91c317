//! What ids cost the consumer that follow from what agents send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use e2e::Process;
use testkit::agent_bodies::FIRST_NANOS;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::until;
use crate::agent_bodies;
use crate::events::{EVENT_BYTES, sources};
use crate::report::Row;
use crate::test_cluster::{Cpu, Installation, TestCluster, acknowledged};

/// Rows that are stored in each case.
const POSTGRES_ROWS: u64 = 1_000_000;
const SQLITE_ROWS: u64 = 500_000;
const BATCH: usize = 500;
const SENDERS: u64 = 8;
/// Sources with bodies of their own.
const SOURCES: usize = 64;

/// Rows per second of both stores, without ids of entries and with them.
pub async fn derived_ids(test_cluster: &TestCluster) -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, role, kind, count) in
        [("SQLite", "all", "embedded", SQLITE_ROWS), ("PostgreSQL", "consumer", "postgres", POSTGRES_ROWS)]
    {
        let mut without = None;
        for (label, derives) in [("without derived ids", "false"), ("with derived ids", "true")] {
            let installation = test_cluster.installation(&[
                ("SPILLWAY_INGEST__DERIVED_IDS", derives),
                ("SPILLWAY_RATE_LIMIT__AGENT_EVENTS_PER_SECOND", "0"),
                ("SPILLWAY_RATE_LIMIT__AGENT_BYTES_PER_SECOND", "0"),
            ]);
            fill(&installation, count).await;
            let consumer = installation.start(role, &[("SPILLWAY_STORE", kind)]).await;
            let row = stored(Row::new(format!("{store}, {label}")), &consumer, count).await;
            consumer.terminate().await;
            installation.remove().await;
            let per_second = row.figure("rows/s");
            rows.push(row.with("of those without", per_second / *without.get_or_insert(per_second)));
        }
    }
    rows
}

/// Fills the topic with entries of OTLP, each with a time of its own.
async fn fill(installation: &Installation<'_>, count: u64) {
    let producer = installation.start("producer", &[]).await;
    let http = producer.http("producer");
    let events: Arc<[_]> =
        (1..).zip(&sources(SOURCES)).map(|(n, source)| agent_bodies::events(n, EVENT_BYTES, source, BATCH)).collect();
    let (next, batches) = (Arc::new(AtomicU64::new(0)), count / BATCH as u64);
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (http, events, next) = (http.clone(), Arc::clone(&events), Arc::clone(&next));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::AcqRel);
                if number >= batches {
                    return;
                }
                let of_source = &events[usize::try_from(number).expect("few") % events.len()];
                // A microsecond apart, none of them in whole milliseconds.
                let body = of_source.otlp_protobuf(FIRST_NANOS + number * 1_000);
                let headers = [("content-type", "application/x-protobuf")];
                let answer = http.send("POST", "/v1/logs", &headers, body).await;
                assert_eq!(answer.status, 200, "{:?}", answer.body);
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("everything is accepted");
    }
    until("all events are acknowledged", async || acknowledged(&http).await >= count as f64).await;
    producer.terminate().await;
}

/// Waits until everything is stored; each event once.
async fn stored(row: Row, consumer: &Process, count: u64) -> Row {
    let http = consumer.http("consumer");
    let stored = async || e2e::metric(&http, "spillway_events_stored_total").await;
    let all = count as f64;
    // Its start does not count: schema, group, caches.
    until("the consumer stores rows", async || stored().await > all / 20.0).await;
    let (began, cpu, before) = (Instant::now(), Cpu::of_role(consumer), stored().await);
    until("all events are stored", async || stored().await >= all).await;
    let seconds = began.elapsed().as_secs_f64();
    let repeats = e2e::metric(&http, "spillway_events_deduplicated_total").await;
    assert!(repeats < 0.5, "{repeats} repeats among entries that differ");
    row.with("rows/s", (all - before) / seconds).with("CPU µs/row", cpu.micros_each(all - before))
}
