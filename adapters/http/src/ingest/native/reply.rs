//! Answers that accept events. Their shapes are in [`crate::openapi::schemas`].

use application::ingest::Outcome;
use poem::http::StatusCode;
use serde_json::json;

use crate::error::problem_json::write_event_failures;
use crate::ingest::protocol::Success;

/// Media type of bodies and answers.
pub const JSON: &str = "application/json";
/// How every answer looks that accepts events.
pub const ACCEPTED: Success = Success { status: StatusCode::ACCEPTED, media_type: JSON };

/// Writes an [`crate::openapi::schemas::EventAccepted`]. None of its values can have a character that JSON would escape.
pub fn event_accepted(outcome: &Outcome) -> Vec<u8> {
    let (event_id, timestamp) = (outcome.event_id.unwrap_or_default(), outcome.received_at);
    let durability = outcome.accepted.durability().name();
    format!(r#"{{"eventId":"{event_id}","status":"Accepted","timestamp":"{timestamp}","durability":"{durability}"}}"#)
        .into_bytes()
}

/// Writes a [`crate::openapi::schemas::BatchAccepted`].
pub fn batch_accepted(outcome: &Outcome) -> Vec<u8> {
    let accepted = outcome.accepted;
    let answer = json!({
        "accepted": accepted.total(),
        "failed": outcome.refusals.len(),
        "timestamp": outcome.received_at.to_string(),
        "durability": {
            "acknowledged": accepted.acknowledged,
            "journaled": accepted.journaled,
            "buffered": accepted.buffered,
        },
    });
    let mut buffer = answer.to_string().into_bytes();
    buffer.pop();
    buffer.extend_from_slice(b",\"errors\":");
    write_event_failures(&outcome.refusals, &mut buffer);
    buffer.push(b'}');
    buffer
}
