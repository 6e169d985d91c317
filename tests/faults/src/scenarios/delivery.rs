//! Kafka is down, entirely or in part: events that producers hold, journal and send later.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::until_partitions_used;
use super::{cluster, expect_calls_accepted};
use crate::amounts::Amounts;
use crate::cluster::{Cluster, DEADLINE, Plan, Role, go_on};
use crate::ledger::{Second, quantile};
use crate::load::Load;
use crate::measurements::Measurements;
use crate::proxy::{Direction, Mode};
use crate::report::Report;
use crate::test_cluster::TestCluster;

/// Time until producers detect that the bus is down: events buffered before may be lost with their process.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Time until the breaker tries again, and the first attempts have succeeded.
pub(super) const HALF_OPEN_WITHIN: Duration = Duration::from_secs(75);

/// Shut down cleanly for `FAULTS_OUTAGE_SECONDS`, then started.
pub async fn broker_stopped(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(2_000).await;
    let down = Instant::now();
    test_cluster.apply("stop", "kafka").await;
    go_on(&running, test_cluster.amounts.outage).await;
    test_cluster.apply("start", "kafka").await;
    let back = down.elapsed();
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    go_on(&running, Duration::from_secs(3)).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(report.comparison.total().journaled > 0, "events are journaled meanwhile");
    expect_breaker(&cluster, &mut report, down, &["open", "closed"]);
    expect_accepting(&mut report);
    report.note(format!("broker back after {:.1} s", back.as_secs_f64()));
    cluster.shutdown().await;
    report
}

/// Killed in the middle of writing, and started, three times.
pub async fn broker_killed(test_cluster: Arc<TestCluster>) -> Report {
    const KILLS: usize = 3;
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    let begin = Instant::now();
    for _ in 0..KILLS {
        cluster.until_stored(cluster.stored().await + 2_000).await;
        test_cluster.apply("kill", "kafka").await;
        test_cluster.apply("start", "kafka").await;
        cluster.fault_is_over();
        cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    }
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    expect_breaker(&cluster, &mut report, begin, &[]);
    expect_accepting(&mut report);
    report.note(format!("kills={KILLS}"));
    cluster.shutdown().await;
    report
}

/// Connections stall: nothing arrives, nothing is refused.
pub async fn network_stalled(test_cluster: Arc<TestCluster>) -> Report {
    network_away(test_cluster, Mode::Stall).await
}

/// Connections are reset, and new ones refused.
pub async fn network_cut(test_cluster: Arc<TestCluster>) -> Report {
    network_away(test_cluster, Mode::Cut).await
}

/// Down for so long that memory and journal usage up: levels are refused one after another.
async fn network_away(test_cluster: Arc<TestCluster>, mode: Mode) -> Report {
    let room = vec![("MEMORY_BYTES_MAX", "8MiB".to_owned()), ("JOURNAL__BYTES_MAX", "24MB".to_owned())];
    let mut cluster = cluster(&test_cluster, Plan { producer_settings: room, ..Plan::default() }).await;
    let running = cluster.load(Load { batch_events_per_second: 8_000, ..Load::default() });
    cluster.until_stored(2_000).await;
    let away = Instant::now();
    test_cluster.kafka.set(mode);
    let errors_refused = async || running.seconds().iter().any(|second| second.refused[4] + second.refused[5] > 0);
    cluster.until("even ERROR and FATAL are refused", DEADLINE, errors_refused).await;
    let ready = cluster.http(Role::Producer, 0).get("/actuator/health/readiness").await.status;
    test_cluster.kafka.set(Mode::Pass);
    let length = away.elapsed();
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    until_nothing_is_journaled(&cluster, HALF_OPEN_WITHIN).await;
    go_on(&running, Duration::from_secs(3)).await;
    let last_second = running.seconds().into_iter().rev().nth(1).unwrap_or_default();
    let mut report = cluster.settle(running, 0).await;
    let refused_since = |levels: &[usize]| {
        let refuses = |second: &Second| levels.iter().any(|level| second.refused[*level] > 0);
        report.ledger.seconds.iter().position(refuses)
    };
    let first_refused: [Option<usize>; 4] = [&[0, 1][..], &[2], &[3], &[4, 5]].map(refused_since);
    // Levels that are never refused do not affect the order.
    let in_order =
        first_refused.windows(2).all(|pair| pair[1].is_none_or(|later| pair[0].is_some_and(|at| at <= later)));
    report.expect(in_order, format!("severe levels are refused last: first in seconds {first_refused:?}"));
    report.expect(ready == 503, format!("a producer with a full journal is not ready: {ready}"));
    report.expect(last_second.refused == [0; 6], "nothing is refused at the end");
    report.expect(report.comparison.total().journaled > 0, "events are journaled meanwhile");
    expect_breaker(&cluster, &mut report, away, &["open", "closed"]);
    report.note(format!(
        "away for {:.1} s; TRACE or DEBUG, INFO, WARN, ERROR or FATAL refused first in second {} of the load",
        length.as_secs_f64(),
        first_refused.map(|second| second.map_or("-".to_owned(), |at| at.to_string())).join(", ")
    ));
    cluster.shutdown().await;
    report
}

