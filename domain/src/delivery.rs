//! Delivery guarantees of an event, and the durability that a 202 reports.

use crate::level::Level;

/// The delivery guarantee of an event (contract, "Delivery").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// Accepted once the bus client has it; nothing is awaited.
    AtMostOnce,
    /// Accepted once it survives a crash of this process and of the machine.
    AtLeastOnce,
    /// Like at-least-once, and repeats by the client are stored once: the client must send an event id.
    ExactlyOnce,
}

impl Guarantee {
    /// All guarantees, weakest first.
    pub const ALL: [Self; 3] = [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce];

    /// The name in configuration and in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }

    /// The guarantee with this [`Guarantee::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|guarantee| guarantee.name() == name)
    }
}

/// Events of each of [`Guarantee::ALL`].
pub type GuaranteeCounts = [u64; Guarantee::ALL.len()];

/// Counts the events of each of [`Guarantee::ALL`].
#[must_use]
pub fn count_guarantees(guarantees: &[Guarantee]) -> GuaranteeCounts {
    Guarantee::ALL.map(|of| guarantees.iter().filter(|guarantee| **guarantee == of).count() as u64)
}

/// Where an accepted event was when the 202 was sent, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// In the producer's memory or the operating system's buffers: does not survive a power failure.
    Buffered,
    /// Fsynced in the producer's journal.
    Journaled,
    /// Acknowledged by the bus.
    Acknowledged,
}

impl Durability {
    /// The name used in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Journaled => "journaled",
            Self::Acknowledged => "acknowledged",
        }
    }
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

/// The guarantee for each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPolicy {
    guarantees: [Guarantee; Level::ALL.len()],
}

impl Default for DeliveryPolicy {
    /// At-least-once for ERROR and FATAL, at-most-once for the rest.
    fn default() -> Self {
        let guarantees =
            Level::ALL.map(|level| if level.is_priority() { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce });
        Self { guarantees }
    }
}

impl DeliveryPolicy {
    /// The same policy with another guarantee for `level`.
    #[must_use]
    pub fn with(mut self, level: Level, guarantee: Guarantee) -> Self {
        for (slot, of) in self.guarantees.iter_mut().zip(Level::ALL) {
            if of == level {
                *slot = guarantee;
            }
        }
        self
    }

    /// The guarantee for `level`.
    #[must_use]
    pub fn guarantee(&self, level: Level) -> Guarantee {
        // `number` indexes `Level::ALL`, so the lookup always succeeds.
        self.guarantees.get(usize::from(level.number())).copied().unwrap_or(Guarantee::AtLeastOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_match_the_contract() {
        let policy = DeliveryPolicy::default();
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn] {
            assert_eq!(policy.guarantee(level), Guarantee::AtMostOnce, "{level}");
        }
        for level in [Level::Error, Level::Fatal] {
            assert_eq!(policy.guarantee(level), Guarantee::AtLeastOnce, "{level}");
        }
    }

    #[test]
    fn a_changed_level_leaves_the_others_alone() {
        let policy = DeliveryPolicy::default().with(Level::Warn, Guarantee::ExactlyOnce);
        assert_eq!(policy.guarantee(Level::Warn), Guarantee::ExactlyOnce);
        assert_eq!(policy.guarantee(Level::Info), Guarantee::AtMostOnce);
        assert_eq!(policy.guarantee(Level::Error), Guarantee::AtLeastOnce);
    }

    #[test]
    fn names_map_back_to_their_guarantee() {
        for guarantee in Guarantee::ALL {
            assert_eq!(Guarantee::from_name(guarantee.name()), Some(guarantee));
        }
        assert_eq!(Guarantee::from_name("exactly once"), None);
    }
}
