//! Rate limits that all producers share, in Redis.
//!
//! Constraints and invariants:
//! * The bucket of a client lives in Redis, by Redis's clock, so that it does not matter which producer is asked.
//! * A producer takes tokens in leases of at most 1 % of the limit, and below 100 a second one by one: what it keeps in
//!   advance is what the limit may be off by.
//! * A request waits for Redis once, and at most [`ROUND_TRIP_MAX`]. Without Redis each producer applies the whole limit.
//! * A token is never asked for twice: a script is not tried again, since the first try may have been counted.

mod bucket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{CLIENTS_MAX, Cause, Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use domain::recent::Recent;
use fred::clients::Client as Redis;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig};
use fred::util::sha1_hash;
use tokio::time::Instant;

use crate::bucket::{Granted, Leased};

/// Longest wait for Redis.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(50);
/// Most requests that wait for Redis at a time.
const WAITING_MAX: usize = 10_000;

/// One bucket as the generic cell rate algorithm: the key holds the time, in microseconds, at which it is full again.
/// Arguments: tokens a second, tokens asked for. Answers: tokens granted, tokens left, microseconds until it is full, and
/// until there is a token.
const TAKE: &str = "
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local token = 1000000 / ARGV[1]
local missing = math.max(0, (tonumber(redis.call('GET', KEYS[1])) or 0) - now)
local left = math.floor((1000000 - missing) / token + 0.000001)
local granted = math.min(left, tonumber(ARGV[2]))
if granted > 0 then
  missing = missing + granted * token
  redis.call('SET', KEYS[1], string.format('%.0f', now + missing), 'PX', math.ceil(missing / 1000) + 1)
end
local wait = math.max(0, missing + token - 1000000)
if left > granted then wait = 0 end
return {granted, left - granted, math.ceil(missing), math.ceil(wait)}
";

/// Limits that all producers of one Redis share.
pub struct RedisLimiter {
    redis: Redis,
    hash: String,
    limits: RateLimits,
    leases: Mutex<Recent<(Client, RequestClass), Leased>>,
    /// Decides while Redis does not.
    local: Arc<dyn RateLimiter>,
    away: AtomicBool,
}

impl RedisLimiter {
    /// Connects to Redis, in the background and for as long as it takes.
    ///
    /// # Errors
    /// The URL is none.
    pub fn connect(url: &str, limits: RateLimits, local: Arc<dyn RateLimiter>) -> Result<Self, Cause> {
        let mut config = Config::from_url(url)?;
        config.fail_fast = false;
        let performance = PerformanceConfig { default_command_timeout: ROUND_TRIP_MAX, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: Duration::from_secs(2),
            internal_command_timeout: Duration::from_secs(2),
            max_command_attempts: 1,
            max_command_buffer_len: WAITING_MAX,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let reconnect = ReconnectPolicy::new_exponential(0, 100, 5_000, 2);
        let redis = Redis::new(config, Some(performance), Some(connection), Some(reconnect));
        redis.connect();
        Ok(Self {
            redis,
            hash: sha1_hash(TAKE),
            limits,
            leases: Mutex::new(Recent::new(CLIENTS_MAX)),
            local,
            away: AtomicBool::new(false),
        })
    }

    /// Waits until Redis answers, however long that takes.
    pub async fn connected(&self) {
        // Fails only for a client that was told to give up.
        let _ = self.redis.wait_for_connect().await;
    }

    /// Asks Redis for tokens.
    async fn ask(&self, client: Client, class: RequestClass, per_second: u32, tokens: u32) -> Result<Granted, Cause> {
        let name = match class {
            RequestClass::Single => "single",
            RequestClass::Batch => "batch",
        };
        let key = format!("spillway:limit:{name}:{client}");
        let options =
            Options { fail_fast: true, max_attempts: Some(1), timeout: Some(ROUND_TRIP_MAX), ..Options::default() };
        let redis = self.redis.with_options(&options);
        let arguments = vec![i64::from(per_second), i64::from(tokens)];
        let answer = async {
            match redis.evalsha(self.hash.as_str(), key.as_str(), arguments.clone()).await {
                // It did not run: Redis has been started anew, or never heard of it.
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    redis.eval(TAKE, key.as_str(), arguments).await
                }
                answer => answer,
            }
        };
        // The time-out of the library does not cover a full queue.
        let (granted, left, full_micros, wait_micros): (u32, u32, u64, u64) =
            tokio::time::timeout(ROUND_TRIP_MAX, answer).await??;
        Ok(Granted {
            granted,
            left,
            full_after: Duration::from_micros(full_micros),
            retry_after: Duration::from_micros(wait_micros),
        })
    }

    /// Says once that Redis is away, and once that it is back.
    fn note(&self, result: Result<&Granted, &Cause>) {
        match result {
            Ok(_) if self.away.swap(false, Ordering::AcqRel) => {
                tracing::info!("rate limits are shared through Redis again")
            }
            Err(error) if !self.away.swap(true, Ordering::AcqRel) => {
                tracing::warn!(%error, "Redis does not answer: each producer applies the whole rate limit by itself");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision> {
        let per_second = self.limits.per_second(class)?.get();
        let key = (client, class);
        let leases = || self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = leases().entry(key).decide(per_second, Instant::now()) {
            return Some(decision);
        }
        let asked = self.ask(client, class, per_second, bucket::lease(per_second)).await;
        self.note(asked.as_ref());
        match asked {
            Ok(granted) => Some(leases().entry(key).renew(per_second, granted, Instant::now())),
            Err(_) => self.local.take(client, class).await,
        }
    }
}
