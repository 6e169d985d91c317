use std::time::Duration;

use super::{Appended, RequestClass};

/// Numbers for operators. A call a batch, never a call an event; never fails, never blocks.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Telemetry: Send + Sync {
    /// A producer refused events, under one code.
    fn refused(&self, code: &'static str, events: usize);

    /// A request was refused by the rate limit.
    fn rate_limited(&self, class: RequestClass);

    /// The bus acknowledged a batch this long after it was published.
    fn sent(&self, events: usize, duration: Duration);

    /// The bus did not take a batch.
    fn send_failed(&self, events: usize);

    /// A consumer read records.
    fn fetched(&self, records: usize);

    /// A consumer's transaction committed, this long after a producer received the oldest of its events; `None` if it had none.
    fn appended(&self, appended: Appended, oldest_age: Option<Duration>);

    /// A consumer gave up records that it had read, without storing them: somebody else will, or the same consumer
    /// when it reads them again.
    fn given_up(&self, records: usize);
}
