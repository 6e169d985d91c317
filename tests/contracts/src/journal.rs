//! Contract of [`Journal`] and of the [`Backlog`]s that it adopts.

use std::sync::Arc;

use domain::admission::Usage;
use domain::delivery::{Guarantee, count_guarantees};
use domain::partition::Partition;
use domain::ports::{
    Backlog, BacklogPartition, BoxFuture, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, Journal, JournalError, JournaledBatch,
    RefusedRecord,
};
use domain::record::{RECORD_BYTES_MAX, RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;

use crate::variety::{EPOCH, Seed, time};
use crate::{in_time, run};

/// A record kept because the bus refuses it permanently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRefused {
    /// Why it was refused.
    pub reason: String,
    /// Its target partition.
    pub partition: Partition,
    /// Its value.
    pub value: Vec<u8>,
}

/// An implementation of the journal under test.
pub trait JournalSubject: Sync {
    /// Where the journals of several processes are stored; dropped at the end of a check.
    type Place;
    /// The journal.
    type Journal: Journal + 'static;

    /// An empty place.
    fn place(&self) -> impl Future<Output = Self::Place>;

    /// Opens a journal in `place`, as a new process would: others may be open.
    fn open(&self, place: &Self::Place, bytes_max: u64) -> impl Future<Output = Arc<Self::Journal>>;

    /// Closes a journal cleanly, as a process does on exit.
    fn close(&self, journal: Arc<Self::Journal>) -> impl Future<Output = ()>;

    /// Records that [`Journal::keep_refused`] has kept in `place`, in order, as seen from outside.
    fn refused(&self, place: &Self::Place) -> impl Future<Output = Vec<KeptRefused>>;
}

/// Runs the whole suite.
pub async fn all(subject: &impl JournalSubject) {
    run!(
        subject,
        a_record_is_returned_exactly,
        batches_read_have_consecutive_numbers_and_one_trace,
        batches_keep_their_order_and_come_once,
        batches_of_concurrent_callers_keep_the_order_of_their_numbers,
        numbers_may_be_skipped_but_never_go_back,
        reading_begins_and_ends_at_the_given_numbers,
        reading_does_not_skip_entries_on_their_way_to_the_disk,
        a_chunk_stays_within_its_limits,
        an_append_whose_future_is_dropped_is_kept,
        an_empty_batch_is_kept_and_leaves_nothing,
        partitions_do_not_see_each_other,
        unreleased_entries_stay,
        released_entries_take_no_room_and_are_not_found_again,
        entries_released_before_they_are_on_disk_are_released,
        the_oldest_entry_is_known,
        a_batch_without_room_is_refused_and_leaves_nothing,
        a_closed_journal_accepts_nothing,
        a_new_process_starts_empty_and_adopts_the_backlog,
        a_backlog_belongs_to_one_process_at_a_time,
        the_journal_of_a_live_process_is_not_adopted,
        an_adopted_backlog_takes_room_until_it_is_released,
        a_half_released_backlog_is_found_again,
        refused_records_are_kept_and_do_not_count_as_backlog,
    );
}

const PLENTY: u64 = 256 * 1024 * 1024;
const TRACES: [&[u8]; 2] = [
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00",
];

/// An entry with all its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    number: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    timestamp: Timestamp,
    client_id: bool,
    guarantee: Guarantee,
    trace_parent: Option<TraceParent>,
}

/// Entries whose values are their number and further bytes.
fn entries(first: u64, count: u64, len: usize) -> Vec<Entry> {
    let entry = |number: u64| {
        let mut value = format!("{number} ").into_bytes();
        value.resize(value.len() + len, b'x');
        Entry {
            number,
            key: b"shop".to_vec(),
            value,
            timestamp: time(EPOCH + i64::try_from(number % 1_000_000).unwrap_or(0)),
            client_id: number.is_multiple_of(2),
            guarantee: Guarantee::ALL[usize::try_from(number % 3).unwrap_or(0)],
            trace_parent: None,
        }
    };
    (first..first + count).map(entry).collect()
}

