//! Measures Spillway beside its yardsticks, on real servers, in one run.
//!
//! Constraints and invariants:
//! * Every figure stands beside one of a yardstick that was measured in alternation with it, on the same servers; or is CPU time
//!   an event, from the operating system's accounts. Times on a shared machine alone are not worth comparing.
//! * Nothing is switched off for a figure: rate limits are on, with limits that are not reached, metrics are kept, and the
//!   events of a rate are counted where they arrive.
//! * A run in which an answer was not a 202, or an event did not arrive, is no measurement: it fails.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement that cannot be made fails loudly")]

pub mod events;
pub mod ground;
pub mod openloop;
pub mod plot;
pub mod processes;
pub mod report;
pub mod scenarios;
pub mod wrk;
