//! The audit: who was kept out, and who did what only few may do. It is the part of the process's log with the target
//! `audit`.
//!
//! Constraints and invariants:
//! * No secret is written, and nothing that a client can write but a request id that is short and visible, and the beginning
//!   of a source that it may not write.
//! * A request that was let in is written once it is answered, with what became of it; also if its client has gone.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use domain::access::{Key, KeyId, KeyName};
use domain::ports::Client;
use poem::http::StatusCode;
use poem::{Request, Response};

use crate::error::Described;
use crate::server::X_REQUEST_ID;

/// Who a request is from, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Principal<'a> {
    /// The name of its key, if it is one of Spillway.
    pub name: Option<&'a KeyName>,
    /// The id of the key that it presents.
    pub key: Option<KeyId>,
}

/// Writes that a request was kept out. `path` is that of its operation in the table of routes, if it has one.
pub fn kept_out(request: &Request, path: Option<&str>, client: IpAddr, principal: Principal<'_>, code: &str) {
    let (action, request_id) = (action(request, path), request_id(request));
    let (name, key) = (principal.name.map(tracing::field::display), principal.key.map(tracing::field::display));
    let outcome = REFUSED;
    tracing::warn!(target: "audit", action, outcome, code, principal = name, key, %client, request_id, "access");
}

/// Writes that a key may not write so many events, the first of which has this source.
pub fn source_forbidden(key: &Key, client: Client, source: &str, events: u64) {
    let (action, outcome, code, principal) = ("write events", "refused", "source_forbidden", &key.name);
    tracing::warn!(target: "audit", action, outcome, code, %principal, key = %key.id, %client, source, events, "access");
}

/// What became of an audited request that was answered with success, where that is more than the answer says. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Remark(Arc<OnceLock<&'static str>>);

impl Remark {
    /// Says it about a request; nothing happens if that is not audited.
    pub fn about(request: &Request, outcome: &'static str) {
        if let Some(Self(remark)) = request.extensions().get() {
            // The first one counts.
            let _ = remark.set(outcome);
        }
    }
}

/// An audited request that was let in and is not answered yet.
pub struct LetIn {
    action: String,
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
        let Remark(remark) = &self.remark;
        let outcome = outcome(status, remark.get().copied());
        let code = response.extensions().get().map(|Described { code, .. }| *code);
        self.write(outcome, Some(status.as_u16()), code);
    }

    fn write(&mut self, outcome: &str, status: Option<u16>, code: Option<&str>) {
        self.is_written = true;
        let Self { action, client, request_id, .. } = &*self;
        let (name, key) = (self.name.as_ref().map(tracing::field::display), self.key.map(tracing::field::display));
        if outcome == REFUSED {
            tracing::warn!(
                target: "audit", action, outcome, status, code, principal = name, key, %client, request_id, "access"
            );
        } else {
            tracing::info!(
                target: "audit", action, outcome, status, code, principal = name, key, %client, request_id, "access"
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

fn request_id(request: &Request) -> &str {
    request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};
    use std::sync::Mutex;

    use poem::IntoResponse;
    use poem::http::Method;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber, subscriber};

    use super::*;
    use crate::error::ApiError;
    use crate::routes::{Found, find};

    /// The lines of the audit.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "audit"
        }

        fn new_span(&self, _span: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _span: &Id, _values: &Record<'_>) {}

        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields(format!("{} ", event.metadata().level()));
            event.record(&mut fields);
            self.0.lock().expect("lock").push(fields.0);
        }

        fn enter(&self, _span: &Id) {}

        fn exit(&self, _span: &Id) {}
    }

    /// The only line of the audit of a request with this remark that is answered so; `None` if its client goes before.
    fn line(remark: Option<&'static str>, answer: Option<Response>) -> String {
        let (method, path) = (Method::POST, "/api/dlq/redrive");
        let lines = Lines::default();
        subscriber::with_default(lines.clone(), || {
            let Found::Route(route) = find(&method, path, |_| true) else { panic!("there is {path}") };
            let mut request = Request::builder().method(method.clone()).uri_str(path).finish();
            let let_in = LetIn::new(&mut request, route.path, IpAddr::from([127, 0, 0, 1]), Principal::default());
            if let Some(remark) = remark {
                Remark::about(&request, remark);
            }
            match answer {
                Some(answer) => let_in.answered(&answer),
                None => drop(let_in),
            }
        });
        let lines = lines.0.lock().expect("lock").clone();
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
            (None, failure(ApiError::LoopbackOnly), ["WARN", "outcome=\"refused\"", "code=\"loopback_only\""]),
            (None, failure(invalid), ["INFO", "outcome=\"failed\"", "status=400"]),
            (Some("dry_run"), failure(ApiError::RedriveInterrupted), ["INFO", "outcome=\"failed\"", "status=503"]),
            (None, None, ["INFO", "outcome=\"unanswered\"", "action="]),
        ] {
            let line = line(remark, answer);
            assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
        }
    }
}