/// A batch of entries, which share one trace.
fn batch(partition: Partition, entries: &[Entry]) -> (Arc<RecordBatch>, Arc<[Guarantee]>) {
    let mut records = Records::default();
    for entry in entries {
        let push = |buffer: &mut Vec<u8>| buffer.extend_from_slice(&entry.value);
        records.push(&entry.key, entry.timestamp, entry.client_id, push).expect("small enough");
    }
    let guarantees: Arc<[Guarantee]> = entries.iter().map(|entry| entry.guarantee).collect();
    let guarantee = guarantees.iter().max().copied().unwrap_or(Guarantee::AtMostOnce);
    let trace_parent = entries.first().and_then(|entry| entry.trace_parent);
    (Arc::new(RecordBatch { partition, guarantee, records, trace_parent }), guarantees)
}

/// The future of an append.
type Written = BoxFuture<Result<(), JournalError>>;

fn queue(journal: &dyn Journal, partition: Partition, entries: &[Entry]) -> Result<Written, JournalError> {
    let (batch, guarantees) = batch(partition, entries);
    journal.append(entries.first().map_or(0, |entry| entry.number), batch, guarantees)
}

async fn append(journal: &dyn Journal, partition: Partition, entries: &[Entry]) {
    let written = queue(journal, partition, entries).expect("the journal takes the batch");
    in_time("fsync", written).await.expect("the journal keeps the batch");
}

/// One chunk, checked against the contract for chunks.
async fn chunk(backlog: &dyn Backlog, partition: Partition, from: u64, to: u64) -> (Vec<Entry>, u64) {
    let chunk = in_time("chunk", backlog.read(partition, from, to)).await.expect("the disk works");
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for JournaledBatch { first, batch, guarantees } in chunk.batches {
        assert!(!batch.records.is_empty(), "a batch has a record");
        assert_eq!(batch.partition, partition);
        assert_eq!(batch.records.len(), guarantees.len(), "each record must have a guarantee");
        assert_eq!(
            Some(batch.guarantee),
            guarantees.iter().max().copied(),
            "a batch must have its strictest guarantee"
        );
        bytes += batch.records.bytes();
        for ((number, record), guarantee) in (first..).zip(batch.records.iter()).zip(guarantees) {
            entries.push(Entry {
                number,
                key: record.key.to_vec(),
                value: record.value.to_vec(),
                timestamp: record.timestamp,
                client_id: record.client_id,
                guarantee,
                trace_parent: batch.trace_parent,
            });
        }
    }
    assert!(bytes <= CHUNK_BYTES_MAX && entries.len() <= CHUNK_RECORDS_MAX, "{bytes} bytes, {}", entries.len());
    assert!(entries.is_sorted_by(|one, other| one.number < other.number), "numbers ascend");
    assert!(entries.iter().all(|entry| (from..to).contains(&entry.number)), "only the requested entries");
    assert!(entries.last().is_none_or(|last| last.number < chunk.next), "`next` is behind the chunk");
    assert!(chunk.next <= to, "`next` is not behind `to`");
    (entries, chunk.next)
}

/// All entries in a range without pending writes.
async fn read(backlog: &dyn Backlog, partition: Partition, from: u64, to: u64) -> Vec<Entry> {
    let (mut all, mut next) = (Vec::new(), from);
    while next < to {
        let (entries, on) = chunk(backlog, partition, next, to).await;
        assert!(!entries.is_empty() || on == to, "a chunk has an entry if there is one: {next} to {on}");
        all.extend(entries);
        next = on;
    }
    all
}

/// Like `assert_eq`, without printing all bytes.
fn assert_same(seen: &[Entry], expected: &[Entry]) {
    if seen != expected {
        let numbers = |entries: &[Entry]| entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
        assert_eq!(numbers(seen), numbers(expected), "the wrong entries");
        let wrong = seen.iter().zip(expected).find(|(seen, expected)| seen != expected);
        panic!("an entry has changed: {:?}", wrong.map(|(seen, expected)| (seen.number, expected.number)));
    }
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    in_time(what, held).await;
}

async fn adopt(journal: &dyn Journal) -> Option<Arc<dyn Backlog>> {
    in_time("adoption", journal.adopt()).await.expect("the disk works")
}

