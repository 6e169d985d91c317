//! Accepting connections.
//!
//! Our own loop over hyper, because poem's server has neither a time limit for request heads nor a limit on
//! connections, spins when it runs out of file descriptors, and leaves Nagle's algorithm on.
//!
//! Each server has its [`Service`], which answers requests also for callers in this process.

mod connection;
mod grpc;
mod request_id;
mod service;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use hyper::body::Body as HttpBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Endpoint, Request, Response};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::body::ReplayableBody;
use crate::server::connection::TimeoutStream;
use crate::tls::{Protocol, Tls, secure};

pub use grpc::GrpcServer;
pub(crate) use request_id::X_REQUEST_ID;
pub(crate) use service::trace_parent;
pub use service::{Activity, Answered, LocalService, Observer, Service};

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Most connections at a time; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// Longest time for a request head to arrive, and for a kept connection to stay idle.
    pub head_timeout: Duration,
    /// Longest time that a client may take nothing of its answer.
    pub write_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { connections_max: 10_000, head_timeout: Duration::from_secs(10), write_timeout: Duration::from_secs(30) }
    }
}

/// Most bytes of a request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Silence after which the operating system asks a peer whether it is still there, how often it asks again, and how many questions
/// may stay unanswered.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(60);
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(15);
pub(crate) const PROBES_MAX: u32 = 4;
/// How long to wait when the operating system cannot accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens, not yet served.
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    tls: Option<Arc<Tls>>,
    connections: Arc<Semaphore>,
    activity: Arc<Activity>,
}

impl Server {
    /// Listens at an address.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let connections = Arc::new(Semaphore::new(options.connections_max));
        let activity = Activity::new(Arc::clone(&connections), options.connections_max);
        Ok(Self { listener, options, tls: None, connections, activity: Arc::new(activity) })
    }

    /// The same with connections encrypted, if there is TLS.
    #[must_use]
    pub fn secured(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// The address that it got: the port, if the one asked for was 0.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Counts its requests.
    #[must_use]
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// `endpoint` with the requests of this server counted. The observer gets to know each answer.
    pub fn service<E: Endpoint<Output = Response>>(&self, endpoint: E, observer: Observer) -> Arc<Service<E>> {
        Arc::new(Service::new(endpoint, observer, Arc::clone(&self.activity)))
    }

    /// Serves requests until `stop` says so; then accepts nothing more, and waits for requests in work. To bound that wait,
    /// drop the future.
    pub async fn run<E: Endpoint<Output = Response> + 'static>(
        self,
        service: Arc<Service<E>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_timeout)
            // A client that has sent its request may close its side and wait for the answer (RFC 9112, section 8). One that is
            // gone is found out by the next write: tails and exports are never silent for long.
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            // Not `pipeline_flush`: with it the answer to a head that cannot be parsed is never flushed.
            .max_headers(HEADERS_MAX);
        let local = match self.address() {
            Ok(address) => LocalAddr(address.into()),
            Err(error) => {
                tracing::error!(%error, "the listening socket is gone");
                return;
            }
        };
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.accept() => accepted,
            };
            let (stream, remote, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = Connection {
                stream,
                remote,
                local: local.clone(),
                tls: self.tls.clone(),
                write_timeout: self.options.write_timeout,
            };
            let (service, builder, watcher) = (Arc::clone(&service), builder.clone(), graceful.watcher());
            tokio::spawn(async move {
                // Clients go away, and some do not speak HTTP.
                if let Err(error) = connection.serve(service, &builder, watcher).await {
                    tracing::debug!(%error, %remote, "connection ended");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        graceful.shutdown().await;
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, remote) = self.listener.accept().await?;
        prepare(&stream)?;
        Ok((stream, remote, permit))
    }
}

/// Sets the options of a socket that was accepted. Silence beyond the probes means that the peer is gone without a word: the
/// operating system then ends the connection.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers are small, and clients wait for them.
    stream.set_nodelay(true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, PROBES_MAX)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// A connection that was accepted.
struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    local: LocalAddr,
    tls: Option<Arc<Tls>>,
    write_timeout: Duration,
}

impl Connection {
    /// Answers its requests until it ends.
    async fn serve<E: Endpoint<Output = Response> + 'static>(
        self,
        service: Arc<Service<E>>,
        builder: &http1::Builder,
        watcher: Watcher,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Self { stream, remote, local, tls, write_timeout } = self;
        let transport = secure(tls.as_deref(), stream, Protocol::Http1).await?;
        let scheme = if transport.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        let stream = TimeoutStream::new(transport, write_timeout);
        let requests = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let requests = Arc::clone(&service);
            let mut request = Request::from((request, local.clone(), RemoteAddr(remote.into()), scheme.clone()));
            let body = ReplayableBody::new(request.take_body().into());
            request.set_body(Body::from(BoxBody::new(body.clone())));
            async move {
                let response = requests.call(request).await;
                if !body.is_end_stream() {
                    tokio::spawn(body.discard());
                }
                Ok::<_, Infallible>(hyper::Response::from(response))
            }
        });
        Ok(watcher.watch(builder.serve_connection(TokioIo::new(stream), requests)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_probed_while_they_are_silent() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(address, ServerOptions::default()).await.expect("an address");
        let _client = TcpStream::connect(server.address().expect("an address")).await.expect("a connection");
        let (stream, _, _permit) = server.accept().await.expect("the connection");
        assert_eq!(sockopt::socket_keepalive(&stream).ok(), Some(true));
        assert_eq!(sockopt::tcp_keepidle(&stream).ok(), Some(PROBE_AFTER));
    }
}
