//! The journal on a failing disk, compared with a simple model.
//!
//! Invariants, whatever happens to the process and to the disk:
//! * Promised entries that were not released exist, exactly as appended and in order: in the journal of the process that
//!   appended them or, once that process has ended, in a backlog that another one adopts.
//! * Every existing entry was appended under its number. The process that saw an entry refused does not read it.
//! * A backlog belongs to one process, and reports its entries correctly.
//! * The journal never fails without a reason: each error has a fault that this test injected.
//!
//! The journal has its own threads, so a seed does not determine every detail of a history. The checks hold for all of
//! them; a test waits for a condition, with a deadline that only serves to fail.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use domain::delivery::{Guarantee, GuaranteeCounts};
use domain::partition::Partition;
use domain::ports::{Backlog, BacklogPartition, BoxFuture, Journal, JournalError, RefusedRecord};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use model::{Chance, SimulatedDisk};

/// Long enough for a slow machine; only a failing test reaches it.
const DEADLINE: Duration = Duration::from_secs(60);
const TRACE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PARTITIONS: u32 = 2;
const OPTIONS: JournalOptions =
    JournalOptions { bytes_max: 1024 * 1024, segment_bytes_max: 4 * 1024, refused_bytes_max: 64 * 1024 };

/// The value appended under an id, unique to that id.
fn value(id: u64) -> Vec<u8> {
    let mut chance = Chance::new(id);
    let mut value = id.to_le_bytes().to_vec();
    let len = chance.below(600);
    value.extend(chance.bytes(len));
    value
}

fn guarantee(id: u64) -> Guarantee {
    Guarantee::ALL[Chance::new(!id).below(3)]
}

fn time(id: u64) -> Timestamp {
    Timestamp::from_unix_micros(1_705_314_600_000_000 + i64::try_from(id).unwrap()).unwrap()
}

/// A batch with these ids.
fn batch(partition: Partition, ids: std::ops::Range<u64>) -> (Arc<RecordBatch>, Arc<[Guarantee]>) {
    let mut records = Records::default();
    for id in ids.clone() {
        records.push(b"source", time(id), id % 2 == 0, |buffer| buffer.extend(value(id))).unwrap();
    }
    let guarantees: Arc<[Guarantee]> = ids.clone().map(guarantee).collect();
    let guarantee = guarantees.iter().max().copied().unwrap();
    let trace_parent = if ids.start.is_multiple_of(3) { TraceParent::parse(TRACE) } else { None };
    (Arc::new(RecordBatch { partition, guarantee, records, trace_parent }), guarantees)
}

type Written = BoxFuture<Result<(), JournalError>>;

/// The output of a future, if it has completed.
fn outcome<T>(future: &mut BoxFuture<T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(outcome) => Some(outcome),
        std::task::Poll::Pending => None,
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

fn open(disk: &SimulatedDisk) -> DiskJournal {
    DiskJournal::over(disk.slots(), OPTIONS, Arc::new(Disk::unlimited())).unwrap().expect("a slot is free")
}

/// Entries as read: number and id. Checks their content.
async fn read(
    backlog: &dyn Backlog,
    partition: Partition,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, u64)>, JournalError> {
    let (mut entries, mut from) = (Vec::new(), from);
    while from < to {
        let chunk = in_time("a chunk", backlog.read(partition, from, to)).await?;
        for batch in &chunk.batches {
            assert!(batch.batch.partition == partition && batch.guarantees.len() == batch.batch.records.len());
            for ((number, record), is) in (batch.first..).zip(batch.batch.records.iter()).zip(&batch.guarantees) {
                let id = u64::from_le_bytes(*record.value.first_chunk().expect("a value begins with its id"));
                assert_eq!(record.value, value(id), "the content of {id}");
                assert_eq!((record.timestamp, record.client_id, *is), (time(id), id % 2 == 0, guarantee(id)));
                entries.push((number, id));
            }
        }
        if chunk.next <= from {
            // The rest is not on disk yet.
            break;
        }
        from = chunk.next;
    }
    assert!(entries.is_sorted_by(|one, other| one.0 < other.0), "numbers ascend: {entries:?}");
    Ok(entries)
}

/// What is known about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Queued, without an outcome so far.
    Open,
    Promised,
    /// Certainly not kept, or the process died before the outcome was known.
    Unknown,
}

