//! The embedded bus on failing disks.
//!
//! Constraints:
//! * Only observed promises are checked: a test expects only records whose promise it has seen resolve.
//! * Nothing is timed: a test waits for a condition, with a deadline that only serves to fail. Events that must not
//!   happen are checked at a moment at which the bus demonstrably waits for the disk.

#![cfg(test)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use adapter_embedded::storage::Storage;
use domain::delivery::{Durability, Guarantee};
use domain::partition::Partition;
use domain::ports::{AssignmentChange, BusState, Clock, PublishError, Receipt, RecordPublisher, RecordSource};
use domain::record::{RecordBatch, Records};
use model::{Chance, SimulatedDisk};
use testkit::clock_at;

/// Long enough for a slow machine; only a failing test reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

fn options() -> BusOptions {
    BusOptions {
        partitions: NonZeroU32::MIN,
        memory_bytes_max: 16 * 1024 * 1024,
        retention_bytes: 16 * 1024 * 1024,
        retention_age: Duration::from_secs(3_600),
    }
}

fn open(disks: &[&SimulatedDisk], options: &BusOptions) -> EmbeddedBus {
    let storages: Vec<Arc<dyn Storage>> = disks.iter().map(|disk| disk.storage()).collect();
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T12:00:00Z"));
    EmbeddedBus::over(storages, options, &Arc::new(Disk::unlimited()), &clock, |_| 0).unwrap()
}

/// Records with unique values: a number and `len` bytes.
fn batch(partition: Partition, guarantee: Guarantee, numbers: std::ops::Range<u64>, len: usize) -> Arc<RecordBatch> {
    let mut records = Records::default();
    for number in numbers {
        let value = Chance::new(number).bytes(len);
        records
            .push(b"source", clock_at("2024-01-15T12:00:00Z").now(), false, |buffer| {
                buffer.extend_from_slice(&number.to_le_bytes());
                buffer.extend_from_slice(&value);
            })
            .unwrap();
    }
    Arc::new(RecordBatch { partition, guarantee, records, trace_parent: None })
}

fn number(value: &[u8]) -> u64 {
    let (number, rest) = value.split_first_chunk().unwrap();
    let number = u64::from_le_bytes(*number);
    assert_eq!(rest, Chance::new(number).bytes(rest.len()), "record {number} has changed");
    number
}

async fn promised(receipt: Receipt) -> Result<Durability, PublishError> {
    tokio::time::timeout(DEADLINE, receipt.promised).await.expect("a promise in time")
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

async fn assign(bus: &EmbeddedBus) {
    let AssignmentChange::Assigned(partitions, start) = bus.assignment().await.unwrap() else {
        panic!("nothing to revoke yet")
    };
    start(vec![None; partitions.len()]);
}

/// Number of the last record published by a test, which marks where to stop reading.
const LAST: u64 = u64::MAX;

/// Numbers of the readable records that were not read yet, with their counts.
async fn read_to_end(bus: &EmbeddedBus, partition: Partition) -> BTreeMap<u64, usize> {
    let mut last = Arc::unwrap_or_clone(batch(partition, Guarantee::AtLeastOnce, 0..0, 0));
    last.records
        .push(b"source", clock_at("2024-01-15T12:00:00Z").now(), false, |buffer| {
            buffer.extend_from_slice(&LAST.to_le_bytes())
        })
        .unwrap();
    assert!(matches!(promised(bus.publish(last.into()).unwrap()).await, Ok(Durability::Acknowledged)));
    let mut seen = BTreeMap::new();
    while seen.remove(&LAST).is_none() {
        for number in read_chunk(bus, partition).await.0 {
            *seen.entry(number).or_default() += 1;
        }
    }
    seen
}

/// Numbers of the next records, and the position after them.
async fn read_chunk(bus: &EmbeddedBus, partition: Partition) -> (Vec<u64>, u64) {
    let chunk = tokio::time::timeout(DEADLINE, bus.chunk(partition)).await.expect("a chunk in time").unwrap();
    (chunk.iter().map(|(_, record)| number(record.value)).collect(), chunk.next)
}

fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|number| (number, 1)).collect()
}

