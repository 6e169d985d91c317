//! Requests on their way to an instance, and answers on their way back.
//!
//! Bodies are streamed both ways, at the pace of the reader. Tried on another instance is only what no instance has read, and
//! what changes nothing.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use application::health::Health;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use poem::{Body, IntoResponse, Request, Response};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::access::X_API_KEY;
use crate::access::origin::SEC_FETCH_SITE;
use crate::body::ReplayableBody;
use crate::client_address::{ForwardedClient, TrustedProxies, X_FORWARDED_FOR, peer_address};
use crate::error::ApiError;
use crate::gateway::balancing::Check;
use crate::gateway::failure::Failure;
use crate::gateway::instances::{Instance, Upstreams};
use crate::ingest::agents::HELD;
use crate::query::event_stream::EVENT_STREAM;
use crate::server::{LocalService, PROBE_AFTER, PROBE_INTERVAL, PROBES_MAX, X_REQUEST_ID};
use crate::tls::{Connector, UpstreamTls};

/// Longest time for a connection to an instance.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the head of an answer: more than a producer waits for a promise, so that its own answer
/// gets through.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Longest wait for an instance to say that it is ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for all of what an instance tells about itself: it waits a second for its store itself.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Most bytes of what an instance tells about itself.
const ASKED_BYTES_MAX: usize = 128 * 1024;
/// How long an idle connection is kept: less than a server keeps it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// Most instances that a request is tried on.
const TRIES_MAX: usize = 5;
/// Most idle connections to one instance.
const IDLE_CONNECTIONS_MAX: usize = 512;

/// Longest silence within an answer. Exports and tails break theirs more often
/// ([`crate::query::blocks::SILENCE_MAX`]), all other answers are complete when they begin.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Most bytes of an answer that are read ahead of a slow client.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of a request with which an instance is asked about itself: who asks.
const ASKED_WITH: [HeaderName; 5] = [header::AUTHORIZATION, X_API_KEY, header::COOKIE, X_FORWARDED_FOR, X_REQUEST_ID];

/// Why an instance tells nothing about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It does not answer.
    #[error("{0}")]
    Failed(Failure),
    /// It takes too long.
    #[error("it does not answer within 1.5 s")]
    TimedOut,
    /// It refuses the credentials, with this status.
    #[error("it refuses the key of this request ({0}): give all roles the same AUTH__KEYS_FILE")]
    Refused(StatusCode),
    /// It answers with another status than 200.
    #[error("it answers with {0}: check whether it runs the same version")]
    Status(StatusCode),
    /// Its answer is longer than it may be.
    #[error("its answer is longer than 128 KiB")]
    TooLong,
    /// Its answer is not understood.
    #[error("its answer is not understood: check whether it runs the same version")]
    Unreadable,
}

/// Sends requests on.
pub struct Forwarder {
    client: Client<Connector, ReplayableBody>,
    connector: Connector,
    trusted_proxies: TrustedProxies,
}

