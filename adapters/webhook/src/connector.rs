//! Connections over HTTP and HTTPS. The command line uses them too.
//!
//! * Certificates are verified against the authorities of the system, or against those that `SSL_CERT_FILE` and
//!   `SSL_CERT_DIR` name, or against those in a file of the caller.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// The variable that names a file of authorities instead of those of the system.
const FILE_VARIABLE: &str = "SSL_CERT_FILE";
const NO_CERTIFICATE: &str = "no certificate in PEM form";

/// Connects over HTTP or HTTPS, as the URL says.
pub type Connector = HttpsConnector<HttpConnector>;

/// There are no authorities that could vouch for a server: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAuthorities(String);

impl NoAuthorities {
    /// Neither the system nor the file that the environment names has any.
    fn found(file: Option<&Path>) -> Self {
        let Some(file) = file else {
            return Self(format!(
                "no certificates of authorities are installed, which https needs: install the package ca-certificates, \
                 or name a file of them in {FILE_VARIABLE}"
            ));
        };
        let reason = match File::open(file) {
            Ok(_) => NO_CERTIFICATE.to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        Self(format!("{FILE_VARIABLE}={}: {reason}", file.display()))
    }
}

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
        None => with_system_roots()?,
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
    let no_key = |error: pem::Error| match error {
        pem::Error::Io(_) => not_read(key, &error),
        // Says nothing of the content, which is secret.
        _ => unusable(key, &"no key in PEM form"),
    };
    let pair = PrivateKeyDer::from_pem_file(key).map_err(no_key)?;
    trusting.with_client_auth_cert(chain, pair).map_err(|error| unusable(certificate, &error))
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| not_read(path, &error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| not_read(path, &error))?;
    if found.is_empty() { Err(unusable(path, &NO_CERTIFICATE)) } else { Ok(found) }
}

fn not_read(path: &Path, error: &pem::Error) -> HttpsError {
    match error {
        pem::Error::Io(error) => unusable(path, &format!("cannot be read: {error}")),
        error => unusable(path, error),
    }
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
    let trusting =
        if encrypted { with_system_roots()? } else { builder()?.with_root_certificates(RootCertStore::empty()) };
    Ok(trusting.with_no_client_auth())
}

fn with_system_roots() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, NoAuthorities> {
    let file = std::env::var_os(FILE_VARIABLE).map(PathBuf::from);
    builder()?.with_native_roots().map_err(|_| NoAuthorities::found(file.as_deref()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>, NoAuthorities> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has what the versions need.
    versions.map_err(|error| NoAuthorities(error.to_string()))
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
        let not_read = Err("/missing.pem: cannot be read: No such file or directory (os error 2)".to_owned());
        assert_eq!(of(&missing, None, true), not_read);
        assert_eq!(of(&pair, Some((&pair, &missing)), true), not_read);
        let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let error = |reason: &str| Err(format!("{}: {reason}", manifest.display()));
        assert_eq!(of(manifest, None, true), error(NO_CERTIFICATE));
        assert_eq!(of(&pair, Some((&pair, manifest)), true), error("no key in PEM form"));
    }

    #[test]
    fn without_authorities_the_error_says_what_to_do() {
        let error = |file: Option<&str>| NoAuthorities::found(file.map(Path::new)).to_string();
        assert!(error(None).contains("ca-certificates"));
        let missing = "SSL_CERT_FILE=/missing.pem: cannot be read: No such file or directory (os error 2)";
        assert_eq!(error(Some("/missing.pem")), missing);
        assert_eq!(error(Some("/dev/null")), "SSL_CERT_FILE=/dev/null: no certificate in PEM form");
    }
}
