//! Settings of a producer or consumer.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{List, address, local};

/// Settings of a producer or consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Networks of proxies that are trusted to name the client.
    pub trusted_proxies: List<IpNet>,
}

/// The default settings of a service on this port: it trusts proxies on this machine.
pub(super) fn service(port: u16) -> ServiceSettings {
    let loopback = ["127.0.0.0/8", "::1/128"];
    ServiceSettings {
        listen: local(port),
        trusted_proxies: List(loopback.iter().filter_map(|network| network.parse().ok()).collect()),
    }
}
