//! The audit: who was kept out, and who did what only few may do. It is the part of the process's log with the target
//! `audit`.
//!
//! Constraint: no secret is written, and nothing that a client can write into a header but a request id that is short
//! and visible.

use std::net::IpAddr;

use domain::access::{KeyId, KeyName};
use poem::Request;

use crate::routes::Route;
use crate::server::X_REQUEST_ID;

/// Who a request is from, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Principal<'a> {
    /// The name of its key, if it is one of Spillway.
    pub name: Option<&'a KeyName>,
    /// The id of the key that it presents.
    pub key: Option<KeyId>,
}

/// Writes that a request was kept out.
pub fn kept_out(request: &Request, route: Option<&Route>, client: IpAddr, principal: Principal<'_>, code: &str) {
    let (action, request_id) = (action(request, route), request_id(request));
    let (name, key) = (principal.name.map(tracing::field::display), principal.key.map(tracing::field::display));
    let outcome = "refused";
    tracing::warn!(target: "audit", action, outcome, code, principal = name, key, %client, request_id, "access");
}

/// Writes that a request was let in.
pub fn let_in(request: &Request, route: Option<&Route>, client: IpAddr, principal: Principal<'_>) {
    let (action, request_id) = (action(request, route), request_id(request));
    let (name, key) = (principal.name.map(tracing::field::display), principal.key.map(tracing::field::display));
    let outcome = "allowed";
    tracing::info!(target: "audit", action, outcome, principal = name, key, %client, request_id, "access");
}

/// The operation by its path in the table: the path of a request may contain anything.
fn action(request: &Request, route: Option<&Route>) -> String {
    let path = route.map_or("an unknown path", |route| route.path);
    // Methods of the table are known; others are text of the client.
    route.map_or_else(|| path.to_owned(), |_| format!("{} {path}", request.method()))
}

fn request_id(request: &Request) -> &str {
    request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
