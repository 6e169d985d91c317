//! The rate limit of one client.
//!
//! A token bucket that holds one second's worth of tokens, implemented as the generic cell rate algorithm: a single
//! number, the time at which the bucket will be full again. Time is an argument, counted from any fixed point.

use std::num::NonZeroU32;
use std::time::Duration;

/// The burst: a client may use this much of its rate at once.
const BURST: Duration = Duration::from_secs(1);

/// The tokens of one client at one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    full_at: Duration,
}

/// The result of taking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether a token was available.
    pub allowed: bool,
    /// Whole tokens left.
    pub remaining: u32,
    /// Time until the next token, if none was available.
    pub retry_after: Duration,
    /// Time until the bucket is full again.
    pub reset_after: Duration,
}

impl TokenBucket {
    /// Takes one token from a bucket that refills at `per_second` tokens per second and holds that many.
    pub fn take(&mut self, per_second: NonZeroU32, now: Duration) -> Taken {
        let token = BURST / per_second.get();
        let missing = self.full_at.saturating_sub(now);
        let allowed = missing + token <= BURST;
        if allowed {
            self.full_at = now + missing + token;
        }
        let missing = self.full_at.saturating_sub(now);
        let remaining = BURST.saturating_sub(missing).as_nanos() / token.as_nanos().max(1);
        Taken {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            retry_after: if allowed { Duration::ZERO } else { (missing + token).saturating_sub(BURST) },
            reset_after: missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(per_second: u32, tries: impl Iterator<Item = Duration>) -> u32 {
        let mut bucket = TokenBucket::default();
        let per_second = NonZeroU32::new(per_second).expect("not zero");
        tries.map(|now| u32::from(bucket.take(per_second, now).allowed)).sum()
    }

    #[test]
    fn a_full_bucket_allows_one_seconds_worth_at_once_and_then_says_when_to_retry() {
        let mut bucket = TokenBucket::default();
        let per_second = NonZeroU32::new(10).expect("not zero");
        let now = Duration::from_secs(5);
        for remaining in (0..10).rev() {
            let taken = bucket.take(per_second, now);
            assert_eq!((taken.allowed, taken.remaining), (true, remaining));
        }
        let refused = bucket.take(per_second, now);
        assert_eq!(
            refused,
            Taken { allowed: false, remaining: 0, retry_after: Duration::from_millis(100), reset_after: BURST }
        );
        assert!(bucket.take(per_second, now + refused.retry_after).allowed);
        assert!(!bucket.take(per_second, now + refused.retry_after).allowed);
    }

    proptest! {
        #[test]
        fn a_client_at_nine_tenths_of_the_rate_is_never_refused(per_second in 10_u32..5_000, seconds in 1_u32..20) {
            let every = Duration::from_secs(10) / (per_second * 9);
            let tries = per_second * 9 / 10 * seconds;
            prop_assert_eq!(allowed(per_second, (0..tries).map(|n| every * n)), tries);
        }

        #[test]
        fn five_times_the_rate_over_ten_seconds_gets_the_rate_and_one_burst(per_second in 10_u32..5_000) {
            let every = Duration::from_secs(1) / (per_second * 5);
            let granted = allowed(per_second, (0..per_second * 50).map(|n| every * n));
            let expected = per_second * 11;
            prop_assert!(granted.abs_diff(expected) * 20 <= expected, "{granted} instead of {expected}");
        }
    }
}
