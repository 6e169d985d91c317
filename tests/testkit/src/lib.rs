//! What the tests of several crates use: stand-ins for ports, bodies of requests, and events. Of this workspace it knows the domain
//! only, so that every crate may use it.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

pub mod agent_bodies;
pub mod service_logs;
pub mod store;

use std::time::Duration;

use domain::ports::{Appended, Clock, RequestClass, Telemetry};
use domain::timestamp::Timestamp;

/// A clock that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A clock that shows this RFC 3339 time.
///
/// # Panics
/// The text is not a time.
#[must_use]
pub fn clock_at(time: &str) -> FixedClock {
    FixedClock(Timestamp::parse(time).expect("a time"))
}

/// Telemetry that is discarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn refused(&self, _: &'static str, _: usize) {}
    fn rate_limited(&self, _: RequestClass) {}
    fn judged(&self, _outcome: &'static str) {}
    fn agent_request(&self, _: &'static str, _: usize, _: usize) {}
    fn agent_request_held(&self, _: &'static str) {}
    fn sent(&self, _: usize, _: Duration) {}
    fn send_failed(&self, _: usize) {}
    fn fetched(&self, _: usize) {}
    fn appended(&self, _: Appended, _: Option<Duration>) {}
    fn given_up(&self, _: usize) {}
}
