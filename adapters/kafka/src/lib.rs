//! The bus on Apache Kafka: publisher, source, topics.
//!
//! Constraints and invariants:
//! * Nothing expires inside the client: a record leaves it through a delivery report, a purge or the end of the client.
//!   After the last two it is sent again, in the old order.
//! * Of a batch, only records that Kafka will never accept are given up. Trouble with a broker, an authorization or a
//!   topic is waited out.
//! * The store owns the positions. The group's committed offsets only serve tools.
//! * No runtime thread waits for the client or drops one: threads of this crate do. Only the first client is created on
//!   the caller's thread, so that an invalid option shows at once.
//! * No client callback blocks, except the rebalance callback, which waits for the store.
//! * All conversion of error codes is in [`error`].

mod client;
mod dead_letters;
mod error;
mod lock;
mod options;
mod publisher;
mod reading;
mod source;
mod statistics;
mod thread;
mod topic;

pub use dead_letters::KafkaDeadLetterTopic;
pub use options::{ALLOWED_PROPERTIES, InvalidOptions, KafkaOptions, RecordForm, Sasl, SaslMechanism, Tls};
pub use publisher::KafkaPublisher;
pub use source::KafkaSource;
pub use statistics::{BrokerStatistics, ClientStatistics, Distribution};
pub use thread::thread_panicked;
