//! What a client may use per second, charged after use.
//!
//! A bucket that holds one second's worth and may be overdrawn: an amount is known only once it was used. Time is an
//! argument, counted from any fixed point.
//!
//! Invariant: however much is charged, the bucket has something again after [`DEBT_MAX`] at the latest.

use std::num::NonZeroU32;
use std::time::Duration;

/// The burst: a client may use this much of its rate at once.
const BURST: Duration = Duration::from_secs(1);
/// Longest time that a client pays back what it has overdrawn: a large request must not lock it out.
pub const DEBT_MAX: Duration = Duration::from_secs(60);

/// The bucket of one client at one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    full_at: Duration,
}

impl Allowance {
    /// How long until something is left; zero if something is now.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        let missing = self.full_at.saturating_sub(now);
        // A full second is missing while the bucket is just empty.
        if missing < BURST { Duration::ZERO } else { missing - BURST + Duration::from_nanos(1) }
    }

    /// Takes `amount` from a bucket that refills at `per_second` and holds as much as that.
    pub fn charge(&mut self, amount: u64, per_second: NonZeroU32, now: Duration) {
        let nanos = u128::from(amount) * BURST.as_nanos() / u128::from(per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let full_at = self.full_at.max(now).saturating_add(cost);
        self.full_at = full_at.min(now.saturating_add(BURST + DEBT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

    #[test]
    fn a_second_s_worth_may_be_used_at_once_and_an_overdraft_is_waited_for() {
        let now = Duration::from_secs(5);
        let mut allowance = Allowance::default();
        allowance.charge(9, TEN, now);
        assert_eq!(allowance.wait(now), Duration::ZERO, "one is left");
        allowance.charge(11, TEN, now);
        let wait = allowance.wait(now);
        assert_eq!(wait, Duration::from_secs(1) + Duration::from_nanos(1));
        assert_eq!(allowance.wait(now + wait), Duration::ZERO);
        assert_ne!(allowance.wait(now + wait - Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn a_debt_has_a_limit() {
        let mut allowance = Allowance::default();
        allowance.charge(u64::MAX, NonZeroU32::MIN, Duration::ZERO);
        assert_eq!(allowance.wait(DEBT_MAX + Duration::from_nanos(1)), Duration::ZERO);
        assert_ne!(allowance.wait(DEBT_MAX - Duration::from_nanos(1)), Duration::ZERO);
    }

    proptest! {
        /// Requests of one size, each begun as soon as it may.
        #[test]
        fn a_client_uses_ten_times_its_rate_and_one_burst_in_ten_seconds(
            per_second in 10_u32..50_000,
            size in 1_u64..10,
        ) {
            let rate = NonZeroU32::new(per_second).expect("not zero");
            let (mut allowance, mut now, mut used) = (Allowance::default(), Duration::ZERO, 0);
            loop {
                now += allowance.wait(now);
                if now >= Duration::from_secs(10) {
                    break;
                }
                allowance.charge(size, rate, now);
                used += size;
            }
            let expected = u64::from(per_second) * 11;
            prop_assert!(used.abs_diff(expected) <= size + expected / 100, "{used} instead of {expected}");
        }
    }
}
