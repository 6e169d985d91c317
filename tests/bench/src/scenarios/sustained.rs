//! The highest rate at which a store on one machine keeps up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::number;
use crate::log_stores::{Counts, Kind, StoreProcess};
use crate::report::Row;
use crate::service_logs::{BATCH_EVENTS, LiveBatches};
use crate::test_cluster::{Cpu, TestCluster};

/// The first rate that is tried, in events per second, and the lowest one.
const FIRST_RATE: f64 = 40_000.0;
const LOWEST_RATE: f64 = 1_000.0;
/// The ratio of one rate to the one before, until a rate does not hold.
const STEP: f64 = 1.25;
/// Rates between the last one that held and the first one that did not.
const HALVINGS: u32 = 2;
/// A rate that held for some seconds is not one for minutes: the share of it that is tried, and again after each failure.
const SHARE: f64 = 0.95;
const SHARE_AFTER_FAILURE: f64 = 0.9;
const ATTEMPTS: u32 = 5;
/// The share of the planned events that must be accepted in time.
const IN_TIME: f64 = 0.98;
/// How many seconds of events may not be stored yet when the load ends, and before that.
const LAG_SECONDS_MAX: f64 = 1.0;
const LAG_SECONDS_GIVE_UP: f64 = 5.0;
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the rate must hold, unless `BENCH_MINUTES` says otherwise, and with ids of clients.
const MINUTES: u64 = 10;
const MINUTES_WITH_IDS: u64 = 1;

/// One rate for some time.
#[derive(Clone, Copy, Debug)]
struct Trial {
    rate: f64,
    took: Duration,
    /// From the beginning to the end of the load.
    accepted: f64,
    refused: f64,
    /// Accepted and not stored, at the end of the load.
    lag: f64,
    failed_requests: f64,
}

impl Trial {
    fn holds(&self) -> bool {
        self.refused + self.failed_requests < 0.5
            && self.accepted >= IN_TIME * self.rate * self.took.as_secs_f64()
            && self.lag <= LAG_SECONDS_MAX * self.rate
    }
}

/// Spillway with its own ids and those of clients, and VictoriaLogs.
pub async fn sustained(test_cluster: &TestCluster) -> Vec<Row> {
    let own_ids = Arc::new(LiveBatches::new(false));
    let minutes = number("BENCH_MINUTES", MINUTES);
    let mut rows = vec![
        highest(test_cluster, "Spillway", Kind::Spillway, &own_ids, minutes)
            .await
            .expect("it is built")
            .aiming_at("≥ 150,000 events/s, ≤ 8 µs"),
    ];
    let ids_of_clients = Arc::new(LiveBatches::new(true));
    let label = "Spillway, ids of clients";
    let with_ids = highest(test_cluster, label, Kind::Spillway, &ids_of_clients, minutes.min(MINUTES_WITH_IDS)).await;
    rows.push(with_ids.expect("it is built").aiming_at("≥ 50,000 events/s"));
    drop(ids_of_clients);
    rows.extend(highest(test_cluster, "VictoriaLogs", Kind::VictoriaLogs, &own_ids, minutes).await);
    rows
}

