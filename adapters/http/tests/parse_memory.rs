//! What a request costs in bytes of memory, beside its body, whatever that says.
//!
//! Whole requests go through the producer's endpoint on one thread, whose allocations are counted: the peak includes the
//! answer, and not the body, which was allocated before and stays. Bodies are as large as they may be and each is made to
//! grow another collection.

#![cfg(test)]

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_http::{
    AccessControl, AccessRules, Actuator, AgentAdmission, BodyBudget, InstanceReading, LogControl,
    ProducerDependencies, RefusalLog, producer_endpoint,
};
use application::delivery::Delivery;
use application::health::Health;
use application::ingest::Ingest;
use bytes::Bytes;
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{DeliveryPolicy, Durability};
use domain::event::TEXT_BYTES_MAX;
use domain::partition::{Partitioner, PriorityLane};
use domain::ports::{
    AgentLimiter, BusState, Client, Clock, MockIdSource, MockKeyLimiter, MockRecordPublisher, MockTelemetry,
    RateDecision, RateLimiter, Receipt, RequestClass, Telemetry,
};
use domain::timestamp::Timestamp;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::http::Method;
use poem::{Body, Endpoint, Request, Response};
use serde_json::Value;
use testkit::clock_at;
use tokio::runtime::Runtime;

/// The contract's limit of a body.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Enough for most bodies to tell a cost that grows with them from one that does not: more than any part of it may cost.
const LONG_BYTES: usize = BODY_BYTES_MAX / 4;
/// What a request may cost beside its body.
const PEAK_BYTES_MAX: u64 = 3_000_000;
/// The same of one whose answer has the most errors: they are there twice, as refusals and as text, with room to grow.
const PEAK_WITH_ERRORS_BYTES_MAX: u64 = 11_000_000;

/// The same of a request of an agent: its records, whose buffer doubles, and their places in lists.
const PEAK_OF_AGENTS_BYTES_MAX: u64 = 200_000_000;

const EVENT: &str = "/api/logs";
const BATCH: &str = "/api/logs/batch";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const PROTOBUF: &str = "application/x-protobuf";
/// A scope of OTLP with one record.
const RECORD_IN_SCOPE: &str = r#"{"logRecords":[{}]}"#;

struct Unlimited;

#[async_trait::async_trait]
impl RateLimiter for Unlimited {
    async fn take(&self, _client: Client, _class: RequestClass) -> Option<RateDecision> {
        None
    }
}

struct UnlimitedAgents;

impl AgentLimiter for UnlimitedAgents {
    fn wait(&self, _client: Client) -> Option<Duration> {
        None
    }

    fn charge(&self, _client: Client, _events: usize, _bytes: usize) {}
}

fn producer(bodies: BodyBudget) -> impl Endpoint<Output = Response> {
    let mut bus = MockRecordPublisher::new();
    bus.expect_partition_count().return_const(NonZeroU32::MIN);
    bus.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
    bus.expect_state().returning(|| BusState::Up);
    bus.expect_publish().returning(|_| {
        let promised = Box::pin(std::future::ready(Ok(Durability::Acknowledged)));
        Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
    });
    let mut ids = MockIdSource::new();
    ids.expect_new_id().returning(|_| Uuid::from_u128(7));
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_refused().return_const(());
    telemetry.expect_sent().return_const(());
    telemetry.expect_agent_request().return_const(());
    let telemetry: Arc<dyn Telemetry> = Arc::new(telemetry);
    let ingest = Ingest::new(
        Arc::new(Delivery::new(Arc::new(bus), Arc::clone(&telemetry))),
        Arc::new(clock_at("2024-01-15T12:00:00Z")),
        Arc::new(ids),
        Arc::clone(&telemetry),
        DeliveryPolicy::default(),
        Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).expect("valid"),
    );
    let health = Health::default();
    let dependencies = ProducerDependencies {
        ingest: Arc::new(ingest),
        health: health.clone(),
        limiter: Arc::new(Unlimited),
        key_limiter: Arc::new(MockKeyLimiter::new()),
        idempotency: None,
        telemetry,
        refusals: RefusalLog::default(),
        bodies,
        trusted_proxies: Vec::new().into(),
        agents: AgentAdmission::new(Arc::new(UnlimitedAgents), Duration::ZERO, 1),
        shortage: None,
    };
    let actuator = Actuator {
        role: "producer",
        started_at: clock_at("2024-01-15T12:00:00Z").now(),
        health,
        instances: None,
        log: LogControl::NONE,
        reading: Arc::new(|| InstanceReading::at(Timestamp::MIN)),
        metrics: Arc::new(String::new),
        document: "{}".into(),
    };
    producer_endpoint(dependencies, actuator, AccessControl::new(AccessRules::default()))
}

