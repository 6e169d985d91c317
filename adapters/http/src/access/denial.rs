//! Why a request may not go on.

use std::borrow::Cow;
use std::time::Duration;

use domain::access::Role;

use crate::error::ErrorClass;

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It was sent to a host that is not one of this Spillway.
    HostNotAllowed,
    /// A page of another site made it.
    CrossOrigin,
    /// A proxy that is not trusted passed it on, and anyone could be behind it.
    ProxyNotTrusted,
    /// It presents no key.
    Unauthenticated,
    /// It presents a session that has ended, or none that is one, and no key.
    SessionEnded,
    /// It presents a key that is not valid. Which of its faults it is, the client is not told.
    CredentialsInvalid,
    /// It presents different keys.
    SeveralKeys,
    /// Its key has not the role that the operation needs.
    RoleMissing(Role),
    /// Its key is restricted to some sources, and the operation shows more.
    Restricted,
    /// Its key may not write events of the sources of all its events.
    SourceForbidden {
        /// Which source the first one has.
        detail: String,
    },
    /// It would begin a session over a connection on which others could read along.
    SessionUnencrypted,
    /// It would begin a session, and this Spillway has none.
    SessionsUnavailable,
    /// Its address has presented too many keys that are not valid.
    TooManyFailures {
        /// How long to wait.
        retry_after: Duration,
    },
}

impl Denial {
    /// What kind of error it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unauthenticated | Self::SessionEnded | Self::CredentialsInvalid | Self::SeveralKeys => {
                ErrorClass::Unauthenticated
            }
            Self::TooManyFailures { .. } => ErrorClass::RateLimited,
            Self::HostNotAllowed
            | Self::CrossOrigin
            | Self::ProxyNotTrusted
            | Self::RoleMissing(_)
            | Self::Restricted
            | Self::SourceForbidden { .. }
            | Self::SessionUnencrypted
            | Self::SessionsUnavailable => ErrorClass::Forbidden,
        }
    }

    /// Stable name for clients to act on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostNotAllowed => "host_not_allowed",
            Self::CrossOrigin => "cross_origin",
            Self::ProxyNotTrusted => "proxy_not_trusted",
            Self::Unauthenticated | Self::SessionEnded => "unauthenticated",
            Self::CredentialsInvalid | Self::SeveralKeys => "credentials_invalid",
            Self::RoleMissing(_) | Self::Restricted => "role_missing",
            Self::SourceForbidden { .. } => "source_forbidden",
            Self::SessionUnencrypted => "session_unencrypted",
            Self::SessionsUnavailable => "sessions_unavailable",
            Self::TooManyFailures { .. } => "rate_limited",
        }
    }

    /// What is wrong, and what to do about it.
    pub fn detail(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::HostNotAllowed => {
                "the host of this request is not one of this Spillway: use an IP address or localhost, or list the name \
                 in HTTP__HOSTS"
            }
            Self::CrossOrigin => "a page of another site made this request: send it from a program, or from this site",
            Self::ProxyNotTrusted => {
                "a proxy passed this request on, and Spillway requires no keys: list the proxy in \
                 GATEWAY__TRUSTED_PROXIES if only clients that you trust can reach it, or create a key"
            }
            Self::Unauthenticated => {
                "this needs a key: send Authorization: Bearer spw_…, which `spillway key create` prints"
            }
            Self::SessionEnded => "the session of this browser has ended: sign in again, or send a key in a header",
            Self::CredentialsInvalid => {
                "the key is not valid: it has a typing error, is unknown, has expired or was revoked; the audit log of \
                 Spillway says which"
            }
            Self::SeveralKeys => "this request presents two different keys: send one of them",
            Self::RoleMissing(Role::Ingest) => "this key has not the role ingest",
            Self::RoleMissing(Role::Read) => "this key has not the role read",
            Self::RoleMissing(Role::Operate) => "this key has not the role operate",
            Self::RoleMissing(Role::Admin) => "this key has not the role admin",
            Self::Restricted => "this key is restricted to some sources, and this shows more: use one that is not",
            Self::SourceForbidden { detail } => return Cow::Owned(detail.clone()),
            Self::SessionUnencrypted => {
                "a session needs TLS, unless the browser is on this machine: use https, or list the proxy in front in \
                 GATEWAY__TRUSTED_PROXIES and let it send X-Forwarded-Proto"
            }
            Self::SessionsUnavailable => {
                "this Spillway has no sessions: set AUTH__SESSION_KEY_FILE to the same file for all roles"
            }
            Self::TooManyFailures { .. } => {
                "too many keys that are not valid came from this address: wait as long as Retry-After says"
            }
        };
        Cow::Borrowed(fixed)
    }

    /// How long to wait before the request makes sense again, if it will.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyFailures { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}
