//! Settings of the embedded bus.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{DurationSetting, Size};

/// Settings of the embedded bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Number of partitions; can grow, but never shrink.
    pub partitions: u32,
    /// Maximum bytes of the log on disk.
    pub retention_bytes: Size,
    /// How long the log keeps records after they are stored.
    pub retention_age: DurationSetting,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            partitions: 3,
            retention_bytes: Size(1 << 30),
            retention_age: DurationSetting(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}