/// An answer, and what it cost.
struct Cost {
    status: u16,
    answer: Vec<u8>,
    peak_bytes: u64,
    /// Everything that was allocated, whether it was freed meanwhile or not.
    total_bytes: u64,
}

impl Cost {
    /// The stable codes of a problem and of its first error, if there is one.
    fn codes(&self) -> [String; 2] {
        let answer: Value = serde_json::from_slice(&self.answer).expect("JSON");
        [&answer["code"], &answer["errors"][0]["code"]].map(|code| code.as_str().unwrap_or_default().to_owned())
    }
}

/// Sends requests and notes what is wrong with their answers.
struct Sender<E> {
    runtime: Runtime,
    producer: E,
    wrong: Vec<String>,
}

fn sender() -> Sender<impl Endpoint<Output = Response>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    Sender { runtime, producer: producer(BodyBudget::new(2 * BODY_BYTES_MAX)), wrong: Vec::new() }
}

impl<E: Endpoint<Output = Response>> Sender<E> {
    fn send(&self, path: &str, media_type: &str, key: Option<&str>, body: &[u8]) -> Cost {
        let mut request = Request::builder().method(Method::POST).uri_str(path).content_type(media_type);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = Bytes::copy_from_slice(body);
        let request = request.body(Body::from(body.clone()));
        let mut cost = Cost { status: 0, answer: Vec::new(), peak_bytes: 0, total_bytes: 0 };
        let counted = allocation_counter::measure(|| {
            self.runtime.block_on(async {
                let response = self.producer.get_response(request).await;
                cost.status = response.status().as_u16();
                cost.answer = response.into_body().into_vec().await.expect("a body");
            });
        });
        (cost.peak_bytes, cost.total_bytes) = (counted.bytes_max, counted.bytes_total);
        // Until here, so that dropping it cannot make up for anything.
        drop(body);
        cost
    }

    fn check(&mut self, name: &str, cost: &Cost, peak_bytes_max: u64, status: u16, codes: [&str; 2]) {
        let seen = cost.codes();
        println!("{name:<60} {} {} {} bytes at the peak", cost.status, seen.join(" "), cost.peak_bytes);
        if cost.status != status || seen != codes {
            self.wrong.push(format!("{name}: {} {seen:?} instead of {status} {codes:?}", cost.status));
        }
        if cost.peak_bytes > peak_bytes_max {
            self.wrong.push(format!("{name}: {} bytes", cost.peak_bytes));
        }
    }

    /// Sends an event alone, on a line and in an array.
    fn check_event(&mut self, name: &str, event: &[u8], code: &str) {
        let cost = self.send(EVENT, JSON, None, event);
        self.check(name, &cost, PEAK_BYTES_MAX, 400, [code, ""]);
        // An array cannot have an element that is not JSON.
        let on_line = if code == "undecodable" { "line_invalid" } else { code };
        let in_array = if code == "undecodable" { [code, ""] } else { ["no_valid_event", code] };
        let cost = self.send(BATCH, LINES, None, event);
        self.check(&format!("{name}, on a line"), &cost, PEAK_BYTES_MAX, 400, ["no_valid_event", on_line]);
        let cost = self.send(BATCH, JSON, None, &[b"[", event, b"]"].concat());
        self.check(&format!("{name}, in an array"), &cost, PEAK_BYTES_MAX, 400, in_array);
    }

    fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// A body of `bytes` at most: `unit` as often as it fits between the ends.
fn filled(bytes: usize, begin: &str, unit: &str, end: &str) -> Vec<u8> {
    let units = (bytes - begin.len() - end.len()) / unit.len();
    [begin, &unit.repeat(units), end].concat().into_bytes()
}

/// An event with these members behind the required ones, then `unit` as often as it fits, then the end.
fn event(begin: &str, unit: &str, end: &str) -> Vec<u8> {
    filled(LONG_BYTES, &format!("{{{VALID},{begin}"), unit, end)
}

/// Members with names of their own.
fn members() -> String {
    (0..LONG_BYTES / 14).fold(String::with_capacity(LONG_BYTES), |mut members, n| {
        let _ = write!(members, "\"{n:08}\":1,");
        members
    })
}

const VALID: &str = r#""source":"s","level":"INFO","message":"m""#;

#[test]
fn the_longest_bodies() {
    let mut sender = sender();
    let full = |begin: &str, unit: &str, end: &str| filled(BODY_BYTES_MAX, begin, unit, end);
    for key in [None, Some("key")] {
        let numbers = sender.send(BATCH, JSON, key, &full("[", "0,", "0]"));
        sender.check(&format!("numbers, key {key:?}"), &numbers, PEAK_BYTES_MAX, 413, ["too_large", ""]);
    }
    let level = sender.send(EVENT, JSON, None, &full(r#"{"level":1,"#, r#""a":1,"#, r#""b":1}"#));
    sender.check("a level that is a number, and members", &level, PEAK_BYTES_MAX, 400, ["field_type", ""]);
    let unknown = sender.send(EVENT, JSON, None, &full(&format!("{{{VALID},"), r#""":1,"#, r#""b":1}"#));
    sender.check("members without a name", &unknown, PEAK_BYTES_MAX, 400, ["duplicate_field", ""]);
    sender.end();
}

#[test]
fn events_with_many_members() {
    let mut sender = sender();
    let members = members();
    let with = |begin: &str| format!("{{{begin},{members}\"b\":1}}").into_bytes();
    sender.check_event("a level that is a number", &with(r#""level":1"#), "field_type");
    sender.check_event("a field twice", &with(r#""level":"INFO","level":"INFO""#), "duplicate_field");
    sender.check_event("unknown members", &with(VALID), "metadata_size");
    sender.check_event("two of one name", &with(&format!("{VALID},\"x\":1,\"x\":2")), "duplicate_field");
    sender.check_event("no name", &event("", r#""":1,"#, r#""b":1}"#), "duplicate_field");
    sender.check_event("half a surrogate pair", &with(r#""source":"\ud800""#), "invalid_text");
    sender.end();
}

#[test]
fn events_with_long_members() {
    let mut sender = sender();
    let text = |name: &str, unit: &str| {
        filled(LONG_BYTES, &format!(r#"{{"source":"s","level":"INFO","{name}":""#), unit, r#""}"#)
    };
    sender.check_event("a message", &text("message", "x"), "message_length");
    sender.check_event("a message of escapes", &text("message", r"\n"), "message_length");
    sender.check_event("a message of U+0000", &text("message", r"\u0000"), "message_length");
    let names = ["source", "level", "message", "timestamp", "eventId", "stackTrace", "traceId", "spanId"];
    for unit in ["x", r"\n", r"\u0061"] {
        let text = unit.repeat(LONG_BYTES / names.len() / unit.len());
        let members = names.map(|name| format!("\"{name}\":\"{text}\"")).join(",");
        sender.check_event("every text", format!("{{{members}}}").as_bytes(), "source_length");
    }
    let longest = r"\u0061".repeat(TEXT_BYTES_MAX);
    let longest = format!("{{{VALID},\"stackTrace\":\"{longest}\",\"spanId\":\"{longest}\"}}");
    sender.check_event("texts as long as one may be", longest.as_bytes(), "span_id_invalid");
    sender.check_event("a long name", &event("\"", r"\u0061", "\":1}"), "metadata_size");
    sender.check_event("a long name with an escape", &event(r#""\n"#, "x", "\":1}"), "metadata_size");
    sender.check_event("a long name of U+0000", &event("\"", r"\u0000", "\":1}"), "metadata_size");
    sender.check_event("a long value", &event(r#""a":""#, "x", "\"}"), "metadata_size");
    sender.check_event("white space", &event(r#""a": ["#, "1 , ", " 2 ] }"), "metadata_size");
    sender.check_event("metadata", &event(r#""metadata": {"#, r#""a" : 1 ,"#, r#""b":1} }"#), "metadata_size");
    sender.check_event("metadata of U+0000", &event(r#""metadata":{"a":""#, r"\u0000", "\"}}"), "metadata_size");
    let name = "x".repeat(60_000);
    let clash = event(&format!("\"{name}\":1,\"{name}\":2,\"a\":\""), "x", "\"}");
    sender.check_event("a clash of long names", &clash, "duplicate_field");
    sender.end();
}

#[test]
fn what_is_no_event() {
    let mut sender = sender();
    let filled = |begin: &str, unit: &str, end: &str| filled(LONG_BYTES, begin, unit, end);
    sender.check_event("a text", &filled("\"", "x", "\""), "event_not_object");
    sender.check_event("a text of escapes", &filled("\"", r"\u00ad", "\""), "event_not_object");
    sender.check_event("a number", &filled("", "7", ""), "event_not_object");
    sender.check_event("an array", &filled("[", "0,", "0]"), "event_not_object");
    let deepest = ["[".repeat(260_000), "]".repeat(260_000)].concat();
    sender.check_event("nested as deep as may be", deepest.as_bytes(), "event_not_object");
    let deepest = format!("{{{VALID},\"a\":{deepest}}}");
    sender.check_event("the same in an event", deepest.as_bytes(), "metadata_depth");
    let nested = ["[".repeat(LONG_BYTES / 2), "]".repeat(LONG_BYTES / 2)].concat();
    sender.check_event("a nested array", nested.as_bytes(), "undecodable");
    sender.check_event("nested in an event", format!("{{{VALID},\"a\":{nested}}}").as_bytes(), "undecodable");
    sender.check_event("brackets", &filled("", "[", ""), "undecodable");
    sender.check_event("brackets and braces", &filled("", "[{\"\":", ""), "undecodable");
    sender.end();
}

#[test]
fn batches() {
    let mut sender = sender();
    let filled = |begin: &str, unit: &str, end: &str| filled(LONG_BYTES, begin, unit, end);
    let (too_many, none, undecodable) = ((413, "too_large"), (400, "no_valid_event"), (400, "undecodable"));
    for (name, media_type, body, (status, code)) in [
        ("arrays in an array", JSON, filled("[", "[],", "0]"), too_many),
        ("objects in an array", JSON, filled("[", "{},", "0]"), too_many),
        ("numbers in an array that ends early", JSON, filled("[", "0,", ""), too_many),
        ("a text instead of an array", JSON, filled("\"", "x", "\""), undecodable),
        ("a text of escapes instead of an array", JSON, filled("\"", r"\u00ad", "\""), undecodable),
        ("an object instead of an array", JSON, filled("{", r#""a":1,"#, r#""b":1}"#), undecodable),
        ("white space", JSON, filled("", " ", ""), undecodable),
        ("white space in an array", JSON, filled("[", " ", "]"), none),
        ("numbers on lines", LINES, filled("", "0\n", ""), too_many),
        ("braces on lines", LINES, filled("", "{\n", ""), too_many),
        ("line breaks", LINES, filled("", "\n", ""), none),
    ] {
        let cost = sender.send(BATCH, media_type, None, &body);
        sender.check(name, &cost, PEAK_BYTES_MAX, status, [code, ""]);
    }
    sender.end();
}

#[test]
fn the_most_errors() {
    let mut sender = sender();
    let name = r"\u0001".repeat(100);
    for (event, code) in
        [("0".to_owned(), "event_not_object"), (format!("{{{VALID},\"{name}\":1,\"{name}\":2}}"), "duplicate_field")]
    {
        let events = vec![event; 10_000].join(",");
        let cost = sender.send(BATCH, JSON, None, format!("[{events}]").as_bytes());
        sender.check(code, &cost, PEAK_WITH_ERRORS_BYTES_MAX, 400, ["no_valid_event", code]);
    }
    sender.end();
}

/// Bodies of agents with as many entries as they can have: the bytes of their records end them.
#[test]
fn bodies_of_agents() {
    let mut sender = sender();
    let full = |begin: &str, unit: &str, end: &str| filled(BODY_BYTES_MAX, begin, unit, end);
    let many = "\"k\":1,".repeat(LONG_BYTES / 6);
    for (name, path, body, status) in [
        ("objects", "/api/logs/ingest", full("", "{}", ""), 413),
        ("numbers in an array", "/api/logs/ingest", full("[", "0,", "0]"), 413),
        ("brackets", "/api/logs/ingest", full("", "[", ""), 202),
        ("braces on lines", "/api/logs/ingest", full("", "{\n", ""), 413),
        ("one object with many members", "/api/logs/ingest", format!("{{{many}\"k\":1}}").into_bytes(), 202),
        ("documents", "/_bulk", full("", "{\"index\":{}}\n{}\n", ""), 413),
        ("actions", "/_bulk", full("", "{\"delete\":{}}\n", ""), 413),
        ("lines", "/loki/api/v1/push", full(r#"{"streams":[{"values":["#, r#"["1",""],"#, "[]]}]}"), 413),
        (
            "labels",
            "/loki/api/v1/push",
            full(r#"{"streams":[{"stream":{"#, r#""a":"","#, r#""b":""},"values":[[]]}]}"#),
            204,
        ),
        ("records", "/v1/logs", full(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":["#, "{},", "{}]}]}]}"), 413),
        ("streams", "/loki/api/v1/push", full(r#"{"streams":["#, "{},", "{}]}"), 413),
        ("resources", "/v1/logs", full(r#"{"resourceLogs":["#, "{},", "{}]}"), 413),
        ("scopes", "/v1/logs", full(r#"{"resourceLogs":[{"scopeLogs":["#, "{},", "{}]}]}"), 413),
        ("acknowledgements", "/services/collector/ack", full(r#"{"acks":["#, "1,", "1]}"), 413),
        ("envelopes", "/services/collector", full("", r#"{"event":1}"#, ""), 413),
        ("raw lines", "/services/collector/raw", full("", "x\n", ""), 413),
    ] {
        let cost = sender.send(path, JSON, None, &body);
        println!("{name:<60} {} {} bytes at the peak", cost.status, cost.peak_bytes);
        if cost.status != status || cost.peak_bytes > PEAK_OF_AGENTS_BYTES_MAX {
            sender
                .wrong
                .push(format!("{path}, {name}: {} instead of {status}, {} bytes", cost.status, cost.peak_bytes));
        }
    }
    sender.end();
}

/// A field of protobuf that is a text or a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut rest = content.len();
    while rest > 127 {
        field.push(u8::try_from(rest & 127).expect("seven bits") | 128);
        rest >>= 7;
    }
    field.push(u8::try_from(rest).expect("seven bits"));
    [field, content.to_vec()].concat()
}

#[test]
fn scopes_that_share_a_large_resource_cost_nothing_without_records_and_count_with_some() {
    let sender = sender();
    let value = "x".repeat(60_000);
    let in_json = |scope: &str, scopes: usize| {
        let resource = format!(r#"{{"attributes":[{{"key":"k","value":{{"stringValue":"{value}"}}}}]}}"#);
        let scopes = vec![scope; scopes].join(",");
        format!(r#"{{"resourceLogs":[{{"resource":{resource},"scopeLogs":[{scopes}]}}]}}"#).into_bytes()
    };
    let in_protobuf = |scope: &[u8], scopes: usize| {
        let attribute = [field(1, b"k"), field(2, &field(1, value.as_bytes()))].concat();
        field(1, &[field(1, &field(1, &attribute)), field(2, scope).repeat(scopes)].concat())
    };
    for (media_type, empty, some, many) in [
        (JSON, in_json("{}", 1_000), in_json(RECORD_IN_SCOPE, 300), in_json(RECORD_IN_SCOPE, 500)),
        (PROTOBUF, in_protobuf(b"", 1_000), in_protobuf(&field(2, b""), 300), in_protobuf(&field(2, b""), 500)),
    ] {
        let cost = sender.send("/v1/logs", media_type, None, &empty);
        assert_eq!(cost.status, 200, "{media_type}");
        assert!(cost.total_bytes < 3_000_000, "{media_type}: {} bytes", cost.total_bytes);
        // 36 MB with what is copied for the scopes, and 60 MB.
        assert_eq!(sender.send("/v1/logs", media_type, None, &some).status, 200, "{media_type}");
        assert_eq!(sender.send("/v1/logs", media_type, None, &many).status, 413, "{media_type}");
    }
}

/// A body that says how long it is, and comes in pieces.
struct Pieces {
    rest: usize,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.rest.min(50_000);
        self.rest -= piece;
        Poll::Ready((piece > 0).then(|| Ok(Frame::data(Bytes::from(vec![b' '; piece])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest as u64)
    }
}

#[test]
fn a_body_that_comes_in_pieces_is_in_memory_once_and_a_half_at_most() {
    let sender = sender();
    let request = Request::builder().method(Method::POST).uri_str(EVENT).content_type(JSON);
    let request = request.body(Body::from(BoxBody::new(Pieces { rest: BODY_BYTES_MAX })));
    let counted = allocation_counter::measure(|| {
        let response = sender.runtime.block_on(sender.producer.get_response(request));
        assert_eq!(response.status().as_u16(), 400);
    });
    let most = BODY_BYTES_MAX as u64 * 3 / 2;
    assert!(counted.bytes_max < most, "{} bytes at the peak", counted.bytes_max);
}

#[test]
fn errors_take_room_until_they_are_sent() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let bodies = BodyBudget::new(3_500_000);
    let producer = producer(bodies.clone());
    let bad = vec!["0"; 9_999].join(",");
    for body in [format!("[0,{bad}]"), format!("[{{{VALID}}},{bad}]")] {
        runtime.block_on(async {
            let send = || {
                let request = Request::builder().method(Method::POST).uri_str(BATCH).content_type(JSON);
                producer.get_response(request.body(body.clone()))
            };
            let first = send().await;
            let used_bytes = bodies.used_bytes();
            assert!(used_bytes > 900_000, "{used_bytes} bytes are held for the answer");
            assert_eq!(send().await.status().as_u16(), 503, "there is no room for the errors of both");
            assert_eq!(first.into_body().into_vec().await.expect("a body").len(), used_bytes);
            assert_eq!(bodies.used_bytes(), 0);
            assert_ne!(send().await.status().as_u16(), 503);
            assert_eq!(bodies.used_bytes(), 0);
        });
    }
}
