//! TLS for listeners.
//!
//! Constraints and invariants:
//! * Certificate and key are read again when their files change, and are used together only if they belong together and were the
//!   same twice: a file that is being written may lack some of its certificates. Until then, and whenever a file cannot be used,
//!   new connections get the pair that could be used last. At the start, the caller sees to that.
//! * Open connections keep what they began with.
//! * A handshake takes at most [`HANDSHAKE_TIMEOUT`], and counts within the connections of its listener.

mod transport;
mod upstream;
mod validity;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::timestamp::Timestamp;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use self::transport::Transport;
pub use self::upstream::{Connector, UpstreamTls, UpstreamTlsOptions};
use self::validity::not_after;
use crate::access::host::HostName;

/// Longest time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// If they show one, it must be valid.
    Optional,
    /// They must show one.
    Required,
}

/// What a listener speaks once the connection is encrypted (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something without a name of its own there, such as syslog.
    Unnamed,
}

/// The files and rules of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of the certificate, with those of the authorities between it and a trusted one.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the authorities of clients; needed unless clients show no certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Names of which a certificate of a client must have one; any, if there are none.
    pub client_names: Vec<HostName>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// A file has not the content that it should have.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Clients show certificates, and no authorities are named.
    #[error("the authorities of clients are missing")]
    NoClientAuthorities,
}

/// The TLS of a listener.
pub struct Tls {
    options: TlsOptions,
    state: RwLock<State>,
}

struct State {
    files: Files,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    unnamed: Arc<ServerConfig>,
    expires: Timestamp,
    fault: Option<String>,
    /// Files that were seen once, and may not be complete.
    unsettled: Option<Files>,
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Tls {
    /// Reads the files. What this returns must not be used if they changed meanwhile.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(options: TlsOptions) -> Result<Self, TlsError> {
        let state = State::of(&options, Files::read(&options)?)?;
        Ok(Self { options, state: RwLock::new(state) })
    }

    /// Reads the files again, and uses them if they have changed, were the same in the call before, and can be used. Returns
    /// whether they are others now.
    pub fn reload(&self) -> bool {
        let new = match Files::read(&self.options) {
            Ok(files) if self.with(|state| state.files == files) => Ok(None),
            Ok(files) if self.with(|state| state.unsettled.as_ref() != Some(&files)) => {
                self.state.write().unwrap_or_else(PoisonError::into_inner).unsettled = Some(files);
                return false;
            }
            Ok(files) => State::of(&self.options, files).map(Some),
            Err(error) => Err(error),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match new {
            Ok(Some(new)) => {
                *state = new;
                return true;
            }
            Ok(None) => (state.fault, state.unsettled) = (None, None),
            Err(error) => state.fault = Some(format!("{error}; the certificate that could be used last is still used")),
        }
        false
    }

    /// Why the files cannot be used now, if they cannot.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.with(|state| state.fault.clone())
    }

    /// When the certificate in use ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.with(|state| state.expires)
    }

    /// Encrypts a connection.
    ///
    /// # Errors
    /// The client does not agree, takes too long, or shows no certificate that is allowed.
    pub async fn accept(&self, stream: TcpStream, protocol: Protocol) -> io::Result<Transport> {
        let config = self.with(|state| {
            Arc::clone(match protocol {
                Protocol::Http1 => &state.http1,
                Protocol::Http2 => &state.http2,
                Protocol::Unnamed => &state.unnamed,
            })
        });
        let accepted = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await;
        let stream = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (_, session) = stream.get_ref();
        if let Some(certificate) = session.peer_certificates().and_then(<[_]>::first)
            && !self.allows(certificate)
        {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the certificate has none of the allowed names",
            ));
        }
        Ok(Transport::Tls(Box::new(stream.into())))
    }

    /// Whether a certificate of a client has a name that is allowed.
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let names = &self.options.client_names;
        let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return false };
        let has = |name: &HostName| {
            let name = ServerName::try_from(name.to_string());
            name.is_ok_and(|name| rustls::client::verify_server_name(&certificate, &name).is_ok())
        };
        names.is_empty() || names.iter().any(has)
    }

    fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Encrypts a connection if there is TLS.
///
/// # Errors
/// See [`Tls::accept`].
pub async fn secure(tls: Option<&Tls>, stream: TcpStream, protocol: Protocol) -> io::Result<Transport> {
    match tls {
        Some(tls) => tls.accept(stream, protocol).await,
        None => Ok(Transport::Plain(stream)),
    }
}

impl Files {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let client_ca = options.client_ca.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { certificate: read(&options.certificate)?, key: read(&options.key)?, client_ca })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |error| TlsError::Io { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(error)?.len() > FILE_BYTES_MAX {
        return Err(TlsError::Content { path: path.to_owned(), reason: format!("more than {FILE_BYTES_MAX} bytes") });
    }
    std::fs::read(path).map_err(error)
}

/// The certificates in a PEM file; at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() { Err(content("no certificate in PEM form".to_owned())) } else { Ok(found) }
}

impl State {
    fn of(options: &TlsOptions, files: Files) -> Result<Self, TlsError> {
        let content = |path: &Path, reason: String| TlsError::Content { path: path.to_owned(), reason };
        let chain = certificates(&options.certificate, &files.certificate)?;
        let expires = chain.first().and_then(|certificate| not_after(certificate));
        let expires = expires.ok_or_else(|| content(&options.certificate, "not a certificate".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(&files.key);
        // Says nothing of the content, which is secret.
        let key = key.map_err(|_| content(&options.key, "no key in PEM form".to_owned()))?;
        let versions: &[&SupportedProtocolVersion] = if options.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder =
            ServerConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions);
        let builder = builder.map_err(|error| content(&options.certificate, error.to_string()))?;
        let builder = match client_verifier(options, &files)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        // Refuses a key of another certificate.
        let config = builder.with_single_cert(chain, key);
        let mut unnamed = config.map_err(|error| content(&options.certificate, error.to_string()))?;
        // The first cipher of the listener that the client knows, whatever the client's own order.
        unnamed.ignore_client_order = true;
        let speaking = |protocol: &[u8]| {
            let mut config = unnamed.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        let (http1, http2) = (speaking(b"http/1.1"), speaking(b"h2"));
        // Senders of syslog read nothing. If something is unread when they close, their kernel resets the connection, and what
        // they sent last is lost.
        unnamed.send_tls13_tickets = 0;
        Ok(Self { files, http1, http2, unnamed: Arc::new(unnamed), expires, fault: None, unsettled: None })
    }
}

/// What verifies the certificates of clients, if they show any.
fn client_verifier(options: &TlsOptions, files: &Files) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let optional = match options.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Optional => true,
        ClientAuth::Required => false,
    };
    let path = options.client_ca.as_deref().ok_or(TlsError::NoClientAuthorities)?;
    let content = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, &files.client_ca)? {
        roots.add(certificate).map_err(|error| content(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(|error| content(error.to_string()))
}

#[cfg(test)]
mod tests;
