//! Memory of a store on one machine under load.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::log_stores::{Kind, StoreProcess};
use crate::report::Row;
use crate::scenarios::searching::{EVERYTHING, Searches};
use crate::service_logs::LiveBatches;
use crate::test_cluster::{Cpu, TestCluster};

/// How many times `BENCH_SECONDS` each case takes: two minutes by default.
const DURATIONS: u32 = 12;
const EVENTS_PER_SECOND: f64 = 50_000.0;
/// Beside large messages.
const EVENTS_PER_SECOND_BESIDE: f64 = 25_000.0;
/// The largest message, and how many of them arrive.
const MESSAGE_BYTES: usize = 256 * 1024;
const LARGE_PER_SECOND: f64 = 40.0;
/// Different ones.
const LARGE: usize = 64;
/// Events that must be stored before the first search.
const FIRST_EVENTS: f64 = 200_000.0;

/// Spillway without and with large messages, and VictoriaLogs, while searches are asked all the time.
pub async fn memory(test_cluster: &TestCluster) -> Vec<Row> {
    let mut rows = Vec::new();
    for (label, kind, events_per_second, large_per_second, target) in [
        ("50,000 events/s", Kind::Spillway, EVENTS_PER_SECOND, 0.0, "< 300 MB"),
        (
            "25,000 events/s and 40 messages/s of 256 KiB",
            Kind::Spillway,
            EVENTS_PER_SECOND_BESIDE,
            LARGE_PER_SECOND,
            "< 300 MB",
        ),
        ("50,000 events/s, VictoriaLogs", Kind::VictoriaLogs, EVENTS_PER_SECOND, 0.0, ""),
    ] {
        let Some(process) = StoreProcess::start(test_cluster, kind).await else { continue };
        let store = &process.store;
        let arriving = store.live(&Arc::new(LiveBatches::new(false)), events_per_second).start();
        let large = (large_per_second > 0.0).then(|| store.lines(large_lines(), large_per_second).start());
        store.until_stored(FIRST_EVENTS).await;
        let searches = Searches::of(store, FIRST_EVENTS as u64, EVERYTHING).await;
        let (began, cpu, before) = (Instant::now(), Cpu::of(vec![process.pid()]), store.counts().await);
        let (answered, failed) = searches.ask_until(|| began.elapsed() >= test_cluster.duration * DURATIONS).await;
        let after = store.counts().await;
        let stored = after.stored - before.stored;
        let row = Row::new(label)
            .aiming_at(target)
            .with("peak RSS MB", process.peak_megabytes())
            .with("stored events/s", stored / began.elapsed().as_secs_f64())
            .with("refused", after.refused)
            .with("lag at the end, events", after.accepted - after.stored)
            .with("CPU µs/event", cpu.micros_each(stored))
            .with("searches", answered as f64)
            .with("failed", failed as f64);
        let sent = arriving.stop().await;
        let mut failed_batches = sent.failed;
        if let Some(large) = large {
            failed_batches += large.stop().await.failed;
        }
        rows.push(row.with("failed requests", failed_batches as f64));
        process.stop().await;
    }
    rows
}

/// Events whose message is as large as it may be.
fn large_lines() -> Vec<Bytes> {
    let live = LiveBatches::new(false);
    let line = |number: usize| {
        // Texts as other events have them; without quotes and backslashes, which would need escapes.
        let batches = (0..).map(|n| live.batch((number + n) as u64));
        let mut message = String::with_capacity(MESSAGE_BYTES);
        for batch in batches {
            message
                .extend(batch.iter().map(|byte| char::from(*byte)).filter(|char| !matches!(char, '"' | '\\' | '\n')));
            if message.len() >= MESSAGE_BYTES {
                break;
            }
        }
        message.truncate(MESSAGE_BYTES);
        Bytes::from(format!("{{\"source\":\"large-{number}\",\"level\":\"INFO\",\"message\":\"{message}\"}}\n"))
    };
    (0..LARGE).map(line).collect()
}
