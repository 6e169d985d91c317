//! The publisher during Kafka failures, on the mock cluster of librdkafka, which fails on request, or, for failures that
//! it cannot simulate, on Apache Kafka (`TEST_KAFKA_BROKERS`, see `scripts/services`).
//!
//! The mock cluster does not check sequence numbers of idempotent producers: if one of several requests in flight fails,
//! it accepts the later ones. Tests of order use one request at a time there ([`ONE_REQUEST`]).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and an out-of-range index is also a failure"
)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;
#[path = "support/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_kafka::{KafkaOptions, KafkaPublisher};
use domain::delivery::{Durability, Guarantee};
use domain::ports::{BusState, PublishError, Receipt, RecordPublisher};
use domain::record::{Record, RecordBatch};
use domain::timestamp::Timestamp;
use place::{
    DEADLINE, Place, TIME_MICROS, admin, all_settled, at_kafka, batch, down, in_time, once, publish_tens, ten, tens,
    until,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self as Code, *};
use servers::brokers;

/// Ten records per request, without a limit on requests in flight.
const SMALL_REQUESTS: [(&str, &str); 2] = [("batch.num.messages", "10"), ("linger.ms", "20")];
/// Ten records per request, and one request in flight.
const ONE_REQUEST: [(&str, &str); 3] =
    [SMALL_REQUESTS[0], SMALL_REQUESTS[1], ("max.in.flight.requests.per.connection", "1")];

/// Publishes like [`publish_tens`] until the publisher accepts no more.
fn publish_tens_while_up(publisher: &KafkaPublisher, partitions: u32, numbers: std::ops::Range<usize>) -> Vec<Receipt> {
    numbers
        .map_while(|number| {
            let partition = u32::try_from(number).expect("small") % partitions;
            match publisher.publish(batch(partition, ten(number)).into()) {
                Ok(receipt) => Some(receipt),
                Err(PublishError::Unavailable(_)) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .collect()
}

/// All values of a partition, oldest first.
fn on_the_bus(options: &KafkaOptions, partition: i32) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers).set("group.id", "onlooker").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&options.topic, partition, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let (mut values, began) = (Vec::new(), Instant::now());
    loop {
        assert!(began.elapsed() < DEADLINE, "no end of partition {partition}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return values,
            Some(Err(_)) | None => {}
        }
    }
}

/// Asserts that a partition has exactly these values, in the order of their first occurrences. Returns the number of
/// repeats.
fn assert_delivered(options: &KafkaOptions, partition: usize, expected: &[String]) -> usize {
    let all = on_the_bus(options, i32::try_from(partition).expect("small"));
    let mut known = BTreeSet::new();
    let seen: Vec<&String> = all.iter().filter(|value| known.insert(*value)).collect();
    let differs = seen.iter().zip(expected).position(|(seen, expected)| *seen != expected);
    let near = differs.map(|at| (at, &seen[at.saturating_sub(3)..seen.len().min(at + 12)]));
    assert_eq!((seen.len(), near), (expected.len(), None), "records of partition {partition}, and where they differ");
    all.len() - seen.len()
}

impl Place {
    fn topic_fails(&self, code: Code) {
        let topic = self.options.topic.clone();
        self.cluster.with(move |mock| mock.topic_error(&topic, code)).expect("the topic exists");
    }
}

// Transient errors.

#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_lose_and_reorder_nothing() {
    let place = Place::new(3, &ONE_REQUEST);
    let publisher = place.publisher().await;
    let passing = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_NO_ERROR,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ];
    place.fail(Api::Produce, passing.iter().copied().cycle().take(28));
    all_settled(publish_tens(&publisher, 3, 0..200)).await;
    let repeats: Vec<usize> =
        (0..3).map(|partition| assert_delivered(&place.options, partition, &tens(3, partition, 0..200))).collect();
    eprintln!("repeats: {repeats:?}");
    assert_eq!(publisher.drain(DEADLINE).await, 0);
}

// Errors that an operator has to fix.

