//! The fault harness: breaks Spillway's dependencies while events flow, and compares events sent with rows stored.
//!
//! Clients ([`load`]) send numbered events through a gateway and record the answers ([`ledger`]). Meanwhile a scenario
//! ([`scenarios`]) breaks something: a process of the [`cluster`], a server of the [`test_cluster`], or the network between them
//! ([`proxy`]). At the end the [`store`]'s rows are compared with the promises ([`comparison`]), and the producers' own
//! ledgers must balance ([`measurements`], [`watch`]). [`report`] has the table.
//!
//! `scripts/faults` runs the scenarios; a few short ones are among the ordinary tests.
//!
//! Constraints:
//! * Every wait is for a condition and has a deadline; a scenario that fails does not affect others.
//! * Promises are checked by counting.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests fail by panicking")]

pub mod amounts;
pub mod cluster;
pub mod comparison;
pub mod ledger;
pub mod load;
pub mod measurements;
pub mod proxy;
pub mod report;
pub mod scenarios;
pub mod store;
pub mod test_cluster;
pub mod topic;
pub mod watch;
