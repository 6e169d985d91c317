//! Errors as `application/problem+json` (RFC 9457).

use std::time::Duration;

use application::ingest::Refusal;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::Object;
use poem_openapi::types::ToJSON;
use serde::Serialize;

use crate::error::{ApiError, ErrorClass};

/// Media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error body as RFC 9457 describes it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: String,
    /// The meaning of the status code.
    title: String,
    /// The status code.
    status: u16,
    /// What is wrong, and what to do about it.
    detail: String,
    /// Stable name of the problem.
    code: String,
    /// For `query_invalid`: where, as a number of characters of the query from 1; its end has the highest one.
    position: Option<u64>,
    /// What is wrong with each event, if the request had several.
    errors: Option<Vec<EventFailure>>,
}

/// An event of a request that was not accepted.
#[derive(Clone, Debug, Object, Serialize)]
pub struct EventFailure {
    /// Position of the event in the request, from 0.
    index: u64,
    /// Stable name of the rule that the event breaks, or of what stood in its way.
    code: String,
    /// What is wrong, and what to do about it.
    detail: String,
    /// Whether the same event may be accepted later.
    retryable: bool,
}

impl From<&Refusal> for EventFailure {
    fn from(refusal: &Refusal) -> Self {
        Self {
            index: refusal.index as u64,
            code: refusal.reason.code().to_owned(),
            detail: refusal.reason.to_string(),
            retryable: refusal.reason.is_retryable(),
        }
    }
}

/// Room for what an answer says about an event that was refused: 100 bytes, and a detail.
pub const EVENT_FAILURE_BYTES: usize = 256;

/// Writes refusals as a JSON array of [`EventFailure`], one after the other: there may be thousands.
pub fn write_event_failures(refusals: &[Refusal], buffer: &mut Vec<u8>) {
    buffer.reserve(refusals.len() * EVENT_FAILURE_BYTES);
    buffer.push(b'[');
    for (index, refusal) in refusals.iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut *buffer, &EventFailure::from(refusal));
    }
    buffer.push(b']');
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status_of(self.class());
        let described = self.described();
        let mut response = Response::builder().status(status).content_type(PROBLEM_JSON);
        if let Some(retry_after) = self.retry_after() {
            response = response.header(header::RETRY_AFTER, whole_seconds(retry_after));
        }
        if self.class() == ErrorClass::Unauthenticated {
            response = response.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        if let Self::MethodNotAllowed { allow } = &self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            response = response.header(header::ALLOW, allow);
        }
        let problem = Problem {
            r#type: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: described.detail.clone(),
            code: described.code.to_owned(),
            position: match &self {
                Self::InvalidQuery { position, .. } => Some(*position as u64),
                _ => None,
            },
            errors: None,
        };
        let problem = problem.to_json_string();
        let mut response = response.body(match self {
            Self::NoValidEvent { refusals, room } => room.hold_answer(with_errors(problem, &refusals)),
            _ => Body::from(problem),
        });
        response.extensions_mut().insert(described);
        response
    }
}

/// The status code of a class.
fn status_of(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::Invalid => StatusCode::BAD_REQUEST,
        ErrorClass::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorClass::Forbidden => StatusCode::FORBIDDEN,
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorClass::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorClass::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorClass::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorClass::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorClass::Contradiction => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorClass::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::UpstreamFailed => StatusCode::BAD_GATEWAY,
        ErrorClass::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        ErrorClass::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A problem with its `errors`.
fn with_errors(problem: String, refusals: &[Refusal]) -> Vec<u8> {
    let mut buffer = problem.into_bytes();
    buffer.pop();
    buffer.extend_from_slice(b",\"errors\":");
    write_event_failures(refusals, &mut buffer);
    buffer.push(b'}');
    buffer
}

/// Whole seconds, rounded up, as Retry-After and RateLimit-Reset carry them; at least 1 unless zero.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
