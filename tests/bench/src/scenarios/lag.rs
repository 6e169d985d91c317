//! The drill of a consumer that falls behind, and of additional consumers that catch up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e::Process;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::DEADLINE;
use crate::events::{BATCH_EVENTS, EVENT_BYTES};
use crate::openloop::{self, Schedule};
use crate::processes::CpuQuota;
use crate::report::Row;
use crate::scenarios::ingesting::batch_bodies;
use crate::test_cluster::{Installation, TestCluster};
use crate::wrk::{self, Bodies};

/// Constant arrival rate.
const ARRIVING_PER_SECOND: f64 = 20_000.0;
/// Lag of the consumer at which others are started.
const BACKLOG_RECORDS: f64 = 3_000_000.0;
const BACKLOG_SECONDS: f64 = 60.0;
/// CPU limit of each consumer, as a share of one core.
const CPU_SHARE: f64 = 0.025;
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long three of them work.
const THREE: Duration = Duration::from_secs(60);
/// Maximum time to catch up, from the start of the additional consumers.
const CLEARED_WITHIN: Duration = Duration::from_secs(300);
/// A lag below one second's arrivals counts as cleared.
const CLEARED_RECORDS: f64 = ARRIVING_PER_SECOND;

struct Consumers<'i> {
    installation: &'i Installation<'i>,
    running: Vec<(Process, CpuQuota)>,
}

impl Consumers<'_> {
    async fn add(&mut self, count: usize) {
        for _ in 0..count {
            let process = self.installation.start("consumer", &[]).await;
            let quota = CpuQuota::of(process.pid(), CPU_SHARE);
            self.running.push((process, quota));
        }
    }

    /// The value of each partition, from each consumer.
    async fn series(&self, name: &str) -> Vec<f64> {
        let mut values = Vec::new();
        for (process, _) in &self.running {
            values.extend(e2e::series(&process.http("consumer"), name).await);
        }
        values
    }

    async fn sum(&self, name: &str) -> f64 {
        self.series(name).await.into_iter().sum()
    }
}

/// One consumer alone, then three, then six.
pub async fn lag(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let producer = installation.start("producer", &[]).await;
    let http = producer.http("producer");
    let mut consumers = Consumers { installation: &installation, running: Vec::new() };
    consumers.add(1).await;
    let bodies: Arc<[Bytes]> = batch_bodies(BATCH_EVENTS, EVENT_BYTES).into_iter().map(Bytes::from).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let arriving = {
        let (http, bodies, stop) = (http.clone(), Arc::clone(&bodies), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Acquire) {
                let schedule = Schedule {
                    path: "/api/logs/batch",
                    bodies: Arc::clone(&bodies),
                    per_second: ARRIVING_PER_SECOND / BATCH_EVENTS as f64,
                    duration: LOOK_INTERVAL,
                };
                openloop::run(&http, schedule).await;
            }
        })
    };
    let files = Bodies::new(&batch_bodies(BATCH_EVENTS, EVENT_BYTES), "application/json", "");
    let url = format!("{}/api/logs/batch", http.base());
    while consumers.sum("kafka_consumer_lag_records").await < BACKLOG_RECORDS {
        wrk::run(&url, &files, 16, Duration::from_secs(1)).await;
    }

    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut rows: Vec<Row> = Vec::new();
    let began = Instant::now();
    let mut helped_at: Option<Instant> = None;
    let (mut before, mut accepted_before, mut looked_at) = (0.0, 0.0, began);
    loop {
        ticks.tick().await;
        assert!(began.elapsed() < DEADLINE, "the drill takes too long");
        let stored = consumers.sum("spillway_events_stored_total").await;
        let accepted = e2e::metric(&http, "spillway_events_accepted_total").await;
        let records = consumers.sum("kafka_consumer_lag_records").await;
        let seconds = consumers.series("kafka_consumer_lag_seconds").await.into_iter().fold(0.0, f64::max);
        let since = looked_at.elapsed().as_secs_f64();
        if before > 0.0 {
            rows.push(
                Row::new(format!("{:.0} s", began.elapsed().as_secs_f64()))
                    .with("consumers", consumers.running.len() as f64)
                    .with("records behind", records)
                    .with("seconds behind", seconds)
                    .with("arriving/s", (accepted - accepted_before) / since)
                    .with("stored/s", (stored - before) / since),
            );
        }
        (before, accepted_before, looked_at) = (stored, accepted, Instant::now());
        match consumers.running.len() {
            1 if records >= BACKLOG_RECORDS && seconds >= BACKLOG_SECONDS => {
                let alone = rows.last().expect("a sample exists").figure("stored/s");
                assert!(alone < ARRIVING_PER_SECOND, "one consumer is too fast for the drill: {alone:.0} rows/s");
                helped_at = Some(Instant::now());
                consumers.add(2).await;
            }
            3 if helped_at.is_some_and(|at| at.elapsed() >= THREE) => consumers.add(3).await,
            6 if records < CLEARED_RECORDS => break,
            _ => {}
        }
    }
    let took = helped_at.map(|at| at.elapsed()).expect("consumers were added");
    assert!(took < CLEARED_WITHIN, "cleared after {took:?} only");
    rows.push(
        Row::new(format!("{:.0} s: cleared", began.elapsed().as_secs_f64()))
            .with("seconds of help", took.as_secs_f64()),
    );
    stop.store(true, Ordering::Release);
    arriving.await.expect("all requests were answered");
    for (process, _) in consumers.running {
        process.terminate().await;
    }
    producer.terminate().await;
    installation.remove().await;
    rows
}
