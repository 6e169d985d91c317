//! Random histories of one queue, compared with a model of the bus, the journal and each record.
//!
//! The model knows what happened outside the queue: what the bus took and reported, what is on disk, what a client was told.
//! After each event it checks order, the prefix on disk, promises, release, memory and all terms of the accounts. At the end
//! bus and journal work again, and everything must be settled. A history may be cut by a crash: another queue adopts what
//! is on disk.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::delivery::count_guarantees;
use crate::ports::{JournalChunk, JournalError, JournaledBatch};
use crate::record::Records;
use crate::timestamp::Timestamp;

/// Histories with fixed seeds, whose transitions are counted.
const SEEDED_HISTORIES: usize = 2_000;
/// Steps of a history, at most.
const STEPS_MAX: usize = 150;

/// A step: what happens, to which batch, and how many records are meant.
type Step = (u8, usize, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BusMode {
    Up,
    /// It takes this many batches and then has no room.
    UpFor(usize),
    NotPermitted,
    Full,
    Down,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JournalMode {
    Works,
    /// It takes this many writes and then has no room.
    WorksFor(usize),
    /// Room for this many bytes that are being written.
    Tight(u64),
    Broken,
}

/// Where a record is, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing is promised.
    Open,
    Buffered,
    Journaled,
    Acknowledged,
    DeadLettered,
    Lost(DropReason),
    NotAccepted,
}

struct ModelRecord {
    guarantee: Guarantee,
    fate: Fate,
    /// It was accepted by this process.
    accepted: bool,
    /// It came with an adopted journal.
    recovered: bool,
}

/// A batch that bus or journal have in their hands.
#[derive(Clone, Debug)]
struct ModelBatch {
    records: u64,
    /// Waits for a promise.
    listener: Option<u64>,
    sent: bool,
    disk: Disk,
    settled: bool,
    /// Rejected records that the refused log does not have yet.
    keeping: Option<Vec<RefusedRecord>>,
    /// Its memory counts until its write is reported.
    counted: bool,
}

struct World {
    queue: Queue<u64>,
    effects: VecDeque<Effect<u64>>,
    now: Duration,
    has_journal: bool,
    is_adopted: bool,
    bus: BusMode,
    journal: JournalMode,
    /// What a client offers, while its event is handled.
    offering: Option<(u64, Arc<[Guarantee]>)>,
    refused: Option<PublishError>,
    next_listener: u64,
    listeners: BTreeSet<u64>,
    records: BTreeMap<u64, ModelRecord>,
    batches: BTreeMap<u64, ModelBatch>,
    /// Every number that the bus got, in order.
    log: Vec<u64>,
    writing: VecDeque<Write>,
    /// Writes that the disk has finished, successfully or not, and that were not reported yet.
    written: Vec<(Write, bool)>,
    /// The disk refuses writes until it is resumed.
    failed: bool,
    /// The queue knows that.
    failure_reported: bool,
    disk: BTreeMap<u64, Guarantee>,
    damaged: BTreeSet<u64>,
    reading: Option<(u64, u64)>,
    released: u64,
    waits: Backoff,
    seen: BTreeMap<(&'static str, &'static str), u64>,
}

fn batch(guarantees: &[Guarantee]) -> Arc<RecordBatch> {
    let mut records = Records::default();
    for _ in guarantees {
        records.push(b"s", Timestamp::MIN, false, |buffer| buffer.push(b'x')).expect("small");
    }
    let guarantee = guarantees.iter().copied().max().unwrap_or(Guarantee::AtMostOnce);
    Arc::new(RecordBatch { partition: 0, guarantee, records, trace_parent: None })
}

impl World {
    fn new(has_journal: bool) -> Self {
        Self {
            queue: Queue::new(has_journal),
            effects: VecDeque::new(),
            now: Duration::ZERO,
            has_journal,
            is_adopted: false,
            bus: BusMode::Up,
            journal: JournalMode::Works,
            offering: None,
            refused: None,
            next_listener: 0,
            listeners: BTreeSet::new(),
            records: BTreeMap::new(),
            batches: BTreeMap::new(),
            log: Vec::new(),
            writing: VecDeque::new(),
            written: Vec::new(),
            failed: false,
            failure_reported: false,
            disk: BTreeMap::new(),
            damaged: BTreeSet::new(),
            reading: None,
            released: 0,
            waits: Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT),
            seen: BTreeMap::new(),
        }
    }

    /// Counts a transition: what happened to a batch in which state.
    fn see(&mut self, event: &'static str, number: u64) {
        let state = match self.batches.get(&number) {
            None => "on disk",
            Some(ModelBatch { settled: true, .. }) => "settled, being written",
            Some(ModelBatch { keeping: Some(_), .. }) => "with bus, rejected",
            Some(ModelBatch { sent: true, disk: Disk::No, .. }) => "with bus",
            Some(ModelBatch { sent: true, disk: Disk::Writing, .. }) => "with bus, being written",
            Some(ModelBatch { sent: true, disk: Disk::Synced, .. }) => "with bus and on disk",
            Some(_) => "being written",
        };
        *self.seen.entry((event, state)).or_default() += 1;
    }

    /// Tells the queue what happened and executes what follows.
    fn run(&mut self, event: Event<u64>) {
        self.handle(event);
        while let Some(effect) = self.effects.pop_front() {
            self.execute(effect);
        }
        self.check();
    }

    fn handle(&mut self, event: Event<u64>) {
        self.queue.handle(event, self.now, &mut self.effects);
    }

    fn execute(&mut self, effect: Effect<u64>) {
        match effect {
            Effect::Publish { number, batch, origin } => self.publish(number, &batch, origin),
            Effect::Journal { write, batch, guarantees, room_bytes } => {
                assert_eq!(batch.records.len(), guarantees.len());
                self.append(write, room_bytes);
            }
            Effect::Resolve(listener, promise) => self.resolve(listener, &promise),
            Effect::Refuse(error) => {
                assert!(self.offering.take().is_some(), "nothing is offered");
                self.refused = Some(error);
            }
            Effect::Keep { number, refused, .. } => {
                self.see("rejected, to be kept", number);
                let fates = self.fates(number);
                assert!(fates.iter().all(|fate| matches!(fate, Fate::Buffered | Fate::Journaled)), "{fates:?}");
                self.batches.get_mut(&number).expect("it is there").keeping = Some(refused);
            }
            Effect::Release(before) => {
                assert!(before >= self.released, "released less than before");
                self.released = before;
                let released: Vec<u64> = self.disk.range(..before).map(|(number, _)| *number).collect();
                for number in released {
                    let fate = self.records[&number].fate;
                    assert!(is_final(fate), "released {number}, which is {fate:?}");
                    self.disk.remove(&number);
                }
            }
            Effect::Resume => {
                let all_reported = self.writing.is_empty() && self.written.is_empty();
                assert!(self.failed && all_reported, "resumed too early");
                (self.failed, self.failure_reported) = (false, false);
            }
            Effect::Read { from, to } => {
                assert!(from < to && self.reading.is_none());
                self.reading = Some((from, to));
            }
            Effect::CountSent { events, .. } => assert!(events > 0),
            Effect::CountRejected { refused, .. } => assert!(!refused.is_empty()),
            Effect::CountFailed { events, accepted, listener, .. } => {
                assert!(!self.has_journal && events > 0);
                if let Some(listener) = listener {
                    assert!(!accepted && self.listeners.remove(&listener));
                }
            }
            Effect::CountLost(lost) => {
                let mut counted = GuaranteeCounts::default();
                for (number, record) in &mut self.records {
                    if record.fate == Fate::Journaled {
                        assert!(self.damaged.contains(number), "{number} is not damaged, but counted as lost");
                        record.fate = Fate::Lost(DropReason::JournalDamaged);
                        counted[record.guarantee as usize] += 1;
                    }
                }
                assert_eq!(lost, counted);
                *self.seen.entry(("lost", "on disk")).or_default() += 1;
            }
        }
    }

    fn publish(&mut self, number: u64, batch: &RecordBatch, origin: Origin) {
        let records = batch.records.len() as u64;
        assert_eq!(origin == Origin::Client, self.offering.is_some());
        let error = match self.bus {
            BusMode::Up => None,
            BusMode::UpFor(left @ 1..) => {
                self.bus = BusMode::UpFor(left - 1);
                None
            }
            BusMode::NotPermitted => Some(None),
            BusMode::Full | BusMode::UpFor(0) => Some(Some(PublishError::Full)),
            BusMode::Down => Some(Some(PublishError::Unavailable("away".into()))),
            BusMode::Closed => Some(Some(PublishError::Closed)),
        };
        if let Some(error) = error {
            let is_failure = !matches!(error, None | Some(PublishError::Full));
            self.handle(Event::NotPublished(error));
            if origin != Origin::Client {
                let wait = if is_failure { self.waits.next().map(|wait| self.now + wait) } else { None };
                assert_eq!(self.queue.next_replay(), wait.map_or(NextReplay::AfterReport, NextReplay::At));
            }
            return;
        }
        self.log.extend(number..number + records);
        match origin {
            Origin::Client => self.take_offered(number, true, Disk::No),
            Origin::Memory => {
                self.see("sent", number);
                let batch = self.batches.get_mut(&number).expect("in memory");
                assert_eq!((batch.sent, batch.records), (false, records));
                batch.sent = true;
            }
            Origin::Journal => {
                self.see("sent", number);
                let there = (number..number + records).all(|number| self.disk.contains_key(&number));
                assert!(there && !self.batches.contains_key(&number), "{number} was not read");
                let (disk, listener) = (Disk::Synced, None);
                let read =
                    ModelBatch { records, listener, sent: true, disk, settled: false, keeping: None, counted: false };
                self.batches.insert(number, read);
            }
        }
        self.handle(Event::Published);
    }

    fn take_offered(&mut self, number: u64, sent: bool, disk: Disk) {
        let (listener, guarantees) = self.offering.take().expect("offered");
        for (number, guarantee) in (number..).zip(guarantees.iter().copied()) {
            let record = ModelRecord { guarantee, fate: Fate::Open, accepted: false, recovered: false };
            assert!(self.records.insert(number, record).is_none(), "{number} is used twice");
        }
        let records = guarantees.len() as u64;
        let taken =
            ModelBatch { records, listener: Some(listener), sent, disk, settled: false, keeping: None, counted: !sent };
        self.batches.insert(number, taken);
        self.listeners.insert(listener);
        self.see("taken", number);
    }

    fn append(&mut self, write: Write, room_bytes: u64) {
        assert!(!self.failure_reported, "the journal takes no writes after a failed one");
        let error = match self.journal {
            // It takes no writes after a failed one, whether or not the queue knows of that.
            _ if self.failed => Some(JournalError::Unavailable("bad disk".into())),
            JournalMode::Works => None,
            JournalMode::WorksFor(left @ 1..) => {
                self.journal = JournalMode::WorksFor(left - 1);
                None
            }
            JournalMode::WorksFor(0) => Some(JournalError::Full),
            JournalMode::Tight(bytes) => (room_bytes > bytes).then_some(JournalError::Full),
            JournalMode::Broken => Some(JournalError::Unavailable("bad disk".into())),
        };
        if let Some(error) = error {
            return self.handle(Event::NotAppended(error));
        }
        // Everything before it is on disk, is being written or is settled.
        for (number, batch) in self.batches.range(..write.number) {
            assert!(batch.settled || batch.disk != Disk::No, "{number} is not written before {}", write.number);
        }
        if self.batches.contains_key(&write.number) {
            self.see("appended", write.number);
        }
        if let Some(batch) = self.batches.get_mut(&write.number) {
            assert!(batch.sent && batch.disk == Disk::No, "{write:?} {batch:?}");
            assert_eq!(batch.records, write.records);
            batch.disk = Disk::Writing;
        } else {
            self.take_offered(write.number, false, Disk::Writing);
        }
        self.writing.push_back(write);
        self.handle(Event::Appended(write));
    }

    fn resolve(&mut self, listener: u64, promise: &Result<Promise, PublishError>) {
        assert!(self.listeners.remove(&listener), "{listener} is told twice");
        let number = self.batches.iter_mut().find(|(_, batch)| batch.listener == Some(listener));
        let (number, batch) = number.expect("its batch is known");
        batch.listener = None;
        let numbers = *number..*number + batch.records;
        let fates: Vec<Fate> = numbers.clone().map(|number| self.records[&number].fate).collect();
        match promise {
            Ok(Promise { durability: Durability::Buffered, refused }) => {
                assert!(refused.is_empty() && fates.iter().all(|fate| *fate == Fate::Buffered), "{fates:?}");
            }
            Ok(Promise { durability: Durability::Journaled, refused }) => {
                assert!(refused.is_empty() && fates.iter().all(|fate| *fate == Fate::Journaled), "{fates:?}");
                assert!(numbers.clone().all(|number| self.disk.contains_key(&number)), "{numbers:?} are not on disk");
            }
            Ok(Promise { durability: Durability::Acknowledged, refused }) => {
                for (position, fate) in fates.iter().enumerate() {
                    let is_refused = refused.iter().any(|record| record.position == position);
                    assert_eq!(*fate, if is_refused { Fate::NotAccepted } else { Fate::Acknowledged });
                }
            }
            Err(_) => assert!(fates.iter().all(|fate| *fate == Fate::NotAccepted), "{fates:?}"),
        }
    }

    fn fates(&self, number: u64) -> Vec<Fate> {
        let records = self.batches[&number].records;
        (number..number + records).map(|number| self.records[&number].fate).collect()
    }

    /// Changes the fate of each record of a batch.
    fn change(&mut self, number: u64, fate: impl Fn(usize, &ModelRecord) -> Fate) {
        let records = self.batches[&number].records;
        for (position, (_, record)) in self.records.range_mut(number..number + records).enumerate() {
            record.fate = fate(position, record);
            record.accepted |= !record.recovered && !matches!(record.fate, Fate::Open | Fate::NotAccepted);
        }
    }

    fn settle(&mut self, number: u64, refused: &[RefusedRecord]) {
        let batch = self.batches.get_mut(&number).expect("it is there");
        (batch.settled, batch.keeping) = (true, None);
        self.change(number, |position, record| {
            match (refused.iter().any(|record| record.position == position), record.fate) {
                (false, _) => Fate::Acknowledged,
                (true, Fate::Open) => Fate::NotAccepted,
                (true, _) => Fate::DeadLettered,
            }
        });
    }

    /// Forgets batches that nothing has in memory.
    fn forget(&mut self) {
        self.batches.retain(|_, batch| match batch {
            ModelBatch { settled: true, .. } => batch.disk == Disk::Writing,
            ModelBatch { sent: false, .. } => batch.disk != Disk::Synced,
            _ => true,
        });
    }

    fn offer(&mut self, which: usize, records: u64) {
        let records = usize::try_from(records).expect("few");
        let guarantees: Arc<[Guarantee]> = (0..records).map(|n| Guarantee::ALL[(which + n) % 3]).collect();
        let listener = self.next_listener;
        self.next_listener += 1;
        self.offering = Some((listener, Arc::clone(&guarantees)));
        let batch = batch(&guarantees);
        let (bytes, writes, had_backlog) =
            (batch.bytes_in_memory() as u64, self.writing.len(), self.queue.has_backlog());
        let has_failed = self.failed;
        self.run(Event::Offered { batch, guarantees, listener });
        assert!(self.offering.is_none(), "neither taken nor refused");
        if let Some(error) = self.refused.take() {
            let bus_refuses = had_backlog || self.bus != BusMode::Up;
            let journal_refuses = !self.has_journal || has_failed || self.journal != JournalMode::Works;
            let is_closed = !had_backlog && self.bus == BusMode::Closed;
            assert!(bus_refuses && (journal_refuses || is_closed), "refused without a reason: {error}");
            let fits = !matches!(self.journal, JournalMode::Tight(room) if room < bytes);
            assert!(fits || self.writing.len() == writes, "others were written for a batch without room");
            *self.seen.entry(("refused", "offered")).or_default() += 1;
        }
    }

    /// The numbers of batches that the bus has not settled.
    fn with_bus(&self) -> Vec<u64> {
        let open = |batch: &ModelBatch| batch.sent && !batch.settled && batch.keeping.is_none();
        self.batches.iter().filter(|(_, batch)| open(batch)).map(|(number, _)| *number).collect()
    }

    fn acknowledge(&mut self, number: u64) {
        self.see("acknowledged", number);
        self.settle(number, &[]);
        self.run(Event::Acknowledged { number, after: Duration::from_millis(3) });
        self.forget();
    }

    fn reject(&mut self, number: u64, which: usize, records: u64) {
        let fates = self.fates(number);
        let reason = || "bad".to_owned();
        let count = usize::try_from(records).expect("few").min(fates.len());
        let refused: Vec<_> =
            (0..count).map(|n| RefusedRecord { position: (which + n) % fates.len(), reason: reason() }).collect();
        if !self.has_journal || fates.contains(&Fate::Open) {
            self.see("rejected", number);
            self.settle(number, &refused);
        }
        self.run(Event::Rejected { number, refused, after: Duration::from_millis(4) });
        assert!(self.batches[&number].settled || self.batches[&number].keeping.is_some(), "{number} is not kept");
        self.forget();
    }

    fn keep(&mut self, number: u64) {
        self.see("kept", number);
        let refused = self.batches.get_mut(&number).and_then(|batch| batch.keeping.take()).expect("to be kept");
        self.settle(number, &refused);
        self.run(Event::Kept { number, refused, after: Duration::from_millis(4) });
        self.forget();
    }

    fn fail(&mut self, number: u64) {
        self.see("failed", number);
        if !self.has_journal {
            self.batches.get_mut(&number).expect("it is there").settled = true;
            self.change(number, |_, record| match record.fate {
                Fate::Open => Fate::NotAccepted,
                _ => Fate::Lost(DropReason::BusFailed),
            });
        }
        self.run(Event::Failed { number, error: PublishError::Closed });
        if self.has_journal {
            // It stays, as the last process would have left it: acknowledged later in this history.
            assert!(!self.batches[&number].settled);
        }
        self.forget();
    }

    /// The disk finishes the oldest write.
    fn write(&mut self, succeeds: bool) {
        let Some(write) = self.writing.pop_front() else { return };
        let succeeds = succeeds && !self.failed;
        self.failed |= !succeeds;
        if succeeds {
            let is_late = self.disk.last_key_value().is_some_and(|(last, _)| *last >= write.number);
            assert!(!is_late, "{} is written after a later one", write.number);
            let numbers = write.number..write.number + write.records;
            self.disk.extend(numbers.map(|number| (number, self.records[&number].guarantee)));
        }
        self.written.push((write, succeeds));
    }

    /// The journal reports a write, in any order.
    fn report_write(&mut self, which: usize) {
        if self.written.is_empty() {
            return;
        }
        let (write, succeeded) = self.written.remove(which % self.written.len());
        let number = write.number;
        self.see(if succeeded { "synced" } else { "sync failed" }, number);
        let batch = self.batches.get_mut(&number).expect("it is being written");
        batch.disk = if succeeded { Disk::Synced } else { Disk::No };
        batch.counted = false;
        let (is_settled, is_sent) = (batch.settled, batch.sent);
        match (succeeded, is_settled) {
            (true, false) => self.change(number, |_, _| Fate::Journaled),
            (false, false) if !is_sent => {
                self.change(number, |_, _| Fate::NotAccepted);
                self.batches.get_mut(&number).expect("it is there").settled = true;
            }
            _ => {}
        }
        self.failure_reported |= !succeeded;
        self.run(if succeeded {
            Event::Synced(write)
        } else {
            Event::SyncFailed(write, JournalError::Unavailable("bad disk".into()))
        });
        self.forget();
        let all_reported = self.writing.is_empty() && self.written.is_empty();
        assert!(!self.failed || !all_reported, "the journal was not resumed");
    }

    fn tick(&mut self, records_max: u64) {
        if self.reading.is_some() {
            return;
        }
        self.run(Event::Tick { records_max });
        match self.queue.next_replay() {
            NextReplay::Now => self.waits = Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT),
            NextReplay::AfterReport | NextReplay::At(_) => {}
        }
    }

    /// The journal returns what was read, at most this many records, in batches of one or two.
    fn read(&mut self, records_max: u64) {
        let Some((from, to)) = self.reading.take() else { return };
        let mut numbers: VecDeque<u64> = self.disk.range(from..to).map(|(number, _)| *number).collect();
        let is_all = numbers.len() as u64 <= records_max;
        numbers.truncate(usize::try_from(records_max).expect("few"));
        let mut chunk = JournalChunk { batches: Vec::new(), next: to };
        if let (false, Some(last)) = (is_all, numbers.back()) {
            chunk.next = last + 1;
        }
        while let Some(first) = numbers.pop_front() {
            let mut guarantees = vec![self.disk[&first]];
            if first % 3 == 0 && numbers.front() == Some(&(first + 1)) {
                guarantees.extend(numbers.pop_front().map(|number| self.disk[&number]));
            }
            let batch = RecordBatch::clone(&batch(&guarantees));
            chunk.batches.push(JournaledBatch { first, batch, guarantees });
        }
        self.run(Event::ReadBack(chunk));
        if self.queue.next_replay() == NextReplay::Now {
            self.waits = Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT);
        }
    }

    fn fail_to_read(&mut self) {
        if self.reading.take().is_some() {
            self.run(Event::ReplayFailed);
            let wait = self.waits.next().expect("endless");
            assert_eq!(self.queue.next_replay(), NextReplay::At(self.now + wait));
        }
    }

    /// An entry on disk that was not sent becomes unreadable.
    fn damage(&mut self, which: usize) {
        let unsent: Vec<u64> = self.disk.keys().copied().filter(|number| !self.is_in_memory(*number)).collect();
        if let Some(number) = unsent.get(which % unsent.len().max(1))
            && self.records[number].fate == Fate::Journaled
        {
            self.disk.remove(number);
            self.damaged.insert(*number);
        }
    }

    fn is_in_memory(&self, number: u64) -> bool {
        let before = self.batches.range(..=number).next_back();
        before.is_some_and(|(first, batch)| number < first + batch.records)
    }

    /// The process dies, and another one adopts what is on disk.
    fn crash(&mut self) {
        let Some((first, _)) = self.disk.first_key_value() else { return };
        let next = self.disk.last_key_value().map_or(0, |(last, _)| last + 1);
        let events = count_guarantees(&self.disk.values().copied().collect::<Vec<_>>());
        let record = |guarantee: &Guarantee| ModelRecord {
            guarantee: *guarantee,
            fate: Fate::Journaled,
            accepted: false,
            recovered: true,
        };
        let adopted = World {
            queue: Queue::adopted(*first, next, events, self.now),
            is_adopted: true,
            records: self.disk.iter().map(|(number, guarantee)| (*number, record(guarantee))).collect(),
            disk: self.disk.clone(),
            released: *first,
            now: self.now,
            bus: self.bus,
            seen: std::mem::take(&mut self.seen),
            ..World::new(true)
        };
        *self = adopted;
        *self.seen.entry(("adopted", "on disk")).or_default() += 1;
        self.check();
    }

    /// Everything that holds at every moment.
    fn check(&self) {
        assert!(self.log.is_sorted_by(|a, b| a < b), "sent twice or out of order: {:?}", self.log);
        for (number, batch) in &self.batches {
            let later = self.disk.last_key_value().is_some_and(|(last, _)| last > number);
            let is_hole = !batch.settled && batch.disk == Disk::No && later;
            assert!(!is_hole, "{number} is not on disk, but a later record is");
        }
        let first_open =
            self.records.iter().find(|(number, record)| !is_final(record.fate) && !self.damaged.contains(number));
        assert!(first_open.is_none_or(|(number, _)| self.queue.released() <= *number), "released an unsettled record");
        let unsent = self
            .records
            .iter()
            .any(|(number, record)| !is_final(record.fate) && self.log.last().is_none_or(|last| last < number));
        assert!(!unsent || self.queue.has_backlog(), "nothing will be sent");
        assert_eq!(self.queue.has_backlog(), self.queue.backlog_since().is_some());
        let counted = |write: &&Write| {
            let batch = self.batches.get(&write.number);
            batch.is_some_and(|batch| batch.counted || batch.settled)
        };
        let unreported = self.writing.iter().chain(self.written.iter().map(|(write, _)| write));
        let writing: u64 = unreported.filter(counted).map(|write| write.bytes).sum();
        assert_eq!(self.queue.writing_bytes(), writing, "memory of batches that are being written");
        let in_memory = |fate| self.records.values().any(|record| record.fate == fate);
        assert_eq!(self.queue.is_safe(), !in_memory(Fate::Open) && !in_memory(Fate::Buffered));
        assert_eq!(self.queue.buffered_since().is_some(), in_memory(Fate::Buffered));
        assert_eq!(self.queue.imbalances(), [0; 3]);
        assert_eq!(self.queue.accounts(), self.accounts());
    }

    fn accounts(&self) -> [Deliveries; 3] {
        Guarantee::ALL.map(|guarantee| {
            let of = || self.records.values().filter(move |record| record.guarantee == guarantee);
            let count = |fate: Fate| of().filter(|record| record.fate == fate).count() as u64;
            Deliveries {
                accepted: of().filter(|record| record.accepted).count() as u64,
                recovered: of().filter(|record| record.recovered).count() as u64,
                acknowledged: count(Fate::Acknowledged),
                dead_lettered: count(Fate::DeadLettered),
                dropped: DropReason::ALL.map(|reason| count(Fate::Lost(reason))),
                journaled: count(Fate::Journaled),
                buffered: count(Fate::Buffered),
            }
        })
    }

    fn step(&mut self, (step, which, records): Step) {
        self.now += Duration::from_millis(50);
        let with_bus = self.with_bus();
        let chosen = with_bus.get(which % with_bus.len().max(1)).copied();
        match step {
            0..=3 if !self.is_adopted => self.offer(which, records),
            4 | 5 => {
                if let Some(number) = chosen {
                    if self.fates(number).contains(&Fate::Open) {
                        self.see("promised as buffered", number);
                        self.change(number, |_, _| Fate::Buffered);
                    }
                    self.run(Event::Buffered(number));
                }
            }
            6..=8 => chosen.into_iter().for_each(|number| self.acknowledge(number)),
            9 => chosen.into_iter().for_each(|number| self.reject(number, which, records)),
            10 | 11 => {
                let rejected = self.batches.iter().find(|(_, batch)| batch.keeping.is_some());
                rejected.map(|(number, _)| *number).into_iter().for_each(|number| self.keep(number));
            }
            12 if self.is_adopted || !self.has_journal || which == 0 => {
                chosen.into_iter().for_each(|number| self.fail(number));
            }
            13 if self.has_journal => {
                if let Some(number) = chosen {
                    self.see("silent", number);
                    let is_awaited = self.batches[&number].listener.is_some();
                    let available = which % 2 == 0;
                    self.run(Event::Silent { number, available });
                    self.check_appended(number, is_awaited || !available);
                }
            }
            14 if self.has_journal => {
                self.run(Event::Flush);
                self.check_appended(u64::MAX, true);
            }
            15 | 16 => self.write(true),
            17 | 18 => self.report_write(which),
            29 => self.write(false),
            19 | 20 => self.tick(records - 1 + which as u64),
            21 => self.read(records),
            22 => self.fail_to_read(),
            23 => {
                self.bus = match which {
                    0 => BusMode::NotPermitted,
                    1 => BusMode::Full,
                    2 => BusMode::Down,
                    3 => BusMode::Closed,
                    _ => BusMode::UpFor(usize::try_from(records).expect("few")),
                };
            }
            24 => self.bus = BusMode::Up,
            25 => {
                self.journal = match which {
                    0 => JournalMode::Tight(600),
                    1 => JournalMode::Tight(650),
                    2 => JournalMode::Broken,
                    _ => JournalMode::WorksFor(usize::try_from(records).expect("few")),
                };
            }
            26 => self.journal = JournalMode::Works,
            27 if which == 0 => self.damage(which),
            28 if which == 0 && self.has_journal => self.crash(),
            _ => {}
        }
    }

    /// Batches that had to go to the journal did, if it takes writes.
    fn check_appended(&self, last: u64, is_due: bool) {
        if !is_due || self.failed || self.journal != JournalMode::Works {
            return;
        }
        for (number, batch) in self.batches.range(..=last) {
            assert!(batch.settled || batch.disk != Disk::No, "{number} is only in memory");
        }
    }

    /// With a working bus and journal, everything is settled.
    fn end(&mut self) {
        (self.bus, self.journal) = (BusMode::Up, JournalMode::Works);
        // Each round settles something.
        for _ in 0..4 * STEPS_MAX {
            if self.queue.is_done() && self.batches.is_empty() && self.disk.is_empty() {
                break;
            }
            self.now += RETRY_LONGEST_WAIT;
            self.write(true);
            self.report_write(0);
            self.with_bus().into_iter().for_each(|number| self.acknowledge(number));
            let rejected = self.batches.iter().filter(|(_, batch)| batch.keeping.is_some());
            let rejected: Vec<u64> = rejected.map(|(number, _)| *number).collect();
            rejected.into_iter().for_each(|number| self.keep(number));
            self.tick(2);
            self.read(3);
        }
        assert!(self.queue.is_done() && self.queue.is_safe() && !self.queue.has_backlog(), "{:?}", self.queue);
        assert_eq!(self.queue.batches.len() + self.listeners.len() + self.disk.len(), 0);
        assert!(self.records.values().all(|record| is_final(record.fate)));
        assert_eq!(self.queue.writing_bytes(), 0);
        // It goes straight to the bus again.
        if !self.is_adopted {
            let sent = self.log.len();
            self.offer(0, 1);
            assert_eq!(self.log.len(), sent + 1);
        }
    }
}