impl Forwarder {
    /// A forwarder that believes `trusted_proxies` when they name a client, with this TLS to instances.
    pub fn new(trusted_proxies: TrustedProxies, tls: Option<Arc<UpstreamTls>>) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(PROBE_AFTER));
        http.set_keepalive_interval(Some(PROBE_INTERVAL));
        http.set_keepalive_retries(Some(PROBES_MAX));
        let connector = Connector::new(http, tls);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(BUFFER_BYTES_MAX)
            .build(connector.clone());
        Self { client, connector, trusted_proxies }
    }

    /// The proxies that it believes when they name a client.
    pub fn trusted_proxies(&self) -> &TrustedProxies {
        &self.trusted_proxies
    }

    /// Answers a request that comes to a service of this process. Its client travels as a value: a header could be forged by
    /// any peer of the loopback interface.
    pub async fn pass_on(&self, service: &dyn LocalService, mut request: Request) -> Response {
        let client = self.trusted_proxies.client(peer_address(request.remote_addr()), request.headers());
        request.extensions_mut().insert(ForwardedClient(client));
        let mut response = service.answer(request).await;
        response.headers_mut().remove(HELD);
        response
    }

    /// Answers a request with what one of the instances answers.
    pub async fn forward(&self, upstreams: &Upstreams, request: Request, health: &Health) -> Response {
        let peer = peer_address(request.remote_addr());
        let (parts, body) = request.into_parts();
        let headers = self.forwarded_headers(parts.headers, peer);
        let body = ReplayableBody::new(body.into());
        let has_no_body = body.is_end_stream();
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_safe = parts.method.is_safe();
        let (mut tried, mut unreachable) = (Vec::new(), true);
        while tried.len() < TRIES_MAX
            && let Some(instance) = upstreams.choose(&tried).await
        {
            tried.push(instance.address);
            let request = self.upstream_request(&parts.method, &instance, &path, &headers, body.clone());
            let Some(request) = request else { continue };
            let (under_way, began) = (instance.begin(), Instant::now());
            match timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
                Ok(Ok(answer)) => {
                    // A client that takes its time to send says nothing about the instance, nor does a request of an
                    // agent that the instance held before it read the body.
                    let complete = body.last_read().unwrap_or(began).max(began + held(answer.headers()));
                    under_way.answered(complete.elapsed(), !answer.status().is_server_error());
                    return answer_of(answer, health);
                }
                Ok(Err(_)) if body.is_broken() => return ApiError::broken_off().into_response(),
                Ok(Err(error)) => {
                    let failure = Failure::of(&error);
                    under_way.failed(failure);
                    let address = instance.address;
                    // A body that was read in part cannot be sent again.
                    let is_whole = has_no_body || !body.was_touched();
                    if is_whole && (is_safe || failure.is_before_request()) {
                        tracing::debug!(%address, %error, "no answer from an instance, trying another");
                        unreachable &= failure.is_before_request();
                    } else if failure.is_before_request() {
                        return ApiError::UpstreamUnreachable.into_response();
                    } else {
                        tracing::warn!(%address, %error, reason = %failure, "an instance broke off");
                        return ApiError::UpstreamFailed { is_safe }.into_response();
                    }
                }
                Err(_) => {
                    under_way.failed(Failure::TimedOut);
                    tracing::warn!(address = %instance.address, "an instance does not answer");
                    return ApiError::UpstreamTimeout { is_safe }.into_response();
                }
            }
        }
        if unreachable { ApiError::UpstreamUnreachable } else { ApiError::UpstreamFailed { is_safe } }.into_response()
    }

    /// What an instance gets to see: nothing that concerned the client's connection only, and a client address
    /// that it can believe.
    fn forwarded_headers(&self, mut headers: HeaderMap, peer: IpAddr) -> HeaderMap {
        remove_hop_by_hop(&mut headers);
        // The instance has a name of its own, to which an origin could not be compared. Where the request comes from was
        // judged here.
        for name in [header::HOST, header::ORIGIN, SEC_FETCH_SITE] {
            headers.remove(name);
        }
        if !self.trusted_proxies.trusts(peer) {
            headers.remove(X_FORWARDED_FOR);
        }
        if let Ok(peer) = HeaderValue::from_str(&peer.to_canonical().to_string()) {
            headers.append(X_FORWARDED_FOR, peer);
        }
        headers
    }

    fn upstream_request(
        &self,
        method: &Method,
        instance: &Instance,
        path: &PathAndQuery,
        headers: &HeaderMap,
        body: ReplayableBody,
    ) -> Option<hyper::Request<ReplayableBody>> {
        let (scheme, authority) = (instance.scheme(), instance.authority.clone());
        if let Some(name) = &instance.name {
            self.connector.note(&authority, name);
        }
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path.clone()).build().ok()?;
        let mut request = hyper::Request::builder().method(method.clone()).uri(uri).body(body).ok()?;
        request.headers_mut().clone_from(headers);
        if let Some(host) = &instance.host {
            request.headers_mut().insert(header::HOST, host.clone());
        }
        Some(request)
    }

    /// Who asks, as an instance gets to see it.
    pub fn headers_to_ask_with(&self, headers: &HeaderMap, peer: IpAddr) -> HeaderMap {
        let forwarded = self.forwarded_headers(headers.clone(), peer);
        let mut kept = HeaderMap::new();
        for name in ASKED_WITH {
            for value in forwarded.get_all(&name) {
                kept.append(name.clone(), value.clone());
            }
        }
        kept
    }

    /// What an instance answers at this path to a request with these headers. It counts as no request: what the instance
    /// tells about itself says nothing about how it answers others.
    ///
    /// # Errors
    /// It does not answer as it should.
    pub async fn ask(&self, instance: &Instance, path: &'static str, headers: &HeaderMap) -> Result<Bytes, AskError> {
        let body = ReplayableBody::new(Body::empty().into());
        let request = self.upstream_request(&Method::GET, instance, &PathAndQuery::from_static(path), headers, body);
        let Some(request) = request else { return Err(AskError::Failed(Failure::NoConnection)) };
        let answered = async {
            let answer = self.client.request(request).await.map_err(|error| AskError::Failed(Failure::of(&error)))?;
            match answer.status() {
                StatusCode::OK => {}
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) => {
                    return Err(AskError::Refused(status));
                }
                status => return Err(AskError::Status(status)),
            }
            let body = Limited::new(answer.into_body(), ASKED_BYTES_MAX).collect().await;
            let broken_off = AskError::Failed(Failure::BrokenOff);
            body.map(|body| body.to_bytes())
                .map_err(|error| if error.is::<LengthLimitError>() { AskError::TooLong } else { broken_off })
        };
        timeout(ASK_TIMEOUT, answered).await.unwrap_or(Err(AskError::TimedOut))
    }

    /// Asks an instance whether it is ready.
    pub async fn check(&self, instance: &Instance) -> Check {
        let path = PathAndQuery::from_static("/actuator/health/readiness");
        let body = ReplayableBody::new(Body::empty().into());
        let Some(request) = self.upstream_request(&Method::GET, instance, &path, &HeaderMap::new(), body) else {
            return Check::Failed(Failure::NoConnection);
        };
        match timeout(CHECK_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Check::Ready,
            Ok(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => Check::Unready,
            Ok(Ok(answer)) => Check::Failed(Failure::Status(answer.status())),
            Ok(Err(error)) => Check::Failed(Failure::of(&error)),
            Err(_) => Check::Failed(Failure::TimedOut),
        }
    }
}

