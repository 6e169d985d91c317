//! Connections over HTTP and HTTPS. The command line uses them too.
//!
//! * Certificates are verified against the authorities of the system, or against those that `SSL_CERT_FILE` and
//!   `SSL_CERT_DIR` name, or against those in a file of the caller.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Connects over HTTP or HTTPS, as the URL says.
pub type Connector = HttpsConnector<HttpConnector>;

/// The system has no authorities that could vouch for a server.
#[derive(Debug, thiserror::Error)]
#[error("no certificates of authorities are installed, which https needs")]
pub struct NoAuthorities(#[source] io::Error);

/// Files for HTTPS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpsFiles {
    /// PEM file of the authorities that are trusted, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// PEM files of the certificate that is shown to the server, and of its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why HTTPS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Nobody is trusted.
    #[error(transparent)]
    NoAuthorities(#[from] NoAuthorities),
    /// A file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Adds HTTPS to `http`. Certificates are loaded only if URLs are `encrypted`.
///
/// # Errors
/// URLs are encrypted, and the system has no authorities.
pub fn connector(http: HttpConnector, encrypted: bool) -> Result<Connector, NoAuthorities> {
    Ok(connector_with(http, client_config(encrypted)?))
}

/// The same with files of the caller.
///
/// # Errors
/// URLs are encrypted, and a file cannot be used; or no authorities are named and the system has none.
pub fn connector_with_files(http: HttpConnector, encrypted: bool, files: &HttpsFiles) -> Result<Connector, HttpsError> {
    if !encrypted || *files == HttpsFiles::default() {
        return Ok(connector(http, encrypted)?);
    }
    let trusting = match &files.ca {
        None => builder()?.with_native_roots().map_err(NoAuthorities)?,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
            builder()?.with_root_certificates(roots)
        }
    };
    let config = match &files.client {
        None => trusting.with_no_client_auth(),
        Some((certificate, key)) => with_certificate(trusting, certificate, key)?,
    };
    Ok(connector_with(http, config))
}

fn with_certificate(
    trusting: ConfigBuilder<ClientConfig, WantsClientCert>,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, HttpsError> {
    let chain = certificates(certificate)?;
    // Says nothing of the content, which is secret.
    let no_key = |_| HttpsError::File { path: key.to_owned(), reason: "no key in PEM form".to_owned() };
    let pair = PrivateKeyDer::from_pem_file(key).map_err(no_key)?;
    trusting.with_client_auth_cert(chain, pair).map_err(|error| unusable(certificate, &error))
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(unusable(path, &"no certificate in PEM form")) } else { Ok(found) }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> HttpsError {
    HttpsError::File { path: path.to_owned(), reason: reason.to_string() }
}

/// Adds HTTPS with this configuration to `http`.
pub(crate) fn connector_with(mut http: HttpConnector, tls: ClientConfig) -> Connector {
    http.enforce_http(false);
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http)
}

/// Who is trusted: the authorities of the system, or nobody if it does not matter.
pub(crate) fn client_config(encrypted: bool) -> Result<ClientConfig, NoAuthorities> {
    let trusting = if encrypted {
        builder()?.with_native_roots().map_err(NoAuthorities)?
    } else {
        builder()?.with_root_certificates(RootCertStore::empty())
    };
    Ok(trusting.with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>, NoAuthorities> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has what the versions need.
    versions.map_err(|error| NoAuthorities(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_for_https_only_and_an_error_names_the_file() {
        let pair = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/localhost.pem")).to_owned();
        let missing = PathBuf::from("/missing.pem");
        let of = |ca: &Path, client: Option<(&Path, &Path)>, encrypted| {
            let client = client.map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
            let files = HttpsFiles { ca: Some(ca.to_owned()), client };
            connector_with_files(HttpConnector::new(), encrypted, &files).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(of(&pair, None, true), Ok(()));
        assert_eq!(of(&pair, Some((&pair, &pair)), true), Ok(()));
        assert_eq!(of(&missing, None, false), Ok(()));
        assert!(of(&missing, None, true).is_err_and(|error| error.contains("/missing.pem")));
        let no_key = of(&pair, Some((&pair, &missing)), true);
        assert_eq!(no_key, Err("/missing.pem: no key in PEM form".to_owned()));
    }
}
