//! What goes wrong for a client: a class, a stable code, and a detail that says what to do. How it looks on the wire is up to
//! the protocol that renders it ([`crate::error::problem_json`] by default).

use std::time::Duration;

use application::dead_letters::RedriveError;
use application::ingest::{Refusal, RefusalReason, TooManyEvents};
use application::query::QueryError;
use application::search::SearchError;
use application::tail::TailError;
use domain::ports::StoreError;
use poem::http::StatusCode;
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError};

use crate::access::denial::Denial;
use crate::body::budget::{Lease, NoRoom};

/// How long to wait before trying again when nothing says better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a failed answer says, for the one line of the log that it gets.
#[derive(Clone, Debug)]
pub struct Described {
    /// Stable name of the problem.
    pub code: &'static str,
    /// What is wrong.
    pub detail: String,
}

/// What kind of error it is, for the protocol that renders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request is wrong: the same request fails again.
    Invalid,
    /// The client must say who it is, or is not who it says.
    Unauthenticated,
    /// The client may not ask for this.
    Forbidden,
    /// There is nothing at this path.
    NotFound,
    /// The path does not have the method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// Too many bytes or events.
    TooLarge,
    /// The media type or content coding is not supported.
    UnsupportedMediaType,
    /// The transfer coding is not supported.
    NotImplemented,
    /// The request contradicts an earlier one.
    Contradiction,
    /// Over the rate limit.
    RateLimited,
    /// Nothing was done now; later it may be.
    Unavailable,
    /// An upstream failed after it got the request.
    UpstreamFailed,
    /// It is not known whether the request was carried out.
    OutcomeUnknown,
    /// A defect of Spillway.
    Internal,
}

/// Which limit a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// The one of the client's address.
    Client,
    /// `requests_per_second` of its key.
    KeyRequests,
    /// `events_per_second` of its key.
    KeyEvents,
}

impl OverLimit {
    fn detail(self) -> &'static str {
        match self {
            Self::Client => "too many requests from this client: wait as long as Retry-After says",
            Self::KeyRequests => {
                "too many requests with keys of this name (requests_per_second): wait as long as Retry-After says"
            }
            Self::KeyEvents => {
                "too many events with keys of this name (events_per_second): wait as long as Retry-After says"
            }
        }
    }
}

