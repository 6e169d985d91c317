//! Failures as `application/problem+json` (RFC 9457).

use std::time::Duration;

use application::dead_letters::RedriveError;
use application::ingest::{Refusal, TooManyEvents};
use application::query::QueryError;
use application::tail::TailError;
use domain::ports::StoreError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::Object;
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError};
use poem_openapi::types::ToJSON;
use serde::Serialize;

use crate::body::Lease;

/// Media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How long to wait before asking again when nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Everything that can go wrong for a client, each with what the client can do about it.
#[derive(Debug)]
pub enum Failure {
    /// The body is not what it should be.
    Undecodable { detail: String },
    /// No event is acceptable, for its own fault. The answer tells of each, and takes `room`.
    NoValidEvent { refusals: Vec<Refusal>, room: Lease },
    /// The one event is not acceptable, for its own fault.
    InvalidEvent { code: &'static str, detail: String },
    /// A parameter of path or query is not what it should be.
    InvalidParameter { detail: String },
    /// The body did not arrive in time.
    BodyTimeout,
    /// Too many bytes or events.
    TooLarge { detail: String },
    /// No event fits into a record of the bus.
    RecordTooLarge { detail: String },
    /// The media type is not supported.
    UnsupportedMediaType { detail: String },
    /// The `Idempotency-Key` belongs to another body.
    IdempotencyKeyReused,
    /// Over the rate limit.
    RateLimited { retry_after: Duration },
    /// No room at the moment.
    NoCapacity {
        /// Stable name of what stood in the way.
        code: &'static str,
        /// What is short, if it is known.
        shortage: Option<String>,
    },
    /// Nobody knows whether the events were kept.
    OutcomeUnknown,
    /// Only the machine itself may ask for this.
    LoopbackOnly,
    /// There is nothing at this path.
    NotFound { detail: &'static str },
    /// The path does not know the method.
    MethodNotAllowed { allow: String },
    /// The query takes too long.
    QueryTooBroad,
    /// The store does not answer.
    StoreUnavailable,
    /// Too many large answers are being taken by slow clients.
    NoRoomForAnswer,
    /// As many tails as there may be.
    TooManyTails,
    /// The bus took no more dead letters.
    RedriveInterrupted,
    /// No upstream could be reached; nothing was sent.
    UpstreamUnreachable,
    /// An upstream broke off after the request was sent.
    UpstreamFailed,
    /// An upstream did not answer in time.
    UpstreamTimeout,
    /// A defect of ours.
    Internal,
}

/// What a failed answer says, for the one line of the log that it gets.
#[derive(Clone, Debug)]
pub struct Described {
    /// Stable name of the problem.
    pub code: &'static str,
    /// What is wrong.
    pub detail: String,
}

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

impl From<TooManyEvents> for Failure {
    fn from(error: TooManyEvents) -> Self {
        Self::TooLarge { detail: format!("{error}; nothing was accepted, send smaller batches") }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooBroad => Self::QueryTooBroad,
            StoreError::Unavailable(_) | StoreError::Conflict { .. } | StoreError::Rejected(_) => {
                tracing::warn!(cause = ?error, "the store does not answer a query");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid { .. } => Self::InvalidParameter { detail: error.to_string() },
            QueryError::Store(error) => error.into(),
        }
    }
}

impl From<TailError> for Failure {
    fn from(error: TailError) -> Self {
        match error {
            TailError::Query(error) => error.into(),
            TailError::TooMany => Self::TooManyTails,
        }
    }
}

impl From<RedriveError> for Failure {
    fn from(error: RedriveError) -> Self {
        match error {
            RedriveError::Query(error) => error.into(),
            RedriveError::Bus(_) | RedriveError::Timeout => {
                tracing::warn!(cause = ?error, "a redrive was interrupted");
                Self::RedriveInterrupted
            }
        }
    }
}

impl From<&poem::Error> for Failure {
    /// What the routes and extractors of poem refuse by themselves.
    fn from(error: &poem::Error) -> Self {
        if let Some(error) = error.downcast_ref::<ContentTypeError>() {
            let detail =
                format!("{error}: send Content-Type: application/json, or application/x-ndjson to /api/logs/batch");
            return Self::UnsupportedMediaType { detail };
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            let rule = match *name {
                "from" | "to" => {
                    "must be an RFC 3339 time such as 2024-01-15T10:30:00Z, with + of an offset written as %2B"
                }
                "limit" => "must be a number from 1 to 1000",
                "q" => "must have 1 to 1024 characters",
                "traceId" => "must have 32 hexadecimal digits",
                "Idempotency-Key" => "must have 1 to 255 visible ASCII characters",
                "Last-Event-ID" => "must be the id of an earlier event of a tail",
                "partition" | "id" => "must be a number",
                "interval" => "must be a number with s, m, h or d, such as 5m",
                "redriven" => "must be true or false",
                "filter" => "must be a level such as debug, or levels by module such as info,adapter_http=debug",
                _ => reason.as_str(),
            };
            return Self::InvalidParameter { detail: format!("{name}: {rule}") };
        }
        if error.is::<ParsePathError>() {
            return Self::InvalidParameter { detail: "the id in the path must be a UUID".to_owned() };
        }
        match error.status() {
            StatusCode::NOT_FOUND => Self::NotFound { detail: "there is nothing at this path: see /swagger-ui" },
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed { allow: String::new() },
            status if status.is_client_error() => Self::InvalidParameter { detail: error.to_string() },
            _ => {
                tracing::error!(%error, "a handler failed");
                Self::Internal
            }
        }
    }
}

impl Failure {
    /// The body ended before its end, or its framing is wrong.
    pub fn broken_off() -> Self {
        Self::Undecodable { detail: "the body broke off, nothing was accepted".to_owned() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Undecodable { .. }
            | Self::NoValidEvent { .. }
            | Self::InvalidEvent { .. }
            | Self::InvalidParameter { .. } => StatusCode::BAD_REQUEST,
            Self::LoopbackOnly => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } | Self::RecordTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoCapacity { .. }
            | Self::QueryTooBroad
            | Self::StoreUnavailable
            | Self::NoRoomForAnswer
            | Self::TooManyTails
            | Self::RedriveInterrupted
            | Self::UpstreamUnreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "undecodable",
            Self::NoValidEvent { .. } => "no_valid_event",
            Self::InvalidEvent { code, .. } | Self::NoCapacity { code, .. } => code,
            Self::InvalidParameter { .. } => "invalid_parameter",
            Self::BodyTimeout => "body_timeout",
            Self::TooLarge { .. } => "too_large",
            Self::RecordTooLarge { .. } => "record_too_large",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::RateLimited { .. } => "rate_limited",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::LoopbackOnly => "loopback_only",
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::QueryTooBroad => "query_too_broad",
            Self::StoreUnavailable => "store_unavailable",
            Self::NoRoomForAnswer => "no_capacity",
            Self::TooManyTails => "too_many_tails",
            Self::RedriveInterrupted => "redrive_interrupted",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Internal => "internal",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Undecodable { detail }
            | Self::InvalidEvent { detail, .. }
            | Self::InvalidParameter { detail }
            | Self::TooLarge { detail }
            | Self::RecordTooLarge { detail }
            | Self::UnsupportedMediaType { detail } => detail.clone(),
            Self::NotFound { detail } => (*detail).to_owned(),
            Self::NoValidEvent { refusals, .. } if refusals.is_empty() => "the request has no events".to_owned(),
            Self::NoValidEvent { .. } => "no event was accepted: see errors".to_owned(),
            Self::BodyTimeout => "the body did not arrive in time".to_owned(),
            Self::LoopbackOnly => "only the machine itself may ask for this, without a proxy: ask 127.0.0.1 there".to_owned(),
            Self::IdempotencyKeyReused => {
                "this Idempotency-Key was used with another body, nothing was accepted: take a new key for a new body".to_owned()
            }
            Self::RateLimited { .. } => "too many requests from this client: wait as long as Retry-After says".to_owned(),
            Self::NoCapacity { shortage: Some(shortage), .. } => {
                format!("nothing was accepted: {shortage}; retry after {} s", RETRY_AFTER.as_secs())
            }
            Self::NoCapacity { code: "bus_unavailable", .. } => {
                format!("nothing was accepted: the bus cannot be reached; retry after {} s", RETRY_AFTER.as_secs())
            }
            Self::NoCapacity { .. } => {
                format!("nothing was accepted: at capacity; retry after {} s", RETRY_AFTER.as_secs())
            }
            Self::OutcomeUnknown => {
                "it is not known whether the events were kept: send them again with the same eventIds, or the same Idempotency-Key".to_owned()
            }
            Self::MethodNotAllowed { allow } => format!("this path knows {allow} only"),
            Self::QueryTooBroad => "the query takes too long: ask for less time, one source or fewer levels".to_owned(),
            Self::StoreUnavailable => "the store does not answer: ask again after a while".to_owned(),
            Self::NoRoomForAnswer => {
                "too many answers are on their way to slow clients: ask again after a while, or with a smaller limit".to_owned()
            }
            Self::TooManyTails => "this instance has as many tails as it may have: try again after a while".to_owned(),
            Self::RedriveInterrupted => {
                "the bus takes no records now; letters sent before are noted as redriven: send the request again after a while".to_owned()
            }
            Self::UpstreamUnreachable => "no instance can be reached, nothing was sent: try again after a while".to_owned(),
            Self::UpstreamFailed => {
                "an instance broke off, it is not known what it did: send the events again with the same eventIds, or the same Idempotency-Key".to_owned()
            }
            Self::UpstreamTimeout => {
                "an instance did not answer in time, it is not known what it did: send the events again with the same eventIds, or the same Idempotency-Key".to_owned()
            }
            Self::Internal => "an internal error: see the log of this instance".to_owned(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let (code, detail) = (self.code().to_owned(), self.detail());
        let described = Described { code: self.code(), detail: detail.clone() };
        let retry_after = match &self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::NoCapacity { .. }
            | Self::StoreUnavailable
            | Self::NoRoomForAnswer
            | Self::TooManyTails
            | Self::RedriveInterrupted
            | Self::UpstreamUnreachable => Some(RETRY_AFTER),
            _ => None,
        };
        let mut response = Response::builder().status(status).content_type(PROBLEM_JSON);
        if let Some(retry_after) = retry_after {
            response = response.header(header::RETRY_AFTER, whole_seconds(retry_after));
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
            detail,
            code,
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
