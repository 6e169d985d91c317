//! Accepting connections.
//!
//! Our own loop over hyper, because poem's server has neither a time limit for request heads nor a limit on
//! connections, spins when it runs out of file descriptors, and leaves Nagle's algorithm on.
//!
//! Every request has an id, the client's own or one made here, which is on its answer and on its line in the log.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::trace_parent::TraceParent;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as HttpBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Endpoint, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::body::KeptBody;
use crate::connection::Impatient;
use crate::problem::Described;

/// What a server tells about each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status code.
    pub status: u16,
    /// From the end of the request's head to the beginning of the answer.
    pub duration: Duration,
}

/// Gets to know each answer.
pub type Observer = Arc<dyn Fn(Answered) + Send + Sync>;

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
/// Whoever only looks, such as a probe or a gateway, has nothing in work here.
const ACTUATOR: &str = "/actuator/";
/// Names a request in logs.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trace that a request belongs to (W3C Trace Context, section 3.2).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest name that a client can give to a request, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long to wait when the operating system cannot accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens, not yet served.
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    connections: Arc<Semaphore>,
    activity: Arc<Activity>,
}

/// Requests and connections of a server.
#[derive(Debug)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    connections: Arc<Semaphore>,
    connections_max: usize,
}

impl Activity {
    /// Requests begun since the start, and requests in work now, but for those to `/actuator`.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun, begun.saturating_sub(ended))
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections_max.saturating_sub(self.connections.available_permits())
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
        let connections = Arc::new(Semaphore::new(options.connections_max));
        let activity = Activity {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            connections: Arc::clone(&connections),
            connections_max: options.connections_max,
        };
        Ok(Self { listener, options, connections, activity: Arc::new(activity) })
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
    pub async fn run(
        self,
        endpoint: impl Endpoint<Output = Response> + 'static,
        observer: Observer,
        mut stop: watch::Receiver<bool>,
    ) {
        let endpoint = Arc::new(endpoint);
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_timeout)
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
            let (endpoint, local, activity) = (Arc::clone(&endpoint), local.clone(), Arc::clone(&self.activity));
            let observer = Arc::clone(&observer);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (endpoint, observer) = (Arc::clone(&endpoint), Arc::clone(&observer));
                let in_work = (!request.uri().path().starts_with(ACTUATOR)).then(|| activity.begin());
                let mut request = Request::from((request, local.clone(), RemoteAddr(remote.into()), Scheme::HTTP));
                let body = KeptBody::new(request.take_body().into());
                request.set_body(Body::from(BoxBody::new(body.clone())));
                async move {
                    let response = answer(endpoint.as_ref(), request, &observer).await;
                    drop(in_work);
                    if !body.is_end_stream() {
                        tokio::spawn(body.discard());
                    }
                    Ok::<_, Infallible>(hyper::Response::from(response))
                }
            });
            let stream = TokioIo::new(Impatient::new(stream, self.options.write_timeout));
            let connection = graceful.watch(builder.serve_connection(stream, service));
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

/// Answers a request under its id, and tells the observer and the log.
async fn answer(endpoint: &impl Endpoint<Output = Response>, mut request: Request, observer: &Observer) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let traceparent = trace_parent(request.headers()).map(tracing::field::debug);
    let mut response = endpoint.get_response(request).await;
    let answered = Answered { status: response.status().as_u16(), duration: began.elapsed() };
    let (status, request_id) = (answered.status, id.to_str().unwrap_or_default());
    match response.extensions_mut().remove() {
        // What a client can do to us in any number must not fill the log.
        Some(Described { code, detail }) if matches!(status, 500 | 502 | 504) => {
            tracing::warn!(status, code, detail, %method, path, request_id, traceparent, "request failed");
        }
        Some(Described { code, detail }) => {
            tracing::debug!(status, code, detail, %method, path, request_id, traceparent, "request failed");
        }
        None => tracing::debug!(status, %method, path, request_id, traceparent, "request answered"),
    }
    response.headers_mut().insert(X_REQUEST_ID, id);
    observer(answered);
    response
}

/// The trace that a request belongs to.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(TRACE_PARENT).and_then(|value| TraceParent::parse(value.as_bytes()))
}

#[expect(clippy::disallowed_methods, reason = "names a line in the log, not an event")]
fn new_request_id() -> Uuid {
    Uuid::now_v7()
}

/// The id that the client gave, if it is short and visible, or else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers
        .get(X_REQUEST_ID)
        .filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
    given.cloned().unwrap_or_else(|| {
        let id = new_request_id().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_the_id_that_it_came_with_unless_it_is_unfit_for_a_log() {
        let id = |given: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).expect("a header"));
            request_id(&headers)
        };
        assert_eq!(id(b"abc-1"), "abc-1");
        assert_eq!(id(&[b'x'; 128]).as_bytes(), [b'x'; 128]);
        for unfit in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(id(unfit).len(), 36, "{unfit:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
