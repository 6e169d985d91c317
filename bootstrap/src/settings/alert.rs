//! Settings of alerts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secrets::Webhook;
use super::values::DurationSetting;

/// Settings of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSettings {
    /// Webhook that receives alerts, in addition to the log; empty for none.
    pub webhook_url: Webhook,
    /// Timeout of one delivery attempt.
    pub timeout: DurationSetting,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { webhook_url: Webhook::default(), timeout: DurationSetting(Duration::from_secs(5)) }
    }
}
