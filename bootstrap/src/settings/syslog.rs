//! Settings of syslog.

use std::path::PathBuf;

use adapter_http::HostName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::http::ClientAuthKind;
use super::values::{List, OptionalAddress, one_of, word};

/// Syslog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Address where a producer listens for syslog over TCP and UDP, such as `0.0.0.0:514`; empty for none.
    pub listen: OptionalAddress,
    /// Address where a producer listens for syslog over TLS (RFC 5425), such as `0.0.0.0:6514`; empty for none.
    pub tls_listen: OptionalAddress,
    /// Networks that may send syslog, such as `10.0.0.0/8`; empty for all. Syslog carries no keys: where keys are required, this
    /// must be set, unless there is only `tls_listen` and its clients must show a certificate.
    pub allow: List<IpNet>,
    /// PEM file of the certificate of `tls_listen`; empty for that in `http`.
    pub tls_certificate: PathBuf,
    /// PEM file of its key; empty for that in `http`.
    pub tls_key: PathBuf,
    /// PEM file of the authorities that sign the certificates of its clients; empty for that in `http`.
    pub tls_client_ca: PathBuf,
    /// Whether its clients must show a certificate: `none`, `optional` or `required`; empty for that in `http`.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub tls_client_auth: ClientAuthKind,
    /// Names of which the certificate of a client must have one; empty for those in `http`.
    pub tls_client_names: List<HostName>,
}
