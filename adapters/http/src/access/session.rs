//! Sessions: a page in a browser presents a key once, and a cookie afterwards, so that it need not keep the key where a
//! script can read it.
//!
//! Constraints and invariants:
//! * A cookie counts only for requests that no other page made: the browser adds it to them too.
//! * Over TLS its name begins with `__Host-`, so that no other host and no connection in the clear can set it.
//! * Its key is looked up for each request: revoking the key ends its sessions.
//! * What was begun with a session ends with it, also if it is still being answered ([`Session::lasts`]).

use std::sync::Arc;

use domain::access::{Key, KeyRejection};
use domain::ports::{KeyRing, SESSION_DURATION};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use serde_json::{Map, Value};

use super::admitted::{Session, key_of};
use super::audit::{LetIn, Principal};
use super::host::authority_of;
use super::origin::is_of_other_page;
use super::{AccessControl, Denial, Refused, rejected};
use crate::client_address::{peer_address, was_forwarded};
use crate::error::ApiError;

/// The cookie over TLS. Browsers take a cookie with this prefix only from the host itself (RFC 6265bis, section 4.1.3.2).
const SECURE_COOKIE: &str = "__Host-spillway";
/// The cookie on the machine itself.
const PLAIN_COOKIE: &str = "spillway";
/// What a proxy says about the connection to it.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl AccessControl {
    /// The session that a request presents with its key, or why it is refused; `None` without a cookie that counts.
    pub(super) fn key_of_session(
        &self,
        request: &Request,
        keys: &dyn KeyRing,
    ) -> Option<Result<(Arc<Key>, Session), Refused>> {
        let sessions = self.shared.rules.sessions.as_ref()?;
        if is_of_other_page(request.headers(), authority_of(request)) {
            return None;
        }
        // A role behind a gateway does not know how the browser reached that.
        let plain = !self.is_gateway || !self.is_secure(request);
        let session = cookie(request.headers(), SECURE_COOKIE)
            .or_else(|| cookie(request.headers(), PLAIN_COOKIE).filter(|_| plain))?;
        let Some(id) = sessions.unseal(session) else { return Some(Err(Denial::SessionEnded.into())) };
        let session = Session::new(Arc::clone(sessions), session);
        let found = keys.find(id).map(|key| (key, session));
        Some(found.map_err(|rejection: KeyRejection| rejected(rejection, Some(id))))
    }

    /// Begins a session for a request that was let in with its key. Where no keys are required, there is nothing to begin.
    pub fn begin_session(&self, request: &Request) -> Response {
        let Some(key) = key_of(request) else { return nothing_to_say().finish() };
        let Some((name, attributes)) = self.cookie_for(request) else {
            return ApiError::from(Denial::SessionUnencrypted).into_response();
        };
        let sealed = self.shared.rules.sessions.as_deref().and_then(|sessions| sessions.seal(key.id));
        let Some(session) = sealed else { return ApiError::from(Denial::SessionsUnavailable).into_response() };
        let seconds = SESSION_DURATION.as_secs();
        let cookie = format!("{name}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{attributes}");
        nothing_to_say().header(header::SET_COOKIE, cookie).finish()
    }

    /// Tells a page whether keys are required, whether a session could begin, and whose session the browser has. It looks
    /// at no key in a header: presenting keys is limited where they count.
    pub fn show_session(&self, request: &Request) -> Response {
        let keys = self.shared.rules.keys.as_deref().filter(|keys| keys.requires_keys());
        let key = keys.and_then(|keys| self.key_of_session(request, keys)?.ok()).map(|(key, _)| key);
        let sign_in = match (keys, &self.shared.rules.sessions, self.cookie_for(request)) {
            (None, ..) => "not_needed",
            (Some(_), None, _) => "unavailable",
            (Some(_), Some(_), None) => "needs_https",
            (Some(_), Some(_), Some(_)) => "possible",
        };
        let mut session = Map::new();
        session.insert("authentication".to_owned(), if keys.is_some() { "keys" } else { "off" }.into());
        session.insert("signIn".to_owned(), sign_in.into());
        if let Some(key) = key {
            let roles: Vec<&str> = key.roles.iter().map(|role| role.name()).collect();
            let mut shown = Map::new();
            shown.insert("name".to_owned(), key.name.to_string().into());
            shown.insert("roles".to_owned(), roles.into());
            if let Some(sources) = &key.sources {
                let patterns: Vec<String> = sources.patterns().iter().map(ToString::to_string).collect();
                shown.insert("sources".to_owned(), patterns.into());
            }
            session.insert("key".to_owned(), shown.into());
        }
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-store")
            .body(Value::Object(session).to_string())
    }

    /// Ends the session of a browser: it forgets the cookie. Whose session that was is audited; without one there is nothing to
    /// audit. `path` is that of the operation.
    pub fn end_session(&self, request: &mut Request, path: &str) -> Response {
        let keys = self.shared.rules.keys.as_deref().filter(|keys| keys.requires_keys());
        let key = keys.and_then(|keys| self.key_of_session(request, keys)?.ok()).map(|(key, _)| key);
        let response = forget_session();
        if let Some(key) = key {
            let (client, principal) = (self.client(request), Principal { name: Some(&key.name), key: Some(key.id) });
            LetIn::new(request, path, client, principal).answered(&response);
        }
        response
    }

    /// The name of the cookie of a session on this connection, and what its name requires; `None` if others could read
    /// along.
    fn cookie_for(&self, request: &Request) -> Option<(&'static str, &'static str)> {
        let peer = peer_address(request.remote_addr());
        // A proxy on this machine stands for browsers that are not.
        let is_local = peer.to_canonical().is_loopback() && !was_forwarded(request.headers());
        match (self.is_secure(request), is_local) {
            (true, _) => Some((SECURE_COOKIE, "; Secure")),
            (false, true) => Some((PLAIN_COOKIE, "")),
            (false, false) => None,
        }
    }

    /// Whether the client's connection is encrypted, up to a proxy that is trusted to say so.
    fn is_secure(&self, request: &Request) -> bool {
        let says_so = || request.headers().get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme == "https");
        *request.scheme() == Scheme::HTTPS || (self.proxies.trusts(peer_address(request.remote_addr())) && says_so())
    }
}

/// Lets a browser forget both cookies.
fn forget_session() -> Response {
    nothing_to_say()
        .header(header::SET_COOKIE, format!("{SECURE_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"))
        .header(header::SET_COOKIE, format!("{PLAIN_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"))
        .finish()
}

fn nothing_to_say() -> poem::ResponseBuilder {
    Response::builder().status(StatusCode::NO_CONTENT).header(header::CACHE_CONTROL, "no-store")
}

/// The value of a cookie (RFC 6265, section 5.4).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(of, value)| (of == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers, PLAIN_COOKIE), None);
        headers.append(header::COOKIE, "a=b; xspillway=1;spillway=2; spillway=3".parse().expect("a header"));
        headers.append(header::COOKIE, "__Host-spillway=4=5; broken".parse().expect("a header"));
        assert_eq!(cookie(&headers, PLAIN_COOKIE), Some("2"));
        assert_eq!(cookie(&headers, SECURE_COOKIE), Some("4=5"));
        assert_eq!(cookie(&headers, "broken"), None);
    }

    #[test]
    fn the_end_of_a_session_removes_both_cookies() {
        let response = forget_session();
        let cookies: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
        assert_eq!((response.status(), cookies.len()), (StatusCode::NO_CONTENT, 2));
        assert!(cookies.iter().all(|cookie| cookie.to_str().is_ok_and(|cookie| cookie.contains("Max-Age=0"))));
    }
}
