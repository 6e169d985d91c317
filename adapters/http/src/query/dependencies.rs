//! What the query API works with.

use std::sync::Arc;
use std::time::Duration;

use application::dead_letters::DeadLetters;
use application::export::Exports;
use application::health::Health;
use application::query::Query;
use application::tail::Tail;
use domain::ports::QueryCache;
use tokio::time::Instant;

use crate::body::BodyBudget;
use crate::error::ApiError;

/// Queries that take longer than this to answer are cached; cheaper ones are always answered anew.
pub(super) const CACHED_FROM: Duration = Duration::from_millis(100);

/// What the query API works with.
pub struct ConsumerDependencies {
    /// Answers queries.
    pub query: Query,
    /// Follows the store.
    pub tail: Tail,
    /// Exports events.
    pub exports: Exports,
    /// Keeps what cannot be stored.
    pub dead_letters: DeadLetters,
    /// Knows when tails must end.
    pub health: Health,
    /// Room for request bodies, and for answers until their clients have taken them.
    pub bodies: BodyBudget,
    /// Answers to expensive queries.
    pub cache: Option<Arc<dyn QueryCache>>,
}

impl ConsumerDependencies {
    /// The answer to a query: the cached one if there is one, and else that of `answer`.
    pub async fn cached(
        &self,
        query: &str,
        answer: impl Future<Output = Result<Vec<u8>, ApiError>>,
    ) -> Result<Vec<u8>, ApiError> {
        let Some(cache) = &self.cache else { return answer.await };
        if let Some(cached) = cache.get(query).await {
            return Ok(cached);
        }
        let began = Instant::now();
        let answer = answer.await?;
        if began.elapsed() > CACHED_FROM {
            cache.put(query, &answer).await;
        }
        Ok(answer)
    }
}
