//! Repeated events, and added partitions.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::{cluster, expect_calls_accepted};
use crate::cluster::{Cluster, DEADLINE, Plan, Role, go_on};
use crate::load::{Load, event_id};
use crate::measurements::Measurements;
use crate::report::Report;
use crate::test_cluster::TestCluster;
use crate::topic::ForeignRecord;

/// Outside the ids of numbered events.
const FIRST_ID: u64 = 1 << 41;

/// The same ids within a batch, later, in other partitions, and across midnight, whichever copy comes first.
pub async fn the_same_ids(test_cluster: Arc<TestCluster>) -> Report {
    const IDS: u64 = 200;
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    let all = || 0..IDS;
    let mut sent = 0;
    // Three times in one batch; again; in partition 0 as an ERROR; from other sources, in arbitrary partitions.
    let batches: [Vec<String>; 4] = [
        (0..3).flat_map(|_| all()).map(|n| repeat(n, "one", "INFO")).collect(),
        all().map(|n| repeat(n, "one", "INFO")).collect(),
        all().map(|n| repeat(n, "one", "ERROR")).collect(),
        all().map(|n| repeat(n, &format!("other-{}", n % 7), "WARN")).collect(),
    ];
    for batch in batches {
        sent += batch.len() as u64;
        post(&cluster, &batch).await;
        go_on(&running, Duration::from_secs(1)).await;
    }
    // Received before midnight by another producer, and again now: half of them in this order, half in the other.
    let yesterday =
        r#"SELECT to_char((now() AT TIME ZONE 'UTC')::date - interval '2 seconds', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#;
    let yesterday = cluster.store.text(yesterday).await;
    let records = |ids: std::ops::Range<u64>| {
        let value = |n| {
            repeat(n, "one", "INFO").replacen(
                '{',
                &format!(r#"{{"timestamp":"{yesterday}","receivedAt":"{yesterday}","#),
                1,
            )
        };
        ids.map(|n| ForeignRecord { partition: 1, value: value(n).into_bytes(), client_id: true }).collect::<Vec<_>>()
    };
    let today = |ids: std::ops::Range<u64>| ids.map(|n| repeat(n, "one", "INFO")).collect::<Vec<_>>();
    cluster.topic().produce(records(IDS..IDS * 2)).await;
    until_repeats(&cluster, IDS * 2).await;
    post(&cluster, &today(IDS..IDS * 2)).await;
    post(&cluster, &today(IDS * 2..IDS * 3)).await;
    until_repeats(&cluster, IDS * 3).await;
    cluster.topic().produce(records(IDS * 2..IDS * 3)).await;
    sent += IDS * 4;
    cluster.fault_is_over();
    let repeats = sent - IDS * 3;
    let deduplicated = async || counted(&cluster).await >= repeats as f64;
    cluster.until("the repeats are recognised", DEADLINE, deduplicated).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    let (rows, counted) = (repeat_rows(&cluster).await, counted(&cluster).await);
    report.expect(rows == IDS * 3, format!("each id is stored once: {rows} rows of {} ids", IDS * 3));
    report.expect(counted == repeats as f64, format!("repeats are counted: {counted} of {repeats}"));
    report.note(format!("ids={} sent={sent} rows={rows} deduplicated={counted}", IDS * 3));
    cluster.shutdown().await;
    report
}

fn repeat(n: u64, source: &str, level: &str) -> String {
    let id = event_id(FIRST_ID + n);
    format!(r#"{{"eventId":"{id}","source":"{source}","level":"{level}","message":"repeat {n}"}}"#)
}

async fn post(cluster: &Cluster, events: &[String]) {
    let mut body = String::new();
    for event in events {
        let _ = write!(body, "{}{event}", if body.is_empty() { '[' } else { ',' });
    }
    body.push(']');
    let answer = cluster.http(Role::Gateway, 0).post("/api/logs/batch", body).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    assert_eq!(answer.json()["accepted"], events.len());
}

async fn repeat_rows(cluster: &Cluster) -> u64 {
    let count = "SELECT count(*) FROM OWN.events WHERE message LIKE 'repeat %'";
    cluster.store.number(count).await.map_or(0, i64::unsigned_abs)
}

async fn until_repeats(cluster: &Cluster, rows: u64) {
    cluster.until("repeats are stored", DEADLINE, async || repeat_rows(cluster).await >= rows).await;
}

async fn counted(cluster: &Cluster) -> f64 {
    let mut counted = 0.0;
    for index in 0..2 {
        let said = Measurements::of(&cluster.http(Role::Consumer, index)).await;
        counted += said.map_or(0.0, |said| said.sum("spillway_events_deduplicated_total", &[]));
    }
    counted
}

/// Three partitions become six during operation.
pub async fn partitions_added(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load { batch_clients: 8, ..Load::default() });
    cluster.until_stored(2_000).await;
    cluster.topic().set_partitions(6).await;
    cluster.fault_is_over();
    until_partitions_used(&cluster, 6).await;
    go_on(&running, Duration::from_secs(3)).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    cluster.shutdown().await;
    report
}

/// Waits until rows of this many partitions are stored.
pub async fn until_partitions_used(cluster: &Cluster, partitions: i64) {
    let count = "SELECT count(DISTINCT partition) FROM OWN.events";
    let used = async || cluster.store.number(count).await.is_ok_and(|used| used == partitions);
    cluster.until("all partitions are used", DEADLINE, used).await;
}
