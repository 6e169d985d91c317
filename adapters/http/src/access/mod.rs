//! Who may do what.
//!
//! Constraints and invariants:
//! * Every role judges every request here, before anything else happens; [`crate::endpoints`] is the only caller.
//! * What a client says about itself in a header is never believed, but for a key that proves it. A gateway tells a role of
//!   the same process what it has decided by a value beside the request ([`Admitted`]), which no peer can send.
//! * A request that was not judged may read and write nothing ([`admitted::tenant_of`]).
//! * A tail and an export end with the right to them: their key or their session ([`admitted::end_of_right`]).

pub mod admitted;
pub mod audit;
mod cors;
mod credentials;
pub mod denial;
mod failures;
pub mod host;
pub mod origin;
mod session;
#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use domain::access::{Key, KeyId, KeyName, KeyRejection, Role};
use domain::ports::{KeyRing, SessionSealer, Telemetry};
use hyper::http::request::Parts as RequestHead;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Request, RequestParts};

use self::admitted::{Admitted, JudgedBy, Session, key_of};
use self::audit::{LetIn, Principal};
pub use self::cors::{InvalidOrigin, Origin, Origins, readable_by};
pub use self::credentials::X_API_KEY;
use self::credentials::{Presented, presented};
pub use self::denial::Denial;
use self::failures::{Failures, Requester};
pub use self::host::{HostName, HostNames, InvalidHostName, authority_of};
use self::origin::is_cross_origin;
use crate::client_address::{TrustedProxies, peer_address, was_forwarded};
use crate::routes::{Access, Found, Route, find};

/// What requests are judged by.
#[derive(Clone, Default)]
pub struct AccessRules {
    /// The names that requests may be sent to.
    pub hosts: HostNames,
    /// The keys; `None` if none are ever required.
    pub keys: Option<Arc<dyn KeyRing>>,
    /// The sessions of browsers; `None` if there are none.
    pub sessions: Option<Arc<dyn SessionSealer>>,
    /// The origins whose pages may use Spillway, apart from its own.
    pub origins: Origins,
    /// Whether the operator says that anyone may scrape the metrics, under any host name.
    pub open_metrics: bool,
    /// Counts what becomes of requests, if anyone wants to know.
    pub telemetry: Option<Arc<dyn Telemetry>>,
}

/// Judges requests.
#[derive(Clone)]
pub struct AccessControl {
    shared: Arc<Shared>,
    /// The proxies that may name a client.
    proxies: TrustedProxies,
    is_gateway: bool,
}

struct Shared {
    rules: AccessRules,
    failures: Failures,
}

/// A request that may not go on.
struct Refused {
    denial: Denial,
    /// The same for operators, which may say more than the client is told.
    reason: &'static str,
    key: Option<KeyId>,
    /// Whether its client has the secret of that key, or a session that it began with it.
    is_owner: bool,
    known: Option<Arc<Key>>,
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self { reason: denial.code(), denial, key: None, is_owner: false, known: None }
    }
}

impl AccessControl {
    /// Judges by these rules.
    #[must_use]
    pub fn new(rules: AccessRules) -> Self {
        let shared = Shared { rules, failures: Failures::default() };
        Self { shared: Arc::new(shared), proxies: TrustedProxies::default(), is_gateway: false }
    }

