//! The state of the rate limit, as every answer to an ingestion request shows it
//! (draft-ietf-httpapi-ratelimit-headers-05), and in the log.
//!
//! Constraint: clients can cause refusals in any number, so each client and each key has at most one line a minute.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ingest::{Refusal, RefusalReason};
use domain::access::{Key, KeyId};
use domain::ports::{CLIENTS_MAX, Client, RateDecision, RequestClass};
use domain::recent::Recent;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::access::audit;
use crate::error::OverLimit;
use crate::error::problem_json::whole_seconds;
use crate::openapi::payload::Headers;

/// How often the refusals of one client, or of one key, are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Logs that clients and keys are over their limits, and audits that keys may not write what they send, once a minute for each.
/// Many log shippers drop a refused request without a word, so the log of Spillway is where a person sees it.
pub struct RefusalLog {
    clients: Mutex<Recent<(Client, RequestClass), Refusals>>,
    limited_keys: Mutex<Recent<KeyId, Refusals>>,
    keys: Mutex<Recent<KeyId, Refusals>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            clients: Mutex::new(Recent::new(CLIENTS_MAX)),
            limited_keys: Mutex::new(Recent::new(CLIENTS_MAX)),
            keys: Mutex::new(Recent::new(CLIENTS_MAX)),
        }
    }
}

impl RefusalLog {
    /// Notes a request that was refused by this limit: one of its key, or that of its client.
    pub fn over_limit(&self, limit: OverLimit, key: Option<&Arc<Key>>, client: Client, class: RequestClass) {
        let setting = match limit {
            OverLimit::Client => return self.refused(client, class),
            OverLimit::KeyRequests => "requests_per_second",
            OverLimit::KeyEvents => "events_per_second",
        };
        let Some(key) = key else { return };
        let Some(requests) = due(&self.limited_keys, key.id, 1) else { return };
        tracing::warn!(
            principal = %key.name,
            key = %key.id,
            %client,
            refused_since_last_line = requests,
            setting,
            "a key is over its limit: its requests get 429, and are lost unless its clients send them again"
        );
    }

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

    use domain::access::{KeyHash, KeyLimits};

    use super::*;
    use crate::access::tests::lines::lines_to;

    #[tokio::test(start_paused = true)]
    async fn a_key_over_its_limit_is_logged_once_a_minute_with_the_limit() {
        let (log, client) = (RefusalLog::default(), Client::from(IpAddr::from([192, 0, 2, 1])));
        let key = Arc::new(Key {
            id: "AAAAAAAA".parse().expect("an id"),
            name: "shop".parse().expect("a name"),
            hash: KeyHash::new([1; 32]),
            roles: Vec::new(),
            sources: None,
            expires: None,
            revoked: None,
            limits: KeyLimits::default(),
        });
        let lines = |limit| {
            let refuse = || log.over_limit(limit, Some(&key), client, RequestClass::Single);
            lines_to(module_path!().trim_end_matches("::tests"), || (0..3).for_each(|_| refuse()))
        };
        let first = lines(OverLimit::KeyEvents);
        let [line] = first.as_slice() else { panic!("{first:?}") };
        for part in ["WARN", "principal=shop", "key=AAAAAAAA", "events_per_second", "refused_since_last_line=1"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        tokio::time::advance(LOG_INTERVAL).await;
        let later = lines(OverLimit::KeyRequests).concat();
        assert!(later.contains("requests_per_second") && later.contains("refused_since_last_line=3"), "{later}");
        let of_client = lines(OverLimit::Client).concat();
        assert!(of_client.contains("RATE_LIMIT__SINGLE_PER_SECOND") && !of_client.contains("shop"), "{of_client}");
    }

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
