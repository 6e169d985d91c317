//! How many connections each client has at a listener for agents.
//!
//! A listener has a bounded number of connections; without a limit for each client, one client could take all of them.
//!
//! Invariant: a client is kept as long as it has a connection, so the connections of the listener bound the memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::Client;
use tokio::time::Instant;

/// How often the refusals of one client are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Limits the connections of each client at one listener.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    listener: &'static str,
    connections_max: Option<NonZeroU32>,
    clients: Arc<Mutex<HashMap<Client, Connections>>>,
}

#[derive(Debug, Default)]
struct Connections {
    open: u32,
    unlogged: u64,
    logged_at: Option<Instant>,
}

/// A connection that counts for its client until it is dropped.
#[derive(Debug)]
pub struct CountedConnection {
    limit: ConnectionLimit,
    client: Client,
}

impl ConnectionLimit {
    /// Lets each client have at most so many connections at the listener with this name; `None` means unlimited.
    #[must_use]
    pub fn new(listener: &'static str, connections_max: Option<NonZeroU32>) -> Self {
        Self { listener, connections_max, clients: Arc::default() }
    }

    /// Counts a connection from this address. `None`: its client has as many as it may have, so close this one. Logs that
    /// once a minute for each client.
    #[must_use]
    pub fn admit(&self, peer: IpAddr) -> Option<CountedConnection> {
        let client = Client::from(peer);
        let refused = {
            let mut clients = self.clients();
            let connections = clients.entry(client).or_default();
            if self.connections_max.is_none_or(|max| connections.open < max.get()) {
                connections.open = connections.open.saturating_add(1);
                return Some(CountedConnection { limit: self.clone(), client });
            }
            connections.refused()?
        };
        tracing::warn!(
            %client,
            listener = self.listener,
            refused_since_last_line = refused,
            setting = "RATE_LIMIT__AGENT_CONNECTIONS_MAX",
            "a client has too many connections: further ones are closed"
        );
        None
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Client, Connections>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Counts a refused connection. Returns how many there are to log, if it is time.
    fn refused(&mut self) -> Option<u64> {
        self.unlogged += 1;
        if self.logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return None;
        }
        self.logged_at = Some(Instant::now());
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut clients = self.limit.clients();
        if let Some(connections) = clients.get_mut(&self.client) {
            connections.open = connections.open.saturating_sub(1);
            if connections.open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    proptest! {
        /// Steps: a client connects, or the oldest connection of a client ends.
        #[test]
        fn a_client_has_as_many_connections_as_it_may_and_nothing_is_kept_of_one_that_is_gone(
            max in 1_u32..5,
            steps in prop::collection::vec((0_u8..3, any::<bool>()), 0..100),
        ) {
            let limit = ConnectionLimit::new("test", NonZeroU32::new(max));
            let mut open: [Vec<CountedConnection>; 3] = Default::default();
            for (client, connects) in steps {
                let of_client = &mut open[usize::from(client)];
                if connects {
                    let admitted = limit.admit(address(client));
                    prop_assert_eq!(admitted.is_some(), of_client.len() < max as usize);
                    of_client.extend(admitted);
                } else if !of_client.is_empty() {
                    drop(of_client.remove(0));
                }
                let kept = open.iter().filter(|connections| !connections.is_empty()).count();
                prop_assert_eq!(limit.clients().len(), kept);
            }
        }
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_without_a_limit_all_are_admitted() {
        let addresses = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let limit = ConnectionLimit::new("test", Some(NonZeroU32::MIN));
        let first = limit.admit(addresses[0]);
        assert!(first.is_some() && limit.admit(addresses[1]).is_none());
        let unlimited = ConnectionLimit::new("test", None);
        let all: Vec<_> = (0..1_000).filter_map(|_| unlimited.admit(addresses[0])).collect();
        assert_eq!(all.len(), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_logged_once_a_minute() {
        let mut connections = Connections::default();
        assert_eq!((connections.refused(), connections.refused()), (Some(1), None));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!((connections.refused(), connections.refused()), (Some(2), None), "the ones in between are counted");
    }
}
