//! The ingestion API.

use std::sync::Arc;

use application::health::{Check, Health};
use application::ingest::{Ingest, Outcome, RefusalReason, Verdict};
use domain::idempotency::{DerivedIds, InvalidIdempotencyKey};
use domain::ports::{
    Client, IdempotencyStore, IdempotentRequest, RateDecision, RateLimiter, Recollection, RequestClass, Telemetry,
};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use poem::web::Data;
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::param::Header;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiRequest, OpenApi};

use crate::actuator::{Actuator, ActuatorApi};
use crate::body::{BodyBudget, Lease};
use crate::client_address::{TrustedProxies, peer_address};
use crate::events::{take_event, take_events, take_lines};
use crate::payload::{Answer, Documented, Headers, JsonBody, JsonBytes, LinesBody};
use crate::problem::{EVENT_FAILURE_BYTES, Failure, whole_seconds};
use crate::schema::{
    BatchAccepted, EventAccepted, LogEvent, ProducerHealth, SendMetrics, Tag, batch_accepted, event_accepted,
};
use crate::server::trace_parent;
use crate::service::service_endpoint;

/// What the ingestion API works with.
pub struct ProducerDependencies {
    /// Takes events in.
    pub ingest: Arc<Ingest>,
    /// Whether this process can do its work.
    pub health: Health,
    /// Shares out requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Remembers answers to requests with an `Idempotency-Key`. Without it, the ids that follow from the key let the
    /// store recognise what is sent again, and nothing else does.
    pub idempotency: Option<Arc<dyn IdempotencyStore>>,
    /// Counts refused requests.
    pub telemetry: Arc<dyn Telemetry>,
    /// Room for request bodies.
    pub bodies: BodyBudget,
    /// Who is believed when it names a client.
    pub trusted_proxies: TrustedProxies,
    /// Says what is short, such as the disk, for answers that refuse everything for want of capacity.
    pub shortage: Option<Check>,
}

impl ProducerDependencies {
    /// Who sent a request.
    fn client(&self, request: &Request) -> Client {
        self.trusted_proxies.client(peer_address(request.remote_addr()), request.headers()).into()
    }
}

/// The producer's endpoint.
pub fn producer_endpoint(
    dependencies: ProducerDependencies,
    actuator: Actuator,
) -> impl Endpoint<Output = Response> + 'static {
    let dependencies = Arc::new(dependencies);
    let api = service_endpoint((ProducerApi, ActuatorApi), Arc::clone(&actuator.document))
        .data(Arc::clone(&dependencies))
        .data(actuator);
    api.around(move |api, request| {
        let dependencies = Arc::clone(&dependencies);
        async move { Ok(limited(&dependencies, api.as_ref(), request).await) }
    })
}

/// Puts the rate limit in front of ingestion, before anything of the body is read, and its state on every
/// answer.
async fn limited(
    dependencies: &ProducerDependencies,
    api: &impl Endpoint<Output = Response>,
    request: Request,
) -> Response {
    let class = match (request.method(), request.uri().path()) {
        (&Method::POST, "/api/logs") => RequestClass::Single,
        (&Method::POST, "/api/logs/batch") => RequestClass::Batch,
        _ => return api.get_response(request).await,
    };
    let client = dependencies.client(&request);
    let decision = dependencies.limiter.take(client, class).await;
    let mut response = match decision {
        Some(RateDecision { allowed: false, retry_after, .. }) => {
            dependencies.telemetry.rate_limited(class);
            Failure::RateLimited { retry_after }.into_response()
        }
        _ => match plain_form(class, request.headers()) {
            Some(form) => take_plain(dependencies, request, form).await,
            None => api.get_response(request).await,
        },
    };
    if let Some(decision) = decision {
        describe_limit(&decision, response.headers_mut());
    }
    response
}

/// How the body of a request is written that needs nothing but to be taken in: no header to be checked, a media type that
/// says it. That is nearly all of them, and the layers of the API, which have nothing to do for them, cost an eighth of a
/// request with one event.
fn plain_form(class: RequestClass, headers: &HeaderMap) -> Option<Form> {
    let mut media_types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = media_types.next()?.to_str().ok()?;
    if media_types.next().is_some() || headers.contains_key(IDEMPOTENCY_KEY) {
        return None;
    }
    match class {
        RequestClass::Single => JsonBody::<LogEvent>::check_content_type(media_type).then_some(Form::Event),
        RequestClass::Batch if LinesBody::check_content_type(media_type) => Some(Form::Lines),
        RequestClass::Batch => JsonBody::<Vec<LogEvent>>::check_content_type(media_type).then_some(Form::Array),
    }
}

