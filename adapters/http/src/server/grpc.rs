//! gRPC for one operation: OTLP logs (github.com/grpc/grpc, `doc/PROTOCOL-HTTP2.md`).
//!
//! A call becomes the HTTP request that has the same message as its body, and the answer to that becomes the answer to the
//! call. So limits, holding, metrics and the log are those of `POST /v1/logs`, and no gRPC library is needed.
//!
//! Bounds beside those of all requests: connections of each client and of all, streams of a connection, resets that a client causes, headers, and
//! what a client may send before it is read. A connection that does not begin, or does not answer a ping, is closed.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use application::connections::ConnectionLimit;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Request, RequestParts};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::ingest::agents::{status_message, status_with_retry};
use crate::server::connection::TimeoutStream;
use crate::server::{LocalService, prepare};
use crate::tls::{Protocol, Tls, secure};

/// The operation.
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Media type of calls and answers.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The encodings that a message may have.
const ENCODINGS: &str = "identity,gzip,deflate,zstd,snappy";
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Codes of answers (github.com/grpc/grpc, `doc/statuscodes.md`).
const OK: u8 = 0;
const INVALID_ARGUMENT: u8 = 3;
const PERMISSION_DENIED: u8 = 7;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Longest time for those to arrive.
const PREFIX_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes with which a client begins a connection (RFC 9113, section 3.4), and the longest time for them. Pings find out only
/// afterwards that a client is gone.
const PREFACE_BYTES: usize = 24;
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at a time; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 1_000;
/// Most calls of a connection at a time.
const STREAMS_MAX: u32 = 100;
/// Most streams that a client has reset and that are not handled yet.
const RESETS_MAX: usize = 20;
/// Most bytes of the headers of a call.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Most bytes that a client may send of the bodies of a connection, and of one call, before they are read. What hyper holds
/// then is in no budget for bodies: with the most connections it is 128 MiB.
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Most bytes of answers of a call that wait for a client. They are small.
const SEND_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How often a connection is pinged, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a client may take nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait when the operating system cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens for gRPC, not yet served.
pub struct GrpcServer {
    listener: TcpListener,
    limit: ConnectionLimit,
    tls: Option<Arc<Tls>>,
}

impl GrpcServer {
    /// Listens at an address, with this limit of connections for each client.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr, limit: ConnectionLimit) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limit, tls: None })
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

    /// Passes calls to a producer until `stop` says so; then accepts nothing more, and waits for calls in work.
    pub async fn run(self, producer: Arc<dyn LocalService>, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.accept(&permits) => accepted,
            };
            let (stream, remote, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for gRPC");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(counted) = self.limit.admit(remote.ip()) else { continue };
            let producer = Arc::clone(&producer);
            let calls = service_fn(move |call: hyper::Request<Incoming>| {
                let producer = Arc::clone(&producer);
                async move { Ok::<_, Infallible>(answer(producer.as_ref(), call, remote).await) }
            });
            let (tls, builder, watcher) = (self.tls.clone(), builder.clone(), graceful.watcher());
            tokio::spawn(async move {
                match secure(tls.as_deref(), stream, Protocol::Http2).await {
                    Ok(transport) => {
                        let stream = TimeoutStream::new(transport, WRITE_TIMEOUT);
                        let stream = TokioIo::new(stream.opening_with(PREFACE_BYTES, PREFACE_TIMEOUT));
                        if let Err(error) = watcher.watch(builder.serve_connection(stream, calls)).await {
                            tracing::debug!(%error, %remote, "a connection for gRPC ended");
                        }
                    }
                    Err(error) => tracing::debug!(%error, %remote, "no TLS with a client of gRPC"),
                }
                drop((permit, counted));
            });
        }
        drop(self.listener);
        graceful.shutdown().await;
    }

    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, remote) = self.listener.accept().await?;
        prepare(&stream)?;
        Ok((stream, remote, permit))
    }
}

