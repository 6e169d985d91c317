//! Which levels are accepted as capacity runs out.
//!
//! Invariant: a level that is refused at one usage is refused at every higher usage, and no level is refused while a less
//! severe one is accepted. The last tenth of the capacity is reserved for ERROR and FATAL (contract, "Delivery").

use crate::level::Level;

/// How much of a bounded resource is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Capacity in bytes.
    pub bytes_max: u64,
}

impl Usage {
    /// The same resource with `bytes` more in use.
    #[must_use]
    pub fn with(self, bytes: u64) -> Self {
        Self { used_bytes: self.used_bytes.saturating_add(bytes), ..self }
    }

    /// The sum of this resource and another one, when an event may be in either.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        Self {
            used_bytes: self.used_bytes.saturating_add(other.used_bytes),
            bytes_max: self.bytes_max.saturating_add(other.bytes_max),
        }
    }

    /// The same resource, limited by the `available_bytes` left on its disk.
    #[must_use]
    pub fn within(self, available_bytes: u64) -> Self {
        Self { bytes_max: self.bytes_max.min(self.used_bytes.saturating_add(available_bytes)), ..self }
    }

    /// The fuller of two resources that must both hold the same events.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        // A resource without capacity is the fullest.
        let other_is_fuller = self.bytes_max > 0
            && (other.bytes_max == 0
                || product(self.used_bytes, other.bytes_max) < product(other.used_bytes, self.bytes_max));
        if other_is_fuller { other } else { self }
    }
}

/// Whether an event of this level is accepted at this usage. ERROR and FATAL always are: a resource without any capacity
/// refuses them itself.
#[must_use]
pub fn admits(level: Level, usage: Usage) -> bool {
    let percent_max = match level {
        Level::Trace | Level::Debug => 70,
        Level::Info => 80,
        Level::Warn => 90,
        Level::Error | Level::Fatal => return true,
    };
    usage.bytes_max > 0 && u128::from(usage.used_bytes) * 100 <= u128::from(usage.bytes_max) * percent_max
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admitted(used_bytes: u64) -> Vec<Level> {
        let usage = Usage { used_bytes, bytes_max: 1_000 };
        Level::ALL.into_iter().filter(|level| admits(*level, usage)).collect()
    }

    #[test]
    fn levels_are_refused_one_by_one_as_capacity_runs_out() {
        use Level::{Debug, Error, Fatal, Info, Trace, Warn};
        assert_eq!(admitted(700), [Trace, Debug, Info, Warn, Error, Fatal]);
        assert_eq!(admitted(701), [Info, Warn, Error, Fatal]);
        assert_eq!(admitted(800), [Info, Warn, Error, Fatal]);
        assert_eq!(admitted(801), [Warn, Error, Fatal]);
        assert_eq!(admitted(900), [Warn, Error, Fatal]);
        assert_eq!(admitted(901), [Error, Fatal]);
        assert_eq!(admitted(5_000), [Error, Fatal]);
    }

    #[test]
    fn a_full_disk_refuses_ordinary_levels_even_if_nothing_is_used() {
        let log = Usage { used_bytes: 0, bytes_max: 1_000 };
        assert!(admits(Level::Trace, log.within(500)));
        assert!(!admits(Level::Warn, log.within(0)));
        assert!(admits(Level::Error, log.within(0)));
        assert_eq!(Usage { used_bytes: 600, ..log }.within(200), Usage { used_bytes: 600, bytes_max: 800 });
        assert_eq!(Usage { used_bytes: 600, ..log }.within(u64::MAX), Usage { used_bytes: 600, bytes_max: 1_000 });
    }

    proptest! {
        #[test]
        fn no_level_is_refused_while_a_less_severe_one_is_accepted(used_bytes: u64, bytes_max: u64) {
            let usage = Usage { used_bytes, bytes_max };
            let admitted = Level::ALL.map(|level| admits(level, usage));
            prop_assert!(admitted.is_sorted(), "{admitted:?}");
        }

        #[test]
        fn the_tighter_of_two_resources_admits_only_what_both_admit(a in 0_u64..2_000, b in 0_u64..2_000, max in 0_u64..2_000) {
            let (a, b) = (Usage { used_bytes: a, bytes_max: 1_000 }, Usage { used_bytes: b, bytes_max: max });
            for level in Level::ALL {
                prop_assert_eq!(admits(level, a.tighter(b)), admits(level, a) && admits(level, b));
            }
        }
    }
}