/// Looks for the highest rate, and measures it for some minutes; `None` if the program is missing.
async fn highest(
    test_cluster: &TestCluster,
    label: &'static str,
    kind: Kind,
    batches: &Arc<LiveBatches>,
    minutes: u64,
) -> Option<Row> {
    let mut rate = number("BENCH_RATE", 0) as f64;
    if rate < LOWEST_RATE {
        let process = StoreProcess::start(test_cluster, kind).await?;
        rate = SHARE * ramp(&process, batches, test_cluster.duration).await;
        process.stop().await;
    }
    for attempt in 1.. {
        // With an empty directory, and without memory of higher rates.
        let process = StoreProcess::start(test_cluster, kind).await?;
        let (began, cpu) = (Instant::now(), Cpu::of(vec![process.pid()]));
        let trial = try_rate(&process, batches, rate, Duration::from_secs(60 * minutes)).await;
        if !trial.holds() && attempt < ATTEMPTS && rate > LOWEST_RATE {
            eprintln!("{label}: {rate:.0} events/s did not hold: {trial:?}");
            rate *= SHARE_AFTER_FAILURE;
            process.stop().await;
            continue;
        }
        let sealed_at_the_end = process.sealed(test_cluster).await;
        process.store.until_stored(trial.accepted).await;
        let stored_after = began.elapsed();
        let stored = process.store.counts().await.stored;
        let mut row = Row::new(label)
            .with("minutes", trial.took.as_secs_f64() / 60.0)
            .with("accepted events/s", trial.accepted / trial.took.as_secs_f64())
            .with("stored events/s", stored / stored_after.as_secs_f64())
            .with("refused", trial.refused)
            .with("lag at the end, events", trial.lag);
        if kind == Kind::Spillway {
            row = row
                .with("not sealed at the end", stored - sealed_at_the_end.events)
                .with("segments at the end", sealed_at_the_end.segments);
        }
        let peak = process.peak_megabytes();
        process.until_idle().await;
        if kind == Kind::Spillway {
            row = row.with("not sealed when idle", stored - process.sealed(test_cluster).await.events);
        }
        // Sealing and merging are part of the work of these events.
        row = row
            .with("CPU µs/event", cpu.micros_each(stored))
            .with("s until idle", began.elapsed().saturating_sub(trial.took).as_secs_f64())
            .with("peak RSS MB", peak)
            .with("held (1) or not (0)", f64::from(u8::from(trial.holds())));
        process.stop().await;
        return Some(row);
    }
    None
}

/// The highest rate that holds for this long.
async fn ramp(process: &StoreProcess, batches: &Arc<LiveBatches>, duration: Duration) -> f64 {
    let holds = async |rate: f64| {
        let trial = try_rate(process, batches, rate, duration).await;
        eprintln!("{rate:.0} events/s: {}, {trial:?}", if trial.holds() { "held" } else { "did not hold" });
        // The next rate begins with everything stored.
        let counts = process.store.counts().await;
        process.store.until_stored(counts.accepted).await;
        trial.holds()
    };
    let (mut held, mut failed) = (0.0, FIRST_RATE);
    while holds(failed).await {
        held = failed;
        failed *= STEP;
    }
    while held < LOWEST_RATE {
        let rate = failed / 2.0;
        if rate < LOWEST_RATE || holds(rate).await {
            held = rate.max(LOWEST_RATE);
        } else {
            failed = rate;
        }
    }
    for _ in 0..HALVINGS {
        let rate = (held + failed) / 2.0;
        if holds(rate).await {
            held = rate;
        } else {
            failed = rate;
        }
    }
    held
}

/// Sends at this rate; ends early once it is clear that the store does not keep up.
async fn try_rate(process: &StoreProcess, batches: &Arc<LiveBatches>, rate: f64, duration: Duration) -> Trial {
    let store = &process.store;
    let before = store.counts().await;
    let mut load = store.live(batches, rate);
    load.numbers = 0..(rate * duration.as_secs_f64()) as u64 / BATCH_EVENTS;
    let mut sending = load.start();
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sent = loop {
        tokio::select! {
            sent = sending.wait() => break sent,
            _ = look.tick() => {}
        }
        let Counts { accepted, refused, stored } = store.counts().await;
        if refused > before.refused || accepted - stored > LAG_SECONDS_GIVE_UP * rate {
            break sending.stop().await;
        }
    };
    let Counts { accepted, refused, stored } = store.counts().await;
    Trial {
        rate,
        took: sent.took,
        accepted: accepted - before.accepted,
        refused: refused - before.refused,
        lag: accepted - stored,
        failed_requests: sent.failed as f64,
    }
}