/// Whether a promise is still open.
fn is_open<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_survive_any_power_cut_and_arrive_once() {
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let disks = [SimulatedDisk::new(), SimulatedDisk::new()];
        let bus = open(&disks.each_ref(), &options());
        let mut published = [0, 0];
        let mut acknowledged = [0, 0];
        for _ in 0..4 {
            let which = chance.below(2);
            let (from, to) = (published[which], published[which] + 1 + chance.below(4) as u64);
            let batch = batch(which as u32, Guarantee::AtLeastOnce, from..to, chance.below(3_000));
            assert!(matches!(promised(bus.publish(batch).unwrap()).await, Ok(Durability::Acknowledged)));
            (published[which], acknowledged[which]) = (to, to);
        }
        // One batch is written and being synced, another waits behind it.
        disks[0].hold_syncs();
        for _ in 0..2 {
            let (from, to) = (published[0], published[0] + 3);
            drop(bus.publish(batch(0, Guarantee::AtLeastOnce, from..to, chance.below(3_000))).unwrap());
            published[0] = to;
        }
        until("a sync", || disks[0].syncs_waiting() == 1).await;
        for disk in &disks {
            disk.power_cut(chance.number());
        }
        drop(bus);

        let bus = open(&disks.each_ref(), &options());
        assign(&bus).await;
        for which in 0..2 {
            let seen = read_to_end(&bus, which as u32).await;
            assert!(seen.values().all(|times| *times == 1), "seed {seed}: {seen:?}");
            assert!(seen.keys().all(|number| *number < published[which]), "seed {seed}: {seen:?}");
            for number in 0..acknowledged[which] {
                assert!(seen.contains_key(&number), "seed {seed}: record {number} was acknowledged: {seen:?}");
            }
        }
        assert_eq!(bus.drain(DEADLINE).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buffered_records_survive_the_process_and_arrive_once() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &options());
    disk.hold_syncs();
    assert!(matches!(
        promised(bus.publish(batch(0, Guarantee::AtMostOnce, 0..5, 700)).unwrap()).await,
        Ok(Durability::Buffered)
    ));
    until("a sync", || disk.syncs_waiting() == 1).await;
    let mut strict = bus.publish(batch(0, Guarantee::AtLeastOnce, 5..6, 700)).unwrap();
    assert!(is_open(&mut strict.promised), "nothing is synced");
    disk.crash();
    drop(bus);

    let bus = open(&[&disk], &options());
    assign(&bus).await;
    // The second batch was still in memory.
    assert_eq!(read_to_end(&bus, 0).await, once(0..5));
    disk.power_cut(1);
    drop(bus);
    let bus = open(&[&disk], &options());
    assign(&bus).await;
    let mut seen = BTreeMap::new();
    for number in read_chunk(&bus, 0).await.0 {
        *seen.entry(number).or_default() += 1;
    }
    assert_eq!(seen.remove(&LAST), Some(1));
    assert_eq!(seen, once(0..5), "records read once stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_whole_batches_until_it_has_room() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &options());
    assign(&bus).await;
    assert!(promised(bus.publish(batch(0, Guarantee::AtLeastOnce, 0..3, 1_000)).unwrap()).await.is_ok());
    disk.set_capacity(disk.used() + 10_000);
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let receipt = bus.publish(batch(0, guarantee, 100..120, 1_000)).unwrap();
        let (promised, settled) = (receipt.promised.await, receipt.settled.await);
        assert!(matches!((&promised, &settled), (Err(PublishError::Full), Err(PublishError::Full))), "{promised:?}");
        assert!(matches!(bus.state(), BusState::Down(_)));
    }
    let full_writes = disk.full_writes();
    until("a probe of the disk", || disk.full_writes() > full_writes || bus.state() == BusState::Up).await;
    assert!(matches!(bus.state(), BusState::Down(_)), "up although the disk is full");
    disk.set_capacity(u64::MAX);
    until("the bus is up", || bus.state() == BusState::Up).await;
    assert!(promised(bus.publish(batch(0, Guarantee::AtLeastOnce, 3..6, 1_000)).unwrap()).await.is_ok());
    assert_eq!(read_to_end(&bus, 0).await, once(0..6));
    disk.crash();
    drop(bus);
    let bus = open(&[&disk], &options());
    assign(&bus).await;
    let (mut numbers, _) = read_chunk(&bus, 0).await;
    assert_eq!(numbers.pop(), Some(LAST));
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "nothing of a refused batch turns up later");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_while_syncs_fail_and_everything_afterwards() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &options());
    assign(&bus).await;
    assert!(promised(bus.publish(batch(0, Guarantee::AtLeastOnce, 0..2, 1_000)).unwrap()).await.is_ok());
    disk.fail_file_syncs(u64::MAX);
    let mut first = bus.publish(batch(0, Guarantee::AtLeastOnce, 2..5, 1_000)).unwrap();
    until("the bus is down", || matches!(bus.state(), BusState::Down(_))).await;
    let mut second = bus.publish(batch(0, Guarantee::ExactlyOnce, 5..7, 1_000)).unwrap();
    // The first attempt makes two syncs: of the segment, and of its replacement.
    until("another try", || disk.failed_syncs() > 2).await;
    assert!(is_open(&mut first.promised) && is_open(&mut first.settled), "promised but not on disk");
    assert!(is_open(&mut second.promised), "promised but not on disk");
    assert_eq!(bus.lags()[0].records, 2, "counted as readable but not on disk");
    assert_eq!(read_chunk(&bus, 0).await.0, [0, 1]);
    assert!(is_open(&mut bus.chunk(0)), "readable but not on disk");

    disk.fail_file_syncs(0);
    assert!(matches!(promised(first).await, Ok(Durability::Acknowledged)));
    assert!(matches!(promised(second).await, Ok(Durability::Acknowledged)));
    assert_eq!(bus.state(), BusState::Up);
    assert_eq!(read_to_end(&bus, 0).await, once(2..7));
    for seed in 0..20 {
        disk.power_cut(seed);
        let bus = open(&[&disk], &options());
        assign(&bus).await;
        let (mut numbers, _) = read_chunk(&bus, 0).await;
        assert_eq!(numbers.pop(), Some(LAST));
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6], "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_returned() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &BusOptions { memory_bytes_max: 100_000, ..options() });
    assign(&bus).await;
    disk.hold_syncs();
    let mut receipts = Vec::new();
    let mut taken = 0;
    let refused = loop {
        match bus.publish(batch(0, Guarantee::AtLeastOnce, taken..taken + 1, 10_000)) {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 10, "more than the memory allows");
    };
    assert!(matches!(refused, PublishError::Full));
    assert!(taken > 5, "only {taken}");
    disk.let_syncs_go();
    for receipt in receipts {
        assert!(matches!(promised(receipt).await, Ok(Durability::Acknowledged)));
    }
    // The room of all of them was returned, not only of some.
    let mut receipts = Vec::new();
    disk.hold_syncs();
    until("room", || {
        let next = taken + receipts.len() as u64;
        receipts.extend(bus.publish(batch(0, Guarantee::AtLeastOnce, next..next + 1, 10_000)).ok());
        receipts.len() as u64 == taken
    })
    .await;
    disk.let_syncs_go();
    assert_eq!(read_some(&bus, 2 * taken).await, (0..2 * taken).collect::<Vec<_>>());
}

