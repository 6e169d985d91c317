//! Requests of agents through the endpoint of a producer, with the bodies that real clients sent.

use std::sync::{Arc, Mutex};

use domain::access::{Key, KeyHash, KeyLimits, SourcePattern};
use domain::admission::Usage;
use domain::delivery::Durability;
use domain::ports::{MockAgentLimiter, MockRecordPublisher, PublishError, Receipt};
use domain::record::RecordBatch;
use poem::http::Method;
use poem::{Endpoint, Request, Response};
use proptest::prelude::*;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::access::admitted::Admitted;
use crate::ingest::agents::bulk::Bulk;
use crate::ingest::agents::hec::Envelopes;
use crate::ingest::agents::loki::Loki;
use crate::ingest::agents::objects::Objects;
use crate::ingest::agents::otlp::Otlp;
use crate::ingest::agents::{AgentProtocol, HELD};
use crate::ingest::tests::{HOLD, dependencies_for_agents, producer_for_agents};

/// An answer, and the events that were published.
pub struct Sent {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: poem::http::HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The values of the records, by partition and then by order.
    pub events: Vec<Value>,
}

impl Sent {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A member of every event.
    pub fn all(&self, name: &str) -> Vec<&Value> {
        self.events.iter().map(|event| &event[name]).collect()
    }
}

type Batches = Arc<Mutex<Vec<Arc<RecordBatch>>>>;

/// A bus of which this many percent are used, and what it gets.
fn bus(percent: u64) -> (MockRecordPublisher, Batches) {
    let batches = Batches::default();
    let mut bus = MockRecordPublisher::new();
    bus.expect_usage().return_const(Usage { used_bytes: percent << 20, bytes_max: 100 << 20 });
    let published = Arc::clone(&batches);
    bus.expect_publish().returning(move |batch| {
        published.lock().expect("lock").push(batch);
        let promised = std::future::ready(Ok(Durability::Buffered));
        Ok(Receipt { promised: Box::pin(promised), settled: Box::pin(std::future::ready(Ok(()))) })
    });
    (bus, batches)
}

/// A limiter that lets every client begin.
fn unlimited() -> MockAgentLimiter {
    let mut limiter = MockAgentLimiter::new();
    limiter.expect_wait().return_const(None::<Duration>);
    limiter.expect_charge().return_const(());
    limiter
}

