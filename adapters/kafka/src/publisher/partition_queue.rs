//! Which records of a partition the client gets next: pure, without a client.
//!
//! Constraints and invariants:
//! * Records are handed over in order. A record is handed over again only after [`PartitionQueue::restart`].
//! * A new client gets one record alone, and more only once that one is delivered ([`Flight`]).
//! * A record that was refused together with others is sent alone: so Kafka's next answer means it and no other.
//! * Records that are handed over as one pack are reported together. The caller knows the packs; the number of a pack is
//!   that of its first record.
//! * A batch leaves once all its records are reported, behind the batches before it.

use std::collections::VecDeque;

/// A record: the number of its batch, and its position in the order in which the batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordId {
    pub(super) batch: u64,
    pub(super) position: usize,
}

/// What may be in flight to the client's broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// The client has delivered nothing yet: the next record is sent alone.
    Probing,
    /// This record only; the others wait for its report.
    Alone(RecordId),
    /// Any number of records.
    Open,
}

/// State of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No final report yet.
    Open,
    /// No final report yet, and refused together with others: sent alone to find out which one is meant.
    Suspect,
    /// A final report has arrived.
    Reported,
}

/// The batches of one partition, oldest first. `B` is the content of a batch.
#[derive(Debug)]
pub(super) struct PartitionQueue<B> {
    batches: VecDeque<QueuedBatch<B>>,
    /// Number of the first of `batches`.
    first: u64,
    /// The next record to hand over.
    next: RecordId,
    flight: Flight,
}

#[derive(Debug)]
struct QueuedBatch<B> {
    content: B,
    /// State of each record.
    progress: Vec<Progress>,
    /// Number of records without a final report.
    left: usize,
}

impl<B> Default for PartitionQueue<B> {
    /// An empty queue.
    fn default() -> Self {
        Self { batches: VecDeque::new(), first: 0, next: RecordId { batch: 0, position: 0 }, flight: Flight::Probing }
    }
}

impl<B> PartitionQueue<B> {
    /// Adds a batch of this many records.
    pub(super) fn push(&mut self, content: B, records: usize) {
        self.batches.push_back(QueuedBatch { content, progress: vec![Progress::Open; records], left: records });
    }

    /// Whether there are records that the client does not have.
    pub(super) fn is_behind(&self) -> bool {
        self.next.batch < self.first + self.batches.len() as u64
    }

    /// The next record to hand over, if one may be: then call [`PartitionQueue::handed_over`] or
    /// [`PartitionQueue::report`].
    pub(super) fn next_record(&mut self) -> Option<(&B, RecordId)> {
        if let Flight::Alone(_) = self.flight {
            return None;
        }
        loop {
            self.release();
            let RecordId { batch: number, position } = self.next;
            match self.batch(number)?.progress.get(position) {
                Some(Progress::Reported) | None => self.pass(1),
                Some(Progress::Open) if self.flight == Flight::Open => break,
                Some(Progress::Open | Progress::Suspect) if self.is_first_unreported() => break,
                Some(Progress::Open | Progress::Suspect) => return None,
            }
        }
        let next = self.next;
        self.batch(next.batch).map(|batch| (&batch.content, next))
    }

    /// The client has the record that [`PartitionQueue::next_record`] returned, in a pack of this many.
    pub(super) fn handed_over(&mut self, records: usize) {
        let next = self.next;
        let progress = self.batch(next.batch).and_then(|batch| batch.progress.get(next.position).copied());
        if self.flight == Flight::Probing || progress == Some(Progress::Suspect) {
            self.flight = Flight::Alone(next);
        }
        self.pass(records);
    }

    /// The content of a batch.
    pub(super) fn content(&self, number: u64) -> Option<&B> {
        self.batch(number).map(|batch| &batch.content)
    }

    /// The content of a batch, to be changed.
    pub(super) fn content_mut(&mut self, number: u64) -> Option<&mut B> {
        self.batch_mut(number).map(|batch| &mut batch.content)
    }

    /// A pack that is in flight alone was refused, and is handed over again, in parts. The client has to prove itself
    /// again.
    pub(super) fn again(&mut self, id: RecordId) {
        if self.is_alone(id) {
            (self.flight, self.next) = (Flight::Probing, id);
        }
    }

