//! Invariants for arbitrary bytes, with one target for each boundary at which Spillway receives bytes that it did not
//! write.
//!
//! Constraints and invariants:
//! * A target is a function of its bytes alone: no clock, no randomness, no files, no threads. Every finding is
//!   reproducible.
//! * A target panics if and only if an invariant is violated. It computes the expectation by simpler means than the code
//!   under test.
//! * Work is bounded for any input, so that a run that takes seconds is also a finding.
//!
//! `scripts/fuzz` runs the targets under libFuzzer, which mutates the inputs in `corpus/<target>` and keeps those that
//! reach new code. `cargo test` runs every committed input through the same functions.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target fails by panicking, and an out-of-range index is also a failure"
)]

pub mod agent_bodies;
pub mod credentials;
pub mod decompression;
pub mod events;
mod input;
mod json;
pub mod line_formats;
pub mod log_recovery;
pub mod query_language;
pub mod record_decoding;

/// A target's function, called with an input.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also the name of its directory in `corpus`.
pub const TARGETS: [(&str, Target); 8] = [
    ("events", events::run),
    ("decompression", decompression::run),
    ("log-recovery", log_recovery::run),
    ("record-decoding", record_decoding::run),
    ("query-language", query_language::run),
    ("agent-bodies", agent_bodies::run),
    ("line-formats", line_formats::run),
    ("credentials", credentials::run),
];