/// Everything that can go wrong for a client.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not what it should be.
    Undecodable { detail: String },
    /// Every event breaks a rule. The answer names each, and takes `room`.
    NoValidEvent { refusals: Vec<Refusal>, room: Lease },
    /// The only event breaks a rule.
    InvalidEvent { code: &'static str, detail: String },
    /// A parameter of path, query or header is not what it should be.
    InvalidParameter { detail: String },
    /// The text of a query is not understood.
    InvalidQuery {
        /// Where, and what would be right there.
        detail: String,
        /// Where, as a number of characters from 1.
        position: usize,
    },
    /// An HTTP/1.1 request needs one header `Host`.
    InvalidHost,
    /// The body has a transfer coding other than `chunked`.
    UnsupportedTransferCoding,
    /// The body did not arrive in time.
    BodyTimeout,
    /// Too many bytes or events.
    TooLarge { detail: String },
    /// No event fits into a record of the bus.
    RecordTooLarge { detail: String },
    /// The media type or content coding is not supported.
    UnsupportedMediaType { detail: String },
    /// The `Idempotency-Key` belongs to another body.
    IdempotencyKeyReused,
    /// Over the rate limit.
    RateLimited { retry_after: Duration, limit: OverLimit },
    /// There is no room at the moment.
    NoCapacity {
        /// Why the first event that may be accepted later was refused.
        reason: RefusalReason,
        /// What is short, if it is known.
        shortage: Option<String>,
        /// Whether other events of the request may have been accepted.
        may_be_partial: bool,
    },
    /// It is not known whether the events were kept.
    OutcomeUnknown,
    /// The request may not go on.
    Denied(Denial),
    /// Only the machine itself may ask for this.
    LoopbackOnly,
    /// There is nothing at this path.
    NotFound { detail: &'static str },
    /// The path does not have the method.
    MethodNotAllowed { allow: String },
    /// The query takes too long.
    QueryTooBroad,
    /// The store does not answer.
    StoreUnavailable,
    /// Events that the query needs are damaged or missing.
    EventsUnreadable,
    /// Slow clients hold too many large answers.
    NoRoomForAnswer,
    /// As many tails as there may be.
    TooManyTails,
    /// As many exports as there may be.
    TooManyExports,
    /// The bus took no more dead letters.
    RedriveInterrupted,
    /// No upstream could be reached; nothing was sent.
    UpstreamUnreachable,
    /// An upstream broke off after the request was sent, which changes nothing if `is_safe`.
    UpstreamFailed { is_safe: bool },
    /// An upstream did not answer in time.
    UpstreamTimeout { is_safe: bool },
    /// A defect of Spillway.
    Internal,
}

impl ApiError {
    /// The body ended before its end, or its framing is wrong.
    pub fn broken_off() -> Self {
        Self::Undecodable { detail: "the body broke off, nothing was accepted".to_owned() }
    }

    /// There is no operation at this path.
    pub fn nothing_here() -> Self {
        Self::NotFound { detail: "there is nothing at this path: see /swagger-ui" }
    }

    /// What kind of error it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Undecodable { .. }
            | Self::NoValidEvent { .. }
            | Self::InvalidEvent { .. }
            | Self::InvalidHost
            | Self::InvalidParameter { .. }
            | Self::InvalidQuery { .. } => ErrorClass::Invalid,
            Self::UnsupportedTransferCoding => ErrorClass::NotImplemented,
            Self::Denied(denial) => denial.class(),
            Self::LoopbackOnly => ErrorClass::Forbidden,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::MethodNotAllowed { .. } => ErrorClass::MethodNotAllowed,
            Self::BodyTimeout => ErrorClass::BodyTimeout,
            Self::TooLarge { .. } | Self::RecordTooLarge { .. } => ErrorClass::TooLarge,
            Self::UnsupportedMediaType { .. } => ErrorClass::UnsupportedMediaType,
            Self::IdempotencyKeyReused => ErrorClass::Contradiction,
            Self::RateLimited { .. } => ErrorClass::RateLimited,
            Self::NoCapacity { .. }
            | Self::QueryTooBroad
            | Self::StoreUnavailable
            | Self::EventsUnreadable
            | Self::NoRoomForAnswer
            | Self::TooManyTails
            | Self::TooManyExports
            | Self::RedriveInterrupted
            | Self::UpstreamUnreachable => ErrorClass::Unavailable,
            Self::OutcomeUnknown | Self::UpstreamTimeout { .. } => ErrorClass::OutcomeUnknown,
            Self::UpstreamFailed { .. } => ErrorClass::UpstreamFailed,
            Self::Internal => ErrorClass::Internal,
        }
    }

    /// Stable name for clients to act on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "undecodable",
            Self::NoValidEvent { .. } => "no_valid_event",
            Self::InvalidEvent { code, .. } => code,
            Self::NoCapacity { reason, .. } => reason.code(),
            Self::InvalidParameter { .. } => "invalid_parameter",
            Self::InvalidQuery { .. } => "query_invalid",
            Self::InvalidHost => "invalid_host",
            Self::UnsupportedTransferCoding => "unsupported_transfer_coding",
            Self::BodyTimeout => "body_timeout",
            Self::TooLarge { .. } => "too_large",
            Self::RecordTooLarge { .. } => "record_too_large",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::RateLimited { .. } => "rate_limited",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Denied(denial) => denial.code(),
            Self::LoopbackOnly => "loopback_only",
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::QueryTooBroad => "query_too_broad",
            Self::StoreUnavailable | Self::EventsUnreadable => "store_unavailable",
            Self::NoRoomForAnswer => "no_capacity",
            Self::TooManyTails => "too_many_tails",
            Self::TooManyExports => "too_many_exports",
            Self::RedriveInterrupted => "redrive_interrupted",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed { .. } => "upstream_failed",
            Self::UpstreamTimeout { .. } => "upstream_timeout",
            Self::Internal => "internal",
        }
    }

    /// What is wrong, and what to do about it.
    pub fn detail(&self) -> String {
        let fixed = match self {
            Self::Undecodable { detail }
            | Self::InvalidEvent { detail, .. }
            | Self::InvalidParameter { detail }
            | Self::InvalidQuery { detail, .. }
            | Self::TooLarge { detail }
            | Self::RecordTooLarge { detail }
            | Self::UnsupportedMediaType { detail } => return detail.clone(),
            Self::NoCapacity { reason, shortage, may_be_partial } => {
                let short = match (shortage, reason) {
                    (Some(shortage), _) => shortage,
                    (None, RefusalReason::BusUnavailable) => "the bus cannot be reached",
                    (None, _) => "at capacity",
                };
                let what = if *may_be_partial { "not everything was accepted" } else { "nothing was accepted" };
                return format!("{what}: {short}; send it again after {} s", RETRY_AFTER.as_secs());
            }
            Self::MethodNotAllowed { allow } => return format!("this path allows only {allow}"),
            Self::NotFound { detail } => detail,
            Self::NoValidEvent { refusals, .. } if refusals.is_empty() => "the request has no events",
            Self::NoValidEvent { .. } => "no event was accepted: see errors",
            Self::InvalidHost => "an HTTP/1.1 request has exactly one header Host",
            Self::UnsupportedTransferCoding => {
                "Transfer-Encoding must be chunked, or absent: name the coding of the body in Content-Encoding"
            }
            Self::BodyTimeout => "the body did not arrive in time",
            Self::Denied(denial) => return denial.detail().into_owned(),
            Self::LoopbackOnly => {
                "send this request to 127.0.0.1 on the machine itself, without a proxy, with the header X-Spillway: 1"
            }
            Self::IdempotencyKeyReused => {
                "this Idempotency-Key was used with another body, nothing was accepted: take a new key for a new body"
            }
            Self::RateLimited { limit, .. } => limit.detail(),
            Self::OutcomeUnknown => {
                "it is not known whether the events were kept: send them again with the same eventIds, or the same \
                 Idempotency-Key"
            }
            Self::QueryTooBroad => "the query takes too long: ask for a shorter range of time",
            Self::StoreUnavailable => "the store does not answer: retry after 1 s",
            Self::EventsUnreadable => {
                "events that this query needs are damaged or missing: ask for another range of time, or restore them as \
                 the alert segment_unreadable says"
            }
            Self::NoRoomForAnswer => "slow clients hold too many answers: retry after 1 s, or with a smaller limit",
            Self::TooManyTails => "this instance has as many tails as it may have: retry after 1 s",
            Self::TooManyExports => "this instance has as many exports as it may have: retry after 1 s",
            Self::RedriveInterrupted => {
                "the bus takes no records now; letters sent before are noted as redriven: send the request again after \
                 1 s"
            }
            Self::UpstreamUnreachable => "no instance can be reached, nothing was sent: retry after 1 s",
            Self::UpstreamFailed { is_safe: true } => "an instance broke off: send the request again",
            Self::UpstreamTimeout { is_safe: true } => {
                "an instance did not answer in time: send the request again, if need be for a shorter range of time"
            }
            Self::UpstreamFailed { is_safe: false } => {
                "an instance broke off, it is not known what it did: send the events again with the same eventIds, or \
                 the same Idempotency-Key"
            }
            Self::UpstreamTimeout { is_safe: false } => {
                "an instance did not answer in time, it is not known what it did: send the events again with the same \
                 eventIds, or the same Idempotency-Key"
            }
            Self::Internal => "an internal error: see the log of this instance",
        };
        fixed.to_owned()
    }

    /// What the log says about it.
    pub fn described(&self) -> Described {
        Described { code: self.code(), detail: self.detail() }
    }

    /// How long to wait before the request makes sense again, if it will.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::Denied(denial) => denial.retry_after(),
            Self::NoCapacity { .. }
            | Self::StoreUnavailable
            | Self::EventsUnreadable
            | Self::NoRoomForAnswer
            | Self::TooManyTails
            | Self::TooManyExports
            | Self::RedriveInterrupted
            | Self::UpstreamUnreachable => Some(RETRY_AFTER),
            _ => None,
        }
    }
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<NoRoom> for ApiError {
    fn from(_: NoRoom) -> Self {
        let shortage = Some("too many bodies are in work".to_owned());
        Self::NoCapacity { reason: RefusalReason::NoCapacity, shortage, may_be_partial: false }
    }
}

