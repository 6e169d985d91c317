//! The steps of a history.

use super::super::*;
use super::world::*;
use super::{STEPS_MAX, Step};
use crate::delivery::count_guarantees;
use crate::ports::{JournalChunk, JournalError, JournaledBatch};

impl World {
    pub(super) fn offer(&mut self, which: usize, records: u64) {
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
            *self.seen.entry(("refused", "Offered")).or_default() += 1;
        }
    }

    /// The numbers of batches that the bus has not settled.
    pub(super) fn with_bus(&self) -> Vec<u64> {
        let open = |batch: &ModelBatch| batch.sent && !batch.settled && batch.keeping.is_none();
        self.batches.iter().filter(|(_, batch)| open(batch)).map(|(number, _)| *number).collect()
    }

    pub(super) fn acknowledge(&mut self, number: u64) {
        self.see("acknowledged", number);
        self.settle(number, &[]);
        self.run(Event::Acknowledged { number, after: Duration::from_millis(3) });
        self.forget();
    }

    pub(super) fn reject(&mut self, number: u64, which: usize, records: u64) {
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

    pub(super) fn keep(&mut self, number: u64) {
        self.see("kept", number);
        let refused = self.batches.get_mut(&number).and_then(|batch| batch.keeping.take()).expect("to be kept");
        self.settle(number, &refused);
        self.run(Event::Kept { number, refused, after: Duration::from_millis(4) });
        self.forget();
    }

    pub(super) fn fail(&mut self, number: u64) {
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
    pub(super) fn write(&mut self, succeeds: bool) {
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
    pub(super) fn report_write(&mut self, which: usize) {
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

    pub(super) fn tick(&mut self, records_max: u64) {
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
    pub(super) fn read(&mut self, records_max: u64) {
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

    pub(super) fn fail_to_read(&mut self) {
        if self.reading.take().is_some() {
            self.run(Event::ReplayFailed);
            let wait = self.waits.next().expect("endless");
            assert_eq!(self.queue.next_replay(), NextReplay::At(self.now + wait));
        }
    }

    /// An entry on disk that was not sent becomes unreadable.
    pub(super) fn damage(&mut self, which: usize) {
        let unsent: Vec<u64> = self.disk.keys().copied().filter(|number| !self.is_in_memory(*number)).collect();
        if let Some(number) = unsent.get(which % unsent.len().max(1))
            && self.records[number].fate == Fate::Journaled
        {
            self.disk.remove(number);
            self.damaged.insert(*number);
        }
    }

    pub(super) fn is_in_memory(&self, number: u64) -> bool {
        let before = self.batches.range(..=number).next_back();
        before.is_some_and(|(first, batch)| number < first + batch.records)
    }

    /// The process dies, and another one adopts what is on disk.
    pub(super) fn crash(&mut self) {
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
        *self.seen.entry(("adopted", "OnDisk")).or_default() += 1;
        self.check();
    }

    pub(super) fn step(&mut self, (step, which, records): Step) {
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
                    let (writes, is_due) = (self.writing.len(), is_awaited || !available);
                    self.run(Event::Silent { number, available });
                    let mut appended = self.writing.iter().skip(writes);
                    assert!(appended.all(|write| is_due && write.number <= number), "written without a reason");
                    self.check_appended(number, is_due);
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
    pub(super) fn check_appended(&self, last: u64, is_due: bool) {
        if !is_due || self.failed || self.journal != JournalMode::Works {
            return;
        }
        for (number, batch) in self.batches.range(..=last) {
            assert!(batch.settled || batch.disk != Disk::No, "{number} is only in memory");
        }
    }

    /// With a working bus and journal, everything is settled.
    pub(super) fn end(&mut self) {
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
        let acknowledged = self.records.values().filter(|record| record.fate == Fate::Acknowledged);
        assert_eq!(self.counted_sent, acknowledged.count());
        assert_eq!(self.queue.writing_bytes(), 0);
        // It goes straight to the bus again.
        if !self.is_adopted {
            let sent = self.log.len();
            self.offer(0, 1);
            assert_eq!(self.log.len(), sent + 1);
        }
    }
}