/// Short stalls, in one direction each: recovery must not take a minute.
pub async fn network_blips(test_cluster: Arc<TestCluster>) -> Report {
    const LONGEST_HEAL: Duration = Duration::from_secs(10);
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(2_000).await;
    let begin = Instant::now();
    let mut heals = Vec::new();
    for direction in [Direction::ToClient, Direction::ToServer, Direction::ToClient] {
        test_cluster.kafka.set_direction(direction, Mode::Stall);
        go_on(&running, Duration::from_secs(3)).await;
        test_cluster.kafka.set(Mode::Pass);
        cluster.fault_is_over();
        let passed = Instant::now();
        cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
        heals.push(passed.elapsed());
        go_on(&running, Duration::from_secs(3)).await;
    }
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    let slowest = heals.iter().max().copied().unwrap_or_default();
    report.expect(slowest <= LONGEST_HEAL, format!("delivery recovers within {LONGEST_HEAL:?}: {slowest:?}"));
    expect_breaker(&cluster, &mut report, begin, &[]);
    expect_accepting(&mut report);
    cluster.shutdown().await;
    report
}

/// High latency, then low bandwidth.
pub async fn network_slow(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(2_000).await;
    let begin = Instant::now();
    for mode in [Mode::Delay(Duration::from_millis(200)), Mode::Throttle(100_000)] {
        test_cluster.kafka.set(mode);
        go_on(&running, Duration::from_secs(10)).await;
    }
    test_cluster.kafka.set(Mode::Pass);
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    expect_breaker(&cluster, &mut report, begin, &[]);
    expect_accepting(&mut report);
    cluster.shutdown().await;
    report
}

/// The broker is down for `FAULTS_LONG_SECONDS` at `FAULTS_LONG_RATE` events per second, which continue while the journal
/// is replayed.
pub async fn long_outage(test_cluster: Arc<TestCluster>) -> Report {
    let Amounts { long_outage, long_rate, long_journal, .. } = test_cluster.amounts.clone();
    let plan = Plan { producer_settings: vec![("JOURNAL__BYTES_MAX", long_journal)], ..Plan::default() };
    let mut cluster = cluster(&test_cluster, plan).await;
    let running = cluster.load(Load {
        batch_clients: 16,
        batch_events: 500,
        batch_events_per_second: long_rate,
        // About 225 bytes per event.
        message_bytes: 110,
        ..Load::default()
    });
    cluster.until_stored(long_rate.into()).await;
    let down = Instant::now();
    test_cluster.apply("stop", "kafka").await;
    go_on(&running, long_outage).await;
    test_cluster.apply("start", "kafka").await;
    let length = down.elapsed();
    cluster.fault_is_over();
    let (back, accepted) = (Instant::now(), running.accepted());
    let largest = cluster.watch.readings().iter().map(|reading| reading.journal_bytes).fold(0.0, f64::max);
    until_nothing_is_journaled(&cluster, HALF_OPEN_WITHIN + length * 4).await;
    let emptied = back.elapsed();
    let meanwhile = (running.accepted() - accepted) as f64 / emptied.as_secs_f64();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(
        emptied <= length,
        format!("the journal is empty after at most the length of the outage: {emptied:.1?} after {length:.1?}"),
    );
    expect_breaker(&cluster, &mut report, down, &["open", "closed"]);
    expect_accepting(&mut report);
    report.note(format!(
        "outage {:.1} s; journal {:.0} MB, empty {:.1} s after the broker was back, with {meanwhile:.0} events/s coming in",
        length.as_secs_f64(),
        largest / 1e6,
        emptied.as_secs_f64(),
    ));
    cluster.shutdown().await;
    report
}