/// What a process has appended to a partition, by number.
#[derive(Default)]
struct Log {
    entries: BTreeMap<u64, (u64, Fate)>,
    next: u64,
    released: u64,
    /// A batch has failed since the journal last resumed.
    failed: bool,
}

impl Log {
    /// Checks the entries read against those that may exist and, if `is_all`, those that must exist.
    fn check(&self, seen: &[(u64, u64)], may_be: impl Fn(Fate) -> bool, is_all: bool) {
        for (number, id) in seen {
            let entry = self.entries.get(number);
            assert_eq!(entry.map(|(id, _)| id), Some(id), "entry {number} differs from what was appended");
            let (_, fate) = entry.unwrap();
            assert!(may_be(*fate), "entry {number} is {fate:?} but exists");
        }
        if !is_all {
            return;
        }
        let seen: BTreeSet<u64> = seen.iter().map(|(number, _)| *number).collect();
        let promised = self.entries.range(self.released..).filter(|(_, (_, fate))| *fate == Fate::Promised);
        let lost: Vec<u64> = promised.map(|(number, _)| *number).filter(|number| !seen.contains(number)).collect();
        assert!(lost.is_empty(), "promised entries are lost: {lost:?}");
    }
}

/// Everything appended by a process, and its current owner.
#[derive(Default)]
struct Incarnation {
    logs: BTreeMap<Partition, Log>,
}

struct History {
    disk: SimulatedDisk,
    chance: Chance,
    journal: DiskJournal,
    /// The last one is that of `journal`.
    incarnations: Vec<Incarnation>,
    /// Incarnation, partition and number of each id.
    ids: Vec<(usize, Partition, u64)>,
    open: Vec<(Partition, u64, u64, Written)>,
    /// Adopted backlogs, with their incarnation.
    adopted: Vec<(usize, Arc<dyn Backlog>)>,
}

impl History {
    fn begin(seed: u64) -> Self {
        let disk = SimulatedDisk::new();
        Self {
            journal: open(&disk),
            disk,
            chance: Chance::new(seed),
            incarnations: vec![Incarnation::default()],
            ids: Vec::new(),
            open: Vec::new(),
            adopted: Vec::new(),
        }
    }

    /// Whether no injected fault makes the disk fail.
    fn disk_works(&self) -> bool {
        !self.disk.fails_syncs() && !self.disk.fails_changes() && !self.disk.is_killed() && self.disk.free() > 1 << 20
    }

    fn own(&mut self, partition: Partition) -> &mut Log {
        self.incarnations.last_mut().unwrap().logs.entry(partition).or_default()
    }

    async fn step(&mut self) {
        match self.chance.below(40) {
            0..16 => self.append().await,
            16..19 => self.settle().await,
            19..22 => self.read_own().await,
            22..27 => self.release_own(),
            27 => {
                let room = self.chance.below(20_000) as u64;
                self.disk.set_capacity(self.disk.used() + room);
            }
            28 => self.disk.set_capacity(u64::MAX),
            29 => self.disk.fail_file_syncs(1 + self.chance.below(2) as u64),
            30 => self.disk.fail_syncs(1 + self.chance.below(2) as u64),
            31 => self.disk.fail_changes(1 + self.chance.below(3) as u64),
            32 => self.disk.kill_after(self.chance.below(12) as u64),
            33..36 => self.adopt().await,
            36 => self.release_adopted(),
            37 => self.read_adopted().await,
            38 => {
                if !self.adopted.is_empty() {
                    self.adopted.swap_remove(self.chance.below(self.adopted.len()));
                }
            }
            _ => self.restart(),
        }
        if self.disk.is_killed() {
            self.restart();
        }
    }

    /// Makes the journal resume a partition after a failure, once every queued batch has an outcome.
    fn resume(&mut self) {
        for partition in 0..PARTITIONS {
            let is_open = self.open.iter().any(|(of, ..)| *of == partition);
            let log = self.own(partition);
            if log.failed && !is_open {
                log.failed = false;
                self.journal.resume(partition);
            }
        }
    }