/// Does what the operation of such a request does.
async fn take_plain(dependencies: &ProducerDependencies, mut request: Request, form: Form) -> Response {
    let body = request.take_body();
    match form {
        Form::Event => Posted::<EventAccepted>::from(take(dependencies, &request, form, body).await).into_response(),
        Form::Array | Form::Lines => {
            Posted::<BatchAccepted>::from(take(dependencies, &request, form, body).await).into_response()
        }
    }
}

fn describe_limit(decision: &RateDecision, headers: &mut HeaderMap) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
    const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
    headers.insert(LIMIT, HeaderValue::from(decision.limit));
    headers.insert(REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RESET, HeaderValue::from(whole_seconds(decision.reset_after)));
}

/// Names a request that may be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer was given before.
const REPLAYED: &str = "Idempotency-Replayed";

/// How ingestion answers.
pub struct Ingestion;

impl Documented for Ingestion {
    const SUCCESS: (u16, &'static str) = (202, "Accepted, with the promise that `durability` names");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "The body cannot be read, or no event is acceptable for its own fault"),
        (408, "The body did not arrive in time"),
        (413, "The body is too large, there are too many events, or every event is over the record limit"),
        (415, "The media type or content coding is not supported"),
        (422, "The Idempotency-Key was used with another body (`idempotency_key_reused`)"),
        (429, "Over the rate limit"),
        (502, "An instance broke off: it is not known whether the events were kept"),
        (503, "Nothing was accepted, for want of capacity"),
        (504, "It is not known whether the events were kept"),
    ];
    const SUCCESS_FLAGS: Headers = &[(REPLAYED, "The request was answered before: this is that answer")];
    const HEADERS: Headers = &[
        ("RateLimit-Limit", "Requests a second for this client"),
        ("RateLimit-Remaining", "Requests left now"),
        ("RateLimit-Reset", "Seconds until the whole burst is available again"),
    ];
}

/// What an ingestion operation answers.
type Posted<T> = Answer<Taken<T>, Ingestion>;

/// How health answers.
pub struct AlwaysAnswers;

impl Documented for AlwaysAnswers {
    const SUCCESS: (u16, &'static str) = (200, "How the producer is");
    const FAILURES: &'static [(u16, &'static str)] = &[];
}

/// The ways to write a batch.
#[derive(ApiRequest)]
pub enum BatchBody {
    /// A JSON array.
    Array(JsonBody<Vec<LogEvent>>),
    /// JSON lines.
    Lines(LinesBody),
}

/// The operations of a producer.
pub struct ProducerApi;

#[OpenApi(prefix_path = "/api/logs")]
impl ProducerApi {
    /// Hand over one event
    #[oai(path = "/", method = "post", operation_id = "postLog", tag = "Tag::Ingestion")]
    async fn post_log(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
        request: &Request,
        /// Gives the event an id that is the same whenever the same body is sent under the same key, so that the store
        /// recognises a repeat. Where answers are remembered, the repeat has the same answer, and another body under
        /// the same key is refused.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        event: JsonBody<LogEvent>,
    ) -> Posted<EventAccepted> {
        take(&dependencies, request, Form::Event, event.body).await.into()
    }

    /// Hand over up to 10,000 events
    ///
    /// As a JSON array, or as JSON lines. A bad event never fails its neighbours: `errors` names each one. A body that
    /// should be a JSON array and is none accepts nothing; a bad line fails alone.
    #[oai(path = "/batch", method = "post", operation_id = "postLogBatch", tag = "Tag::Ingestion")]
    async fn post_batch(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
        request: &Request,
        /// Gives events without an id one that is the same whenever the same body is sent under the same key, so that
        /// the store recognises repeats. Where answers are remembered, the repeat has the same answer unless that had
        /// an error that is retryable, and another body under the same key is refused.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        events: BatchBody,
    ) -> Posted<BatchAccepted> {
        let (form, body) = match events {
            BatchBody::Array(array) => (Form::Array, array.body),
            BatchBody::Lines(lines) => (Form::Lines, lines.body),
        };
        take(&dependencies, request, form, body).await.into()
    }

