//! Limits of access keys, within one process.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use domain::allowance::Allowance;
use domain::ports::{CLIENTS_MAX, Client, KeyLimiter, RateDecision};
use domain::recent::Recent;
use domain::token_bucket::TokenBucket;
use tokio::time::Instant;

use crate::lock::lock;

/// Buckets in memory, for the keys that were used most recently.
pub struct LocalKeyLimiter {
    began: Instant,
    buckets: Mutex<Recent<Client, Buckets>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    requests: TokenBucket,
    events: Allowance,
}

impl Default for LocalKeyLimiter {
    fn default() -> Self {
        Self { began: Instant::now(), buckets: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }
}

#[async_trait]
impl KeyLimiter for LocalKeyLimiter {
    async fn take(&self, keys: Client, per_second: NonZeroU32) -> RateDecision {
        let now = self.began.elapsed();
        let taken = lock(&self.buckets).entry(keys).requests.take(per_second, now);
        RateDecision {
            allowed: taken.allowed,
            limit: per_second.get(),
            remaining: taken.remaining,
            reset_after: taken.reset_after,
            retry_after: taken.retry_after,
        }
    }

    async fn wait(&self, keys: Client, _events_per_second: NonZeroU32) -> Duration {
        let now = self.began.elapsed();
        lock(&self.buckets).entry(keys).events.wait(now)
    }

    async fn charge(&self, keys: Client, events_per_second: NonZeroU32, events: usize) {
        let now = self.began.elapsed();
        lock(&self.buckets).entry(keys).events.charge(events as u64, events_per_second, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

    fn keys(name: &str) -> Client {
        Client::with_keys(&name.parse().expect("a name"))
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_one_name_share_their_limits_and_others_have_their_own() {
        let limiter = LocalKeyLimiter::default();
        for _ in 0..10 {
            assert!(limiter.take(keys("shop"), TEN).await.allowed);
        }
        let refused = limiter.take(keys("shop"), TEN).await;
        assert_eq!((refused.allowed, refused.retry_after), (false, Duration::from_millis(100)));
        assert!(limiter.take(keys("till"), TEN).await.allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_charged_after_they_were_read_and_a_debt_is_waited_for() {
        let limiter = LocalKeyLimiter::default();
        assert_eq!(limiter.wait(keys("shop"), TEN).await, Duration::ZERO);
        limiter.charge(keys("shop"), TEN, 30).await;
        let wait = limiter.wait(keys("shop"), TEN).await;
        assert!(wait > Duration::from_millis(1_900) && wait < Duration::from_millis(2_100), "{wait:?}");
        assert_eq!(limiter.wait(keys("till"), TEN).await, Duration::ZERO);
        tokio::time::advance(wait).await;
        assert_eq!(limiter.wait(keys("shop"), TEN).await, Duration::ZERO);
    }
}
