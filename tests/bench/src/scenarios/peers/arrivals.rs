//! The records that arrive in a topic.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::scenarios::{DEADLINE, until};
use crate::test_cluster::PARTITIONS;

/// Maximum wait for the watermarks of a partition.
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_TIMEOUT: Duration = Duration::from_millis(200);

/// The records of a topic, from its beginning or from a position on.
pub struct Arrivals {
    client: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Arrivals {
    /// Of an existing topic with the usual number of partitions.
    #[must_use]
    pub fn of(brokers: &str, topic: &str) -> Self {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("arrivals-{topic}"))
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            // The default pauses for a second whenever this client is slower than the broker.
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a client");
        Self { client, topic: topic.to_owned(), partitions: PARTITIONS.parse().expect("a number") }
    }

    /// The position behind the last record of each partition.
    #[must_use]
    pub fn ends(&self) -> Vec<i64> {
        let end = |partition| {
            let watermarks = self.client.fetch_watermarks(&self.topic, partition, WATERMARKS_TIMEOUT);
            watermarks.expect("Kafka answers").1
        };
        (0..self.partitions).map(end).collect()
    }

    /// Waits until nothing arrives for `quiet`. Returns what `note` returned when the last record arrived, or at once if
    /// none does.
    pub async fn settled<T>(&self, quiet: Duration, mut note: impl FnMut() -> T) -> T {
        let (mut noted, mut last_at, mut last_ends) = (note(), Instant::now(), self.ends());
        until("no more records arrive", async || {
            let ends = self.ends();
            if ends != last_ends {
                (noted, last_at, last_ends) = (note(), Instant::now(), ends);
            }
            last_at.elapsed() >= quiet
        })
        .await;
        noted
    }

    /// Calls `take` with the value of each record, from these positions to the present ends.
    pub fn read(&self, from: &[i64], mut take: impl FnMut(&[u8])) {
        let ends = self.ends();
        let mut assignment = TopicPartitionList::new();
        for ((partition, from), end) in (0..).zip(from).zip(&ends) {
            if from < end {
                let added = assignment.add_partition_offset(&self.topic, partition, Offset::Offset(*from));
                added.expect("a position");
            }
        }
        self.client.assign(&assignment).expect("a consumer");
        let (mut unfinished, began) = (assignment.count(), Instant::now());
        while unfinished > 0 {
            assert!(began.elapsed() < DEADLINE, "reading {} takes too long", self.topic);
            // Errors of a connection are followed by a new one.
            let Some(Ok(record)) = self.client.poll(POLL_TIMEOUT) else { continue };
            let end = ends[usize::try_from(record.partition()).expect("a partition")];
            if record.offset() < end {
                take(record.payload().unwrap_or_default());
                unfinished -= usize::from(record.offset() + 1 == end);
            }
        }
        self.client.unassign().expect("a consumer");
    }
}
