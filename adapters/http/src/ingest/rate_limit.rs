//! The state of the rate limit, as every answer to an ingestion request shows it
//! (draft-ietf-httpapi-ratelimit-headers-05), and in the log.
//!
//! Constraint: clients can cause refusals in any number, so each client and each key has at most one line a minute.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use application::ingest::{Refusal, RefusalReason};
use domain::access::{Key, KeyId};
use domain::ports::{CLIENTS_MAX, Client, RateDecision, RequestClass};
use domain::recent::Recent;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::access::audit;
use crate::error::problem_json::whole_seconds;
use crate::openapi::payload::Headers;

/// How often the refusals of one client, or of one key, are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Logs that clients are over their rate limit, and audits that keys may not write what they send, once a minute for each.
/// Many log shippers drop a refused request without a word, so the log of Spillway is where a person sees it.
pub struct RefusalLog {
    clients: Mutex<Recent<(Client, RequestClass), Refusals>>,
    keys: Mutex<Recent<KeyId, Refusals>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self { clients: Mutex::new(Recent::new(CLIENTS_MAX)), keys: Mutex::new(Recent::new(CLIENTS_MAX)) }
    }
}

impl RefusalLog {
    /// Notes a refused request.
    pub fn refused(&self, client: Client, class: RequestClass) {
        let Some(requests) = self.due(client, class) else { return };
        let setting = match class {
            RequestClass::Single => "RATE_LIMIT__SINGLE_PER_SECOND",
            RequestClass::Batch => "RATE_LIMIT__BATCH_PER_SECOND",
            RequestClass::Agent => "RATE_LIMIT__AGENT_EVENTS_PER_SECOND, RATE_LIMIT__AGENT_BYTES_PER_SECOND",
        };
        tracing::warn!(
            %client,
            refused_since_last_line = requests,
            setting,
            "a client is over its rate limit: its requests get 429, and are lost unless it sends them again"
        );
    }

    /// Notes those of the refused events of a request whose source its key may not write: the audit has them.
    pub fn forbidden(&self, key: &Key, client: Client, refusals: &[Refusal]) {
        let mut forbidden = refusals.iter().filter_map(|refusal| match &refusal.reason {
            RefusalReason::SourceForbidden(source) => Some(source),
            _ => None,
        });
        let Some(source) = forbidden.next() else { return };
        let events = u64::try_from(forbidden.count()).unwrap_or(u64::MAX).saturating_add(1);
        self.forbidden_source(key, client, source, events);
    }

    /// Notes that a key may not write so many events, the first of which has this source.
    pub fn forbidden_source(&self, key: &Key, client: Client, source: &str, events: u64) {
        if let Some(events) = due(&self.keys, key.id, events) {
            audit::source_forbidden(key, client, source, events);
        }
    }

    /// Counts a refused request. Returns how many there are to log, if it is time.
    fn due(&self, client: Client, class: RequestClass) -> Option<u64> {
        due(&self.clients, (client, class), 1)
    }
}

/// Counts refusals of one origin. Returns how many there are to log, if it is time.
fn due<K: Eq + Hash>(origins: &Mutex<Recent<K, Refusals>>, origin: K, refused: u64) -> Option<u64> {
    let mut origins = origins.lock().unwrap_or_else(PoisonError::into_inner);
    let refusals = origins.entry(origin);
    refusals.unlogged = refusals.unlogged.saturating_add(refused);
    if refusals.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
        return None;
    }
    refusals.logged_at = Some(Instant::now());
    Some(std::mem::take(&mut refusals.unlogged))
}

/// The headers, for the document.
pub const RATE_LIMIT_HEADERS: Headers = &[
    ("RateLimit-Limit", "Requests a second for this client"),
    ("RateLimit-Remaining", "Requests left now"),
    ("RateLimit-Reset", "Seconds until the whole burst is available again"),
];

/// Adds the headers to an answer.
pub fn describe_limit(decision: &RateDecision, headers: &mut HeaderMap) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
    const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
    headers.insert(LIMIT, HeaderValue::from(decision.limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RESET, HeaderValue::from(whole_seconds(decision.reset_after)));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_logged_once_a_minute_for_each_client() {
        let log = RefusalLog::default();
        let client = |last| Client::from(IpAddr::from([192, 0, 2, last]));
        let refuse = |last| log.due(client(last), RequestClass::Single);
        assert_eq!((refuse(1), refuse(1), refuse(2)), (Some(1), None, Some(1)));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!((refuse(1), refuse(1)), (Some(2), None), "the ones in between are counted");
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_forbidden_sources_are_audited_once_a_minute_for_each_key() {
        let log = RefusalLog::default();
        let refuse = |key: &str, events| due(&log.keys, key.parse().expect("an id"), events);
        assert_eq!((refuse("AAAAAAAA", 5), refuse("AAAAAAAA", 2), refuse("BBBBBBBB", 1)), (Some(5), None, Some(1)));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(refuse("AAAAAAAA", 3), Some(5));
    }
}
