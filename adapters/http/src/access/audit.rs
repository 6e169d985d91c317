//! The audit: who was kept out, and who did what only few may do. It is the part of the process's log with the target
//! `audit`.
//!
//! Constraints and invariants:
//! * No secret is written, and nothing that a client can write but a request id that is short and visible, the beginning of a
//!   source that it may not write, and of a request that was let in, the beginning of its query in visible characters.
//! * A request that was let in is written once it is answered, with what became of it; also if its client has gone.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use domain::access::{KEY_PREFIX, Key, KeyId, KeyName};
use domain::ports::Client;
use poem::http::StatusCode;
use poem::{Request, Response};

use super::failures::Line;
use crate::error::Described;
use crate::server::X_REQUEST_ID;

/// Longest beginning of a query that is written, in characters.
const QUERY_CHARACTERS_MAX: usize = 500;

/// Who a request is from, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Principal<'a> {
    /// The name of its key, if it is one of Spillway.
    pub name: Option<&'a KeyName>,
    /// The id of the key that it presents.
    pub key: Option<KeyId>,
}

/// Writes that a request was kept out. `path` is that of its operation in the table of routes, if it has one.
pub fn kept_out(
    request: &Request,
    path: Option<&str>,
    client: IpAddr,
    principal: Principal<'_>,
    code: &str,
    Line { not_logged, is_last }: Line,
) {
    let (action, request_id) = (action(request, path), request_id(request));
    let (name, key) = (principal.name.map(tracing::field::display), principal.key.map(tracing::field::display));
    let (outcome, not_logged) = (REFUSED, (not_logged > 0).then_some(not_logged));
    let text = if is_last { "access; further refusals are not logged within this minute" } else { "access" };
    tracing::warn!(
        target: "audit",
        action, outcome, code, principal = name, key, %client, request_id, not_logged, "{text}"
    );
}

/// Writes that a key may not write so many events, the first of which has this source.
pub fn source_forbidden(key: &Key, client: Client, source: &str, events: u64) {
    let (action, outcome, code, principal) = ("write events", "refused", "source_forbidden", &key.name);
    tracing::warn!(target: "audit", action, outcome, code, %principal, key = %key.id, %client, source, events, "access");
}

/// What became of an audited request that was answered with success, where that is more than the answer says. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Remark(Arc<Remarks>);

#[derive(Debug, Default)]
struct Remarks {
    outcome: OnceLock<&'static str>,
    letters: OnceLock<u64>,
}

impl Remark {
    /// Says it about a request; nothing happens if that is not audited.
    pub fn about(request: &Request, outcome: &'static str) {
        if let Some(Self(remarks)) = request.extensions().get() {
            // The first one counts.
            let _ = remarks.outcome.set(outcome);
        }
    }

    /// Says of how many dead letters a request is; nothing happens if that is not audited.
    pub fn letters(request: &Request, letters: u64) {
        if let Some(Self(remarks)) = request.extensions().get() {
            let _ = remarks.letters.set(letters);
        }
    }
}

/// An audited request that was let in and is not answered yet.
pub struct LetIn {
    action: String,
    query: Option<String>,
    client: IpAddr,
    name: Option<KeyName>,
    key: Option<KeyId>,
    request_id: String,
    remark: Remark,
    is_written: bool,
}

impl LetIn {
    /// Begins the audit of a request of the operation with this path, which may get a [`Remark`].
    pub fn new(request: &mut Request, path: &str, client: IpAddr, principal: Principal<'_>) -> Self {
        let remark = Remark::default();
        request.extensions_mut().insert(remark.clone());
        Self {
            action: action(request, Some(path)),
            query: query(request),
            client,
            name: principal.name.cloned(),
            key: principal.key,
            request_id: request_id(request).to_owned(),
            remark,
            is_written: false,
        }
    }

    /// Writes what became of the request.
    pub fn answered(mut self, response: &Response) {
        let status = response.status();
        let Remark(remarks) = &self.remark;
        let outcome = outcome(status, remarks.outcome.get().copied());
        let code = response.extensions().get().map(|Described { code, .. }| *code);
        self.write(outcome, Some(status.as_u16()), code);
    }

    fn write(&mut self, outcome: &str, status: Option<u16>, code: Option<&str>) {
        self.is_written = true;
        let Self { action, query, client, request_id, remark: Remark(remarks), .. } = &*self;
        let (query, letters) = (query.as_deref(), remarks.letters.get().copied());
        let (name, key) = (self.name.as_ref().map(tracing::field::display), self.key.map(tracing::field::display));
        if outcome == REFUSED {
            tracing::warn!(
                target: "audit",
                action, query, outcome, status, code, principal = name, key, %client, request_id, "access"
            );
        } else {
            tracing::info!(
                target: "audit",
                action, query, letters, outcome, status, code, principal = name, key, %client, request_id, "access"
            );
        }
    }
}

