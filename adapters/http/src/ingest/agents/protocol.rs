//! What a protocol of agents has to say for itself. Everything else is the same for all of them
//! ([`crate::ingest::agents`]).

use std::borrow::Cow;

use application::ingest::{AgentIntake, Outcome, text_of};
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use serde::Deserialize;

use crate::body::Coding;
use crate::error::{ApiError, Described};
use crate::ingest::protocol::DecodeError;

/// A protocol of agents.
pub trait AgentProtocol: Send + Sync {
    /// Its name in metrics and in the metadata of events that break a rule.
    fn name(&self) -> &'static str;

    /// The coding of a body, before anything of it is read.
    ///
    /// # Errors
    /// The coding or the media type is not one of the protocol.
    fn coding(&self, request: &Request) -> Result<Coding, ApiError> {
        Coding::of_agent(request.headers())
    }

    /// Takes in the entries of a body. Returns what the answer says about each, as [`AgentProtocol::answer`] wants it;
    /// its bytes are counted by [`AgentIntake::note`].
    ///
    /// # Errors
    /// The body as a whole cannot be taken: nothing of it is delivered.
    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError>;

    /// The answer to a request that need not be sent again. It says which events were left out, if any were: the bus
    /// rejects them permanently, or the key may not write them. A protocol that has no place for single events answers
    /// with an error that says [`Outcome::left_out`].
    fn answer(&self, request: &Request, outcome: &Outcome, note: Vec<u8>) -> AgentAnswer;

    /// The answer to a request that is wrong, or of which not everything is known to be accepted.
    fn error(&self, request: &Request, error: ApiError) -> Response;

    /// A header of every answer.
    fn header(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

/// How an answer looks to a request that need not be sent again.
pub struct AgentAnswer {
    /// Its status code.
    pub status: StatusCode,
    /// The media type of its body; `None` if it has none.
    pub media_type: Option<&'static str>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer that is always the same, for what an agent asks before it sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Fixed {
    /// JSON.
    pub body: &'static str,
    /// A header, as all answers of the protocol have it.
    pub header: Option<(&'static str, &'static str)>,
}

impl Fixed {
    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response {
        let mut response = Response::builder().content_type("application/json").body(self.body);
        add_header(&mut response, self.header);
        response
    }
}

/// Adds a header to an answer.
pub fn add_header(response: &mut Response, header: Option<(&'static str, &'static str)>) {
    if let Some((name, value)) = header
        && let Ok(name) = poem::http::HeaderName::from_bytes(name.as_bytes())
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// The answer for an error, with the body that a protocol gives to it. Status code, `Retry-After` and the line in the
/// log are those of all errors, unless `status` says otherwise.
pub fn error_answer(
    error: ApiError,
    media_type: &'static str,
    status: impl FnOnce(StatusCode) -> StatusCode,
    body: impl FnOnce(&Described, StatusCode) -> Vec<u8>,
) -> Response {
    let described = error.described();
    let mut response = error.into_response();
    let status = status(response.status());
    response.set_status(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.set_body(body(&described, status));
    response
}

/// The media type of a body, in lower case and without its parameters; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a media type is JSON of any kind (RFC 6839, section 3.1).
pub fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

/// What the query of a request may say about all of its entries.
#[derive(Debug, Default, Deserialize)]
pub struct Parameters {
    /// The source of entries that name none.
    pub source: Option<String>,
    /// Another name of `source`, which counts if that is absent.
    pub src: Option<String>,
    /// Splunk's type of the data.
    pub sourcetype: Option<String>,
    /// The host of entries that name none.
    pub host: Option<String>,
    /// Splunk's index.
    pub index: Option<String>,
    /// Splunk's channel.
    pub channel: Option<String>,
}

impl Parameters {
    /// The parameters of a request. Others mean nothing, and neither do those that cannot be read.
    pub fn of(request: &Request) -> Self {
        let mut parameters: Self = request.params().unwrap_or_default();
        parameters.source = parameters.source.or(parameters.src.take());
        parameters
    }
}

/// Whether a media type is text, of which each line may be an event.
pub fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") && !is_json(media_type)
}

/// The text of a body, without its byte order mark.
pub fn body_text(body: &[u8]) -> Cow<'_, str> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    text_of(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body))
}
