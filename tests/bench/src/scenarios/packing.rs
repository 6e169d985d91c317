//! Packed records, beside single ones.

use std::sync::Arc;

use bytes::Bytes;

use super::ingesting::{ACKNOWLEDGED, SOURCES, TIMESTAMP, batch_target, json, row, run};
use crate::events::{BATCH_EVENTS, EVENT_BYTES, Events, sources};
use crate::openloop::{self, Schedule};
use crate::report::Row;
use crate::test_cluster::TestCluster;

/// Batches whose events have as many sources in turn.
fn bodies(of_batch: usize) -> Vec<String> {
    let mut generator = Events::new(1, EVENT_BYTES, "INFO", TIMESTAMP);
    let sources = sources(SOURCES.next_multiple_of(of_batch));
    sources.chunks(of_batch).cycle().take(SOURCES).map(|some| generator.mixed_batch(some, BATCH_EVENTS)).collect()
}

/// Batches of 1, 10 and 100 sources, with each form of record.
pub async fn packed(test_cluster: &TestCluster) -> Vec<Row> {
    let mut rows = Vec::new();
    for sources in [1, 10, 100] {
        let bodies = bodies(sources);
        let files = json(&bodies);
        let bytes: Arc<[Bytes]> = bodies.into_iter().map(Bytes::from).collect();
        let mut single = None;
        for form in ["single", "packed"] {
            let installation = test_cluster.installation(&[ACKNOWLEDGED]);
            let producer = installation.start("producer", &[("SPILLWAY_KAFKA__RECORDS", form)]).await;
            let run = run(test_cluster, &batch_target(&producer, BATCH_EVENTS), &files).await;
            let half = Schedule {
                path: "/api/logs/batch",
                bodies: Arc::clone(&bytes),
                per_second: run.events_per_second / BATCH_EVENTS as f64 / 2.0,
                duration: test_cluster.duration,
            };
            let latencies = openloop::run(&producer.http("producer"), half).await;
            producer.terminate().await;
            installation.remove().await;
            let of_single = run.micros_each / *single.get_or_insert(run.micros_each);
            rows.push(
                row(format!("sources in a batch: {sources}, {form}"), &run)
                    .with("CPU of single", of_single)
                    .with("p50 ms at half", latencies.millis(0.5))
                    .with("p99 ms at half", latencies.millis(0.99)),
            );
        }
    }
    rows
}
