//! Logs of OpenTelemetry over HTTP (OTLP 1.9, opentelemetry.io/docs/specs/otlp).
//!
//! Bodies are protobuf or JSON, and so are the answers. The services's resource and scope are kept with each record.

mod json;
mod record;
mod usual;
mod wire;

use std::time::Duration;

use application::ingest::{AgentIntake, Outcome};
use poem::http::StatusCode;
use poem::{Request, Response};

use crate::body::Coding;
use crate::error::ApiError;
use crate::ingest::agents::json_values;
use crate::ingest::agents::protobuf::repeated;
use crate::ingest::agents::protocol::{AgentAnswer, AgentProtocol, body_text, error_answer, is_json, media_type};
use crate::ingest::protocol::DecodeError;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// OTLP/HTTP.
pub struct Otlp;

impl AgentProtocol for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn coding(&self, request: &Request) -> Result<Coding, ApiError> {
        let media_type = media_type(request.headers());
        if !is_protobuf(&media_type) && !is_json(&media_type) {
            let given = if media_type.is_empty() {
                "there is no Content-Type".to_owned()
            } else {
                format!("{media_type:?} is not supported")
            };
            let detail = format!("{given}: send Content-Type: {PROTOBUF} or {JSON}");
            return Err(ApiError::UnsupportedMediaType { detail });
        }
        Coding::of_agent(request.headers())
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        if is_json(&media_type(request.headers())) {
            let body = body_text(body);
            if let Some(taken) = usual::decode(&body, intake) {
                taken?;
            } else {
                intake.restart();
                json::decode(json_values::object(&body)?, intake)?;
            }
        } else {
            wire::decode(body, intake)?;
        }
        Ok(Vec::new())
    }

    fn answer(&self, request: &Request, outcome: &Outcome, _note: Vec<u8>) -> AgentAnswer {
        let rejected = outcome.refusals.len();
        let reason = outcome.left_out().unwrap_or_default();
        let (media_type, body) = if is_json(&media_type(request.headers())) {
            let partial = serde_json::json!({ "rejectedLogRecords": rejected.to_string(), "errorMessage": reason });
            let answer = serde_json::json!({ "partialSuccess": partial });
            (JSON, if rejected == 0 { b"{}".to_vec() } else { answer.to_string().into_bytes() })
        } else {
            (PROTOBUF, if rejected == 0 { Vec::new() } else { wire::partial_success(rejected as u64, &reason) })
        };
        AgentAnswer { status: StatusCode::OK, media_type: Some(media_type), body }
    }

    fn error(&self, request: &Request, error: ApiError) -> Response {
        // A client sends again after 429, 502, 503 and 504 only.
        let status = |status: StatusCode| {
            if status == StatusCode::REQUEST_TIMEOUT { StatusCode::SERVICE_UNAVAILABLE } else { status }
        };
        // A request in another format comes from a person rather than from a client: JSON can be read.
        if !is_protobuf(&media_type(request.headers())) {
            return error_answer(error, JSON, status, |described, status| {
                serde_json::json!({ "code": status_code(status), "message": described.detail }).to_string().into_bytes()
            });
        }
        error_answer(error, PROTOBUF, status, |described, status| wire::status(status_code(status), &described.detail))
    }
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo`, in protobuf: when the client should send again.
#[must_use]
pub fn status_with_retry(code: u8, message: &str, retry_after: Duration) -> Vec<u8> {
    wire::status_with_retry(code.into(), message, retry_after)
}

fn is_protobuf(media_type: &str) -> bool {
    media_type == PROTOBUF || media_type == "application/protobuf"
}

/// The message of a `google.rpc.Status` in protobuf; empty if there is none.
#[must_use]
pub fn status_message(status: &[u8]) -> String {
    let message = repeated(status, 2).last().and_then(Result::ok).unwrap_or_default();
    application::ingest::text_of(message).into_owned()
}

/// The code of `google.rpc.Status` for a status code.
fn status_code(status: StatusCode) -> u64 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        429 => 8,
        502..=504 => 14,
        500..=599 => 13,
        // INVALID_ARGUMENT
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
