use std::time::Duration;

use async_trait::async_trait;

/// Maximum age of a cached answer.
pub const CACHED_ANSWER_AGE_MAX: Duration = Duration::from_secs(2);
/// Maximum bytes of a cached answer.
pub const CACHED_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Answers to expensive queries, so that many clients that ask the same question cost one query.
///
/// Promises: an answer is returned for at most [`CACHED_ANSWER_AGE_MAX`], and only for its own query. Never fails:
/// while its server is unavailable nothing is cached.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait QueryCache: Send + Sync {
    /// The cached answer to this query, if any. Queries are equal if their texts are.
    async fn get(&self, query: &str) -> Option<Vec<u8>>;

    /// Caches an answer in place of an earlier one; answers of more than [`CACHED_ANSWER_BYTES_MAX`] are not cached.
    async fn put(&self, query: &str, answer: &[u8]);
}
