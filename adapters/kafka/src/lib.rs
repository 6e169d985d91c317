//! The bus on Apache Kafka: publisher, source, topics.
//!
//! Constraints and invariants:
//! * Nothing expires inside the client: a record leaves it by a delivery report, a purge or the end of the client, and in
//!   the last two cases it is sent again, in the old order.
//! * Nothing of a batch is given up but what Kafka will never take. What is wrong with a broker, a right or a topic is waited
//!   for.
//! * Positions are the store's. The group's committed offsets only serve tools.
//! * No callback of the client waits for anything but the rebalance callback, which waits for the store.
//! * All conversion of error codes is in [`error`].

use std::sync::{Mutex, MutexGuard, PoisonError};

mod client;
mod dead_letters;
mod error;
mod options;
mod publisher;
mod source;
mod statistics;
mod topic;

pub use dead_letters::KafkaDeadLetterTopic;
pub use options::{GUARANTEED_PROPERTIES, InvalidOptions, KafkaOptions, Sasl, SaslMechanism, Tls};
pub use publisher::KafkaPublisher;
pub use source::KafkaSource;
pub use statistics::{BrokerStatistics, ClientStatistics, Distribution};

/// Locks what no panic can leave half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