/// Produce fails with `codes` until they are cleared; the reason must contain `says`.
async fn waits_until_it_is_fixed(code: Code, says: &str) {
    let place = Place::new(2, &ONE_REQUEST);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 2, 0..10)).await;
    place.fail(Api::Produce, std::iter::repeat_n(code, 10_000));
    let receipts = publish_tens_while_up(&publisher, 2, 10..60);
    let taken = 10 + receipts.len();
    let reason = down(&publisher).await;
    assert!(reason.contains(says), "{reason}");
    assert!(publisher.fault().is_some_and(|fault| fault.contains(says)), "{:?}", publisher.fault());
    match publisher.publish(batch(0, ["late"]).into()) {
        Err(PublishError::Unavailable(cause)) => assert!(cause.to_string().contains(says), "{cause}"),
        other => panic!("{:?}", other.err()),
    }
    place.fail_no_more(Api::Produce);
    all_settled(receipts).await;
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    assert_eq!(publisher.fault(), None);
    all_settled(publish_tens(&publisher, 2, taken..taken + 10)).await;
    for partition in 0..2 {
        assert_delivered(&place.options, partition, &tens(2, partition, 0..taken + 10));
    }
    assert_eq!(publisher.drain(DEADLINE).await, 0);
    assert_eq!(publisher.buffer().used_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_authorization_is_reported_and_waited_for() {
    waits_until_it_is_fixed(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "Topic authorization failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_accepts_only_smaller_batches_is_reported_and_waited_for() {
    waits_until_it_is_fixed(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "Message size too large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_without_an_id_reports_why_and_waits() {
    let place = Place::new(1, &ONE_REQUEST);
    let forbidden = RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    place.fail(Api::InitProducerId, std::iter::repeat_n(forbidden, 10_000));
    let publisher = KafkaPublisher::open(place.options.clone()).await.expect("the publisher opens");
    let named =
        || matches!(publisher.state(), BusState::Down(reason) if reason.to_lowercase().contains("authorization"));
    until("the publisher reports the missing authorization", named).await;
    place.fail_no_more(Api::InitProducerId);
    until("the publisher is up", || publisher.state() == BusState::Up).await;
    all_settled(publish_tens(&publisher, 1, 0..10)).await;
    assert_delivered(&place.options, 0, &tens(1, 0, 0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_last_record_is_refused_after_trouble_is_up_again() {
    let place = Place::new(1, &ONE_REQUEST);
    let publisher = place.publisher().await;
    place.fail(Api::Produce, [RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let receipt = publisher.publish(batch(0, ["bad"]).into()).expect("the publisher takes the batch");
    let settled = in_time("the batch", receipt.settled).await;
    assert!(matches!(settled, Err(PublishError::Refused(_))), "{settled:?}");
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    all_settled(publish_tens(&publisher, 1, 1..3)).await;
    assert_delivered(&place.options, 0, &tens(1, 0, 1..3));
}

// Records that Kafka will never accept.

/// Makes requests fail with `codes` after one that succeeds; each has ten records unless a record has to be alone.
/// Returns what is on the bus; batch `refused` is expected to be refused.
async fn refused_by(codes: &[Code], refused: usize) -> Vec<String> {
    let place = Place::new(1, &ONE_REQUEST);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 1, 0..1)).await;
    place.fail(Api::Produce, codes.iter().copied());
    let mut receipts = publish_tens(&publisher, 1, 1..10);
    let receipt = receipts.remove(refused - 1);
    let (promised, settled) = in_time("the batch", async { (receipt.promised.await, receipt.settled.await) }).await;
    assert!(matches!(promised, Err(PublishError::Refused(_))), "{promised:?}");
    assert!(matches!(settled, Err(PublishError::Refused(_))), "{settled:?}");
    all_settled(receipts).await;
    assert_eq!(publisher.state(), BusState::Up, "one refused record must not stop the publisher");
    assert_eq!(publisher.drain(DEADLINE).await, 0);
    on_the_bus(&place.options, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_is_reported_for_its_batch_only() {
    let ok = RD_KAFKA_RESP_ERR_NO_ERROR;
    let seen = refused_by(&[ok, ok, RD_KAFKA_RESP_ERR_INVALID_RECORD], 3).await;
    assert_eq!(seen, [tens(1, 0, 0..3), tens(1, 0, 4..10)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_records_refused_together_only_those_refused_alone_are_given_up() {
    let (ok, refused) = (RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
    let seen = refused_by(&[ok, ok, refused, ok, ok, ok, refused, ok, refused], 3).await;
    let expected: Vec<String> = tens(1, 0, 0..10).into_iter().filter(|value| value != "33" && value != "35").collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_above_spillways_own_limit_is_refused_and_the_next_one_is_delivered() {
    let place = Place::new(1, &ONE_REQUEST);
    let publisher = place.publisher().await;
    // Such as a dead letter of another program. The mock cluster does not tell the settings of its topic.
    let (mut large, value) = (batch(0, [] as [&str; 0]), vec![b'x'; 1_100_000]);
    let timestamp = Timestamp::from_unix_micros(TIME_MICROS).expect("in range");
    large.records.push_found(Record { key: b"shop", value: &value, timestamp, client_id: true });
    let receipts = [large, batch(0, ["small"])].map(|batch| publisher.publish(batch.into()).expect("it is taken"));
    let [refused, delivered] = receipts;
    let refused = in_time("the large record", refused.settled).await;
    assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");
    in_time("the small record", delivered.settled).await.expect("delivered");
    assert_eq!(on_the_bus(&place.options, 0), ["small"]);
}

// Unusable clients.

const FATAL: [Code; 12] = [
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_UNKNOWN,
    RD_KAFKA_RESP_ERR_NO_ERROR,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
];

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_client_is_replaced_and_order_is_kept() {
    let place = Place::new(2, &ONE_REQUEST);
    let publisher = place.publisher().await;
    place.fail(Api::Produce, FATAL);
    all_settled(publish_tens(&publisher, 2, 0..100)).await;
    let repeats: Vec<usize> =
        (0..2).map(|partition| assert_delivered(&place.options, partition, &tens(2, partition, 0..100))).collect();
    eprintln!("repeats: {repeats:?}");
    assert_eq!(publisher.state(), BusState::Up);
    assert_eq!(publisher.drain(DEADLINE).await, 0);
    assert_eq!(publisher.buffer().used_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_publishers_keep_their_order_while_clients_are_replaced() {
    const PUBLISHERS: usize = 4;
    const BATCHES: usize = 60;
    let place = Place::new(2, &ONE_REQUEST);
    let publisher = place.publisher().await;
    place.fail(Api::Produce, FATAL.iter().copied().cycle().take(18));
    let tasks: Vec<_> = (0..PUBLISHERS)
        .map(|task| {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(async move {
                for number in 0..BATCHES {
                    let values = (0..10).map(|n| format!("{task} {}", number * 10 + n));
                    let partition = u32::try_from(number % 2).expect("small");
                    let receipt =
                        publisher.publish(batch(partition, values).into()).expect("the publisher takes the batch");
                    // Occasionally it waits, so that publishing continues while clients are replaced.
                    if number % 5 == 0 {
                        in_time("the batch", receipt.settled).await.expect("the batch is delivered");
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        in_time("a task", task).await.expect("no panic");
    }
    assert_eq!(publisher.drain(DEADLINE).await, 0);
    for partition in 0..2 {
        let all = on_the_bus(&place.options, i32::try_from(partition).expect("small"));
        for task in 0..PUBLISHERS {
            let prefix = format!("{task} ");
            let mut known = BTreeSet::new();
            let seen: Vec<&str> = all
                .iter()
                .filter_map(|value| value.strip_prefix(&prefix))
                .filter(|value| known.insert(*value))
                .collect();
            let expected = tens(2, partition, 0..BATCHES);
            assert_eq!(seen, expected, "of task {task} in partition {partition}");
        }
    }
}

// A broker that is down, or distant.

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_was_accepted_before_an_outage_is_delivered_after_it() {
    let place = Place::new(2, &ONE_REQUEST);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 2, 0..4)).await;
    place.go_down();
    // Before the outage is noticed.
    let mut receipts = publish_tens(&publisher, 2, 4..40);
    let buffered = RecordBatch { guarantee: Guarantee::AtMostOnce, ..batch(0, ten(40)) };
    let buffered = publisher.publish(buffered.into()).expect("the publisher takes the batch");
    assert_eq!(in_time("a promise", buffered.promised).await.expect("taken"), Durability::Buffered);
    let began = Instant::now();
    let reason = down(&publisher).await;
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
    assert!(reason.contains(&place.options.brokers), "{reason}");
    let late = publisher.publish(batch(0, ["late"]).into());
    assert!(matches!(late, Err(PublishError::Unavailable(_))), "{:?}", late.err());
    for receipt in &mut receipts {
        assert!(once(&mut receipt.promised).await.is_none(), "no promise before the acknowledgement");
    }
    assert!(publisher.buffer().used_bytes > 0);
    place.come_up();
    all_settled(receipts).await;
    in_time("the last batch", buffered.settled).await.expect("the batch is delivered");
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    until("all room is free again", || publisher.buffer().used_bytes == 0).await;
    for partition in 0..2 {
        assert_delivered(&place.options, partition, &tens(2, partition, 0..41));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_are_in_flight_at_once_and_drain_returns_the_number_of_records_left() {
    const ROUND_TRIP: Duration = Duration::from_millis(300);
    let place = Place::new(2, &[]);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 2, 0..2)).await;
    place.answer_after(ROUND_TRIP);
    let began = Instant::now();
    all_settled(publish_tens(&publisher, 2, 2..42)).await;
    let took = began.elapsed();
    eprintln!("40 batches took {took:?}");
    assert!(took < ROUND_TRIP * 10, "40 batches took {took:?}; one after another they take {:?}", ROUND_TRIP * 40);
    let receipts = publish_tens(&publisher, 2, 42..52);
    assert_eq!(publisher.drain(Duration::from_millis(1)).await, 100, "records are left");
    assert_eq!(publisher.drain(DEADLINE).await, 0);
    all_settled(receipts).await;
    for partition in 0..2 {
        assert_eq!(assert_delivered(&place.options, partition, &tens(2, partition, 0..52)), 0, "repeats");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_the_client_are_published() {
    let place = Place::new(1, &[SMALL_REQUESTS[0], SMALL_REQUESTS[1], ("statistics.interval.ms", "200")]);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 1, 0..3)).await;
    until("batches and answers are counted", || {
        publisher.statistics().is_some_and(|counted| {
            let ([_, (_, bytes)], [_, (_, records)]) = (counted.batch_bytes, counted.batch_records);
            let answered = counted.brokers.iter().any(|broker| broker.rtt_seconds[1].1 > 0.0);
            answered && bytes > 0.0 && (1.0..=10.0).contains(&records)
        })
    })
    .await;
    place.go_down();
    let taken = publish_tens(&publisher, 1, 3..5);
    until("what waits is counted", || publisher.statistics().is_some_and(|counted| counted.queued.0 == 20)).await;
    place.come_up();
    all_settled(taken).await;
    until("nothing waits", || publisher.statistics().is_some_and(|counted| counted.queued == (0, 0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_accepted_while_draining_begins_are_delivered_too() {
    const PUBLISHERS: usize = 8;
    let place = Place::new(1, &[]);
    let mut publishers = Vec::new();
    for _ in 0..PUBLISHERS {
        let options = place.options.clone();
        publishers.push(tokio::spawn(KafkaPublisher::open(options)));
    }
    for publisher in publishers {
        let publisher = Arc::new(in_time("opening", publisher).await.expect("no panic").expect("the publisher opens"));
        until("the publisher is up", || publisher.state() == BusState::Up).await;
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let publisher = Arc::clone(&publisher);
                tokio::spawn(async move {
                    let mut receipts = Vec::new();
                    loop {
                        match publisher.publish(batch(0, ["x"]).into()) {
                            Ok(receipt) => receipts.push(receipt),
                            Err(PublishError::Closed) => return receipts,
                            Err(error) => panic!("{error}"),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        assert_eq!(publisher.drain(DEADLINE).await, 0);
        for task in tasks {
            all_settled(in_time("a task", task).await.expect("no panic")).await;
        }
    }
}

// A topic with fault.

/// The topic's metadata fails with `code` during operation; the reason must contain `says`.
async fn says_what_is_wrong_with_the_topic(code: Code, says: &str) {
    let place = Place::new(1, &[("topic.metadata.propagation.max.ms", "100")]);
    let publisher = place.publisher().await;
    all_settled(publish_tens(&publisher, 1, 0..10)).await;
    place.answer_after(Duration::from_millis(100));
    let receipts = publish_tens(&publisher, 1, 10..30);
    place.topic_fails(code);
    let reason = down(&publisher).await;
    assert!(reason.contains(&place.options.topic) && reason.contains(says), "{reason}");
    place.topic_fails(RD_KAFKA_RESP_ERR_NO_ERROR);
    all_settled(receipts).await;
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    assert_delivered(&place.options, 0, &tens(1, 0, 0..30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_authorization_is_reported_until_it_is_granted() {
    says_what_is_wrong_with_the_topic(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "opic authorization failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_and_cannot_be_created_is_reported_until_it_exists() {
    says_what_is_wrong_with_the_topic(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "is missing and cannot be created")
        .await;
}

// Behaviour of Apache Kafka only. The client has several requests in flight there.

/// Changes a setting of a topic of Apache Kafka.
async fn set(options: &KafkaOptions, name: &str, value: &str) {
    let admin = admin(options);
    let topic = ResourceSpecifier::Topic(&options.topic);
    let change = AlterConfig::new(topic).set(name, value);
    let results = admin.alter_configs([&change], &AdminOptions::new()).await.expect("an answer");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    in_time("the setting holds", async {
        loop {
            let found = admin.describe_configs([&topic], &AdminOptions::new()).await.expect("an answer");
            let found = found.into_iter().next().expect("a topic").expect("settings");
            if found.get(name).and_then(|entry| entry.value.as_deref()) == Some(value) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_limit_is_lowered_gets_smaller_batches_in_the_old_order() {
    let Some(brokers) = brokers() else { return };
    let options = at_kafka(&brokers);
    let publisher = KafkaPublisher::open(options.clone()).await.expect("the publisher opens");
    until("the publisher is up", || publisher.state() == BusState::Up).await;
    set(&options, "max.message.bytes", "5000").await;
    // Of two requests in flight at once, Kafka rejects the first and could accept the second.
    let values = |number: usize| {
        let width = if number.is_multiple_of(2) { 3_000 } else { 10 };
        [format!("{:0>width$}", number * 2), format!("{:0>width$}", number * 2 + 1)]
    };
    let publish = |number| publisher.publish(batch(0, values(number)).into()).expect("the publisher takes the batch");
    all_settled((0..20).map(publish).collect()).await;
    until("the publisher is up again", || publisher.state() == BusState::Up).await;
    let expected: Vec<String> = (0..20).flat_map(values).collect();
    let repeats = assert_delivered(&options, 0, &expected);
    eprintln!("repeats: {repeats}");
    // Too large for the topic until its limit is raised.
    let large = async || in_time("the report", publisher.publish(batch(0, ["x".repeat(9_000)]).into())?.settled).await;
    let until_large = async |what: &str, so: fn(&Result<(), PublishError>) -> bool| {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        let began = Instant::now();
        while !so(&large().await) {
            assert!(began.elapsed() < DEADLINE, "{what}");
            look.tick().await;
        }
    };
    until_large("refused", |outcome| matches!(outcome, Err(PublishError::Refused(_)))).await;
    set(&options, "max.message.bytes", "1048576").await;
    until_large("accepted as soon as the topic accepts it", Result::is_ok).await;
    assert_eq!(publisher.drain(DEADLINE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_kafka_rejects_loses_only_its_record_and_keeps_the_order() {
    let Some(brokers) = brokers() else { return };
    let options = at_kafka(&brokers);
    // A setting changed later may take effect only after it is shown.
    let topic =
        NewTopic::new(&options.topic, 1, TopicReplication::Fixed(1)).set("message.timestamp.after.max.ms", "3600000");
    let made = admin(&options).create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let publisher = KafkaPublisher::open(options.clone()).await.expect("the publisher opens");
    until("the publisher is up", || publisher.state() == BusState::Up).await;
    let mut receipts = Vec::new();
    for number in 0..20 {
        let mut wanted = batch(0, &[] as &[&str]);
        for (index, value) in [number * 2, number * 2 + 1].into_iter().enumerate() {
            let micros = if number % 10 == 0 && index == 0 { 8_000_000_000_000_000 } else { TIME_MICROS };
            let time = Timestamp::from_unix_micros(micros).expect("in range");
            let write = |buffer: &mut Vec<u8>| buffer.extend_from_slice(value.to_string().as_bytes());
            wanted.records.push(b"shop", time, false, write).expect("small enough");
        }
        receipts.push(publisher.publish(wanted.into()).expect("the publisher takes the batch"));
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let settled = in_time("the batch", receipt.settled).await;
        let refused = matches!(settled, Err(PublishError::Refused(_)));
        assert_eq!(refused, number % 10 == 0, "batch {number}: {settled:?}");
    }
    let expected: Vec<String> = (0..40).filter(|n| n % 20 != 0).map(|n: usize| n.to_string()).collect();
    let repeats = assert_delivered(&options, 0, &expected);
    eprintln!("repeats: {repeats}");
    assert_eq!(publisher.drain(DEADLINE).await, 0);
}
