//! Settings of all HTTP listeners.

use adapter_http::HostName;
use serde::{Deserialize, Serialize};

use super::values::List;

/// Settings of all HTTP listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Host names that requests may be sent to, in addition to `localhost` and IP addresses, such as `logs.example.com`.
    pub hosts: List<HostName>,
}
