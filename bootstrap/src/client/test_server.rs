//! A server on a real socket that sends scripted replies, one per connection, and records the heads of the requests.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The server; it ends with the runtime of the test.
pub struct TestServer {
    /// Its base URL.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
    /// How many there are.
    count: watch::Receiver<usize>,
}

impl TestServer {
    /// Starts a server that closes connections without an answer when it has no replies left.
    pub async fn start(replies: Vec<String>) -> Self {
        Self::start_with(replies, false).await
    }

    /// Starts a server that keeps connections open without an answer when it has no replies left.
    pub async fn start_and_hold(replies: Vec<String>) -> Self {
        Self::start_with(replies, true).await
    }

    async fn start_with(replies: Vec<String>, holds: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let heads = Arc::clone(&requests);
        let (counted, count) = watch::channel(0);
        tokio::spawn(async move {
            let (mut replies, mut held) = (replies.into_iter(), Vec::new());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                // A connection that is closed with a part of the request unread loses the reply.
                let mut body = vec![0; content_length(&head)];
                let _ = stream.read_exact(&mut body).await;
                heads.lock().unwrap().push(head);
                counted.send_modify(|count| *count += 1);
                let reply = replies.next();
                if holds && reply.is_none() {
                    held.push(stream);
                    continue;
                }
                // The client may have closed the connection.
                let _ = stream.write_all(reply.unwrap_or_default().as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, requests, count }
    }

    /// Waits until so many requests have come.
    pub async fn wait_for_requests(&self, number: usize) {
        self.count.clone().wait_for(|count| *count >= number).await.unwrap();
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0)
}

/// An answer.
pub fn reply(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A stream of Server-Sent Events that ends after these.
pub fn stream(blocks: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{blocks}")
}
