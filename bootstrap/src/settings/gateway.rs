//! Settings of the gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use adapter_http::{HostName, UpstreamUrl};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::http::ClientAuthKind;
use super::service::ServiceSettings;
use super::values::{List, address, local, one_of, word};

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Base URLs of producers; empty for the one at `producer.listen` on this machine, over TLS if it has a certificate in
    /// these settings.
    pub producers: List<UpstreamUrl>,
    /// Base URLs of consumers; empty for the one at `consumer.listen` on this machine, over TLS if it has a certificate in
    /// these settings.
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

impl Settings {
    /// Where a gateway finds producers that are not in its process: at the configured URLs, or at the default one.
    #[must_use]
    pub fn producer_urls(&self) -> Vec<UpstreamUrl> {
        self.urls_of(&self.gateway.producers, &self.producer)
    }

    /// The same for consumers.
    #[must_use]
    pub fn consumer_urls(&self) -> Vec<UpstreamUrl> {
        self.urls_of(&self.gateway.consumers, &self.consumer)
    }

    fn urls_of(&self, configured: &List<UpstreamUrl>, usual: &ServiceSettings) -> Vec<UpstreamUrl> {
        if !configured.0.is_empty() {
            return configured.0.clone();
        }
        let certificates = [&usual.tls_certificate, &self.http.tls_certificate];
        let is_encrypted = certificates.iter().any(|path| !path.as_os_str().is_empty());
        url_of(usual.listen, is_encrypted).into_iter().collect()
    }
}

/// How to reach, from this machine, what listens at `address`.
fn url_of(address: SocketAddr, is_encrypted: bool) -> Option<UpstreamUrl> {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if is_encrypted { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port())).parse().ok()
}
