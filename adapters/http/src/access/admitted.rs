//! What was decided about a request, for those who answer it.
//!
//! Invariants:
//! * A request that was not judged may read and write nothing ([`tenant_of`]).
//! * An answer without an end lasts no longer than the right to it ([`end_of_right`]).

use std::sync::Arc;
use std::time::Duration;

use domain::access::{Key, Tenant};
use domain::ports::KeyRing;
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

/// The keys that a request was judged by.
#[derive(Clone)]
pub struct JudgedBy(pub Arc<dyn KeyRing>);

/// Resolves when a request that was let in would be let in no more, or would see something else: its key has ended, was
/// revoked or was changed; or keys are required by now, and it came without one. Never, unless there are keys.
pub fn end_of_right(request: &Request) -> impl Future<Output = ()> + Send + 'static {
    let keys = request.extensions().get().map(|JudgedBy(keys)| Arc::clone(keys));
    let key = key_of(request).cloned();
    async move {
        let Some(keys) = keys else { return std::future::pending().await };
        while is_valid(keys.as_ref(), key.as_deref()) {
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