/// Numbers of the next `count` records.
async fn read_some(bus: &EmbeddedBus, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while (numbers.len() as u64) < count {
        numbers.extend(read_chunk(bus, 0).await.0);
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_only_stored_records_and_otherwise_refuses() {
    const RETENTION_BYTES: u64 = 64 * 1024;
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &BusOptions { retention_bytes: RETENTION_BYTES, ..options() });
    assign(&bus).await;
    let publish =
        |number: u64| promised(bus.publish(batch(0, Guarantee::AtLeastOnce, number..number + 1, 4_000)).unwrap());
    let mut taken = 0;
    let refused = loop {
        match publish(taken).await {
            Ok(durability) => assert_eq!(durability, Durability::Acknowledged),
            Err(error) => break error,
        }
        taken += 1;
        assert!(disk.used() <= RETENTION_BYTES);
    };
    assert!(matches!(refused, PublishError::Full));
    assert!(taken * 4_000 > RETENTION_BYTES / 2, "only {taken}");
    assert!(matches!(bus.state(), BusState::Down(_)));
    let segments = disk.names();
    assert!(segments.len() > 2, "{segments:?}");
    assert_eq!(read_some(&bus, taken).await, (0..taken).collect::<Vec<_>>(), "nothing was removed");

    // Half of them are stored.
    let stored = taken / 2;
    bus.stored(0, stored);
    assert!(publish(taken).await.is_ok());
    assert_eq!(bus.state(), BusState::Up);
    assert!(!disk.names().contains(&segments[0]), "the oldest segment is gone");
    bus.seek(0, Some(stored));
    assert_eq!(read_some(&bus, taken + 1 - stored).await, (stored..=taken).collect::<Vec<_>>());
    let mut more = taken + 1;
    while publish(more).await.is_ok() {
        assert!(disk.used() <= RETENTION_BYTES);
        more += 1;
    }
    bus.seek(0, Some(stored));
    assert_eq!(read_some(&bus, more - stored).await, (stored..more).collect::<Vec<_>>(), "unstored records stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_skip_unsynced_records_when_old_segments_are_removed() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &BusOptions { retention_bytes: 64 * 1024, ..options() });
    assign(&bus).await;
    let publish = |number: u64| bus.publish(batch(0, Guarantee::AtLeastOnce, number..number + 1, 12_000)).unwrap();
    for number in 0..3 {
        assert!(promised(publish(number)).await.is_ok());
    }
    let oldest = disk.names()[0].clone();
    // The store has the first segment.
    bus.stored(0, 2);
    bus.seek(0, Some(2));
    // Two batches share a sync, and the second one removes a segment to make room.
    disk.hold_syncs();
    let first = publish(3);
    until("a sync", || disk.syncs_waiting() == 1).await;
    let (second, third) = (publish(4), publish(5));
    disk.let_one_sync_go();
    assert!(promised(first).await.is_ok());
    until("the next sync", || disk.syncs_waiting() == 1).await;
    assert!(!disk.names().contains(&oldest), "the first segment is gone");

    assert_eq!(read_chunk(&bus, 0).await, (vec![2, 3], 4));
    disk.let_syncs_go();
    assert!(promised(second).await.is_ok() && promised(third).await.is_ok());
    assert_eq!(read_some(&bus, 2).await, [4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_bus_has_everything_on_disk_and_accepts_no_more() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &options());
    let receipts: Vec<Receipt> =
        (0..10).map(|number| bus.publish(batch(0, Guarantee::AtMostOnce, number..number + 1, 500)).unwrap()).collect();
    assert_eq!(bus.drain(DEADLINE).await, 0);
    assert!(matches!(bus.publish(batch(0, Guarantee::AtLeastOnce, 10..11, 500)), Err(PublishError::Closed)));
    assert!(matches!(bus.state(), BusState::Down(_)));
    for receipt in receipts {
        assert!(receipt.settled.await.is_ok());
    }
    disk.power_cut(3);
    let bus = open(&[&disk], &options());
    assign(&bus).await;
    assert_eq!(read_to_end(&bus, 0).await, once(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_returns_how_many_records_a_failing_disk_did_not_accept() {
    let disk = SimulatedDisk::new();
    let bus = open(&[&disk], &options());
    // Without a segment nothing would be accepted at all.
    assert!(promised(bus.publish(batch(0, Guarantee::AtLeastOnce, 7..8, 500)).unwrap()).await.is_ok());
    assert_eq!(bus.drain(DEADLINE).await, 0);
    let bus = open(&[&disk], &options());
    disk.fail_syncs(u64::MAX);
    drop(bus.publish(batch(0, Guarantee::AtMostOnce, 0..4, 500)).unwrap());
    drop(bus.publish(batch(0, Guarantee::AtLeastOnce, 4..7, 500)).unwrap());
    assert_eq!(bus.drain(Duration::ZERO).await, 7);
    assert!(matches!(bus.publish(batch(0, Guarantee::AtLeastOnce, 7..8, 500)), Err(PublishError::Closed)));
    // Closed or not, accepted batches are not given up.
    disk.fail_syncs(0);
    assert_eq!(bus.drain(DEADLINE).await, 0);
}
