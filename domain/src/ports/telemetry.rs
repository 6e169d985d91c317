use std::time::Duration;

use super::{Appended, RequestClass};

/// What may become of a request before anything else happens.
pub const AUTH_OUTCOMES: [&str; 13] = [
    "allowed",
    "open",
    "unauthenticated",
    "malformed",
    "unknown",
    "wrong_secret",
    "revoked",
    "expired",
    "role_missing",
    "rate_limited",
    "host_not_allowed",
    "cross_origin",
    "proxy_not_trusted",
];

/// Metrics for operators. Called per batch, never per event; never fails, never blocks.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Telemetry: Send + Sync {
    /// A producer refused events with this code.
    fn refused(&self, code: &'static str, events: usize);

    /// The rate limit refused a request.
    fn rate_limited(&self, class: RequestClass);

    /// A request was let in or kept out; the outcome is one of [`AUTH_OUTCOMES`].
    fn judged(&self, outcome: &'static str);

    /// A producer took in a request of an agent: its protocol, its events, and how many of them are stored in part as
    /// text, because they break a rule.
    fn agent_request(&self, protocol: &'static str, events: usize, as_text: usize);

    /// A request of an agent waited for room or for the rate limit.
    fn agent_request_held(&self, protocol: &'static str);

    /// The bus acknowledged a batch this long after it was published.
    fn sent(&self, events: usize, duration: Duration);

    /// Publishing a batch failed.
    fn send_failed(&self, events: usize);

    /// A consumer read records with this many events. A record that cannot be decoded counts as one.
    fn fetched(&self, events: usize);

    /// A consumer's transaction committed, this long after a producer received the oldest of its events; `None` without
    /// events.
    fn appended(&self, appended: Appended, oldest_age: Option<Duration>);

    /// A consumer abandoned events that it had read, without storing them: another consumer, or the same one later, reads
    /// them again.
    fn given_up(&self, events: usize);
}
