//! Answers under an `Idempotency-Key`.

use std::sync::Arc;
use std::time::Duration;

use adapter_redis::RedisIdempotencyStore;
use contracts::idempotency::IdempotencySubject;
use domain::ports::IdempotencyStore;

use crate::Database;

impl IdempotencySubject for Database {
    async fn fresh(&self, window: Duration) -> Arc<dyn IdempotencyStore> {
        Arc::new(RedisIdempotencyStore::new(self.fresh().await, window))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_idempotency_store_keeps_the_promises_of_its_port() {
    let Some(database) = Database::find(1) else { return };
    contracts::idempotency::all(&database).await;
}