impl From<TooManyEvents> for ApiError {
    fn from(error: TooManyEvents) -> Self {
        Self::TooLarge { detail: format!("{error}; nothing was accepted, send smaller batches") }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooBroad => Self::QueryTooBroad,
            // The store has logged it.
            StoreError::Unreadable(_) => Self::EventsUnreadable,
            StoreError::Unavailable(_) | StoreError::Conflict { .. } | StoreError::Rejected(_) => {
                tracing::warn!(cause = ?error, "the store does not answer a query");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid { .. } => Self::InvalidParameter { detail: error.to_string() },
            QueryError::Store(error) => error.into(),
        }
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        let detail = error.to_string();
        match error {
            SearchError::Invalid { .. } => Self::InvalidParameter { detail },
            SearchError::Language(error) => Self::InvalidQuery { detail, position: error.position },
        }
    }
}

impl From<TailError> for ApiError {
    fn from(error: TailError) -> Self {
        match error {
            TailError::TooMany => Self::TooManyTails,
        }
    }
}

impl From<RedriveError> for ApiError {
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

impl From<&poem::Error> for ApiError {
    /// What the routes and extractors of poem refuse by themselves.
    fn from(error: &poem::Error) -> Self {
        if let Some(error) = error.downcast_ref::<ContentTypeError>() {
            return Self::UnsupportedMediaType { detail: format!("{error}: send Content-Type: application/json") };
        }
        if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
            let rule = match *name {
                "from" | "to" => {
                    "must be an RFC 3339 time such as 2024-01-15T10:30:00Z, with + of an offset written as %2B"
                }
                "limit" => "must be a number from 1 to 1000",
                "q" => "must have 1 to 1024 bytes",
                "traceId" => "must have 32 hexadecimal digits",
                "Idempotency-Key" => "must have 1 to 255 visible ASCII characters",
                "Last-Event-ID" => "must be the id of an earlier event of a tail",
                "partition" | "id" => "must be a number",
                "interval" => "must be a whole number with s, m, h, d or w, such as 5m",
                "redriven" | "sparse" => "must be true or false",
                "order" => "must be asc or desc",
                "scope" => "must be source, traceId or all",
                "format" => "must be ndjson or csv",
                "before" | "after" => "must be a number from 0 to 500",
                "by" => "must be level, source, traceId or a name in metadata",
                "field" => "is required: level, source, traceId or a name in metadata",
                "filter" => "must be a level such as debug, or levels by module such as info,adapter_http=debug",
                _ => reason.as_str(),
            };
            return Self::InvalidParameter { detail: format!("{name}: {rule}") };
        }
        if error.is::<ParsePathError>() {
            return Self::InvalidParameter {
                detail: "the last part of the path must be the UUID of an event, or the name of an operation"
                    .to_owned(),
            };
        }
        match error.status() {
            StatusCode::NOT_FOUND => Self::nothing_here(),
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed { allow: String::new() },
            status if status.is_client_error() => Self::InvalidParameter { detail: error.to_string() },
            _ => {
                tracing::error!(%error, "a handler failed");
                Self::Internal
            }
        }
    }
}
