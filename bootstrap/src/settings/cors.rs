//! Settings of pages of other origins.

use adapter_http::Origin;
use serde::{Deserialize, Serialize};

use super::values::List;

/// Pages of other origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Origins whose pages may use the API with a key, such as `https://console.example.com`.
    pub origins: List<Origin>,
}
