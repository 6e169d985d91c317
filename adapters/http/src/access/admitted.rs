//! What was decided about a request, for those who answer it.
//!
//! Invariants:
//! * A request that was not judged may read and write nothing ([`tenant_of`]).
//! * An answer without an end lasts no longer than the right to it ([`end_of_right`]).

use std::sync::Arc;
use std::time::Duration;

use domain::access::{Key, Tenant};
use domain::ports::{KeyRing, SessionSealer};
use poem::Request;
use tokio::time::sleep;

/// How often an answer without an end looks whether its key is still valid.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a request may go on.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// Anyone may use the operation. It has nothing to do with events.
    Public,
    /// No keys are required.
    Open,
    /// It presents this key.
    With(Arc<Key>),
}

/// A session that a request was let in with.
#[derive(Clone)]
pub struct Session {
    sessions: Arc<dyn SessionSealer>,
    text: String,
}

impl Session {
    /// The session that these sealed as `text`.
    pub fn new(sessions: Arc<dyn SessionSealer>, text: &str) -> Self {
        Self { sessions, text: text.to_owned() }
    }

    /// Whether it has not ended.
    pub fn lasts(&self) -> bool {
        self.sessions.unseal(&self.text).is_some()
    }
}

/// What a request was judged by.
#[derive(Clone)]
pub struct JudgedBy {
    /// The keys.
    pub keys: Arc<dyn KeyRing>,
    /// Its session, if it was let in with one.
    pub session: Option<Session>,
}

/// Resolves when a request that was let in would be let in no more, or would see something else: its key or its session has
/// ended, or its key was revoked or changed; or keys are required by now, and it came without one. Never, unless there are
/// keys.
pub fn end_of_right(request: &Request) -> impl Future<Output = ()> + Send + 'static {
    let judged = request.extensions().get::<JudgedBy>().cloned();
    let key = key_of(request).cloned();
    async move {
        let Some(JudgedBy { keys, session }) = judged else { return std::future::pending().await };
        while is_valid(keys.as_ref(), key.as_deref()) && session.as_ref().is_none_or(Session::lasts) {
            sleep(LOOK_INTERVAL).await;
        }
    }
}

fn is_valid(keys: &dyn KeyRing, key: Option<&Key>) -> bool {
    match key {
        None => !keys.requires_keys(),
        Some(key) => keys.find(key.id).is_ok_and(|now| now.roles == key.roles && now.sources == key.sources),
    }
}

/// The key of a request that was judged, if it needed one.
#[must_use]
pub fn key_of(request: &Request) -> Option<&Arc<Key>> {
    match request.extensions().get() {
        Some(Admitted::With(key)) => Some(key),
        Some(Admitted::Public | Admitted::Open) | None => None,
    }
}

/// The tenant whose events a request may write and read; `None` means all. Nobody's, unless the request was let in.
#[must_use]
pub fn tenant_of(request: &Request) -> Option<Tenant> {
    match request.extensions().get() {
        Some(Admitted::With(key)) => key.tenant(),
        Some(Admitted::Open) => None,
        Some(Admitted::Public) | None => Some(Tenant::nobody()),
    }
}

#[cfg(test)]
mod tests {
    use domain::access::{KeyHash, KeyId, KeyLimits, Role};
    use domain::ports::{BoxFuture, MockKeyRing, MockSessionSealer};
    use poem::http::Method;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::access::{AccessControl, AccessRules};
    use crate::routes::{Found, find};

    const SESSION: Duration = Duration::from_secs(90);

    fn key(id: KeyId) -> Arc<Key> {
        Arc::new(Key {
            id,
            name: "shop".parse().expect("a name"),
            hash: KeyHash::new([1; 32]),
            roles: vec![Role::Read],
            sources: None,
            expires: None,
            revoked: None,
            limits: KeyLimits::default(),
        })
    }

    /// The end of the right of a request with these headers, let in while a session lasts.
    fn end_with(headers: &[(&str, &str)]) -> BoxFuture<()> {
        let (id, ends_at): (KeyId, _) = ("AAAAAAAA".parse().expect("an id"), Instant::now() + SESSION);
        let mut keys = MockKeyRing::new();
        keys.expect_requires_keys().return_const(true);
        keys.expect_find().returning(move |_| Ok(key(id)));
        keys.expect_verify().returning(move |_| Ok(key(id)));
        let mut sessions = MockSessionSealer::new();
        sessions.expect_unseal().returning(move |_| (Instant::now() < ends_at).then_some(id));
        let access = AccessControl::new(AccessRules {
            keys: Some(Arc::new(keys)),
            sessions: Some(Arc::new(sessions)),
            ..AccessRules::default()
        });
        let mut request = Request::builder().method(Method::GET).uri_str("/api/logs/tail").header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.finish();
        let Found::Route(route) = find(&Method::GET, "/api/logs/tail", |_| true) else { panic!("there is a tail") };
        assert_eq!(access.judge(&mut request, Some(route)), Ok(()));
        Box::pin(end_of_right(&request))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_began_with_a_session_ends_with_it() {
        let mut end = end_with(&[("cookie", "spillway=sealed")]);
        assert!(timeout(SESSION - LOOK_INTERVAL, end.as_mut()).await.is_err(), "it lasts");
        assert!(timeout(2 * LOOK_INTERVAL, end).await.is_ok());
        let text = domain::access::KeyText::from_random(&[10; 40]).expect("enough bytes");
        let bearer = format!("Bearer {}", text.reveal());
        let with_key = end_with(&[("authorization", &bearer), ("cookie", "spillway=sealed")]);
        assert!(timeout(2 * SESSION, with_key).await.is_err(), "a key counts before a session");
    }
}
