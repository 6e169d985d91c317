//! Who a request really comes from.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use poem::Addr;
use poem::http::{HeaderMap, HeaderName, header};
use poem::web::RemoteAddr;

/// The header in which proxies name whom they forward for.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The beginning of the names of headers in which proxies describe what they received.
const X_FORWARDED: &str = "x-forwarded-";

/// Whether a proxy passed a request on and says so (RFC 9110, section 7.6.3; RFC 7239).
pub fn was_forwarded(headers: &HeaderMap) -> bool {
    let forwards = |name: &HeaderName| {
        *name == header::VIA || *name == header::FORWARDED || name.as_str().starts_with(X_FORWARDED)
    };
    headers.keys().any(forwards)
}

/// The address of the other end of the connection.
pub fn peer_address(remote: &RemoteAddr) -> IpAddr {
    match &remote.0 {
        Addr::SocketAddr(address) => address.ip(),
        // Nothing but TCP is listened to.
        Addr::Unix(_) | Addr::Custom(..) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// The client of a request that a gateway in this process passes on. It travels as a value beside the request, so no peer can
/// claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedClient(pub IpAddr);

/// Networks whose hosts are believed when they name a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl From<Vec<IpNet>> for TrustedProxies {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }
}

impl TrustedProxies {
    /// Whether `address` is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request from `peer`: X-Forwarded-For is walked from the right, past trusted proxies. A
    /// hop that is not an address ends the walk; if every hop is trusted, the left-most is the client. So a forged
    /// header changes nothing unless a trusted proxy passes it on.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        // A list may have empty elements, which mean nothing (RFC 9110, section 5.6.1).
        for hop in hops.filter(|hop| !hop.trim().is_empty()) {
            if !self.trusts(client) {
                break;
            }
            match parse_hop(hop) {
                Some(address) => client = address,
                None => break,
            }
        }
        client.to_canonical()
    }
}

/// An address, as proxies write it: bare, in brackets, or with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    if let Ok(socket) = hop.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().expect("a header"));
        }
        TrustedProxies::from(trusted).client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn the_header_is_walked_from_the_right_past_trusted_proxies() {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8", "::1/128"];
        for (peer, forwarded, expected) in [
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("192.0.2.9", vec!["198.51.100.1"], "192.0.2.9"),
            ("127.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", vec!["203.0.113.7, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("127.0.0.1", vec!["203.0.113.7", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("127.0.0.1", vec!["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            ("127.0.0.1", vec!["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("127.0.0.1", vec!["garbage"], "127.0.0.1"),
            ("127.0.0.1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            ("::1", vec!["[2001:db8::1]:80"], "2001:db8::1"),
            ("::1", vec!["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:127.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(client(&trusted, peer, &forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn nobody_is_trusted_unless_said() {
        assert_eq!(client(&[], "127.0.0.1", &["198.51.100.1"]), "127.0.0.1");
    }
}
