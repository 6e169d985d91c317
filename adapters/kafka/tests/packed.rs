//! Packed records, on the mock cluster of librdkafka.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use adapter_kafka::{KafkaOptions, KafkaPublisher, KafkaSource, RecordForm};
use cluster::{Cluster, options, unique};
use domain::delivery::Guarantee;
use domain::pack::{PACK_BYTES_MAX, PACK_EVENTS_MAX, is_packed, split_any};
use domain::ports::{AssignmentChange, BusState, PublishError, RecordPublisher, RecordSource};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD as INVALID_RECORD;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as INVALID_TIMESTAMP;

/// Deadline for events that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// A topic of a mock cluster with one partition.
fn place() -> (Cluster, KafkaOptions) {
    let (cluster, topic) = (Cluster::start(), unique("packed"));
    let options = options(&cluster.brokers, &topic, NonZeroU32::MIN);
    cluster.with(move |mock| mock.create_topic(&topic, 1, 1)).expect("a topic");
    (cluster, options)
}

async fn publisher(options: &KafkaOptions, records: RecordForm) -> KafkaPublisher {
    let options = KafkaOptions { records, ..options.clone() };
    let publisher = KafkaPublisher::open(options).await.expect("the publisher opens");
    in_time("the publisher is up", async {
        while publisher.state() != BusState::Up {
            tokio::task::yield_now().await;
        }
    })
    .await;
    publisher
}

fn trace() -> Option<TraceParent> {
    TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

/// Events with the numbers of a range, each with a source and an origin of ids.
fn batch(numbers: std::ops::Range<usize>, of: impl Fn(usize) -> (&'static [u8], bool)) -> RecordBatch {
    let mut records = Records::default();
    let time = Timestamp::from_unix_micros(1_750_000_000_000_000).expect("in range");
    for number in numbers {
        let (key, client_id) = of(number);
        let write = |buffer: &mut Vec<u8>| buffer.extend_from_slice(event(number).as_bytes());
        records.push(key, time, client_id, write).expect("small enough");
    }
    RecordBatch { partition: 0, guarantee: Guarantee::AtLeastOnce, records, trace_parent: trace() }
}

fn event(number: usize) -> String {
    format!("{{\"n\":{number},\"text\":\"a\\n,b\"}}")
}

async fn deliver(publisher: &KafkaPublisher, batch: RecordBatch) -> Result<(), PublishError> {
    in_time("acknowledgement", publisher.publish(batch.into()).expect("the publisher takes the batch").settled).await
}

/// A record as it was read: its key, whether a client gave the ids, and its events.
type Read = (Vec<u8>, bool, Vec<String>);

/// The records of the topic, up to a number of events.
async fn read(options: &KafkaOptions, events: usize) -> Vec<Read> {
    let source = KafkaSource::open(options).expect("the source opens");
    let AssignmentChange::Assigned(partitions, start) =
        in_time("assignment", source.assignment()).await.expect("a partition")
    else {
        panic!("nothing is revoked")
    };
    start(vec![None; partitions.len()]);
    let mut read = Vec::<Read>::new();
    while read.iter().map(|(.., events)| events.len()).sum::<usize>() < events {
        let chunk = in_time("chunk", source.chunk(0)).await.expect("records");
        for (offset, record) in chunk.iter() {
            assert_eq!(chunk.trace_of(offset), trace());
            let mut texts = vec![record.value.to_vec()];
            if is_packed(record.value) {
                assert!(record.value.len() <= PACK_BYTES_MAX);
                let mut parts = Vec::new();
                split_any(record.value, &mut parts).expect("a pack");
                texts = parts.into_iter().map(<[u8]>::to_vec).collect();
            }
            let texts = texts.into_iter().map(|text| String::from_utf8(text).expect("UTF-8")).collect();
            read.push((record.key.to_vec(), record.client_id, texts));
        }
    }
    source.close().await;
    read
}

fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_source_and_origin_are_one_record_and_both_forms_are_in_one_topic() {
    let (_cluster, options) = place();
    let single = publisher(&options, RecordForm::Single).await;
    deliver(&single, batch(0..2, |_| (b"shop", true))).await.expect("delivered");
    let packed = publisher(&options, RecordForm::Packed).await;
    let of = |number| match number {
        2..5 => (b"shop".as_slice(), true),
        5..7 => (b"shop".as_slice(), false),
        7 => (b"cart".as_slice(), false),
        _ => (b"shop".as_slice(), false),
    };
    deliver(&packed, batch(2..10, of)).await.expect("delivered");
    deliver(&packed, batch(10..11, |_| (b"shop", true))).await.expect("delivered");
    let record = |key: &[u8], client_id, numbers: &[usize]| (key.to_vec(), client_id, events(numbers.iter().copied()));
    assert_eq!(
        read(&options, 11).await,
        [
            record(b"shop", true, &[0]),
            record(b"shop", true, &[1]),
            record(b"shop", true, &[2, 3, 4]),
            record(b"shop", false, &[5, 6, 8, 9]),
            record(b"cart", false, &[7]),
            record(b"shop", true, &[10]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_arrive_once_and_in_order_within_the_limits_of_packs() {
    const EVENTS: usize = 4_500;
    let (_cluster, options) = place();
    let packed = publisher(&options, RecordForm::Packed).await;
    deliver(&packed, batch(0..EVENTS, |_| (b"shop", true))).await.expect("delivered");
    let read = read(&options, EVENTS).await;
    let sizes: Vec<usize> = read.iter().map(|(.., events)| events.len()).collect();
    assert_eq!(sizes, [PACK_EVENTS_MAX, PACK_EVENTS_MAX, PACK_EVENTS_MAX, PACK_EVENTS_MAX, 500]);
    assert_eq!(read.into_iter().flat_map(|(.., events)| events).collect::<Vec<_>>(), events(0..EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_pack_is_halved_until_one_event_is_refused_and_the_others_keep_their_order() {
    let (cluster, options) = place();
    let packed = publisher(&options, RecordForm::Packed).await;
    deliver(&packed, batch(0..4, |_| (b"shop", true))).await.expect("delivered");
    // Eight events as any other pack, then alone: eight, four, two, and two single events.
    cluster.with(|mock| mock.request_errors(Api::Produce, &[INVALID_RECORD; 6]));
    let refused = match deliver(&packed, batch(4..12, |_| (b"shop", true))).await {
        Err(PublishError::Refused(records)) => records.iter().map(|record| record.position).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused, [0, 1]);
    deliver(&packed, batch(12..14, |_| (b"shop", true))).await.expect("delivered");
    let read = read(&options, 14 - refused.len()).await;
    let all: Vec<String> = read.into_iter().flat_map(|(.., events)| events).collect();
    assert_eq!(all, [events(0..4), events(4 + refused.len()..14)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_rejected_for_its_time_is_refused_as_a_whole() {
    let (cluster, options) = place();
    let packed = publisher(&options, RecordForm::Packed).await;
    // The first pack of a client is alone. One rejection must be enough.
    cluster.with(|mock| mock.request_errors(Api::Produce, &[INVALID_TIMESTAMP]));
    let refused = match deliver(&packed, batch(0..4, |_| (b"shop", true))).await {
        Err(PublishError::Refused(records)) => records.iter().map(|record| record.position).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3]));
    deliver(&packed, batch(4..6, |_| (b"shop", true))).await.expect("delivered");
    let all: Vec<String> = read(&options, 2).await.into_iter().flat_map(|(.., events)| events).collect();
    assert_eq!(all, events(4..6));
}
