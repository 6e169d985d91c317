//! What a log event is and how it must be delivered.
//!
//! Constraints:
//! * This crate opens no sockets or files, reads no clock and draws no random numbers: time and new identifiers are
//!   arguments.
//! * This crate names neither Kafka nor SQL, HTTP or a serialization library; formats belong to the adapters. The one
//!   exception is the JSON text in an event's metadata, because "can every store hold it?" is a rule of the event.
//! * Per-event work is synchronous and borrows from its input; only the [`ports`] are asynchronous, and they process
//!   whole batches.

pub mod access;
pub mod admission;
pub mod alert;
pub mod allowance;
pub mod backoff;
pub mod bytes;
pub mod dead_letter;
pub mod delivery;
pub mod disk;
pub mod event;
pub mod event_input;
pub mod filter;
pub mod folding;
pub mod idempotency;
pub mod lag;
pub mod level;
pub mod metadata;
pub mod pack;
pub mod partition;
pub mod ports;
pub mod query;
pub mod recent;
pub mod record;
pub mod resend_id;
pub mod rollup;
pub mod stats;
pub mod timestamp;
pub mod token_bucket;
pub mod trace_parent;

pub use uuid::Uuid;
