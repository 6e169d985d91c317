//! Tests of intake and delivery on a mock of the bus.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{Deliveries, DeliveryPolicy, Durability, Guarantee};
use domain::event::{EventDraft, EventError, IdOrigin};
use domain::idempotency::DerivedIds;
use domain::level::Level;
use domain::partition::{Partition, Partitioner, PriorityLane, murmur2};
use domain::ports::{BoxFuture, BusState, MockIdSource, MockRecordPublisher, MockTelemetry, PublishError, Receipt};
use domain::record::RecordBatch;
use domain::resend_id::Stream;
use domain::timestamp::Timestamp;
use testkit::clock_at;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    AGENT_RECORD_BYTES_MAX, Accepted, AgentEntry, AgentStop, Identity, Ingest, Outcome, PROMISE_TIMEOUT,
    REQUEST_EVENTS_MAX, Refusal, RefusalReason, TooManyEvents, Verdict,
};
use crate::codec;
use crate::delivery::Delivery;

const THREE: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

fn telemetry() -> MockTelemetry {
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_refused().return_const(());
    telemetry.expect_sent().return_const(());
    telemetry.expect_send_failed().return_const(());
    telemetry.expect_agent_request().return_const(());
    telemetry
}

pub(super) fn ingest(publisher: MockRecordPublisher, policy: DeliveryPolicy) -> Ingest {
    let mut ids = MockIdSource::new();
    ids.expect_new_id().returning(|_| Uuid::from_u128(7));
    let partitioner = Partitioner::new(PriorityLane::Shared, THREE).expect("valid");
    let telemetry = Arc::new(telemetry());
    let delivery = Delivery::new(Arc::new(publisher), Arc::<MockTelemetry>::clone(&telemetry));
    Ingest::new(
        Arc::new(delivery),
        Arc::new(clock_at("2024-01-15T10:30:00Z")),
        Arc::new(ids),
        telemetry,
        policy,
        partitioner,
    )
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<T> {
    Box::pin(std::future::ready(value))
}

fn pending<T: Send + 'static>() -> BoxFuture<T> {
    Box::pin(std::future::pending())
}

/// A bus that keeps every promise at once and records the batches.
pub(super) fn publisher() -> (MockRecordPublisher, Arc<Mutex<Vec<Arc<RecordBatch>>>>) {
    let batches = Arc::new(Mutex::new(Vec::<Arc<RecordBatch>>::new()));
    let mut publisher = MockRecordPublisher::new();
    publisher.expect_partition_count().return_const(THREE);
    publisher.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
    publisher.expect_buffer().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
    publisher.expect_state().return_const(BusState::Up);
    let published = Arc::clone(&batches);
    publisher.expect_publish().returning(move |batch| {
        let durability =
            if batch.guarantee == Guarantee::AtMostOnce { Durability::Buffered } else { Durability::Acknowledged };
        published.lock().expect("lock").push(batch);
        Ok(Receipt { promised: ready(Ok(durability)), settled: ready(Ok(())) })
    });
    (publisher, batches)
}

fn answering(answer: impl Fn() -> Result<Receipt, PublishError> + Send + 'static) -> MockRecordPublisher {
    filled(0, answer)
}

/// A bus with this answer and with this much of a million bytes in use.
fn filled(used_bytes: u64, answer: impl Fn() -> Result<Receipt, PublishError> + Send + 'static) -> MockRecordPublisher {
    let mut publisher = MockRecordPublisher::new();
    publisher.expect_partition_count().return_const(THREE);
    publisher.expect_usage().return_const(Usage { used_bytes, bytes_max: 1_000_000 });
    publisher.expect_buffer().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
    publisher.expect_state().return_const(BusState::Up);
    publisher.expect_publish().returning(move |_| answer());
    publisher
}

pub(super) fn draft(source: &str, level: Level, message: &str) -> EventDraft<'static> {
    EventDraft {
        source: Some(source.to_owned().into()),
        level: Some(level.name().into()),
        message: Some(message.to_owned().into()),
        ..EventDraft::default()
    }
}

async fn deliver(ingest: &Ingest, drafts: impl IntoIterator<Item = EventDraft<'static>>) -> Outcome {
    let mut intake = ingest.intake(None, None);
    for draft in drafts {
        intake.add(draft).expect("few events");
    }
    intake.deliver().await
}

