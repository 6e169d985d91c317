//! Requests that real log agents sent, through the gateway to the store.

#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;

use e2e::http2::{self, PREFACE};
use e2e::keys::{Keyed, KeysFile, certificate};
use e2e::{DEADLINE, Http, Program, dead_address, metric, wait_until};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

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

/// A client of TLS that trusts the authority and shows this certificate, if any.
fn tls_client(shown: Option<&str>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(certificate("authority")).expect("a certificate");
    roots.add(authority).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let config = match shown.map(certificate) {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_file(&pair).expect("a certificate")];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair).expect("a key")).expect("a pair")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Sends a frame of syslog over TLS, and waits until the other end has closed the connection.
async fn send_over_tls(address: SocketAddr, client: TlsConnector, message: &str) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    // With TLS 1.3, a client knows only afterwards whether its certificate is taken.
    let Ok(mut stream) = client.connect(name, stream).await else { return };
    let frame = format!("{} {message}", message.len());
    let _ = stream.write_all(frame.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn syslog_over_tls_is_taken_from_clients_with_a_certificate_and_from_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = KeysFile::of(BINARY, directory.path());
    let reader = keys.create(&["--name", "reader", "--role", "read"]);
    let address = dead_address();
    let (listen, path) = (address.to_string(), |name: &str| certificate(name).display().to_string());
    let (server, authority) = (path("server"), path("authority"));
    let variables = [
        ("SPILLWAY_SYSLOG__TLS_LISTEN", listen.as_str()),
        ("SPILLWAY_SYSLOG__TLS_CERTIFICATE", server.as_str()),
        ("SPILLWAY_SYSLOG__TLS_KEY", server.as_str()),
        ("SPILLWAY_SYSLOG__TLS_CLIENT_CA", authority.as_str()),
        ("SPILLWAY_SYSLOG__TLS_CLIENT_AUTH", "required"),
        ("SPILLWAY_SYSLOG__TLS_CLIENT_NAMES", "log-gateway"),
    ];
    let program = Program::start(BINARY, directory.path(), &variables).await;
    send_over_tls(address, tls_client(None), "<11>app: nobody").await;
    send_over_tls(address, tls_client(Some("stranger")), "<11>app: stranger").await;
    let mut plain = TcpStream::connect(address).await.expect("a connection");
    plain.write_all(b"<11>app: in the clear\n").await.expect("sent");
    let _ = plain.read_to_end(&mut Vec::new()).await;
    send_over_tls(address, tls_client(Some("gateway")), "<11>app: known").await;
    let client = Keyed::new(&program.gateway, &reader);
    wait_until("it is stored", async || !client.messages().await.is_empty()).await;
    assert_eq!(client.messages().await, ["known"]);
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