/// Of three producers, one is stopped and one killed while the broker is down; the third adopts their journals.
pub async fn scaled_down(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan { producers: 3, ..Plan::default() }).await;
    let running = cluster.load(Load { resend: true, ..Load::default() });
    cluster.until_stored(2_000).await;
    let (down, down_at) = (Instant::now(), running.now());
    test_cluster.apply("stop", "kafka").await;
    go_on(&running, test_cluster.amounts.outage / 2).await;
    let (exit, took) = cluster.terminate(Role::Producer, 2).await;
    cluster.kill(Role::Producer, 1).await;
    go_on(&running, test_cluster.amounts.outage / 2).await;
    test_cluster.apply("start", "kafka").await;
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    go_on(&running, Duration::from_secs(3)).await;
    let mut report = cluster.settle(running, u64::MAX).await;
    expect_lost_only_within(&mut report, &[(down_at, down_at + KNOWN_WITHIN)]);
    report.expect(exit == Some(0), format!("its accepted events are journaled, so it exits 0: {exit:?}"));
    let recovered = recovered(&cluster).await;
    report.expect(recovered > 0.0, "the remaining producer adopts the journals of the others");
    expect_breaker(&cluster, &mut report, down, &["open", "closed"]);
    expect_accepting(&mut report);
    report.note(format!("exit after {:.1} s; recovered={recovered}", took.as_secs_f64()));
    cluster.shutdown().await;
    report
}

/// Three partitions become six while the journal has a backlog for three.
pub async fn partitions_added(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load { batch_clients: 8, ..Load::default() });
    cluster.until_stored(2_000).await;
    let away = Instant::now();
    // Kafka is up, so that partitions can be added, but the producer cannot reach it.
    test_cluster.kafka.set(Mode::Cut);
    until_journaled(&cluster, 5_000.0).await;
    cluster.topic().set_partitions(6).await;
    go_on(&running, Duration::from_secs(2)).await;
    test_cluster.kafka.set(Mode::Pass);
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    until_partitions_used(&cluster, 6).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    expect_breaker(&cluster, &mut report, away, &["open", "closed"]);
    expect_accepting(&mut report);
    cluster.shutdown().await;
    report
}

