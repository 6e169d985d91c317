//! How often the embedded bus syncs, and how often a consumer gets a chunk.

#![cfg(test)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use domain::delivery::Guarantee;
use domain::ports::{CHUNK_RECORDS_MAX, Clock, RecordPublisher, RecordSource};
use domain::record::{RecordBatch, Records};
use model::SimulatedDisk;
use testkit::clock_at;
use tokio::time::Instant;

fn open(disk: &SimulatedDisk) -> EmbeddedBus {
    let options = BusOptions {
        partitions: NonZeroU32::MIN,
        memory_bytes_max: 32 * 1024 * 1024,
        retention_bytes: 256 * 1024 * 1024,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T10:30:00Z"));
    EmbeddedBus::over(vec![disk.storage()], &options, &Arc::new(Disk::unlimited()), &clock, |_| 0).unwrap()
}

fn batch(guarantee: Guarantee, records: usize) -> Arc<RecordBatch> {
    let timestamp = clock_at("2024-01-15T10:30:00Z").now();
    let mut batch = Records::default();
    for _ in 0..records {
        batch.push(b"shop", timestamp, false, |value| value.extend_from_slice(b"{}")).expect("it is small");
    }
    Arc::new(RecordBatch { partition: 0, guarantee, trace_parent: None, records: batch })
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_shares_the_sync_of_the_next_one() {
    const PAIRS: u64 = 40;
    let disk = SimulatedDisk::new();
    let bus = open(&disk);
    let before = disk.file_syncs();
    for _ in 0..PAIRS {
        let unhurried = bus.publish(batch(Guarantee::AtMostOnce, 1)).expect("there is room");
        // It is written, and would be synced now.
        unhurried.promised.await.expect("it is written");
        let awaited = bus.publish(batch(Guarantee::AtLeastOnce, 1)).expect("there is room");
        awaited.promised.await.expect("it is synced");
        unhurried.settled.await.expect("it is synced too");
    }
    let syncs = disk.file_syncs() - before;
    // Otherwise there are two of each pair. A slow machine may take longer than the wait, but hardly each time.
    assert!((PAIRS..PAIRS * 9 / 5).contains(&syncs), "{syncs} syncs of {PAIRS} pairs");
}

#[tokio::test(start_paused = true)]
async fn chunks_follow_each_other_after_the_interval_unless_a_whole_one_waits() {
    let bus = open(&SimulatedDisk::new());
    let began = Instant::now();
    let mut passed = Vec::new();
    for records in [1, 1, CHUNK_RECORDS_MAX, 1] {
        let receipt = bus.publish(batch(Guarantee::AtLeastOnce, records)).expect("there is room");
        receipt.promised.await.expect("it is synced");
        assert_eq!(bus.chunk(0).await.expect("a chunk").records.len(), records);
        passed.push(began.elapsed().as_millis());
    }
    assert!(passed[1] >= passed[0] + 50 && passed[2] == passed[1] && passed[3] >= passed[2] + 50, "{passed:?}");
}
