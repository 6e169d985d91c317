//! What a process does, and where it listens.

use std::net::SocketAddr;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    All,
    /// The entry point.
    Gateway,
    /// The ingestion API.
    Producer,
    /// Storing, and the query API.
    Consumer,
}

impl Role {
    /// The name of the command that runs it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Gateway => "gateway",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// Whether a process of this role does the work of `other`.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// Where an app listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The gateway.
    pub gateway: Option<SocketAddr>,
    /// The producer.
    pub producer: Option<SocketAddr>,
    /// The consumer.
    pub consumer: Option<SocketAddr>,
}
