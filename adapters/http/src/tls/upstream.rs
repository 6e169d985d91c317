//! TLS between a gateway and its instances.
//!
//! Constraints and invariants:
//! * An instance is reached at an address, and verified by the name in its URL.
//! * Only the named authorities are trusted: instances have certificates of the operator's own.
//! * The files are read again when they change; see [`crate::tls`].

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use domain::timestamp::Timestamp;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use poem::http::Uri;
use poem::http::uri::{Authority, Scheme};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::transport::Transport;
use super::validity::not_after;
use super::{TlsError, certificates, pair_fault, private_key, read};

/// Longest time for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of addresses whose names are remembered.
const NAMES_MAX: usize = 10_000;

/// The files for connections to instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsOptions {
    /// PEM file of the authorities that sign the certificates of instances.
    pub ca: PathBuf,
    /// PEM files of the certificate that is shown to instances, and of its key, if they want one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// TLS to the instances of a gateway.
pub struct UpstreamTls {
    options: UpstreamTlsOptions,
    state: RwLock<State>,
}

struct State {
    files: Vec<Vec<u8>>,
    config: Arc<ClientConfig>,
    expires: Option<Timestamp>,
    fault: Option<String>,
    /// Files that were seen once, and may not be complete.
    unsettled: Option<Vec<Vec<u8>>>,
}

impl UpstreamTls {
    /// Reads the files. What this returns must not be used if they changed meanwhile.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(options: UpstreamTlsOptions) -> Result<Self, TlsError> {
        let files = options.read()?;
        let state = options.state(files)?;
        Ok(Self { options, state: RwLock::new(state) })
    }

    /// Reads the files again, and uses them if they have changed, were the same in the call before, and can be used. Returns
    /// whether they are others now.
    pub fn reload(&self) -> bool {
        let new = match self.options.read() {
            Ok(files) if self.state().files == files => Ok(None),
            Ok(files) if self.state().unsettled.as_ref() != Some(&files) => {
                self.state.write().unwrap_or_else(PoisonError::into_inner).unsettled = Some(files);
                return false;
            }
            Ok(files) => self.options.state(files).map(Some),
            Err(error) => Err(error),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match new {
            Ok(Some(new)) => {
                *state = new;
                return true;
            }
            Ok(None) => (state.fault, state.unsettled) = (None, None),
            Err(error) => state.fault = Some(format!("{error}; the files that could be used last are still used")),
        }
        false
    }

    /// Why the files cannot be used now, if they cannot.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// When the certificate that is shown to instances ends; `None` if none is shown.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.state().expires
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.state().config))
    }
}

impl UpstreamTlsOptions {
    fn read(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        let pair = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        std::iter::once(&self.ca).chain(pair).map(|path| read(path)).collect()
    }

    fn state(&self, files: Vec<Vec<u8>>) -> Result<State, TlsError> {
        let content = |path: &PathBuf, reason: String| TlsError::Content { path: path.clone(), reason };
        let of = |index: usize| files.get(index).map(Vec::as_slice).unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca, of(0))? {
            roots.add(certificate).map_err(|error| content(&self.ca, error.to_string()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| content(&self.ca, error.to_string()))?.with_root_certificates(roots);
        let mut expires = None;
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, of(1))?;
                expires = chain.first().and_then(|certificate| not_after(certificate));
                let config = builder.with_client_auth_cert(chain, private_key(key, of(2))?);
                config.map_err(|error| content(certificate, pair_fault(&error, key)))?
            }
        };
        Ok(State { files, config: Arc::new(config), expires, fault: None, unsettled: None })
    }
}

/// Connects to instances, encrypted if their URL says so.
#[derive(Clone)]
pub struct Connector {
    http: HttpConnector,
    tls: Option<Arc<UpstreamTls>>,
    names: Arc<RwLock<HashMap<String, ServerName<'static>>>>,
}

impl Connector {
    /// A connector over `http`.
    pub fn new(mut http: HttpConnector, tls: Option<Arc<UpstreamTls>>) -> Self {
        http.enforce_http(false);
        Self { http, tls, names: Arc::default() }
    }

    /// Notes that what is at this address is verified by this name.
    pub fn note(&self, address: &Authority, name: &ServerName<'static>) {
        if self.names.read().unwrap_or_else(PoisonError::into_inner).get(address.as_str()) == Some(name) {
            return;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(address.as_str().to_owned(), name.clone());
    }

    fn name_of(&self, uri: &Uri) -> Option<ServerName<'static>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(uri.authority()?.as_str()).cloned()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Transport>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let (name, tls) = (self.name_of(&uri), self.tls.as_ref().map(|tls| tls.connector()));
        let connecting = self.http.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            if !is_encrypted {
                return Ok(TokioIo::new(Transport::Plain(stream)));
            }
            let (Some(name), Some(tls)) = (name, tls) else {
                return Err("there are no authorities for https: set gateway.upstream_ca".into());
            };
            let stream = timeout(HANDSHAKE_TIMEOUT, tls.connect(name, stream)).await??;
            Ok(TokioIo::new(Transport::Tls(Box::new(stream.into()))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::{BodyExt, Full};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::{ClientAuth, Protocol, Tls, TlsOptions};

    const LOCALHOST: &[u8] = include_bytes!("../../tests/localhost.pem");

    /// What an instance answers that is called so.
    async fn ask(name: &'static str) -> Result<Vec<u8>, hyper_util::client::legacy::Error> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pair.pem");
        std::fs::write(&file, LOCALHOST).expect("written");
        let tls = Tls::open(TlsOptions {
            certificate: file.clone(),
            key: file.clone(),
            client_ca: Some(file.clone()),
            client_auth: ClientAuth::None,
            client_names: Vec::new(),
            only_tls13: true,
        });
        let tls = tls.expect("valid");
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("an address");
        let address: Authority = listener.local_addr().expect("an address").to_string().parse().expect("an authority");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(mut stream) = tls.accept(stream, Protocol::Http1).await else { return };
            let mut head = [0; 1_024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        });
        let upstream = UpstreamTls::open(UpstreamTlsOptions { ca: file, client: None }).expect("valid");
        assert!(!upstream.reload() && upstream.fault().is_none());
        let connector = Connector::new(HttpConnector::new(), Some(Arc::new(upstream)));
        connector.note(&address, &ServerName::try_from(name).expect("a name"));
        let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let answer = client.get(format!("https://{address}/").parse().expect("a URL")).await?;
        Ok(answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }

    #[tokio::test]
    async fn an_instance_is_verified_by_its_name_and_not_by_its_address() {
        assert_eq!(ask("localhost").await.expect("an answer"), b"ok");
        let error = ask("producers").await.expect_err("another name");
        assert!(error.is_connect(), "nothing was sent: {error:?}");
    }
}
