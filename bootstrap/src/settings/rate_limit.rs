//! Settings of the rate limits.

use serde::{Deserialize, Serialize};

use super::values::Size;

/// Rate limits of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Single events per second; 0 means unlimited.
    pub single_per_second: u32,
    /// Batches per second; 0 means unlimited.
    pub batch_per_second: u32,
    /// Events per second by the protocols of agents, at all producers together with `limiter = "redis"`, and else at
    /// each; 0 means unlimited.
    pub agent_events_per_second: u32,
    /// Bytes of decoded bodies per second by the protocols of agents, at all producers together or at each, as for
    /// events; 0 means unlimited.
    pub agent_bytes_per_second: Size,
    /// Connections at a time for OTLP over gRPC, for syslog over TCP and for syslog over TLS, at each producer; further ones are
    /// closed. Each of these listeners has at most 1,000 of all clients. 0 means unlimited.
    pub agent_connections_max: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            single_per_second: 100,
            batch_per_second: 10,
            agent_events_per_second: 50_000,
            agent_bytes_per_second: Size::mb(32),
            agent_connections_max: 250,
        }
    }
}
