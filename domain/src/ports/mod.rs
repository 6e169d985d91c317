//! The ports of the application: what it needs from the outside, as promises.
//!
//! Each port covers one consistent unit of work, its documentation is its contract, and its error variants say what to
//! do next. Every implementation passes the port's suite in `tests/contracts`.

mod alerter;
mod clock;
mod dead_letter_topic;
mod idempotency;
mod journal;
mod key_limiter;
mod key_ring;
mod limiter;
mod publisher;
mod query_cache;
mod session_sealer;
mod source;
mod store;
mod telemetry;

pub use alerter::*;
pub use clock::*;
pub use dead_letter_topic::*;
pub use idempotency::*;
pub use journal::*;
pub use key_limiter::*;
pub use key_ring::*;
pub use limiter::*;
pub use publisher::*;
pub use query_cache::*;
pub use session_sealer::*;
pub use source::*;
pub use store::*;
pub use telemetry::*;

/// The cause of a port's error, for the log; never shown to clients.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A future that owns everything it needs.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'static>>;