/// Waits for a backlog to adopt: a process that has just released one may take a moment.
async fn adopt_in_time(journal: &dyn Journal) -> Arc<dyn Backlog> {
    let adopted = async {
        loop {
            if let Some(backlog) = adopt(journal).await {
                return backlog;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("something to adopt", adopted).await
}

/// Key, value, time, the client id flag, guarantee and trace, for any bytes up to the largest record.
pub async fn a_record_is_returned_exactly(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let mut seed = Seed::new(1);
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let noise: Vec<u8> = (0..RECORD_BYTES_MAX - 255).map(|_| seed.number().to_le_bytes()[3]).collect();
    let cases: [(&[u8], &[u8], Timestamp, bool); 9] = [
        (b"shop", b"{}", time(EPOCH), false),
        (b"shop", b"{}", time(EPOCH), true),
        (b"", b"value", time(EPOCH + 1), false),
        (b"key", b"", time(EPOCH + 999_999), true),
        (b"", b"", time(0), false),
        (&all_bytes[..255], &all_bytes, time(-1), true),
        (b"\0\xff", b"\0\0\0\0\0\0\0\0", Timestamp::MIN, false),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736", TRACES[0], Timestamp::MAX, true),
        (&all_bytes[1..], &noise, time(EPOCH), true),
    ];
    let mut expected = Vec::new();
    for trace_parent in [None, TraceParent::parse(TRACES[0]), TraceParent::parse(TRACES[1])] {
        for guarantee in Guarantee::ALL {
            let numbers = expected.len() as u64..;
            let entries = numbers.zip(cases).map(|(number, (key, value, timestamp, client_id))| {
                let (key, value) = (key.to_vec(), value.to_vec());
                Entry { number, key, value, timestamp, client_id, guarantee, trace_parent }
            });
            let entries: Vec<Entry> = entries.collect();
            append(&*journal, 0, &entries).await;
            expected.extend(entries);
        }
    }
    assert_same(&read(&*journal, 0, 0, expected.len() as u64).await, &expected);
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    assert_same(&read(&*backlog, 0, 0, expected.len() as u64).await, &expected);
    subject.close(journal).await;
}

/// However the entries were batched when appended.
pub async fn batches_read_have_consecutive_numbers_and_one_trace(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let mut seed = Seed::new(2);
    let (mut expected, mut next) = (Vec::new(), 0);
    for _ in 0..200 {
        next += seed.below(3) as u64;
        let trace_parent = [None, TraceParent::parse(TRACES[0]), TraceParent::parse(TRACES[1])][seed.below(3)];
        let mut entries = entries(next, 1 + seed.below(4) as u64, 10);
        entries.iter_mut().for_each(|entry| entry.trace_parent = trace_parent);
        next += entries.len() as u64;
        append(&*journal, 0, &entries).await;
        expected.extend(entries);
    }
    // `chunk` assigns the numbers and the trace of a batch to its records.
    assert_same(&read(&*journal, 0, 0, next).await, &expected);
    subject.close(journal).await;
}

/// Whatever the batch sizes and the time of reading.
pub async fn batches_keep_their_order_and_come_once(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let mut seed = Seed::new(3);
    let mut appended: [Vec<Entry>; 2] = Default::default();
    let mut seen: [Vec<Entry>; 2] = Default::default();
    let mut open: Vec<Written> = Vec::new();
    for _ in 0..400 {
        let partition = seed.below(2);
        let first = appended[partition].len() as u64;
        let count = if seed.one_in(10) { 500 } else { 1 + seed.below(5) as u64 };
        let entries = entries(first, count, seed.below(200));
        let id = u32::try_from(partition).unwrap_or(0);
        open.push(queue(&*journal, id, &entries).expect("the journal takes the batch"));
        appended[partition].extend(entries);
        if seed.one_in(5) {
            for written in open.drain(..) {
                in_time("fsync", written).await.expect("the journal keeps the batch");
            }
            let (from, to) = (seen[partition].len() as u64, appended[partition].len() as u64);
            let (some, next) = chunk(&*journal, id, from, to).await;
            assert_eq!(from + some.len() as u64, next, "no number is skipped");
            seen[partition].extend(some);
        }
    }
    for written in open {
        in_time("fsync", written).await.expect("the journal keeps the batch");
    }
    for (partition, (seen, appended)) in (0..).zip(seen.iter_mut().zip(&appended)) {
        let (from, to) = (seen.len() as u64, appended.len() as u64);
        seen.extend(read(&*journal, partition, from, to).await);
        assert_same(seen, appended);
    }
    subject.close(journal).await;
}

/// Callers of one partition take turns, like those that share the line of a partition.
pub async fn batches_of_concurrent_callers_keep_the_order_of_their_numbers(subject: &impl JournalSubject) {
    const CALLERS: u64 = 8;
    const BATCHES: u64 = 50;
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let next = Arc::new([const { std::sync::Mutex::new(0_u64) }; 3]);
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (journal, next) = (Arc::clone(&journal), Arc::clone(&next));
            tokio::spawn(async move {
                for n in 0..BATCHES {
                    let partition = usize::try_from((caller + n) % 3).unwrap_or(0);
                    let written = {
                        let mut next = next[partition].lock().expect("not poisoned");
                        let entries = entries(*next, 1 + n % 4, 50);
                        *next += entries.len() as u64;
                        queue(&*journal, u32::try_from(partition).unwrap_or(0), &entries)
                    };
                    in_time("fsync", written.expect("taken")).await.expect("the journal keeps the batch");
                }
            })
        })
        .collect();
    for caller in callers {
        in_time("a caller", caller).await.expect("no caller panics");
    }
    for partition in 0..3 {
        let count = *next[partition as usize].lock().expect("not poisoned");
        assert_same(&read(&*journal, partition, 0, count).await, &entries(0, count, 50));
    }
    subject.close(journal).await;
}

/// Skipped numbers have no entry; used numbers cannot be used again.
pub async fn numbers_may_be_skipped_but_never_go_back(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let firsts = [0, 5, 8, 1_000, 1 << 32, 1 << 40, u64::MAX / 2];
    let mut expected = Vec::new();
    for first in firsts {
        let entries = entries(first, 3, 10);
        append(&*journal, 0, &entries).await;
        expected.extend(entries);
    }
    let end = u64::MAX / 2 + 3;
    for used in [0, 4, 10, u64::MAX / 2 + 2] {
        let refused = queue(&*journal, 0, &entries(used, 1, 10));
        assert!(matches!(refused, Err(JournalError::Unavailable(_))), "number {used} is taken again");
    }
    assert_same(&read(&*journal, 0, 0, end + 5).await, &expected);
    assert_eq!(chunk(&*journal, 0, 11, 900).await, (vec![], 900), "nothing is left before 900");
    assert_same(&read(&*journal, 0, 11, 1_001).await, &expected[9..10]);
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    assert_same(&read(&*backlog, 0, 0, end).await, &expected);
    subject.close(journal).await;
}

/// From any number to any number, in any order.
pub async fn reading_begins_and_ends_at_the_given_numbers(subject: &impl JournalSubject) {
    const ENTRIES: u64 = 2_000;
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let all = entries(0, ENTRIES, 300);
    for batch in all.chunks(7) {
        drop(queue(&*journal, 0, batch).expect("taken"));
    }
    append(&*journal, 0, &entries(ENTRIES, 1, 0)).await;
    let mut seed = Seed::new(4);
    for _ in 0..200 {
        let from = seed.below(ENTRIES as usize + 1);
        let to = from + seed.below(ENTRIES as usize + 1 - from);
        assert_same(&read(&*journal, 0, from as u64, to as u64).await, &all[from..to]);
    }
    // Sequentially, in steps.
    for from in (0..ENTRIES).step_by(13) {
        let to = (from + 13).min(ENTRIES);
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        assert_same(&read(&*journal, 0, from, to).await, &all[range]);
    }
    subject.close(journal).await;
}

/// A reader gets all entries, in order, while others write.
pub async fn reading_does_not_skip_entries_on_their_way_to_the_disk(subject: &impl JournalSubject) {
    const BATCHES: u64 = 300;
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    append(&*journal, 0, &entries(0, 3, 100)).await;
    let writer = {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            for n in 1..BATCHES {
                let written = queue(&*journal, 0, &entries(3 * n, 3, 100)).expect("taken");
                if n % 10 == 0 {
                    in_time("fsync", written).await.expect("the journal keeps the batch");
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let mut seen = Vec::new();
    let reader = async {
        while (seen.len() as u64) < 3 * BATCHES {
            let from = seen.len() as u64;
            // Reading numbers that were never appended skips them, so read only existing ones.
            let (some, next) = chunk(&*journal, 0, from, from + 3).await;
            if some.is_empty() && next == from + 3 {
                // Not appended yet.
                tokio::task::yield_now().await;
                continue;
            }
            assert_eq!(next, from + some.len() as u64, "no number is skipped");
            seen.extend(some);
        }
    };
    in_time("all entries", reader).await;
    in_time("the writer", writer).await.expect("no panic");
    assert_same(&seen, &entries(0, 3 * BATCHES, 100));
    subject.close(journal).await;
}

/// A chunk stays within its limits in bytes and in records, but has at least one record.
pub async fn a_chunk_stays_within_its_limits(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let small = entries(0, CHUNK_RECORDS_MAX as u64 + 10, 1);
    for batch in small.chunks(1_000) {
        append(&*journal, 0, batch).await;
    }
    let large = entries(0, 12, RECORD_BYTES_MAX - 100);
    for batch in large.chunks(3) {
        append(&*journal, 1, batch).await;
    }
    // `chunk` checks the limits.
    assert_same(&read(&*journal, 0, 0, small.len() as u64).await, &small);
    assert_same(&read(&*journal, 1, 0, 12).await, &large);
    let (first, next) = chunk(&*journal, 0, 0, small.len() as u64).await;
    assert!(first.len() > CHUNK_RECORDS_MAX / 2 && next == first.len() as u64, "{} records", first.len());
    let (first, _) = chunk(&*journal, 1, 0, 12).await;
    assert!(first.len() > 1, "{} of 1 MB", first.len());
    subject.close(journal).await;
}

/// The future only reports the outcome.
pub async fn an_append_whose_future_is_dropped_is_kept(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    for n in 0..50 {
        drop(queue(&*journal, 0, &entries(2 * n, 2, 50)).expect("taken"));
    }
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    assert_same(&read(&*backlog, 0, 0, 100).await, &entries(0, 100, 50));
    subject.close(journal).await;
}

/// Also in a partition without entries.
pub async fn an_empty_batch_is_kept_and_leaves_nothing(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    append(&*journal, 0, &[]).await;
    append(&*journal, 0, &entries(0, 2, 10)).await;
    append(&*journal, 0, &[]).await;
    assert_same(&read(&*journal, 0, 0, 2).await, &entries(0, 2, 10));
    assert_eq!(chunk(&*journal, 7, 3, 9).await, (vec![], 9), "an unknown partition has no entries");
    journal.release(7, 9);
    subject.close(journal).await;
}

/// Each partition has its own numbers.
pub async fn partitions_do_not_see_each_other(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    for partition in [3, 0, 11] {
        append(&*journal, partition, &entries(u64::from(partition), 4, 20)).await;
    }
    journal.release(0, 4);
    for partition in [3_u32, 11] {
        let first = u64::from(partition);
        assert_same(&read(&*journal, partition, 0, 100).await, &entries(first, 4, 20));
    }
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    let found: Vec<Partition> = backlog.found().iter().map(|of| of.partition).collect();
    assert_eq!(found, [3, 11], "the lowest partition comes first");
    subject.close(journal).await;
}

/// Step by step; nothing from the released number on is removed.
pub async fn unreleased_entries_stay(subject: &impl JournalSubject) {
    const ENTRIES: u64 = 600;
    let place = subject.place().await;
    // Small, so that it has many files.
    let journal = subject.open(&place, 2 * 1024 * 1024).await;
    let all = entries(0, ENTRIES, 2_000);
    for batch in all.chunks(10) {
        append(&*journal, 0, batch).await;
    }
    let full = journal.usage();
    let mut before = full;
    for released in (0..ENTRIES).step_by(37) {
        journal.release(0, released);
        // A late release has no effect.
        journal.release(0, released / 2);
        let rest = usize::try_from(released).unwrap_or(0)..;
        assert_same(&read(&*journal, 0, released, ENTRIES).await, &all[rest]);
        assert!(journal.usage().used_bytes <= before.used_bytes);
        before = journal.usage();
    }
    until("room", || journal.usage().used_bytes < full.used_bytes / 4).await;
    subject.close(journal).await;
}

/// However often it was filled.
pub async fn released_entries_take_no_room_and_are_not_found_again(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let mut next = 0;
    for round in 0..20 {
        for partition in 0..3 {
            let entries = entries(next, 10 * (1 + round % 3), 1_000);
            append(&*journal, partition, &entries).await;
            assert_same(&read(&*journal, partition, next, next + entries.len() as u64).await, &entries);
        }
        next += 10 * (1 + round % 3);
        assert!(journal.usage().used_bytes > 0 && journal.oldest().is_some());
        for partition in 0..3 {
            // Also beyond the last entry.
            journal.release(partition, next + round % 2);
        }
        assert_eq!(journal.oldest(), None);
        until("room", || journal.usage().used_bytes == 0).await;
        next += round % 2;
    }
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    assert!(adopt(&*journal).await.is_none(), "released entries are found again");
    subject.close(journal).await;
}

/// The bus was faster than the disk.
pub async fn entries_released_before_they_are_on_disk_are_released(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    for n in 0..100 {
        let written = queue(&*journal, 0, &entries(n, 1, 1_000)).expect("taken");
        journal.release(0, n + 1);
        if n % 7 == 0 {
            in_time("fsync", written).await.expect("the journal keeps the batch");
        }
    }
    until("room", || journal.usage().used_bytes == 0).await;
    assert_eq!(journal.oldest(), None);
    subject.close(journal).await;
    let journal = subject.open(&place, PLENTY).await;
    assert!(adopt(&*journal).await.is_none(), "released entries are found again");
    subject.close(journal).await;
}

/// Across all partitions and adopted backlogs.
pub async fn the_oldest_entry_is_known(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let at = |number: i64| Some(time(EPOCH + number));
    assert_eq!(journal.oldest(), None);
    append(&*journal, 0, &entries(5, 3, 10)).await;
    append(&*journal, 0, &entries(8, 1, 10)).await;
    append(&*journal, 1, &entries(6, 1, 10)).await;
    assert_eq!(journal.oldest(), at(5));
    journal.release(0, 8);
    assert_eq!(journal.oldest(), at(6));
    journal.release(1, 7);
    assert_eq!(journal.oldest(), at(8));
    subject.close(journal).await;

    let journal = subject.open(&place, PLENTY).await;
    append(&*journal, 0, &entries(20, 1, 10)).await;
    assert_eq!(journal.oldest(), at(20), "an unadopted backlog does not count");
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    assert!(journal.oldest() <= at(8), "adopted entries are older");
    backlog.release(0, 9);
    backlog.release(1, 7);
    assert_eq!(journal.oldest(), at(20));
    subject.close(journal).await;
}

/// On-disk, pending and adopted entries take room.
pub async fn a_batch_without_room_is_refused_and_leaves_nothing(subject: &impl JournalSubject) {
    const BYTES_MAX: u64 = 1024 * 1024;
    let place = subject.place().await;
    let journal = subject.open(&place, BYTES_MAX).await;
    let mut next = 0;
    for _ in 0..3 {
        let from = next;
        let refused = loop {
            let batch = entries(next, 5, 4_000);
            // The size on disk if everything is accepted.
            match queue(&*journal, u32::try_from(next % 2).unwrap_or(0), &batch) {
                Ok(written) => drop(written),
                Err(error) => break error,
            }
            next += 5;
            let Usage { used_bytes, bytes_max } = journal.usage();
            assert!(used_bytes <= bytes_max && bytes_max == BYTES_MAX, "{used_bytes} of {bytes_max} bytes");
        };
        assert!(matches!(refused, JournalError::Full), "{refused:?}");
        assert!((next - from) * 4_000 > BYTES_MAX * 3 / 4, "only {} entries", next - from);
        // The number of a refused batch stays free. Refused entries do not exist.
        for partition in 0..2 {
            let batches = (from..next).step_by(5).filter(|first| first % 2 == u64::from(partition));
            let expected: Vec<Entry> = batches.flat_map(|first| entries(first, 5, 4_000)).collect();
            let on_disk = async {
                let mut seen: Vec<Entry> = Vec::new();
                while seen.len() < expected.len() {
                    let on = seen.last().map_or(from, |last| last.number + 1);
                    seen.extend(chunk(&*journal, partition, on, next).await.0);
                }
                seen
            };
            assert_same(&in_time("all entries", on_disk).await, &expected);
            journal.release(partition, next);
        }
        until("room", || journal.usage().used_bytes == 0).await;
    }
    let too_much = entries(next, 2, 900_000);
    assert!(matches!(queue(&*journal, 0, &too_much), Err(JournalError::Full)), "more than the journal can ever have");
    assert_eq!(journal.usage().used_bytes, 0);
    assert_eq!(journal.fault(), None, "a full journal is not broken");
    subject.close(journal).await;
}

/// Everything accepted before is on disk.
pub async fn a_closed_journal_accepts_nothing(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let written = queue(&*journal, 0, &entries(0, 3, 10)).expect("taken");
    let closed = Arc::clone(&journal);
    subject.close(journal).await;
    in_time("fsync", written).await.expect("the journal keeps accepted batches");
    for partition in [0, 1] {
        assert!(matches!(queue(&*closed, partition, &entries(3, 1, 10)), Err(JournalError::Closed)));
    }
    let (batch, _) = batch(0, &entries(0, 1, 10));
    let refused = RefusedRecord { position: 0, reason: "no".to_owned() };
    assert!(matches!(in_time("an answer", closed.keep_refused(batch, vec![refused])).await, Err(JournalError::Closed)));
    assert!(matches!(in_time("an answer", closed.adopt()).await, Err(JournalError::Closed)));
}

/// Numbers start over; the backlog keeps its own.
pub async fn a_new_process_starts_empty_and_adopts_the_backlog(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    let left = [entries(7, 30, 100), entries(0, 5, 100)];
    append(&*journal, 0, &left[0][..20]).await;
    append(&*journal, 0, &left[0][20..]).await;
    append(&*journal, 4, &left[1]).await;
    subject.close(journal).await;

    let journal = subject.open(&place, PLENTY).await;
    assert_eq!(journal.found(), [], "the process's own journal starts empty");
    assert_eq!(journal.usage().used_bytes, 0);
    append(&*journal, 0, &entries(0, 2, 7)).await;
    assert_same(&read(&*journal, 0, 0, 100).await, &entries(0, 2, 7));
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    let expected = [(0, &left[0]), (4, &left[1])].map(|(partition, entries)| BacklogPartition {
        partition,
        first: entries[0].number,
        next: entries[0].number + entries.len() as u64,
        records: count_guarantees(&entries.iter().map(|entry| entry.guarantee).collect::<Vec<_>>()),
        oldest: Some(entries[0].timestamp),
        damaged_bytes: 0,
    });
    assert_eq!(backlog.found(), expected);
    for (partition, entries) in [(0, &left[0]), (4, &left[1])] {
        assert_same(&read(&*backlog, partition, 0, 100).await, entries);
    }
    assert_same(&read(&*journal, 0, 0, 100).await, &entries(0, 2, 7));
    subject.close(journal).await;
}

/// It belongs to its owner until it is released.
pub async fn a_backlog_belongs_to_one_process_at_a_time(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let left = subject.open(&place, PLENTY).await;
    append(&*left, 0, &entries(0, 10, 100)).await;
    subject.close(left).await;

    let (one, other) = (subject.open(&place, PLENTY).await, subject.open(&place, PLENTY).await);
    let backlog = adopt(&*one).await.expect("there is something to adopt");
    assert!(adopt(&*other).await.is_none() && adopt(&*one).await.is_none(), "adopted twice");
    assert!(one.usage().used_bytes > 0);
    drop(backlog);
    assert_eq!(one.usage().used_bytes, 0);
    let backlog = adopt_in_time(&*other).await;
    assert_same(&read(&*backlog, 0, 0, 10).await, &entries(0, 10, 100));
    backlog.release(0, 10);
    until("room", || other.usage().used_bytes == 0).await;
    drop(backlog);
    assert!(adopt(&*one).await.is_none() && adopt(&*other).await.is_none(), "released entries are found again");
    subject.close(one).await;
    subject.close(other).await;
}

/// Not even by processes that started later.
pub async fn the_journal_of_a_live_process_is_not_adopted(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let one = subject.open(&place, PLENTY).await;
    append(&*one, 0, &entries(0, 10, 100)).await;
    let other = subject.open(&place, PLENTY).await;
    append(&*other, 0, &entries(0, 5, 50)).await;
    for journal in [&one, &other] {
        assert!(adopt(&**journal).await.is_none(), "the journal of a live process was adopted");
    }
    assert_same(&read(&*one, 0, 0, 10).await, &entries(0, 10, 100));
    assert_same(&read(&*other, 0, 0, 5).await, &entries(0, 5, 50));
    subject.close(other).await;
    let backlog = adopt_in_time(&*one).await;
    assert_same(&read(&*backlog, 0, 0, 5).await, &entries(0, 5, 50));
    subject.close(one).await;
}

/// Even if it exceeds the limit for the process's own entries.
pub async fn an_adopted_backlog_takes_room_until_it_is_released(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, PLENTY).await;
    append(&*journal, 0, &entries(0, 300, 10_000)).await;
    let used = journal.usage().used_bytes;
    assert!(used >= 3_000_000);
    subject.close(journal).await;
    let journal = subject.open(&place, 2_000_000).await;
    assert!(queue(&*journal, 0, &entries(0, 1, 10)).is_ok());
    journal.release(0, 1);
    until("room", || journal.usage().used_bytes == 0).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    assert_eq!(journal.usage().used_bytes, used);
    assert!(matches!(queue(&*journal, 0, &entries(1, 1, 10)), Err(JournalError::Full)));
    backlog.release(0, 300);
    until("room", || journal.usage().used_bytes == 0).await;
    append(&*journal, 0, &entries(1, 1, 10)).await;
    subject.close(journal).await;
}

/// Its released entries may return; the others must.
pub async fn a_half_released_backlog_is_found_again(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let journal = subject.open(&place, 8 * 1024 * 1024).await;
    let all = entries(0, 400, 10_000);
    for batch in all.chunks(10) {
        append(&*journal, 0, batch).await;
    }
    append(&*journal, 1, &entries(0, 10, 100)).await;
    subject.close(journal).await;

    let journal = subject.open(&place, 8 * 1024 * 1024).await;
    let backlog = adopt(&*journal).await.expect("there is something to adopt");
    let before = journal.usage().used_bytes;
    backlog.release(0, 200);
    backlog.release(1, 10);
    until("room", || journal.usage().used_bytes < before * 2 / 3).await;
    assert_same(&read(&*backlog, 0, 200, 400).await, &all[200..]);
    drop(backlog);
    let backlog = adopt_in_time(&*journal).await;
    let [of] = backlog.found()[..] else { panic!("one partition has entries: {:?}", backlog.found()) };
    assert!(of.partition == 0 && of.first > 0 && of.first <= 200 && of.next == 400, "{of:?}");
    let first = usize::try_from(of.first).unwrap_or(0);
    assert_same(&read(&*backlog, 0, 0, 400).await, &all[first..]);
    subject.close(journal).await;
}

/// In order, with their reasons, across all processes.
pub async fn refused_records_are_kept_and_do_not_count_as_backlog(subject: &impl JournalSubject) {
    let place = subject.place().await;
    let mut expected = Vec::new();
    for process in 0..3_u32 {
        let journal = subject.open(&place, PLENTY).await;
        for partition in [process, 9] {
            let entries = entries(u64::from(process) * 10, 5, 20);
            let (batch, _) = batch(partition, &entries);
            let refused: Vec<RefusedRecord> = [1, 4, 77]
                .map(|position| RefusedRecord { position, reason: format!("reason {process}/{position}") })
                .into();
            let kept = journal.keep_refused(batch, refused.clone());
            in_time("fsync", kept).await.expect("the journal keeps them");
            // The reason for position 77, which does not exist, is ignored.
            for refused in &refused[..2] {
                let value = entries[refused.position].value.clone();
                expected.push(KeptRefused { reason: refused.reason.clone(), partition, value });
            }
        }
        assert_eq!(subject.refused(&place).await, expected);
        assert_eq!(journal.usage().used_bytes, 0);
        assert!(adopt(&*journal).await.is_none(), "refused records are adopted");
        subject.close(journal).await;
    }
}
