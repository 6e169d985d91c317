//! The delivery queue of one partition: its head is in memory, sent to the bus; its tail is on disk, in the journal.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * Records are numbered as they are taken and sent to the bus in that order, each once.
//! * The journal holds a prefix of the unsettled records: before a record goes to the journal, all records before it in
//!   the queue have gone there, unless the bus has settled them.
//! * After a failed write nothing is queued for the journal until all queued writes have been reported. The journal
//!   refuses everything queued behind the failed write ([`crate::ports::Journal::append`]), so the records on disk
//!   remain a prefix.
//! * While records wait to be sent to the bus (the backlog), newer ones go behind them into the journal, never past
//!   them.
//! * A batch is in memory until it is settled, or until it is on disk and not sent to the bus. So a backlog uses memory
//!   only for the batches that are being written.
//! * Everything before [`DeliveryQueue::released`] is settled; nothing from there on is released.

use std::collections::BTreeMap;

/// The queue; `B` is the content of a batch while it is in memory.
#[derive(Debug)]
pub struct DeliveryQueue<B> {
    /// The number of the next record.
    next: u64,
    /// Everything before it was sent to the bus.
    sent: u64,
    /// Batches in memory, by the number of their first record.
    batches: BTreeMap<u64, Batch<B>>,
    /// Batches in memory before it were queued for the journal.
    queued: u64,
    /// Writes that were queued for the journal and have not been reported yet.
    writes: u64,
    /// A write failed, and queued ones have not all been reported.
    write_failed: bool,
}

#[derive(Debug)]
struct Batch<B> {
    /// The number after its last record.
    to: u64,
    disk: Disk,
    content: B,
}

/// The progress of a batch towards the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    No,
    Queued,
    Synced,
}

/// What to send to the bus next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A batch in memory, by its number.
    InMemory(u64),
    /// The records in the journal from the first number up to, but excluding, the second.
    OnDisk(u64, u64),
}

/// The state of a batch after the journal has reported it.
#[derive(Debug, PartialEq, Eq)]
pub enum Journaled<'a, B> {
    /// It is on disk, and the bus still has it.
    AlsoWithBus(&'a mut B),
    /// It is on disk only.
    OnDiskOnly(B),
    /// The journal refused it, but the bus has it.
    OnlyWithBus,
    /// The journal refused it and the bus does not have it: it left the queue.
    Nowhere(B),
    /// The bus has settled it in the meantime.
    Settled,
}

impl<B> Default for DeliveryQueue<B> {
    /// An empty queue.
    fn default() -> Self {
        Self::on_disk(0, 0)
    }
}

impl<B> DeliveryQueue<B> {
    /// A queue whose records, with these numbers, are on disk.
    #[must_use]
    pub fn on_disk(first: u64, next: u64) -> Self {
        Self { next, sent: first, batches: BTreeMap::new(), queued: next, writes: 0, write_failed: false }
    }

