//! TLS for listeners.
//!
//! Constraints and invariants:
//! * Certificate and key are read again when their files change, and are used together only if they belong together and were the
//!   same twice: a file that is being written may lack some of its certificates. Until then, and whenever a file cannot be used,
//!   new connections get the pair that could be used last. At the start, the caller sees to that.
//! * Open connections keep what they began with.
//! * A handshake takes at most [`HANDSHAKE_TIMEOUT`], and counts within the connections of its listener. If it fails, the client
//!   has [`REFUSED_TIMEOUT`] to read why.

mod clients;
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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::clients::{NamedClients, Refusal, Refusals};
pub use self::transport::Transport;
pub use self::upstream::{Connector, UpstreamTls, UpstreamTlsOptions};
use self::validity::not_after;
use crate::access::host::HostName;

/// Longest time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client whose handshake has failed may take to read the alert and to close.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum bytes that are read of it meanwhile.
const REFUSED_BYTES_MAX: u64 = 64 * 1024;
/// Maximum bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// What the file of an encrypted key has in a line.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

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
    #[error("clients are asked for certificates, and TLS_CLIENT_CA names no authorities")]
    NoClientAuthorities,
}

/// The TLS of a listener.
pub struct Tls {
    options: TlsOptions,
    state: RwLock<State>,
    refusals: Refusals,
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
        Ok(Self { options, state: RwLock::new(state), refusals: Refusals::default() })
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
        let (listener, client) = (stream.local_addr().ok(), stream.peer_addr().ok());
        let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
        match timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(Ok(stream)) => Ok(Transport::Tls(Box::new(stream.into()))),
            Ok(Err((error, stream))) => {
                if let Some(reason) = Refusal::of(&error) {
                    self.refusals.note(reason, listener, client);
                }
                close_refused(stream).await;
                Err(error)
            }
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
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

/// Closes a connection whose handshake has failed. What the client has sent meanwhile is read: if something is unread at the end,
/// the kernel resets the connection, and the alert that says why may be lost.
async fn close_refused(mut stream: TcpStream) {
    let closing = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whatever becomes of it, the connection is over.
    let _ = timeout(REFUSED_TIMEOUT, closing).await;
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
    let found = found.map_err(|error| content(pem_fault(&error)))?;
    if found.is_empty() { Err(content("no certificate in PEM form".to_owned())) } else { Ok(found) }
}

/// The key in a PEM file. The error says nothing of the content, which is secret.
fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let reason = match error {
            _ if pem.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) => {
                "the key is encrypted: write it without a passphrase (openssl pkey -in ENCRYPTED -out KEY)".to_owned()
            }
            pem::Error::MissingSectionEnd { .. } => pem_fault(&error),
            _ => "no key in PEM form".to_owned(),
        };
        TlsError::Content { path: path.to_owned(), reason }
    })
}

/// What is wrong with a PEM file.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the file is cut off: the line -----END {}----- is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { .. } => "a line that begins with -----BEGIN is damaged".to_owned(),
        error => error.to_string(),
    }
}

/// Why a certificate and the key in this file cannot be used together.
fn pair_fault(error: &rustls::Error, key: &Path) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key in {} is that of another certificate", key.display())
        }
        error => format!("cannot be used with the key in {}: {error}", key.display()),
    }
}

impl State {
    fn of(options: &TlsOptions, files: Files) -> Result<Self, TlsError> {
        let content = |path: &Path, reason: String| TlsError::Content { path: path.to_owned(), reason };
        let chain = certificates(&options.certificate, &files.certificate)?;
        let expires = chain.first().and_then(|certificate| not_after(certificate));
        let expires = expires.ok_or_else(|| content(&options.certificate, "not a certificate".to_owned()))?;
        let key = private_key(&options.key, &files.key)?;
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
        let mut unnamed = config.map_err(|error| content(&options.certificate, pair_fault(&error, &options.key)))?;
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
    let of_authority: Arc<dyn ClientCertVerifier> = builder.build().map_err(|error| content(error.to_string()))?;
    let names = options.client_names.clone();
    Ok(Some(if names.is_empty() { of_authority } else { Arc::new(NamedClients { of_authority, names }) }))
}

#[cfg(test)]
mod tests;
