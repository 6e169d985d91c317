//! The protocols of existing log agents and logging libraries, so that they ship to Spillway unchanged.
//!
//! Constraints and invariants:
//! * Many agents send a refused request again at once, without limit, or not at all, so a request that cannot be taken
//!   in now is held for a while before it is refused ([`hold`]).
//! * A request is taken in as a whole or not at all. An agent takes a partial answer for success.
//! * An entry never fails its neighbours: what breaks a rule is kept as text ([`application::ingest::AgentEntry`]).
//! * Beside the body and what the intake keeps, decoding takes memory within a constant bound: bodies are walked over,
//!   and nothing is collected.

mod accept;
pub mod bulk;
pub mod document;
pub mod fields;
pub mod hec;
mod hold;
mod json_values;
mod lines;
pub mod loki;
pub mod objects;
pub mod otlp;
mod protobuf;
mod protocol;
#[cfg(test)]
mod tests;
mod times;

use application::ingest::AgentIntake;
use poem::Request;
use poem::http::Method;

pub use accept::HELD;
pub use hold::AgentAdmission;
pub use otlp::status_message;
pub use protocol::{AgentAnswer, AgentProtocol, Fixed};

use crate::routes::{Found, Operation, find};

/// Decodes a body that has no coding, as a request to this path with this media type would: for tests of arbitrary
/// bytes. `None` if no agent sends anything to this path; otherwise whether the body can be taken.
#[must_use]
pub fn decode(path: &str, media_type: &str, body: &[u8], intake: &mut AgentIntake<'_>) -> Option<bool> {
    let Found::Route(route) = find(&Method::POST, path, |_| true) else { return None };
    let Operation::Agent(protocol) = route.operation else { return None };
    let request = Request::builder().method(Method::POST).uri_str(path).content_type(media_type).finish();
    Some(protocol.decode(&request, body, intake).is_ok())
}