    /// How a producer is
    #[oai(path = "/health", method = "get", operation_id = "getLogHealth", tag = "Tag::Operations")]
    async fn health(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
    ) -> Answer<Json<ProducerHealth>, AlwaysAnswers> {
        let totals = dependencies.ingest.delivery().totals();
        Answer::Success(Json(ProducerHealth {
            status: if dependencies.health.is_ready() { "UP" } else { "DOWN" }.to_owned(),
            metrics: SendMetrics {
                messages_sent: totals.sent,
                messages_failed: totals.failed,
                avg_send_duration: totals.mean_duration_ms,
            },
        }))
    }
}

/// How events are written in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One, as a JSON object.
    Event,
    /// Many, as a JSON array.
    Array,
    /// Many, one a line.
    Lines,
}

/// An answer of schema `T`, and whether it was given before.
pub struct Taken<T> {
    answer: JsonBytes<T>,
    replayed: bool,
}

impl<T: Type> Payload for Taken<T> {
    const CONTENT_TYPE: &'static str = JsonBytes::<T>::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        JsonBytes::<T>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        JsonBytes::<T>::register(registry);
    }
}

impl<T: Send> IntoResponse for Taken<T> {
    fn into_response(self) -> Response {
        let answer = self.answer.into_response();
        if self.replayed { answer.with_header(REPLAYED, "true").into_response() } else { answer }
    }
}

/// Takes in the events of a body, unless the request was answered before: then it gets that answer.
async fn take<T>(
    dependencies: &ProducerDependencies,
    request: &Request,
    form: Form,
    body: Body,
) -> Result<Taken<T>, Failure> {
    let body = dependencies.bodies.read(request.headers(), body).await?;
    let key = idempotency_key(request.headers())?;
    let ids = key.map(|key| DerivedIds::new(key.as_bytes(), &body.bytes)).transpose();
    let ids = ids.map_err(|error| Failure::InvalidParameter { detail: error.to_string() })?;
    let idempotent = key.zip(ids).map(|(key, ids)| IdempotentRequest {
        client: dependencies.client(request),
        class: if form == Form::Event { RequestClass::Single } else { RequestClass::Batch },
        key,
        fingerprint: ids.fingerprint(),
    });
    let remembering = dependencies.idempotency.as_ref().zip(idempotent);
    if let Some((store, idempotent)) = &remembering {
        match store.begin(idempotent).await {
            Recollection::New => {}
            Recollection::Answered(answer) => {
                let mut room = body.into_lease();
                room.resize(answer.len())?;
                return Ok(Taken { answer: JsonBytes::within(answer, room), replayed: true });
            }
            Recollection::OtherBody => return Err(Failure::IdempotencyKeyReused),
        }
    }

    let trace_parent = trace_parent(request.headers());
    let begin = || dependencies.ingest.intake(ids, trace_parent);
    let intake = match form {
        Form::Event => {
            let mut intake = begin();
            take_event(&body.bytes, &mut intake)?;
            intake
        }
        Form::Array => take_events(&body.bytes, begin)?,
        Form::Lines => {
            let mut intake = begin();
            take_lines(&body.bytes, &mut intake)?;
            intake
        }
    };
    // Of the body nothing is needed any more; the errors wait for the delivery, and then for the client.
    let mut room = body.into_lease();
    room.resize(intake.refused() * EVENT_FAILURE_BYTES)?;
    let (outcome, room) = judge(form, intake.deliver().await, room, dependencies.shortage.as_ref())?;
    let answer = if form == Form::Event { event_accepted(&outcome) } else { batch_accepted(&outcome) };
    // An answer that says "send it again" must not be all that whoever does so ever gets.
    if let Some((store, idempotent)) = &remembering
        && !outcome.refusals.iter().any(|refusal| refusal.reason.is_retryable())
    {
        store.finish(idempotent, &answer).await;
    }
    Ok(Taken { answer: JsonBytes::within(answer, room), replayed: false })
}

