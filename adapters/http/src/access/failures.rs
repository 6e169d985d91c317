//! How often requests were refused: what clients may cause must neither fill the log nor let them try keys without end.
//!
//! Constraints and invariants:
//! * A valid key is let in whatever others at the same address do.
//! * Refusals of one requester do not keep those of another out of the log: without any key, clients cannot hide what a key
//!   is refused for.
//! * Only keys that were presented and are not valid make an address wait.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::access::KeyId;
use domain::ports::{CLIENTS_MAX, Client};
use domain::recent::Recent;
use tokio::time::Instant;

/// Refusals of one requester that are logged one by one, and invalid keys of one address that are answered one by one, in one
/// [`WINDOW`].
pub const FAILURES_MAX: u32 = 10;
/// How long refusals count.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Whose refusals are logged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requester {
    /// The requests of an address that present no key.
    Address(Client),
    /// Those that present something that is not a key of this Spillway, or not its secret.
    InvalidKeys(Client),
    /// Those with this key and its secret, wherever they come from.
    Key(KeyId),
}

/// How a refusal is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many refusals of its requester were not logged since the line before.
    pub not_logged: u32,
    /// Whether the next ones are not.
    pub is_last: bool,
}

/// The refusals of each requester, and the invalid keys of each address.
pub struct Failures {
    refusals: Mutex<Recent<Requester, Count>>,
    invalid_keys: Mutex<Recent<Client, Count>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    since: Option<Instant>,
    count: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self { refusals: Mutex::new(Recent::new(CLIENTS_MAX)), invalid_keys: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }
}

impl Failures {
    /// Counts a refusal. Returns how it is logged, if it is.
    pub fn refused(&self, requester: Requester) -> Option<Line> {
        let (before, now) = count(&self.refusals, requester);
        let not_logged = before.saturating_sub(FAILURES_MAX);
        (now.count <= FAILURES_MAX).then_some(Line { not_logged, is_last: now.count == FAILURES_MAX })
    }

    /// Counts a key that is not valid. Returns how long the address should wait if it has presented too many.
    pub fn invalid_key(&self, address: IpAddr) -> Option<Duration> {
        let (_, now) = count(&self.invalid_keys, address.into());
        let waited = now.since.map_or(Duration::ZERO, |since| since.elapsed());
        (now.count > FAILURES_MAX).then(|| WINDOW.saturating_sub(waited))
    }
}

/// Counts one more of an requester. Returns the count of the window before, if a new one begins, and that of this window.
fn count<K: Eq + Hash>(requesters: &Mutex<Recent<K, Count>>, requester: K) -> (u32, Count) {
    let now = Instant::now();
    let mut requesters = requesters.lock().unwrap_or_else(PoisonError::into_inner);
    let of = requesters.entry(requester);
    let mut before = 0;
    if of.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
        before = of.count;
        *of = Count { since: Some(now), count: 0 };
    }
    of.count = of.count.saturating_add(1);
    (before, *of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn ten_invalid_keys_a_minute_are_answered_one_by_one() {
        let failures = Failures::default();
        let fail = |last| failures.invalid_key(address(last));
        for _ in 0..FAILURES_MAX {
            assert_eq!(fail(1), None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(fail(1), Some(Duration::from_secs(40)));
        assert_eq!(fail(2), None, "another address");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(fail(1), None, "another minute");
    }

    #[tokio::test(start_paused = true)]
    async fn ten_refusals_a_minute_of_each_requester_are_logged_and_the_others_are_counted() {
        let failures = Failures::default();
        let key = Requester::Key("AAAAAAAA".parse().expect("an id"));
        let (open, invalid) = (Requester::Address(address(1).into()), Requester::InvalidKeys(address(1).into()));
        let line = |is_last| Some(Line { not_logged: 0, is_last });
        for number in 1..=FAILURES_MAX {
            assert_eq!(failures.refused(open), line(number == FAILURES_MAX));
        }
        for _ in 0..5 {
            assert_eq!(failures.refused(open), None);
        }
        assert_eq!((failures.refused(key), failures.refused(invalid)), (line(false), line(false)), "other requesters");
        assert_eq!(failures.invalid_key(address(1)), None, "no key was presented");
        tokio::time::advance(WINDOW).await;
        assert_eq!(failures.refused(open), Some(Line { not_logged: 5, is_last: false }));
        assert_eq!(failures.refused(open), line(false), "they are reported once");
    }
}