    /// The final report of a record; `delivered` by the present client, or not. Calls `settle` with the batch, and with
    /// whether this was its last report, unless the record was reported before. Returns whether other records waited for
    /// this report.
    pub(super) fn report(&mut self, id: RecordId, delivered: bool, settle: impl FnOnce(&mut B, bool)) -> bool {
        if let Some(batch) = self.batch_mut(id.batch)
            && let Some(progress) = batch.progress.get_mut(id.position)
            && *progress != Progress::Reported
        {
            *progress = Progress::Reported;
            batch.left -= 1;
            settle(&mut batch.content, batch.left == 0);
        }
        let was_alone = self.is_alone(id);
        if was_alone {
            self.flight = if delivered { Flight::Open } else { Flight::Probing };
        }
        self.release();
        was_alone
    }

    /// Marks a record as refused, possibly because of another one.
    pub(super) fn suspect(&mut self, id: RecordId) {
        let progress = self.batch_mut(id.batch).and_then(|batch| batch.progress.get_mut(id.position));
        if let Some(progress) = progress.filter(|progress| **progress == Progress::Open) {
            *progress = Progress::Suspect;
        }
    }

    /// Whether this record is in flight alone, so that an answer means it.
    pub(super) fn is_alone(&self, id: RecordId) -> bool {
        self.flight == Flight::Alone(id)
    }

