//! Spillway's own protocol: events in JSON and JSON lines.

mod diagnose;
#[cfg(test)]
mod differential;
mod event_reader;
mod json;
mod ndjson;
mod reply;
#[cfg(test)]
mod tests;

pub(super) use json::check_nesting;
pub use json::{BatchArray, NESTING_MAX, SingleEvent, take_event, take_events};
pub use ndjson::{BatchLines, take_lines};
pub(crate) use reply::batch_accepted;
#[cfg(test)]
pub(crate) use reply::event_accepted;