/// How long an instance held a request of an agent, as it says.
fn held(headers: &HeaderMap) -> Duration {
    let millis = headers.get(HELD).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u32>().ok());
    Duration::from_millis(millis.unwrap_or_default().into())
}

fn answer_of(answer: hyper::Response<Incoming>, health: &Health) -> Response {
    let (mut parts, body) = answer.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(HELD);
    let body = NotSilent { body, silence: None }.boxed();
    // A stream without an end ends with this process; its reader resumes elsewhere.
    let endless = parts.headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == EVENT_STREAM);
    let body = if endless { BoxBody::new(Until { body, stop: Box::pin(health.draining()) }) } else { body };
    let mut response = Response::builder().status(parts.status).body(Body::from(body));
    *response.headers_mut() = parts.headers;
    response
}

/// A body that fails after a long silence: the host of the instance may be gone, and the client would wait without end.
struct NotSilent<B> {
    body: B,
    /// How long the body may still be silent; `None` if it is not.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B: HttpBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin> HttpBody for NotSilent<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE_MAX)));
        ready!(silence.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the instance is silent"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that ends early when it is told to.
struct Until {
    body: BoxBody<Bytes, io::Error>,
    stop: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // Done futures are not polled again: after the end they are not asked.
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body with one block, which neither ends nor goes on.
    struct Stalled(Option<Bytes>);

    impl HttpBody for Stalled {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            self.0.take().map_or(Poll::Pending, |block| Poll::Ready(Some(Ok(Frame::data(block)))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_in_the_middle_fails() {
        let mut body = NotSilent { body: Stalled(Some(Bytes::from_static(b"part"))), silence: None };
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().ok(), Some(Bytes::from_static(b"part")));
        let began = Instant::now();
        let error = timeout(SILENCE_MAX * 2, body.frame()).await.expect("it ends").expect("an error").err();
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        assert!(began.elapsed() >= SILENCE_MAX);
    }

    #[test]
    fn an_instance_sees_a_client_that_it_can_believe_and_no_header_of_the_other_connection() {
        let headers = |forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_FORWARDED_FOR, forwarded.parse().expect("a header"));
            headers.insert(header::CONNECTION, "close, x-private".parse().expect("a header"));
            headers.insert("x-private", "1".parse().expect("a header"));
            headers.insert("x-kept", "1".parse().expect("a header"));
            headers.insert(header::ORIGIN, "http://192.0.2.9:8080".parse().expect("a header"));
            headers.insert(SEC_FETCH_SITE, "same-origin".parse().expect("a header"));
            headers.insert(header::TRANSFER_ENCODING, "chunked".parse().expect("a header"));
            headers
        };
        let forwarded = |trusted: &[&str]| {
            let trusted: Vec<ipnet::IpNet> =
                trusted.iter().map(|network| network.parse().expect("a network")).collect();
            Forwarder::new(trusted.into(), None)
                .forwarded_headers(headers("198.51.100.1"), "192.0.2.1".parse().expect("an address"))
        };
        let hops = |headers: &HeaderMap| {
            headers.get_all(X_FORWARDED_FOR).iter().map(|v| v.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hops(&forwarded(&[])), ["192.0.2.1"]);
        assert_eq!(hops(&forwarded(&["192.0.2.0/24"])), ["198.51.100.1", "192.0.2.1"]);
        let headers = forwarded(&[]);
        assert!(headers.contains_key("x-kept"));
        for gone in ["connection", "x-private", "transfer-encoding", "origin", "sec-fetch-site"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }
}
