//! Settings of a producer or consumer.

use std::net::SocketAddr;
use std::path::PathBuf;

use adapter_http::HostName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::http::ClientAuthKind;
use super::values::{List, address, local, one_of, word};

/// Settings of a producer or consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Networks of proxies that are trusted to name the client.
    pub trusted_proxies: List<IpNet>,
    /// PEM file of the certificate of this listener; empty for that in `http`.
    pub tls_certificate: PathBuf,
    /// PEM file of its key; empty for that in `http`.
    pub tls_key: PathBuf,
    /// PEM file of the authorities that sign the certificates of its clients; empty for that in `http`.
    pub tls_client_ca: PathBuf,
    /// Whether its clients must show a certificate: `none`, `optional` or `required`; empty for that in `http`.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub tls_client_auth: ClientAuthKind,
    /// Names of which the certificate of a client must have one; empty for those in `http`.
    pub tls_client_names: List<HostName>,
}

/// The default settings of a service on this port: it trusts proxies on this machine.
pub(super) fn service(port: u16) -> ServiceSettings {
    let loopback = ["127.0.0.0/8", "::1/128"];
    ServiceSettings {
        listen: local(port),
        trusted_proxies: List(loopback.iter().filter_map(|network| network.parse().ok()).collect()),
        tls_certificate: PathBuf::new(),
        tls_key: PathBuf::new(),
        tls_client_ca: PathBuf::new(),
        tls_client_auth: ClientAuthKind::Inherited,
        tls_client_names: List::default(),
    }
}
