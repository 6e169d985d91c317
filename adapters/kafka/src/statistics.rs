//! Statistics of a publisher's client: queues, batches, and broker latency.
//!
//! Constraints and invariants:
//! * The client emits statistics every [`INTERVAL_MILLIS`], not on demand: collecting them costs some work per record.
//! * Quantiles cover the last interval: zero if it had no samples.
//! * Only brokers named by Kafka are included: configured addresses are duplicates of them.

use std::time::Duration;

use rdkafka::Statistics;
use rdkafka::statistics::{Broker, Window};

/// How often the client emits statistics.
pub const INTERVAL_MILLIS: &str = "15000";

/// The client's queues, its batches and its brokers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientStatistics {
    /// Records without a delivery report yet, and their bytes.
    pub queued: (u64, u64),
    /// Size of a batch, in bytes.
    pub batch_bytes: Distribution,
    /// Records per batch.
    pub batch_records: Distribution,
    /// All brokers known to the client, by name.
    pub brokers: Vec<BrokerStatistics>,
}

/// Latency and queue of a broker.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerStatistics {
    /// Host, port and node id, such as `kafka:9092/1`.
    pub name: String,
    /// From a request to its response, in seconds.
    pub rtt_seconds: Distribution,
    /// Records in requests that wait to be written to the connection.
    pub outbuf_records: u64,
}

/// Quantiles: a share of the samples, such as 0.99, and the value that this share does not exceed.
pub type Distribution = [(f64, f64); 2];

impl ClientStatistics {
    /// Extracts the relevant statistics; batches are those of one topic.
    pub(crate) fn new(statistics: &Statistics, topic: &str) -> Self {
        let of_topic = statistics.topics.get(topic);
        let mut brokers: Vec<_> =
            statistics.brokers.values().filter(|broker| broker.nodeid >= 0).map(BrokerStatistics::new).collect();
        brokers.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            queued: (statistics.msg_cnt, statistics.msg_size),
            batch_bytes: distribution(of_topic.map(|topic| &topic.batchsize), 1.0),
            batch_records: distribution(of_topic.map(|topic| &topic.batchcnt), 1.0),
            brokers,
        }
    }
}

impl BrokerStatistics {
    fn new(broker: &Broker) -> Self {
        Self {
            name: broker.name.clone(),
            rtt_seconds: distribution(broker.rtt.as_ref(), Duration::from_micros(1).as_secs_f64()),
            outbuf_records: u64::try_from(broker.outbuf_msg_cnt).unwrap_or(0),
        }
    }
}

fn distribution(window: Option<&Window>, unit: f64) -> Distribution {
    let value = |of: fn(&Window) -> i64| f64::from(u32::try_from(window.map_or(0, of)).unwrap_or(u32::MAX)) * unit;
    [(0.5, value(|window| window.p50)), (0.99, value(|window| window.p99))]
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Topic;

    use super::*;

    #[test]
    fn statistics_cover_the_topics_batches_and_the_named_brokers() {
        let window = |p50, p99| Window { p50, p99, ..Window::default() };
        let broker = |name: &str, nodeid, rtt| Broker {
            name: name.to_owned(),
            nodeid,
            outbuf_msg_cnt: 3,
            rtt,
            ..Broker::default()
        };
        let mut statistics = Statistics { msg_cnt: 7, msg_size: 700, ..Statistics::default() };
        let topic = |p50| Topic { batchsize: window(p50, 9_000), batchcnt: window(2, 90), ..Topic::default() };
        statistics.topics = [("logs".to_owned(), topic(500)), ("other".to_owned(), topic(1))].into();
        let brokers = [
            broker("b:1/2", 2, None),
            broker("a:1/1", 1, Some(window(1_500, 250_000))),
            broker("a:1/bootstrap", -1, Some(window(1, 1))),
        ];
        statistics.brokers = brokers.into_iter().map(|broker| (broker.name.clone(), broker)).collect();

        let told = ClientStatistics::new(&statistics, "logs");
        assert_eq!(told.queued, (7, 700));
        assert_eq!(told.batch_bytes, [(0.5, 500.0), (0.99, 9_000.0)]);
        assert_eq!(told.batch_records, [(0.5, 2.0), (0.99, 90.0)]);
        let names: Vec<_> = told.brokers.iter().map(|broker| broker.name.as_str()).collect();
        assert_eq!(names, ["a:1/1", "b:1/2"]);
        let [(_, median), (_, most)] = told.brokers[0].rtt_seconds;
        assert!((median - 0.0015).abs() < 1e-9 && (most - 0.25).abs() < 1e-9, "{median} {most}");
        assert_eq!(told.brokers[0].outbuf_records, 3);
        assert_eq!(told.brokers[1].rtt_seconds, [(0.5, 0.0), (0.99, 0.0)]);

        let none = ClientStatistics::new(&statistics, "unknown");
        assert_eq!(none.batch_bytes, [(0.5, 0.0), (0.99, 0.0)]);
    }
}
