//! What a protocol has to say for itself: how its bodies are read and how its answers look.
//!
//! Everything else is the same for all protocols and lives in [`crate::ingest::accept`]: rate limit, body, idempotency,
//! delivery. A decoder knows no status codes.

use application::ingest::{AgentStop, Intake, Outcome, RefusalReason, TooManyEvents};
use poem::http::StatusCode;
use poem::{IntoResponse, Response};

use crate::error::ApiError;

/// A way to write events in a request body, and to answer for them.
pub trait Protocol: Send + Sync {
    /// Media types of its bodies, in lower case and without parameters.
    fn media_types(&self) -> &'static [&'static str];

    /// How an answer looks that accepts events.
    fn success(&self) -> Success;

    /// Takes in the events of a body. An event that cannot be read is refused by itself ([`Intake::refuse`]), so that its
    /// neighbours are accepted.
    ///
    /// # Errors
    /// The body as a whole cannot be taken: nothing of it may be delivered.
    fn decode(&self, body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError>;

    /// Writes the body of an answer that accepts events.
    fn render(&self, outcome: &Outcome) -> Vec<u8>;

    /// The answer to a request of which nothing is accepted.
    fn render_error(&self, error: ApiError) -> Response {
        error.into_response()
    }
}

/// How an answer looks that accepts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// Its status code.
    pub status: StatusCode,
    /// The media type of its body.
    pub media_type: &'static str,
}

/// Why a body cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not what the protocol says.
    #[error("{0}")]
    Malformed(String),
    /// It has too many events.
    #[error(transparent)]
    TooManyEvents(#[from] TooManyEvents),
    /// Its events are too large together.
    #[error("{0}")]
    TooLarge(String),
    /// One of its events does not fit into the delivery queues, so none is published.
    #[error(transparent)]
    NoRoom(RefusalReason),
}

impl From<AgentStop> for DecodeError {
    fn from(stop: AgentStop) -> Self {
        match stop {
            AgentStop::TooLarge => Self::TooLarge(stop.to_string()),
            AgentStop::NoRoom(reason) => Self::NoRoom(reason),
        }
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(detail) => Self::Undecodable { detail },
            DecodeError::TooManyEvents(error) => error.into(),
            DecodeError::TooLarge(detail) => Self::TooLarge { detail },
            DecodeError::NoRoom(reason) => Self::NoCapacity { reason, shortage: None, may_be_partial: false },
        }
    }
}
