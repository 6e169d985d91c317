//! Processes of Spillway are stopped and killed under load, with healthy servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{cluster, expect_calls_accepted};
use crate::cluster::{Plan, Role, go_on};
use crate::ledger::{Ledger, Outcome};
use crate::load::Load;
use crate::proxy::Mode;
use crate::report::Report;
use crate::test_cluster::TestCluster;

/// Maximum time for a process to stop (`DRAIN_TIMEOUT`), plus the time to detect it.
const DRAIN_MAX: Duration = Duration::from_secs(26);

/// Two of each role; each in turn is asked to stop, and started again.
pub async fn rolling_restart(test_cluster: Arc<TestCluster>) -> Report {
    let plan = Plan { gateways: 2, producers: 2, consumers: 2, ..Plan::default() };
    let mut cluster = cluster(&test_cluster, plan).await;
    let running = cluster.load(Load::default());
    let mut exits = BTreeMap::new();
    for role in [Role::Producer, Role::Gateway, Role::Consumer] {
        for index in 0..2 {
            go_on(&running, Duration::from_secs(2)).await;
            exits.insert((role, index), cluster.terminate(role, index).await);
            cluster.start(role, index).await;
        }
    }
    go_on(&running, Duration::from_secs(2)).await;
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 99.95);
    expect_clean_exits(&mut report, &exits);
    cluster.shutdown().await;
    report
}

/// One of each role, each asked to stop without a replacement, and started again.
pub async fn sigterm(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load { resend: true, ..Load::default() });
    let mut exits = BTreeMap::new();
    for role in [Role::Producer, Role::Consumer, Role::Gateway] {
        go_on(&running, Duration::from_secs(3)).await;
        exits.insert((role, 0), cluster.terminate(role, 0).await);
        cluster.start(role, 0).await;
    }
    cluster.fault_is_over();
    go_on(&running, Duration::from_secs(2)).await;
    let mut report = cluster.settle(running, 0).await;
    expect_clean_exits(&mut report, &exits);
    report.note(format!("calls answered 202: {:.3} %", report.calls_accepted_percent()));
    cluster.shutdown().await;
    report
}

/// The producer is asked to stop while a client sends a body that never ends, and Kafka has just stalled: the request
/// must not use up the time needed for delivery.
pub async fn sigterm_slow(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load { resend: true, ..Load::default() });
    cluster.until_stored(2_000).await;
    let slow = slow_request(cluster.http(Role::Producer, 0).address()).await;
    test_cluster.kafka.set(Mode::Stall);
    go_on(&running, Duration::from_millis(300)).await;
    let exit = cluster.terminate(Role::Producer, 0).await;
    slow.abort();
    test_cluster.kafka.set(Mode::Pass);
    cluster.start(Role::Producer, 0).await;
    cluster.fault_is_over();
    go_on(&running, Duration::from_secs(2)).await;
    let mut report = cluster.settle(running, 0).await;
    report.expect(exit.1 > Duration::from_secs(5), format!("the request was in progress: {:?}", exit.1));
    expect_clean_exits(&mut report, &BTreeMap::from([((Role::Producer, 0), exit)]));
    cluster.shutdown().await;
    report
}

/// Sends a head, and then a byte of the body every second.
async fn slow_request(address: SocketAddr) -> JoinHandle<()> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head =
        "POST /api/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it takes the head");
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while stream.write_all(b" ").await.is_ok() {
            ticks.tick().await;
        }
    })
}

fn expect_clean_exits(report: &mut Report, exits: &BTreeMap<(Role, usize), (Option<i32>, Duration)>) {
    for ((role, index), (code, took)) in exits {
        let holds = *code == Some(0) && *took <= DRAIN_MAX;
        report.expect(holds, format!("{role:?} {index} exits 0 within {DRAIN_MAX:?}: {code:?} after {took:?}"));
    }
    let longest = exits.values().map(|(_, took)| took.as_secs_f64()).fold(0.0, f64::max);
    report.note(format!("exits={} the slowest after {longest:.1} s", exits.len()));
}

/// The only producer is killed `FAULTS_KILLS` times in the middle of its work. Acknowledged events stay; of buffered
/// events, only those of the last moment may be lost: linger plus acknowledgement time.
pub async fn producer_killed(test_cluster: Arc<TestCluster>) -> Report {
    let kills = test_cluster.amounts.kills;
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load { resend: true, ..Load::default() });
    let mut killed_at = Vec::new();
    for _ in 0..kills {
        go_on(&running, Duration::from_secs(3)).await;
        cluster.kill(Role::Producer, 0).await;
        killed_at.push(running.now());
        cluster.start(Role::Producer, 0).await;
    }
    cluster.fault_is_over();
    go_on(&running, Duration::from_secs(1)).await;
    let mut report = cluster.settle(running, u64::MAX).await;
    let ledger = std::mem::take(&mut report.ledger);
    // Scheduling on two shared cores.
    let bound = slowest_acknowledgement(&ledger) + Duration::from_millis(100);
    let ages = report.comparison.lost_buffered_answered.iter().map(|answered| {
        let kill = killed_at.iter().find(|kill| *kill >= answered).copied();
        kill.map_or(Duration::MAX, |kill| kill - *answered)
    });
    let oldest = ages.max().unwrap_or_default();
    report.expect(oldest <= bound, format!("only events received within {bound:?} before a kill are lost: {oldest:?}"));
    report.note(format!(
        "kills={kills} buffered_lost={} the oldest of it {} ms before its kill (bound {} ms)",
        report.comparison.total().lost_buffered,
        oldest.as_millis(),
        bound.as_millis()
    ));
    cluster.shutdown().await;
    report
}

fn slowest_acknowledgement(ledger: &Ledger) -> Duration {
    let acknowledged =
        ledger.requests().filter(|request| matches!(request.outcome, Outcome::Accepted { acknowledged: 1.., .. }));
    acknowledged.map(|request| request.took).max().unwrap_or_default()
}
