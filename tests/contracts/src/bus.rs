//! Contract of a bus: a [`RecordPublisher`] and a [`RecordSource`] with the same records.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use domain::admission::Usage;
use domain::delivery::{Durability, Guarantee};
use domain::pack::{PACK_EVENTS_MAX, is_packed, split_any};
use domain::partition::Partition;
use domain::ports::{
    AssignmentChange, BusState, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, PublishError, Receipt, RecordPublisher,
    RecordSource,
};
use domain::record::{Chunk, RECORD_BYTES_MAX, RecordBatch, Records};
use domain::timestamp::Timestamp;

use crate::variety::{EPOCH, Seed, time};
use crate::{DEADLINE, in_time, once, run, run_at_once};

/// Both ends of a bus.
pub struct Bus {
    /// The writing end.
    pub publisher: Arc<dyn RecordPublisher>,
    /// The reading end, for a consumer group with a single member.
    pub source: Arc<dyn RecordSource>,
}

/// An implementation of the bus under test.
pub trait BusSubject: Sync {
    /// Where a bus stores its content, such as a directory or a topic; dropped at the end of a check.
    type Place;

    /// An empty place.
    fn place(&self) -> impl Future<Output = Self::Place>;

    /// Opens the bus in `place` with as many partitions as there are `positions`, for the first time or again.
    /// `positions` are those of the store, for buses that need them; both ends of an earlier opening are drained and
    /// dropped.
    fn open(&self, place: &Self::Place, positions: &[u64]) -> impl Future<Output = Bus>;

    /// Maximum bytes of unacknowledged batches that the publisher keeps; at least 32 MiB.
    fn memory_bytes_max(&self) -> usize;

    /// Whether the bus numbers records itself and is told the store's positions, so that it never reuses an offset that
    /// the store has seen, even if it lost the records.
    fn numbers_from_positions(&self) -> bool;

    /// The timestamp as the bus keeps it, if it loses precision.
    fn kept_time(&self, given: Timestamp) -> Timestamp {
        given
    }
}

/// Applies a macro to a subject and all checks.
macro_rules! checks {
    ($run:ident, $subject:expr) => {
        $run!(
            $subject,
            all_partitions_exist_and_are_assigned,
            a_record_is_returned_exactly,
            each_guarantee_gets_the_required_durability,
            a_batch_is_delivered_though_its_receipt_is_dropped,
            batches_keep_their_order_and_come_once,
            records_of_concurrent_publishers_keep_their_order_and_come_once,
            events_keep_key_origin_and_order_packed_or_not,
            an_empty_batch_is_acknowledged_and_leaves_nothing,
            a_partition_that_does_not_exist_accepts_nothing,
            a_batch_beyond_the_memory_is_refused_and_leaves_nothing,
            a_chunk_stays_within_its_limits,
            a_chunk_waits_for_a_record_and_may_be_dropped,
            a_chunk_that_is_dropped_while_it_reads_loses_nothing,
            one_partition_does_not_wait_for_another,
            seeking_goes_back_and_forward,
            seeking_wins_over_a_chunk_in_progress,
            reading_begins_where_the_assignment_says,
            the_lag_counts_unstored_records,
            acknowledged_and_stored_records_take_no_room,
            draining_delivers_accepted_batches_and_accepts_no_more,
            everything_exists_after_reopening,
            no_offset_is_assigned_twice,
        )
    };
}

/// Runs the whole suite.
pub async fn all(subject: &impl BusSubject) {
    checks!(run, subject);
}

/// Runs the whole suite, all checks in parallel.
pub fn all_at_once(subject: &impl BusSubject) {
    checks!(run_at_once, subject);
}

const LAST: Guarantee = Guarantee::AtLeastOnce;

