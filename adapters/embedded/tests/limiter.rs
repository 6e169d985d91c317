//! The local limiter satisfies the contract of its port.

use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::limiter::LocalLimiter;
use contracts::limiter::LimiterSubject;
use domain::ports::{RateLimiter, RateLimits};

struct LocalLimiters;

impl LimiterSubject for LocalLimiters {
    async fn fresh(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        Arc::new(LocalLimiter::new(limits))
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_local_limiter_keeps_the_promises_of_its_port() {
    contracts::limiter::all(&LocalLimiters).await;
}