    /// The number of the next record.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether records wait to be sent to the bus, so that newer ones must wait behind them.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.sent < self.next
    }

    /// Adds a batch that was just sent to the bus; requires an empty backlog. Returns its number.
    pub fn take_sent(&mut self, records: u64, content: B) -> u64 {
        debug_assert!(!self.has_backlog(), "the batch would overtake the backlog");
        let from = self.take(records, Disk::No, content);
        self.sent = self.next;
        from
    }

    /// Adds a batch that was just queued for the journal, under the number [`DeliveryQueue::next`]. Returns its number.
    pub fn take_queued(&mut self, records: u64, content: B) -> u64 {
        self.writes += 1;
        self.take(records, Disk::Queued, content)
    }

    fn take(&mut self, records: u64, disk: Disk, content: B) -> u64 {
        let from = self.next;
        // An empty batch uses a number too, so that each number identifies one batch.
        self.next += records.max(1);
        self.batches.insert(from, Batch { to: self.next, disk, content });
        from
    }

    /// A batch in memory.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut B> {
        self.batches.get_mut(&number).map(|batch| &mut batch.content)
    }

    /// The batches in memory, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &B> {
        self.batches.values().map(|batch| &batch.content)
    }

    /// Whether batches can be queued for the journal.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        !self.write_failed
    }

    /// The oldest batch, up to and including `last`, that must be queued for the journal before any newer one.
    #[must_use]
    pub fn next_to_journal(&self, last: u64) -> Option<(u64, &B)> {
        let mut candidates = self.batches.range(self.queued.min(last)..=last);
        candidates.find(|(_, batch)| batch.disk == Disk::No).map(|(number, batch)| (*number, &batch.content))
    }

    /// A batch was queued for the journal.
    pub fn queued(&mut self, number: u64) {
        self.writes += 1;
        if let Some(batch) = self.batches.get_mut(&number) {
            batch.disk = Disk::Queued;
            self.queued = batch.to;
        }
    }

    /// Whether a batch is being written to disk.
    #[must_use]
    pub fn is_queued(&self, number: u64) -> bool {
        self.batches.get(&number).is_some_and(|batch| batch.disk == Disk::Queued)
    }

    /// The journal synced a batch or refused it. After a failure, call [`DeliveryQueue::resume_journal`] each time.
    pub fn journaled(&mut self, number: u64, synced: bool) -> Journaled<'_, B> {
        self.writes = self.writes.saturating_sub(1);
        self.write_failed |= !synced;
        let with_bus = number < self.sent;
        if with_bus {
            return match self.batches.get_mut(&number) {
                None => Journaled::Settled,
                Some(batch) if synced => {
                    batch.disk = Disk::Synced;
                    Journaled::AlsoWithBus(&mut batch.content)
                }
                Some(batch) => {
                    batch.disk = Disk::No;
                    self.queued = self.queued.min(number);
                    Journaled::OnlyWithBus
                }
            };
        }
        match self.batches.remove(&number) {
            None => Journaled::Settled,
            Some(batch) if synced => Journaled::OnDiskOnly(batch.content),
            Some(batch) => Journaled::Nowhere(batch.content),
        }
    }

    /// Whether to tell the journal to accept writes again: one failed, and all queued writes have been reported. From
    /// then on batches can be queued again.
    #[must_use]
    pub fn resume_journal(&mut self) -> bool {
        let resumes = self.write_failed && self.writes == 0;
        self.write_failed &= !resumes;
        resumes
    }

    /// What to send to the bus next, if anything.
    #[must_use]
    pub fn next_to_send(&self) -> Option<Next> {
        if !self.has_backlog() {
            return None;
        }
        match self.batches.range(self.sent..).next() {
            Some((number, _)) if *number == self.sent => Some(Next::InMemory(*number)),
            Some((number, _)) => Some(Next::OnDisk(self.sent, *number)),
            None => Some(Next::OnDisk(self.sent, self.next)),
        }
    }

    /// The bus took the batch that [`DeliveryQueue::next_to_send`] returned.
    pub fn sent_from_memory(&mut self, number: u64) {
        debug_assert_eq!(number, self.sent, "out of order");
        if let Some(batch) = self.batches.get(&number) {
            self.sent = batch.to;
        }
    }

    /// The bus took records read from the journal, starting at `number`.
    pub fn sent_from_disk(&mut self, number: u64, records: u64, content: B) {
        debug_assert!(self.sent <= number && number + records <= self.next, "out of order");
        self.batches.insert(number, Batch { to: number + records, disk: Disk::Synced, content });
        self.sent = number + records;
    }

    /// Nothing is left to send before this number.
    pub fn skip_to(&mut self, number: u64) {
        self.sent = self.sent.max(number.min(self.next));
    }

    /// The bus settled a batch that it had.
    pub fn settle(&mut self, number: u64) -> Option<B> {
        self.batches.remove(&number).map(|batch| batch.content)
    }

    /// Everything before this number is settled: the journal need not keep it.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.batches.range(..self.sent).next().map_or(self.sent, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Model of the disk and the bus next to the queue under test.
    #[derive(Default)]
    struct World {
        disk: BTreeSet<u64>,
        /// Every number that the bus received, in order.
        bus: Vec<u64>,
        unsettled: Vec<(u64, u64)>,
        settled: BTreeSet<u64>,
        writing: Vec<(u64, u64)>,
        /// The disk refuses writes until it is resumed.
        failed: bool,
        /// Numbers that were refused before anything was promised for them.
        refused: BTreeSet<u64>,
    }

    impl World {
        /// Queues for the journal everything that must go there before anything newer.
        fn journal_held(&mut self, queue: &mut DeliveryQueue<u64>, last: u64) {
            while queue.takes_writes()
                && let Some((number, records)) = queue.next_to_journal(last)
            {
                self.writing.push((number, *records));
                queue.queued(number);
            }
        }

        fn send(&mut self, number: u64, records: u64) {
            self.bus.extend(number..number + records);
            self.unsettled.push((number, records));
        }
    }

    proptest! {
        #[test]
        fn everything_is_sent_once_in_order_and_kept_until_it_is_settled(
            steps in prop::collection::vec((0_u8..7, 0_usize..5, 1_u64..4), 1..120),
        ) {
            let (mut queue, mut world) = (DeliveryQueue::on_disk(5, 5), World::default());
            for (step, which, records) in steps {
                match step {
                    0 if !queue.has_backlog() => {
                        let number = queue.take_sent(records, records);
                        world.send(number, records);
                    }
                    0 | 1 => {
                        world.journal_held(&mut queue, u64::MAX);
                        if !queue.takes_writes() {
                            continue;
                        }
                        for (number, _) in &world.unsettled {
                            let there = world.disk.contains(number) || world.writing.iter().any(|(of, _)| of == number);
                            prop_assert!(there, "{number} is not written before a newer one");
                        }
                        world.writing.push((queue.take_queued(records, records), records));
                    }
                    2 => world.journal_held(&mut queue, world.unsettled.get(which).map_or(0, |(number, _)| *number)),
                    // The disk writes in queue order.
                    3 | 4 if !world.writing.is_empty() => {
                        let (number, records) = world.writing.remove(0);
                        let synced = step == 3 && !world.failed;
                        world.failed |= !synced;
                        if synced {
                            prop_assert!(world.disk.last().is_none_or(|last| *last < number), "{number} is written after a later one");
                            world.disk.extend(number..number + records);
                        }
                        let outcome = queue.journaled(number, synced);
                        if matches!(outcome, Journaled::Nowhere(_)) {
                            world.refused.extend(number..number + records);
                        }
                        prop_assert_eq!(matches!(outcome, Journaled::AlsoWithBus(_) | Journaled::OnDiskOnly(_) | Journaled::Settled), synced
                            || world.settled.contains(&number));
                        if queue.resume_journal() {
                            prop_assert!(world.failed && world.writing.is_empty(), "resumed too early");
                            world.failed = false;
                        }
                        prop_assert_eq!(queue.takes_writes(), !world.failed);
                        let is_hole = |(number, _): &&(u64, u64)| !world.disk.contains(number) && world.disk.last() > Some(number);
                        prop_assert_eq!(world.unsettled.iter().find(is_hole), None, "the records on disk are not a prefix");
                    }
                    5 if !world.unsettled.is_empty() => {
                        let (number, records) = world.unsettled.remove(which % world.unsettled.len());
                        prop_assert_eq!(queue.settle(number), Some(records));
                        world.settled.extend(number..number + records);
                    }
                    6 => match queue.next_to_send() {
                        Some(Next::InMemory(number)) => {
                            let records = *queue.get_mut(number).expect("in memory");
                            queue.sent_from_memory(number);
                            world.send(number, records);
                        }
                        Some(Next::OnDisk(from, to)) => {
                            // Missing numbers were refused.
                            let first = world.disk.range(from..to).next().copied();
                            if let Some(first) = first {
                                let run = (first..to).take_while(|number| world.disk.contains(number)).count() as u64;
                                let records = run.min(records);
                                queue.sent_from_disk(first, records, records);
                                world.send(first, records);
                            } else {
                                queue.skip_to(to);
                            }
                        }
                        None => prop_assert!(!queue.has_backlog()),
                    },
                    _ => {}
                }
                prop_assert!(world.bus.is_sorted_by(|a, b| a < b), "sent twice or out of order: {:?}", world.bus);
                let is_open = |number: &u64| !world.settled.contains(number) && !world.refused.contains(number);
                let first_open = (5..queue.next()).find(is_open).unwrap_or(queue.next());
                prop_assert!(queue.released() <= first_open, "released an unsettled record");
                // Every number taken is settled, on the bus, being written, on disk, or was refused.
                for number in 5..queue.next() {
                    let of = |batches: &[(u64, u64)]| batches.iter().any(|(from, records)| (*from..from + records).contains(&number));
                    let somewhere = world.settled.contains(&number) || world.disk.contains(&number)
                        || world.refused.contains(&number) || of(&world.unsettled) || of(&world.writing);
                    prop_assert!(somewhere, "{number} is nowhere");
                }
            }
            // With a working bus and disk, everything is eventually settled.
            while !world.writing.is_empty() || queue.has_backlog() || !world.unsettled.is_empty() {
                for (number, records) in std::mem::take(&mut world.writing) {
                    if world.failed {
                        if let Journaled::Nowhere(_) = queue.journaled(number, false) {
                            world.refused.extend(number..number + records);
                        }
                    } else {
                        world.disk.extend(number..number + records);
                        queue.journaled(number, true);
                    }
                }
                world.failed &= !queue.resume_journal();
                match queue.next_to_send() {
                    Some(Next::InMemory(number)) => {
                        let records = *queue.get_mut(number).expect("in memory");
                        queue.sent_from_memory(number);
                        world.send(number, records);
                    }
                    Some(Next::OnDisk(from, to)) => match world.disk.range(from..to).next().copied() {
                        Some(first) => {
                            queue.sent_from_disk(first, 1, 1);
                            world.send(first, 1);
                        }
                        None => queue.skip_to(to),
                    },
                    None => {}
                }
                for (number, records) in std::mem::take(&mut world.unsettled) {
                    queue.settle(number);
                    world.settled.extend(number..number + records);
                }
            }
            prop_assert_eq!(queue.released(), queue.next());
            prop_assert_eq!(queue.iter().count(), 0);
            let delivered = world.settled.len() + world.refused.difference(&world.settled).count();
            prop_assert_eq!(delivered as u64, queue.next() - 5);
        }
    }
}
