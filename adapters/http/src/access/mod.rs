//! Who may do what.
//!
//! Constraints and invariants:
//! * Every role judges every request here, before anything else happens; [`crate::endpoints`] is the only caller.
//! * What a client says about itself in a header is never believed. A gateway tells a role of the same process what it
//!   has decided by a value beside the request ([`Admitted`]), which no peer can send.

mod denial;
mod host;
mod origin;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use poem::Request;
use poem::http::{HeaderMap, HeaderName, header};

pub use self::denial::Denial;
pub use self::host::{HostName, HostNames, InvalidHostName, authority_of, is_loopback};
pub use self::origin::SEC_FETCH_SITE;
use self::origin::is_cross_origin;
use crate::client_address::{TrustedProxies, peer_address};
use crate::routes::Access;

/// Says which proxies passed a request on (RFC 9110, section 7.6.3).
const VIA: HeaderName = header::VIA;
/// The beginning of the names of headers in which proxies describe what they received.
const X_FORWARDED: &str = "x-forwarded-";

/// A request of a role in this process that was judged already.
#[derive(Clone, Copy, Debug)]
pub struct Admitted;

/// Judges requests.
#[derive(Clone)]
pub struct AccessControl {
    rules: Arc<AccessRules>,
    /// The proxies that a gateway believes; `None` if this is not a gateway.
    proxies: Option<TrustedProxies>,
}

/// What requests are judged by.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    /// The names that requests may be sent to.
    pub hosts: HostNames,
}

impl AccessControl {
    /// Judges by these rules.
    #[must_use]
    pub fn new(rules: AccessRules) -> Self {
        Self { rules: Arc::new(rules), proxies: None }
    }

    /// The same for a gateway that believes these proxies.
    #[must_use]
    pub fn of_gateway(&self, proxies: TrustedProxies) -> Self {
        Self { proxies: Some(proxies), ..self.clone() }
    }

    /// Judges a request for an operation with this access; `None` if there is no such operation.
    ///
    /// # Errors
    /// It may not go on.
    pub fn judge(&self, request: &mut Request, access: Option<Access>) -> Result<(), Denial> {
        if request.extensions().get::<Admitted>().is_some() {
            return Ok(());
        }
        // Probes and scrapes find an instance by whatever name, and change nothing.
        if !access.is_some_and(Access::is_exempt_from_host_rules) {
            self.judge_sender(request)?;
        }
        if self.proxies.is_some() {
            request.extensions_mut().insert(Admitted);
        }
        Ok(())
    }

    /// Refuses what a browser sends for a page of another site, and what a proxy sends that may stand for anyone.
    fn judge_sender(&self, request: &Request) -> Result<(), Denial> {
        let authority = authority_of(request);
        if authority.is_some_and(|authority| !self.rules.hosts.allow(authority)) {
            return Err(Denial::HostNotAllowed);
        }
        if is_cross_origin(request.method(), request.headers(), authority) {
            return Err(Denial::CrossOrigin);
        }
        let untrusted = |proxies: &TrustedProxies| !proxies.trusts(peer_address(request.remote_addr()));
        if self.proxies.as_ref().is_some_and(untrusted) && was_forwarded(request.headers()) {
            return Err(Denial::ProxyNotTrusted);
        }
        Ok(())
    }
}

/// Whether a proxy passed a request on and says so.
fn was_forwarded(headers: &HeaderMap) -> bool {
    let forwards =
        |name: &HeaderName| *name == VIA || *name == header::FORWARDED || name.as_str().starts_with(X_FORWARDED);
    headers.keys().any(forwards)
}
