//! What a producer knows of a client's bucket between two requests to Redis. Time is an argument.

use std::time::Duration;

use domain::ports::RateDecision;
use tokio::time::Instant;

/// How long a lease is valid.
const LEASE_TIME: Duration = Duration::from_secs(1);

/// Number of tokens to take at once, including the one that the request needs now.
pub fn lease(per_second: u32) -> u32 {
    (per_second / 100).max(1)
}

/// The answer of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Tokens in the lease.
    pub granted: u32,
    /// Tokens left in the bucket.
    pub left: u32,
    /// Time until the bucket is full again.
    pub full_after: Duration,
    /// Time until the next token, if none was left.
    pub retry_after: Duration,
}

/// The lease of one client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leased {
    tokens: u32,
    good_until: Option<Instant>,
    left: u32,
    full_at: Option<Instant>,
    refused_until: Option<Instant>,
}

impl Leased {
    /// Decides without Redis, if possible: from the lease, or because Redis has said when to retry.
    pub fn decide(&mut self, per_second: u32, now: Instant) -> Option<RateDecision> {
        if self.refused_until.is_some_and(|until| now < until) {
            return Some(self.decision(false, per_second, now));
        }
        if self.tokens > 0 && self.good_until.is_some_and(|until| now < until) {
            self.tokens -= 1;
            return Some(self.decision(true, per_second, now));
        }
        None
    }

    /// Adds the tokens that Redis granted, and spends one of them.
    pub fn renew(&mut self, per_second: u32, granted: Granted, now: Instant) -> RateDecision {
        let allowed = granted.granted > 0;
        // Several requests may have asked concurrently, and each got tokens.
        let kept = if self.good_until.is_some_and(|until| now < until) { self.tokens } else { 0 };
        *self = Self {
            tokens: kept + granted.granted.saturating_sub(1),
            good_until: Some(now + LEASE_TIME),
            left: granted.left,
            full_at: Some(now + granted.full_after),
            refused_until: (!allowed).then(|| now + granted.retry_after),
        };
        self.decision(allowed, per_second, now)
    }

    fn decision(&self, allowed: bool, per_second: u32, now: Instant) -> RateDecision {
        let until = |time: Option<Instant>| time.map_or(Duration::ZERO, |time| time.saturating_duration_since(now));
        RateDecision {
            allowed,
            limit: per_second,
            remaining: if allowed { self.left.saturating_add(self.tokens) } else { 0 },
            reset_after: until(self.full_at),
            retry_after: if allowed { Duration::ZERO } else { until(self.refused_until) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_one_percent_of_the_limit_and_a_single_token_below_a_hundred() {
        for (per_second, tokens) in [(1, 1), (99, 1), (199, 1), (200, 2), (10_000_000, 100_000)] {
            assert_eq!(lease(per_second), tokens);
        }
    }

    #[test]
    fn a_lease_is_used_up_and_expires() {
        let now = Instant::now();
        let granted =
            Granted { granted: 3, left: 7, full_after: Duration::from_millis(300), retry_after: Duration::ZERO };
        let mut leased = Leased::default();
        assert_eq!(leased.decide(10, now), None);
        let first = leased.renew(10, granted, now);
        assert_eq!((first.allowed, first.remaining, first.reset_after), (true, 9, Duration::from_millis(300)));
        assert_eq!(leased.decide(10, now).map(|decision| decision.remaining), Some(8));
        assert_eq!(leased.decide(10, now + LEASE_TIME), None, "expired");
        assert_eq!(leased.decide(10, now).map(|decision| decision.remaining), Some(7));
        assert_eq!(leased.decide(10, now), None, "spent");
    }

    #[test]
    fn after_a_refusal_redis_is_not_asked_before_the_retry_time() {
        let now = Instant::now();
        let wait = Duration::from_millis(80);
        let nothing = Granted { granted: 0, left: 0, full_after: Duration::from_secs(1), retry_after: wait };
        let mut leased = Leased::default();
        let refused = leased.renew(10, nothing, now);
        assert_eq!((refused.allowed, refused.retry_after), (false, wait));
        let again = leased.decide(10, now + wait / 2).expect("decided here");
        assert_eq!((again.allowed, again.retry_after, again.remaining), (false, wait / 2, 0));
        assert_eq!(leased.decide(10, now + wait), None);
    }
}
