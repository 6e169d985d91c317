//! Limits of access keys.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapter_redis::RedisKeyLimiter;
use async_trait::async_trait;
use domain::ports::{Client, KeyLimiter, RateDecision};
use tokio::time::{Instant, sleep};

use crate::Database;

/// Must not be called while Redis is available.
struct Never;

#[async_trait]
impl KeyLimiter for Never {
    async fn take(&self, keys: Client, _: NonZeroU32) -> RateDecision {
        panic!("Redis did not decide about {keys}")
    }

    async fn wait(&self, keys: Client, _: NonZeroU32) -> Duration {
        panic!("Redis did not decide about {keys}")
    }

    async fn charge(&self, keys: Client, _: NonZeroU32, _: usize) {
        panic!("Redis did not charge {keys}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_together_keep_the_limits_of_a_key() {
    let Some(database) = Database::find(5) else { return };
    let connection = database.fresh().await;
    let limiters = [(); 2].map(|()| RedisKeyLimiter::new(connection.clone(), Arc::new(Never)));
    let keys = Client::with_keys(&"shop".parse().expect("a name"));
    let per_second = NonZeroU32::new(1_000).expect("not zero");

    let (began, mut events) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        for limiter in &limiters {
            match limiter.wait(keys, per_second).await {
                Duration::ZERO => {
                    limiter.charge(keys, per_second, 50).await;
                    events += 50;
                }
                wait => sleep(wait.min(Duration::from_millis(20))).await,
            }
        }
    }
    // Five seconds, the burst, and what both have in work at the end.
    let expected = began.elapsed().as_secs_f64() * 1_000.0 + 1_000.0;
    assert!((f64::from(events) - expected).abs() <= expected * 0.05 + 100.0, "{events} instead of {expected}");

    let allowed = async {
        let mut allowed = 0;
        for n in 0..3_000 {
            allowed += u32::from(limiters[n % 2].take(keys, per_second).await.allowed);
        }
        allowed
    };
    let began = Instant::now();
    let allowed = allowed.await;
    let expected = began.elapsed().as_secs_f64() * 1_000.0 + 1_000.0;
    assert!(f64::from(allowed) <= expected * 1.05 + 20.0, "{allowed} instead of {expected}");
}
