//! Answers to expensive queries.

use std::sync::Arc;

use adapter_redis::RedisQueryCache;
use contracts::query_cache::QueryCacheSubject;
use domain::ports::QueryCache;

use crate::Database;

impl QueryCacheSubject for Database {
    async fn fresh(&self) -> Arc<dyn QueryCache> {
        Arc::new(RedisQueryCache::new(self.fresh().await, "store"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_cache_keeps_the_promises_of_its_port() {
    let Some(database) = Database::find(2) else { return };
    contracts::query_cache::all(&database).await;
}