/// Answers a call.
async fn answer(
    producer: &dyn LocalService,
    call: hyper::Request<Incoming>,
    remote: SocketAddr,
) -> hyper::Response<Answer> {
    let (mut parts, body) = call.into_parts();
    if parts.method != Method::POST || parts.uri.path() != EXPORT {
        return refused(UNIMPLEMENTED, "only the export of logs is supported");
    }
    let Ok(Some((is_compressed, message))) = timeout(PREFIX_TIMEOUT, Message::begin(body)).await else {
        return refused(INVALID_ARGUMENT, "the call has no message");
    };
    let encoding = parts.headers.remove(ENCODING).filter(|_| is_compressed);
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(encoding) = encoding {
        parts.headers.insert(header::CONTENT_ENCODING, encoding);
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    // The host that the call was sent to (RFC 9113, section 8.3.1), for access control.
    if let Some(host) = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        parts.headers.insert(header::HOST, host);
    }
    parts.uri = Uri::from_static("/v1/logs");
    parts.version = Version::HTTP_2;
    let parts = RequestParts::from((parts, LocalAddr::default(), RemoteAddr(remote.into()), Scheme::HTTP));
    let request = Request::from_parts(parts, Body::from(BoxBody::new(message)));
    let response = producer.answer(request).await;
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // Answers of this operation are small.
    let body = response.into_body().into_bytes().await.unwrap_or_default();
    if status.is_success() {
        return accepted(&body);
    }
    let (code, message) = (code_of(status), status_message(&body));
    match retry_after {
        Some(retry_after) => refused_for_now(code, &message, retry_after),
        None => refused(code, &message),
    }
}

/// `Retry-After`, as every answer has it after which a client may send again.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// The code for a status code. All clients send again after UNAVAILABLE. After RESOURCE_EXHAUSTED only those do that
/// read `RetryInfo`, so that a client over its limit gets UNAVAILABLE, too.
fn code_of(status: StatusCode) -> u8 {
    match status.as_u16() {
        // An encoding of messages that is not supported (grpc/grpc, `doc/compression.md`).
        415 => UNIMPLEMENTED,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        429 | 502..=504 => UNAVAILABLE,
        400..=499 => INVALID_ARGUMENT,
        _ => INTERNAL,
    }
}

/// The answer with a message.
fn accepted(message: &[u8]) -> hyper::Response<Answer> {
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.extend_from_slice(message);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(u16::from(OK)))]);
    let mut response = hyper::Response::new(Answer { data: Some(data.freeze()), trailers: Some(trailers) });
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// The answer without a message, whose status is in its head.
fn refused(code: u8, message: &str) -> hyper::Response<Answer> {
    let mut response = hyper::Response::new(Answer { data: None, trailers: None });
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(ENCODINGS));
    response.headers_mut().insert(STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        response.headers_mut().insert(MESSAGE, message);
    }
    response
}

/// The same with the time after which the client should send again, for those that read it: `google.rpc.RetryInfo`.
fn refused_for_now(code: u8, message: &str, retry_after: Duration) -> hyper::Response<Answer> {
    let mut response = refused(code, message);
    let details = STANDARD_NO_PAD.encode(status_with_retry(code, message, retry_after));
    if let Ok(details) = HeaderValue::from_str(&details) {
        response.headers_mut().insert(DETAILS, details);
    }
    response
}

/// A text as `grpc-message` carries it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing into memory does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The message of a call, without what stands in front of it.
struct Message {
    /// What came of it so far.
    first: Option<Bytes>,
    body: Incoming,
    /// Bytes that are missing.
    left: usize,
}

impl Message {
    /// Reads what stands in front of the message. Says whether it is compressed.
    async fn begin(mut body: Incoming) -> Option<(bool, Self)> {
        let mut read = BytesMut::new();
        while read.len() < PREFIX_BYTES {
            if let Ok(data) = body.frame().await?.ok()?.into_data() {
                read.extend_from_slice(&data);
            }
        }
        let first = read.split_off(PREFIX_BYTES).freeze();
        let [compressed, length @ ..] = *read.first_chunk::<PREFIX_BYTES>()?;
        let left = usize::try_from(u32::from_be_bytes(length)).ok()?;
        Some((compressed == 1, Self { first: Some(first), body, left }))
    }

    /// The part of the data that belongs to the message.
    fn part_of(&mut self, mut data: Bytes) -> Frame<Bytes> {
        data.truncate(self.left);
        self.left -= data.len();
        Frame::data(data)
    }
}

