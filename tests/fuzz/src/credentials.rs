//! Heads of requests with credentials, from their bytes to whether they are let in.
//!
//! The first byte chooses the operation, and each line of the rest is a header. Invariants:
//! * Nothing panics, and the same head is judged the same again.
//! * Nobody is let in without the only key or a session of it: one of both is in the head, as it is or in base64.

use std::net::SocketAddr;
use std::sync::Arc;

use adapter_http::{AccessControl, AccessRules};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::access::{Key, KeyHash, KeyId, KeyLimits, KeyName, KeyRejection, KeyText, Role};
use domain::ports::{KeyRing, SessionSealer};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;

/// Operations that need a key.
const OPERATIONS: [(&str, &str); 6] = [
    ("GET", "/api/logs"),
    ("POST", "/api/logs"),
    ("POST", "/v1/logs"),
    ("PUT", "/actuator/log"),
    ("GET", "/actuator/prometheus"),
    ("POST", "/api/session"),
];
/// The only session.
const SESSION: &str = "a-session";
/// Where the secret of a key begins in its text.
const SECRET: usize = 13;

/// The target.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let (method, path) = OPERATIONS[usize::from(*choice) % OPERATIONS.len()];
    let judged = access().judge_head(head(method, path, rest), peer());
    assert_eq!(access().judge_head(head(method, path, rest), peer()), judged, "the same head is judged otherwise");
    let Ok(name) = judged else { return };
    assert!(name.is_some(), "{method} {path} needs a key");
    assert!(shows_credential(&head(method, path, rest)), "{method} {path} is let in without a key");
}

/// The head of a request. What is not a header is left out, as a server does not let it through.
fn head(method: &str, path: &str, lines: &[u8]) -> Parts {
    let request = hyper::Request::builder().method(method).uri(path).body(()).expect("an operation");
    let (mut head, ()) = request.into_parts();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            head.headers.append(name, value);
        }
    }
    head
}

/// Whether the key or the session is somewhere in the head.
fn shows_credential(head: &Parts) -> bool {
    let key = key();
    let secret = &key.reveal()[SECRET..];
    head.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes())).any(|value| {
        let decoded = value.split_whitespace().next_back().and_then(|word| STANDARD.decode(word).ok());
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        value.contains(secret) || decoded.contains(secret) || value.contains(SESSION)
    })
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5_000))
}

fn key() -> KeyText {
    KeyText::from_random(&[10; 40]).expect("enough bytes")
}

fn access() -> AccessControl {
    AccessControl::new(AccessRules {
        keys: Some(Arc::new(OneKey)),
        sessions: Some(Arc::new(OneSession)),
        ..AccessRules::default()
    })
}

/// The only key.
struct OneKey;

impl KeyRing for OneKey {
    fn requires_keys(&self) -> bool {
        true
    }

    fn verify(&self, presented: &KeyText) -> Result<Arc<Key>, KeyRejection> {
        if *presented == key() { self.find(presented.id()) } else { Err(KeyRejection::Unknown) }
    }

    fn find(&self, id: KeyId) -> Result<Arc<Key>, KeyRejection> {
        if id != key().id() {
            return Err(KeyRejection::Unknown);
        }
        let name: KeyName = "fuzz".parse().expect("a name");
        Ok(Arc::new(Key {
            id,
            name,
            hash: KeyHash::new([0; 32]),
            roles: vec![Role::Admin],
            sources: None,
            expires: None,
            revoked: None,
            limits: KeyLimits::default(),
        }))
    }
}

/// The only session.
struct OneSession;

impl SessionSealer for OneSession {
    fn seal(&self, _: KeyId) -> Option<String> {
        Some(SESSION.to_owned())
    }

    fn unseal(&self, session: &str) -> Option<KeyId> {
        (session == SESSION).then(|| key().id())
    }
}
