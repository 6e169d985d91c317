//! How the drain timeout is divided into phases.
//!
//! Invariant: no phase can use up the time of the next one. A request that never ends is aborted while there is time to
//! deliver the accepted events.

use std::time::Duration;

use tokio::time::Instant;

/// How long a stopping process continues to accept requests, so that load balancers notice that it is not ready.
const ACCEPT_MAX: Duration = Duration::from_secs(5);

/// The deadline of each phase of a drain, in the order of the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainDeadlines {
    /// Requests are still accepted.
    pub accept: Instant,
    /// The gateway finishes its requests.
    pub gateway: Instant,
    /// Producer and consumer finish their requests.
    pub requests: Instant,
    /// The bus or the journal takes the accepted events.
    pub delivery: Instant,
    /// The journal closes its files.
    pub journal: Instant,
    /// Background work ends.
    pub work: Instant,
    /// Connections to servers are closed, and the last alerts are sent.
    pub close: Instant,
}

impl DrainDeadlines {
    /// Divides `total` from now on: at most half of it to accept requests, and of the rest a quarter to the gateway, 15
    /// % to the other requests, 30 % to the delivery, 7 % to the journal, 8 % to background work and 15 % to close.
    #[must_use]
    pub fn new(now: Instant, total: Duration) -> Self {
        let accept = ACCEPT_MAX.min(total / 2);
        let rest = total - accept;
        let until = |percent: u32| now + accept + rest * percent / 100;
        Self {
            accept: until(0),
            gateway: until(25),
            requests: until(40),
            delivery: until(70),
            journal: until(77),
            work: until(85),
            close: until(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_own_time_and_together_they_have_all_of_it() {
        let now = Instant::now();
        for total in [Duration::from_secs(25), Duration::from_secs(2), Duration::from_millis(20)] {
            let DrainDeadlines { accept, gateway, requests, delivery, journal, work, close } =
                DrainDeadlines::new(now, total);
            let phases = [now, accept, gateway, requests, delivery, journal, work, close];
            assert!(phases.is_sorted_by(|a, b| a < b), "{total:?}");
            assert_eq!(close - now, total);
            assert!(delivery - requests >= (total - (accept - now)) * 29 / 100, "{total:?}");
        }
        assert_eq!(DrainDeadlines::new(now, Duration::from_secs(25)).accept - now, ACCEPT_MAX);
    }
}
