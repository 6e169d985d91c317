//! TLS between a gateway and its instances, which may take connections only from a client with its certificate.

#![cfg(test)]

use std::net::SocketAddr;
use std::path::Path;

use adapter_webhook::HttpsFiles;
use e2e::keys::{certificate, client_files};
use e2e::{Http, Process, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// A certificate of `localhost` that is its own authority.
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/http/tests/localhost.pem");
const EVENT: &str = r#"{"source":"s","level":"ERROR","message":"m"}"#;

/// All roles, which take connections only from a client with the certificate of a gateway.
async fn roles_of_a_gateway(directory: &Path) -> Process {
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
    Process::start_with(BINARY, "all", directory, &variables, |address| Http::over_tls(address, &as_gateway)).await
}

/// A gateway in front of these instances, which shows them this certificate.
async fn gateway(directory: &Path, urls: [&str; 2], shown: Option<&Path>) -> Process {
    trusting(directory, urls, &certificate("authority"), shown).await
}

/// The same with this file of the authorities of instances.
async fn trusting(directory: &Path, urls: [&str; 2], authority: &Path, shown: Option<&Path>) -> Process {
    let path = |path: &Path| path.display().to_string();
    let (authority, pair) = (path(authority), shown.map(path));
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
    let roles = roles_of_a_gateway(directory.path()).await;
    let (producer, consumer) = (roles.http("producer"), roles.http("consumer"));

    let theirs = tempfile::tempdir().expect("a directory");
    let front = gateway(theirs.path(), [producer.base(), consumer.base()], Some(&certificate("gateway"))).await;
    let http = front.http("gateway");
    wait_until("it is ready", async || http.get("/actuator/health/readiness").await.status == 200).await;
    for _ in 0..10 {
        assert_eq!(http.post("/api/logs", EVENT).await.status, 202);
    }
    wait_until("all are stored", async || http.all_events("", 100).await.len() == 10).await;

    // Without a certificate, with one of another name, with one of another authority, or without TLS, nobody gets an answer.
    let of_other = HttpsFiles { client: Some((OTHER.into(), OTHER.into())), ..client_files(None) };
    for instance in [producer.address(), consumer.address()] {
        for files in [client_files(None), client_files(Some("stranger")), of_other.clone()] {
            let answer = Http::over_tls(instance, &files).attempt("GET", "/actuator/health/liveness", &[], "").await;
            assert!(answer.is_err(), "{files:?}: {answer:?}");
        }
        let plain = Http::to(instance).attempt("GET", "/actuator/health/liveness", &[], "").await;
        assert!(plain.is_err(), "{plain:?}");
    }
    assert_eq!(http.all_events("", 100).await.len(), 10);
}

/// A gateway that cannot use its instances says why: in the log when it ejects them, in its health, and in the fleet.
async fn says_why(front: &Process, reason: &str) {
    let http = front.http("gateway");
    let answer = http.post("/api/logs", EVENT).await;
    assert!(matches!(answer.status, 502 | 503), "{reason}: {answer:?}");
    let ejected = async || {
        let log = front.log();
        log.iter().any(|line| line.contains("an instance gets no more requests") && line.contains(reason))
    };
    wait_until("the log has the reason", ejected).await;
    for path in ["/actuator/fleet", "/actuator/health"] {
        wait_until(path, async || http.get(path).await.json().to_string().contains(reason)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_say_why_a_gateway_does_not_reach_its_instances() {
    let (directory, theirs) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let roles = roles_of_a_gateway(directory.path()).await;
    let (producer, consumer) = (roles.http("producer"), roles.http("consumer"));
    let urls = [producer.base(), consumer.base()];
    let (own, stranger) = (certificate("gateway"), certificate("stranger"));

    let front = trusting(theirs.path(), urls, Path::new(OTHER), Some(&own)).await;
    says_why(&front, "no authority in GATEWAY__UPSTREAM_CA has issued its certificate").await;
    for (shown, reason, told) in [
        (None, "set GATEWAY__UPSTREAM_CERTIFICATE", "it shows no certificate"),
        (Some(stranger.as_path()), "none of its names is in", "none of the names in TLS_CLIENT_NAMES"),
        (Some(Path::new(OTHER)), "no authority in its TLS_CLIENT_CA", "no authority in TLS_CLIENT_CA"),
    ] {
        let front = gateway(theirs.path(), urls, shown).await;
        says_why(&front, reason).await;
        let lines = || {
            let log = roles.log();
            let is_refusal = |line: &&String| line.contains("a client is refused for its") && line.contains(told);
            log.iter().filter(is_refusal).count()
        };
        wait_until("the instances have said so", async || lines() > 0).await;
        assert!(lines() <= 2, "at most one line of each instance for all connections: {}", lines());
    }
    let plain = urls.map(|url| url.replace("https://", "http://"));
    let front = gateway(theirs.path(), [&plain[0], &plain[1]], None).await;
    says_why(&front, "begin its URL with https://").await;
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
