//! Settings of the gateway.

use std::net::SocketAddr;

use adapter_http::UpstreamUrl;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{List, address, local};

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Base URLs of producers; empty for the default producer on this machine.
    pub producers: List<UpstreamUrl>,
    /// Base URLs of consumers; empty for the default consumer on this machine.
    pub consumers: List<UpstreamUrl>,
    /// Networks of proxies that are trusted to name the client.
    pub trusted_proxies: List<IpNet>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: local(8080),
            producers: List::default(),
            consumers: List::default(),
            trusted_proxies: List::default(),
        }
    }
}
