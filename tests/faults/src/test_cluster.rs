//! Test environment of the scenarios: servers that are broken and restored, each behind a proxy, and the program under
//! test.
//!
//! Constraints and invariants:
//! * The servers belong to the harness: breaking them does not affect other tests.
//! * The program reaches PostgreSQL, Redis and, from producers, Kafka only through the proxies.
//! * Scenarios run sequentially, and each starts with everything restored.

use std::net::SocketAddr;

use e2e::servers::{OwnServers, Servers};

use crate::amounts::Amounts;
use crate::proxy::{Mode, Proxy};
use crate::store::Store;

const SERVERS: [&str; 3] = ["kafka", "postgres", "redis"];

/// Servers, proxies and the program.
pub struct TestCluster {
    servers: OwnServers,
    /// Between producers and Kafka.
    pub kafka: Proxy,
    /// Between consumers and PostgreSQL.
    pub postgres: Proxy,
    /// Between all processes and Redis.
    pub redis: Proxy,
    /// The program.
    pub binary: String,
    /// Scale of the scenarios.
    pub amounts: Amounts,
}

impl TestCluster {
    /// Starts servers and proxies; prints a message and returns `None` if they are unavailable and that is allowed.
    pub async fn prepare(binary: &str, amounts: Amounts) -> Option<Self> {
        let listen = async || Proxy::listen().await.expect("a port");
        let (kafka, postgres, redis) = (listen().await, listen().await, listen().await);
        let variables = vec![
            // Servers in containers do not have the listeners required here.
            ("SERVICES_WITHOUT_DOCKER".to_owned(), "1".to_owned()),
            ("SERVICES_KAFKA_PROXY".to_owned(), kafka.address().to_string()),
        ];
        let servers = OwnServers::start_with(&SERVERS, variables).await?;
        kafka.forward_to(address(&servers.address("TEST_KAFKA_PROXY_TARGET")));
        postgres.forward_to(address(&servers.address("TEST_POSTGRES_URL")));
        redis.forward_to(address(&servers.address("TEST_REDIS_URL")));
        Some(Self { servers, kafka, postgres, redis, binary: binary.to_owned(), amounts })
    }

    /// Distinct names for a scenario: topic, group, schema; consumers reach Kafka directly.
    #[must_use]
    pub fn names(&self) -> Servers {
        let through = |url: &str, proxy: &Proxy| url.replace(&address(url).to_string(), &proxy.address().to_string());
        Servers::at(
            self.brokers(),
            through(&self.postgres_url(), &self.postgres),
            through(&self.servers.address("TEST_REDIS_URL"), &self.redis),
        )
    }

    /// Kafka without a proxy.
    #[must_use]
    pub fn brokers(&self) -> String {
        self.servers.address("TEST_KAFKA_BROKERS")
    }

    /// PostgreSQL without a proxy.
    #[must_use]
    pub fn postgres_url(&self) -> String {
        self.servers.address("TEST_POSTGRES_URL")
    }

    /// Redis without a proxy.
    #[must_use]
    pub fn redis_address(&self) -> SocketAddr {
        address(&self.servers.address("TEST_REDIS_URL"))
    }

    /// Direct access to PostgreSQL.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { url: self.postgres_url(), schema: "public".to_owned() }
    }

    /// Applies an action to a server: `stop`, `kill`, `start`, `pause` or `resume`.
    pub async fn apply(&self, action: &str, server: &str) {
        self.servers.apply(action, server).await;
    }

    /// Restores all servers and proxies.
    pub async fn repair(&self) {
        for proxy in [&self.kafka, &self.postgres, &self.redis] {
            proxy.set(Mode::Pass);
        }
        for server in SERVERS {
            self.apply("start", server).await;
            self.apply("resume", server).await;
        }
        let reset = self.store().execute("ALTER ROLE spillway RESET default_tablespace").await;
        reset.expect("the statement succeeds");
    }
}

/// The address in a URL such as `redis://127.0.0.1:6379`, or without a scheme.
fn address(url: &str) -> SocketAddr {
    let from = url.split_once("://").map_or(url, |(_, rest)| rest);
    let from = from.split_once('@').map_or(from, |(_, rest)| rest);
    from.split('/').next().unwrap_or(from).parse().expect("an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_address() {
        for url in ["127.0.0.1:80", "redis://127.0.0.1:80", "postgres://user:word@127.0.0.1:80/database"] {
            assert_eq!(address(url), SocketAddr::from(([127, 0, 0, 1], 80)));
        }
    }
}
