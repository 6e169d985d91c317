//! Answers to expensive queries.

use async_trait::async_trait;
use domain::ports::{CACHED_ANSWER_AGE_MAX, CACHED_ANSWER_BYTES_MAX, QueryCache};
use fred::interfaces::KeysInterface;
use fred::types::{Expiration, Value};

use crate::connection::RedisConnection;

/// A cache shared by all consumers of one Redis.
pub struct RedisQueryCache {
    connection: RedisConnection,
    store: String,
}

impl RedisQueryCache {
    /// Caches answers in the Redis of `connection`. `store` identifies the store that they come from: consumers of
    /// another store have other answers.
    #[must_use]
    pub fn new(connection: RedisConnection, store: &str) -> Self {
        Self { connection, store: store.to_owned() }
    }

    fn key(&self, query: &str) -> String {
        format!("spillway:query:{}:{query}", self.store)
    }
}

#[async_trait]
impl QueryCache for RedisQueryCache {
    async fn get(&self, query: &str) -> Option<Vec<u8>> {
        self.connection.call(|redis| redis.get(self.key(query))).await.ok().flatten()
    }

    async fn put(&self, query: &str, answer: &[u8]) {
        if answer.len() > CACHED_ANSWER_BYTES_MAX {
            return;
        }
        let millis = i64::try_from(CACHED_ANSWER_AGE_MAX.as_millis()).unwrap_or(i64::MAX);
        let value = Value::Bytes(answer.to_vec().into());
        let put =
            self.connection.call(|redis| redis.set(self.key(query), value, Some(Expiration::PX(millis)), None, false));
        // The connection reports an outage of Redis; the client gets the answer nevertheless.
        let _: Result<(), _> = put.await;
    }
}
