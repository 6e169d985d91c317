//! Rate limits within one process.

use std::sync::Mutex;

use async_trait::async_trait;
use domain::ports::{CLIENTS_MAX, Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use domain::recent::Recent;
use domain::token_bucket::TokenBucket;
use tokio::time::Instant;

use crate::lock::lock;

/// Token buckets in memory, for the most recently seen clients.
pub struct LocalLimiter {
    limits: RateLimits,
    began: Instant,
    buckets: Mutex<Recent<(Client, RequestClass), TokenBucket>>,
}

impl LocalLimiter {
    /// Limits each client of this process.
    #[must_use]
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, began: Instant::now(), buckets: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision> {
        let per_second = self.limits.per_second(class)?;
        let now = self.began.elapsed();
        let mut buckets = lock(&self.buckets);
        let taken = buckets.entry((client, class)).take(per_second, now);
        Some(RateDecision {
            allowed: taken.allowed,
            limit: per_second.get(),
            remaining: taken.remaining,
            reset_after: taken.reset_after,
            retry_after: taken.retry_after,
        })
    }
}
