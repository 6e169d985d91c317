//! Gateways whose instances behind them fail or slow down.

use std::sync::Arc;
use std::time::Duration;

use super::cluster;
use crate::cluster::{Cluster, DEADLINE, Plan, Role, go_on};
use crate::ledger::{Outcome, Request};
use crate::load::{Load, Running};
use crate::measurements::Measurements;
use crate::proxy::Mode;
use crate::report::Report;
use crate::test_cluster::TestCluster;

const PRODUCERS: usize = 3;
const KILLED: usize = 0;
const SLOW: usize = 1;
/// Additional latency of the slow producer.
const DELAY: Duration = Duration::from_millis(300);
/// Maximum time until requests go elsewhere.
const SHIFT_MAX: Duration = Duration::from_secs(1);
/// Window over which shares are counted.
const WINDOW: Duration = Duration::from_secs(3);
/// A fair share of the requests, and a negligible one.
const FAIR: f64 = 0.2;
const NONE: f64 = 0.05;

/// One of three producers is killed and restarted, then another is slow and recovers, under load.
pub async fn one_killed_one_slow(test_cluster: Arc<TestCluster>) -> Report {
    let plan = Plan { producers: PRODUCERS, proxied_producer: Some(SLOW), ..Plan::default() };
    let mut cluster = cluster(&test_cluster, plan).await;
    // Many clients, so that each producer always has a request in flight.
    let load = Load { batch_clients: 16, single_clients: 32, singles_per_second: 1_600, ..Load::default() };
    let running = cluster.load(load);
    go_on(&running, SHIFT_MAX).await;
    let even = shares(&cluster, &running).await;

    cluster.kill(Role::Producer, KILLED).await;
    let killed_at = running.now();
    go_on(&running, SHIFT_MAX).await;
    let without = shares(&cluster, &running).await;
    cluster.start(Role::Producer, KILLED).await;
    let back_again = until_fair(&cluster, &running, KILLED).await;

    let proxy = cluster.proxy.as_ref().expect("a proxied producer");
    proxy.set(Mode::Delay(DELAY));
    let slow_at = running.now();
    go_on(&running, SHIFT_MAX).await;
    let shifted = shares(&cluster, &running).await;
    let slow_until = running.now();
    proxy.set(Mode::Pass);
    let recovered = until_fair(&cluster, &running, SLOW).await;
    cluster.fault_is_over();
    let mut report = cluster.settle(running, u64::MAX).await;

    for (index, share) in even.iter().enumerate() {
        report.expect(*share >= FAIR, format!("each producer has its share, {index}: {share:.2}"));
    }
    report.expect(shifted[SLOW] <= NONE, format!("a slow producer gets almost no requests: {:.2}", shifted[SLOW]));
    let requests = || report.ledger.requests();
    let failed = |from: Duration, to: Duration| {
        requests().filter(|request| request.sent >= from && request.sent < to && !is_accepted(request)).count()
    };
    let at_kill = requests().filter(|request| !is_accepted(request) && request.sent <= killed_at).count();
    let after_kill = failed(killed_at, Duration::MAX);
    let slow: Vec<Duration> = requests()
        .filter(|request| request.sent >= slow_at + SHIFT_MAX && request.sent < slow_until)
        .map(|request| request.took)
        .collect();
    let delayed = slow.iter().filter(|took| **took >= DELAY).count();
    let notes = [
        format!("shares even={} one killed={} one slow={}", list(&even), list(&without), list(&shifted)),
        format!("calls that failed: in flight at the kill={at_kill}, sent after it={after_kill}"),
        format!("calls while one is slow, from {SHIFT_MAX:?} on: {}, of these {delayed} delayed", slow.len()),
        format!("a fair share again after: kill {back_again:?}, slowness {recovered:?}"),
    ];
    report.expect(after_kill == 0, format!("only calls in flight at the killed producer fail: {after_kill}"));
    for note in notes {
        report.note(note);
    }
    cluster.shutdown().await;
    report
}

fn is_accepted(request: &Request) -> bool {
    matches!(request.outcome, Outcome::Accepted { .. })
}

fn list(shares: &[f64]) -> String {
    shares.iter().map(|share| format!("{share:.2}")).collect::<Vec<_>>().join("/")
}

/// Ingestion requests answered by each producer; 0 if it does not run.
async fn answered(cluster: &Cluster) -> Vec<f64> {
    let mut counts = Vec::new();
    for index in 0..PRODUCERS {
        let said = Measurements::of(&cluster.http(Role::Producer, index)).await.unwrap_or_default();
        counts.push(said.sum("spillway_http_request_duration_seconds_count", &[("status", "202")]));
    }
    counts
}

/// The share of each producer, over [`WINDOW`] from now on.
async fn shares(cluster: &Cluster, running: &Running) -> Vec<f64> {
    shares_within(cluster, running, WINDOW).await
}

async fn shares_within(cluster: &Cluster, running: &Running, window: Duration) -> Vec<f64> {
    let before = answered(cluster).await;
    go_on(running, window).await;
    let after = answered(cluster).await;
    // The counter of a restarted producer starts over.
    let counts: Vec<f64> = after.iter().zip(&before).map(|(after, before)| (after - before).max(0.0)).collect();
    let sum = counts.iter().sum::<f64>().max(1.0);
    counts.into_iter().map(|count| count / sum).collect()
}

/// How long it takes until a producer has a fair share.
async fn until_fair(cluster: &Cluster, running: &Running, producer: usize) -> Duration {
    let began = running.now();
    while running.now() - began < DEADLINE {
        let now = running.now();
        if shares_within(cluster, running, Duration::from_millis(500)).await[producer] >= FAIR {
            return now - began;
        }
    }
    DEADLINE
}
