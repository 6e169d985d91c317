//! The name of every metric, in one place.
//!
//! Dashboards rely on these names: they are only ever added to. Those that begin with `kafka_producer_` are
//! named by the source document and count the bus, whichever it is.

/// A metric that Spillway exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Events that the bus acknowledged.
    MessagesSent,
    /// Events that the bus did not take.
    MessagesFailed,
    /// From publishing a batch to its acknowledgement.
    SendDuration,
    /// Events accepted by a producer, by guarantee.
    EventsAccepted,
    /// Events refused by a producer, by code.
    EventsRefused,
    /// Requests refused by the rate limit, by class.
    RequestsRateLimited,
    /// Records read by a consumer.
    RecordsFetched,
    /// Events stored by a consumer.
    EventsStored,
    /// Repeats that a consumer's store dropped.
    EventsDeduplicated,
    /// Records that can never be stored.
    EventsDeadLettered,
    /// Records between a consumer's position and the end of a partition.
    ConsumerLag,
    /// Version of this build, always 1.
    BuildInfo,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 12] = [
        Self::MessagesSent,
        Self::MessagesFailed,
        Self::SendDuration,
        Self::EventsAccepted,
        Self::EventsRefused,
        Self::RequestsRateLimited,
        Self::RecordsFetched,
        Self::EventsStored,
        Self::EventsDeduplicated,
        Self::EventsDeadLettered,
        Self::ConsumerLag,
        Self::BuildInfo,
    ];

    /// Its name in Prometheus.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MessagesSent => "kafka_producer_messages_sent_total",
            Self::MessagesFailed => "kafka_producer_messages_failed_total",
            Self::SendDuration => "kafka_producer_send_duration_seconds",
            Self::EventsAccepted => "spillway_events_accepted_total",
            Self::EventsRefused => "spillway_events_refused_total",
            Self::RequestsRateLimited => "spillway_requests_rate_limited_total",
            Self::RecordsFetched => "spillway_records_fetched_total",
            Self::EventsStored => "spillway_events_stored_total",
            Self::EventsDeduplicated => "spillway_events_deduplicated_total",
            Self::EventsDeadLettered => "spillway_events_dead_lettered_total",
            Self::ConsumerLag => "kafka_consumer_lag_records",
            Self::BuildInfo => "spillway_build_info",
        }
    }

    /// What it means.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::MessagesSent => "Events that the bus acknowledged",
            Self::MessagesFailed => "Events that the bus did not take",
            Self::SendDuration => "Time from publishing a batch to its acknowledgement",
            Self::EventsAccepted => "Events accepted by this producer",
            Self::EventsRefused => "Events refused by this producer",
            Self::RequestsRateLimited => "Requests refused by the rate limit",
            Self::RecordsFetched => "Records read from the bus by this consumer",
            Self::EventsStored => "Events stored by this consumer",
            Self::EventsDeduplicated => "Events dropped by this consumer because they were stored before",
            Self::EventsDeadLettered => "Records that can never be stored as events",
            Self::ConsumerLag => "Records on the bus that are not stored yet",
            Self::BuildInfo => "Version of this build",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::SendDuration => Kind::Histogram,
            Self::ConsumerLag | Self::BuildInfo => Kind::Gauge,
            Self::MessagesSent
            | Self::MessagesFailed
            | Self::EventsAccepted
            | Self::EventsRefused
            | Self::RequestsRateLimited
            | Self::RecordsFetched
            | Self::EventsStored
            | Self::EventsDeduplicated
            | Self::EventsDeadLettered => Kind::Counter,
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
            let prefixes = ["kafka_producer_", "kafka_consumer_", "spillway_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
        }
    }
}
