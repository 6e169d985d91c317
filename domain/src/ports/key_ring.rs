use std::sync::Arc;

use crate::access::{Key, KeyId, KeyRejection, KeyText};

/// Knows the keys.
///
/// Promises: what is asked is answered from memory. Once keys were required they stay required as long as the process
/// runs, whatever becomes of the place where they are kept; the last keys that could be read remain valid.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait KeyRing: Send + Sync {
    /// Whether requests need a key now.
    fn requires_keys(&self) -> bool;

    /// The key that was presented, if it is valid now.
    ///
    /// # Errors
    /// Why it is not.
    fn verify(&self, presented: &KeyText) -> Result<Arc<Key>, KeyRejection>;

    /// The key with this id, if it is valid now: for someone who has presented it before.
    ///
    /// # Errors
    /// Why it is not.
    fn find(&self, id: KeyId) -> Result<Arc<Key>, KeyRejection>;
}
