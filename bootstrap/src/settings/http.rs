//! Settings of all HTTP listeners.

use std::path::PathBuf;

use adapter_http::HostName;
use serde::{Deserialize, Serialize};

use super::values::{List, Word, one_of, word};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthKind {
    /// As in the section `http`; there, no.
    #[default]
    Inherited,
    /// No.
    None,
    /// If they do, it must be valid.
    Optional,
    /// Yes.
    Required,
}

impl Word for ClientAuthKind {
    const ALL: &'static [(&'static str, Self)] =
        &[("", Self::Inherited), ("none", Self::None), ("optional", Self::Optional), ("required", Self::Required)];
}

/// The oldest version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersionKind {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

impl Word for TlsVersionKind {
    const ALL: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// Settings of all HTTP listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Host names that requests may be sent to, in addition to `localhost` and IP addresses, such as `logs.example.com`.
    pub hosts: List<HostName>,
    /// PEM file of the certificate of all listeners, with those between it and its authority; empty for no TLS.
    pub tls_certificate: PathBuf,
    /// PEM file of its key.
    pub tls_key: PathBuf,
    /// PEM file of the authorities that sign the certificates of clients.
    pub tls_client_ca: PathBuf,
    /// Whether clients must show a certificate: `none`, `optional` or `required`.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub tls_client_auth: ClientAuthKind,
    /// Names of which the certificate of a client must have one; empty for any.
    pub tls_client_names: List<HostName>,
    /// Oldest version of TLS: `1.2` or `1.3`.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub tls_min: TlsVersionKind,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            hosts: List::default(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            tls_client_auth: ClientAuthKind::None,
            tls_client_names: List::default(),
            tls_min: TlsVersionKind::Tls12,
        }
    }
}
