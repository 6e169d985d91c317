//! Each operation with each credential at each listener of a running process.
//!
//! The operations are those of the route table, so a new one is tested without a change here.

#![cfg(test)]

use std::net::SocketAddr;

use adapter_http::{Access, ListedOperation, RouteRole, operations};
use bytes::Bytes;
use domain::access::{KeyText, Role};
use e2e::keys::KeysFile;
use e2e::{Answer, Http, Program, dead_address};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is none.
    Absent,
    /// It is not a valid key.
    Invalid,
    /// A key with these roles.
    Valid(&'static [Role], Restricted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restricted {
    No,
    Yes,
}

struct Credential {
    name: &'static str,
    key: Option<String>,
    standing: Standing,
}

/// What an answer says about the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    LetIn,
    Unauthenticated,
    Invalid,
    RoleMissing,
    /// The listener does not have the operation.
    NotThere,
}

fn credentials(keys: &KeysFile) -> Vec<Credential> {
    let create =
        |name: &str, roles: &str, more: &[&str]| keys.create(&[&["--name", name, "--role", roles], more].concat());
    const FUTURE: &str = "2999-01-01T00:00:00Z";
    let expired = create("expired", "admin", &["--expires", FUTURE]);
    keys.expire(FUTURE);
    let (revoked, wrong) = (create("revoked", "admin", &[]), create("wrong", "admin", &[]));
    keys.revoke(&revoked);
    let (shop, till) = (["--source", "shop-*"], ["--source", "till-*"]);
    let of = |name, key, standing| Credential { name, key, standing };
    let all = vec![
        of("none", None, Standing::Absent),
        of("malformed", Some("nonsense".to_owned()), Standing::Invalid),
        of("unknown", Some(unknown_key()), Standing::Invalid),
        of("wrong secret", Some(wrong.clone()), Standing::Invalid),
        of("expired", Some(expired), Standing::Invalid),
        of("revoked", Some(revoked), Standing::Invalid),
        of("ingest", Some(create("i", "ingest", &[])), Standing::Valid(&[Role::Ingest], Restricted::No)),
        of("read", Some(create("r", "read", &[])), Standing::Valid(&[Role::Read], Restricted::No)),
        of("operate", Some(create("o", "operate", &[])), Standing::Valid(&[Role::Operate], Restricted::No)),
        of("admin", Some(create("a", "admin", &[])), Standing::Valid(&[Role::Admin], Restricted::No)),
        of(
            "tenant shop",
            Some(create("shop", "ingest,read", &shop)),
            Standing::Valid(&[Role::Ingest, Role::Read], Restricted::Yes),
        ),
        of("tenant till", Some(create("till", "admin", &till)), Standing::Valid(&[Role::Admin], Restricted::Yes)),
    ];
    keys.change_secret(&wrong);
    all
}

/// A key of another Spillway.
fn unknown_key() -> String {
    KeyText::from_random(&[10; 40]).expect("enough bytes").reveal().to_owned()
}

/// What must become of a request, by the route table.
fn expected(access: Access, standing: Standing) -> Outcome {
    let (role, whole) = match access {
        Access::Monitor | Access::Anyone => return Outcome::LetIn,
        Access::AnyKey => (None, false),
        Access::Scrape => (Some(Role::Operate), true),
        Access::Role(role) => (Some(role), false),
        Access::WholeRole(role) => (Some(role), true),
    };
    match standing {
        Standing::Absent => Outcome::Unauthenticated,
        Standing::Invalid => Outcome::Invalid,
        Standing::Valid(roles, restricted) => {
            let has = role.is_none_or(|role| roles.contains(&role) || roles.contains(&Role::Admin));
            if has && !(whole && restricted == Restricted::Yes) { Outcome::LetIn } else { Outcome::RoleMissing }
        }
    }
}

/// The path with something in the place of each parameter.
fn concrete(path: &str) -> String {
    let values = [
        ("{eventId}", "018d0000-0000-7000-8000-000000000001"),
        ("{name}", "process.uptime"),
        ("{index}", "logs"),
        ("/console/{*}", "/console/index.html"),
        ("{*}", "any"),
    ];
    values.iter().fold(path.to_owned(), |path, (parameter, value)| path.replace(parameter, value))
}

/// What an answer of an operation at this path says.
fn outcome(path: &str, answer: &Answer) -> Outcome {
    let text = String::from_utf8_lossy(&answer.body);
    // The collector of Splunk has one status for an invalid token and a token without the right.
    if path.starts_with("/services/collector") {
        return match (answer.status, text.contains("\"code\":4")) {
            (401, _) => Outcome::Unauthenticated,
            (403, true) => Outcome::Invalid,
            (404 | 405, _) => Outcome::NotThere,
            _ => Outcome::LetIn,
        };
    }
    match answer.status {
        401 if text.contains("needs a key") => Outcome::Unauthenticated,
        401 => Outcome::Invalid,
        403 if text.contains("has not the role") || text.contains("this shows more") => Outcome::RoleMissing,
        404 if text.contains("nothing at this path") || text.contains("nothing here") => Outcome::NotThere,
        405 => Outcome::NotThere,
        _ => Outcome::LetIn,
    }
}

