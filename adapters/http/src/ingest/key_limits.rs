//! The limits of access keys: how much the keys of one name may send, whatever addresses they come from.

use std::sync::Arc;
use std::time::Duration;

use domain::access::Key;
use domain::ports::{Client, RateDecision, RequestClass};
use poem::Request;

use crate::access::admitted::key_of;
use crate::error::ApiError;
use crate::ingest::accept::ProducerDependencies;

/// The burst of events: a bucket is full again this long after a request that was just refused may begin.
const BURST: Duration = Duration::from_secs(1);

impl ProducerDependencies {
    /// Decides whether a request may begin: by the limits of its key where that has any, and otherwise by those of its
    /// client's address. `None` if nothing is limited.
    pub(super) async fn decide(&self, request: &Request, client: Client, class: RequestClass) -> Option<RateDecision> {
        let Some(key) = key_of(request) else { return self.limiter.take(client, class).await };
        let decision = match key.limits.requests_per_second {
            Some(limit) => Some(self.key_limiter.take(Client::with_keys(&key.name), limit).await),
            None => self.limiter.take(client, class).await,
        };
        if decision.is_some_and(|decision| !decision.allowed) {
            return decision;
        }
        self.overdrawn(key).await.or(decision)
    }

    /// Why a request of an agent may not begin by the limits of its key, if it has any.
    pub(super) async fn refusal_by_key(&self, request: &Request) -> Option<ApiError> {
        let key = key_of(request)?;
        if let Some(limit) = key.limits.requests_per_second {
            let decision = self.key_limiter.take(Client::with_keys(&key.name), limit).await;
            if !decision.allowed {
                return Some(ApiError::RateLimited { retry_after: decision.retry_after });
            }
        }
        let RateDecision { retry_after, .. } = self.overdrawn(key).await?;
        Some(ApiError::RateLimited { retry_after })
    }

    /// The decision about a key that has sent more events than it may, and has not paid them back yet.
    async fn overdrawn(&self, key: &Key) -> Option<RateDecision> {
        let limit = key.limits.events_per_second?;
        let retry_after = self.key_limiter.wait(Client::with_keys(&key.name), limit).await;
        let reset_after = retry_after.saturating_add(BURST);
        let refused = RateDecision { allowed: false, limit: limit.get(), remaining: 0, reset_after, retry_after };
        (!retry_after.is_zero()).then_some(refused)
    }

    /// Charges the events of a request to its key, if that has a limit.
    pub(super) async fn charge(&self, key: Option<&Arc<Key>>, events: usize) {
        let limited = key.and_then(|key| Some((key, key.limits.events_per_second?)));
        if let Some((key, limit)) = limited {
            self.key_limiter.charge(Client::with_keys(&key.name), limit, events).await;
        }
    }
}
