//! The local limiters satisfy the contracts of their ports.

use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::agent_limiter::LocalAgentLimiter;
use adapter_embedded::limiter::LocalLimiter;
use contracts::agent_limiter::AgentLimiterSubject;
use contracts::limiter::LimiterSubject;
use domain::ports::{AgentLimiter, AgentLimits, RateLimiter, RateLimits};

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

impl AgentLimiterSubject for LocalLimiters {
    async fn fresh(&self, limits: AgentLimits) -> Arc<dyn AgentLimiter> {
        Arc::new(LocalAgentLimiter::new(limits))
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_local_agent_limiter_keeps_the_promises_of_its_port() {
    contracts::agent_limiter::all(&LocalLimiters).await;
}
