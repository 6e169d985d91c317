//! How much of a disk Spillway may use, and when to warn that it is filling up.
//!
//! Constraints and invariants:
//! * Ordinary events leave [`DiskSpace::reserve_bytes`] free. ERROR and FATAL leave half of it free, so that the store
//!   can always write what the log holds: stored records can then be removed to free their space.
//! * Only free bytes count, never the percentage in use: a shared disk may be 85 % full and still have 500 GB free.

/// Maximum size of the reserve.
const RESERVE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The reserve of a small disk, as a fraction of its size.
const RESERVE_SHARE: u64 = 10;
/// Percentages of disk usage at which to warn.
const WARN_PERCENT: [u64; 2] = [80, 90];
/// How far usage must fall below a percentage before its warning can be repeated.
const REARM_PERCENT: u64 = 5;

/// The space of the file system that contains a directory, as `df` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process can still write.
    pub free_bytes: u64,
    /// Total bytes.
    pub total_bytes: u64,
}

impl DiskSpace {
    /// A disk of unknown size, which limits nothing.
    pub const UNKNOWN: Self = Self { free_bytes: u64::MAX, total_bytes: u64::MAX };

    /// Bytes that ordinary events leave free: a tenth of a small disk, 256 MiB of a larger one.
    #[must_use]
    pub fn reserve_bytes(self) -> u64 {
        (self.total_bytes / RESERVE_SHARE).min(RESERVE_BYTES_MAX)
    }

    /// Bytes that every event leaves free, including ERROR and FATAL: half of the reserve, for the store.
    #[must_use]
    pub fn store_reserve_bytes(self) -> u64 {
        self.reserve_bytes() / 2
    }

    /// Bytes to leave free by removing records that are no longer needed: a quarter more than the reserve, so that
    /// removal in large pieces does not make the free space fluctuate around it.
    #[must_use]
    pub fn restored_bytes(self) -> u64 {
        self.reserve_bytes() + self.reserve_bytes() / 4
    }

    /// Bytes for ordinary events: the free space beyond the reserve.
    #[must_use]
    pub fn available_bytes(self) -> u64 {
        self.free_bytes.saturating_sub(self.reserve_bytes())
    }

    /// Bytes for ERROR and FATAL: the free space beyond the store's half of the reserve.
    #[must_use]
    pub fn usable_bytes(self) -> u64 {
        self.free_bytes.saturating_sub(self.store_reserve_bytes())
    }

    /// Bytes in use, by any process.
    #[must_use]
    pub fn used_bytes(self) -> u64 {
        self.total_bytes.saturating_sub(self.free_bytes)
    }

    /// What this space means for events.
    #[must_use]
    pub fn state(self) -> DiskState {
        if self.usable_bytes() == 0 {
            DiskState::Full
        } else if self.available_bytes() == 0 {
            DiskState::Reserved
        } else {
            DiskState::Ample
        }
    }
}

/// What the free space of a disk means for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskState {
    /// Every event is accepted.
    Ample,
    /// The remaining space is for ERROR and FATAL, and for the store.
    Reserved,
    /// The remaining space is for the store.
    Full,
}

/// What to log about a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskNotice {
    /// Disk usage reached this percentage.
    Filling(u64),
    /// The state has changed.
    State(DiskState),
}

/// Decides when to log about a disk: each percentage of [`WARN_PERCENT`] once while usage rises, and each change of
/// state once. A disk that fluctuates around a limit is reported once.
#[derive(Clone, Copy, Debug)]
pub struct DiskWatch {
    /// The highest percentage that was reported and has been exceeded since.
    warned_percent: u64,
    state: DiskState,
}

impl Default for DiskWatch {
    fn default() -> Self {
        Self { warned_percent: 0, state: DiskState::Ample }
    }
}

