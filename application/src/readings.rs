//! Rates of a process: the difference between two readings of its counters.
//!
//! Constraints and invariants:
//! * Time is an argument, counted from any fixed point.
//! * Memory is bounded: at most [`READINGS_MAX`] readings are kept, and none that is older than [`GROWTH_INTERVAL`].
//! * No rate is computed over less than [`SHORTEST`]: it would depend on chance.

use std::collections::VecDeque;
use std::time::Duration;

/// How often to take a reading.
pub const READING_INTERVAL: Duration = Duration::from_secs(1);
/// Rates of events and requests cover this time, or less after the start.
pub const RATE_INTERVAL: Duration = Duration::from_secs(10);
/// The growth of the journal covers this time, or less after the start: it is removed file by file.
pub const GROWTH_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of readings that are kept.
pub const READINGS_MAX: usize = 64;

/// Rates cover at least this time.
const SHORTEST: Duration = Duration::from_millis(500);

/// Counters since the start of a process, and sizes now; zero for roles that it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Events that the producer accepted.
    pub accepted: u64,
    /// Events that the producer refused.
    pub refused: u64,
    /// Events that the bus acknowledged.
    pub published: u64,
    /// Events that the consumer stored.
    pub stored: u64,
    /// Requests to the gateway, without those to `/actuator`.
    pub gateway_requests: u64,
    /// Requests to the producer, without those to `/actuator`.
    pub producer_requests: u64,
    /// Requests to the consumer, without those to `/actuator`.
    pub consumer_requests: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
}

/// The last readings of a process.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    kept: VecDeque<(Duration, Reading)>,
}

/// What changed between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    before: Reading,
    after: Reading,
    seconds: f64,
}

impl Readings {
    /// Adds a reading that was taken at `at`, which is later than all others.
    pub fn add(&mut self, at: Duration, reading: Reading) {
        self.kept.push_back((at, reading));
        let is_old = |(taken, _): &(Duration, Reading)| at.saturating_sub(*taken) > GROWTH_INTERVAL;
        while self.kept.len() > READINGS_MAX || self.kept.front().is_some_and(is_old) {
            self.kept.pop_front();
        }
    }

    /// What changed within `interval` before the last reading, or within less after the start; `None` as long as
    /// two readings that are far enough apart are missing.
    #[must_use]
    pub fn change_over(&self, interval: Duration) -> Option<Change> {
        let (last, after) = *self.kept.back()?;
        let (first, before) = *self.kept.iter().find(|(at, _)| last.saturating_sub(*at) <= interval)?;
        let covered = last.saturating_sub(first);
        (covered >= SHORTEST).then_some(Change { before, after, seconds: covered.as_secs_f64() })
    }
}

impl Change {
    /// The time that it covers, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// How fast a counter grew, per second.
    #[must_use]
    pub fn per_second(&self, counter: fn(&Reading) -> u64) -> f64 {
        // A counter does not fall; a sum of several may, for a moment.
        as_float(counter(&self.after).saturating_sub(counter(&self.before))) / self.seconds
    }

    /// How fast the journal grew, in bytes per second: negative if it shrank.
    #[must_use]
    pub fn journal_growth(&self) -> f64 {
        let (before, after) = (self.before.journal_bytes, self.after.journal_bytes);
        (as_float(after.saturating_sub(before)) - as_float(before.saturating_sub(after))) / self.seconds
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn accepted(accepted: u64) -> Reading {
        Reading { accepted, ..Reading::default() }
    }

    #[test]
    fn a_rate_needs_two_readings_and_covers_the_interval_at_most() {
        let mut readings = Readings::default();
        assert_eq!(readings.change_over(RATE_INTERVAL), None);
        readings.add(SECOND, accepted(0));
        assert_eq!(readings.change_over(RATE_INTERVAL), None);
        readings.add(SECOND + SHORTEST / 2, accepted(5));
        assert_eq!(readings.change_over(RATE_INTERVAL), None, "too close");
        for second in 2..=30 {
            readings.add(second * SECOND, accepted(if second <= 20 { 0 } else { 1_000 }));
        }
        let change = readings.change_over(RATE_INTERVAL).expect("there are readings");
        assert!((change.seconds() - 10.0).abs() < 1e-9);
        assert!((change.per_second(|of| of.accepted) - 100.0).abs() < 1e-9);
        assert!(change.per_second(|of| of.stored).abs() < 1e-9);
    }

    #[test]
    fn the_journal_may_grow_and_shrink_and_a_counter_does_not_fall() {
        let growth = |before: u64, after: u64| {
            let mut readings = Readings::default();
            readings.add(SECOND, Reading { journal_bytes: before, stored: before, ..Reading::default() });
            readings.add(3 * SECOND, Reading { journal_bytes: after, stored: after, ..Reading::default() });
            let change = readings.change_over(GROWTH_INTERVAL).expect("there are readings");
            (change.journal_growth(), change.per_second(|of| of.stored))
        };
        assert_eq!(growth(100, 300), (100.0, 100.0));
        assert_eq!(growth(300, 100), (-100.0, 0.0));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_the_interval_is_kept(
            waits in proptest::collection::vec(1_u64..20_000, 1..200),
            interval in 1_u32..60,
        ) {
            let (mut readings, mut now) = (Readings::default(), Duration::ZERO);
            for wait in waits {
                now += Duration::from_millis(wait);
                readings.add(now, accepted(u64::try_from(now.as_millis()).expect("small")));
                prop_assert!(readings.kept.len() <= READINGS_MAX);
                if let Some(change) = readings.change_over(interval * SECOND) {
                    prop_assert!(change.seconds() <= (interval * SECOND).as_secs_f64() + 1e-9);
                    prop_assert!((change.per_second(|of| of.accepted) - 1_000.0).abs() < 1e-6);
                }
            }
        }
    }
}