fn is_final(fate: Fate) -> bool {
    !matches!(fate, Fate::Open | Fate::Buffered | Fate::Journaled)
}

fn history(has_journal: bool, steps: &[Step]) -> BTreeMap<(&'static str, &'static str), u64> {
    let mut world = World::new(has_journal);
    steps.iter().for_each(|step| world.step(*step));
    world.end();
    world.seen
}

fn histories() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let steps = prop::collection::vec((0_u8..30, 0_usize..5, 1_u64..4), 1..STEPS_MAX);
    (prop::bool::weighted(0.9), steps)
}

proptest! {
    #[test]
    fn whatever_happens_each_record_is_sent_once_in_order_and_accounted_for((has_journal, steps) in histories()) {
        history(has_journal, &steps);
    }
}

/// The transitions of `docs/delivery.md`.
const TRANSITIONS: [(&str, &str); 31] = [
    ("taken", "with bus"),
    ("taken", "being written"),
    ("refused", "offered"),
    ("promised as buffered", "with bus"),
    ("promised as buffered", "with bus, being written"),
    ("silent", "with bus"),
    ("silent", "with bus, being written"),
    ("silent", "with bus and on disk"),
    ("appended", "with bus"),
    ("synced", "with bus, being written"),
    ("synced", "with bus, rejected"),
    ("synced", "being written"),
    ("synced", "settled, being written"),
    ("sync failed", "with bus, being written"),
    ("sync failed", "being written"),
    ("sync failed", "settled, being written"),
    ("acknowledged", "with bus"),
    ("acknowledged", "with bus, being written"),
    ("acknowledged", "with bus and on disk"),
    ("rejected", "with bus"),
    ("rejected", "with bus, being written"),
    ("rejected, to be kept", "with bus"),
    ("rejected, to be kept", "with bus, being written"),
    ("rejected, to be kept", "with bus and on disk"),
    ("kept", "with bus, rejected"),
    ("failed", "with bus"),
    ("failed", "with bus and on disk"),
    ("sent", "being written"),
    ("sent", "on disk"),
    ("lost", "on disk"),
    ("adopted", "on disk"),
];

#[test]
fn the_histories_cover_every_transition() {
    let (mut runner, strategy) = (TestRunner::deterministic(), histories());
    let mut seen: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for _ in 0..SEEDED_HISTORIES {
        let (has_journal, steps) = strategy.new_tree(&mut runner).expect("a history").current();
        for (transition, times) in history(has_journal, &steps) {
            *seen.entry(transition).or_default() += times;
        }
    }
    println!("histories={SEEDED_HISTORIES} transitions={} times={}", seen.len(), seen.values().sum::<u64>());
    seen.iter().for_each(|((event, state), times)| println!("{times:>8}  {event}: {state}"));
    let missing: Vec<_> = TRANSITIONS.iter().filter(|transition| !seen.contains_key(transition)).collect();
    assert!(missing.is_empty(), "not covered: {missing:?}");
}