impl DiskWatch {
    /// What to log for the current space.
    pub fn observe(&mut self, space: DiskSpace) -> Vec<DiskNotice> {
        let mut notices = Vec::new();
        let percent = u64::try_from(u128::from(space.used_bytes()) * 100 / u128::from(space.total_bytes.max(1)));
        let percent = percent.unwrap_or(100);
        let reached = WARN_PERCENT.into_iter().filter(|limit| percent >= *limit).max().unwrap_or(0);
        if reached > self.warned_percent {
            notices.push(DiskNotice::Filling(reached));
            self.warned_percent = reached;
        } else if percent + REARM_PERCENT <= self.warned_percent {
            self.warned_percent = reached;
        }
        // A better state counts only when the space exceeds its limit by an eighth of the reserve.
        let margin_bytes = space.reserve_bytes() / 8;
        let lasting = DiskSpace { free_bytes: space.free_bytes.saturating_sub(margin_bytes), ..space }.state();
        let state = space.state().max(self.state.min(lasting));
        if state != self.state {
            notices.push(DiskNotice::State(state));
            self.state = state;
        }
        notices
    }

    /// The state that was last reported.
    #[must_use]
    pub fn state(&self) -> DiskState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn space(free_bytes: u64, total_bytes: u64) -> DiskSpace {
        DiskSpace { free_bytes, total_bytes }
    }

    #[test]
    fn a_shared_disk_with_much_free_space_limits_nothing() {
        let shared = space(500 * GIB, 3_333 * GIB);
        assert_eq!(shared.state(), DiskState::Ample);
        assert_eq!(shared.available_bytes(), 500 * GIB - 256 * MIB);
        assert_eq!(DiskSpace::UNKNOWN.state(), DiskState::Ample);
    }

    #[test]
    fn a_small_disk_reserves_a_tenth_and_a_twentieth() {
        let small = |free_mib: u64| space(free_mib * MIB, 200 * MIB);
        assert_eq!(small(60).available_bytes(), 40 * MIB);
        assert_eq!(small(60).usable_bytes(), 50 * MIB);
        let states = [21, 20, 11, 10].map(|free_mib| small(free_mib).state());
        assert_eq!(states, [DiskState::Ample, DiskState::Reserved, DiskState::Reserved, DiskState::Full]);
    }

    #[test]
    fn each_limit_is_reported_once_however_the_disk_fluctuates() {
        use DiskNotice::{Filling, State};
        let mut watch = DiskWatch::default();
        let mut observe = |used_permille: u64| watch.observe(space(1_000 - used_permille, 1_000));
        assert_eq!(observe(799), []);
        assert_eq!(observe(800), [Filling(80)]);
        for wavering in [790, 800, 760, 810, 899] {
            assert_eq!(observe(wavering), [], "{wavering}");
        }
        assert_eq!(observe(900), [Filling(90), State(DiskState::Reserved)]);
        for wavering in [899, 901, 889, 949] {
            assert_eq!(observe(wavering), [], "{wavering}");
        }
        assert_eq!(observe(950), [State(DiskState::Full)]);
        assert_eq!(observe(940), []);
        assert_eq!(observe(937), [State(DiskState::Reserved)]);
        assert_eq!(observe(850), [State(DiskState::Ample)]);
        assert_eq!(observe(900), [Filling(90), State(DiskState::Reserved)]);
        assert_eq!(observe(100), [State(DiskState::Ample)]);
        assert_eq!(observe(850), [Filling(80)]);
    }

    proptest! {
        #[test]
        fn the_reported_state_is_never_better_than_the_actual_one(free in prop::collection::vec(0_u64..1_000, 1..50)) {
            let mut watch = DiskWatch::default();
            for free_bytes in free {
                let space = space(free_bytes, 1_000);
                let before = watch.state();
                let notices = watch.observe(space);
                prop_assert!(watch.state() >= space.state());
                let told = notices.iter().any(|notice| matches!(notice, DiskNotice::State(_)));
                prop_assert_eq!(told, before != watch.state());
            }
        }

        #[test]
        fn the_store_keeps_half_of_the_reserve(free_bytes: u64, total_bytes: u64) {
            let space = space(free_bytes, total_bytes);
            prop_assert!(space.available_bytes() <= space.usable_bytes() && space.usable_bytes() <= free_bytes);
            prop_assert!(space.reserve_bytes() <= total_bytes / 10);
        }
    }
}
