//! How to handle a Kafka error, by its code (Kafka protocol guide, "Error codes"; negative codes are the client's own).

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What happens to a record whose delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// A transient error: retry.
    Retry,
    /// An operator has to fix the cause: report it, and retry until delivery succeeds.
    Wait,
    /// The record itself can never be accepted: give it up.
    Refuse,
}

/// How to handle a record whose delivery failed with this code.
///
/// Unlisted codes count as transient: an unnecessary retry costs a repeat that the store drops, while giving up costs the
/// record.
pub fn handling(code: RDKafkaErrorCode) -> Handling {
    use RDKafkaErrorCode as Code;
    match code {
        Code::InvalidRecord | Code::InvalidTimestamp => Handling::Refuse,
        // Reported for a batch. The client itself rejects records above the topic's limit, so the limit was lowered
        // since: the next client builds smaller batches.
        Code::MessageSizeTooLarge
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::MessageBatchTooLarge
        | Code::PolicyViolation
        | Code::SecurityDisabled
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedVersion => Handling::Wait,
        _ => Handling::Retry,
    }
}

/// Whether the error means this record and not possibly another one of the same request. Kafka names the records that it
/// finds invalid. If it names one, the client reports Kafka's error for that one, and if it names several,
/// [`RDKafkaErrorCode::InvalidRecord`] for each of them; for all others of the request it reports
/// [`RDKafkaErrorCode::InvalidDifferentRecord`].
pub fn is_of_one_record(code: RDKafkaErrorCode) -> bool {
    code == RDKafkaErrorCode::InvalidRecord
}

/// Whether reading a partition failed because its position is out of range.
pub fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::NoOffset)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_a_record_itself_are_final() {
        use RDKafkaErrorCode as Code;
        for (code, expected) in [
            // Of the record.
            (Code::InvalidRecord, Handling::Refuse),
            (Code::InvalidTimestamp, Handling::Refuse),
            // Of another record of the same batch.
            (Code::InvalidDifferentRecord, Handling::Retry),
            // A broker stops, starts, or loses leadership.
            (Code::BrokerTransportFailure, Handling::Retry),
            (Code::AllBrokersDown, Handling::Retry),
            (Code::BrokerDestroy, Handling::Retry),
            (Code::LeaderNotAvailable, Handling::Retry),
            (Code::NotLeaderForPartition, Handling::Retry),
            (Code::RequestTimedOut, Handling::Retry),
            (Code::NetworkException, Handling::Retry),
            (Code::NotEnoughReplicas, Handling::Retry),
            (Code::NotEnoughReplicasAfterAppend, Handling::Retry),
            (Code::KafkaStorageError, Handling::Retry),
            (Code::InvalidMessage, Handling::Retry),
            (Code::ThrottlingQuotaExceeded, Handling::Retry),
            // Client queue operations.
            (Code::PurgeQueue, Handling::Retry),
            (Code::PurgeInflight, Handling::Retry),
            (Code::MessageTimedOut, Handling::Retry),
            (Code::Fatal, Handling::Retry),
            (Code::GaplessGuarantee, Handling::Retry),
            // The idempotent producer's sequence is broken: a new client starts a new one.
            (Code::OutOfOrderSequenceNumber, Handling::Retry),
            (Code::UnknownProducerId, Handling::Retry),
            (Code::InvalidProducerEpoch, Handling::Retry),
            (Code::ProducerFenced, Handling::Retry),
            // Authorization, topics and settings.
            (Code::MessageSizeTooLarge, Handling::Wait),
            (Code::TopicAuthorizationFailed, Handling::Wait),
            (Code::ClusterAuthorizationFailed, Handling::Wait),
            (Code::SaslAuthenticationFailed, Handling::Wait),
            (Code::Authentication, Handling::Wait),
            (Code::SSL, Handling::Wait),
            (Code::UnknownTopic, Handling::Wait),
            (Code::UnknownTopicOrPartition, Handling::Wait),
            (Code::UnknownPartition, Handling::Wait),
            (Code::PolicyViolation, Handling::Wait),
            (Code::UnsupportedCompressionType, Handling::Wait),
        ] {
            assert_eq!(handling(code), expected, "{code:?}");
        }
    }
}