impl Drop for LetIn {
    /// The client has gone before the answer: what it asked for may have been done.
    fn drop(&mut self) {
        if !self.is_written {
            self.write("unanswered", None, None);
        }
    }
}

const REFUSED: &str = "refused";

/// What became of a request that was let in.
fn outcome(status: StatusCode, remark: Option<&'static str>) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => REFUSED,
        status if status.is_client_error() || status.is_server_error() => "failed",
        _ => remark.unwrap_or("allowed"),
    }
}

/// The operation by its path in the table: the path of a request may contain anything.
fn action(request: &Request, path: Option<&str>) -> String {
    // Methods of the table are known; others are text of the client.
    path.map_or_else(|| "an unknown path".to_owned(), |path| format!("{} {path}", request.method()))
}

/// The beginning of what the request asks for. What looks like a key, which does not belong there, is left out.
fn query(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    if query.contains(KEY_PREFIX) {
        return Some("with a key".to_owned());
    }
    let visible = query.chars().map(|character| if character.is_ascii_graphic() { character } else { '?' });
    Some(visible.take(QUERY_CHARACTERS_MAX).collect())
}

fn request_id(request: &Request) -> &str {
    request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse;
    use poem::http::Method;

    use super::*;
    use crate::access::tests::lines::lines_of;
    use crate::error::ApiError;
    use crate::routes::{Found, find};

    /// The only line of the audit of a request with this remark that is answered so; `None` if its client goes before.
    fn line(remark: Option<&'static str>, answer: Option<Response>) -> String {
        let (method, path) = (Method::POST, "/api/dlq/redrive");
        let lines = lines_of(|| {
            let Found::Route(route) = find(&method, path, |_| true) else { panic!("there is {path}") };
            let mut request = Request::builder().method(method.clone()).uri_str(path).finish();
            let let_in = LetIn::new(&mut request, route.path, IpAddr::from([127, 0, 0, 1]), Principal::default());
            if let Some(remark) = remark {
                Remark::about(&request, remark);
                Remark::letters(&request, 12);
            }
            match answer {
                Some(answer) => let_in.answered(&answer),
                None => drop(let_in),
            }
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.contains("POST /api/dlq/redrive") && line.contains("127.0.0.1"), "{line}");
        line.clone()
    }

    #[test]
    fn what_became_of_a_request_is_in_its_line() {
        let success = || Some(().into_response());
        let failure = |error: ApiError| Some(error.into_response());
        let invalid = ApiError::InvalidParameter { detail: "filter".to_owned() };
        for (remark, answer, parts) in [
            (None, success(), ["INFO", "outcome=\"allowed\"", "status=200"]),
            (Some("dry_run"), success(), ["INFO", "outcome=\"dry_run\"", "status=200"]),
            (Some("dry_run"), success(), ["INFO", "letters=12", "status=200"]),
            (None, failure(ApiError::LoopbackOnly), ["WARN", "outcome=\"refused\"", "code=\"loopback_only\""]),
            (None, failure(invalid), ["INFO", "outcome=\"failed\"", "status=400"]),
            (Some("dry_run"), failure(ApiError::RedriveInterrupted), ["INFO", "outcome=\"failed\"", "status=503"]),
            (None, None, ["INFO", "outcome=\"unanswered\"", "action="]),
        ] {
            let line = line(remark, answer);
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
        }
    }

    #[test]
    fn the_query_of_a_request_is_in_its_line_bounded_and_without_a_key() {
        let line = |uri: &str| {
            let mut request = Request::builder().uri_str(uri).finish();
            let path = "/api/logs/export";
            let lines = lines_of(|| {
                let client = IpAddr::from([127, 0, 0, 1]);
                LetIn::new(&mut request, path, client, Principal::default()).answered(&().into_response());
            });
            lines.concat()
        };
        assert!(line("/api/logs/export?source=shop-1&from=a%0Ab").contains(r#"query="source=shop-1&from=a%0Ab""#));
        assert!(!line("/api/logs/export").contains("query="));
        let long = line(&format!("/api/logs/export?q={}", "x".repeat(5_000)));
        assert!(long.len() < 1_000, "{long}");
        let secret = line("/api/logs/export?key=spw_AAAAAAAA_secret");
        assert!(secret.contains("with a key") && !secret.contains("secret"), "{secret}");
    }
}
