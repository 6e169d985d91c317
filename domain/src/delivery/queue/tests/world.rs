//! The model: what the bus, the journal and the clients know, and what must hold after each event.

use std::collections::BTreeSet;

use super::super::*;
use crate::ports::JournalError;
use crate::record::Records;
use crate::timestamp::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusMode {
    Up,
    /// It takes this many batches and then has no room.
    UpFor(usize),
    NotPermitted,
    Full,
    Down,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JournalMode {
    Works,
    /// It takes this many writes and then has no room.
    WorksFor(usize),
    /// Room for this many bytes that are being written.
    Tight(u64),
    Broken,
}

/// Where a record is, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing is promised.
    Open,
    Buffered,
    Journaled,
    Acknowledged,
    DeadLettered,
    Lost(DropReason),
    NotAccepted,
}

pub(super) struct ModelRecord {
    pub(super) guarantee: Guarantee,
    pub(super) fate: Fate,
    /// It was accepted by this process.
    pub(super) accepted: bool,
    /// It came with an adopted journal.
    pub(super) recovered: bool,
}

/// A batch that bus or journal have in their hands.
#[derive(Clone, Debug)]
pub(super) struct ModelBatch {
    pub(super) records: u64,
    /// Waits for a promise.
    pub(super) listener: Option<u64>,
    pub(super) sent: bool,
    pub(super) disk: Disk,
    pub(super) settled: bool,
    /// Rejected records that the refused log does not have yet.
    pub(super) keeping: Option<Vec<RefusedRecord>>,
    /// Its memory counts until its write is reported.
    pub(super) counted: bool,
}

pub(super) struct World {
    pub(super) queue: Queue<u64>,
    pub(super) effects: VecDeque<Effect<u64>>,
    pub(super) now: Duration,
    pub(super) has_journal: bool,
    pub(super) is_adopted: bool,
    pub(super) bus: BusMode,
    pub(super) journal: JournalMode,
    /// What a client offers, while its event is handled.
    pub(super) offering: Option<(u64, Arc<[Guarantee]>)>,
    pub(super) refused: Option<PublishError>,
    pub(super) next_listener: u64,
    pub(super) listeners: BTreeSet<u64>,
    pub(super) records: BTreeMap<u64, ModelRecord>,
    pub(super) batches: BTreeMap<u64, ModelBatch>,
    /// Every number that the bus got, in order.
    pub(super) log: Vec<u64>,
    pub(super) writing: VecDeque<Write>,
    /// Writes that the disk has finished, successfully or not, and that were not reported yet.
    pub(super) written: Vec<(Write, bool)>,
    /// The disk refuses writes until it is resumed.
    pub(super) failed: bool,
    /// The queue knows that.
    pub(super) failure_reported: bool,
    pub(super) disk: BTreeMap<u64, Guarantee>,
    pub(super) damaged: BTreeSet<u64>,
    pub(super) reading: Option<(u64, u64)>,
    pub(super) released: u64,
    /// Events that were counted as sent.
    pub(super) counted_sent: usize,
    pub(super) waits: Backoff,
    pub(super) seen: BTreeMap<(&'static str, &'static str), u64>,
}

