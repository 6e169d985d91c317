//! The accounts of accepted events: where each of them is.
//!
//! Invariant: each change moves events from one term to another, so that the accounts balance at every moment (contract,
//! "Conservation").

use super::guarantee::Guarantee;

/// Events of each of [`Guarantee::ALL`].
pub type GuaranteeCounts = [u64; Guarantee::ALL.len()];

/// Counts the events of each of [`Guarantee::ALL`].
#[must_use]
pub fn count_guarantees(guarantees: &[Guarantee]) -> GuaranteeCounts {
    Guarantee::ALL.map(|of| guarantees.iter().filter(|guarantee| **guarantee == of).count() as u64)
}

/// Where an accepted event is until the bus has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the producer's memory or the operating system's buffers.
    Buffered,
    /// Fsynced in the journal.
    Journaled,
}

/// Why an accepted event was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Delivery to the bus failed without a journal, or the process ends.
    BusFailed,
    /// The journal could not be read back completely.
    JournalDamaged,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::BusFailed, Self::JournalDamaged];

    /// The name in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BusFailed => "bus_failed",
            Self::JournalDamaged => "journal_damaged",
        }
    }
}

/// The accounts of one guarantee: each event is in exactly one of the other terms, so that at every moment `accepted +
/// recovered = acknowledged + dead_lettered + dropped + journaled + buffered` (contract, "Conservation").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Answered 202, or would have been if the client had waited.
    pub accepted: u64,
    /// Found in a journal of an earlier or another process.
    pub recovered: u64,
    /// Acknowledged by the bus.
    pub acknowledged: u64,
    /// Permanently rejected by the bus: kept on disk for inspection.
    pub dead_lettered: u64,
    /// Lost, for each of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// On disk.
    pub journaled: u64,
    /// In memory only.
    pub buffered: u64,
}

impl Deliveries {
    /// These events were accepted.
    pub fn accept(&mut self, events: u64, place: Place) {
        self.accepted += events;
        *self.at(place) += events;
    }

    /// These events were found in a journal.
    pub fn recover(&mut self, events: u64) {
        self.recovered += events;
        self.journaled += events;
    }

    /// These events moved from memory to the journal.
    pub fn journal(&mut self, events: u64) {
        self.leave(events, Place::Buffered);
        self.journaled += events;
    }

    /// The bus acknowledged these events.
    pub fn acknowledge(&mut self, events: u64, place: Place) {
        self.leave(events, place);
        self.acknowledged += events;
    }

    /// The bus permanently rejected these events.
    pub fn dead_letter(&mut self, events: u64, place: Place) {
        self.leave(events, place);
        self.dead_lettered += events;
    }

    /// These events were lost.
    pub fn drop(&mut self, events: u64, place: Place, reason: DropReason) {
        self.leave(events, place);
        for (dropped, of) in self.dropped.iter_mut().zip(DropReason::ALL) {
            *dropped += if of == reason { events } else { 0 };
        }
    }

    /// Adds the accounts of other events.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.recovered += other.recovered;
        self.acknowledged += other.acknowledged;
        self.dead_lettered += other.dead_lettered;
        for (dropped, other) in self.dropped.iter_mut().zip(other.dropped) {
            *dropped += other;
        }
        self.journaled += other.journaled;
        self.buffered += other.buffered;
    }

    /// Events that are counted in too many terms (positive) or in none (negative): anything but 0 is a defect.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        let sum = |terms: &[u64]| terms.iter().map(|term| i128::from(*term)).sum::<i128>();
        let settled = sum(&[self.acknowledged, self.dead_lettered]) + sum(&self.dropped);
        settled + sum(&[self.journaled, self.buffered]) - sum(&[self.accepted, self.recovered])
    }

    fn at(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Buffered => &mut self.buffered,
            Place::Journaled => &mut self.journaled,
        }
    }

    fn leave(&mut self, events: u64, place: Place) {
        let there = self.at(place);
        *there = there.saturating_sub(events);
    }
}
