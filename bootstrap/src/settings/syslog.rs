//! Settings of syslog.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{List, OptionalAddress};

/// Syslog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Address where a producer listens for syslog over TCP and UDP, such as `0.0.0.0:514`; empty for none.
    pub listen: OptionalAddress,
    /// Networks that may send syslog, such as `10.0.0.0/8`; empty for all. Syslog carries no keys: where keys are required, this
    /// must be set.
    pub allow: List<IpNet>,
}
