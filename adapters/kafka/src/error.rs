//! What to do about an error of Kafka, by its code (Kafka protocol guide, "Error codes"; negative ones are the client's own).

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What becomes of a record that the client gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It passes by itself: send it again.
    Retry,
    /// Somebody has to mend something first: say so, and send it again until it works.
    Wait,
    /// The record itself is at fault, for ever: let it go.
    Refuse,
}

/// What to do with a record whose delivery failed with this code.
///
/// What is not listed passes by itself: to send a record once more than needed costs a repeat that the store drops, to
/// give one up costs the record.
pub fn handling(code: RDKafkaErrorCode) -> Handling {
    use RDKafkaErrorCode as Code;
    match code {
        Code::InvalidRecord | Code::InvalidTimestamp => Handling::Refuse,
        // Said of a batch. The client itself refuses a record that is larger than the topic allows, so the topic has come to
        // allow less since: the next client makes smaller batches.
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

/// Whether this is said of the record itself and not perhaps of another one of the same request. The client says it of all
/// records of a request if Kafka names exactly one, and of none but those that are meant, with
/// [`RDKafkaErrorCode::InvalidRecord`], if Kafka names several.
pub fn is_of_one_record(code: RDKafkaErrorCode) -> bool {
    code == RDKafkaErrorCode::InvalidRecord
}

/// Whether reading a partition failed because its position is not there.
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
    fn only_what_is_wrong_with_a_record_itself_is_final() {
        use RDKafkaErrorCode as Code;
        for (code, expected) in [
            // Of the record.
            (Code::InvalidRecord, Handling::Refuse),
            (Code::InvalidTimestamp, Handling::Refuse),
            // Of another record of the same batch.
            (Code::InvalidDifferentRecord, Handling::Retry),
            // A broker that goes, comes, or is overtaken.
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
            // What the client does with its queue.
            (Code::PurgeQueue, Handling::Retry),
            (Code::PurgeInflight, Handling::Retry),
            (Code::MessageTimedOut, Handling::Retry),
            (Code::Fatal, Handling::Retry),
            (Code::GaplessGuarantee, Handling::Retry),
            // The idempotent producer has lost the thread: a new client begins a new one.
            (Code::OutOfOrderSequenceNumber, Handling::Retry),
            (Code::UnknownProducerId, Handling::Retry),
            (Code::InvalidProducerEpoch, Handling::Retry),
            (Code::ProducerFenced, Handling::Retry),
            // Rights, topics and settings.
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