    async fn append(&mut self) {
        if self.chance.below(2) == 0 {
            self.look();
            self.resume();
        }
        let partition = u32::try_from(self.chance.below(PARTITIONS as usize)).unwrap();
        let skipped = if self.chance.below(6) == 0 { self.chance.below(20) as u64 } else { 0 };
        let records = 1 + self.chance.below(5) as u64;
        let (id, incarnation) = (self.ids.len() as u64, self.incarnations.len() - 1);
        let (batch, guarantees) = batch(partition, id..id + records);
        let log = self.own(partition);
        let first = log.next + skipped;
        let written = match self.journal.append(first, batch, guarantees) {
            Ok(written) => written,
            Err(error) => {
                let usage = self.journal.usage();
                if matches!(error, JournalError::Full) && usage.used_bytes > OPTIONS.bytes_max / 2 {
                    return;
                }
                // An earlier batch has failed, and its future will report that shortly.
                let deadline = Instant::now() + DEADLINE;
                while !self.own(partition).failed {
                    assert!(Instant::now() < deadline, "refused without a reason: {error:?}, {usage:?}");
                    self.look();
                    tokio::task::yield_now().await;
                }
                return;
            }
        };
        let log = self.own(partition);
        log.next = first + records;
        for (number, id) in (first..first + records).zip(id..) {
            log.entries.insert(number, (id, Fate::Open));
        }
        self.ids.extend((first..first + records).map(|number| (incarnation, partition, number)));
        self.open.push((partition, first, records, written));
    }

    /// Updates the outcomes of open appends.
    fn look(&mut self) {
        let no_reason = self.disk_works();
        for (partition, first, records, mut written) in std::mem::take(&mut self.open) {
            let fate = match outcome(&mut written) {
                Some(Ok(())) => Fate::Promised,
                Some(Err(error)) => {
                    // A fault may have come and gone since the last check.
                    assert!(!no_reason || !matches!(error, JournalError::Closed), "{error:?}");
                    self.own(partition).failed = true;
                    Fate::Unknown
                }
                None => {
                    self.open.push((partition, first, records, written));
                    continue;
                }
            };
            let log = self.own(partition);
            for (_, (_, of)) in log.entries.range_mut(first..first + records) {
                *of = fate;
            }
        }
    }

