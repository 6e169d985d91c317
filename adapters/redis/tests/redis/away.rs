//! What happens while Redis is away, and when it comes back. A server is not needed, only addresses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_redis::{ROUND_TRIP_MAX, RedisConnection, RedisIdempotencyStore, RedisLimiter, RedisQueryCache};
use async_trait::async_trait;
use domain::Uuid;
use domain::ports::{
    Client, IdempotencyStore, IdempotentRequest, QueryCache, RateDecision, RateLimiter, RateLimits, Recollection,
    RequestClass,
};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::Database;

/// Longest time that a call may take: what it waits for Redis, and the machine's own pauses.
const CALL_MAX: Duration = Duration::from_millis(ROUND_TRIP_MAX.as_millis() as u64 + 10);
const CALLS: u32 = 20;

fn client() -> Client {
    IpAddr::from([192, 0, 2, 1]).into()
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

async fn everything_is_decided_without_redis_at_once(connection: RedisConnection) {
    let local = Arc::new(Counting::default());
    let limits = RateLimits { single_per_second: NonZeroU32::new(5), batch_per_second: None };
    let limiter = RedisLimiter::new(connection.clone(), limits, Arc::<Counting>::clone(&local));
    let began = Instant::now();
    for _ in 0..CALLS {
        limiter.take(client(), RequestClass::Single).await;
    }
    assert_eq!(local.0.load(Ordering::Relaxed), CALLS);
    assert!(limiter.take(client(), RequestClass::Batch).await.is_none());
    assert_eq!(local.0.load(Ordering::Relaxed), CALLS, "a class without a limit asks nobody");

    let store = RedisIdempotencyStore::new(connection.clone(), Duration::from_secs(3_600));
    let cache = RedisQueryCache::new(connection.clone());
    for body in 0..CALLS {
        let fingerprint = Uuid::from_u128(body.into());
        let request = IdempotentRequest { client: client(), class: RequestClass::Single, key: "1", fingerprint };
        assert_eq!(store.begin(&request).await, Recollection::New);
        store.finish(&request, b"{}").await;
        cache.put("query", b"{}").await;
        assert_eq!(cache.get("query").await, None);
    }
    assert!(began.elapsed() < CALL_MAX * CALLS * 5, "{:?}", began.elapsed());
    let trouble = connection.trouble().expect("Redis is away");
    assert!(trouble.starts_with("there is no connection to Redis"), "{trouble}");
}

#[tokio::test]
async fn where_nobody_listens() {
    // Nobody listens at port 1.
    let connection = RedisConnection::connect("redis://127.0.0.1:1").expect("a URL");
    everything_is_decided_without_redis_at_once(connection).await;
}

#[tokio::test]
async fn where_nobody_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let connection = RedisConnection::connect(&format!("redis://{address}")).expect("a URL");
    let (_socket, _) = timeout(contracts::DEADLINE, silent.accept()).await.expect("in time").expect("it connects");
    everything_is_decided_without_redis_at_once(connection).await;
}

#[tokio::test]
async fn while_redis_answers_nothing_is_wrong() {
    let Some(database) = Database::find(3) else { return };
    let connection = database.fresh().await;
    assert_eq!(connection.trouble(), None);
    RedisQueryCache::new(connection.clone()).put("query", b"{}").await;
    assert_eq!(connection.trouble(), None);
}