    /// The client is gone: all unreported records are handed over again. A new client, unlike none, has delivered nothing
    /// yet; without one, the last reports of the previous one may still come.
    pub(super) fn restart(&mut self, is_new: bool) {
        self.next = RecordId { batch: self.first, position: 0 };
        if is_new {
            self.flight = Flight::Probing;
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn batch(&self, number: u64) -> Option<&QueuedBatch<B>> {
        self.batches.get(self.index(number)?)
    }

    fn batch_mut(&mut self, number: u64) -> Option<&mut QueuedBatch<B>> {
        let index = self.index(number)?;
        self.batches.get_mut(index)
    }

    /// Whether all records before the next one are reported.
    fn is_first_unreported(&self) -> bool {
        let before = self.batch(self.next.batch).and_then(|batch| batch.progress.get(..self.next.position));
        let mut before = before.unwrap_or_default().iter();
        self.next.batch == self.first && before.all(|progress| *progress == Progress::Reported)
    }

    /// Passes the next records of a batch.
    fn pass(&mut self, records: usize) {
        let of_batch = self.batch(self.next.batch).map_or(0, |batch| batch.progress.len());
        self.next.position += records.max(1);
        if self.next.position >= of_batch {
            self.next = RecordId { batch: self.next.batch + 1, position: 0 };
        }
    }

    /// Removes the oldest batches whose records are all reported.
    fn release(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.left == 0) {
            self.batches.pop_front();
            self.first += 1;
            if self.next.batch < self.first {
                self.next = RecordId { batch: self.first, position: 0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use domain::pack::{PACK_BYTES_MAX, Packs};
    use domain::record::Records;
    use domain::timestamp::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// Records that fit into one pack.
    fn records(count: usize) -> Records {
        let mut records = Records::default();
        for _ in 0..count {
            records.push(b"s", Timestamp::MIN, true, |buffer| buffer.extend_from_slice(b"{}")).expect("small");
        }
        records
    }

    /// The queue, and what its clients and Kafka know.
    #[derive(Default)]
    struct World {
        queue: PartitionQueue<u64>,
        /// Records by batch.
        batches: Vec<usize>,
        /// How the records of each batch are packed.
        packs: Vec<Packs>,
        /// First records of the packs with the present client, in order, without a report.
        in_flight: Vec<RecordId>,
        /// The present client has delivered a record.
        is_proven: bool,
        suspects: BTreeSet<RecordId>,
        reported: BTreeSet<RecordId>,
        /// Reports that each batch got.
        settled: BTreeMap<u64, usize>,
    }

    impl World {
        /// The client takes up to `records`.
        fn hand_over(&mut self, records: usize) {
            for _ in 0..records {
                let Some((content, id)) = self.queue.next_record() else { return self.check_wait() };
                assert_eq!(*content, id.batch);
                let pack = self.pack(id);
                assert_eq!(pack.start, id.position, "a pack is handed over from its first record on");
                assert!(!self.reported.contains(&id) && !self.in_flight.contains(&id), "{id:?} is sent twice");
                let all = (0..)
                    .zip(&self.batches)
                    .flat_map(|(batch, records)| (0..*records).map(move |position| RecordId { batch, position }));
                let mut before = all.take_while(|other| *other < id);
                assert!(
                    before.all(|other| {
                        let first = RecordId { position: self.pack(other).start, ..other };
                        self.reported.contains(&other) || self.in_flight.contains(&first)
                    }),
                    "{id:?}"
                );
                let is_alone = !self.is_proven || self.suspects.contains(&id);
                assert!(!is_alone || self.in_flight.is_empty(), "{id:?} has to be alone");
                self.queue.handed_over(pack.len());
                assert_eq!(self.queue.is_alone(id), is_alone);
                self.in_flight.push(id);
            }
        }

        /// Nothing is handed over only for a reason.
        fn check_wait(&self) {
            let all: usize = self.batches.iter().sum();
            assert!(!self.in_flight.is_empty() || self.reported.len() == all, "nothing will be sent");
        }

        fn report(&mut self, id: RecordId, delivered: bool) {
            self.in_flight.retain(|other| *other != id);
            self.is_proven |= delivered;
            // Its first record stands for the pack, and is reported last.
            for position in self.pack(id).rev() {
                let id = RecordId { position, ..id };
                self.reported.insert(id);
                let (settled, batches) = (&mut self.settled, &self.batches);
                self.queue.report(id, delivered, |content, is_last| {
                    let count = settled.entry(*content).or_default();
                    *count += 1;
                    let records = usize::try_from(*content).ok().and_then(|number| batches.get(number)).copied();
                    assert_eq!(is_last, records == Some(*count));
                });
            }
        }

        fn pack(&self, id: RecordId) -> std::ops::Range<usize> {
            self.packs[usize::try_from(id.batch).expect("few")].containing(id.position)
        }

        fn suspect(&mut self, id: RecordId) {
            for position in self.pack(id) {
                self.queue.suspect(RecordId { position, ..id });
                self.suspects.insert(RecordId { position, ..id });
            }
        }

        /// Kafka rejects a pack that is alone.
        fn halve(&mut self, id: RecordId) {
            self.suspect(id);
            assert!(self.packs[usize::try_from(id.batch).expect("few")].halve(id.position));
            self.queue.again(id);
            (self.in_flight, self.is_proven) = (Vec::new(), false);
        }

        fn step(&mut self, step: u8, which: usize) {
            let first = self.in_flight.first().copied();
            match (step, first) {
                (0 | 1, _) => {
                    self.queue.push(self.batches.len() as u64, which);
                    self.batches.push(which);
                    let packed = || Packs::of(&records(which), PACK_BYTES_MAX);
                    self.packs.push(if step == 0 { Packs::single(which) } else { packed() });
                }
                (2 | 3, _) => self.hand_over(which + 1),
                // Kafka reports in order.
                (4 | 5, Some(id)) => self.report(id, true),
                (6, Some(id)) if self.queue.is_alone(id) && self.pack(id).len() > 1 => self.halve(id),
                // Kafka names this record.
                (6, Some(id)) if self.queue.is_alone(id) => {
                    // A client that a record was refused for alone has to prove itself again.
                    self.is_proven = false;
                    self.report(id, false);
                }
                // It refuses a whole request: the client is replaced.
                (7, _) => {
                    for id in std::mem::take(&mut self.in_flight) {
                        self.suspect(id);
                    }
                    self.replace();
                }
                (8, _) => self.replace(),
                // A repeated report changes nothing.
                (9, _) => {
                    if let Some(id) = self.reported.first().copied() {
                        self.queue.report(id, true, |_, _| panic!("{id:?} was reported before"));
                    }
                }
                _ => {}
            }
        }

        fn replace(&mut self) {
            self.queue.restart(false);
            self.queue.restart(true);
            (self.in_flight, self.is_proven) = (Vec::new(), false);
        }
    }

    proptest! {
        #[test]
        fn records_are_handed_over_in_order_and_alone_where_an_answer_must_mean_one(
            steps in prop::collection::vec((0_u8..10, 0_usize..4), 1..120),
        ) {
            let mut world = World::default();
            steps.iter().for_each(|(step, which)| world.step(*step, *which));
            let all: usize = world.batches.iter().sum();
            for _ in 0..2 * all + 1 {
                world.hand_over(all);
                std::mem::take(&mut world.in_flight).into_iter().for_each(|id| world.report(id, true));
            }
            prop_assert_eq!(world.reported.len(), all);
            world.hand_over(1);
            prop_assert!(!world.queue.is_behind());
            prop_assert!(world.queue.batches.is_empty(), "a batch is kept");
        }
    }
}
