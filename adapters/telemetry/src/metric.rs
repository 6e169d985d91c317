//! The name of every metric, in one place.
//!
//! Dashboards rely on these names: they are never changed or removed. The names that begin with `kafka_producer_` come
//! from the source document and count any bus. The names that begin with `process_` are those of all Prometheus client
//! libraries.

/// A metric that Spillway exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Events that the bus acknowledged.
    MessagesSent,
    /// Events that the bus did not take.
    MessagesFailed,
    /// Time from publishing a batch to its acknowledgement.
    SendDuration,
    /// State of the circuit breaker in front of the bus, by name and state.
    CircuitBreakerState,
    /// How often the circuit breaker entered a state.
    CircuitBreakerEntered,
    /// Memory left for events that are not acknowledged.
    BufferAvailable,
    /// Memory for events that are not acknowledged.
    BufferTotal,
    /// Age of the oldest accepted event that is not acknowledged.
    OldestBufferedAge,
    /// Events accepted by a producer, by guarantee.
    EventsAccepted,
    /// Events found in the journal of an earlier or another process, by guarantee.
    EventsRecovered,
    /// Bytes of adopted journals that could not be read.
    JournalDamagedBytes,
    /// Accepted events that the bus acknowledged, by guarantee.
    EventsAcknowledged,
    /// Accepted events that were lost, by guarantee and reason.
    EventsDropped,
    /// Events in the journal, by guarantee.
    EventsJournaled,
    /// Accepted events that are neither acknowledged nor journaled yet, by guarantee.
    EventsBuffered,
    /// Bytes of the journal.
    JournalBytes,
    /// Maximum bytes of the journal.
    JournalBytesMax,
    /// Age of the oldest event in the journal.
    JournalOldestAge,
    /// Whether the journal can be written.
    JournalUp,
    /// Bytes of batches with rejected records that wait to be kept.
    RefusedUnkept,
    /// Answers, by role and status, with their duration.
    RequestDuration,
    /// Open connections, by role.
    Connections,
    /// Bytes of request bodies in progress and of large answers being sent, by role.
    BodyBytes,
    /// Instances behind a gateway, by role and state.
    Upstreams,
    /// Whether a dependency of a process is healthy, by component.
    ComponentUp,
    /// Bytes left on the file system of the data directory.
    DataDirAvailable,
    /// Bytes of the file system of the data directory.
    DataDirSize,
    /// Events refused by a producer, by code.
    EventsRefused,
    /// Requests refused by the rate limit, by class.
    RequestsRateLimited,
    /// Requests that access control let in or kept out, by outcome.
    Auth,
    /// When the certificate of a listener ends, by role.
    TlsCertificateExpiry,
    /// Events that agents sent and that were accepted, by protocol.
    AgentEvents,
    /// Those of them that are stored as text, by protocol.
    AgentEventsAsText,
    /// Requests of agents that were held, by protocol.
    AgentRequestsHeld,
    /// Events in the records that a consumer read.
    RecordsFetched,
    /// Events stored by a consumer.
    EventsStored,
    /// Time from receipt to commit, of the oldest event of each transaction.
    EndToEnd,
    /// Repeats that a consumer's store dropped.
    EventsDeduplicated,
    /// Records that can never be stored.
    EventsDeadLettered,
    /// Events that a consumer read and abandoned.
    RecordsGivenUp,
    /// Events that a consumer has read and not yet stored.
    RecordsInWork,
    /// Records between a consumer's position and the end of a partition. A packed record counts as one.
    ConsumerLagRecords,
    /// Events in these records, estimated.
    ConsumerLagEvents,
    /// Age of the oldest record that a consumer has not stored.
    ConsumerLagAge,
    /// Bytes of the sealed segments.
    SegmentBytes,
    /// Sealed segments that cannot be read.
    SegmentsUnreadable,
    /// Alerts, by name and outcome.
    Alerts,
    /// Alerts that were dropped because the queue was full.
    AlertsDropped,
    /// CPU time of all threads of the process.
    ProcessCpu,
    /// Memory of the process that is not swapped out.
    ProcessResidentMemory,
    /// Open files and connections of the process.
    ProcessOpenFds,
    /// Maximum open files and connections of the process.
    ProcessMaxFds,
    /// When the process was started.
    ProcessStart,
    /// Threads that run tasks.
    RuntimeWorkers,
    /// Tasks that have not finished.
    RuntimeTasks,
    /// Tasks that wait for any thread.
    RuntimeQueueDepth,
    /// Records in the queues of the Kafka client.
    KafkaQueueMessages,
    /// Bytes of the records in the queues of the Kafka client.
    KafkaQueueBytes,
    /// Time from a request to its answer, by broker and quantile.
    KafkaBrokerRtt,
    /// Records that wait to be sent, by broker.
    KafkaBrokerOutbuf,
    /// Size of the batches of the Kafka client, by quantile.
    KafkaBatchBytes,
    /// Events in the batches of the Kafka client, by quantile.
    KafkaBatchEvents,
    /// Version of this build, always 1.
    BuildInfo,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// Its name in Prometheus.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 63] = [
        Self::MessagesSent,
        Self::MessagesFailed,
        Self::SendDuration,
        Self::CircuitBreakerState,
        Self::CircuitBreakerEntered,
        Self::BufferAvailable,
        Self::BufferTotal,
        Self::OldestBufferedAge,
        Self::EventsAccepted,
        Self::EventsRecovered,
        Self::JournalDamagedBytes,
        Self::EventsAcknowledged,
        Self::EventsDropped,
        Self::EventsJournaled,
        Self::EventsBuffered,
        Self::JournalBytes,
        Self::JournalBytesMax,
        Self::JournalOldestAge,
        Self::JournalUp,
        Self::RefusedUnkept,
        Self::EventsRefused,
        Self::RequestsRateLimited,
        Self::Auth,
        Self::TlsCertificateExpiry,
        Self::AgentEvents,
        Self::AgentEventsAsText,
        Self::AgentRequestsHeld,
        Self::RequestDuration,
        Self::Connections,
        Self::BodyBytes,
        Self::Upstreams,
        Self::ComponentUp,
        Self::DataDirAvailable,
        Self::DataDirSize,
        Self::RecordsFetched,
        Self::EventsStored,
        Self::EndToEnd,
        Self::EventsDeduplicated,
        Self::EventsDeadLettered,
        Self::RecordsGivenUp,
        Self::RecordsInWork,
        Self::ConsumerLagRecords,
        Self::ConsumerLagEvents,
        Self::ConsumerLagAge,
        Self::SegmentBytes,
        Self::SegmentsUnreadable,
        Self::Alerts,
        Self::AlertsDropped,
        Self::ProcessCpu,
        Self::ProcessResidentMemory,
        Self::ProcessOpenFds,
        Self::ProcessMaxFds,
        Self::ProcessStart,
        Self::RuntimeWorkers,
        Self::RuntimeTasks,
        Self::RuntimeQueueDepth,
        Self::KafkaQueueMessages,
        Self::KafkaQueueBytes,
        Self::KafkaBrokerRtt,
        Self::KafkaBrokerOutbuf,
        Self::KafkaBatchBytes,
        Self::KafkaBatchEvents,
        Self::BuildInfo,
    ];

    /// Its name in Prometheus.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MessagesSent => "kafka_producer_messages_sent_total",
            Self::MessagesFailed => "kafka_producer_messages_failed_total",
            Self::SendDuration => "kafka_producer_send_duration_seconds",
            Self::CircuitBreakerState => "resilience4j_circuitbreaker_state",
            Self::CircuitBreakerEntered => "spillway_circuitbreaker_entered_total",
            Self::BufferAvailable => "kafka_producer_buffer_available_bytes",
            Self::BufferTotal => "kafka_producer_buffer_total_bytes",
            Self::OldestBufferedAge => "spillway_oldest_buffered_age_seconds",
            Self::EventsAccepted => "spillway_events_accepted_total",
            Self::EventsAcknowledged => "spillway_events_acknowledged_total",
            Self::EventsDropped => "spillway_events_dropped_total",
            Self::EventsRecovered => "spillway_events_recovered_total",
            Self::JournalDamagedBytes => "spillway_journal_damaged_bytes_total",
            Self::EventsJournaled => "spillway_events_journaled",
            Self::EventsBuffered => "spillway_events_buffered",
            Self::JournalBytes => "spillway_journal_bytes",
            Self::JournalBytesMax => "spillway_journal_max_bytes",
            Self::JournalOldestAge => "spillway_journal_oldest_age_seconds",
            Self::JournalUp => "spillway_journal_up",
            Self::RefusedUnkept => "spillway_refused_unkept_bytes",
            Self::RequestDuration => "spillway_http_request_duration_seconds",
            Self::Connections => "spillway_http_connections",
            Self::BodyBytes => "spillway_http_body_bytes",
            Self::Upstreams => "spillway_upstream_instances",
            Self::ComponentUp => "spillway_component_up",
            Self::DataDirAvailable => "spillway_data_dir_available_bytes",
            Self::DataDirSize => "spillway_data_dir_size_bytes",
            Self::RecordsGivenUp => "spillway_records_given_up_total",
            Self::RecordsInWork => "spillway_records_in_work",
            Self::EventsRefused => "spillway_events_refused_total",
            Self::RequestsRateLimited => "spillway_requests_rate_limited_total",
            Self::Auth => "spillway_auth_total",
            Self::TlsCertificateExpiry => "spillway_tls_certificate_expiry_seconds",
            Self::AgentEvents => "spillway_agent_events_total",
            Self::AgentEventsAsText => "spillway_agent_events_as_text_total",
            Self::AgentRequestsHeld => "spillway_agent_requests_held_total",
            Self::RecordsFetched => "spillway_records_fetched_total",
            Self::EventsStored => "spillway_events_stored_total",
            Self::EndToEnd => "spillway_end_to_end_seconds",
            Self::EventsDeduplicated => "spillway_events_deduplicated_total",
            Self::EventsDeadLettered => "spillway_events_dead_lettered_total",
            Self::ConsumerLagRecords => "kafka_consumer_lag_records",
            Self::ConsumerLagEvents => "kafka_consumer_lag_events",
            Self::ConsumerLagAge => "kafka_consumer_lag_seconds",
            Self::SegmentBytes => "spillway_segment_bytes",
            Self::SegmentsUnreadable => "spillway_segments_unreadable",
            Self::Alerts => "spillway_alerts_total",
            Self::AlertsDropped => "spillway_alerts_dropped_total",
            Self::ProcessCpu => "process_cpu_seconds_total",
            Self::ProcessResidentMemory => "process_resident_memory_bytes",
            Self::ProcessOpenFds => "process_open_fds",
            Self::ProcessMaxFds => "process_max_fds",
            Self::ProcessStart => "process_start_time_seconds",
            Self::RuntimeWorkers => "spillway_runtime_workers",
            Self::RuntimeTasks => "spillway_runtime_alive_tasks",
            Self::RuntimeQueueDepth => "spillway_runtime_global_queue_depth",
            Self::KafkaQueueMessages => "spillway_kafka_client_queue_messages",
            Self::KafkaQueueBytes => "spillway_kafka_client_queue_bytes",
            Self::KafkaBrokerRtt => "spillway_kafka_broker_rtt_seconds",
            Self::KafkaBrokerOutbuf => "spillway_kafka_broker_outbuf_messages",
            Self::KafkaBatchBytes => "spillway_kafka_batch_size_bytes",
            Self::KafkaBatchEvents => "spillway_kafka_batch_size_events",
            Self::BuildInfo => "spillway_build_info",
        }
    }

    /// Its help text.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::MessagesSent => "Events that the bus acknowledged",
            Self::MessagesFailed => "Events that the bus did not take",
            Self::SendDuration => "Time from publishing a batch to its acknowledgement",
            Self::CircuitBreakerState => "1 for the state that the circuit breaker in front of the bus is in, else 0",
            Self::CircuitBreakerEntered => "How often the circuit breaker in front of the bus entered a state",
            Self::BufferAvailable => "Memory left for events that are not acknowledged yet",
            Self::BufferTotal => "Memory for events that are not acknowledged yet",
            Self::OldestBufferedAge => "Age of the oldest accepted event that is in memory only",
            Self::EventsAccepted => "Events accepted by this producer",
            Self::EventsAcknowledged => "Accepted events that the bus acknowledged",
            Self::EventsDropped => "Accepted events that were lost",
            Self::EventsRecovered => "Events that this producer found in the journal of an earlier or another process",
            Self::JournalDamagedBytes => "Bytes of journals of an earlier or another process that could not be read",
            Self::EventsJournaled => "Accepted or recovered events on disk that the bus has not acknowledged yet",
            Self::EventsBuffered => "Accepted events in memory only",
            Self::JournalBytes => "Bytes of the journal on disk, including adopted ones",
            Self::JournalBytesMax => "Maximum bytes of the journal on disk",
            Self::JournalOldestAge => "Time since the receipt of the oldest event in the journal",
            Self::JournalUp => "1 while the journal can be written, else 0",
            Self::RefusedUnkept => {
                "Bytes in memory of batches with records that the bus permanently rejected and that cannot be kept on disk"
            }
            Self::RequestDuration => "Time from the end of a request head to the beginning of the answer",
            Self::Connections => "Open connections",
            Self::BodyBytes => "Bytes of request bodies in progress and of large answers being sent",
            Self::ComponentUp => "1 while a component of this process is healthy, else 0; checked every 5 s",
            Self::DataDirAvailable => "Bytes left on the file system of DATA_DIR",
            Self::DataDirSize => "Bytes of the file system of DATA_DIR",
            Self::Upstreams => {
                "Instances behind this gateway: available, unready (not ready for requests), or ejected (after failures)"
            }
            Self::RecordsGivenUp => "Events that this consumer read but did not store: they are read again",
            Self::RecordsInWork => "Events that this consumer has read and not stored yet",
            Self::EventsRefused => "Events refused by this producer",
            Self::RequestsRateLimited => "Requests refused by the rate limit",
            Self::Auth => "Requests that access control let in (allowed; open, without keys) or kept out, by outcome",
            Self::TlsCertificateExpiry => "When the certificate of a listener ends, since the Unix epoch",
            Self::AgentEvents => "Events that agents sent and this producer accepted",
            Self::AgentEventsAsText => "Events of agents that are stored in part as text, because they break a rule",
            Self::AgentRequestsHeld => "Requests of agents that waited for room or for the rate limit",
            Self::RecordsFetched => {
                "Events read from the bus by this consumer; a record that cannot be decoded counts as one"
            }
            Self::EventsStored => "Events stored by this consumer",
            Self::EndToEnd => "Time from receipt to commit, of the oldest event of each transaction",
            Self::EventsDeduplicated => "Events dropped by this consumer because they were stored before",
            Self::EventsDeadLettered => {
                "Events that can never be stored, or that the bus permanently rejected: set aside"
            }
            Self::ConsumerLagRecords => {
                "Records on the bus that are not stored yet, of the partitions that this consumer reads; a packed record, \
                 which has several events, counts as one"
            }
            Self::ConsumerLagEvents => {
                "Events in these records, estimated from the number of events in the records that were read last"
            }
            Self::ConsumerLagAge => "Time since the receipt of the oldest record that is not stored yet",
            Self::SegmentBytes => "Bytes of the sealed segments of the embedded store",
            Self::SegmentsUnreadable => "Sealed segments that failed and have not been read since",
            Self::Alerts => "Alerts by outcome: only logged, delivered to the webhook, or failed",
            Self::AlertsDropped => "Alerts that were not sent to the webhook because the queue was full",
            Self::ProcessCpu => "CPU time of all threads of this process, in user and kernel mode",
            Self::ProcessResidentMemory => "Memory of this process that is not swapped out",
            Self::ProcessOpenFds => "Open file descriptors: files and connections",
            Self::ProcessMaxFds => "Maximum number of open file descriptors",
            Self::ProcessStart => "Start time of this process, since the Unix epoch",
            Self::RuntimeWorkers => "Threads that run tasks",
            Self::RuntimeTasks => "Tasks that have not finished",
            Self::RuntimeQueueDepth => "Tasks that are ready to run and wait for any of the threads",
            Self::KafkaQueueMessages => "Records in the Kafka client that are not reported yet",
            Self::KafkaQueueBytes => "Bytes of the records in the Kafka client that are not reported yet",
            Self::KafkaBrokerRtt => "Time from a request to a broker to its answer, in the last 15 seconds",
            Self::KafkaBrokerOutbuf => "Records in requests that wait to be written to a broker's connection",
            Self::KafkaBatchBytes => "Size of the batches that the Kafka client built in the last 15 seconds",
            Self::KafkaBatchEvents => "Records in the batches that the Kafka client built in the last 15 seconds",
            Self::BuildInfo => "Version of this build",
        }
    }

    /// The names of its labels, without `le` of a histogram.
    #[must_use]
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::CircuitBreakerState => &["name", "state"],
            Self::CircuitBreakerEntered => &["state"],
            Self::EventsAccepted
            | Self::EventsRecovered
            | Self::EventsAcknowledged
            | Self::EventsDeadLettered
            | Self::EventsJournaled
            | Self::EventsBuffered => &["guarantee"],
            Self::EventsDropped => &["guarantee", "reason"],
            Self::RequestDuration => &["role", "status"],
            Self::Connections | Self::BodyBytes | Self::TlsCertificateExpiry => &["role"],
            Self::Upstreams => &["role", "state"],
            Self::ComponentUp => &["component"],
            Self::EventsRefused => &["code"],
            Self::RequestsRateLimited => &["class"],
            Self::Auth => &["outcome"],
            Self::AgentEvents | Self::AgentEventsAsText | Self::AgentRequestsHeld => &["protocol"],
            Self::ConsumerLagRecords | Self::ConsumerLagEvents | Self::ConsumerLagAge => &["partition"],
            Self::Alerts => &["name", "outcome"],
            Self::KafkaBrokerRtt => &["broker", "quantile"],
            Self::KafkaBrokerOutbuf => &["broker"],
            Self::KafkaBatchBytes | Self::KafkaBatchEvents => &["quantile"],
            Self::BuildInfo => &["version"],
            _ => &[],
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::SendDuration | Self::RequestDuration | Self::EndToEnd => Kind::Histogram,
            Self::CircuitBreakerState
            | Self::BufferAvailable
            | Self::BufferTotal
            | Self::OldestBufferedAge
            | Self::EventsJournaled
            | Self::EventsBuffered
            | Self::JournalBytes
            | Self::JournalBytesMax
            | Self::JournalOldestAge
            | Self::JournalUp
            | Self::RefusedUnkept
            | Self::TlsCertificateExpiry
            | Self::Connections
            | Self::BodyBytes
            | Self::Upstreams
            | Self::ComponentUp
            | Self::DataDirAvailable
            | Self::DataDirSize
            | Self::RecordsInWork
            | Self::ConsumerLagRecords
            | Self::ConsumerLagEvents
            | Self::ConsumerLagAge
            | Self::SegmentBytes
            | Self::SegmentsUnreadable
            | Self::ProcessResidentMemory
            | Self::ProcessOpenFds
            | Self::ProcessMaxFds
            | Self::ProcessStart
            | Self::RuntimeWorkers
            | Self::RuntimeTasks
            | Self::RuntimeQueueDepth
            | Self::KafkaQueueMessages
            | Self::KafkaQueueBytes
            | Self::KafkaBrokerRtt
            | Self::KafkaBrokerOutbuf
            | Self::KafkaBatchBytes
            | Self::KafkaBatchEvents
            | Self::BuildInfo => Kind::Gauge,
            Self::MessagesSent
            | Self::MessagesFailed
            | Self::CircuitBreakerEntered
            | Self::EventsAccepted
            | Self::EventsRecovered
            | Self::JournalDamagedBytes
            | Self::EventsAcknowledged
            | Self::EventsDropped
            | Self::RecordsGivenUp
            | Self::EventsRefused
            | Self::RequestsRateLimited
            | Self::Auth
            | Self::AgentEvents
            | Self::AgentEventsAsText
            | Self::AgentRequestsHeld
            | Self::RecordsFetched
            | Self::EventsStored
            | Self::EventsDeduplicated
            | Self::EventsDeadLettered
            | Self::Alerts
            | Self::AlertsDropped
            | Self::ProcessCpu => Kind::Counter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_contract() {
        for metric in Metric::ALL {
            let name = metric.name();
            let prefixes =
                ["kafka_producer_", "kafka_consumer_", "process_", "resilience4j_circuitbreaker_", "spillway_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
        }
    }
}
