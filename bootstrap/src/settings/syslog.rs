//! Settings of syslog.

use serde::{Deserialize, Serialize};

use super::values::OptionalAddress;

/// Syslog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Address where a producer listens for syslog over TCP and UDP, such as `0.0.0.0:514`; empty for none.
    pub listen: OptionalAddress,
}
