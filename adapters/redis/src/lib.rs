//! What processes share through Redis: rate limits, answers under an `Idempotency-Key`, and answers to expensive queries.
//!
//! Constraints and invariants:
//! * Nothing depends on Redis: what it does not answer in time is decided without it, and no call fails.
//! * A call waits for Redis at most [`ROUND_TRIP_MAX`] in a service, and is never tried again: the first try may have been counted.
//! * Every key has a time to live, so that Redis may be bounded by `maxmemory` with a policy that evicts.

mod bucket;
mod connection;
mod idempotency;
mod limiter;
mod outage;
mod query_cache;

pub use connection::{ROUND_TRIP_MAX, RedisConnection};
pub use idempotency::RedisIdempotencyStore;
pub use limiter::RedisLimiter;
pub use query_cache::RedisQueryCache;
