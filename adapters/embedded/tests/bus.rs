//! The embedded bus keeps the promises of its ports.

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus, OpenError};
use contracts::bus::{Bus, BusSubject};
use domain::delivery::Guarantee;
use domain::ports::{Clock, RecordPublisher, RecordSource};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use tempfile::TempDir;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(1_705_314_600_000_000).expect("in range")
    }
}

const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

fn open(directory: &Path, positions: &[u64]) -> Result<EmbeddedBus, OpenError> {
    let partitions = u32::try_from(positions.len()).ok().and_then(NonZeroU32::new).expect("there are partitions");
    let options = BusOptions {
        partitions,
        memory_bytes_max: MEMORY_BYTES_MAX,
        retention_bytes: 256 * 1024 * 1024,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(Stopped);
    EmbeddedBus::open(directory, &options, &clock, |partition| positions.get(partition as usize).copied().unwrap_or(0))
}

struct EmbeddedBuses;

impl BusSubject for EmbeddedBuses {
    type Place = TempDir;

    async fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    async fn open(&self, place: &TempDir, positions: &[u64]) -> Bus {
        let bus = Arc::new(open(place.path(), positions).expect("the bus opens"));
        let publisher: Arc<dyn RecordPublisher> = Arc::clone(&bus) as Arc<dyn RecordPublisher>;
        let source: Arc<dyn RecordSource> = bus;
        Bus { publisher, source }
    }

    fn memory_bytes_max(&self) -> usize {
        MEMORY_BYTES_MAX
    }

    fn numbers_from_positions(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_bus_keeps_the_promises_of_its_ports() {
    contracts::bus::all(&EmbeddedBuses).await;
}

#[tokio::test]
async fn a_directory_has_one_bus_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path(), &[0]).expect("the bus opens");
    for _ in 0..2 {
        match open(directory.path(), &[0]) {
            Err(OpenError::Locked(path)) => assert_eq!(path, directory.path()),
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("two buses in one directory"),
        }
    }
    assert_eq!(first.drain(contracts::DEADLINE).await, 0);
    drop(first);
    open(directory.path(), &[0]).expect("the directory is free again");
}

#[tokio::test]
async fn partitions_are_added_and_never_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    for (asked, there) in [(2, 2), (3, 3), (1, 3)] {
        let bus = open(directory.path(), &vec![0; asked]).expect("the bus opens");
        assert_eq!(bus.partition_count().get(), there);
        assert_eq!(bus.drain(contracts::DEADLINE).await, 0);
    }
}

#[tokio::test]
async fn what_is_not_stored_fills_the_partition_that_has_it_also_after_opening_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = open(directory.path(), &[0, 0]).expect("the bus opens");
    for _ in 0..20 {
        let mut records = Records::default();
        records.push(b"s", Timestamp::MIN, false, |value| value.resize(900_000, b'x')).expect("small enough");
        let batch = RecordBatch { partition: 1, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None };
        bus.publish(batch.into()).expect("taken").settled.await.expect("acknowledged");
    }
    // Memory is free a moment after the acknowledgement.
    while bus.buffer().used_bytes > 0 {
        tokio::task::yield_now().await;
    }
    let share = 128 * 1024 * 1024;
    let filled = bus.fill(1);
    // As it was before the last write, at most.
    assert!(filled.bytes_max == share && filled.used_bytes >= 19 * 900_000, "{filled:?}");
    assert_eq!(bus.fill(0).used_bytes, 0);
    assert_eq!(bus.drain(contracts::DEADLINE).await, 0);
    drop(bus);
    let bus = open(directory.path(), &[0, 0]).expect("the bus opens");
    assert!(bus.fill(1).used_bytes >= 20 * 900_000);
    drop(bus);
    let bus = open(directory.path(), &[0, 20]).expect("the bus opens");
    assert_eq!(bus.fill(1).used_bytes, 0);
}
