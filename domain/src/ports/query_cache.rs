use std::time::Duration;

use async_trait::async_trait;

/// How long an answer to a query may be shown again.
pub const CACHED_ANSWER_AGE_MAX: Duration = Duration::from_secs(2);
/// Most bytes of an answer that is cached.
pub const CACHED_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Answers to queries that were expensive, so that many who ask the same are answered once.
///
/// Promises: an answer is shown for [`CACHED_ANSWER_AGE_MAX`] at most, and only for the query that it belongs to. Never
/// fails: while its server is away nothing is cached.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait QueryCache: Send + Sync {
    /// The answer to this query, if there is one. Queries are equal if their texts are.
    async fn get(&self, query: &str) -> Option<Vec<u8>>;

    /// Caches an answer in place of an earlier one; one of more than [`CACHED_ANSWER_BYTES_MAX`] is not cached.
    async fn put(&self, query: &str, answer: &[u8]);
}
