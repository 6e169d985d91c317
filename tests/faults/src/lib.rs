//! The fault harness: breaks Spillway's dependencies while events flow, and compares events sent with rows stored.
//!
//! Clients ([`load`]) send numbered events through a gateway and record the answers ([`account`]). Meanwhile a scenario
//! ([`scenarios`]) breaks something: a process of the [`scene`], a server of the [`ground`], or the network between them
//! ([`proxy`]). At the end the [`store`]'s rows are compared with the promises ([`comparison`]), and the producers' own
//! accounts must balance ([`measurements`], [`watch`]). [`report`] has the table.
//!
//! `scripts/faults` runs the scenarios; a few short ones are among the ordinary tests.
//!
//! Constraints:
//! * Every wait is for a condition and has a deadline; a scenario that fails does not affect others.
//! * Promises are checked by counting.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests fail by panicking")]

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
