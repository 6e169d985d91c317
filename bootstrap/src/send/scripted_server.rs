//! A server on a real socket that sends scripted replies, one per request, and records the requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How a request is handled.
#[derive(Clone)]
pub enum Reply {
    /// An answer: status, `Retry-After` in seconds, body.
    Answer(u16, Option<u64>, String),
    /// The connection is closed without an answer.
    HangUp,
    /// The connection stays open without an answer.
    Silence,
}

impl Reply {
    /// An answer.
    pub fn new(status: u16, body: String) -> Self {
        Self::Answer(status, None, body)
    }

    /// The same answer with `Retry-After`.
    pub fn retry_after(self, seconds: u64) -> Self {
        match self {
            Self::Answer(status, _, body) => Self::Answer(status, Some(seconds), body),
            other => other,
        }
    }
}

/// The server; it ends with the runtime of the test.
pub struct ScriptedServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    received: Arc<Notify>,
}

/// The head and the body of a request.
type Recorded = (String, String);

impl ScriptedServer {
    /// Starts a server that closes the connection when it has no replies left.
    pub async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Recorded>>>::default());
        let (kept, replies) = (Arc::clone(&requests), Arc::new(Mutex::new(VecDeque::from(replies))));
        let received = Arc::new(Notify::new());
        let notify = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&replies), Arc::clone(&kept), Arc::clone(&notify)));
            }
        });
        Self { address, requests, received }
    }

    /// Waits until a request has arrived since the last call.
    pub async fn received(&self) {
        self.received.notified().await;
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(head, _)| head.clone()).collect()
    }
}

/// Serves one connection until either side closes it.
async fn serve(
    stream: TcpStream,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<Recorded>>>,
    received: Arc<Notify>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        received.notify_one();
        let reply = replies.lock().unwrap().pop_front();
        let (status, retry_after, body) = match reply {
            Some(Reply::Answer(status, retry_after, body)) => (status, retry_after, body),
            Some(Reply::Silence) => std::future::pending().await,
            Some(Reply::HangUp) | None => return,
        };
        let retry_after = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let answer = format!("HTTP/1.1 {status} X\r\n{retry_after}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    assert!(head.starts_with("POST /api/logs/batch ") && head.contains("application/x-ndjson"), "{head}");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}
