use uuid::Uuid;

use crate::timestamp::Timestamp;

/// Returns the time of day.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// Generates identifiers for events that came without one.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait IdSource: Send + Sync {
    /// An identifier that no other call, process or machine returns. Version 7, so that identifiers generated one after
    /// another are close together in an index.
    fn new_id(&self, now: Timestamp) -> Uuid;
}
