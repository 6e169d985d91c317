//! What must hold for any bytes, one target a boundary over which bytes come that Spillway did not write itself.
//!
//! Constraints and invariants:
//! * A target is a function of its bytes alone: no clock, no randomness, no files, no threads. What it finds once it finds
//!   always.
//! * A target panics when what must hold does not, and only then. What to expect it works out by simpler means than the code
//!   under test.
//! * Work is bounded for any input, so that a run that takes seconds is a finding too.
//!
//! `scripts/fuzz` runs the targets under libFuzzer, which mutates the inputs in `corpus/<target>` and keeps those that reach
//! code that no other has reached. `cargo test` gives every committed input to the same functions.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target fails by panicking, and an index that is out of range is a failure like any other"
)]

pub mod decompression;
pub mod events;
mod input;
mod json;
pub mod log_recovery;
pub mod record_decoding;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target under its name, which is also that of its directory in `corpus`.
pub const TARGETS: [(&str, Target); 4] = [
    ("events", events::run),
    ("decompression", decompression::run),
    ("log-recovery", log_recovery::run),
    ("record-decoding", record_decoding::run),
];
