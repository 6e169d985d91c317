//! Rate limits of one process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use domain::ports::{CLIENTS_MAX, Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use domain::token_bucket::TokenBucket;
use tokio::time::Instant;

/// Token buckets in memory.
///
/// Buckets are kept in two generations of half the limit each. When the younger is full it becomes the older
/// and the older is forgotten: of the clients beyond [`CLIENTS_MAX`], those go that have not been seen for
/// longest, at constant cost.
pub struct LocalLimiter {
    limits: RateLimits,
    began: Instant,
    buckets: Mutex<Generations>,
}

type Buckets = HashMap<(Client, RequestClass), TokenBucket>;

#[derive(Default)]
struct Generations {
    young: Buckets,
    old: Buckets,
}

impl LocalLimiter {
    /// Limits each client of this process.
    #[must_use]
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, began: Instant::now(), buckets: Mutex::default() }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision> {
        let per_second = self.limits.per_second(class)?;
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.get((client, class)).take(per_second, now);
        Some(RateDecision {
            allowed: taken.allowed,
            limit: per_second.get(),
            remaining: taken.remaining,
            reset_after: taken.reset_after,
            retry_after: taken.retry_after,
        })
    }
}

impl Generations {
    fn get(&mut self, key: (Client, RequestClass)) -> &mut TokenBucket {
        if !self.young.contains_key(&key) && self.young.len() >= CLIENTS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clients_not_seen_for_longest_are_forgotten_first_and_memory_is_bounded() {
        let key = |n: u32| (Client::from(IpAddr::V4(Ipv4Addr::from(n))), RequestClass::Single);
        let one = std::num::NonZeroU32::MIN;
        let mut buckets = Generations::default();
        for n in 0..250_000 {
            buckets.get(key(n)).take(one, Duration::from_secs(1));
            // Client 0 keeps coming, and is never forgotten.
            assert!(n == 0 || !buckets.get(key(0)).take(one, Duration::from_secs(1)).allowed, "{n}");
            assert!(buckets.young.len() + buckets.old.len() <= CLIENTS_MAX);
        }
        assert!(buckets.get(key(1)).take(one, Duration::from_secs(1)).allowed);
    }
}