pub(super) fn batch(guarantees: &[Guarantee]) -> Arc<RecordBatch> {
    let mut records = Records::default();
    for _ in guarantees {
        records.push(b"s", Timestamp::MIN, false, |buffer| buffer.push(b'x')).expect("small");
    }
    let guarantee = guarantees.iter().copied().max().unwrap_or(Guarantee::AtMostOnce);
    Arc::new(RecordBatch { partition: 0, guarantee, records, trace_parent: None })
}
impl World {
    pub(super) fn new(has_journal: bool) -> Self {
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
            counted_sent: 0,
            waits: Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT),
            seen: BTreeMap::new(),
        }
    }

    /// Counts a transition: what happened to a batch in which state.
    pub(super) fn see(&mut self, event: &'static str, number: u64) {
        let state = match self.batches.get(&number) {
            None => "OnDisk",
            Some(ModelBatch { settled: true, .. }) => "SettledWriting",
            Some(ModelBatch { keeping: Some(_), .. }) => "Keeping",
            Some(ModelBatch { sent: true, disk: Disk::No, .. }) => "WithBus",
            Some(ModelBatch { sent: true, disk: Disk::Writing, .. }) => "WithBusWriting",
            Some(ModelBatch { sent: true, disk: Disk::Synced, .. }) => "WithBusOnDisk",
            Some(_) => "Writing",
        };
        *self.seen.entry((event, state)).or_default() += 1;
    }

    /// Tells the queue what happened and executes what follows.
    pub(super) fn run(&mut self, event: Event<u64>) {
        self.handle(event);
        while let Some(effect) = self.effects.pop_front() {
            self.execute(effect);
        }
        self.check();
    }

    pub(super) fn handle(&mut self, event: Event<u64>) {
        self.queue.handle(event, self.now, &mut self.effects);
    }

    pub(super) fn execute(&mut self, effect: Effect<u64>) {
        match effect {
            Effect::Publish { number, batch, origin } => self.publish(number, &batch, origin),
            Effect::Journal { write, batch, guarantees, room_bytes } => {
                assert_eq!(batch.records.len(), guarantees.len());
                assert_eq!(write.bytes, batch.bytes_in_memory() as u64);
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
            Effect::CountSent { events, .. } => {
                assert!(events > 0);
                self.counted_sent += events;
            }
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
                assert_ne!(lost, GuaranteeCounts::default());
                *self.seen.entry(("lost", "OnDisk")).or_default() += 1;
            }
        }
    }

    pub(super) fn publish(&mut self, number: u64, batch: &RecordBatch, origin: Origin) {
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
            let is_closed = matches!(error, Some(PublishError::Closed));
            self.handle(Event::NotPublished(error));
            if is_closed && origin == Origin::Client {
                // Not in the journal either: nobody would send it from there.
                let is_refused = |effect: &Effect<u64>| matches!(effect, Effect::Refuse(PublishError::Closed));
                assert!(self.effects.iter().any(is_refused));
            }
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

    pub(super) fn take_offered(&mut self, number: u64, sent: bool, disk: Disk) {
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

    pub(super) fn append(&mut self, write: Write, room_bytes: u64) {
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

    pub(super) fn resolve(&mut self, listener: u64, promise: &Result<Promise, PublishError>) {
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

    pub(super) fn fates(&self, number: u64) -> Vec<Fate> {
        let records = self.batches[&number].records;
        (number..number + records).map(|number| self.records[&number].fate).collect()
    }

    /// Changes the fate of each record of a batch.
    pub(super) fn change(&mut self, number: u64, fate: impl Fn(usize, &ModelRecord) -> Fate) {
        let records = self.batches[&number].records;
        for (position, (_, record)) in self.records.range_mut(number..number + records).enumerate() {
            record.fate = fate(position, record);
            record.accepted |= !record.recovered && !matches!(record.fate, Fate::Open | Fate::NotAccepted);
        }
    }

    pub(super) fn settle(&mut self, number: u64, refused: &[RefusedRecord]) {
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
    pub(super) fn forget(&mut self) {
        self.batches.retain(|_, batch| match batch {
            ModelBatch { settled: true, .. } => batch.disk == Disk::Writing,
            ModelBatch { sent: false, .. } => batch.disk != Disk::Synced,
            _ => true,
        });
    }

    /// Everything that holds at every moment.
    pub(super) fn check(&self) {
        assert!(self.log.is_sorted_by(|a, b| a < b), "sent twice or out of order: {:?}", self.log);
        for (number, batch) in &self.batches {
            let later = self.disk.last_key_value().is_some_and(|(last, _)| last > number);
            let is_hole = !batch.settled && batch.disk == Disk::No && later;
            assert!(!is_hole, "{number} is not on disk, but a later record is");
        }
        let first_open =
            self.records.iter().find(|(number, record)| !is_final(record.fate) && !self.damaged.contains(number));
        assert!(first_open.is_none_or(|(number, _)| self.queue.released() <= *number), "released an unsettled record");
        let unsent = self.records.iter().any(|(number, record)| {
            !is_final(record.fate) && !self.damaged.contains(number) && self.log.last().is_none_or(|last| last < number)
        });
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

    pub(super) fn accounts(&self) -> [Deliveries; 3] {
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
}

pub(super) fn is_final(fate: Fate) -> bool {
    !matches!(fate, Fate::Open | Fate::Buffered | Fate::Journaled)
}
