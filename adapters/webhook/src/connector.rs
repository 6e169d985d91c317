//! Connections over HTTP and HTTPS. The command line uses them too: this crate alone knows TLS for HTTP.
//!
//! * Certificates are verified against the authorities of the system, or against those that `SSL_CERT_FILE` and
//!   `SSL_CERT_DIR` name.

use std::io;
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// Connects over HTTP or HTTPS, as the URL says.
pub type Connector = HttpsConnector<HttpConnector>;

/// The system has no authorities that could vouch for a server.
#[derive(Debug, thiserror::Error)]
#[error("no certificates of authorities are installed, which https needs")]
pub struct NoAuthorities(#[source] io::Error);

/// Adds HTTPS to `http`. Certificates are loaded only if URLs are `encrypted`.
///
/// # Errors
/// URLs are encrypted, and the system has no authorities.
pub fn connector(http: HttpConnector, encrypted: bool) -> Result<Connector, NoAuthorities> {
    Ok(connector_with(http, client_config(encrypted)?))
}

/// Adds HTTPS with this configuration to `http`.
pub(crate) fn connector_with(mut http: HttpConnector, tls: ClientConfig) -> Connector {
    http.enforce_http(false);
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http)
}

/// Who is trusted: the authorities of the system, or nobody if it does not matter.
pub(crate) fn client_config(encrypted: bool) -> Result<ClientConfig, NoAuthorities> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has what the versions need.
    let versions = versions.map_err(|error| NoAuthorities(io::Error::other(error)))?;
    let trusting = if encrypted {
        versions.with_native_roots().map_err(NoAuthorities)?
    } else {
        versions.with_root_certificates(RootCertStore::empty())
    };
    Ok(trusting.with_no_client_auth())
}
