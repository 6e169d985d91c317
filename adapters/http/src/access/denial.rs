//! Why a request may not go on.

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
}

impl Denial {
    /// What kind of error it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::HostNotAllowed | Self::CrossOrigin | Self::ProxyNotTrusted => ErrorClass::Forbidden,
        }
    }

    /// Stable name for clients to act on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostNotAllowed => "host_not_allowed",
            Self::CrossOrigin => "cross_origin",
            Self::ProxyNotTrusted => "proxy_not_trusted",
        }
    }

    /// What is wrong, and what to do about it.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::HostNotAllowed => {
                "the host of this request is not one of this Spillway: use an IP address or localhost, or list the name \
                 in HTTP__HOSTS"
            }
            Self::CrossOrigin => "a page of another site made this request: send it from a program, or from this site",
            Self::ProxyNotTrusted => {
                "a proxy passed this request on, and Spillway requires no keys: list the proxy in \
                 GATEWAY__TRUSTED_PROXIES if only clients that you trust can reach it, or create a key"
            }
        }
    }
}
