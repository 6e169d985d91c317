//! Limits of access keys, shared by all producers.
//!
//! Constraints and invariants:
//! * Requests are limited as those of a client ([`crate::limiter`]): in leases of at most 1 % of the limit.
//! * The debt of events is kept in Redis, by the clock of Redis. A request asks for it before it begins and charges it
//!   after it was read, so producers overdraw by the requests that they have in work.
//! * Without Redis each producer applies the whole limit.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{CLIENTS_MAX, Cause, Client, KeyLimiter, RateDecision};
use domain::recent::Recent;
use tokio::time::Instant;

use crate::bucket::{self, Leased};
use crate::connection::{RedisConnection, Script};
use crate::limiter::{TAKE, ask};

/// Charges events: the key holds the time, in microseconds, at which the bucket is full again. Arguments: events per
/// second, events. Returns the microseconds until something is left. Nobody pays back for longer than a minute.
const CHARGE: &str = "
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local full = math.max(now, tonumber(redis.call('GET', KEYS[1])) or 0)
full = math.min(full + ARGV[2] * 1000000 / ARGV[1], now + 61000000)
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
end
return math.ceil(math.max(0, full - now - 1000000))
";

/// Limits of access keys in one Redis.
pub struct RedisKeyLimiter {
    connection: RedisConnection,
    take: Script,
    charge: Script,
    leases: Mutex<Recent<Client, Leased>>,
    /// Decides during an outage of Redis.
    local: Arc<dyn KeyLimiter>,
}

impl RedisKeyLimiter {
    /// Limits in the Redis of `connection`, and in `local` during an outage.
    #[must_use]
    pub fn new(connection: RedisConnection, local: Arc<dyn KeyLimiter>) -> Self {
        let leases = Mutex::new(Recent::new(CLIENTS_MAX));
        Self { connection, take: Script::new(TAKE), charge: Script::new(CHARGE), leases, local }
    }

    async fn debt(&self, keys: Client, per_second: NonZeroU32, events: usize) -> Result<Duration, Cause> {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        let arguments = vec![i64::from(per_second.get()).into(), events.into()];
        let key = format!("spillway:limit:events:{keys}");
        let micros: u64 = self.connection.run(&self.charge, &key, arguments).await?;
        Ok(Duration::from_micros(micros))
    }
}

#[async_trait]
impl KeyLimiter for RedisKeyLimiter {
    async fn take(&self, keys: Client, per_second: NonZeroU32) -> RateDecision {
        let limit = per_second.get();
        let leases = || self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = leases().entry(keys).decide(limit, Instant::now()) {
            return decision;
        }
        let key = format!("spillway:limit:requests:{keys}");
        match ask(&self.connection, &self.take, &key, limit, bucket::lease(limit)).await {
            Ok(granted) => leases().entry(keys).renew(limit, granted, Instant::now()),
            Err(_) => self.local.take(keys, per_second).await,
        }
    }

    async fn wait(&self, keys: Client, events_per_second: NonZeroU32) -> Duration {
        match self.debt(keys, events_per_second, 0).await {
            Ok(wait) => wait,
            Err(_) => self.local.wait(keys, events_per_second).await,
        }
    }

    async fn charge(&self, keys: Client, events_per_second: NonZeroU32, events: usize) {
        if events > 0 && self.debt(keys, events_per_second, events).await.is_err() {
            self.local.charge(keys, events_per_second, events).await;
        }
    }
}
