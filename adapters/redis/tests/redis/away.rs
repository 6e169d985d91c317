//! Behaviour during an outage of Redis, and after it.

use std::net::{IpAddr, SocketAddr};
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
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::Database;

const CALLS: u32 = 20;

fn client() -> Client {
    IpAddr::from([192, 0, 2, 1]).into()
}

/// Counts the decisions left to the local limiter.
#[derive(Default)]
struct Counting(AtomicU32);

#[async_trait]
impl RateLimiter for Counting {
    async fn take(&self, _client: Client, _class: RequestClass) -> Option<RateDecision> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }
}

async fn everything_is_decided_without_redis(connection: &RedisConnection) {
    let local = Arc::new(Counting::default());
    let limits = RateLimits { single_per_second: NonZeroU32::new(5), batch_per_second: None };
    let limiter = RedisLimiter::new(connection.clone(), limits, Arc::<Counting>::clone(&local));
    for _ in 0..CALLS {
        limiter.take(client(), RequestClass::Single).await;
    }
    assert_eq!(local.0.load(Ordering::Relaxed), CALLS);
    assert!(limiter.take(client(), RequestClass::Batch).await.is_none());
    assert_eq!(local.0.load(Ordering::Relaxed), CALLS, "an unlimited class uses no limiter");

    let store = RedisIdempotencyStore::new(connection.clone(), Duration::from_secs(3_600));
    let cache = RedisQueryCache::new(connection.clone(), "store");
    for body in 0..CALLS {
        let fingerprint = Uuid::from_u128(body.into());
        let request = IdempotentRequest { client: client(), class: RequestClass::Single, key: "1", fingerprint };
        assert_eq!(store.begin(&request).await, Recollection::New);
        store.finish(&request, b"{}").await;
        cache.put("query", b"{}").await;
        assert_eq!(cache.get("query").await, None);
    }
}

/// As above, and without waiting.
async fn everything_is_decided_at_once(connection: &RedisConnection) {
    tokio::select! {
        biased;
        () = everything_is_decided_without_redis(connection) => {}
        () = std::future::ready(()) => panic!("a call waits for Redis"),
    }
    assert_eq!(connection.fault().as_deref(), Some("not connected to Redis"));
}

#[tokio::test]
async fn without_a_listener() {
    // Nothing listens on port 1.
    let connection = RedisConnection::connect("redis://127.0.0.1:1", ROUND_TRIP_MAX).expect("a URL");
    everything_is_decided_at_once(&connection).await;
}

#[tokio::test]
async fn with_a_silent_listener() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let connection = RedisConnection::connect(&format!("redis://{address}"), ROUND_TRIP_MAX).expect("a URL");
    let (_socket, _) = in_time("it connects", silent.accept()).await.expect("it connects");
    everything_is_decided_at_once(&connection).await;
}

/// Forwards connections to Redis, or keeps them open silently.
async fn network(redis: String) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (passing, passes) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (redis, mut passes) = (redis.clone(), passes.clone());
            tokio::spawn(async move {
                passes.wait_for(|passes| *passes).await.expect("the test continues");
                let mut far = TcpStream::connect(redis).await.expect("Redis is there");
                let silent = async { passes.wait_for(|passes| !passes).await.map(drop) };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => return,
                    _ = silent => {}
                }
                // Both ends stay open.
                let _ = passes.wait_for(|passes| *passes).await;
            });
        }
    });
    (address, passing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_falls_silent_calls_wait_briefly_then_not_at_all_and_everything_recovers() {
    let Some(database) = Database::find(4) else { return };
    database.fresh().await;
    let (server, number) = database.url.trim_start_matches("redis://").split_once('/').expect("a database");
    let (address, passing) = network(server.to_owned()).await;
    let connection = RedisConnection::connect(&format!("redis://{address}/{number}"), ROUND_TRIP_MAX).expect("a URL");
    let cache = RedisQueryCache::new(connection.clone(), "store");
    let answers = async || {
        while cache.get("query").await.is_none() {
            cache.put("query", b"{}").await;
            yield_now().await;
        }
    };
    in_time("Redis answers", answers()).await;

    passing.send_replace(false);
    let mut shorter = Duration::MAX;
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(cache.get("query").await, None);
        shorter = shorter.min(began.elapsed());
    }
    // A busy machine may be slow, but not at both times.
    assert!(shorter < ROUND_TRIP_MAX * 4, "{shorter:?}");
    let fault = connection.fault().expect("Redis is away");
    assert!(fault.starts_with("calls to Redis fail"), "{fault}");
    let given_up = async {
        while connection.fault().as_deref() != Some("not connected to Redis") {
            assert_eq!(cache.get("query").await, None);
        }
    };
    in_time("the connection is dropped", given_up).await;
    everything_is_decided_at_once(&connection).await;

    passing.send_replace(true);
    in_time("Redis answers again", answers()).await;
}

#[tokio::test]
async fn while_redis_answers_health_reports_no_error() {
    let Some(database) = Database::find(3) else { return };
    let connection = database.fresh().await;
    assert_eq!(connection.fault(), None);
    RedisQueryCache::new(connection.clone(), "store").put("query", b"{}").await;
    assert_eq!(connection.fault(), None);
}

/// The result of a future that must complete.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(contracts::DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}
