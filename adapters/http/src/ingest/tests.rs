use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::delivery::Delivery;
use application::health::Health;
use application::ingest::Ingest;
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{DeliveryPolicy, Durability};
use domain::idempotency::DerivedIds;
use domain::partition::{Partitioner, PriorityLane};
use domain::ports::{
    BusState, Client, Clock, IdempotentRequest, MockAgentLimiter, MockIdSource, MockIdempotencyStore, MockKeyLimiter,
    MockRecordPublisher, MockTelemetry, RateDecision, RateLimiter, Receipt, Recollection, RecordPublisher,
    RequestClass, Telemetry,
};
use domain::timestamp::Timestamp;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, Request, Response};
use serde_json::Value;
use testkit::clock_at;

use crate::access::{AccessControl, AccessRules};
use crate::actuator::instance::InstanceReading;
use crate::actuator::{Actuator, LogControl};
use crate::body::BodyBudget;
use crate::endpoints::producer_endpoint;
use crate::ingest::RefusalLog;
use crate::ingest::accept::ProducerDependencies;
use crate::ingest::agents::AgentAdmission;
use crate::ingest::idempotency::REPLAYED;

/// How long requests of agents are held.
pub(super) const HOLD: Duration = Duration::from_secs(3);

/// Limits nobody.
struct Unlimited;

#[async_trait::async_trait]
impl RateLimiter for Unlimited {
    async fn take(&self, _client: Client, _class: RequestClass) -> Option<RateDecision> {
        None
    }
}

/// A bus of which this many percent are used.
fn bus(percent: u64) -> MockRecordPublisher {
    let mut bus = MockRecordPublisher::new();
    bus.expect_usage().return_const(Usage { used_bytes: percent << 20, bytes_max: 100 << 20 });
    bus.expect_publish().returning(|_| {
        let promised = std::future::ready(Ok(Durability::Buffered));
        Ok(Receipt { promised: Box::pin(promised), settled: Box::pin(std::future::ready(Ok(()))) })
    });
    bus
}

/// A bus that is not to get anything.
fn no_bus() -> MockRecordPublisher {
    MockRecordPublisher::new()
}

fn telemetry() -> Arc<dyn Telemetry> {
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_refused().return_const(());
    telemetry.expect_sent().return_const(());
    telemetry.expect_send_failed().return_const(());
    telemetry.expect_agent_request().return_const(());
    telemetry.expect_agent_request_held().return_const(());
    telemetry.expect_rate_limited().return_const(());
    Arc::new(telemetry)
}

fn ingest(mut bus: MockRecordPublisher, telemetry: Arc<dyn Telemetry>) -> Ingest {
    bus.expect_partition_count().return_const(NonZeroU32::MIN);
    let bus: Arc<dyn RecordPublisher> = Arc::new(bus);
    let mut ids = MockIdSource::new();
    ids.expect_new_id().returning(|_| Uuid::from_u128(7));
    Ingest::new(
        Arc::new(Delivery::new(bus, Arc::clone(&telemetry))),
        Arc::new(clock_at("2024-01-15T10:30:00Z")),
        Arc::new(ids),
        telemetry,
        DeliveryPolicy::default(),
        Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).expect("valid"),
    )
}

/// An intake that has room, for decoders alone.
pub(super) fn ingest_with_room() -> Ingest {
    ingest(bus(0), telemetry())
}

/// A producer with this limiter of agents, on a bus that is up.
pub(super) fn producer_for_agents(
    bus: MockRecordPublisher,
    limiter: MockAgentLimiter,
) -> impl Endpoint<Output = Response> {
    producer_with(MockIdempotencyStore::new(), bus, limiter)
}

fn producer(store: MockIdempotencyStore, bus: MockRecordPublisher) -> impl Endpoint<Output = Response> {
    producer_with(store, bus, MockAgentLimiter::new())
}

