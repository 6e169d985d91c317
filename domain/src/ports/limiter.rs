use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

use crate::access::{KeyName, TenantId};

/// Maximum number of clients whose buckets are kept.
pub const CLIENTS_MAX: usize = 100_000;

/// The client that a limit applies to: an IPv4 address, an IPv6 /64, or the keys of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(Identity);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Identity {
    Address(IpAddr),
    Keys(TenantId),
}

impl Client {
    /// The keys with this name, from whatever address.
    #[must_use]
    pub fn with_keys(name: &KeyName) -> Self {
        Self(Identity::Keys(TenantId::of_name(name.as_str())))
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(Identity::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

/// The address; for a network, its first address; for keys, `key-` and a hash of their name.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Identity::Address(address) => address.fmt(f),
            Identity::Keys(id) => write!(f, "key-{id:?}"),
        }
    }
}

/// What kind of ingestion request it is. A client has a bucket of requests for each class but [`RequestClass::Agent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestClass {
    /// One event per request.
    Single,
    /// Many events per request.
    Batch,
    /// Of a log agent or a logging library, by its own protocol. Limited by events and bytes: see [`AgentLimiter`].
    Agent,
}

impl RequestClass {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::Single, Self::Batch, Self::Agent];

    /// Its name in metrics and keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
            Self::Agent => "agent",
        }
    }
}

/// Requests per second for each class; `None` means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// For [`RequestClass::Single`].
    pub single_per_second: Option<NonZeroU32>,
    /// For [`RequestClass::Batch`].
    pub batch_per_second: Option<NonZeroU32>,
}

impl RateLimits {
    /// The limit of a class.
    #[must_use]
    pub fn per_second(&self, class: RequestClass) -> Option<NonZeroU32> {
        match class {
            RequestClass::Single => self.single_per_second,
            RequestClass::Batch => self.batch_per_second,
            RequestClass::Agent => None,
        }
    }
}

/// The decision of the limiter, with the values that the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDecision {
    /// Whether the request may proceed.
    pub allowed: bool,
    /// Requests per second.
    pub limit: u32,
    /// Requests left now.
    pub remaining: u32,
    /// Time until the full burst is available again.
    pub reset_after: Duration,
    /// Time until the next request may be allowed; zero if this one was.
    pub retry_after: Duration,
}

/// Limits the request rate of each client.
///
/// A client at 90 % of its limit is never refused; one at five times its limit over ten seconds gets ten times the
/// limit and one burst, within 5 %. Never fails: without its server a limiter decides locally. Keeps at most
/// [`CLIENTS_MAX`] clients.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes one request of `class` from the bucket of `client`; `None` if the class is unlimited.
    async fn take(&self, client: Client, class: RequestClass) -> Option<RateDecision>;
}

/// What the agents of one client may send, with a burst of one second's worth; `None` means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentLimits {
    /// Events per second.
    pub events_per_second: Option<NonZeroU32>,
    /// Bytes of decoded bodies per second.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// Limits what the agents of each client send, by events and bytes.
///
/// A request may begin as long as its client has not used up its allowance, and is charged once its size is known: so
/// every request is accepted or refused as a whole, before its body is read, and a client may overdraw by the requests
/// that it has in work. A request that is refused or given up is not charged. An implementation that several processes
/// share may learn late what the others charged, and never waits for that. Without its server it limits by itself. Keeps
/// at most [`CLIENTS_MAX`] clients.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AgentLimiter: Send + Sync {
    /// How long until the client may begin another request; `None` if it may now.
    fn wait(&self, client: Client) -> Option<Duration>;

    /// Charges a client for a request of `events` events in `bytes` bytes.
    fn charge(&self, client: Client, events: usize, bytes: usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_ipv4_address_is_itself() {
        assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::1"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn keys_of_one_name_are_one_client() {
        let keys = |name: &str| Client::with_keys(&name.parse().expect("a name"));
        assert_eq!(keys("shop"), keys("shop"));
        assert_ne!(keys("shop"), keys("till"));
        assert!(keys("shop").to_string().starts_with("key-"));
    }
}
