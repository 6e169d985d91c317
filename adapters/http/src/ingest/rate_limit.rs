//! The state of the rate limit, as every answer to an ingestion request shows it
//! (draft-ietf-httpapi-ratelimit-headers-05).

use domain::ports::RateDecision;
use poem::http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::problem_json::whole_seconds;
use crate::openapi::payload::Headers;

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
