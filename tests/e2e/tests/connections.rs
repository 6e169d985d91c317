//! What a server owes to a connection: an answer to a client that has closed its side, none to a request that others may
//! understand differently, and no slot for a client that is gone.

#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use e2e::{Program, Tail, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;
const DEADLINE: Duration = Duration::from_secs(30);
/// Tails of an instance.
const TAILS_MAX: usize = 64;

/// Sends a request, closes the sending side, and returns the first line of the answer.
async fn answer_after_half_close(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half-closed");
    first_line(stream).await
}

async fn first_line(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the server ends the connection");
    read.expect("an answer");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

fn post(head: &str, body: &str) -> String {
    format!("POST /api/logs HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n{head}\r\n{body}")
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_the_request_gets_the_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let request = post(&format!("Host: localhost\r\nContent-Length: {}\r\n", EVENT.len()), EVENT);
    for http in [&program.gateway, &program.producer] {
        for _ in 0..10 {
            assert_eq!(answer_after_half_close(http.address(), &request).await, "HTTP/1.1 202 Accepted");
        }
    }
    let query = "GET /api/logs?limit=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for http in [&program.gateway, &program.consumer] {
        assert_eq!(answer_after_half_close(http.address(), query).await, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn a_tail_whose_client_is_gone_frees_its_place() {
    for role in ["consumer", "gateway"] {
        let directory = tempfile::tempdir().expect("a directory");
        let program = Program::start(BINARY, directory.path(), &[]).await;
        let http = if role == "consumer" { &program.consumer } else { &program.gateway };
        let mut tails = Vec::new();
        for _ in 0..TAILS_MAX {
            tails.push(Tail::open(http, "", None).await);
        }
        assert_eq!(http.get("/api/logs/tail").await.json()["code"], "too_many_tails");
        drop(tails);
        wait_until("the places are free", async || {
            let mut stream = TcpStream::connect(http.address()).await.expect("a connection");
            let request = b"GET /api/logs/tail HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.expect("sent");
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.expect("an answer");
            &begin == b"HTTP/1.1 200"
        })
        .await;
    }
}

#[tokio::test]
async fn requests_that_others_may_understand_differently_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let length = format!("Content-Length: {}\r\n", EVENT.len());
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    for http in [&program.gateway, &program.producer, &program.consumer] {
        for (head, body, expected) in [
            (length.clone(), EVENT, "HTTP/1.1 400 Bad Request"),
            (format!("Host: a\r\nHost: b\r\n{length}"), EVENT, "HTTP/1.1 400 Bad Request"),
            (
                "Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n".to_owned(),
                chunked.as_str(),
                "HTTP/1.1 501 Not Implemented",
            ),
        ] {
            let mut stream = TcpStream::connect(http.address()).await.expect("a connection");
            stream.write_all(post(&head, body).as_bytes()).await.expect("sent");
            assert_eq!(first_line(stream).await, expected, "{head}");
        }
    }
    let old = format!(
        "POST /api/logs HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    );
    let mut stream = TcpStream::connect(program.gateway.address()).await.expect("a connection");
    stream.write_all(old.as_bytes()).await.expect("sent");
    assert_eq!(first_line(stream).await, "HTTP/1.0 202 Accepted", "HTTP/1.0 may omit Host");
}

#[tokio::test]
async fn a_person_finds_the_documentation() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    for (http, page) in
        [(&program.gateway, "/console/"), (&program.producer, "/swagger-ui"), (&program.consumer, "/swagger-ui")]
    {
        let browser = http.send("GET", "/", &[("accept", "text/html,*/*")], "").await;
        assert_eq!((browser.status, browser.header("location")), (307, page));
        assert_eq!(http.get("/").await.json()["documentation"], "/swagger-ui");
        assert_eq!(http.get("/swagger-ui/").await.status, 200);
    }
}
