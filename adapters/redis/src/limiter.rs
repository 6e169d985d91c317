//! Rate limits shared by all producers.
//!
//! Constraints and invariants:
//! * The bucket of a client is kept in Redis, by the clock of Redis, so that all producers decide alike.
//! * A producer takes tokens in leases of at most 1 % of the limit, and one at a time below 100 per second: unused
//!   tokens of leases are the error of the limit.
//! * A request asks Redis once. Without Redis each producer applies the whole limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{CLIENTS_MAX, Cause, Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use domain::recent::Recent;
use tokio::time::Instant;

use crate::bucket::{self, Granted, Leased};
use crate::connection::{RedisConnection, Script};

/// One bucket as the generic cell rate algorithm: the key holds the time, in microseconds, at which the bucket is full
/// again. Arguments: tokens per second, tokens requested. Returns tokens granted, tokens left, and the microseconds
/// until the bucket is full and until the next token. A time more than a second ahead was written before the clock of
/// Redis stepped back: the bucket counts as empty from now.
pub(crate) const TAKE: &str = "
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local token = 1000000 / ARGV[1]
local missing = math.max(0, (tonumber(redis.call('GET', KEYS[1])) or 0) - now)
if missing > 1000000 then
  missing = 1000000
  redis.call('SET', KEYS[1], string.format('%.0f', now + missing), 'PX', 1001)
end
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

/// A limiter shared by all producers of one Redis.
pub struct RedisLimiter {
    connection: RedisConnection,
    take: Script,
    limits: RateLimits,
    leases: Mutex<Recent<(Client, RequestClass), Leased>>,
    /// Decides during an outage of Redis.
    local: Arc<dyn RateLimiter>,
}

impl RedisLimiter {
    /// Limits in the Redis of `connection`, and in `local` during an outage.
    #[must_use]
    pub fn new(connection: RedisConnection, limits: RateLimits, local: Arc<dyn RateLimiter>) -> Self {
        let leases = Mutex::new(Recent::new(CLIENTS_MAX));
        Self { connection, take: Script::new(TAKE), limits, leases, local }
    }
}

/// Requests tokens of the bucket with this key from Redis. `take` is [`TAKE`].
pub(crate) async fn ask(
    connection: &RedisConnection,
    take: &Script,
    key: &str,
    per_second: u32,
    tokens: u32,
) -> Result<Granted, Cause> {
    let arguments = vec![i64::from(per_second).into(), i64::from(tokens).into()];
    let (granted, left, full_micros, wait_micros): (u32, u32, u64, u64) = connection.run(take, key, arguments).await?;
    Ok(Granted {
        granted,
        left,
        full_after: Duration::from_micros(full_micros),
        retry_after: Duration::from_micros(wait_micros),
    })
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
        let bucket = format!("spillway:limit:{}:{client}", class.name());
        match ask(&self.connection, &self.take, &bucket, per_second, bucket::lease(per_second)).await {
            Ok(granted) => Some(leases().entry(key).renew(per_second, granted, Instant::now())),
            Err(_) => self.local.take(client, class).await,
        }
    }
}
