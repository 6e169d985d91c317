use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

use super::{Client, RateDecision};

/// Limits what the keys of one name send, in all processes together. The limits are those of each key.
///
/// Requests have a bucket with a burst of one second's worth. Events have one that may be overdrawn, since their number
/// is known only once a request was read: a request may begin while something is left, and is charged once it was
/// delivered; what its client has to send again is not charged. Over ten seconds a limit is kept within 5 % and one burst,
/// however many processes there are. Never fails: without its server a limiter decides locally.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait KeyLimiter: Send + Sync {
    /// Takes one request.
    async fn take(&self, keys: Client, per_second: NonZeroU32) -> RateDecision;

    /// How long until a request with events may begin; zero if it may now.
    async fn wait(&self, keys: Client, events_per_second: NonZeroU32) -> Duration;

    /// Charges the events of a request.
    async fn charge(&self, keys: Client, events_per_second: NonZeroU32, events: usize);
}