async fn send_to(
    producer: &impl Endpoint<Output = Response>,
    batches: &Batches,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Sent {
    let mut request = Request::builder().method(method).uri_str(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = producer.get_response(request.body(body.to_vec())).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().into_vec().await.expect("a body");
    let batches = batches.lock().expect("lock");
    let records = batches.iter().flat_map(|batch| batch.records.iter());
    let events = records.map(|record| serde_json::from_slice(record.value).expect("JSON")).collect();
    Sent { status, headers, body, events }
}

/// Sends a request to a producer whose bus is empty.
pub async fn send(method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Sent {
    let (bus, batches) = bus(0);
    send_to(&producer_for_agents(bus, unlimited()), &batches, (method, path), headers, body).await
}

/// Sends a JSON object twice: as it is, and with a member that no agent writes, so that it is not read as a usual one.
/// Returns status and events of both, without what differs by chance: ids, times of receipt, and times that are those of receipt.
pub fn send_both_ways(path: &str, object: &str) -> [(u16, Vec<Value>); 2] {
    let unusual = object.replacen('{', "{\"unusual\":0,", 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    [object, &unusual].map(|body| {
        let sent = send(Method::POST, path, &[("content-type", "application/json")], body.as_bytes());
        let mut sent = runtime.block_on(sent);
        for event in &mut sent.events {
            event["timestamp"] = event["timestamp"].as_str().filter(|time| time.starts_with("2024")).into();
            event["eventId"].take();
            event["receivedAt"].take();
        }
        (sent.status, sent.events)
    })
}

/// Some of these, with commas between them.
pub fn some_of(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(parts), 0..4).prop_map(|parts| parts.join(","))
}

const OTLP: (&str, &[(&str, &str)]) = ("/v1/logs", &[("content-type", "application/x-protobuf")]);
const PYTHON: &[u8] = include_bytes!("../../../tests/recorded/otlp-python.pb");

#[tokio::test(start_paused = true)]
async fn without_room_a_request_is_held_and_then_refused_as_a_whole() {
    // ERROR has room, INFO has not: nothing of the request is taken.
    let (bus, batches) = bus(95);
    let producer = producer_for_agents(bus, unlimited());
    let began = Instant::now();
    let refused = send_to(&producer, &batches, (Method::POST, OTLP.0), OTLP.1, PYTHON).await;
    assert_eq!((refused.status, refused.events.len(), began.elapsed()), (503, 0, HOLD));
    assert_eq!(refused.headers.get(HELD).map(poem::http::HeaderValue::as_bytes), Some(&b"3000"[..]));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_errors_alone_is_taken_when_only_they_have_room() {
    let (bus, batches) = bus(95);
    let producer = producer_for_agents(bus, unlimited());
    let headers = [("content-type", "application/json")];
    let body = br#"{"level":"ERROR","message":"m"}"#;
    let taken = send_to(&producer, &batches, (Method::POST, "/api/logs/ingest"), &headers, body).await;
    assert_eq!((taken.status, taken.events.len()), (202, 1));
}

#[tokio::test(start_paused = true)]
async fn over_its_limit_a_client_is_held_then_refused_and_not_charged() {
    let (bus, batches) = bus(0);
    let mut limiter = MockAgentLimiter::new();
    limiter.expect_wait().return_const(Some(Duration::from_millis(1_500)));
    limiter.expect_charge().never();
    let producer = producer_for_agents(bus, limiter);
    let began = Instant::now();
    let refused = send_to(&producer, &batches, (Method::POST, OTLP.0), OTLP.1, PYTHON).await;
    assert_eq!((refused.status, refused.events.len(), began.elapsed()), (429, 0, HOLD));
    assert_eq!(refused.headers.get("retry-after").map(poem::http::HeaderValue::as_bytes), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_request_is_charged_by_its_events_and_its_decoded_bytes() {
    let (bus, batches) = bus(0);
    let mut limiter = MockAgentLimiter::new();
    limiter.expect_wait().return_const(None::<Duration>);
    // The recorded body has 405 bytes, and 818 without its coding.
    limiter.expect_charge().withf(|_, events, bytes| (*events, *bytes) == (3, 818)).times(1).return_const(());
    let producer = producer_for_agents(bus, limiter);
    let gzip = include_bytes!("../../../tests/recorded/otlp-python.pb.gz");
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
    let taken = send_to(&producer, &batches, (Method::POST, "/v1/logs"), &headers, gzip).await;
    assert_eq!((taken.status, taken.events.len()), (200, 3));
    assert!(!taken.headers.contains_key(HELD));
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_is_charged() {
    let (published, when_published) = tokio::sync::oneshot::channel();
    let published = Mutex::new(Some(published));
    let mut bus = MockRecordPublisher::new();
    bus.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 100 << 20 });
    bus.expect_publish().returning(move |_| {
        // The events are of two lanes.
        if let Some(published) = published.lock().expect("lock").take() {
            published.send(()).expect("the test waits");
        }
        Ok(Receipt { promised: Box::pin(std::future::pending()), settled: Box::pin(std::future::pending()) })
    });
    let mut limiter = MockAgentLimiter::new();
    limiter.expect_wait().return_const(None::<Duration>);
    limiter.expect_charge().withf(|_, events, bytes| (*events, *bytes) == (3, PYTHON.len())).times(1).return_const(());
    let producer = producer_for_agents(bus, limiter);
    let batches = Batches::default();
    let gone = send_to(&producer, &batches, (Method::POST, OTLP.0), OTLP.1, PYTHON);
    tokio::select! {
        _ = gone => panic!("an answer"),
        published = when_published => published.expect("published"),
    }
}

#[tokio::test]
async fn a_bus_that_does_not_take_everything_makes_the_agent_send_again() {
    let mut bus = MockRecordPublisher::new();
    bus.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 100 << 20 });
    bus.expect_publish().returning(|_| Err(PublishError::Full));
    let mut limiter = MockAgentLimiter::new();
    limiter.expect_wait().return_const(None::<Duration>);
    limiter.expect_charge().never();
    let producer = producer_for_agents(bus, limiter);
    for (path, media_type, body) in [
        ("/v1/logs", "application/json", &include_bytes!("../../../tests/recorded/otlp-javascript.json")[..]),
        ("/loki/api/v1/push", "application/json", include_bytes!("../../../tests/recorded/loki-pino.json")),
        ("/_bulk", "application/json", include_bytes!("../../../tests/recorded/bulk-python.ndjson")),
        ("/services/collector", "", include_bytes!("../../../tests/recorded/hec-python.json")),
        ("/api/logs/ingest", "", include_bytes!("../../../tests/recorded/ingest-winston.json")),
    ] {
        let headers = [("content-type", media_type)];
        let refused = send_to(&producer, &Batches::default(), (Method::POST, path), &headers, body).await;
        assert_eq!(refused.status, 503, "{path}");
        assert!(refused.headers.contains_key("retry-after"), "{path}");
        let body = String::from_utf8_lossy(&refused.body);
        // Splunk's words for it are fixed.
        assert!(path == "/services/collector" || body.contains("not everything was accepted"), "{path}: {body}");
    }
}

/// A key that may write events of the source `own` only.
fn restricted_key() -> Key {
    let sources: Vec<SourcePattern> = vec!["own".parse().expect("a pattern")];
    Key {
        id: "AAAAAAAA".parse().expect("an id"),
        name: "shop".parse().expect("a name"),
        hash: KeyHash::new([1; 32]),
        roles: Vec::new(),
        sources: Some(sources.into()),
        expires: None,
        revoked: None,
        limits: KeyLimits::default(),
    }
}

#[tokio::test]
async fn an_answer_says_that_an_entry_of_a_forbidden_source_was_left_out() {
    let producer = dependencies_for_agents(unlimited());
    let key = Arc::new(restricted_key());
    let otlp = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"m"}}]}]},
        {"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"own"}}]},
         "scopeLogs":[{"logRecords":[{"body":{"stringValue":"m"}}]}]}]}"#;
    let loki = r#"{"streams":[{"stream":{"app":"own"},"values":[["1705314600000000001","m"]]},
        {"stream":{"app":"other"},"values":[["1705314600000000001","m"]]}]}"#;
    let bulk = "{\"create\":{}}\n{\"source\":\"own\",\"message\":\"m\"}\n\
                {\"create\":{}}\n{\"source\":\"other\",\"message\":\"m\"}\n";
    let hec = r#"{"event":"m","source":"own"}{"event":"m","source":"other"}"#;
    let objects = r#"[{"source":"own","message":"m"},{"source":"other","message":"m"}]"#;
    let cases: [(&dyn AgentProtocol, &str, &str, u16, &str); 5] = [
        (&Otlp, "/v1/logs", otlp, 200, r#""rejectedLogRecords":"1""#),
        (&Loki, "/loki/api/v1/push", loki, 400, "1 of 2 events left out, 1 accepted"),
        (&Bulk, "/_bulk", bulk, 200, r#""status":403,"error":{"type":"security_exception""#),
        (&Envelopes, "/services/collector?channel=c", hec, 400, r#""code":7"#),
        (&Objects, "/api/logs/ingest", objects, 202, r#""code":"source_forbidden""#),
    ];
    for (protocol, path, body, status, says) in cases {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri_str(path)
            .content_type("application/json")
            .body(body.to_owned());
        request.extensions_mut().insert(Admitted::With(Arc::clone(&key)));
        let response = producer.accept_agent(protocol, request).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let body = response.into_body().into_string().await.expect("text");
        assert!(body.contains(says), "{path}: {body}");
        let source = if path == "/v1/logs" { "unknown" } else { "other" };
        let names = format!("this key may not write events of the source \"{source}\"");
        // Within JSON, quotation marks have backslashes.
        assert!(body.replace('\\', "").contains(&names), "{path}: {body}");
        assert!(!body.contains("ackId"), "{path}: {body}");
    }
}