/// What a producer with this limiter of keys works with.
pub(super) fn dependencies_with_keys(limiter: MockKeyLimiter) -> ProducerDependencies {
    dependencies_on(bus(0), limiter)
}

/// The same on another bus. Agents are limited by their keys alone.
pub(super) fn dependencies_on(bus: MockRecordPublisher, limiter: MockKeyLimiter) -> ProducerDependencies {
    let mut agents = MockAgentLimiter::new();
    agents.expect_wait().return_const(None::<Duration>);
    agents.expect_charge().return_const(());
    let dependencies = dependencies(MockIdempotencyStore::new(), bus, agents);
    ProducerDependencies { key_limiter: Arc::new(limiter), ..dependencies }
}

/// What a producer whose bus has room works with, with this limiter of agents.
pub(super) fn dependencies_for_agents(limiter: MockAgentLimiter) -> ProducerDependencies {
    dependencies(MockIdempotencyStore::new(), bus(0), limiter)
}

fn dependencies(
    store: MockIdempotencyStore,
    mut bus: MockRecordPublisher,
    limiter: MockAgentLimiter,
) -> ProducerDependencies {
    let telemetry = telemetry();
    bus.expect_state().returning(|| BusState::Up);
    let ingest = ingest(bus, Arc::clone(&telemetry));
    ProducerDependencies {
        ingest: Arc::new(ingest),
        health: Health::default(),
        limiter: Arc::new(Unlimited),
        key_limiter: Arc::new(MockKeyLimiter::new()),
        idempotency: Some(Arc::new(store)),
        telemetry,
        refusals: RefusalLog::default(),
        bodies: BodyBudget::new(1 << 20),
        trusted_proxies: vec!["0.0.0.0/0".parse().expect("a network")].into(),
        agents: AgentAdmission::new(Arc::new(limiter), HOLD, 9),
        shortage: None,
    }
}

fn producer_with(
    store: MockIdempotencyStore,
    bus: MockRecordPublisher,
    limiter: MockAgentLimiter,
) -> impl Endpoint<Output = Response> {
    let dependencies = dependencies(store, bus, limiter);
    let health = dependencies.health.clone();
    let actuator = Actuator {
        role: "producer",
        started_at: clock_at("2024-01-15T10:30:00Z").now(),
        health,
        instances: None,
        log: LogControl::NONE,
        reading: Arc::new(|| InstanceReading::at(Timestamp::MIN)),
        metrics: Arc::new(String::new),
        document: "{}".into(),
    };
    producer_endpoint(dependencies, actuator, AccessControl::new(AccessRules::default()))
}

const EVENT: &str = r#"{"source":"s","level":"INFO","message":"m"}"#;
const BAD: &str = r#"{"source":"s","level":"LOUD","message":"m"}"#;
const TRACE: &str = r#"{"source":"s","level":"TRACE","message":"m"}"#;

/// Requests with one event each, in every form: path, media type, body.
fn forms(event: &str) -> [(&'static str, &'static str, String); 3] {
    [
        ("/api/logs", "application/json", event.to_owned()),
        ("/api/logs/batch", "application/json", format!("[{event}]")),
        ("/api/logs/batch", "application/x-ndjson", event.to_owned()),
    ]
}

async fn send(
    producer: &impl Endpoint<Output = Response>,
    (path, media_type, body): &(&'static str, &'static str, String),
    key: Option<&str>,
) -> (StatusCode, Option<String>, Vec<u8>) {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri_str(path)
        .header("content-type", *media_type)
        .header("x-forwarded-for", "192.0.2.1");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = producer.get_response(request.body(body.clone())).await;
    let replayed = response.header(REPLAYED).map(str::to_owned);
    (response.status(), replayed, response.into_body().into_vec().await.expect("a body"))
}

fn recalling(recollection: &Recollection) -> MockIdempotencyStore {
    let mut store = MockIdempotencyStore::new();
    let recollection = recollection.clone();
    store.expect_begin().returning(move |_| recollection.clone());
    store
}

