//! Settings of ingestion by log agents.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::DurationSetting;

/// Ingestion by the protocols of log agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// How long a request of an agent waits for room or for its rate limit before it is refused; at most 10s.
    pub hold: DurationSetting,
    /// Whether events that agents send without an id get one that is the same when they are sent again.
    pub derived_ids: bool,
    /// How much later than the first a repeat with such an id may be received and is still recognised, at least; no more than
    /// `store.dedup_window`. The consumers apply it, on PostgreSQL exactly.
    pub resend_window: DurationSetting,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            hold: DurationSetting(Duration::from_secs(3)),
            derived_ids: true,
            resend_window: DurationSetting(Duration::from_secs(15 * 60)),
        }
    }
}
