//! A webhook for a test: it holds each request until the test answers it.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::DEADLINE;

/// The webhook; it ends with the runtime of the test.
pub struct Webhook {
    /// Its URL.
    pub url: String,
    requests: UnboundedReceiver<Request>,
}

/// A request that waits for its answer.
pub struct Request {
    /// Its body.
    pub body: Value,
    answer: oneshot::Sender<u16>,
}

impl Webhook {
    /// Starts listening.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
        let (tell, requests) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, tell.clone()));
            }
        });
        Self { url, requests }
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        timeout(DEADLINE, self.requests.recv()).await.expect("a request in time").expect("the webhook runs")
    }
}

impl Request {
    /// Answers with this status.
    pub fn answer(self, status: u16) {
        // The client may have given up.
        let _ = self.answer.send(status);
    }
}

async fn serve(connection: TcpStream, tell: UnboundedSender<Request>) -> Option<()> {
    let mut connection = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if connection.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = head.get(start..)?.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    let (answer, answered) = oneshot::channel();
    tell.send(Request { body: serde_json::from_slice(&body).ok()?, answer }).ok()?;
    let status = answered.await.ok()?;
    let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    connection.write_all(answer.as_bytes()).await.ok()
}
