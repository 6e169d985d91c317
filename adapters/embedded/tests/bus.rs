//! The embedded bus satisfies the contracts of its ports.

#![expect(clippy::expect_used, reason = "test setup may panic")]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus, OpenError, read_chunk, write_record};
use adapter_embedded::disk::Disk;
use adapter_embedded::segmented_log::{PAYLOAD_BYTES_MAX, SegmentedLog};
use adapter_embedded::storage::Directory;
use contracts::bus::{Bus, BusSubject};
use domain::admission::admits;
use domain::delivery::Guarantee;
use domain::disk::DiskSpace;
use domain::level::Level;
use domain::ports::{BusState, CHUNK_BYTES_MAX, Clock, PublishError, RecordPublisher, RecordSource};
use domain::record::{RECORD_BYTES_MAX, Record, RecordBatch, Records};
use domain::timestamp::Timestamp;
use tempfile::TempDir;
use testkit::clock_at;

const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

fn open(directory: &Path, positions: &[u64]) -> Result<EmbeddedBus, OpenError> {
    let partitions = u32::try_from(positions.len()).ok().and_then(NonZeroU32::new).expect("there are partitions");
    let options = BusOptions {
        partitions,
        memory_bytes_max: MEMORY_BYTES_MAX,
        retention_bytes: 256 * 1024 * 1024,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T10:30:00Z"));
    EmbeddedBus::open(directory, &options, &Arc::new(Disk::unlimited()), &clock, |partition| {
        positions.get(partition as usize).copied().unwrap_or(0)
    })
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
async fn partitions_are_added_and_never_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    for (asked, there) in [(2, 2), (3, 3), (1, 3)] {
        let bus = open(directory.path(), &vec![0; asked]).expect("the bus opens");
        assert_eq!(bus.partition_count().get(), there);
        assert_eq!(bus.drain(contracts::DEADLINE).await, 0);
    }
}

#[tokio::test]
async fn unstored_records_fill_their_partition_also_after_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = open(directory.path(), &[0, 0]).expect("the bus opens");
    for _ in 0..20 {
        let mut records = Records::default();
        records.push(b"s", Timestamp::MIN, false, |value| value.resize(900_000, b'x')).expect("small enough");
        let batch = RecordBatch { partition: 1, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None };
        bus.publish(batch.into()).expect("taken").settled.await.expect("acknowledged");
    }
    // Memory is freed shortly after the acknowledgement.
    while bus.buffer().used_bytes > 0 {
        tokio::task::yield_now().await;
    }
    let share = 128 * 1024 * 1024;
    let filled = bus.usage(1);
    // At most as full as before the last write.
    assert!(filled.bytes_max == share && filled.used_bytes >= 19 * 900_000, "{filled:?}");
    assert_eq!(bus.usage(0).used_bytes, 0);
    assert_eq!(bus.drain(contracts::DEADLINE).await, 0);
    drop(bus);
    let bus = open(directory.path(), &[0, 0]).expect("the bus opens");
    assert!(bus.usage(1).used_bytes >= 20 * 900_000);
    drop(bus);
    let bus = open(directory.path(), &[0, 20]).expect("the bus opens");
    assert_eq!(bus.usage(1).used_bytes, 0);
}

/// Another process fills the disk, then frees it; nothing is published meanwhile.
#[tokio::test]
async fn a_disk_below_its_reserve_loses_stored_records_and_keeps_room_for_the_store() {
    const MIB: u64 = 1 << 20;
    let (directory, free_bytes) = (tempfile::tempdir().expect("a directory"), Arc::new(AtomicU64::new(900 * MIB)));
    let told = Arc::clone(&free_bytes);
    let space = move || Ok(DiskSpace { free_bytes: told.load(Ordering::SeqCst), total_bytes: 1_000 * MIB });
    let options = BusOptions {
        partitions: NonZeroU32::MIN,
        memory_bytes_max: MEMORY_BYTES_MAX,
        retention_bytes: 16 * MIB,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T10:30:00Z"));
    let bus = EmbeddedBus::open(directory.path(), &options, &Arc::new(Disk::asking(space)), &clock, |_| 0);
    let bus = bus.expect("the bus opens");
    let publish = async || {
        let mut records = Records::default();
        records
            .push(b"s", clock_at("2024-01-15T10:30:00Z").now(), false, |value| value.resize(900_000, b'x'))
            .expect("small enough");
        let batch = RecordBatch { partition: 0, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None };
        bus.publish(batch.into()).expect("taken").settled.await
    };
    for _ in 0..12 {
        publish().await.expect("there is room");
    }
    let bytes = || {
        let files = std::fs::read_dir(directory.path().join("logs-0")).expect("a directory").flatten();
        files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum::<u64>()
    };
    // Segments of 4 MiB; the store has taken all but the last record.
    bus.stored(0, 11);
    assert!(bytes() > 10 * MIB);
    free_bytes.store(40 * MIB, Ordering::SeqCst);
    until("stored segments are removed", || bytes() < 5 * MIB).await;
    assert!(!admits(Level::Warn, bus.usage(0)) && admits(Level::Error, bus.usage(0)), "{:?}", bus.usage(0));
    assert!(matches!(publish().await, Err(PublishError::Full)), "the remaining space is for the store");
    assert!(matches!(bus.state(), BusState::Down(reason) if reason.contains("disk")));

    free_bytes.store(900 * MIB, Ordering::SeqCst);
    until("it accepts records again", || bus.state() == BusState::Up).await;
    publish().await.expect("there is room again");
    assert!(admits(Level::Trace, bus.usage(0)));
    assert_eq!(bus.drain(contracts::DEADLINE).await, 0);
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < contracts::DEADLINE, "{what}: not in time");
        tokio::task::yield_now().await;
    }
}

#[test]
fn entries_that_this_bus_did_not_write_are_all_passed_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Arc::new(Directory::open(directory.path()).expect("a directory"));
    let (mut log, _) = SegmentedLog::open(storage, u64::MAX, 0).expect("the log opens");
    let time = clock_at("2024-01-15T10:30:00Z").now();
    let record = Record { key: b"s", value: b"{}", timestamp: time, client_id: true };
    let mut written = Vec::new();
    write_record(&record, &mut written);
    let no_record = b"\x00\xff\xff\xff\xffkey".to_vec();
    let mut too_large = Vec::new();
    let value = vec![b'x'; PAYLOAD_BYTES_MAX - 6];
    write_record(&Record { value: &value, ..record }, &mut too_large);
    assert!(too_large.len() == PAYLOAD_BYTES_MAX && value.len() > RECORD_BYTES_MAX);
    let payloads = [&written, &no_record, &too_large, &too_large, &too_large, &too_large, &written];
    let entries = payloads.map(|payload| (time, |buffer: &mut Vec<u8>| buffer.extend_from_slice(payload)));
    log.append(entries).and_then(|_| log.sync()).expect("the disk works");

    let mut reader = log.reader();
    let (mut next, mut found) = (0, Vec::new());
    while next < log.next() {
        let (chunk, damaged_bytes) = read_chunk(&mut reader, next).expect("the disk works");
        assert!(damaged_bytes == 0 && chunk.records.bytes() <= CHUNK_BYTES_MAX);
        found.extend(
            chunk.iter().map(|(offset, record)| (offset, record.key.len(), record.value.len(), record.timestamp)),
        );
        next = chunk.next;
    }
    let mut expected = vec![(0, 1, 2, time), (1, 0, no_record.len(), time)];
    expected.extend((2..6).map(|offset| (offset, 1, value.len(), time)));
    expected.push((6, 1, 2, time));
    assert_eq!(found, expected);
}
