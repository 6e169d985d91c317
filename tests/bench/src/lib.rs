//! Measures Spillway and its yardsticks on real servers, in one run.
//!
//! Constraints and invariants:
//! * Every figure is either next to that of a yardstick, measured in alternation on the same servers, or CPU time per
//!   event, from the operating system's accounting. Absolute times on a shared machine are not comparable.
//! * Nothing is disabled for a figure: rate limits are on but not reached, metrics are recorded, and the events of a rate
//!   are counted where they arrive.
//! * A run with an answer other than 202, or with a lost event, is not a measurement: it fails. Only searches that fail are
//!   counted beside the others: that they do is what their page must show.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "failed measurements panic")]

pub mod agent_bodies;
pub mod events;
pub mod load;
pub mod log_stores;
pub mod openloop;
pub mod plot;
pub mod processes;
pub mod report;
pub mod scenarios;
pub mod service_logs;
pub mod test_cluster;
pub mod wrk;
