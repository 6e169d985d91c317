//! A request body that is read, and its limit.

use bytes::Bytes;

use crate::body::budget::Lease;
use crate::error::ApiError;

/// Most bytes of a request body, before and after decoding.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A body in memory; frees its room when it is dropped.
pub struct ReadBody {
    /// All of it.
    pub bytes: Bytes,
    pub(super) lease: Lease,
}

impl ReadBody {
    /// Drops the body and keeps its room, for what became of it.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

pub(super) fn too_large() -> ApiError {
    ApiError::TooLarge { detail: format!("a body has at most {REQUEST_BYTES_MAX} bytes; nothing was accepted") }
}
