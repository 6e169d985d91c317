//! The fault harness: breaks what Spillway needs while events flow, and counts events in and rows out.
//!
//! Clients ([`load`]) send numbered events through a gateway and write down what they were told ([`account`]). A scenario
//! ([`scenarios`]) breaks something meanwhile: a process of the [`scene`], a server of the [`ground`], or the network
//! between ([`proxy`]). At the end the [`store`]'s rows are compared with what was promised ([`comparison`]), and the
//! producers' own accounts must add up ([`measurements`], [`watch`]). [`report`] has the table.
//!
//! `scripts/faults` runs the scenarios; a few short ones are among the ordinary tests.
//!
//! Constraints:
//! * Every wait is for a condition and has a deadline; a scenario that goes wrong fails alone.
//! * Counting, not looking: a promise holds if numbers say so.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test stops where it fails")]

pub mod account;
pub mod amounts;
pub mod comparison;
pub mod ground;
pub mod load;
pub mod measurements;
pub mod proxy;
pub mod report;
pub mod scenarios;
pub mod scene;
pub mod store;
pub mod topic;
pub mod watch;
