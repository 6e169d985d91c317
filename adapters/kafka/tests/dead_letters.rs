//! The dead letter topic, on the mock cluster of librdkafka.

#![expect(clippy::expect_used, reason = "test setup may panic")]

#[path = "support/cluster.rs"]
mod cluster;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use adapter_kafka::KafkaDeadLetterTopic;
use cluster::{Cluster, options, unique};
use domain::dead_letter::StoredDeadLetter;
use domain::ports::{DeadLetterTopic, DeadLetterTopicError, GroupPartition};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// The trace of each letter.
const TRACE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Deadline for events that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

fn letter(id: u64) -> StoredDeadLetter {
    StoredDeadLetter {
        id,
        group_partition: GroupPartition { group: "group".to_owned(), topic: "logs".to_owned(), partition: 2 },
        offset: id,
        record_index: 3,
        key: b"shop".to_vec(),
        value: format!("letter {id}").into_bytes(),
        trace_parent: TraceParent::parse(TRACE),
        reason: "not an event".to_owned(),
        at: Timestamp::MIN,
        redriven_at: None,
        attempts: 1,
    }
}

/// The values of the first records of a topic.
fn values(brokers: &str, topic: &str, count: usize) -> Vec<String> {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", brokers).set("group.id", "onlooker").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let (mut values, began) = (Vec::new(), Instant::now());
    while values.len() < count {
        assert!(began.elapsed() < DEADLINE, "only {values:?}");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let headers = message.headers().expect("headers");
            let header = |name| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            assert_eq!((header("record_index"), header("traceparent")), (Some(&b"3"[..]), Some(TRACE)));
            values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
        }
    }
    values
}

// A single-threaded runtime: waiting for Kafka must happen elsewhere.
#[tokio::test]
async fn letters_are_sent_in_order_and_dropped_calls_do_not_pile_up() {
    let (cluster, topic) = (Cluster::start(), unique("letters"));
    let name = format!("{topic}.dlq");
    cluster.with(move |mock| mock.create_topic(&name, 1, 1)).expect("a topic");
    let letters = KafkaDeadLetterTopic::open(&options(&cluster.brokers, &topic, NonZeroU32::MIN)).expect("it opens");
    tokio::time::timeout(DEADLINE, letters.send(&[letter(1), letter(2)])).await.expect("in time").expect("sent");

    cluster.with(|mock| mock.broker_down(-1)).expect("a broker");
    let (three, four) = ([letter(3)], [letter(4)]);
    let began = Instant::now();
    let soon = Duration::from_millis(1);
    let mut in_work = letters.send(&three);
    assert!(tokio::time::timeout(soon, &mut in_work).await.is_err(), "the broker is down");
    // The queue has no room for the next call before the thread has taken the first one.
    let mut next = loop {
        assert!(began.elapsed() < DEADLINE, "no call is queued");
        let mut next = letters.send(&four);
        if tokio::time::timeout(soon, &mut next).await.is_err() {
            break next;
        }
    };
    // One call is in progress and one waits: the queue has no room for another.
    let refused = loop {
        assert!(began.elapsed() < DEADLINE, "all calls are accepted");
        for call in [&mut in_work, &mut next] {
            assert!(tokio::time::timeout(soon, call).await.is_err(), "the broker is down");
        }
        let further = [letter(5)];
        match tokio::time::timeout(soon, letters.send(&further)).await {
            Ok(outcome) => break outcome,
            Err(_) => continue,
        }
    };
    assert!(matches!(refused, Err(DeadLetterTopicError::Unavailable(_))), "{refused:?}");
    drop(next);
    cluster.with(|mock| mock.broker_up(-1)).expect("a broker");
    // The call in progress ends either way, and later letters follow it.
    let first = tokio::time::timeout(DEADLINE * 2, in_work).await.expect("in time");
    let mut sent = Err(DeadLetterTopicError::Unavailable("not tried".into()));
    let mut tries = tokio::time::interval(Duration::from_millis(5));
    while sent.is_err() {
        tries.tick().await;
        assert!(began.elapsed() < DEADLINE * 4, "{sent:?}");
        sent = letters.send(&[letter(6)]).await;
    }
    let expected: &[u64] = if first.is_ok() { &[1, 2, 3, 6] } else { &[1, 2, 6] };
    let expected: Vec<String> = expected.iter().map(|id| format!("letter {id}")).collect();
    assert_eq!(values(&cluster.brokers, &format!("{topic}.dlq"), expected.len()), expected);
}