    /// The same for a role that believes these proxies when they name a client.
    #[must_use]
    pub fn behind(&self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self.clone() }
    }

    /// The same for a gateway.
    #[must_use]
    pub(crate) fn of_gateway(&self, proxies: TrustedProxies) -> Self {
        Self { is_gateway: true, ..self.behind(proxies) }
    }

    /// The origins whose pages may use Spillway, apart from its own.
    #[must_use]
    pub fn origins(&self) -> Origins {
        self.shared.rules.origins.clone()
    }

    /// Judges a request for an operation; `None` if there is none for it. What follows from its key is then found by
    /// [`key_of`] and [`admitted::tenant_of`].
    ///
    /// # Errors
    /// It may not go on.
    pub fn judge(&self, request: &mut Request, route: Option<&'static Route>) -> Result<(), Denial> {
        if request.extensions().get::<Admitted>().is_some() {
            return Ok(());
        }
        match self.admit(request, route) {
            Ok((admitted, session)) => {
                self.count_let_in(&admitted);
                request.extensions_mut().insert(admitted);
                if let Some(keys) = &self.shared.rules.keys {
                    request.extensions_mut().insert(JudgedBy { keys: Arc::clone(keys), session });
                }
                Ok(())
            }
            Err(refused) => Err(self.note_kept_out(request, route, refused)),
        }
    }

    /// The same, and begins the audit of a request that was let in here and is audited.
    ///
    /// # Errors
    /// It may not go on.
    pub(crate) fn judge_audited(
        &self,
        request: &mut Request,
        route: Option<&'static Route>,
    ) -> Result<Option<LetIn>, Denial> {
        // The gateway of this process audits what it has judged.
        let is_judged = request.extensions().get::<Admitted>().is_some();
        self.judge(request, route)?;
        let Some(route) = route.filter(|route| !is_judged && route.is_audited()) else { return Ok(None) };
        let (client, key) = (self.client(request), key_of(request).cloned());
        let principal = Principal { name: key.as_ref().map(|key| &key.name), key: key.as_ref().map(|key| key.id) };
        Ok(Some(LetIn::new(request, route.path, client, principal)))
    }

    /// Judges the head of a request from an address to a process with all roles. Returns the name of its key, if it needed
    /// one.
    ///
    /// # Errors
    /// It may not go on; the code says why.
    pub fn judge_head(&self, head: RequestHead, peer: SocketAddr) -> Result<Option<KeyName>, &'static str> {
        let parts = RequestParts::from((head, LocalAddr::default(), RemoteAddr(peer.into()), Scheme::HTTP));
        let mut request = Request::from_parts(parts, Body::empty());
        let route = match find(request.method(), request.uri().path(), |_| true) {
            Found::Route(route) => Some(route),
            Found::OtherMethods(_) | Found::Nothing => None,
        };
        self.judge(&mut request, route).map_err(|denial| denial.code())?;
        Ok(key_of(&request).map(|key| key.name.clone()))
    }

    /// Why a request may go on, and its session if it is let in with one.
    fn admit(&self, request: &Request, route: Option<&'static Route>) -> Result<(Admitted, Option<Session>), Refused> {
        let keys = self.shared.rules.keys.as_deref().filter(|keys| keys.requires_keys());
        let access = route.map(|route| route.access);
        // Probes and scrapes find an instance by whatever name, such as that of a container. Without keys, a page whose name was
        // rebound could scrape as well: then the operator must have said that anyone may.
        let is_for_any_name = match access {
            Some(Access::Monitor) => true,
            Some(Access::Scrape) => keys.is_some() || self.shared.rules.open_metrics,
            _ => false,
        };
        if !is_for_any_name {
            self.judge_sender(request, keys.is_none())?;
        }
        let (role, whole) = match access {
            // Anyone may know which operations exist.
            None | Some(Access::Monitor | Access::Anyone) => return Ok((Admitted::Public, None)),
            Some(Access::Scrape) if self.shared.rules.open_metrics => return Ok((Admitted::Public, None)),
            // Metrics count the events of all tenants.
            Some(Access::Scrape) => (Role::Operate, true),
            Some(Access::AnyKey) => {
                let Some(keys) = keys else { return Ok((Admitted::Open, None)) };
                return presented_key(request, keys).map(|key| (Admitted::With(key), None));
            }
            Some(Access::Role(role)) => (role, false),
            Some(Access::WholeRole(role)) => (role, true),
        };
        let Some(keys) = keys else { return Ok((Admitted::Open, None)) };
        let presented = presented_key(request, keys).map(|key| (key, None));
        let (key, session) = presented.or_else(|refused| match refused.key {
            // A client that presents a key does not mean its session.
            Some(_) => Err(refused),
            None => match self.key_of_session(request, keys) {
                Some(Err(Refused { denial: Denial::SessionEnded, .. }))
                    if refused.denial != Denial::Unauthenticated =>
                {
                    Err(refused)
                }
                Some(found) => found.map(|(key, session)| (key, Some(session))),
                None => Err(refused),
            },
        })?;
        let denial = match (key.has_role(role), whole && key.sources.is_some()) {
            (true, false) => return Ok((Admitted::With(key), session)),
            (false, _) => Denial::RoleMissing(role),
            (true, true) => Denial::Restricted,
        };
        Err(Refused { key: Some(key.id), is_owner: true, known: Some(key), ..denial.into() })
    }

    /// Refuses what a browser sends for a page of another site, except the opening of a link, and, as long as no keys are
    /// required, what a proxy sends that may stand for anyone.
    fn judge_sender(&self, request: &Request, open: bool) -> Result<(), Denial> {
        let authority = authority_of(request);
        if authority.is_some_and(|authority| !self.shared.rules.hosts.allow(authority)) {
            return Err(Denial::HostNotAllowed);
        }
        let is_listed = || self.shared.rules.origins.of(request.headers()).is_some();
        if is_cross_origin(request.method(), request.headers(), authority) && !is_listed() {
            return Err(Denial::CrossOrigin);
        }
        let is_trusted = || self.proxies.trusts(peer_address(request.remote_addr()));
        if self.is_gateway && open && was_forwarded(request.headers()) && !is_trusted() {
            return Err(Denial::ProxyNotTrusted);
        }
        Ok(())
    }

    fn count_let_in(&self, admitted: &Admitted) {
        match admitted {
            Admitted::Public => {}
            Admitted::Open => self.count("open"),
            Admitted::With(_) => self.count("allowed"),
        }
    }

    /// Counts and audits a refusal. Returns it as the client sees it.
    fn note_kept_out(&self, request: &Request, route: Option<&'static Route>, refused: Refused) -> Denial {
        let client = self.client(request);
        let Refused { denial, reason, key, is_owner, known } = refused;
        let is_invalid = denial == Denial::CredentialsInvalid;
        // What clients can cause in any number must not fill the log.
        let origin = match key.filter(|_| is_owner) {
            Some(key) => Requester::Key(key),
            None if is_invalid => Requester::InvalidKeys(client.into()),
            None => Requester::Address(client.into()),
        };
        if let Some(line) = self.shared.failures.refused(origin) {
            let principal = Principal { name: known.as_ref().map(|key| &key.name), key };
            audit::kept_out(request, route.map(|route| route.path), client, principal, reason, line);
        }
        match is_invalid.then(|| self.shared.failures.invalid_key(client)).flatten() {
            Some(retry_after) => {
                self.count("rate_limited");
                Denial::TooManyFailures { retry_after }
            }
            None => {
                self.count(reason);
                denial
            }
        }
    }

    fn client(&self, request: &Request) -> IpAddr {
        self.proxies.client(peer_address(request.remote_addr()), request.headers())
    }

    fn count(&self, outcome: &'static str) {
        if let Some(telemetry) = &self.shared.rules.telemetry {
            telemetry.judged(outcome);
        }
    }
}

/// The key that a request presents in a header.
fn presented_key(request: &Request, keys: &dyn KeyRing) -> Result<Arc<Key>, Refused> {
    match presented(request.headers()) {
        Presented::Nothing => Err(Denial::Unauthenticated.into()),
        Presented::Malformed => Err(rejected(KeyRejection::Malformed, None)),
        Presented::Several => Err(Refused { reason: KeyRejection::Malformed.name(), ..Denial::SeveralKeys.into() }),
        Presented::Key(key) => keys.verify(&key).map_err(|rejection| rejected(rejection, Some(key.id()))),
    }
}

fn rejected(rejection: KeyRejection, key: Option<KeyId>) -> Refused {
    // The others are said of keys whose secret nobody has shown.
    let is_owner = matches!(rejection, KeyRejection::Revoked | KeyRejection::Expired);
    Refused { reason: rejection.name(), key, is_owner, ..Denial::CredentialsInvalid.into() }
}