impl HttpBody for Message {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(self.part_of(first))));
        }
        // To the end of the stream, so that the client is not told that something of it was not read.
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if self.left > 0 => return Poll::Ready(Some(Ok(self.part_of(data)))),
                    _ => {}
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None if self.left > 0 => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// The body of an answer: a message if there is one, and the trailers.
struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.data.take().map(Frame::data);
        let frame = frame.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hyper::client::conn::http2::handshake;
    use poem::EndpointExt;
    use poem::Response;

    use super::*;
    use crate::server::{Server, ServerOptions};

    /// Calls a server whose producer answers so, and returns the producer's requests, and of the answer status and body.
    async fn call(path: &str, body: &[u8], status: u16, answer: &'static [u8]) -> (Vec<Vec<u8>>, String, Vec<u8>) {
        let (requests, head, status, body) = call_whole(path, body, (status, None), answer).await;
        assert!(!head.contains_key(DETAILS), "there is no Retry-After");
        (requests, status, body)
    }

    /// The same with a `Retry-After`, if there is to be one; also returns the head of the answer.
    async fn call_whole(
        path: &str,
        body: &[u8],
        (status, retry_after): (u16, Option<&'static str>),
        answer: &'static [u8],
    ) -> (Vec<Vec<u8>>, HeaderMap, String, Vec<u8>) {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let seen = Arc::clone(&requests);
        let endpoint = poem::endpoint::make(move |request: Request| {
            let seen = Arc::clone(&seen);
            async move {
                assert_eq!(request.uri().path(), "/v1/logs");
                let body = request.into_body().into_vec().await.expect("a whole body");
                seen.lock().expect("lock").push(body);
                let response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
                match retry_after {
                    Some(seconds) => response.header(header::RETRY_AFTER, seconds),
                    None => response,
                }
                .body(answer)
            }
        });
        let http = Server::bind(any_port, ServerOptions::default()).await.expect("an address");
        let producer = http.service(endpoint.map_to_response(), Arc::new(|_| {}));
        let server = GrpcServer::bind(any_port, ConnectionLimit::new("grpc", None)).await.expect("an address");
        let address = server.address().expect("an address");
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(producer, stopped));

        let stream = TokioIo::new(TcpStream::connect(address).await.expect("a connection"));
        let (mut client, connection) = handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let uri = format!("http://{address}{path}");
        let request = hyper::Request::builder().method(Method::POST).uri(uri).header(header::CONTENT_TYPE, GRPC);
        let body = http_body_util::Full::new(Bytes::copy_from_slice(body));
        let response = client.send_request(request.body(body).expect("a request")).await.expect("an answer");
        let head = response.headers().clone();
        let in_head = head.get(STATUS).cloned();
        let collected = response.into_body().collect().await.expect("a body");
        let status = in_head.or_else(|| collected.trailers()?.get(STATUS).cloned()).expect("a status");
        let requests = requests.lock().expect("lock").clone();
        (requests, head, status.to_str().expect("a number").to_owned(), collected.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_call_is_a_request_and_its_answer_an_answer() {
        let (requests, status, body) = call(EXPORT, b"\0\0\0\0\x03abc", 200, b"xy").await;
        assert_eq!((requests, status.as_str(), body.as_slice()), (vec![b"abc".to_vec()], "0", &b"\0\0\0\0\x02xy"[..]));
        let (_, status, body) = call(EXPORT, b"\0\0\0\0\0", 200, b"").await;
        assert_eq!((status.as_str(), body.as_slice()), ("0", &b"\0\0\0\0\0"[..]));
    }

    #[tokio::test]
    async fn errors_have_codes_after_which_clients_do_what_helps() {
        for (http, grpc) in [
            (400, "3"),
            (401, "16"),
            (403, "7"),
            (413, "3"),
            (415, "12"),
            (429, "14"),
            (503, "14"),
            (504, "14"),
            (500, "13"),
        ] {
            assert_eq!(call(EXPORT, b"\0\0\0\0\x01a", http, b"\x08\x03\x12\x02no").await.1, grpc, "{http}");
        }
        assert_eq!(call("/other", b"\0\0\0\0\x01a", 200, b"").await.1, "12");
        let (requests, status, _) = call(EXPORT, b"\0\0", 200, b"").await;
        assert_eq!((requests.len(), status.as_str()), (0, "3"));
    }

    #[tokio::test]
    async fn a_refusal_for_now_says_when_to_send_again() {
        for http in [429, 503] {
            let (_, head, status, _) =
                call_whole(EXPORT, b"\0\0\0\0\x01a", (http, Some("2")), b"\x08\x0e\x12\x02no").await;
            assert_eq!(status, "14", "{http}");
            let details = head.get(DETAILS).and_then(|details| STANDARD_NO_PAD.decode(details.as_bytes()).ok());
            let details = details.expect("details in base64");
            assert!(details.starts_with(b"\x08\x0e\x12\x02no\x1a"), "{details:?}");
            // RetryInfo with a Duration of two seconds.
            assert!(details.ends_with(b"google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x02"), "{details:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("a 100 %\né"), "a 100 %25%0A%C3%A9");
    }
}
