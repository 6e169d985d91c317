//! Tests of handing over, and of delivery numbers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use domain::delivery::Guarantee;
use domain::pack::{PACK_BYTES_MAX, Packs};
use domain::ports::PublishError;
use domain::record::RecordBatch;
use rdkafka::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use tokio::sync::Notify;

use super::batch::{BATCH_RECORDS_MAX, Batch, Memory, Receipts, delivery_of, opaque};
use super::client_queue::{ClientQueue, DeliveryContext, HAND_OVER_BYTES_MAX, HAND_OVER_RECORDS_MAX};
use super::partition_queue::RecordId;
use super::shared::{Client, Deliveries};
use crate::client::ClientErrorLog;

/// A client of a broker that never answers, so that it keeps its records. A broker that refuses connections would not do:
/// the errors that a client has yet to report count as messages in flight.
fn client(silent_broker: &TcpListener) -> Arc<Client> {
    let mut config = rdkafka::ClientConfig::new();
    let address = silent_broker.local_addr().expect("an address").to_string();
    config.set("bootstrap.servers", address).set("queue.buffering.max.messages", "0");
    let context = Deliveries {
        shared: Weak::new(),
        error_log: ClientErrorLog::default(),
        message_bytes_max: 1_000_000,
        broken: Mutex::default(),
        decided: AtomicBool::new(true),
    };
    Arc::new(config.create_with_context(context).expect("a client"))
}

fn batch(records: usize, value_bytes: usize) -> Batch {
    packed_batch(records, value_bytes, None)
}

/// A batch whose packs have at most this many bytes, if it has packs.
fn packed_batch(records: usize, value_bytes: usize, pack_bytes_max: Option<usize>) -> Batch {
    let time = domain::timestamp::Timestamp::MIN;
    let mut all = domain::record::Records::default();
    for _ in 0..records {
        all.push(b"s", time, false, |buffer| buffer.resize(buffer.len() + value_bytes, b'{')).expect("small enough");
    }
    let packs = pack_bytes_max.map(|bytes_max| Packs::of(&all, bytes_max));
    let batch = RecordBatch { partition: 0, guarantee: Guarantee::AtLeastOnce, records: all, trace_parent: None };
    let memory = Memory {
        bytes: AtomicUsize::new(0),
        bytes_max: usize::MAX,
        records: AtomicUsize::new(records),
        freed: Notify::new(),
    };
    Batch::new(batch.into(), packs, Receipts { promised: None, settled: None }, memory.into(), 0)
}

#[test]
fn a_queue_hands_over_a_bounded_part_at_a_time_and_all_in_the_end() {
    for (batches, records, value_bytes, times) in [
        // The limit on records: within a batch, and over several.
        (1, HAND_OVER_RECORDS_MAX * 5 / 2, 10, 3),
        (5, HAND_OVER_RECORDS_MAX / 2, 10, 3),
        // The limit on bytes.
        (1, 100, HAND_OVER_BYTES_MAX / 40, 3),
        (3, 10, 10, 1),
    ] {
        let silent_broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = client(&silent_broker);
        let with_client = || usize::try_from(client.in_flight_count()).expect("a number");
        let mut queue = ClientQueue::new("logs".into(), Some(Arc::clone(&client)));
        queue.push(batch(1, 1));
        (0..batches).for_each(|_| queue.push(batch(records, value_bytes)));
        assert_eq!(with_client(), 1, "a new client gets one record alone");
        queue.report(RecordId { batch: 0, position: 0 }, true, None);
        let mut handed_over = vec![with_client() - 1];
        while queue.is_behind() {
            let before = with_client();
            let more = queue.hand_over();
            handed_over.push(with_client() - before);
            assert_eq!(queue.is_behind(), more);
        }
        assert!(handed_over.iter().all(|records| *records <= HAND_OVER_RECORDS_MAX), "{handed_over:?}");
        let bytes_most = handed_over.iter().max().unwrap_or(&0) * (value_bytes + 1);
        assert!(bytes_most < HAND_OVER_BYTES_MAX + value_bytes + 1, "{handed_over:?} of {value_bytes} bytes");
        assert_eq!((handed_over.len(), handed_over.iter().sum()), (times, batches * records), "{handed_over:?}");
    }
}

#[test]
fn a_pack_is_one_record_of_the_client_and_is_halved_alone_until_the_rejected_event_is_alone() {
    let silent_broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = client(&silent_broker);
    let sent = || usize::try_from(client.in_flight_count()).expect("a number");
    let mut queue = ClientQueue::new("logs".into(), Some(Arc::clone(&client)));
    queue.push(packed_batch(4, 10, Some(PACK_BYTES_MAX)));
    queue.push(packed_batch(4, 10, Some(PACK_BYTES_MAX)));
    let id = |batch, position| RecordId { batch, position };
    assert!(queue.is_pack(id(0, 0)) && queue.is_alone(id(0, 0)));
    assert_eq!(sent(), 1, "a new client gets one pack alone");
    // Kafka rejects it, and then its first half, and then the first event.
    queue.halve(id(0, 0));
    assert!(queue.is_pack(id(0, 0)) && queue.is_alone(id(0, 0)));
    queue.halve(id(0, 0));
    assert!(!queue.is_pack(id(0, 0)) && queue.is_alone(id(0, 0)));
    queue.report(id(0, 0), false, Some("rejected".to_owned()));
    assert!(!queue.is_pack(id(0, 1)) && queue.is_alone(id(0, 1)), "the next event is alone as well");
    queue.report(id(0, 1), true, None);
    assert!(queue.is_pack(id(0, 2)) && queue.is_alone(id(0, 2)), "the other half is a pack");
    queue.report(id(0, 2), true, None);
    assert_eq!(sent(), 6, "the next batch is one pack again");
    assert!(!queue.is_behind());
}

