//! TLS between a gateway and its instances, which may take connections only from a client with its certificate.

#![cfg(test)]

use std::net::SocketAddr;

use adapter_webhook::HttpsFiles;
use e2e::keys::{certificate, client_files};
use e2e::{Http, Process, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;

/// A gateway in front of these instances, which shows them this certificate.
async fn gateway(directory: &std::path::Path, urls: [&str; 2], shown: Option<&str>) -> Process {
    let path = |name: &str| certificate(name).display().to_string();
    let (authority, pair) = (path("authority"), shown.map(path));
    let mut variables = vec![
        ("SPILLWAY_GATEWAY__PRODUCERS", urls[0]),
        ("SPILLWAY_GATEWAY__CONSUMERS", urls[1]),
        ("SPILLWAY_GATEWAY__UPSTREAM_CA", authority.as_str()),
    ];
    if let Some(pair) = &pair {
        variables.push(("SPILLWAY_GATEWAY__UPSTREAM_CERTIFICATE", pair));
        variables.push(("SPILLWAY_GATEWAY__UPSTREAM_KEY", pair));
    }
    Process::listening(BINARY, "gateway", directory, &variables).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_gateway_reaches_its_instances() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| certificate(name).display().to_string();
    let (server, authority) = (path("server"), path("authority"));
    let variables = [
        ("SPILLWAY_HTTP__TLS_CERTIFICATE", server.as_str()),
        ("SPILLWAY_HTTP__TLS_KEY", server.as_str()),
        ("SPILLWAY_HTTP__TLS_CLIENT_CA", authority.as_str()),
        ("SPILLWAY_HTTP__TLS_CLIENT_AUTH", "required"),
        ("SPILLWAY_HTTP__TLS_CLIENT_NAMES", "log-gateway"),
    ];
    let as_gateway = client_files(Some("gateway"));
    let client = |address: SocketAddr| Http::over_tls(address, &as_gateway);
    let roles = Process::start_with(BINARY, "all", directory.path(), &variables, client).await;
    let (producer, consumer) = (roles.http("producer"), roles.http("consumer"));

    let theirs = tempfile::tempdir().expect("a directory");
    let front = gateway(theirs.path(), [producer.base(), consumer.base()], Some("gateway")).await;
    let http = front.http("gateway");
    wait_until("it is ready", async || http.get("/actuator/health/readiness").await.status == 200).await;
    for _ in 0..10 {
        assert_eq!(http.post("/api/logs", EVENT).await.status, 202);
    }
    wait_until("all are stored", async || http.all_events("", 100).await.len() == 10).await;

    // Without a certificate, with one of another name, with one of another authority, or without TLS, nobody gets an answer.
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/http/tests/localhost.pem");
    let of_other = HttpsFiles { client: Some((other.into(), other.into())), ..client_files(None) };
    for instance in [producer.address(), consumer.address()] {
        for files in [client_files(None), client_files(Some("stranger")), of_other.clone()] {
            let answer = Http::over_tls(instance, &files).attempt("GET", "/actuator/health/liveness", &[], "").await;
            assert!(answer.is_err(), "{files:?}: {answer:?}");
        }
        let plain = Http::to(instance).attempt("GET", "/actuator/health/liveness", &[], "").await;
        assert!(plain.is_err(), "{plain:?}");
    }
    // And so it is for gateways.
    for shown in [None, Some("stranger")] {
        let other = gateway(theirs.path(), [producer.base(), consumer.base()], shown).await;
        let answer = other.http("gateway").post("/api/logs", EVENT).await;
        assert!(matches!(answer.status, 502 | 503), "{shown:?}: {answer:?}");
    }
    assert_eq!(http.all_events("", 100).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_urls_reaches_the_default_instances_over_tls() {
    let (directory, theirs) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let path = |name: &str| certificate(name).display().to_string();
    let (server, authority) = (path("server"), path("authority"));
    let of_all = [("SPILLWAY_HTTP__TLS_CERTIFICATE", server.as_str()), ("SPILLWAY_HTTP__TLS_KEY", server.as_str())];
    let files = client_files(None);
    let client = |address: SocketAddr| Http::over_tls(address, &files);
    let roles = Process::start_with(BINARY, "all", directory.path(), &of_all, client).await;
    let listens = |role: &str| roles.http(role).address().to_string();
    let (producer, consumer) = (listens("producer"), listens("consumer"));
    let variables = [
        of_all[0],
        of_all[1],
        ("SPILLWAY_GATEWAY__UPSTREAM_CA", authority.as_str()),
        ("SPILLWAY_PRODUCER__LISTEN", producer.as_str()),
        ("SPILLWAY_CONSUMER__LISTEN", consumer.as_str()),
    ];
    let front = Process::start_with(BINARY, "gateway", theirs.path(), &variables, client).await;
    let http = front.http("gateway");
    assert_eq!(http.post("/api/logs", EVENT).await.status, 202);
    wait_until("it is stored", async || http.all_events("", 100).await.len() == 1).await;
}
