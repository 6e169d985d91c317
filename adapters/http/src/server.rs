//! Accepting connections.
//!
//! Our own loop over hyper, because poem's server has neither a time limit for request heads nor a limit on
//! connections, spins when it runs out of file descriptors, and leaves Nagle's algorithm on.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use hyper::body::Body as HttpBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Endpoint, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::body::KeptBody;

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Most connections at a time; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// Longest time for a request head to arrive, and for a kept connection to stay idle.
    pub head_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { connections_max: 10_000, head_timeout: Duration::from_secs(10) }
    }
}

/// Most bytes of a request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long to wait when the operating system cannot accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens, not yet served.
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    connections: Arc<Semaphore>,
    activity: Arc<Activity>,
}

/// Requests of a server.
#[derive(Debug, Default)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// Requests begun since the start, and requests in work now.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun, begun.saturating_sub(ended))
    }

    fn begin(self: &Arc<Self>) -> InWork {
        self.begun.fetch_add(1, Ordering::AcqRel);
        InWork(Arc::clone(self))
    }
}

/// A request in work: over when dropped, however it ends.
struct InWork(Arc<Activity>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

impl Server {
    /// Listens at an address.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            listener,
            options,
            connections: Arc::new(Semaphore::new(options.connections_max)),
            activity: Arc::default(),
        })
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

    /// Serves `endpoint` until `stop` says so; then accepts nothing more, and waits for requests in work. To
    /// bound that wait, drop the future.
    pub async fn run(self, endpoint: impl Endpoint<Output = Response> + 'static, mut stop: watch::Receiver<bool>) {
        let endpoint = Arc::new(endpoint);
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .pipeline_flush(true);
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
            let (endpoint, local, activity) = (Arc::clone(&endpoint), local.clone(), Arc::clone(&self.activity));
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (endpoint, in_work) = (Arc::clone(&endpoint), activity.begin());
                let mut request = Request::from((request, local.clone(), RemoteAddr(remote.into()), Scheme::HTTP));
                let body = KeptBody::new(request.take_body().into());
                request.set_body(Body::from(BoxBody::new(body.clone())));
                async move {
                    let response = endpoint.get_response(request).await;
                    drop(in_work);
                    if !body.is_end_stream() {
                        tokio::spawn(body.discard());
                    }
                    Ok::<_, Infallible>(hyper::Response::from(response))
                }
            });
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // A client that goes away, or sends what is not HTTP, is no news.
                if let Err(error) = connection.await {
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
        // Answers are small, and clients wait for them.
        stream.set_nodelay(true)?;
        Ok((stream, remote, permit))
    }
}
