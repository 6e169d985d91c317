//! Settings of the rate limits.

use serde::{Deserialize, Serialize};

/// Rate limits of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Single events per second; 0 means unlimited.
    pub single_per_second: u32,
    /// Batches per second; 0 means unlimited.
    pub batch_per_second: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { single_per_second: 100, batch_per_second: 10 }
    }
}
