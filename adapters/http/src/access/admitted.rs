//! What was decided about a request, for those who answer it.
//!
//! Invariant: a request that was not judged may read and write nothing ([`tenant_of`]).

use std::sync::Arc;

use domain::access::{Key, Tenant};
use poem::Request;

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
