//! Settings of Redis.

use serde::{Deserialize, Serialize};

use super::secrets::Url;

/// Settings of Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// URL of the server: `redis://:password@host:6379/0`, or with TLS `rediss://`, for a certificate of an authority that the
    /// system trusts.
    pub url: Url,
}
