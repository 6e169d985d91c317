//! The Redis adapters keep the promises of their ports, and nothing depends on Redis. Needs a server: `TEST_REDIS_URL`
//! (`scripts/services`).

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use adapter_redis::RedisConnection;
use fred::clients::Client as Redis;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::Config;

mod agent_limiter;
mod away;
mod idempotency;
mod key_limiter;
mod limiter;
mod query_cache;

/// A database of the server, so that concurrent tests do not disturb each other.
struct Database {
    url: String,
}

impl Database {
    /// The database with this number; `None`, with a message, without a server.
    fn find(number: u8) -> Option<Self> {
        let Ok(url) = std::env::var("TEST_REDIS_URL") else {
            assert!(std::env::var("CI").is_err(), "TEST_REDIS_URL is missing: scripts/services starts a server");
            eprintln!("skipped: TEST_REDIS_URL is missing; scripts/services starts a server");
            return None;
        };
        Some(Self { url: format!("{}/{number}", url.trim_end_matches('/')) })
    }

    /// Runs a script in the database.
    async fn eval(&self, script: &str) {
        let redis = Redis::new(Config::from_url(&self.url).expect("a URL"), None, None, None);
        let running = redis.init().await.expect("Redis answers");
        let none = Vec::<String>::new;
        redis.eval::<(), _, _, _>(script, none(), none()).await.expect("the script succeeds");
        redis.quit().await.expect("it ends");
        running.await.expect("it ended").expect("it ended");
    }

    /// Empties the database and connects to it.
    async fn fresh(&self) -> RedisConnection {
        self.eval("redis.call('FLUSHDB')").await;
        // These tests are not about timeouts, and must not depend on the load of the machine.
        let connection = RedisConnection::connect(&self.url, contracts::DEADLINE).expect("a URL");
        connection.connected().await;
        connection
    }
}
