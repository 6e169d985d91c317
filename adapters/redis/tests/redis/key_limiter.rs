//! Limits of access keys.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapter_redis::RedisKeyLimiter;
use async_trait::async_trait;
use contracts::Refill;
use domain::ports::{Client, KeyLimiter, RateDecision};
use tokio::time::sleep;

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

    let (mut refill, mut events) = (Refill::begin(), 0);
    while refill.at_most() < Duration::from_secs(5) {
        for limiter in &limiters {
            refill.request();
            match limiter.wait(keys, per_second).await {
                Duration::ZERO => {
                    limiter.charge(keys, per_second, 50).await;
                    events += 50;
                }
                // As a client does that is told how long to wait.
                wait => sleep(wait.min(Duration::from_millis(20))).await,
            }
        }
    }
    // At most the burst, and what both have in work, comes on top; at most the burst is left.
    let [least, most] = [refill.at_least(), refill.at_most()].map(|refilled| 1_000.0 * refilled.as_secs_f64());
    let events = f64::from(events);
    assert!(
        events >= least * 0.95 - 100.0 && events <= (most + 1_000.0) * 1.05 + 100.0,
        "{events}, and {least} to {most}"
    );

    let allowed = async {
        let mut allowed = 0;
        for n in 0..3_000 {
            allowed += u32::from(limiters[n % 2].take(keys, per_second).await.allowed);
        }
        allowed
    };
    let refill = Refill::begin();
    let allowed = allowed.await;
    let most = refill.at_most().as_secs_f64() * 1_000.0 + 1_000.0;
    assert!(f64::from(allowed) <= most * 1.05 + 20.0, "{allowed}, and at most {most}");
}