#[test]
fn a_pack_is_halved_when_its_rejection_comes_after_the_queue_was_stopped() {
    let silent_broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (old, new) = (client(&silent_broker), client(&silent_broker));
    let mut queue = ClientQueue::new("logs".into(), Some(Arc::clone(&old)));
    queue.push(packed_batch(4, 10, Some(PACK_BYTES_MAX)));
    let id = RecordId { batch: 0, position: 0 };
    // The rejection is a fatal error of the client. The thread that looks for those was faster than the report.
    queue.switch(None);
    assert!(queue.is_of(old.context()) && queue.is_alone(id), "the answer means this pack");
    queue.halve(id);
    queue.switch(Some(&new));
    queue.hand_over();
    assert_eq!((new.in_flight_count(), queue.pack(id)), (1, 0..2), "the new client gets the first half");
    assert!(!queue.is_of(old.context()) && queue.is_of(new.context()), "an older answer does not mean the half");
}

#[test]
fn a_refused_record_is_named_by_its_place_in_the_batch_whatever_the_order_of_sending() {
    let mut records = domain::record::Records::default();
    for key in [b"a", b"b", b"a"] {
        let push = |buffer: &mut Vec<u8>| buffer.extend_from_slice(b"{}");
        records.push(key, domain::timestamp::Timestamp::MIN, false, push).expect("small enough");
    }
    let packs = Packs::of(&records, PACK_BYTES_MAX);
    let batch = RecordBatch { partition: 0, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None };
    let memory = Memory {
        bytes: AtomicUsize::new(0),
        bytes_max: usize::MAX,
        records: AtomicUsize::new(3),
        freed: Notify::new(),
    };
    let (settle, mut settled) = tokio::sync::oneshot::channel();
    let receipts = Receipts { promised: None, settled: Some(settle) };
    let mut batch = Batch::new(batch.into(), Some(packs), receipts, memory.into(), 0);
    assert_eq!((batch.pack(0), batch.pack(2)), (0..2, 2..3), "both of a, then b");
    batch.settle(0, None, false);
    batch.settle(1, Some("too old".to_owned()), false);
    batch.settle(2, None, true);
    let Ok(Err(PublishError::Refused(refused))) = settled.try_recv() else { panic!("one is refused") };
    assert_eq!(refused.iter().map(|record| record.position).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_pack_that_the_client_finds_too_large_is_halved() {
    let silent_broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut config = rdkafka::ClientConfig::new();
    let address = silent_broker.local_addr().expect("an address").to_string();
    config.set("bootstrap.servers", address).set("message.max.bytes", "1000");
    let context = Deliveries {
        shared: Weak::new(),
        error_log: ClientErrorLog::default(),
        message_bytes_max: 1_000,
        broken: Mutex::default(),
        decided: AtomicBool::new(true),
    };
    let client: Arc<Client> = Arc::new(config.create_with_context(context).expect("a client"));
    let mut queue = ClientQueue::new("logs".into(), Some(Arc::clone(&client)));
    queue.push(packed_batch(8, 300, Some(PACK_BYTES_MAX)));
    queue.report(RecordId { batch: 0, position: 0 }, true, None);
    assert_eq!(client.in_flight_count(), 4, "packs of two events");
    assert!(!queue.is_behind());
}

/// Does not know the limit of the topic, until told.
struct Unsure(AtomicBool);

impl ClientContext for Unsure {}

impl ProducerContext for Unsure {
    type DeliveryOpaque = usize;

    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}

impl DeliveryContext for Unsure {
    fn break_off(&self, _: Option<RDKafkaErrorCode>, reason: &str) {
        panic!("{reason}");
    }

    fn may_refuse_size(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_record_is_refused_for_its_size_only_while_the_limit_is_known() {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1").set("message.max.bytes", "1000");
    let client: BaseProducer<_> = config.create_with_context(Unsure(AtomicBool::new(false))).expect("a client");
    let client = Arc::new(client);
    let mut queue = ClientQueue::new("logs".into(), Some(Arc::clone(&client)));
    queue.push(batch(2, 2_000));
    assert!(!queue.hand_over() && queue.is_behind(), "an operator may have raised the limit");
    client.context().0.store(true, Ordering::Relaxed);
    assert!(!queue.hand_over() && !queue.is_behind(), "both are refused");
}

#[test]
fn a_delivery_knows_its_batch_and_record() {
    for number in [0, 1, 77, (1 << 44) - 1] {
        for position in [0, 1, 9_999, BATCH_RECORDS_MAX - 1] {
            let id = RecordId { batch: number, position };
            assert_eq!(delivery_of(opaque(id)), id);
        }
    }
}