#[tokio::test]
async fn each_lane_of_a_partition_gets_one_batch_in_request_order_and_the_answer_counts_by_durability() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let source_of = |partition| {
        let belongs = |source: &String| (murmur2(source.as_bytes()) & 0x7fff_ffff) % 3 == partition;
        (0..).map(|n| format!("source-{n}")).find(belongs).expect("one of many")
    };
    // Both lanes of partition 0, and partition 2.
    let (zero, two) = (source_of(0), source_of(2));
    let outcome = deliver(
        &ingest,
        [
            draft(&two, Level::Info, "1"),
            draft(&two, Level::Error, "2"),
            draft(&zero, Level::Warn, "3"),
            EventDraft { level: Some("LOUD".into()), ..draft("x", Level::Info, "4") },
            draft(&two, Level::Debug, "5"),
            draft(&zero, Level::Fatal, "6"),
        ],
    )
    .await;
    assert_eq!(outcome.accepted, Accepted { acknowledged: 2, journaled: 0, buffered: 3 });
    assert_eq!(outcome.refusals, [Refusal { index: 3, reason: EventError::LevelUnknown.into() }]);
    assert_eq!(outcome.verdict(), Verdict::Accepted);

    let batches = batches.lock().expect("lock");
    let seen: Vec<(Partition, Guarantee, Vec<String>)> = batches
        .iter()
        .map(|batch| {
            let messages = batch.records.iter().map(|r| codec::decode(r).expect("an event").message.into_owned());
            (batch.partition, batch.guarantee, messages.collect())
        })
        .collect();
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let expected = [
        (0, Guarantee::AtLeastOnce, lines(&["2", "6"])),
        (0, Guarantee::AtMostOnce, lines(&["3"])),
        (2, Guarantee::AtMostOnce, lines(&["1", "5"])),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_batch_waits_for_the_strictest_guarantee_in_it() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Warn, Guarantee::AtLeastOnce));
    let outcome = deliver(&ingest, [draft("abc", Level::Info, "1"), draft("abc", Level::Warn, "2")]).await;
    assert_eq!(outcome.accepted, Accepted { acknowledged: 2, journaled: 0, buffered: 0 });
    assert_eq!(batches.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn exactly_once_requires_an_id_from_the_client() {
    let (publisher, _) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Info, Guarantee::ExactlyOnce));
    let with_id = EventDraft { event_id: Some(Uuid::from_u128(1).to_string().into()), ..draft("s", Level::Info, "1") };
    let outcome = deliver(&ingest, [with_id, draft("s", Level::Info, "2")]).await;
    assert_eq!(outcome.accepted.total(), 1);
    assert_eq!(outcome.refusals, [Refusal { index: 1, reason: EventError::EventIdRequired.into() }]);
}

#[tokio::test]
async fn with_an_idempotency_key_ids_come_from_the_key_and_satisfy_exactly_once() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Info, Guarantee::ExactlyOnce));
    let ids = DerivedIds::new(b"key", b"body").expect("valid");
    let mut intake = ingest.intake(Some(ids), None);
    let own = EventDraft { event_id: Some(Uuid::from_u128(1).to_string().into()), ..draft("s", Level::Info, "1") };
    for event in [own, EventDraft::default(), draft("s", Level::Info, "2")] {
        intake.add(event).expect("few events");
    }
    let outcome = intake.deliver().await;
    assert_eq!((outcome.accepted.total(), outcome.event_id), (2, Some(ids.id(2))));
    let batches = batches.lock().expect("lock");
    let seen: Vec<_> = batches[0].records.iter().map(|record| codec::decode(record).expect("an event")).collect();
    assert_eq!(seen.iter().map(|event| event.event_id).collect::<Vec<_>>(), [Uuid::from_u128(1), ids.id(2)]);
    assert!(seen.iter().all(|event| event.id_origin == IdOrigin::Client));
}

#[tokio::test]
async fn as_the_bus_fills_levels_are_refused_per_event_including_the_space_of_the_request_itself() {
    let publisher =
        filled(860_000, || Ok(Receipt { promised: ready(Ok(Durability::Acknowledged)), settled: ready(Ok(())) }));
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let text = "x".repeat(25_000);
    let outcome = deliver(
        &ingest,
        [
            draft("s", Level::Debug, &text),
            draft("s", Level::Warn, &text),
            draft("s", Level::Info, &text),
            draft("s", Level::Warn, &text),
            draft("s", Level::Warn, &text),
            draft("s", Level::Error, &text),
        ],
    )
    .await;
    let shed: Vec<_> = outcome.refusals.iter().map(|refusal| (refusal.index, refusal.reason.clone())).collect();
    let expected = [(0, Level::Debug), (2, Level::Info), (4, Level::Warn)];
    assert_eq!(shed, expected.map(|(index, level)| (index, RefusalReason::LoadShed(level))));
    assert_eq!(outcome.accepted.total(), 3);
}

