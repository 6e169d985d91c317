//! Tests on a mock cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ports::SourceError;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{REFUSALS_MAX, Range, Reading, offset, seek};
use crate::lock::lock;

const TOPIC: &str = "reading";
const RECORDS: u64 = 100;
/// Deadline for events that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
/// Many times longer than the client takes to fetch from a new position.
const A_WHILE: Duration = Duration::from_millis(500);

/// A partition whose records have all been read.
struct Subject {
    reading: Arc<Reading<DefaultConsumerContext>>,
    consumer: Arc<BaseConsumer>,
}

impl Subject {
    fn read_to_the_end(cluster: &MockCluster<'_, DefaultProducerContext>) -> Self {
        cluster.create_topic(TOPIC, 1, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().expect("a producer");
        for _ in 0..RECORDS {
            let record = BaseRecord::<[u8], [u8]>::to(TOPIC).partition(0).payload(b"x");
            producer.send(record).map_err(|(error, _)| error).expect("taken");
        }
        producer.flush(DEADLINE).expect("delivered");
        config.set("group.id", TOPIC).set("auto.offset.reset", "error");
        let consumer: Arc<BaseConsumer> = Arc::new(config.create().expect("a consumer"));
        let reading = Arc::new(Reading::begin(&consumer, TOPIC, 0).expect("a partition"));
        reading.start(Some(0), Some((0, RECORDS)));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, 0, offset(0)).expect("an offset");
        consumer.incremental_assign(&list).expect("assigned");
        let this = Self { reading, consumer };
        assert_eq!(this.read_on(), 0);
        this
    }

    /// Reads to the end, and returns the first offset.
    fn read_on(&self) -> u64 {
        let (mut first, mut next, began) = (None, 0, Instant::now());
        while next < RECORDS {
            assert!(began.elapsed() < DEADLINE, "read up to {next}");
            if let Some(chunk) = self.reading.read().expect("in range") {
                first = first.or(chunk.offsets.first().copied());
                next = chunk.next;
            }
            let _ = self.consumer.poll(Duration::from_millis(10));
            self.round();
        }
        first.expect("a record")
    }

    /// One round of the thread that serves the group. Returns whether the client has moved.
    fn round(&self) -> bool {
        seek(&[Arc::clone(&self.reading)], &self.consumer, TOPIC, DEADLINE).expect("an answer");
        lock(&self.reading.progress).seek.is_none()
    }
}

// Records taken between the client's seek and the end of the reader's work would be discarded, and lost.
#[test]
fn the_client_is_moved_only_while_no_reader_takes_records() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let subject = Subject::read_to_the_end(&cluster);
    // Like a reader that has checked for a seek and now takes records.
    let queue = lock(&subject.reading.queue);
    subject.reading.seek(Some(0));
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| subject.round());
        let taken = queue.as_ref().expect("a queue").poll(A_WHILE).map(|taken| taken.map(|message| message.offset()));
        assert!(taken.is_none(), "{taken:?}");
        drop(queue);
        assert!(moving.join().expect("no panic"));
    });
    assert_eq!(subject.read_on(), 0);
}

#[tokio::test]
async fn a_client_that_has_stopped_before_its_error_was_read_still_seeks() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let subject = Subject::read_to_the_end(&cluster);
    let woken = async || tokio::time::timeout(DEADLINE, subject.reading.woken()).await.expect("woken");
    subject.reading.seek(Some(RECORDS + 1));
    assert!(subject.round());
    woken().await;
    assert_eq!(subject.reading.read().expect("not reported yet"), None);
    // The client reports out of range and stops.
    woken().await;
    subject.reading.seek(Some(5));
    let rounds = (1..=REFUSALS_MAX).map(|_| subject.round()).collect::<Vec<_>>();
    assert_eq!(rounds, [false, false, true], "refused until the partition is reassigned");
    assert_eq!(subject.read_on(), 5);
}

/// Makes the client report a position as out of range.
fn in_doubt(cluster: &MockCluster<'_, DefaultProducerContext>) -> Subject {
    let subject = Subject::read_to_the_end(cluster);
    subject.reading.seek(Some(RECORDS + 1));
    assert!(subject.round());
    let began = Instant::now();
    while lock(&subject.reading.progress).range != Range::Doubtful {
        assert!(began.elapsed() < DEADLINE, "the client does not report an error");
        assert_eq!(subject.reading.read().expect("not reported yet"), None);
    }
    subject
}

#[test]
fn an_out_of_range_position_is_reported_once_the_broker_has_confirmed_it() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let subject = in_doubt(&cluster);
    assert_eq!(subject.reading.read().expect("not confirmed"), None);
    subject.round();
    for _ in 0..2 {
        let error = subject.reading.read().expect_err("confirmed");
        assert!(matches!(error, SourceError::OutOfRange { position: 101, first: 0 }), "{error}");
    }
}

#[test]
fn reading_continues_if_another_position_was_out_of_range() {
    let cluster = MockCluster::new(1).expect("a cluster");
    let subject = in_doubt(&cluster);
    // As if the report had meant the position before the seek.
    lock(&subject.reading.progress).position = 7;
    assert!((0..REFUSALS_MAX).any(|_| subject.round()), "the client has not moved");
    assert_eq!(subject.read_on(), 7);
}
