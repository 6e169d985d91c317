//! Settings of the journal.

use serde::{Deserialize, Serialize};

use super::values::Size;

/// The journal: what a producer keeps on disk while Kafka is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSettings {
    /// Maximum bytes of events in `data_dir/journal`; at least 16MiB. Beyond it 503.
    pub bytes_max: Size,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { bytes_max: Size(1 << 30) }
    }
}
