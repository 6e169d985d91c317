//! How often an address has failed: what it may cause must neither fill the log nor let it try keys without end.
//!
//! Invariant: a valid key is let in whatever others at the same address do.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ports::{CLIENTS_MAX, Client};
use domain::recent::Recent;
use tokio::time::Instant;

/// Failures of one address that are answered and logged one by one, in one [`WINDOW`].
pub const FAILURES_MAX: u32 = 10;
/// How long failures count.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The failures of each address.
pub struct Failures {
    addresses: Mutex<Recent<Client, OfAddress>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfAddress {
    since: Option<Instant>,
    count: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self { addresses: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }
}

impl Failures {
    /// Counts a failure. Returns how long the address should wait if it has failed too often.
    pub fn count(&self, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let of = addresses.entry(address.into());
        let since = of.since.filter(|since| now.duration_since(*since) < WINDOW);
        if since.is_none() {
            *of = OfAddress { since: Some(now), count: 0 };
        }
        of.count = of.count.saturating_add(1);
        let waited = since.map_or(Duration::ZERO, |since| now.duration_since(since));
        (of.count > FAILURES_MAX).then(|| WINDOW.saturating_sub(waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_failures_a_minute_are_answered_one_by_one() {
        let failures = Failures::default();
        let fail = |last| failures.count(IpAddr::from([192, 0, 2, last]));
        for _ in 0..FAILURES_MAX {
            assert_eq!(fail(1), None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(fail(1), Some(Duration::from_secs(40)));
        assert_eq!(fail(2), None, "another address");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(fail(1), None, "another minute");
    }
}
