//! The limiter over Redis keeps the promises of its port. Needs a server: `TEST_REDIS_URL` (`scripts/services`).

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_redis::RedisLimiter;
use async_trait::async_trait;
use contracts::limiter::LimiterSubject;
use domain::ports::{Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use fred::clients::Client as Redis;
use fred::interfaces::ClientLike;
use fred::types::config::Config;
use tokio::time::{Instant, interval_at};

/// Nothing may be left to it while Redis is there.
struct Never;

#[async_trait]
impl RateLimiter for Never {
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision> {
        panic!("Redis did not decide about {client} {class:?}")
    }
}

/// Waits up to this long follow a pace, on which a delay is made up for: timers are exact to a millisecond only. Longer
/// ones last at least what they say.
const PACED_MAX: Duration = Duration::from_millis(20);

struct RedisLimiters {
    url: String,
    /// Until when the last wait was to last.
    due: Mutex<Instant>,
}

impl LimiterSubject for RedisLimiters {
    async fn fresh(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        let redis = Redis::new(Config::from_url(&self.url).expect("a URL"), None, None, None);
        let running = redis.init().await.expect("Redis answers");
        redis.flushall::<()>(false).await.expect("everything is forgotten");
        redis.quit().await.expect("it ends");
        running.await.expect("it ended").expect("it ended");
        let limiter = RedisLimiter::connect(&self.url, limits, Arc::new(Never)).expect("a URL");
        limiter.connected().await;
        Arc::new(limiter)
    }

    async fn advance(&self, by: Duration) {
        let now = Instant::now();
        let due = {
            let mut due = self.due.lock().expect("nobody panicked with it");
            let delayed = now.checked_sub(PACED_MAX).filter(|_| by <= PACED_MAX).unwrap_or(now);
            *due = (*due).max(delayed) + by;
            *due
        };
        interval_at(due, Duration::from_secs(1)).tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_limiter_keeps_the_promises_of_its_port() {
    let Ok(url) = std::env::var("TEST_REDIS_URL") else {
        assert!(std::env::var("CI").is_err(), "TEST_REDIS_URL is missing: scripts/services starts a server");
        eprintln!("skipped: TEST_REDIS_URL is missing; scripts/services starts a server");
        return;
    };
    contracts::limiter::all(&RedisLimiters { url, due: Mutex::new(Instant::now()) }).await;
}

/// Counts what is left to it.
#[derive(Default)]
struct Counting(AtomicU32);

#[async_trait]
impl RateLimiter for Counting {
    async fn take(&self, _client: Client, _class: RequestClass) -> Option<RateDecision> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[tokio::test]
async fn without_redis_each_producer_decides_by_itself_at_once() {
    let local = Arc::new(Counting::default());
    let limits = RateLimits { single_per_second: NonZeroU32::new(5), batch_per_second: None };
    // Nobody listens at port 1.
    let limiter = RedisLimiter::connect("redis://127.0.0.1:1", limits, Arc::<Counting>::clone(&local)).expect("a URL");
    let client = Client::from(std::net::IpAddr::from([192, 0, 2, 1]));
    let began = Instant::now();
    for _ in 0..20 {
        limiter.take(client, RequestClass::Single).await;
    }
    assert_eq!(local.0.load(Ordering::Relaxed), 20);
    assert!(began.elapsed() < Duration::from_millis(20 * 60), "{:?}", began.elapsed());
    assert!(limiter.take(client, RequestClass::Batch).await.is_none());
    assert_eq!(local.0.load(Ordering::Relaxed), 20, "a class without a limit asks nobody");
}
