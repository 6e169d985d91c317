//! The push request of Grafana Loki (grafana.com/docs/loki/latest/reference/loki-http-api, "Ingest logs").
//!
//! Bodies are JSON, in its present and its legacy shape, or protobuf in a snappy block. Labels and structured metadata
//! join the metadata of each line under their own names.

mod json;
mod labels;
mod stream;
mod wire;

use application::ingest::{AgentIntake, Outcome};
use poem::http::{StatusCode, header};
use poem::{Request, Response};

use crate::body::Coding;
use crate::error::ApiError;
use crate::ingest::agents::protocol::{AgentAnswer, AgentProtocol, body_text, error_answer, is_json, media_type};
use crate::ingest::protocol::DecodeError;

const TEXT: &str = "text/plain; charset=utf-8";

/// Loki's push.
pub struct Loki;

impl AgentProtocol for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn coding(&self, request: &Request) -> Result<Coding, ApiError> {
        // Every client compresses protobuf with snappy, and few say so.
        let says_nothing = !request.headers().contains_key(header::CONTENT_ENCODING);
        if says_nothing && !is_json(&media_type(request.headers())) {
            return Ok(Coding::Snappy);
        }
        Coding::of_agent(request.headers())
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        if is_json(&media_type(request.headers())) {
            json::decode(&body_text(body), intake)?;
        } else {
            wire::decode(body, intake)?;
        }
        Ok(Vec::new())
    }

    fn answer(&self, _request: &Request, outcome: &Outcome, _note: Vec<u8>) -> AgentAnswer {
        match outcome.left_out() {
            // One client takes any other status for a failure.
            None => AgentAnswer { status: StatusCode::NO_CONTENT, media_type: None, body: Vec::new() },
            // So does Loki if it takes only some lines. No client sends again after it.
            Some(text) => AgentAnswer {
                status: StatusCode::BAD_REQUEST,
                media_type: Some(TEXT),
                body: format!("{text}\n").into_bytes(),
            },
        }
    }

    fn error(&self, request: &Request, error: ApiError) -> Response {
        let media_type = media_type(request.headers());
        let error = match error {
            ApiError::Undecodable { detail } if !is_json(&media_type) && !media_type.ends_with("protobuf") => {
                let given = if media_type.is_empty() { "without a Content-Type" } else { "with this Content-Type" };
                let instead =
                    format!("{given}, it is read as protobuf in snappy; for JSON, send Content-Type: application/json");
                ApiError::Undecodable { detail: format!("{detail} ({instead})") }
            }
            error => error,
        };
        let status = |status: StatusCode| {
            if status == StatusCode::REQUEST_TIMEOUT { StatusCode::SERVICE_UNAVAILABLE } else { status }
        };
        error_answer(error, TEXT, status, |described, _| format!("{}\n", described.detail).into())
    }
}

#[cfg(test)]
mod tests;
