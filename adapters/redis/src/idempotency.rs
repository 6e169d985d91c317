//! Answers to requests with an `Idempotency-Key`.
//!
//! Invariant: the value of a key begins with the fingerprint of the body that first came with it. The answer follows,
//! or nothing until there is one.

use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{IdempotencyStore, IdempotentRequest, KEPT_ANSWER_BYTES_MAX, Recollection};
use fred::types::Value;

use crate::connection::{RedisConnection, Script};

/// Maximum TTL that is requested of Redis: a hundred years. Redis rejects a TTL that overflows when added to the
/// current time.
const MILLIS_MAX: i64 = 100 * 365 * 24 * 3_600 * 1_000;

/// Claims the key for a body. Arguments: fingerprint, TTL in milliseconds. Returns the previous value.
const BEGIN: &str = "
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
return redis.call('GET', KEYS[1])
";

/// Adds the answer, unless there is one already or the key has another body. Arguments: fingerprint, TTL in
/// milliseconds, answer.
const FINISH: &str = "
local known = redis.call('GET', KEYS[1])
if not known or known == ARGV[1] then redis.call('SET', KEYS[1], ARGV[1] .. ARGV[3], 'PX', ARGV[2]) end
";

/// An idempotency store shared by all producers of one Redis.
pub struct RedisIdempotencyStore {
    connection: RedisConnection,
    begin: Script,
    finish: Script,
    /// How long a key is remembered, in milliseconds.
    window_millis: i64,
}

impl RedisIdempotencyStore {
    /// Remembers keys in the Redis of `connection` for `window`: whole milliseconds, from one to a hundred years.
    #[must_use]
    pub fn new(connection: RedisConnection, window: Duration) -> Self {
        let window_millis = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).clamp(1, MILLIS_MAX);
        Self { connection, begin: Script::new(BEGIN), finish: Script::new(FINISH), window_millis }
    }

    fn key(request: &IdempotentRequest<'_>) -> String {
        let IdempotentRequest { client, class, key, .. } = request;
        // An address has no slash, so no part of it can be mistaken for the key.
        format!("spillway:idempotency:{}:{client}/{key}", class.name())
    }

    fn fingerprint(request: &IdempotentRequest<'_>) -> Value {
        Value::Bytes(request.fingerprint.into_bytes().to_vec().into())
    }
}

#[async_trait]
impl IdempotencyStore for RedisIdempotencyStore {
    async fn begin<'a>(&self, request: &IdempotentRequest<'a>) -> Recollection {
        let arguments = vec![Self::fingerprint(request), self.window_millis.into()];
        let known = self.connection.run::<Option<Vec<u8>>>(&self.begin, &Self::key(request), arguments).await;
        let Ok(Some(known)) = known else { return Recollection::New };
        match known.strip_prefix(request.fingerprint.as_bytes()) {
            Some([]) => Recollection::New,
            Some(answer) => Recollection::Answered(answer.to_vec()),
            None => Recollection::OtherBody,
        }
    }

    async fn finish<'a>(&self, request: &IdempotentRequest<'a>, answer: &[u8]) {
        if answer.len() > KEPT_ANSWER_BYTES_MAX {
            return;
        }
        let arguments =
            vec![Self::fingerprint(request), self.window_millis.into(), Value::Bytes(answer.to_vec().into())];
        // The connection reports an outage of Redis; the client gets the answer nevertheless.
        let _ = self.connection.run::<()>(&self.finish, &Self::key(request), arguments).await;
    }
}
