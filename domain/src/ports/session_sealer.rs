use std::time::Duration;

use crate::access::KeyId;

/// How long a session lasts.
pub const SESSION_DURATION: Duration = Duration::from_secs(12 * 60 * 60);

/// Writes down who has presented a key, so that a browser need not keep the key.
///
/// Promises: what can be read was written by a process with the same secret, unchanged, less than [`SESSION_DURATION`] ago.
/// It says nothing about whether the key is still valid.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait SessionSealer: Send + Sync {
    /// A session of a client that has presented the key with this id, in characters that a cookie may have; `None` if the
    /// operating system has no random numbers.
    fn seal(&self, key: KeyId) -> Option<String>;

    /// The id of the key that was presented.
    fn unseal(&self, session: &str) -> Option<KeyId>;
}
