//! Requests that real log agents sent, through the gateway to the store.

#![cfg(test)]

use std::net::SocketAddr;

use e2e::http2::{self, PREFACE};
use e2e::{DEADLINE, Http, Program, metric, wait_until};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

/// Method, path, media type, body, events and status of a request.
type Recorded = (&'static str, &'static str, &'static str, &'static [u8], usize, u16);

const RECORDED: [Recorded; 5] = [
    (
        "POST",
        "/v1/logs",
        "application/x-protobuf",
        include_bytes!("../../../adapters/http/tests/recorded/otlp-python.pb"),
        3,
        200,
    ),
    (
        "POST",
        "/loki/api/v1/push",
        "application/x-protobuf",
        include_bytes!("../../../adapters/http/tests/recorded/loki-winston.pb.snappy"),
        3,
        204,
    ),
    (
        "PUT",
        "/_bulk",
        "application/vnd.elasticsearch+x-ndjson; compatible-with=9",
        include_bytes!("../../../adapters/http/tests/recorded/bulk-python.ndjson"),
        3,
        200,
    ),
    (
        "POST",
        "/services/collector/event",
        "",
        include_bytes!("../../../adapters/http/tests/recorded/hec-python.json"),
        2,
        200,
    ),
    (
        "POST",
        "/api/logs/ingest",
        "application/json",
        include_bytes!("../../../adapters/http/tests/recorded/ingest-winston.json"),
        3,
        202,
    ),
];

async fn stored(http: &Http, events: usize) -> Vec<Value> {
    wait_until("all are stored", || async { http.all_events("", 100).await.len() >= events }).await;
    http.all_events("", 100).await
}

#[tokio::test]
async fn what_real_agents_send_is_stored_and_what_one_sends_again_is_stored_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let mut expected = 0;
    for (method, path, media_type, body, events, status) in RECORDED {
        let answer = program.gateway.send(method, path, &[("content-type", media_type)], body).await;
        assert_eq!(answer.status, status, "{path}");
        expected += events;
    }
    let events = stored(&program.gateway, expected).await;
    assert_eq!(events.len(), expected);
    for client in ["otlp-http-py", "winston-loki-proto", "elasticsearch-py", "splunk-handler", "winston-http-batch"] {
        let of_client =
            events.iter().filter(|event| event["message"].as_str().is_some_and(|text| text.contains(client)));
        assert!(of_client.count() >= 2, "{client}");
    }
    // The times of the first request are fine enough for ids of their own.
    let (method, path, media_type, body, events, _) = RECORDED[0];
    program.gateway.send(method, path, &[("content-type", media_type)], body).await;
    let repeats =
        || async { metric(&program.consumer, "spillway_events_deduplicated_total").await > events as f64 - 0.5 };
    wait_until("the repeats are recognised", repeats).await;
    assert_eq!(stored(&program.gateway, expected).await.len(), expected);
}

#[tokio::test]
async fn lines_of_syslog_are_stored() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("an address").local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let listen = free.to_string();
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_SYSLOG__LISTEN", &listen)]).await;
    let mut stream = TcpStream::connect(free).await.expect("a connection");
    stream.write_all(b"<11>Nov 29 08:04:20 vm app[42]: failed\n").await.expect("sent");
    let events = stored(&program.gateway, 1).await;
    assert_eq!((&events[0]["source"], &events[0]["level"]), (&"app".into(), &"ERROR".into()));
}

#[tokio::test]
async fn otlp_has_an_address_of_its_own_if_it_is_to() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("an address").local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let address: SocketAddr = free;
    let listen = address.to_string();
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_OTLP__LISTEN", &listen)]).await;
    let (method, path, media_type, body, events, status) = RECORDED[0];
    let answer = Http::to(address).send(method, path, &[("content-type", media_type)], body).await;
    assert_eq!(answer.status, status);
    assert_eq!(stored(&program.gateway, events).await.len(), events);
}

#[tokio::test]
async fn calls_of_otlp_over_grpc_are_stored() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("an address").local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let listen = free.to_string();
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_OTLP__GRPC_LISTEN", &listen)]).await;
    let (.., body, events, _) = RECORDED[0];
    let mut connection = TcpStream::connect(free).await.expect("a connection");
    connection.write_all(&[PREFACE, &http2::settings(&[])].concat()).await.expect("sent");
    // Two calls on one connection; the second one is what an agent sends again.
    for stream in [1, 3] {
        connection.write_all(&http2::call(stream, body)).await.expect("sent");
        let answered = http2::read_to_end_of(&mut connection, stream);
        timeout(DEADLINE, answered).await.expect("in time").expect("an answer");
    }
    let repeats =
        || async { metric(&program.consumer, "spillway_events_deduplicated_total").await > events as f64 - 0.5 };
    wait_until("the repeats are recognised", repeats).await;
    assert_eq!(stored(&program.gateway, events).await.len(), events);
}
