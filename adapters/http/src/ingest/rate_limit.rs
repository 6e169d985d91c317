//! The state of the rate limit, as every answer to an ingestion request shows it
//! (draft-ietf-httpapi-ratelimit-headers-05), and in the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ports::{CLIENTS_MAX, Client, RateDecision, RequestClass};
use domain::recent::Recent;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::error::problem_json::whole_seconds;
use crate::openapi::payload::Headers;

/// How often the refusals of one client are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Logs that clients are over their rate limit, once a minute for each. Many log shippers drop a refused request without a word,
/// so the log of Spillway is where a person sees it.
pub struct RefusalLog {
    clients: Mutex<Recent<(Client, RequestClass), Refusals>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self { clients: Mutex::new(Recent::new(CLIENTS_MAX)) }
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

    /// Counts a refused request. Returns how many there are to log, if it is time.
    fn due(&self, client: Client, class: RequestClass) -> Option<u64> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let refusals = clients.entry((client, class));
        refusals.unlogged += 1;
        if refusals.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return None;
        }
        refusals.logged_at = Some(Instant::now());
        Some(std::mem::take(&mut refusals.unlogged))
    }
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
}
