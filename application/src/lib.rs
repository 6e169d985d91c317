//! The use cases of Spillway, over the ports of the domain.
//!
//! Constraints:
//! * No adapter is named here; every use case is a concrete struct over `Arc<dyn Port>`.
//! * Each use case makes decisions. Code that only forwards belongs to the adapter that needs it.
//! * Per-event work is synchronous; all waiting is per batch and bounded.

pub mod alerts;
mod cause;
pub mod codec;
pub mod connections;
pub mod dead_letters;
pub mod delivery;
pub mod export;
pub mod health;
pub mod ingest;
pub mod json_reader;
pub mod outage;
pub mod outbox;
pub mod persist;
pub mod query;
pub mod readings;
pub mod retention;
pub mod search;
pub mod tail;
