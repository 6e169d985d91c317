//! The bus on Apache Kafka: publisher, source, topics.
//!
//! Constraints and invariants:
//! * Nothing expires inside the client: a record leaves it by a delivery report, a purge or the end of the client, and in
//!   the last two cases it is sent again, in the old order.
//! * Nothing of a batch is given up but what Kafka will never take. What is wrong with a broker, a right or a topic is waited
//!   for.
//! * Positions are the store's. The group's committed offsets only serve tools.
//! * No thread of the runtime waits for the client, and none ends one: threads of this crate do. Only where a client is first
//!   opened it is made on the thread of the caller, to show a wrong option at once.
//! * No callback of the client waits for anything but the rebalance callback, which waits for the store.
//! * All conversion of error codes is in [`error`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

mod client;
mod dead_letters;
mod error;
mod options;
mod publisher;
mod reading;
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

/// Starts a thread, for what waits for the client: no thread of the runtime does.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, InvalidOptions> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| InvalidOptions(format!("cannot start a thread: {error}")))
}
