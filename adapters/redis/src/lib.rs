//! State that processes share through Redis: rate limits, answers under an `Idempotency-Key`, and answers to expensive
//! queries.
//!
//! Constraints and invariants:
//! * Nothing depends on Redis: without a timely answer a decision is made locally, and no call fails.
//! * A call waits for Redis at most [`ROUND_TRIP_MAX`] in a service, and is never retried: the first attempt may have
//!   been counted.
//! * Every key has a TTL, so that `maxmemory` with an evicting policy can limit the memory of Redis.

mod agent_limiter;
mod bucket;
mod connection;
mod idempotency;
mod key_limiter;
mod limiter;
mod outage;
mod query_cache;

pub use agent_limiter::RedisAgentLimiter;
pub use connection::{ROUND_TRIP_MAX, RedisConnection};
pub use idempotency::RedisIdempotencyStore;
pub use key_limiter::RedisKeyLimiter;
pub use limiter::RedisLimiter;
pub use query_cache::RedisQueryCache;