/// Whether an outcome is the expected one. For Splunk, a key that is not valid looks like one without the role.
fn fits(path: &str, expected: Outcome, actual: Outcome) -> bool {
    let alike = |outcome| if outcome == Outcome::RoleMissing { Outcome::Invalid } else { outcome };
    if path.starts_with("/services/collector") { alike(expected) == alike(actual) } else { expected == actual }
}

/// The operation that a listener of some roles finds at a path of the table: one of its own, or none.
fn found_at(operation: &ListedOperation, serves: impl Fn(RouteRole) -> bool) -> Option<Access> {
    if serves(operation.role) {
        return Some(operation.access);
    }
    // A consumer takes it for the id of an event.
    let is_event = operation.method == "GET" && operation.path == "/api/logs/health" && serves(RouteRole::Consumer);
    is_event.then_some(Access::Role(Role::Read))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_is_open_to_the_keys_that_the_table_names_at_each_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let credentials = credentials(&KeysFile::of(BINARY, directory.path()));
    let (otlp, grpc) = (dead_address(), dead_address());
    let (otlp_listen, grpc_listen) = (otlp.to_string(), grpc.to_string());
    let variables = [
        ("SPILLWAY_OTLP__LISTEN", otlp_listen.as_str()),
        ("SPILLWAY_OTLP__GRPC_LISTEN", grpc_listen.as_str()),
        ("SPILLWAY_GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let program = Program::start(BINARY, directory.path(), &variables).await;
    let otlp = Http::to(otlp);
    type Serves = fn(RouteRole) -> bool;
    let listeners: [(&str, &Http, Serves); 4] = [
        ("gateway", &program.gateway, |_| true),
        ("producer", &program.producer, |role| matches!(role, RouteRole::Producer | RouteRole::Every)),
        ("otlp", &otlp, |role| matches!(role, RouteRole::Producer | RouteRole::Every)),
        ("consumer", &program.consumer, |role| matches!(role, RouteRole::Consumer | RouteRole::Every)),
    ];
    let (mut cells, mut wrong) = (0_u32, Vec::new());
    for (listener, http, serves) in listeners {
        for operation in operations() {
            let path = concrete(operation.path);
            let access = found_at(&operation, serves);
            for credential in &credentials {
                cells += 1;
                // An address of its own for each, since failures of an address are limited.
                let [_, a, b, c] = cells.to_be_bytes();
                let (client, authorization) =
                    (format!("10.{a}.{b}.{c}"), credential.key.as_ref().map(|key| format!("Bearer {key}")));
                // No body: nothing is sent, and what may be done is refused for that.
                let mut headers = vec![("x-forwarded-for", client.as_str()), ("content-type", "application/json")];
                headers.extend(authorization.as_ref().map(|value| ("authorization", value.as_str())));
                let answer = http.send(operation.method, &path, &headers, "").await;
                let expected = access.map_or(Outcome::NotThere, |access| expected(access, credential.standing));
                let actual = outcome(&path, &answer);
                if !fits(&path, expected, actual) {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    let cell = format!("{listener} {} {path} with {}", operation.method, credential.name);
                    wrong.push(format!("{cell}: {} {text}, not {expected:?}", answer.status));
                }
            }
        }
    }
    for credential in &credentials {
        cells += 1;
        let expected = expected(Access::Role(Role::Ingest), credential.standing);
        let actual = call(grpc, credential.key.as_deref()).await;
        if actual != expected && !(expected == Outcome::Unauthenticated && actual == Outcome::Invalid) {
            wrong.push(format!("grpc with {}: {actual:?}, not {expected:?}", credential.name));
        }
    }
    println!("{cells} cells: {} operations, {} credentials, 5 listeners", operations().count(), credentials.len());
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
    let secrets: Vec<&str> = credentials.iter().filter_map(|credential| credential.key.as_deref()?.get(13..)).collect();
    for line in program.log() {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "a secret is in the log");
    }
}

/// What a call of OTLP over gRPC without a message says about its key. An invalid key and none have one status.
async fn call(address: SocketAddr, key: Option<&str>) -> Outcome {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let path = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let mut request =
        hyper::Request::post(format!("http://{address}/{path}")).header("content-type", "application/grpc");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Full::new(Bytes::from_static(&[0; 5]))).expect("a request");
    let answer = tokio::time::timeout(e2e::DEADLINE, client.request(request)).await.expect("in time");
    let answer = answer.expect("an answer");
    match answer.headers().get("grpc-status").map(hyper::header::HeaderValue::as_bytes) {
        // The status of a call that succeeds is behind its message.
        None => Outcome::LetIn,
        Some(b"16") => Outcome::Invalid,
        Some(b"7") => Outcome::RoleMissing,
        Some(status) => panic!("{}", String::from_utf8_lossy(status)),
    }
}