/// The journal is on a small disk, which fills up during an outage.
pub async fn journal_disk_full(test_cluster: Arc<TestCluster>) -> Report {
    const DISK_BYTES: u64 = 24 << 20;
    let plan = Plan {
        disk_bytes: Some(DISK_BYTES),
        producer_settings: vec![("MEMORY_BYTES_MAX", "8MiB".to_owned())],
        ..Plan::default()
    };
    let Some(mut cluster) = Cluster::set(&test_cluster, plan).await else {
        return Report::skipped("no tmpfs can be mounted");
    };
    let running = cluster.load(Load { batch_events_per_second: 8_000, ..Load::default() });
    cluster.until_stored(2_000).await;
    let away = Instant::now();
    test_cluster.kafka.set(Mode::Cut);
    let errors_refused = async || running.seconds().iter().any(|second| second.refused[4] + second.refused[5] > 0);
    cluster.until("even ERROR and FATAL are refused", DEADLINE, errors_refused).await;
    let unready = async || {
        let answer = cluster.http(Role::Producer, 0).try_send("GET", "/actuator/health/readiness", &[], "").await;
        answer.is_some_and(|answer| answer.status == 503)
    };
    cluster.until("a producer without room is not ready", DEADLINE, unready).await;
    go_on(&running, Duration::from_secs(3)).await;
    test_cluster.kafka.set(Mode::Pass);
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    until_nothing_is_journaled(&cluster, HALF_OPEN_WITHIN).await;
    let ready = async || {
        let answer = cluster.http(Role::Producer, 0).try_send("GET", "/actuator/health/readiness", &[], "").await;
        answer.is_some_and(|answer| answer.status == 200)
    };
    cluster.until("it is ready again", DEADLINE, ready).await;
    go_on(&running, Duration::from_secs(3)).await;
    let mut report = cluster.settle(running, 0).await;
    report.expect(report.comparison.total().journaled > 0, "events are journaled until it is full");
    expect_breaker(&cluster, &mut report, away, &["open", "closed"]);
    cluster.shutdown().await;
    report
}

/// The only producer is killed while the broker is down, and again while it replays its journal.
pub async fn producer_killed_in_outage(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load { resend: true, ..Load::default() });
    cluster.until_stored(2_000).await;
    let (away, away_at) = (Instant::now(), running.now());
    test_cluster.kafka.set(Mode::Cut);
    until_journaled(&cluster, 10_000.0).await;
    cluster.kill(Role::Producer, 0).await;
    // Its journal still accepts an ERROR, so it is ready.
    cluster.start(Role::Producer, 0).await;
    go_on(&running, test_cluster.amounts.outage / 2).await;
    let backlog = cluster.watch.last(0).map_or(0.0, |reading| reading.journaled);
    // Slow enough to interrupt the replay, and faster than new events arrive.
    test_cluster.kafka.set(Mode::Throttle(1_000_000));
    let passed_at = running.now();
    let replaying =
        async || cluster.watch.last(0).is_some_and(|now| now.journaled < backlog * 0.8 && now.journaled > 0.0);
    cluster.until("the journal is being replayed", HALF_OPEN_WITHIN, replaying).await;
    let killed_at = running.now();
    cluster.kill(Role::Producer, 0).await;
    test_cluster.kafka.set(Mode::Pass);
    cluster.start(Role::Producer, 0).await;
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    let mut report = cluster.settle(running, u64::MAX).await;
    expect_lost_only_within(&mut report, &[(away_at, away_at + KNOWN_WITHIN), (passed_at, killed_at)]);
    let recovered = recovered(&cluster).await;
    report.expect(recovered > 0.0, "the journal is adopted again");
    expect_breaker(&cluster, &mut report, away, &[]);
    report.note(format!("kills=2 backlog={backlog} recovered by the last one={recovered}"));
    cluster.shutdown().await;
    report
}