#[tokio::test]
async fn every_accepted_event_is_in_exactly_one_term_from_promise_to_end() {
    let (arrive, arrived) = oneshot::channel::<bool>();
    let arrived = Mutex::new(Some(arrived));
    let ingest = ingest(
        answering(move || {
            let arrived = arrived.lock().expect("lock").take().expect("one batch");
            let settled = async { arrived.await.ok().filter(|arrived| *arrived).map(drop).ok_or(PublishError::Closed) };
            Ok(Receipt { promised: ready(Ok(Durability::Buffered)), settled: Box::pin(settled) })
        }),
        DeliveryPolicy::default(),
    );
    let term = |guarantee: Guarantee| ingest.delivery.status().deliveries[guarantee as usize];
    deliver(&ingest, [draft("s", Level::Info, "1"), draft("s", Level::Info, "2")]).await;
    let on_their_way = Deliveries { accepted: 2, buffered: 2, ..Deliveries::default() };
    assert_eq!(term(Guarantee::AtMostOnce), on_their_way);
    assert_eq!(term(Guarantee::AtLeastOnce), Deliveries::default());
    arrive.send(false).expect("the delivery task listens");
    tokio::time::timeout(Duration::from_secs(1), async {
        while ingest.delivery.status().deliveries[0].buffered > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("settled");
    assert_eq!(term(Guarantee::AtMostOnce), Deliveries { accepted: 2, dropped: [2, 0], ..Deliveries::default() });
    assert_eq!(ingest.delivery.status().oldest_buffered, Duration::ZERO);
}

#[tokio::test]
async fn events_that_the_bus_refuses_later_were_never_accepted() {
    let refused = || ready(Err(PublishError::Full));
    let answer = move || Ok(Receipt { promised: refused(), settled: ready(Err(PublishError::Full)) });
    let ingest = ingest(answering(answer), DeliveryPolicy::default());
    let outcome = deliver(&ingest, [draft("s", Level::Info, "1")]).await;
    assert_eq!(outcome.verdict(), Verdict::NoCapacity);
    tokio::time::timeout(Duration::from_secs(1), async {
        while ingest.delivery.status().totals.failed == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("counted as failed");
    assert_eq!(ingest.delivery.status().deliveries, [Deliveries::default(); 3]);
}

#[tokio::test]
async fn events_that_the_bus_does_not_take_are_refused_as_retryable_and_counted_as_failed() {
    for (answer, code) in [
        (PublishError::Full, "no_capacity"),
        (PublishError::Unavailable("no disk".into()), "bus_unavailable"),
        (PublishError::Closed, "draining"),
    ] {
        let answer = Mutex::new(Some(answer));
        let ingest = ingest(
            answering(move || Err(answer.lock().expect("lock").take().expect("asked once"))),
            DeliveryPolicy::default(),
        );
        let outcome = deliver(&ingest, [draft("s", Level::Error, "1"), draft("s", Level::Fatal, "2")]).await;
        assert_eq!(outcome.verdict(), Verdict::NoCapacity);
        assert!(outcome.refusals.iter().all(|r| r.reason.code() == code && r.reason.is_retryable()), "{code}");
        assert_eq!(ingest.delivery.status().totals.failed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_promise_within_thirty_seconds_the_outcome_is_unknown() {
    let ingest =
        ingest(answering(|| Ok(Receipt { promised: pending(), settled: pending() })), DeliveryPolicy::default());
    let began = Instant::now();
    let outcome = deliver(&ingest, [draft("s", Level::Error, "1")]).await;
    assert_eq!(outcome.verdict(), Verdict::Unknown);
    assert_eq!(began.elapsed(), PROMISE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_cancels_neither_the_delivery_nor_its_count() {
    let (promise, promised) = oneshot::channel::<()>();
    let promised = Mutex::new(Some(promised));
    let publisher = answering(move || {
        let promised = promised.lock().expect("lock").take().expect("one batch");
        let settled = async { promised.await.map_err(|_| PublishError::Closed) };
        Ok(Receipt { promised: pending(), settled: Box::pin(settled) })
    });
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let hung_up = tokio::time::timeout(Duration::from_secs(1), deliver(&ingest, [draft("s", Level::Error, "1")])).await;
    assert!(hung_up.is_err());
    assert_eq!(ingest.delivery.status().totals.sent, 0);
    promise.send(()).expect("the delivery task still listens");
    tokio::time::timeout(Duration::from_secs(1), async {
        while ingest.delivery.status().totals.sent == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("counted");
}

#[tokio::test]
async fn the_verdict_follows_the_table_of_the_contract() {
    let refused = |reasons: Vec<RefusalReason>| Outcome {
        received_at: Timestamp::MIN,
        accepted: Accepted::default(),
        refusals: reasons.into_iter().enumerate().map(|(index, reason)| Refusal { index, reason }).collect(),
        event_id: None,
    };
    let too_large = || RefusalReason::Event(EventError::RecordTooLarge { limit_bytes: 1 });
    let invalid = || RefusalReason::Event(EventError::SourceRequired);
    let malformed = || RefusalReason::Malformed { code: "event_not_object", detail: String::new() };
    for (reasons, verdict) in [
        (vec![], Verdict::Invalid),
        (vec![invalid(), malformed()], Verdict::Invalid),
        (vec![too_large(), too_large()], Verdict::TooLarge),
        (vec![too_large(), invalid()], Verdict::Invalid),
        (vec![invalid(), RefusalReason::NoCapacity], Verdict::NoCapacity),
        (vec![RefusalReason::BusUnavailable], Verdict::NoCapacity),
        (vec![RefusalReason::Draining], Verdict::NoCapacity),
        (vec![RefusalReason::NoCapacity, RefusalReason::OutcomeUnknown], Verdict::Unknown),
    ] {
        assert_eq!(refused(reasons.clone()).verdict(), verdict, "{reasons:?}");
    }
    let one = Outcome { accepted: Accepted { buffered: 1, ..Accepted::default() }, ..refused(vec![invalid()]) };
    assert_eq!(one.verdict(), Verdict::Accepted);
}

#[tokio::test]
async fn the_limit_is_ten_thousand_events() {
    let (publisher, _) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let mut intake = ingest.intake(None, None);
    for _ in 0..REQUEST_EVENTS_MAX - 1 {
        intake.add(draft("s", Level::Info, "m")).expect("within the limit");
    }
    intake.refuse(RefusalReason::Malformed { code: "x", detail: String::new() }).expect("within the limit");
    assert_eq!(intake.add(draft("s", Level::Info, "m")), Err(TooManyEvents));
    assert_eq!(intake.deliver().await.accepted.total(), REQUEST_EVENTS_MAX - 1);
}

pub(super) fn entry(source: &str, level: Level, message: &str) -> AgentEntry<'static> {
    AgentEntry {
        source: Some(source.to_owned().into()),
        level: Some(level.name().into()),
        message: message.to_owned().into(),
        ..AgentEntry::default()
    }
}

#[tokio::test]
async fn nothing_of_an_agent_s_request_is_published_unless_every_entry_has_room() {
    // INFO has no room; ERROR has.
    let publisher = filled(850_000, || panic!("nothing is published"));
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let mut intake = ingest.agent_intake("otlp", None);
    assert!(intake.add(entry("s", Level::Error, "1"), None).is_ok());
    let stopped = intake.add(entry("s", Level::Info, "2"), None);
    assert_eq!(stopped, Err(AgentStop::NoRoom(RefusalReason::LoadShed(Level::Info))));
}

#[tokio::test]
async fn an_agent_s_request_that_the_bus_does_not_take_whole_is_refused_as_a_whole() {
    let ingest = ingest(answering(|| Err(PublishError::Full)), DeliveryPolicy::default());
    let mut intake = ingest.agent_intake("otlp", None);
    for level in [Level::Error, Level::Info] {
        assert!(intake.add(entry("s", level, "m"), None).is_ok());
    }
    assert_eq!(intake.deliver(PROMISE_TIMEOUT).await, Err(RefusalReason::NoCapacity));
}

#[tokio::test(start_paused = true)]
async fn an_agent_waits_for_a_promise_as_long_as_is_left() {
    let receipt = || Ok(Receipt { promised: pending(), settled: pending() });
    let ingest = ingest(answering(receipt), DeliveryPolicy::default());
    let mut intake = ingest.agent_intake("otlp", None);
    assert!(intake.add(entry("s", Level::Error, "m"), None).is_ok());
    let began = Instant::now();
    assert_eq!(intake.deliver(Duration::from_secs(27)).await, Err(RefusalReason::OutcomeUnknown));
    assert_eq!(began.elapsed(), Duration::from_secs(27));
}

#[tokio::test]
async fn entries_sent_again_have_the_same_ids_and_levels_delivered_exactly_once_need_none() {
    let policy = DeliveryPolicy::default().with(Level::Error, Guarantee::ExactlyOnce);
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, policy);
    let stream = Stream::new(&[b"otlp", b"", b"labels"]);
    let identity = |unix_nanos| Some(Identity { stream: &stream, unix_nanos });
    let mut intake = ingest.agent_intake("otlp", None);
    let fine = intake.add(entry("s", Level::Error, "m"), identity(1_795_939_445_835_936_256));
    let coarse = intake.add(entry("s", Level::Error, "m"), identity(1_795_939_445_835_000_000));
    assert_eq!(fine.as_ref().map(Uuid::get_version_num), Ok(8));
    assert_eq!(coarse, Ok(Uuid::from_u128(7)));
    let outcome = intake.deliver(PROMISE_TIMEOUT).await.expect("accepted");
    assert_eq!((outcome.accepted.total(), outcome.refusals.len()), (2, 0));
    let batches = batches.lock().expect("lock");
    let records: Vec<_> = batches.iter().flat_map(|batch| batch.records.iter()).collect();
    let origins = records.iter().map(|record| codec::decode(*record).expect("an event").id_origin);
    assert_eq!(origins.collect::<Vec<_>>(), [IdOrigin::Derived(None), IdOrigin::Generated]);
    let mut again = ingest.agent_intake("otlp", None);
    assert_eq!(again.add(entry("s", Level::Error, "m"), identity(1_795_939_445_835_936_256)), fine);
    let ingest = ingest_without_ids();
    let mut other = ingest.agent_intake("otlp", None);
    let new = other.add(entry("s", Level::Error, "m"), identity(1_795_939_445_835_936_256));
    assert_eq!(new, Ok(Uuid::from_u128(7)));
}

fn ingest_without_ids() -> Ingest {
    ingest(publisher().0, DeliveryPolicy::default()).deriving_ids(false)
}

#[tokio::test]
async fn the_records_of_an_agent_s_request_are_bounded_and_an_event_too_large_for_one_is_shortened() {
    let (publisher, batches) = publisher();
    let ingest = ingest(publisher, DeliveryPolicy::default());
    let mut intake = ingest.agent_intake("otlp", None);
    // Each character has six bytes in JSON.
    assert!(intake.add(entry("s", Level::Info, &"\u{1}".repeat(256 * 1024)), None).is_ok());
    intake.deliver(PROMISE_TIMEOUT).await.expect("accepted");
    assert_eq!(batches.lock().expect("lock").len(), 1);

    let mut intake = ingest.agent_intake("otlp", None);
    let message = "m".repeat(256 * 1024);
    let taken = (0..1_000).take_while(|_| intake.add(entry("s", Level::Info, &message), None).is_ok()).count();
    assert_eq!(taken, AGENT_RECORD_BYTES_MAX / message.len() - 1);
    let mut intake = ingest.agent_intake("otlp", None);
    assert_eq!(intake.note(AGENT_RECORD_BYTES_MAX + 1), Err(AgentStop::TooLarge));
}

#[tokio::test]
async fn requests_of_agents_that_are_decoded_at_once_have_a_bound_together() {
    let ingest = ingest(publisher().0, DeliveryPolicy::default());
    let [mut first, mut second, mut third] = [(); 3].map(|()| ingest.agent_intake("otlp", None));
    assert_eq!(first.note(AGENT_RECORD_BYTES_MAX), Ok(()));
    assert_eq!(second.note(AGENT_RECORD_BYTES_MAX), Ok(()));
    let no_room = Err(AgentStop::NoRoom(RefusalReason::NoCapacity));
    assert_eq!(third.note(AGENT_RECORD_BYTES_MAX / 2), no_room, "the agent sends it again");
    drop(first);
    assert_eq!(ingest.agent_intake("otlp", None).note(AGENT_RECORD_BYTES_MAX / 2), Ok(()));
}
