use async_trait::async_trait;

use super::Cause;
use crate::dead_letter::StoredDeadLetter;

/// Why letters were not all sent. Any of the others may have been: to send all of them again is in order.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterTopicError {
    /// The topic does not take letters now: try again later.
    #[error("the topic of dead letters is unavailable")]
    Unavailable(#[source] Cause),
    /// The topic will never take this letter, such as one that is larger than it allows. Trying again does not help;
    /// without it, the others may pass.
    #[error("the topic of dead letters refuses letter {id}")]
    Refused {
        /// The letter's id.
        id: u64,
        /// Why.
        #[source]
        cause: Cause,
    },
}

/// A topic that dead letters are copied to, for whoever watches the bus rather than the store.
///
/// Each letter becomes one record with the original key and value, byte for byte; an empty key may be no key. Headers
/// give, as text: `reason`, `topic`, `partition` and `offset` where it was read, and `attempts`.
///
/// Promises: at least once. A letter may come more than once, and in any order: topic, partition and offset recognise
/// it.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait DeadLetterTopic: Send + Sync {
    /// Sends letters, and returns once every one of them would survive a crash of a broker. Ends within a bounded time.
    /// May be dropped while it waits: then any of them may have been sent.
    ///
    /// # Errors
    /// See [`DeadLetterTopicError`].
    async fn send(&self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError>;
}
