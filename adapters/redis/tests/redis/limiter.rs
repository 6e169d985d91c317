//! The limiter.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_redis::RedisLimiter;
use async_trait::async_trait;
use contracts::limiter::LimiterSubject;
use domain::ports::{Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use tokio::time::{Instant, interval_at};

use crate::Database;

/// Must not be called while Redis is available.
struct Never;

#[async_trait]
impl RateLimiter for Never {
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision> {
        panic!("Redis did not decide about {client} {class:?}")
    }
}

/// Waits up to this long are paced, so that a delay is compensated: timers have a precision of one millisecond only.
/// Longer waits last at least the given time.
const PACED_MAX: Duration = Duration::from_millis(20);

struct RedisLimiters {
    database: Database,
    /// When the last wait should have ended.
    due: Mutex<Instant>,
}

impl LimiterSubject for RedisLimiters {
    async fn fresh(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        Arc::new(RedisLimiter::new(self.database.fresh().await, limits, Arc::new(Never)))
    }

    async fn advance(&self, by: Duration) {
        let now = Instant::now();
        let due = {
            let mut due = self.due.lock().expect("not poisoned");
            let delayed = now.checked_sub(PACED_MAX).filter(|_| by <= PACED_MAX).unwrap_or(now);
            *due = (*due).max(delayed) + by;
            *due
        };
        interval_at(due, Duration::from_secs(1)).tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limiter_keeps_the_promises_of_its_port() {
    let Some(database) = Database::find(0) else { return };
    contracts::limiter::all(&RedisLimiters { database, due: Mutex::new(Instant::now()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_written_before_the_clock_of_redis_stepped_back_is_empty_for_a_second() {
    const CLIENT: &str = "192.0.2.1";
    let Some(database) = Database::find(9) else { return };
    let ten = NonZeroU32::new(10);
    let limits = RateLimits { single_per_second: ten, batch_per_second: ten };
    // It panics if Redis does not decide.
    let limiter = RedisLimiter::new(database.fresh().await, limits, Arc::new(Never));
    database
        .eval(&format!(
            "redis.call('SET', 'spillway:limit:single:{CLIENT}', \
             string.format('%.0f', (redis.call('TIME')[1] + 3600) * 1000000))"
        ))
        .await;
    let client: Client = CLIENT.parse::<std::net::IpAddr>().expect("an address").into();
    let refused = limiter.take(client, RequestClass::Single).await.expect("a decision");
    assert!(!refused.allowed, "the bucket is empty");
    assert!(refused.retry_after <= Duration::from_secs(1), "{refused:?}");
    // The limiter says when to try again, and keeps to it.
    let due = Instant::now() + refused.retry_after + Duration::from_millis(50);
    interval_at(due, Duration::from_secs(1)).tick().await;
    let allowed = limiter.take(client, RequestClass::Single).await.expect("a decision");
    assert!(allowed.allowed, "{allowed:?}");
}
