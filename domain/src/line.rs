//! The delivery line of one partition: its head in memory, with the bus; its tail on disk, in the journal.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * Records are numbered as they are taken, and given to the bus in that order, each once.
//! * What is journaled is a beginning of what is not settled: before a record goes to the journal, all that are before it in
//!   the line have gone there, unless the bus has settled them.
//! * While records wait to be given to the bus, the backlog, newer ones go behind them into the journal, never past them.
//! * A batch is in memory until it is settled, or until it is on disk and not given to the bus. So the memory of a backlog
//!   is on disk alone, but for what is being written.
//! * Everything before [`Line::released`] is settled; nothing from there on is given up.

use std::collections::BTreeMap;

/// The line; `B` is what belongs to a batch while it is in memory.
#[derive(Debug)]
pub struct Line<B> {
    /// The number of the next record to be taken.
    next: u64,
    /// Everything before it was given to the bus.
    sent: u64,
    /// By the number of their first record.
    batches: BTreeMap<u64, Batch<B>>,
    /// Batches in memory before it were queued for the journal.
    queued: u64,
}

#[derive(Debug)]
struct Batch<B> {
    /// Behind its last record.
    to: u64,
    disk: Disk,
    content: B,
}

/// How far a batch is on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    No,
    Queued,
    Synced,
}

/// What is to be given to the bus next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A batch in memory, by its number.
    InMemory(u64),
    /// What the journal has from the first to before the second number.
    OnDisk(u64, u64),
}

/// What became of a batch when the journal was done with it.
#[derive(Debug, PartialEq, Eq)]
pub enum Journaled<'a, B> {
    /// It is on disk, and the bus still has it.
    AlsoWithBus(&'a mut B),
    /// It is on disk only.
    OnDiskOnly(B),
    /// The journal did not take it, but the bus has it.
    OnlyWithBus,
    /// The journal did not take it, and nobody else has: it is out of the line.
    Nowhere(B),
    /// It was settled meanwhile.
    Settled,
}

impl<B> Line<B> {
    /// An empty line whose next record gets this number.
    #[must_use]
    pub fn new(next: u64) -> Self {
        Self { next, sent: next, batches: BTreeMap::new(), queued: next }
    }

    /// A line of records on disk, with these numbers.
    #[must_use]
    pub fn on_disk(first: u64, next: u64) -> Self {
        Self { next, sent: first, batches: BTreeMap::new(), queued: next }
    }

    /// The number of the next record to be taken.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether records wait to be given to the bus, and newer ones have to wait behind them.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.sent < self.next
    }

    /// Takes a batch that the bus has just taken; only without a backlog. Returns its number.
    pub fn take_sent(&mut self, records: u64, content: B) -> u64 {
        debug_assert!(!self.has_backlog(), "it would overtake the backlog");
        let from = self.take(records, Disk::No, content);
        self.sent = self.next;
        from
    }

    /// Takes a batch that was just queued for the journal, under the number [`Line::next`]. Returns its number.
    pub fn take_queued(&mut self, records: u64, content: B) -> u64 {
        self.take(records, Disk::Queued, content)
    }

    fn take(&mut self, records: u64, disk: Disk, content: B) -> u64 {
        let from = self.next;
        // An empty batch takes a number, too, so that each number names one batch.
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

    /// The oldest batch up to and with `last` that has to be queued for the journal before any newer one is.
    #[must_use]
    pub fn next_to_journal(&self, last: u64) -> Option<(u64, &B)> {
        let mut candidates = self.batches.range(self.queued.min(last)..=last);
        candidates.find(|(_, batch)| batch.disk == Disk::No).map(|(number, batch)| (*number, &batch.content))
    }

    /// A batch was queued for the journal.
    pub fn queued(&mut self, number: u64) {
        if let Some(batch) = self.batches.get_mut(&number) {
            batch.disk = Disk::Queued;
            self.queued = batch.to;
        }
    }

    /// The journal has synced a batch, or not taken it.
    pub fn journaled(&mut self, number: u64, synced: bool) -> Journaled<'_, B> {
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

    /// What is to be given to the bus next, if anything is.
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

    /// The bus has taken the batch that [`Line::next_to_send`] named.
    pub fn sent_from_memory(&mut self, number: u64) {
        debug_assert_eq!(number, self.sent, "out of order");
        if let Some(batch) = self.batches.get(&number) {
            self.sent = batch.to;
        }
    }

    /// The bus has taken what was read from the journal under the numbers from `number` on.
    pub fn sent_from_disk(&mut self, number: u64, records: u64, content: B) {
        debug_assert!(self.sent <= number && number + records <= self.next, "out of order");
        self.batches.insert(number, Batch { to: number + records, disk: Disk::Synced, content });
        self.sent = number + records;
    }

    /// There is nothing to be sent before this number.
    pub fn skip_to(&mut self, number: u64) {
        self.sent = self.sent.max(number.min(self.next));
    }

    /// The bus has settled a batch that it had.
    pub fn settle(&mut self, number: u64) -> Option<B> {
        self.batches.remove(&number).map(|batch| batch.content)
    }

    /// Everything before it is settled: the journal need not keep it.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.batches.range(..self.sent).next().map_or(self.sent, |(number, _)| *number)
    }
}