/// `FAULTS_BACKLOG` INFO events wait for the consumer outside of partition 0; ERRORs posted now must not wait behind
/// them.
pub async fn priority_before_backlog(test_cluster: Arc<TestCluster>) -> Report {
    const PROBES_MIN: usize = 30;
    const PROBES_MAX: usize = 300;
    /// Fewer events do not count as a backlog.
    const BACKLOG_MIN: f64 = 20_000.0;
    const P99_MAX: Duration = Duration::from_secs(1);
    let backlog = test_cluster.amounts.backlog;
    let mut cluster = cluster(&test_cluster, Plan { consumers: 1, ..Plan::default() }).await;
    cluster.terminate(Role::Consumer, 0).await;
    let usage = Load {
        batch_clients: 8,
        batch_events: 500,
        batch_events_per_second: 400_000,
        single_clients: 0,
        priority_every: 0,
        outside_partition_0_of: Some(3),
        ..Load::default()
    };
    let running = cluster.load(usage);
    cluster.until("there is a backlog", DEADLINE * 3, async || running.accepted() >= backlog).await;
    let began = running.began();
    let ledger = running.stop().await;
    cluster.start(Role::Consumer, 0).await;
    cluster.until_stored(1).await;
    let waits = cluster.probe(PROBES_MAX, BACKLOG_MIN).await;
    cluster.fault_is_over();
    let mut report = cluster.settle_sent(ledger, began, 0).await;
    let (p50, p99) = (quantile(waits.clone(), 0.5), quantile(waits.clone(), 0.99));
    report.expect(p99 < P99_MAX, format!("ERROR from POST to its row, p99 < {P99_MAX:?}: {p99:?}"));
    report.expect(waits.len() >= PROBES_MIN, format!("the backlog lasts for {PROBES_MIN} ERRORs: {}", waits.len()));
    report.note(format!(
        "backlog={backlog} errors={} from POST to row p50={} ms p99={} ms max={} ms",
        waits.len(),
        p50.as_millis(),
        p99.as_millis(),
        waits.iter().max().copied().unwrap_or_default().as_millis()
    ));
    cluster.shutdown().await;
    report
}

pub(super) async fn until_nothing_is_journaled(cluster: &Cluster, deadline: Duration) {
    let empty = async || cluster.watch.last(0).is_some_and(|reading| reading.journaled < 0.5);
    cluster.until("the journal is empty", deadline, empty).await;
}

pub(super) async fn until_journaled(cluster: &Cluster, events: f64) {
    let enough = async || cluster.watch.last(0).is_some_and(|reading| reading.journaled >= events);
    cluster.until("enough is journaled", DEADLINE, enough).await;
}

/// Events that producers recovered from journals.
async fn recovered(cluster: &Cluster) -> f64 {
    let sum = |said: &Measurements| said.sum("spillway_events_recovered_total", &[]);
    cluster.measurements().await.iter().map(sum).sum()
}

/// The first producer's breaker went through these states, in this order, after `from`; notes all states seen. It is
/// half-open before it closes, but possibly for less time than the sampling interval.
fn expect_breaker(cluster: &Cluster, report: &mut Report, from: Instant, states: &[&str]) {
    let began = cluster.watch.began();
    let since = from.saturating_duration_since(began);
    let changes = cluster.watch.breaker_changes(0).into_iter().filter(|(at, _)| *at >= since).collect::<Vec<_>>();
    let mut left = states.iter().peekable();
    for (_, state) in &changes {
        left.next_if(|next| **next == state);
    }
    let told = changes.iter().map(|(at, state)| format!("{state} t={:.1} s", (*at - since).as_secs_f64()));
    let told = told.collect::<Vec<_>>().join(", ");
    report.expect(left.next().is_none(), format!("the breaker goes through {states:?}: {told}"));
    report.note(format!("breaker, since the beginning of the fault: {told}"));
}

/// Events are accepted from the first full second to the last.
fn expect_accepting(report: &mut Report) {
    const PAUSE_MAX: u64 = 3;
    let (mut pause, mut longest) = (0, 0);
    for second in report.ledger.seconds.iter().skip(1) {
        pause = if second.answers_with(202) > 0 { 0 } else { pause + 1 };
        longest = longest.max(pause);
    }
    report.expect(longest <= PAUSE_MAX, format!("events are accepted all the time: {longest} seconds without any"));
    report.note(format!("longest time without a 202: {longest} s"));
}

/// Lost buffered events were answered within these windows.
fn expect_lost_only_within(report: &mut Report, windows: &[(Duration, Duration)]) {
    let lost = &report.comparison.lost_buffered_answered;
    let outside = lost.iter().filter(|at| !windows.iter().any(|(from, to)| (from..=to).contains(at))).count();
    let lost = lost.len();
    report.expect(
        outside == 0,
        format!("buffered events are lost only before the fault was detected: {outside} of {lost} requests"),
    );
    report.note(format!("requests with lost buffered events: {lost}"));
}
