//! Limits of what agents send, within one process.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use domain::allowance::Allowance;
use domain::ports::{AgentLimiter, AgentLimits, CLIENTS_MAX, Client};
use domain::recent::Recent;
use tokio::time::Instant;

use crate::lock::lock;

/// Allowances in memory, for the most recently seen clients.
pub struct LocalAgentLimiter {
    limits: AgentLimits,
    began: Instant,
    allowances: Mutex<Recent<Client, Allowances>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Allowances {
    events: Allowance,
    bytes: Allowance,
}

impl LocalAgentLimiter {
    /// Limits the agents of each client of this process.
    #[must_use]
    pub fn new(limits: AgentLimits) -> Self {
        Self { limits, began: Instant::now(), allowances: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }

    fn is_unlimited(&self) -> bool {
        self.limits == AgentLimits::default()
    }
}

impl AgentLimiter for LocalAgentLimiter {
    fn wait(&self, client: Client) -> Option<Duration> {
        if self.is_unlimited() {
            return None;
        }
        let now = self.began.elapsed();
        let Allowances { events, bytes } = *lock(&self.allowances).entry(client);
        Some(events.wait(now).max(bytes.wait(now))).filter(|wait| !wait.is_zero())
    }

    fn charge(&self, client: Client, events: usize, bytes: usize) {
        if self.is_unlimited() {
            return;
        }
        let now = self.began.elapsed();
        let mut allowances = lock(&self.allowances);
        let of_client = allowances.entry(client);
        charge(&mut of_client.events, events, self.limits.events_per_second, now);
        charge(&mut of_client.bytes, bytes, self.limits.bytes_per_second, now);
    }
}

fn charge(allowance: &mut Allowance, amount: usize, per_second: Option<NonZeroU32>, now: Duration) {
    if let Some(per_second) = per_second {
        allowance.charge(amount as u64, per_second, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> Client {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test(start_paused = true)]
    async fn either_limit_makes_a_client_wait_and_no_other_client() {
        let limits = AgentLimits { events_per_second: NonZeroU32::new(10), bytes_per_second: NonZeroU32::new(1_000) };
        for (events, bytes) in [(20, 1), (1, 2_000)] {
            let limiter = LocalAgentLimiter::new(limits);
            assert_eq!(limiter.wait(client(1)), None);
            limiter.charge(client(1), events, bytes);
            let wait = limiter.wait(client(1)).expect("it has used twice what it may");
            assert_eq!((wait.as_millis(), limiter.wait(client(2))), (1_000, None));
            tokio::time::advance(wait + Duration::from_millis(1)).await;
            assert_eq!(limiter.wait(client(1)), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_is_kept() {
        let limiter = LocalAgentLimiter::new(AgentLimits::default());
        limiter.charge(client(1), usize::MAX, usize::MAX);
        assert_eq!(limiter.wait(client(1)), None);
        assert!(lock(&limiter.allowances).is_empty());
    }
}
