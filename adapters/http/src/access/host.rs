//! The host that a request was sent to.
//!
//! A page of another site can make its own name resolve to an address of this machine (DNS rebinding); its requests then
//! have that name in `Host`. An IP address cannot be rebound, and neither can `localhost` (RFC 6761, section 6.3).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use poem::Request;
use poem::http::header;

/// Maximum length of a DNS name, in bytes (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A DNS name in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// The text is not a DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a host, such as logs.example.com: without scheme, port and path")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let is_label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(InvalidHostName);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that requests may be sent to, in addition to IP addresses and `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames(BTreeSet<String>);

impl From<Vec<HostName>> for HostNames {
    fn from(names: Vec<HostName>) -> Self {
        Self(names.into_iter().map(|HostName(name)| name).collect())
    }
}

impl HostNames {
    /// Whether a request may be sent to this host.
    #[must_use]
    pub fn allow(&self, authority: &str) -> bool {
        match Host::parse(authority) {
            Some(Host::Address(_)) => true,
            Some(Host::Name(name)) => is_localhost(name) || self.0.contains(&name.to_ascii_lowercase()),
            None => false,
        }
    }
}

/// The host of an authority.
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// The host of `host` or `host:port` (RFC 9110, section 7.2); `None` for any other text.
    fn parse(authority: &'a str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Self::Address(address.parse::<Ipv6Addr>().ok()?.into()), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at_checked(end)?;
                (host.parse().map_or(Self::Name(host), Self::Address), port)
            }
        };
        let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
        (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host)
    }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

/// Whether an authority names the loopback interface.
#[must_use]
pub fn is_loopback(authority: &str) -> bool {
    match Host::parse(authority) {
        Some(Host::Address(address)) => address.to_canonical().is_loopback(),
        Some(Host::Name(name)) => is_localhost(name),
        None => false,
    }
}

/// The authority that a request was sent to. That of the request target comes before the header `Host` (RFC 9112,
/// section 3.2.2). `None` if there is none, as in HTTP/1.0; empty if it is not text.
#[must_use]
pub fn authority_of(request: &Request) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> HostNames {
        vec!["logs.example.com".parse::<HostName>().expect("a name"), "Producers".parse().expect("a name")].into()
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_allowed() {
        for allowed in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "192.0.2.1:8080",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST:8080",
            "logs.example.com",
            "Logs.Example.Com:443",
            "producers:8081",
        ] {
            assert!(names().allow(allowed), "{allowed}");
        }
        for refused in [
            "",
            "x",
            "example.com",
            "evil.logs.example.com",
            "logs.example.com.evil.test",
            "logs.example.com:port",
            "user@localhost",
            "localhost@evil.test",
            "localhost.evil.test",
            "[::1",
            "[::1]x",
            "[localhost]",
            "[127.0.0.1]",
            "::1",
            "127.0.0.1:8080:1",
            "0x7f.1",
            "127.1",
            "localhost, evil.test",
        ] {
            assert!(!names().allow(refused), "{refused}");
        }
    }

    #[test]
    fn only_loopback_hosts_are_of_this_machine() {
        for own in ["localhost", "localhost:8081", "127.0.0.1:8081", "127.9.9.9", "[::1]:8081", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["192.0.2.1", "logs.example.com", "logs.example.com:8081", "", "0.0.0.0", "[::]"] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn names_have_no_scheme_port_or_wildcard() {
        for wrong in ["", ".", "a..b", "a:80", "http://a", "a/b", "*.example.com", "a b", "ä.example", &"a".repeat(254)]
        {
            assert_eq!(wrong.parse::<HostName>(), Err(InvalidHostName), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_not_listed_is_refused_with_and_without_a_port(name in "[a-z]{1,9}\\.test", port in any::<u16>()) {
            prop_assert!(!names().allow(&name));
            let with_port = format!("{name}:{port}");
            prop_assert!(!names().allow(&with_port));
            let listed: HostNames = vec![name.parse::<HostName>().expect("a name")].into();
            let allowed = listed.allow(&with_port);
            prop_assert!(allowed);
        }
    }
}
