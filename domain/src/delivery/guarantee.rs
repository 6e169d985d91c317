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