    /// Waits until every open append has an outcome, if the disk allows it.
    async fn settle(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.look();
            if self.open.is_empty() || self.disk.free() < 1 << 20 || self.disk.is_killed() {
                return;
            }
            assert!(Instant::now() < deadline, "appends are not decided");
            tokio::task::yield_now().await;
        }
    }

    async fn read_own(&mut self) {
        for partition in 0..PARTITIONS {
            self.look();
            let log = self.own(partition);
            let (from, to) = (log.released, log.next + 3);
            let promised: Vec<u64> = log
                .entries
                .range(from..)
                .filter(|(_, (_, fate))| *fate == Fate::Promised)
                .map(|(number, _)| *number)
                .collect();
            let Ok(seen) = read(&self.journal, partition, from, to).await else {
                assert!(self.disk.is_killed(), "the disk can be read");
                return;
            };
            self.look();
            let there: BTreeSet<u64> = seen.iter().map(|(number, _)| *number).collect();
            assert!(promised.iter().all(|number| there.contains(number)), "of {promised:?} only {there:?} are there");
            // Others may have been promised meanwhile.
            self.own(partition).check(&seen, |fate| fate != Fate::Unknown, false);
        }
    }

    fn release_own(&mut self) {
        let partition = u32::try_from(self.chance.below(PARTITIONS as usize)).unwrap();
        let all = self.chance.below(2) == 0;
        let share = self.chance.below(100) as u64;
        let log = self.own(partition);
        let before = if all { log.next } else { log.released + (log.next - log.released) * share / 100 };
        log.released = log.released.max(before);
        self.journal.release(partition, before);
    }

    /// Determines the incarnation of a backlog from its entries.
    async fn identify(&mut self, backlog: &dyn Backlog) -> Option<usize> {
        let mut incarnation = None;
        let found = backlog.found();
        assert!(!found.is_empty(), "a backlog must have entries");
        assert!(found.is_sorted_by(|one, other| one.partition < other.partition));
        for of in &found {
            let Ok(seen) = read(backlog, of.partition, 0, u64::MAX).await else {
                assert!(self.disk.is_killed(), "the disk can be read");
                return None;
            };
            // After a power cut there is damage in whatever was being written.
            assert_eq!(
                BacklogPartition { damaged_bytes: 0, ..*of },
                described(of.partition, &seen),
                "the backlog's own report"
            );
            let (_, first) = seen[0];
            let (owner, ..) = self.ids[usize::try_from(first).unwrap()];
            assert_eq!(*incarnation.get_or_insert(owner), owner, "a backlog of two processes");
            self.incarnations[owner].logs[&of.partition].check(&seen, |_| true, true);
        }
        // A missing partition must not have promised entries.
        for (partition, log) in &self.incarnations[incarnation?].logs {
            if found.iter().all(|of| of.partition != *partition) {
                log.check(&[], |_| true, true);
            }
        }
        incarnation
    }

    async fn adopt(&mut self) {
        let no_reason = self.disk_works();
        match in_time("adoption", self.journal.adopt()).await {
            Ok(Some(backlog)) if has_entries(&*backlog) => {
                let Some(incarnation) = self.identify(&*backlog).await else { return };
                assert_ne!(incarnation, self.incarnations.len() - 1, "the journal of the live process was adopted");
                let twice = self.adopted.iter().any(|(other, _)| *other == incarnation);
                assert!(!twice, "a backlog is adopted twice");
                self.adopted.push((incarnation, backlog));
            }
            Ok(_) => {}
            Err(error) => assert!(!no_reason || self.disk.is_killed(), "not adopted without a reason: {error:?}"),
        }
    }

    fn release_adopted(&mut self) {
        if self.adopted.is_empty() {
            return;
        }
        let (incarnation, backlog) = &self.adopted[self.chance.below(self.adopted.len())];
        let found = backlog.found();
        let of = found[self.chance.below(found.len())];
        let before = match self.chance.below(2) {
            0 => of.next,
            _ => of.first + self.chance.below(usize::try_from(of.next - of.first).unwrap()) as u64,
        };
        let log = self.incarnations[*incarnation].logs.get_mut(&of.partition).unwrap();
        log.released = log.released.max(before);
        backlog.release(of.partition, before);
    }

    async fn read_adopted(&mut self) {
        for (incarnation, backlog) in &self.adopted {
            for of in backlog.found() {
                let log = &self.incarnations[*incarnation].logs[&of.partition];
                match read(&**backlog, of.partition, log.released, u64::MAX).await {
                    Ok(seen) => log.check(&seen, |_| true, true),
                    Err(_) => assert!(self.disk.is_killed(), "the disk can be read"),
                }
            }
        }
    }

    /// Kills the process, possibly with a power cut.
    fn restart(&mut self) {
        self.look();
        for (partition, first, records, _) in std::mem::take(&mut self.open) {
            for (_, (_, fate)) in self.own(partition).entries.range_mut(first..first + records) {
                *fate = Fate::Unknown;
            }
        }
        if self.chance.below(2) == 0 {
            self.disk.power_cut(self.chance.number());
        } else {
            self.disk.crash();
        }
        self.disk.set_capacity(u64::MAX);
        self.disk.fail_syncs(0);
        self.disk.fail_file_syncs(0);
        self.disk.fail_changes(0);
        self.adopted.clear();
        self.journal = open(&self.disk);
        self.incarnations.push(Incarnation::default());
    }

    /// On a disk that works again, a last process finds everything.
    async fn end(mut self) {
        self.restart();
        let mut found = BTreeSet::new();
        let mut backlogs = Vec::new();
        while let Some(backlog) = in_time("adoption", self.journal.adopt()).await.unwrap() {
            if !has_entries(&*backlog) {
                continue;
            }
            let incarnation = self.identify(&*backlog).await.expect("the disk can be read");
            assert!(found.insert(incarnation), "two backlogs of one process");
            backlogs.push(backlog);
        }
        for (number, incarnation) in self.incarnations.iter().enumerate() {
            if !found.contains(&number) {
                incarnation.logs.values().for_each(|log| log.check(&[], |_| true, true));
            }
        }
        // Whatever happened, the backlogs can be released, and leave nothing.
        for backlog in &backlogs {
            for of in backlog.found() {
                backlog.release(of.partition, of.next);
            }
        }
        until("room", || self.journal.usage().used_bytes == 0).await;
        drop(backlogs);
        assert!(self.journal.close(DEADLINE).await);
        self.disk.power_cut(self.chance.number());
        let journal = open(&self.disk);
        assert!(in_time("adoption", journal.adopt()).await.unwrap().is_none(), "released entries are found again");
        assert_eq!(journal.slot(), 0, "all slots are empty");
        assert_eq!(self.disk.names(), Vec::<String>::new(), "no file is left");
    }
}

