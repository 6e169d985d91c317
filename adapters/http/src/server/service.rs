//! An endpoint with what every request gets: an id, a count, and a line in the log.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::trace_parent::TraceParent;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use tokio::sync::Semaphore;

use crate::error::{ApiError, Described};
use crate::server::request_id::{X_REQUEST_ID, request_id};

/// A probe, a scraper or a gateway that checks has no request in work here.
const ACTUATOR: &str = "/actuator/";
/// The trace that a request belongs to (W3C Trace Context, section 3.2).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

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

/// Requests and connections of a server.
#[derive(Debug)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    connections: Arc<Semaphore>,
    connections_max: usize,
}

impl Activity {
    /// Nothing yet, of a server with these permits for connections.
    pub(super) fn new(connections: Arc<Semaphore>, connections_max: usize) -> Self {
        Self { begun: AtomicU64::new(0), ended: AtomicU64::new(0), connections, connections_max }
    }

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

/// Answers requests, and counts them.
pub struct Service<E> {
    endpoint: E,
    observer: Observer,
    activity: Arc<Activity>,
}

/// A role of this process, for callers in the same process.
pub trait LocalService: Send + Sync {
    /// Answers a request as the role's server would: it counts as a request in work.
    fn answer<'a>(&'a self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + 'a>>;
}

impl<E: Endpoint<Output = Response>> LocalService for Service<E> {
    fn answer<'a>(&'a self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + 'a>> {
        Box::pin(self.call(request))
    }
}

impl<E: Endpoint<Output = Response>> Service<E> {
    /// Counts the requests of `endpoint` as `activity`.
    pub(super) fn new(endpoint: E, observer: Observer, activity: Arc<Activity>) -> Self {
        Self { endpoint, observer, activity }
    }

    /// Answers a request under its id, and tells the observer and the log.
    pub(super) async fn call(&self, mut request: Request) -> Response {
        let began = Instant::now();
        let _in_work = (!request.uri().path().starts_with(ACTUATOR)).then(|| self.activity.begin());
        let id = request_id(request.headers());
        request.headers_mut().insert(X_REQUEST_ID, id.clone());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let traceparent = trace_parent(request.headers()).map(tracing::field::debug);
        let mut response = match check_head(&request) {
            Ok(()) => self.endpoint.get_response(request).await,
            Err(error) => error.into_response(),
        };
        let answered = Answered { status: response.status().as_u16(), duration: began.elapsed() };
        let (status, request_id) = (answered.status, id.to_str().unwrap_or_default());
        match response.extensions_mut().remove() {
            // What clients can cause in any number must not fill the log.
            Some(Described { code, detail }) if matches!(status, 500 | 502 | 504) => {
                tracing::warn!(status, code, detail, %method, path, request_id, traceparent, "request failed");
            }
            Some(Described { code, detail }) => {
                tracing::debug!(status, code, detail, %method, path, request_id, traceparent, "request failed");
            }
            None => tracing::debug!(status, %method, path, request_id, traceparent, "request answered"),
        }
        response.headers_mut().insert(X_REQUEST_ID, id);
        // What is in an answer depends on the key, and on the moment. A file that may be kept says so itself.
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        (self.observer)(answered);
        response
    }
}

/// Refuses a request that recipients may understand in different ways: without `Host` or with several (RFC 9112, section
/// 3.2), or with a transfer coding that is not undone (section 6.1).
fn check_head(request: &Request) -> Result<(), ApiError> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let may_omit = request.version() != Version::HTTP_11;
    if hosts > 1 || (hosts == 0 && !may_omit) {
        return Err(ApiError::InvalidHost);
    }
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(ApiError::UnsupportedTransferCoding),
    }
}

/// The trace that a request belongs to.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(TRACE_PARENT).and_then(|value| TraceParent::parse(value.as_bytes()))
}
