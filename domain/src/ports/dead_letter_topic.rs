use async_trait::async_trait;

use super::Cause;
use crate::dead_letter::StoredDeadLetter;

/// Why some letters were not sent. Any of the others may have been sent; it is safe to send all of them again.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterTopicError {
    /// The topic does not accept letters now: retry later.
    #[error("the topic of dead letters is unavailable")]
    Unavailable(#[source] Cause),
    /// The topic never accepts this letter, for example because it is too large. Retrying does not help; the others may
    /// succeed without it.
    #[error("the topic of dead letters refuses letter {id}")]
    Refused {
        /// The letter's id.
        id: u64,
        /// Why.
        #[source]
        cause: Cause,
    },
}

/// A topic that dead letters are copied to, for operators who watch the bus rather than the store.
///
/// Each letter becomes one record with the original key and value, byte for byte; an empty key may become a null key.
/// Headers contain, as text: `reason`, the `topic`, `partition` and `offset` that it was read from, `record_index`, its
/// position in a packed record, `attempts`, and the `traceparent` of its record, if it had one.
///
/// Promises: at-least-once delivery. Letters may be repeated and may arrive in any order; topic, partition, offset and
/// record index identify a letter.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait DeadLetterTopic: Send + Sync {
    /// Sends letters, and returns once all of them would survive a crash of a broker. Ends within a bounded time. The
    /// future may be dropped: then any of them may have been sent.
    ///
    /// # Errors
    /// See [`DeadLetterTopicError`].
    async fn send(&self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError>;
}