/// Whether a backlog has entries. Otherwise it reports damage that a power cut left.
fn has_entries(backlog: &dyn Backlog) -> bool {
    backlog.found().iter().any(|of| of.first < of.next)
}

/// The expected report of a backlog with these entries.
fn described(partition: Partition, seen: &[(u64, u64)]) -> BacklogPartition {
    let mut records = GuaranteeCounts::default();
    for (_, id) in seen {
        records[Guarantee::ALL.iter().position(|of| *of == guarantee(*id)).unwrap()] += 1;
    }
    BacklogPartition {
        partition,
        first: seen[0].0,
        next: seen[seen.len() - 1].0 + 1,
        records,
        oldest: seen.iter().map(|(_, id)| time(*id)).min(),
        damaged_bytes: 0,
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    0..std::env::var("TEST_JOURNAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_history_of_a_journal_agrees_with_the_model() {
    let histories: Vec<_> = seeds(200)
        .map(|seed| {
            let history = tokio::spawn(async move {
                let mut history = History::begin(seed);
                for _ in 0..60 {
                    history.step().await;
                }
                history.end().await;
            });
            (seed, history)
        })
        .collect();
    for (seed, history) in histories {
        if let Err(error) = history.await {
            panic!("seed {seed}: {error}");
        }
    }
}

/// Appends batches of three records and waits for them.
async fn append(journal: &DiskJournal, partition: Partition, ids: std::ops::Range<u64>) {
    for first in ids.step_by(3) {
        let (batch, guarantees) = batch(partition, first..first + 3);
        let written = journal.append(first, batch, guarantees).unwrap();
        in_time("fsync", written).await.unwrap();
    }
}

fn numbered(range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    range.map(|number| (number, number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_during_removal_leaves_whole_entries_or_none() {
    const ENTRIES: u64 = 60;
    let mut complete = 0;
    for changes in 0.. {
        for power_cut in [None, Some(1), Some(2), Some(3)] {
            let disk = SimulatedDisk::new();
            let journal = open(&disk);
            append(&journal, 0, 0..ENTRIES).await;
            assert!(disk.names().len() > 3, "{:?}", disk.names());
            disk.kill_after(changes);
            journal.release(0, ENTRIES);
            until("the end", || disk.is_killed() || journal.usage().used_bytes == 0).await;
            let killed = disk.is_killed();
            complete += usize::from(!killed);
            match power_cut {
                Some(seed) => disk.power_cut(seed),
                None => disk.crash(),
            }
            let files = disk.names();
            assert!(killed || files.is_empty(), "what was removed is back: {files:?}");
            let journal = open(&disk);
            let backlog = in_time("adoption", journal.adopt()).await.unwrap();
            assert_eq!(backlog.is_some(), !files.is_empty(), "{files:?}");
            if let Some(backlog) = backlog {
                let seen = read(&*backlog, 0, 0, ENTRIES).await.unwrap();
                assert_eq!(seen, numbered(seen[0].0..ENTRIES), "not a suffix of the entries");
                backlog.release(0, ENTRIES);
                until("room", || journal.usage().used_bytes == 0).await;
            }
        }
        if complete == 4 {
            return;
        }
        complete = 0;
        assert!(changes < 100, "it never ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_write_interrupted_by_a_kill_leaves_no_entry_and_a_free_slot() {
    for changes in 0..3 {
        let disk = SimulatedDisk::new();
        let journal = open(&disk);
        disk.kill_after(changes);
        let (batch, guarantees) = batch(0, 0..1);
        drop(journal.append(0, batch, guarantees).unwrap());
        until("its death", || disk.is_killed()).await;
        disk.crash();
        let journal = open(&disk);
        assert_eq!((journal.slot(), disk.names().len()), (0, 0));
        assert!(in_time("adoption", journal.adopt()).await.unwrap().is_none());
        append(&journal, 0, 0..3).await;
        assert_eq!(read(&journal, 0, 0, 3).await.unwrap(), numbered(0..3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_or_read_before_its_fsync() {
    let disk = SimulatedDisk::new();
    let journal = open(&disk);
    append(&journal, 0, 0..3).await;
    disk.hold_syncs();
    let (batch, guarantees) = batch(0, 3..6);
    let mut written = journal.append(3, batch, guarantees).unwrap();
    until("a sync", || disk.syncs_waiting() == 1).await;
    assert!(outcome(&mut written).is_none(), "promised before it is on disk");
    let chunk = in_time("a chunk", journal.read(0, 0, 6)).await.unwrap();
    assert_eq!(chunk.next, 3, "reading skips a pending batch");
    let chunk = in_time("a chunk", journal.read(0, 3, 6)).await.unwrap();
    assert_eq!((chunk.batches, chunk.next), (vec![], 3), "a pending batch is read");
    assert!(journal.usage().used_bytes > 0);
    disk.let_syncs_go();
    in_time("fsync", written).await.unwrap();
    assert_eq!(read(&journal, 0, 3, 6).await.unwrap(), numbered(3..6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_sync_is_retried_until_it_works_and_promises_nothing_meanwhile() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let journal = open(&disk);
        append(&journal, 0, 0..3).await;
        disk.fail_file_syncs(u64::MAX);
        let (batch, guarantees) = batch(0, 3..6);
        let mut written = journal.append(3, batch, guarantees).unwrap();
        until("fault", || journal.fault().is_some()).await;
        assert!(outcome(&mut written).is_none());
        assert_eq!(read(&journal, 0, 0, 9).await.unwrap(), numbered(0..3));
        disk.fail_file_syncs(0);
        in_time("fsync", written).await.unwrap();
        until("no fault", || journal.fault().is_none()).await;
        disk.power_cut(seed);
        let journal = open(&disk);
        let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
        assert_eq!(read(&*backlog, 0, 0, 9).await.unwrap(), numbered(0..6));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_is_trouble_until_it_has_room() {
    let disk = SimulatedDisk::new();
    let journal = open(&disk);
    for (first, files) in [(0, false), (6, true)] {
        // Without a file, and with one.
        if files {
            append(&journal, 0, first..first + 3).await;
        }
        let before = journal.usage();
        disk.set_capacity(disk.used() + 50);
        let (batch, guarantees) = batch(0, first + 3..first + 6);
        let written = in_time("an answer", journal.append(first + 3, batch, guarantees).unwrap()).await;
        assert!(matches!(written, Err(JournalError::Full)), "{written:?}");
        assert_eq!(journal.usage(), before, "a refused batch takes room");
        // Checked for a second, without a batch that would probe the disk.
        let asked = Instant::now();
        until("a second", || {
            assert!(journal.fault().is_some(), "the disk is full");
            asked.elapsed() > Duration::from_millis(1_500)
        })
        .await;
        disk.set_capacity(u64::MAX);
        until("no fault", || journal.fault().is_none()).await;
        journal.resume(0);
    }
    append(&journal, 0, 12..15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_blocks_later_ones_until_the_caller_knows() {
    let disk = SimulatedDisk::new();
    let journal = open(&disk);
    append(&journal, 0, 0..3).await;
    // The write and the subsequent truncation.
    disk.fail_changes(2);
    let (failing, guarantees) = batch(0, 3..6);
    let written = in_time("an answer", journal.append(3, failing, guarantees).unwrap()).await;
    assert!(matches!(written, Err(JournalError::Unavailable(_))), "{written:?}");
    let (behind, guarantees) = batch(0, 6..9);
    let refused = journal.append(6, behind, guarantees).err();
    assert!(matches!(refused, Some(JournalError::Unavailable(_))), "{refused:?}");
    append(&journal, 1, 20..23).await;
    journal.resume(0);
    // Under the number that failed.
    append(&journal, 0, 3..6).await;
    append(&journal, 0, 6..9).await;
    assert_eq!(journal.fault(), None);
    assert_eq!(read(&journal, 0, 0, 9).await.unwrap(), numbered(0..9));
    disk.crash();
    let journal = open(&disk);
    let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
    assert_eq!(read(&*backlog, 0, 0, 9).await.unwrap(), numbered(0..9));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_could_not_be_removed_are_removed_later_and_their_entries_not_adopted_again() {
    let disk = SimulatedDisk::new();
    let journal = open(&disk);
    append(&journal, 0, 0..60).await;
    disk.crash();
    let journal = open(&disk);
    append(&journal, 0, 0..60).await;
    let own = journal.usage().used_bytes;
    let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
    disk.fail_changes(u64::MAX);
    journal.release(0, 60);
    backlog.release(0, 60);
    // Other journals also keep files that are being removed.
    let failing = disk.names();
    drop(backlog);
    assert!(in_time("adoption", journal.adopt()).await.unwrap().is_none(), "released entries are adopted again");
    assert!(journal.usage().used_bytes >= own && disk.names() == failing);
    disk.fail_changes(0);
    until("room", || journal.usage().used_bytes == 0).await;
    until("no files", || disk.names().is_empty()).await;
    assert!(in_time("adoption", journal.adopt()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_does_not_affect_others() {
    let disk = SimulatedDisk::new();
    let journal = open(&disk);
    append(&journal, 0, 0..60).await;
    disk.crash();
    // In the middle of the first entry of each file but the last.
    let names = disk.names();
    for name in &names[..names.len() - 1] {
        disk.flip(name, 30, 1);
    }
    let journal = open(&disk);
    let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
    let seen = read(&*backlog, 0, 0, u64::MAX).await.unwrap();
    assert_eq!(seen.len(), 60 - (names.len() - 1));
    let damaged_bytes = backlog.found()[0].damaged_bytes;
    assert!(damaged_bytes > 24 * (names.len() as u64 - 1), "{damaged_bytes}");
    assert_eq!(backlog.found(), [BacklogPartition { damaged_bytes, ..described(0, &seen) }]);
    assert!(seen.iter().all(|(number, id)| number == id));
    // Whatever happens to the damaged entries, the backlog can be released.
    backlog.release(0, backlog.found()[0].next);
    until("room", || journal.usage().used_bytes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_whose_newest_file_has_no_entry_can_be_released() {
    for changes in 0..7 {
        let disk = SimulatedDisk::new();
        let journal = open(&disk);
        append(&journal, 0, 0..21).await;
        let files = disk.names().len();
        // So far ahead that it needs a new file, which the process begins when it dies.
        disk.kill_after(changes);
        let (batch, guarantees) = batch(0, 21..24);
        drop(journal.append(1 << 40, batch, guarantees).unwrap());
        until("its death", || disk.is_killed()).await;
        assert!(changes == 0 || disk.names().len() > files, "{:?}", disk.names());
        disk.crash();
        let journal = open(&disk);
        let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
        let [of] = backlog.found()[..] else { panic!("one partition") };
        assert!(of.next == 21 || changes > 4);
        backlog.release(0, of.next);
        until("room", || journal.usage().used_bytes == 0).await;
        assert_eq!(disk.names(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_removed_by_a_killed_process_do_not_reappear_in_another_log() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let journal = open(&disk);
        append(&journal, 0, 0..3).await;
        // The removal, without a sync of the directory.
        disk.kill_after(1);
        journal.release(0, 3);
        until("its death", || disk.is_killed()).await;
        assert_eq!(disk.names(), Vec::<String>::new());
        disk.crash();
        let journal = open(&disk);
        assert_eq!(journal.slot(), 0);
        append(&journal, 1, 3..6).await;
        disk.power_cut(seed);
        let journal = open(&disk);
        let backlog = in_time("adoption", journal.adopt()).await.unwrap().unwrap();
        assert_eq!(backlog.found(), [described(1, &numbered(3..6))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_records_survive_any_power_cut_and_stay_within_their_limit() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let journal = open(&disk);
        let mut kept = 0;
        let refused = loop {
            let (batch, _) = batch(0, 3 * kept..3 * kept + 3);
            let refused = [0, 2].map(|position| RefusedRecord { position, reason: "too old".to_owned() });
            match in_time("an answer", journal.keep_refused(batch, refused.into())).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(disk.used() <= OPTIONS.refused_bytes_max, "{}", disk.used());
        };
        assert!(matches!(refused, JournalError::Full) && disk.used() > OPTIONS.refused_bytes_max / 2, "{refused:?}");
        assert_eq!((journal.fault(), journal.usage().used_bytes), (None, 0));
        let before: Vec<(String, Vec<u8>)> =
            disk.names().into_iter().map(|name| (name.clone(), disk.content(&name))).collect();
        disk.power_cut(seed);
        let after: Vec<(String, Vec<u8>)> =
            disk.names().into_iter().map(|name| (name.clone(), disk.content(&name))).collect();
        assert_eq!(before, after, "kept records are on disk");
        let journal = open(&disk);
        assert_eq!(journal.slot(), 0, "refused records do not occupy a slot");
        assert!(in_time("adoption", journal.adopt()).await.unwrap().is_none());
    }
}
