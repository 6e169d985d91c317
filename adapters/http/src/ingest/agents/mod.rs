//! The protocols of existing log agents and logging libraries, so that they ship to Spillway unchanged.
//!
//! Constraints and invariants:
//! * Many agents send a refused request again at once, without limit, or not at all, so a request that cannot be taken
//!   in now is held for a while before it is refused ([`hold`]).
//! * A request is taken in as a whole or not at all, except events that would not be accepted later either: the answer
//!   must say that they were left out ([`AgentProtocol::answer`]).
//! * An entry never fails its neighbours: what breaks a rule is kept as text ([`application::ingest::AgentEntry`]).
//! * Beside the body and what the intake keeps, decoding takes memory within a constant bound: bodies are walked over,
//!   and nothing is collected but where their large parts end ([`domain::metadata::Extents`]).

mod accept;
pub mod bulk;
#[cfg(test)]
mod differential;
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

pub use accept::HELD;
pub(in crate::ingest) use accept::RETRY_AFTER_MIN;
pub use hold::AgentAdmission;
pub(in crate::ingest) use hold::LOOK_INTERVAL;
pub use otlp::{status_message, status_with_retry};
pub use protocol::{AgentProtocol, Fixed};
