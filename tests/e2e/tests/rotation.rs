//! Keys and certificates that change while requests come: no request fails.

#![cfg(test)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use adapter_webhook::HttpsFiles;
use e2e::keys::{KeysFile, certificate};
use e2e::{Http, Process, dead_address, wait_until};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// A certificate of `localhost` that is its own authority.
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/http/tests/localhost.pem");
const ROTATIONS: usize = 3;
const CLIENTS: usize = 4;

/// What the clients of a load share.
struct Load {
    key: Mutex<String>,
    files: HttpsFiles,
    stop: AtomicBool,
    sent: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn key(&self) -> String {
        self.key.lock().expect("lock").clone()
    }

    /// Sends and reads until it is told to stop, over a new connection every few requests.
    async fn run(self: Arc<Self>, address: std::net::SocketAddr) {
        let event = json!({ "source": "s", "level": "ERROR", "message": "m" }).to_string();
        while !self.stop.load(Ordering::Acquire) {
            let http = Http::over_tls(address, &self.files);
            for _ in 0..5 {
                let authorization = format!("Bearer {}", self.key());
                let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
                let posted = http.attempt("POST", "/api/logs", &headers, event.clone()).await;
                let read = http.attempt("GET", "/api/logs?limit=1", &headers, "").await;
                for (answer, status) in [(posted, 202), (read, 200)] {
                    self.sent.fetch_add(1, Ordering::AcqRel);
                    match answer {
                        Ok(answer) if answer.status == status => {}
                        other => self.failed.lock().expect("lock").push(format!("{other:?}")),
                    }
                }
            }
        }
    }

    /// Waits until each client has made requests from now on.
    async fn goes_on(&self) {
        let before = self.sent.load(Ordering::Acquire);
        wait_until("requests are made", async || self.sent.load(Ordering::Acquire) > before + CLIENTS * 20).await;
    }
}

fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).expect("written");
    std::fs::rename(&new, path).expect("replaced");
}

fn count(program: &Process, text: &str) -> usize {
    program.log().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_certificates_are_replaced_under_load_and_no_request_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let keys = KeysFile::of(BINARY, directory.path());
    let first = keys.create(&["--name", "shop", "--role", "ingest,read"]);
    let (authority, pair) = (directory.path().join("authorities.pem"), directory.path().join("pair.pem"));
    let (one, other) = (std::fs::read(certificate("server")).expect("read"), std::fs::read(OTHER).expect("read"));
    let authorities = [std::fs::read(certificate("authority")).expect("read"), other.clone()].concat();
    std::fs::write(&authority, authorities).expect("written");
    std::fs::write(&pair, &one).expect("written");
    let file = pair.display().to_string();
    let variables = [
        ("SPILLWAY_HTTP__TLS_CERTIFICATE", file.as_str()),
        ("SPILLWAY_HTTP__TLS_KEY", file.as_str()),
        ("SPILLWAY_LOG", "warn,bootstrap=info,audit=info"),
    ];
    let files = HttpsFiles { ca: Some(authority), client: None };
    let client = |address| Http::over_tls(address, &files);
    let program = Process::start_with(BINARY, "all", directory.path(), &variables, client).await;
    let address = program.http("gateway").address();
    let load = Arc::new(Load {
        key: Mutex::new(first),
        files: files.clone(),
        stop: AtomicBool::new(false),
        sent: AtomicUsize::new(0),
        failed: Mutex::default(),
    });
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&load).run(address))).collect();
    load.goes_on().await;

    for rotation in 1..=ROTATIONS {
        let new = keys.rotate(&load.key(), &["--overlap", "10m"]);
        wait_until("the keys are read again", async || count(&program, "the keys were read again") == rotation).await;
        let added = format!("added=\"{}\"", e2e::keys::id_of(&new));
        assert!(program.has_said(&added), "the audit has the id of the new key");
        *load.key.lock().expect("lock") = new;
        load.goes_on().await;
    }

    // A file that is not complete: the old pair stays, and an operator is told.
    std::fs::write(&pair, &other[..other.len() / 2]).expect("written");
    let told =
        async || program.log().iter().any(|line| line.contains("tls_certificate_unusable") && line.contains("firing"));
    wait_until("an operator is told", told).await;
    load.goes_on().await;
    replace(&pair, &other);
    wait_until("it is used", async || program.has_said("the certificate was read again")).await;
    load.goes_on().await;
    // A client that trusts only the new one.
    let only_new = HttpsFiles { ca: Some(OTHER.into()), client: None };
    assert_eq!(Http::over_tls(address, &only_new).get("/actuator/health/liveness").await.status, 200);
    let told = async || {
        program.log().iter().any(|line| line.contains("tls_certificate_unusable") && line.contains("resolved"))
    };
    wait_until("an operator is told that it is over", told).await;

    load.stop.store(true, Ordering::Release);
    for client in clients {
        client.await.expect("it ends by itself");
    }
    let (sent, failed) = (load.sent.load(Ordering::Acquire), load.failed.lock().expect("lock").clone());
    println!("requests={sent} failed={} rotations={ROTATIONS} certificates=1", failed.len());
    assert!(failed.is_empty(), "{} of {sent}: {:?}", failed.len(), &failed[..failed.len().min(5)]);
}

#[tokio::test]
async fn an_operator_is_told_at_the_start_that_a_certificate_has_expired() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, address) = (certificate("expired").display().to_string(), dead_address().to_string());
    let variables = [
        ("SPILLWAY_SYSLOG__TLS_LISTEN", address.as_str()),
        ("SPILLWAY_SYSLOG__TLS_CERTIFICATE", file.as_str()),
        ("SPILLWAY_SYSLOG__TLS_KEY", file.as_str()),
    ];
    let program = Process::start(BINARY, "all", directory.path(), &variables).await;
    let told = async || program.log().iter().any(|line| line.contains("has expired") && line.contains("2021-01-01"));
    wait_until("an operator is told", told).await;
}