fn records(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Records {
    let mut records = Records::default();
    for (n, value) in (0..).zip(values) {
        let push = |buffer: &mut Vec<u8>| buffer.extend_from_slice(value.as_ref());
        records.push(b"shop", time(EPOCH + n), n % 2 == 0, push).expect("small enough");
    }
    records
}

fn batch(partition: Partition, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> RecordBatch {
    RecordBatch { partition, guarantee: LAST, records: records(values), trace_parent: None }
}

fn publish(bus: &Bus, batch: RecordBatch) -> Receipt {
    bus.publisher.publish(Arc::new(batch)).expect("the bus takes the batch")
}

async fn deliver(bus: &Bus, batch: RecordBatch) {
    in_time("acknowledgement", publish(bus, batch).settled).await.expect("the bus acknowledges the batch");
}

/// Assigns all partitions at the given positions; partitions without one at the earliest record.
async fn begin(bus: &Bus, positions: &[Option<u64>]) -> Vec<Partition> {
    let mut assigned = Vec::new();
    while assigned.len() < bus.publisher.partition_count().get() as usize {
        match in_time("assignment", bus.source.assignment()).await.expect("the bus assigns its partitions") {
            AssignmentChange::Assigned(partitions, start) => {
                start(partitions.iter().map(|of| positions.get(*of as usize).copied().flatten()).collect());
                assigned.extend(partitions);
            }
            AssignmentChange::Revoked(partitions, done) => {
                assigned.retain(|partition| !partitions.contains(partition));
                done();
            }
        }
    }
    assigned.sort_unstable();
    assigned
}

/// A bus that accepts records. A bus that is unreachable when opened refuses batches until its next successful check.
async fn open_up<S: BusSubject>(subject: &S, place: &S::Place, positions: &[u64]) -> Bus {
    let bus = subject.open(place, positions).await;
    let up = async {
        while bus.publisher.state() != BusState::Up {
            tokio::task::yield_now().await;
        }
    };
    in_time("bus that is up", up).await;
    bus
}

async fn opened<S: BusSubject>(subject: &S, partitions: usize) -> (S::Place, Bus) {
    let place = subject.place().await;
    let bus = open_up(subject, &place, &vec![0; partitions]).await;
    begin(&bus, &[]).await;
    (place, bus)
}

async fn close(bus: Bus) {
    assert_eq!(bus.publisher.drain(DEADLINE).await, 0, "everything is acknowledged in time");
}

async fn chunk(bus: &Bus, partition: Partition) -> Chunk {
    let chunk = in_time("chunk", bus.source.chunk(partition)).await.expect("the bus has records");
    assert!(!chunk.records.is_empty(), "a chunk has a record");
    assert_eq!(chunk.offsets.len(), chunk.records.len());
    assert!(chunk.offsets.is_sorted_by(|one, other| one < other), "offsets ascend: {:?}", chunk.offsets);
    assert!(chunk.offsets.last().is_some_and(|last| *last < chunk.next), "`next` is behind the chunk");
    chunk
}

/// The values of at least the next `count` records, if the bus has that many.
async fn read(bus: &Bus, partition: Partition, count: usize) -> Vec<(u64, Vec<u8>)> {
    let mut read: Vec<(u64, Vec<u8>)> = Vec::new();
    while read.len() < count {
        let chunk = chunk(bus, partition).await;
        let first = chunk.offsets.first();
        assert!(first > read.last().map(|(offset, _)| offset), "a chunk continues after the previous one");
        read.extend(chunk.iter().map(|(offset, record)| (offset, record.value.to_vec())));
    }
    read
}

async fn read_values(bus: &Bus, partition: Partition, count: usize) -> Vec<String> {
    let read = read(bus, partition, count).await;
    read.into_iter().map(|(_, value)| String::from_utf8(value).expect("text was published")).collect()
}

/// Asserts that a reader at the end gets only what is published now.
async fn assert_nothing_more(bus: &Bus, partition: Partition) {
    deliver(bus, batch(partition, ["the end"])).await;
    assert_eq!(read_values(bus, partition, 1).await, ["the end"], "nothing else was on the bus");
}

/// [`RecordPublisher::partition_count`] and [`RecordSource::assignment`] agree.
pub async fn all_partitions_exist_and_are_assigned(subject: &impl BusSubject) {
    for partitions in [1, 3] {
        let place = subject.place().await;
        let bus = open_up(subject, &place, &vec![0; partitions]).await;
        assert_eq!(bus.publisher.partition_count().get() as usize, partitions);
        let assigned = begin(&bus, &[]).await;
        assert_eq!(assigned, (0..bus.publisher.partition_count().get()).collect::<Vec<_>>());
        for partition in assigned {
            deliver(&bus, batch(partition, [partition.to_string()])).await;
        }
        for partition in 0..bus.publisher.partition_count().get() {
            assert_eq!(
                read_values(&bus, partition, 1).await,
                [partition.to_string()],
                "records stay in their partition"
            );
        }
        assert_eq!(bus.publisher.state(), BusState::Up);
        close(bus).await;
    }
}

/// Key, value, timestamp and the client id flag, for any bytes up to the largest record.
pub async fn a_record_is_returned_exactly(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    let mut seed = Seed::new(1);
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let noise: Vec<u8> = (0..RECORD_BYTES_MAX - 255).map(|_| seed.number().to_le_bytes()[3]).collect();
    // Those of one key together: between keys a bus keeps no order.
    let cases: [(&[u8], &[u8], i64, bool); 8] = [
        (b"shop", b"{}", EPOCH, false),
        (b"shop", b"{}", EPOCH, true),
        (b"", b"value", EPOCH + 1, false),
        (b"", b"", EPOCH, false),
        (b"key", b"", EPOCH + 999_999, true),
        (&all_bytes[..255], &all_bytes, 0, true),
        (b"\0\xff", b"\0\0\0\0\0\0\0\0", EPOCH + 86_400_000_000 * 365, false),
        (&all_bytes[1..], &noise, EPOCH, true),
    ];
    let mut records = Records::default();
    for (key, value, at, client_id) in cases {
        records.push(key, time(at), client_id, |buffer| buffer.extend_from_slice(value)).expect("small enough");
    }
    deliver(&bus, RecordBatch { partition: 0, guarantee: Guarantee::ExactlyOnce, records, trace_parent: None }).await;
    let mut seen = 0;
    while seen < cases.len() {
        let chunk = chunk(&bus, 0).await;
        for (_, record) in chunk.iter() {
            let (key, value, at, client_id) = cases[seen];
            assert!(record.key == key && record.value == value, "key and value of record {seen}");
            assert_eq!(record.timestamp, subject.kept_time(time(at)), "timestamp of record {seen}");
            assert_eq!(record.client_id, client_id, "client_id of record {seen}");
            seen += 1;
        }
    }
    close(bus).await;
}

/// At-most-once may be promised with any durability, the other guarantees only with the acknowledgement.
pub async fn each_guarantee_gets_the_required_durability(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    for guarantee in Guarantee::ALL {
        let needed = if guarantee == Guarantee::AtMostOnce { Durability::Buffered } else { Durability::Acknowledged };
        for _ in 0..20 {
            let receipt = publish(&bus, RecordBatch { guarantee, ..batch(0, [guarantee.name()]) });
            let promised = in_time("promise", receipt.promised).await.expect("the bus takes the batch");
            assert!(promised >= needed, "{guarantee:?} is promised {promised:?}");
            in_time("acknowledgement", receipt.settled).await.expect("the bus acknowledges the batch");
        }
    }
    assert_eq!(read(&bus, 0, 60).await.len(), 60);
    close(bus).await;
}

/// A [`Receipt`] only reports the outcome.
pub async fn a_batch_is_delivered_though_its_receipt_is_dropped(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    for (n, guarantee) in Guarantee::ALL.iter().cycle().take(30).enumerate() {
        let receipt = publish(&bus, RecordBatch { guarantee: *guarantee, ..batch(0, [n.to_string()]) });
        // Awaits neither, one or the other.
        match n % 4 {
            0 => drop(receipt),
            1 => drop(receipt.promised),
            2 => drop(receipt.settled),
            _ => {
                let mut settled = receipt.settled;
                let _ = once(&mut settled).await;
            }
        }
    }
    let expected: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!(read_values(&bus, 0, 30).await, expected);
    close(bus).await;
}

/// Events of one source and time, which a bus may pack into one record: each comes once, in the order of its source, with its key and
/// origin.
pub async fn events_keep_key_origin_and_order_packed_or_not(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    let mut seed = Seed::new(9);
    let mut published: Vec<(&[u8], bool, String)> = Vec::new();
    for batch in 0..40 {
        let count = *seed.pick(&[1, 2, 30, PACK_EVENTS_MAX + 1]);
        let (mut key, mut client_id) = (b"shop".as_slice(), true);
        let mut records = Records::default();
        for number in 0..count {
            if seed.one_in(20) {
                (key, client_id) = (*seed.pick(&[b"shop".as_slice(), b"cart"]), seed.one_in(2));
            }
            // What could be mistaken for the end of an event.
            let event = format!("{{\"text\":\"\\n,{batch}/{number}]\",\"n\":[{{}}]}}");
            let push = |buffer: &mut Vec<u8>| buffer.extend_from_slice(event.as_bytes());
            records.push(key, time(EPOCH), client_id, push).expect("small enough");
            published.push((key, client_id, event));
        }
        publish(&bus, RecordBatch { partition: 0, guarantee: LAST, records, trace_parent: None });
    }
    let mut seen: Vec<(Vec<u8>, bool, String)> = Vec::new();
    while seen.len() < published.len() {
        for (_, record) in chunk(&bus, 0).await.iter() {
            let mut events = vec![record.value];
            if is_packed(record.value) {
                split_any(record.value, &mut events).expect("a pack");
            }
            let text = |event: &[u8]| String::from_utf8(event.to_vec()).expect("text was published");
            seen.extend(events.into_iter().map(|event| (record.key.to_vec(), record.client_id, text(event))));
        }
    }
    // Stable: what is left are the orders of the keys.
    seen.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    published.sort_by_key(|(key, ..)| *key);
    assert!(
        seen.iter()
            .map(|(key, origin, event)| (key.as_slice(), *origin, event))
            .eq(published.iter().map(|(key, origin, event)| (*key, *origin, event)))
    );
    assert_nothing_more(&bus, 0).await;
    close(bus).await;
}

/// Whatever the batch sizes and the time of reading.
pub async fn batches_keep_their_order_and_come_once(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 2).await;
    let mut seed = Seed::new(2);
    let mut published: [Vec<String>; 2] = Default::default();
    let mut seen: [Vec<String>; 2] = Default::default();
    for round in 0..300 {
        let partition = seed.below(2);
        let count = if seed.one_in(10) { 500 } else { 1 + seed.below(5) };
        let values: Vec<String> = (0..count).map(|n| format!("{round}/{n}/{}", "x".repeat(seed.below(200)))).collect();
        let batch = batch(u32::try_from(partition).unwrap_or(0), &values);
        published[partition].extend(values);
        let receipt = publish(&bus, batch);
        if seed.one_in(5) {
            in_time("acknowledgement", receipt.settled).await.expect("the bus acknowledges the batch");
        }
        if seed.one_in(20) && seen[partition].len() < published[partition].len() {
            seen[partition].extend(read_values(&bus, u32::try_from(partition).unwrap_or(0), 1).await);
        }
    }
    for (partition, (seen, published)) in (0..).zip(seen.iter_mut().zip(&published)) {
        seen.extend(read_values(&bus, partition, published.len() - seen.len()).await);
        let differs = seen.iter().zip(published).position(|(seen, published)| seen != published);
        assert_eq!((seen.len(), differs), (published.len(), None), "partition {partition}");
        assert_nothing_more(&bus, partition).await;
    }
    close(bus).await;
}

/// Each publisher's batches keep their order; batches of others may be interleaved.
pub async fn records_of_concurrent_publishers_keep_their_order_and_come_once(subject: &impl BusSubject) {
    const PUBLISHERS: usize = 8;
    const BATCHES: usize = 60;
    const RECORDS: usize = 5;
    let (_place, bus) = opened(subject, 2).await;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let bus = Arc::clone(&bus.publisher);
            tokio::spawn(async move {
                for n in 0..BATCHES {
                    let values = (0..RECORDS).map(|record| format!("{publisher} {}", n * RECORDS + record));
                    for partition in 0..2 {
                        let receipt =
                            bus.publish(Arc::new(batch(partition, values.clone()))).expect("the bus takes the batch");
                        if n % 10 == 0 {
                            receipt.promised.await.expect("the bus acknowledges the batch");
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // Reading continues while records arrive.
    for partition in 0..2 {
        let mut next: HashMap<String, usize> = HashMap::new();
        for value in read_values(&bus, partition, PUBLISHERS * BATCHES * RECORDS).await {
            let (publisher, n) = value.split_once(' ').expect("as published");
            let next = next.entry(publisher.to_owned()).or_default();
            assert_eq!(n, next.to_string(), "the next of publisher {publisher}");
            *next += 1;
        }
        assert!(next.len() == PUBLISHERS && next.values().all(|next| *next == BATCHES * RECORDS), "{next:?}");
    }
    for publisher in publishers {
        in_time("publisher", publisher).await.expect("no publisher panics");
    }
    for partition in 0..2 {
        assert_nothing_more(&bus, partition).await;
    }
    close(bus).await;
}

/// An empty batch counts as delivered.
pub async fn an_empty_batch_is_acknowledged_and_leaves_nothing(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    deliver(&bus, batch(0, [""; 0])).await;
    deliver(&bus, batch(0, ["one"])).await;
    deliver(&bus, batch(0, [""; 0])).await;
    assert_eq!(read_values(&bus, 0, 1).await, ["one"]);
    assert_nothing_more(&bus, 0).await;
    close(bus).await;
}

/// Immediately or through the receipt, but never as if it had been accepted.
pub async fn a_partition_that_does_not_exist_accepts_nothing(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 2).await;
    for partition in [2, 3, i32::MAX.unsigned_abs()] {
        if let Ok(receipt) = bus.publisher.publish(Arc::new(batch(partition, ["lost"]))) {
            let promised = in_time("promise", receipt.promised).await;
            assert!(promised.is_err(), "partition {partition} of 2 promised {promised:?}");
            in_time("settlement", receipt.settled).await.expect_err("nothing was accepted");
        }
    }
    for partition in 0..2 {
        assert_nothing_more(&bus, partition).await;
    }
    close(bus).await;
}

/// [`PublishError::Full`]: whole batches only, and the next one that fits is accepted.
pub async fn a_batch_beyond_the_memory_is_refused_and_leaves_nothing(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    let value = vec![b'x'; RECORD_BYTES_MAX - 4];
    let too_large = subject.memory_bytes_max() / RECORD_BYTES_MAX + 1;
    match bus.publisher.publish(Arc::new(batch(0, std::iter::repeat_n(&value, too_large)))) {
        Err(PublishError::Full) => {}
        Err(error) => panic!("a batch beyond the memory limit fails with {error:?}"),
        Ok(_) => panic!("a batch beyond the memory limit is accepted"),
    }
    // More than the memory limit in total: acknowledged batches free their memory.
    let mut taken = 0;
    for _ in 0..too_large {
        let receipt = publish(&bus, batch(0, [&value]));
        in_time("acknowledgement", receipt.settled).await.expect("the bus acknowledges the batch");
        taken += 1;
    }
    assert_eq!(read(&bus, 0, taken).await.len(), taken);
    assert_nothing_more(&bus, 0).await;
    close(bus).await;
}

/// [`CHUNK_RECORDS_MAX`] and [`CHUNK_BYTES_MAX`], with small records, large ones and a mixture.
pub async fn a_chunk_stays_within_its_limits(subject: &impl BusSubject) {
    let mut seed = Seed::new(3);
    let sizes: [Vec<usize>; 3] = [
        vec![1; CHUNK_RECORDS_MAX * 2 + 1],
        vec![RECORD_BYTES_MAX - 4; 10],
        (0..60).map(|_| if seed.one_in(3) { 900_000 } else { seed.below(100_000) }).collect(),
    ];
    for sizes in sizes {
        let (_place, bus) = opened(subject, 1).await;
        // Batches below the memory limit, but larger than a chunk may be.
        for part in sizes.chunks(CHUNK_RECORDS_MAX + 500) {
            for part in part.chunks(if part.len() > 1_000 { part.len() } else { 20 }) {
                deliver(&bus, batch(0, part.iter().map(|size| vec![b'x'; *size]))).await;
            }
        }
        let mut seen = Vec::new();
        while seen.len() < sizes.len() {
            let chunk = chunk(&bus, 0).await;
            assert!(chunk.records.len() <= CHUNK_RECORDS_MAX, "a chunk of {} records", chunk.records.len());
            assert!(
                chunk.records.bytes() <= CHUNK_BYTES_MAX || chunk.records.len() == 1,
                "a chunk of {} bytes in {} records",
                chunk.records.bytes(),
                chunk.records.len(),
            );
            seen.extend(chunk.records.iter().map(|record| record.value.len()));
        }
        assert_eq!(seen, sizes);
        close(bus).await;
    }
}

/// The future of [`RecordSource::chunk`] may be dropped while there is nothing to read.
pub async fn a_chunk_waits_for_a_record_and_may_be_dropped(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    for n in 0..10 {
        for _ in 0..n {
            let mut waiting = bus.source.chunk(0);
            assert!(once(&mut waiting).await.is_pending(), "there is nothing to read");
        }
        let value = n.to_string();
        let mut waiting = bus.source.chunk(0);
        assert!(once(&mut waiting).await.is_pending(), "there is nothing to read");
        deliver(&bus, batch(0, [&value])).await;
        if n % 2 == 0 {
            let chunk = in_time("chunk", waiting).await.expect("the bus has a record");
            let values: Vec<&[u8]> = chunk.records.iter().map(|record| record.value).collect();
            assert_eq!(values, [value.as_bytes()], "publishing wakes the waiting reader");
        } else {
            drop(waiting);
            assert_eq!(read_values(&bus, 0, 1).await, [value]);
        }
    }
    close(bus).await;
}

/// The future of [`RecordSource::chunk`] may be dropped between any two polls.
pub async fn a_chunk_that_is_dropped_while_it_reads_loses_nothing(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let mut seen = Vec::new();
    for value in &expected {
        deliver(&bus, batch(0, [value])).await;
        for polls in 1..4 {
            let mut reading = bus.source.chunk(0);
            for _ in 0..polls {
                // It may complete in one poll: then it was not dropped.
                if let std::task::Poll::Ready(chunk) = once(&mut reading).await {
                    let chunk = chunk.expect("the bus has records");
                    let values = chunk.records.iter().map(|record| String::from_utf8_lossy(record.value).into_owned());
                    seen.extend(values);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    seen.extend(read_values(&bus, 0, expected.len() - seen.len()).await);
    assert_eq!(seen, expected);
    close(bus).await;
}

/// The reader of a partition without records does not block others.
pub async fn one_partition_does_not_wait_for_another(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 3).await;
    let mut waiting = bus.source.chunk(0);
    assert!(once(&mut waiting).await.is_pending(), "there is nothing to read");
    for partition in [1, 2] {
        deliver(&bus, batch(partition, ["one", "two"])).await;
        assert_eq!(read_values(&bus, partition, 2).await, ["one", "two"]);
    }
    assert!(once(&mut waiting).await.is_pending(), "there is still nothing to read");
    deliver(&bus, batch(0, ["three"])).await;
    in_time("chunk", waiting).await.expect("the bus has a record");
    close(bus).await;
}

/// [`RecordSource::seek`]: the next chunk begins at the position.
pub async fn seeking_goes_back_and_forward(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 2).await;
    for partition in 0..2 {
        for part in 0..4 {
            deliver(&bus, batch(partition, (part * 25..part * 25 + 25).map(|n| n.to_string()))).await;
        }
    }
    let all = read(&bus, 0, 100).await;
    let mut seed = Seed::new(4);
    for _ in 0..30 {
        let from = seed.below(100);
        bus.source.seek(0, Some(all[from].0));
        assert_eq!(read(&bus, 0, 100 - from).await, all[from..], "from record {from} on");
    }
    // Another partition keeps its position.
    assert_eq!(read(&bus, 1, 100).await.len(), 100);
    bus.source.seek(0, None);
    assert_eq!(read(&bus, 0, 100).await, all, "from the earliest record on");
    // To the end: only new records.
    bus.source.seek(0, Some(all[0].0));
    bus.source.seek(0, Some(all[99].0 + 1));
    assert_nothing_more(&bus, 0).await;
    close(bus).await;
}

/// A chunk begun before a seek may still arrive, but reading continues where the seek said.
pub async fn seeking_wins_over_a_chunk_in_progress(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 1).await;
    deliver(&bus, batch(0, ["0", "1", "2"])).await;
    let all = read(&bus, 0, 3).await;
    for round in 0..20 {
        let begins_at = |chunk: &Chunk| chunk.offsets.first() == Some(&all[0].0);
        bus.source.seek(0, Some(all[1].0));
        let mut reading = bus.source.chunk(0);
        let early = once(&mut reading).await;
        bus.source.seek(0, Some(all[0].0));
        let first = match early {
            std::task::Poll::Ready(chunk) => chunk,
            std::task::Poll::Pending => in_time("chunk", reading).await,
        };
        if !begins_at(&first.expect("the bus has records")) {
            assert!(begins_at(&chunk(&bus, 0).await), "round {round}: the seek was forgotten");
        }
    }
    close(bus).await;
}

/// [`AssignmentChange::Assigned`]: at the position of each partition, `None` for the earliest record.
pub async fn reading_begins_where_the_assignment_says(subject: &impl BusSubject) {
    let (place, bus) = opened(subject, 3).await;
    let mut offsets = Vec::new();
    for partition in 0..3 {
        deliver(&bus, batch(partition, (0..10).map(|n| n.to_string()))).await;
        offsets.push(read(&bus, partition, 10).await.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>());
    }
    close(bus).await;

    let positions = [None, Some(offsets[1][4]), Some(offsets[2][9] + 1)];
    let bus = open_up(subject, &place, &positions.map(|position| position.unwrap_or(0))).await;
    begin(&bus, &positions).await;
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(read_values(&bus, 0, 10).await, expected, "from the earliest on");
    assert_eq!(read_values(&bus, 1, 6).await, expected[4..], "from a position on");
    assert_nothing_more(&bus, 2).await;
    close(bus).await;
}

fn lag_records(bus: &Bus, partition: Partition) -> u64 {
    let lags = bus.source.lags();
    lags.iter().find(|lag| lag.partition == partition).expect("the partition is assigned").records
}

/// [`RecordSource::lags`] decrease by [`RecordSource::stored`] and by nothing else.
pub async fn the_lag_counts_unstored_records(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 2).await;
    deliver(&bus, batch(0, (0..10).map(|n| n.to_string()))).await;
    deliver(&bus, batch(1, ["other"])).await;
    let all = read(&bus, 0, 10).await;
    read(&bus, 1, 1).await;
    assert_eq!(lag_records(&bus, 0), 10, "reading does not store");
    bus.source.stored(0, all[0].0);
    assert_eq!(lag_records(&bus, 0), 10, "the record at the position is not stored yet");
    bus.source.stored(0, all[4].0);
    assert_eq!(lag_records(&bus, 0), 6);
    bus.source.seek(0, Some(all[0].0));
    read(&bus, 0, 10).await;
    assert_eq!(lag_records(&bus, 0), 6, "reading again does not change what is stored");
    bus.source.stored(0, all[9].0 + 1);
    assert_eq!(lag_records(&bus, 0), 0);
    assert_eq!(lag_records(&bus, 1), 1, "another partition has its own lag");
    deliver(&bus, batch(0, ["new"])).await;
    read(&bus, 0, 1).await;
    assert_eq!(lag_records(&bus, 0), 1);
    close(bus).await;
}

/// [`RecordPublisher::buffer`] and [`RecordPublisher::usage`]: only records on their way take room.
pub async fn acknowledged_and_stored_records_take_no_room(subject: &impl BusSubject) {
    let (_place, bus) = opened(subject, 2).await;
    assert_eq!(bus.publisher.buffer(), Usage { used_bytes: 0, bytes_max: subject.memory_bytes_max() as u64 });
    let receipts: Vec<_> = (0..50).map(|_| publish(&bus, batch(0, [vec![b'x'; 100_000]]))).collect();
    for receipt in receipts {
        in_time("acknowledgement", receipt.settled).await.expect("the bus acknowledges the batch");
    }
    let last = read(&bus, 0, 50).await.last().map(|(offset, _)| *offset);
    bus.source.stored(0, last.expect("there are records") + 1);
    let empty = async {
        while bus.publisher.buffer().used_bytes > 0 || bus.publisher.usage(0).used_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time("all room is free again", empty).await;
    assert!(bus.publisher.usage(1).bytes_max > 0);
    close(bus).await;
}

/// [`RecordPublisher::drain`]: accepted batches are delivered, and all others fail with [`PublishError::Closed`].
pub async fn draining_delivers_accepted_batches_and_accepts_no_more(subject: &impl BusSubject) {
    let (place, bus) = opened(subject, 2).await;
    let mut receipts = Vec::new();
    for n in 0..200_u32 {
        receipts.push(publish(&bus, RecordBatch { guarantee: Guarantee::AtMostOnce, ..batch(n % 2, [n.to_string()]) }));
    }
    assert_eq!(bus.publisher.drain(DEADLINE).await, 0);
    for receipt in receipts {
        in_time("acknowledgement after the drain", receipt.settled).await.expect("the bus acknowledges the batch");
    }
    assert!(matches!(bus.publisher.publish(Arc::new(batch(0, ["late"]))), Err(PublishError::Closed)));
    assert!(matches!(bus.publisher.state(), BusState::Down(_)), "a closed bus accepts no records");
    assert_eq!(bus.publisher.drain(DEADLINE).await, 0, "a second drain finds nothing");
    drop(bus);

    let bus = open_up(subject, &place, &[0, 0]).await;
    begin(&bus, &[]).await;
    for partition in 0..2 {
        let expected: Vec<String> = (0..100).map(|n| (n * 2 + partition).to_string()).collect();
        assert_eq!(read_values(&bus, partition, 100).await, expected);
        assert_nothing_more(&bus, partition).await;
    }
    close(bus).await;
}

/// Records, offsets and timestamps are the same after any number of openings, even if they were reported as stored.
pub async fn everything_exists_after_reopening(subject: &impl BusSubject) {
    let place = subject.place().await;
    let mut known: Vec<(u64, Vec<u8>)> = Vec::new();
    for round in 0..4 {
        let bus = open_up(subject, &place, &[0]).await;
        assert_eq!(bus.publisher.partition_count(), NonZeroU32::MIN);
        begin(&bus, &[]).await;
        if !known.is_empty() {
            assert_eq!(read(&bus, 0, known.len()).await, known, "opened {round} times before");
        }
        for n in 0..20 {
            deliver(&bus, batch(0, [format!("{round}/{n}"), "x".repeat(10_000)])).await;
        }
        known.extend(read(&bus, 0, 40).await);
        assert_eq!(known.len(), (round + 1) * 40);
        close(bus).await;
    }
}

/// Neither by a reopened bus nor, where the bus numbers records itself, by one that lost records that the store has seen.
pub async fn no_offset_is_assigned_twice(subject: &impl BusSubject) {
    let place = subject.place().await;
    let mut seen = Vec::new();
    let mut stored = 0;
    for beyond in [0, 0, 5, 0, 1_000, 0] {
        if subject.numbers_from_positions() {
            stored += beyond;
        }
        let bus = open_up(subject, &place, &[stored]).await;
        begin(&bus, &[Some(stored)]).await;
        assert_eq!(lag_records(&bus, 0), 0, "everything before the position is stored");
        deliver(&bus, batch(0, ["one", "two"])).await;
        let read = read(&bus, 0, 2).await;
        assert_eq!(read.iter().map(|(_, value)| &value[..]).collect::<Vec<_>>(), [b"one", b"two"]);
        assert!(read[0].0 >= stored, "offset {} was already used: the store is at {stored}", read[0].0);
        seen.extend(read.into_iter().map(|(offset, _)| offset));
        stored = seen.last().map_or(0, |last| last + 1);
        close(bus).await;
    }
    assert!(seen.is_sorted_by(|one, other| one < other), "{seen:?}");
}
