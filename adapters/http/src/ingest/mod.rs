//! Ingestion: events come in by a [`Protocol`], and every protocol goes the same way ([`accept`]). Log agents and logging
//! libraries come with protocols of their own and get answers that they understand ([`agents`]).
//!
//! To add a protocol, implement [`Protocol`] in a folder beside [`native`], or [`agents::AgentProtocol`] in one below
//! [`agents`], and name it in [`crate::routes`].

pub mod accept;
pub mod agents;
pub mod api;
mod idempotency;
mod key_limits;
pub mod native;
mod protocol;
mod rate_limit;
#[cfg(test)]
mod tests;

pub use protocol::Protocol;
pub use rate_limit::RefusalLog;