#[tokio::test]
async fn a_request_that_was_answered_gets_that_answer_and_nothing_is_taken_in() {
    let producer = producer(recalling(&Recollection::Answered(b"as before".to_vec())), no_bus());
    for request in forms(EVENT) {
        let (status, replayed, body) = send(&producer, &request, Some("1")).await;
        assert_eq!((status.as_u16(), replayed.as_deref(), body.as_slice()), (202, Some("true"), &b"as before"[..]));
    }
}

#[tokio::test]
async fn a_key_that_belongs_to_another_body_is_refused_and_nothing_is_taken_in() {
    let producer = producer(recalling(&Recollection::OtherBody), no_bus());
    for request in forms(EVENT) {
        let (status, _, body) = send(&producer, &request, Some("1")).await;
        let problem: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status.as_u16(), &problem["code"]), (422, &"idempotency_key_reused".into()));
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_client_path_key_and_body() {
    let mut store = MockIdempotencyStore::new();
    let described = |request: &IdempotentRequest<'_>| {
        (request.client.to_string(), request.class, request.key.to_owned(), request.fingerprint)
    };
    let (begun, finished) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let note = Arc::clone(&begun);
    store.expect_begin().returning(move |request| {
        note.lock().expect("lock").push(described(request));
        Recollection::New
    });
    let note = Arc::clone(&finished);
    store.expect_finish().returning(move |request, answer| {
        note.lock().expect("lock").push((described(request), answer.to_vec()));
    });
    let producer = producer(store, bus(0));
    let mut expected = Vec::new();
    for (request, class) in
        forms(EVENT).into_iter().zip([RequestClass::Single, RequestClass::Batch, RequestClass::Batch])
    {
        let (status, replayed, body) = send(&producer, &request, Some("order-42")).await;
        assert_eq!((status.as_u16(), replayed), (202, None));
        let fingerprint = DerivedIds::new(b"order-42", request.2.as_bytes()).expect("valid").fingerprint();
        expected.push((("192.0.2.1".to_owned(), class, "order-42".to_owned(), fingerprint), body));
    }
    let finished = finished.lock().expect("lock");
    assert_eq!(*finished, expected);
    assert!(finished.iter().map(|(request, _)| request).eq(begun.lock().expect("lock").iter()));
}

#[tokio::test]
async fn an_answer_that_is_no_202_is_not_kept() {
    for request in forms(BAD).into_iter().chain(forms("{")) {
        let producer = producer(recalling(&Recollection::New), no_bus());
        assert_eq!(send(&producer, &request, Some("1")).await.0.as_u16(), 400, "{request:?}");
    }
    let producer = producer(recalling(&Recollection::New), bus(75));
    for request in forms(TRACE) {
        assert_eq!(send(&producer, &request, Some("1")).await.0.as_u16(), 503, "{request:?}");
    }
}

#[tokio::test]
async fn an_answer_with_errors_is_kept_unless_one_of_them_is_to_be_tried_again() {
    for (events, percent, kept) in [
        (format!("{EVENT}\n{BAD}"), 75, true),
        (format!("{EVENT}\n{TRACE}"), 75, false),
        (format!("{EVENT}\n{TRACE}"), 0, true),
    ] {
        let mut store = recalling(&Recollection::New);
        store.expect_finish().times(usize::from(kept)).return_const(());
        let request = ("/api/logs/batch", "application/x-ndjson", events);
        let (status, ..) = send(&producer(store, bus(percent)), &request, Some("1")).await;
        assert_eq!(status.as_u16(), 202, "{request:?}");
    }
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_remembered() {
    let producer = producer(MockIdempotencyStore::new(), bus(0));
    for request in forms(EVENT) {
        assert_eq!(send(&producer, &request, None).await.0.as_u16(), 202);
        for key in ["", "a b", "\u{e9}", &"x".repeat(256)] {
            assert_eq!(send(&producer, &request, Some(key)).await.0.as_u16(), 400, "{key:?}");
        }
    }
}
