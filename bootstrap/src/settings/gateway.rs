//! Settings of the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use adapter_http::{HostName, UpstreamUrl};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::http::ClientAuthKind;
use super::values::{List, address, local, one_of, word};

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
    /// PEM file of the authorities that sign the certificates of producers and consumers; needed if a base URL is https.
    pub upstream_ca: PathBuf,
    /// PEM file of the certificate that is shown to producers and consumers; empty for none.
    pub upstream_certificate: PathBuf,
    /// PEM file of its key.
    pub upstream_key: PathBuf,
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

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: local(8080),
            producers: List::default(),
            consumers: List::default(),
            trusted_proxies: List::default(),
            upstream_ca: PathBuf::new(),
            upstream_certificate: PathBuf::new(),
            upstream_key: PathBuf::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            tls_client_auth: ClientAuthKind::Inherited,
            tls_client_names: List::default(),
        }
    }
}
