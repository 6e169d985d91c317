//! What is promised for an event, and what a 202 said about it.

use crate::level::Level;

/// How hard Spillway tries for an event (contract, "Delivery").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// Accepted once the bus client has it; not waited for.
    AtMostOnce,
    /// Accepted once it survives a crash of this process and of the machine.
    AtLeastOnce,
    /// As at-least-once, and the client's own repeats count once: the client must name the event.
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

/// Where an accepted event was when the 202 was given, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// In memory of the producer, or handed to the operating system: survives no power cut.
    Buffered,
    /// Fsynced in the producer's journal.
    Journaled,
    /// Acknowledged by the bus.
    Acknowledged,
}

impl Durability {
    /// The name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Journaled => "journaled",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// What became of the events that were accepted under one guarantee: each is in exactly one of the other terms, so
/// that `accepted = acknowledged + dropped + buffered` at every moment (contract, "Conservation").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Answered 202, or would have been had the client waited.
    pub accepted: u64,
    /// The bus has acknowledged them.
    pub acknowledged: u64,
    /// Given up after they were accepted: lost.
    pub dropped: u64,
    /// On their way.
    pub buffered: u64,
}

impl Deliveries {
    /// These events were accepted and are on their way.
    pub fn accept(&mut self, events: u64) {
        self.accepted += events;
        self.buffered += events;
    }

    /// These events, accepted before, have arrived or are lost.
    pub fn settle(&mut self, events: u64, arrived: bool) {
        self.buffered = self.buffered.saturating_sub(events);
        if arrived {
            self.acknowledged += events;
        } else {
            self.dropped += events;
        }
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
    /// The same policy, with another guarantee for `level`.
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
        // `number` counts through `Level::ALL`, so the lookup never misses.
        self.guarantees.get(usize::from(level.number())).copied().unwrap_or(Guarantee::AtLeastOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_contract() {
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
    fn names_lead_back_to_their_guarantee() {
        for guarantee in Guarantee::ALL {
            assert_eq!(Guarantee::from_name(guarantee.name()), Some(guarantee));
        }
        assert_eq!(Guarantee::from_name("exactly once"), None);
    }
}