/// The one `Idempotency-Key` of a request. Its rules are those of [`DerivedIds::new`].
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Failure::InvalidParameter { detail: "Idempotency-Key is given more than once".to_owned() });
    }
    let key = key.to_str().map_err(|_| Failure::InvalidParameter { detail: InvalidIdempotencyKey.to_string() });
    key.map(Some)
}

/// Turns the verdict on a request into its answer, which takes `room`.
fn judge(form: Form, outcome: Outcome, room: Lease, shortage: Option<&Check>) -> Result<(Outcome, Lease), Failure> {
    let first = outcome.refusals.first().map(|refusal| &refusal.reason);
    match (outcome.verdict(), first) {
        (Verdict::Accepted, _) => Ok((outcome, room)),
        // The only event is the request: the rule that it breaks is what the client needs to know.
        (Verdict::Invalid, Some(reason)) if form == Form::Event => {
            Err(Failure::InvalidEvent { code: reason.code(), detail: reason.to_string() })
        }
        (Verdict::Invalid, _) => Err(Failure::NoValidEvent { refusals: outcome.refusals, room }),
        (Verdict::TooLarge, first) => {
            let reason = first.map(ToString::to_string).unwrap_or_default();
            Err(Failure::RecordTooLarge { detail: format!("{reason}; nothing was accepted") })
        }
        (Verdict::NoCapacity, _) => {
            let code = outcome.refusals.iter().map(|refusal| &refusal.reason).find(|reason| reason.is_retryable());
            let is_draining = code.is_some_and(|reason| *reason == RefusalReason::Draining);
            let shortage = shortage.filter(|_| !is_draining).and_then(|shortage| shortage());
            Err(Failure::NoCapacity { code: code.map_or("no_capacity", RefusalReason::code), shortage })
        }
        (Verdict::Unknown, _) => Err(Failure::OutcomeUnknown),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Mutex;

    use application::deliver::Delivery;
    use domain::Uuid;
    use domain::admission::Fill;
    use domain::delivery::{DeliveryPolicy, Durability};
    use domain::partition::{Partitioner, PriorityLane};
    use domain::ports::{
        Clock, MockIdSource, MockIdempotencyStore, MockRecordPublisher, MockTelemetry, Receipt, RecordPublisher,
    };
    use domain::timestamp::Timestamp;
    use poem::http::StatusCode;
    use serde_json::Value;

    use super::*;
    use crate::actuator::LogControl;

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_micros(1_705_314_600_000_000).expect("in range")
        }
    }

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
        bus.expect_fill().return_const(Fill { used_bytes: percent << 20, bytes_max: 100 << 20 });
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

    fn producer(store: MockIdempotencyStore, mut bus: MockRecordPublisher) -> impl Endpoint<Output = Response> {
        bus.expect_partition_count().return_const(NonZeroU32::MIN);
        let bus: Arc<dyn RecordPublisher> = Arc::new(bus);
        let mut ids = MockIdSource::new();
        ids.expect_new_id().returning(|_| Uuid::from_u128(7));
        let mut telemetry = MockTelemetry::new();
        telemetry.expect_refused().return_const(());
        telemetry.expect_sent().return_const(());
        let telemetry: Arc<dyn Telemetry> = Arc::new(telemetry);
        let health = Health::default();
        let ingest = Ingest::new(
            Arc::new(Delivery::new(bus, Arc::clone(&telemetry))),
            Arc::new(FixedClock),
            Arc::new(ids),
            Arc::clone(&telemetry),
            DeliveryPolicy::default(),
            Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).expect("valid"),
        );
        let dependencies = ProducerDependencies {
            ingest: Arc::new(ingest),
            health: health.clone(),
            limiter: Arc::new(Unlimited),
            idempotency: Some(Arc::new(store)),
            telemetry,
            bodies: BodyBudget::new(1 << 20),
            trusted_proxies: vec!["0.0.0.0/0".parse().expect("a network")].into(),
            shortage: None,
        };
        let actuator = Actuator {
            role: "producer",
            started_at: FixedClock.now(),
            health,
            gateway: None,
            log: LogControl::NONE,
            metrics: Arc::new(String::new),
            document: "{}".into(),
        };
        producer_endpoint(dependencies, actuator)
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
}
