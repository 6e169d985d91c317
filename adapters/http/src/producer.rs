//! The ingestion API.

use std::sync::Arc;

use application::health::Health;
use application::ingest::{Ingest, Outcome, Refusal, RefusalReason, Verdict};
use domain::idempotency::DerivedIds;
use domain::ports::{Client, RateDecision, RateLimiter, RequestClass, Telemetry};
use poem::http::{HeaderMap, HeaderValue, Method};
use poem::web::Data;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{ApiRequest, OpenApi};

use crate::actuator::{Actuator, ActuatorApi};
use crate::body::BodyBudget;
use crate::client_address::{TrustedProxies, peer_address};
use crate::events::{take_event, take_events, take_lines};
use crate::payload::{Answer, Documented, JsonBody, JsonBytes, LinesBody};
use crate::problem::{EventFailure, Failure, whole_seconds};
use crate::schema::{
    BatchAccepted, EventAccepted, LogEvent, ProducerHealth, SendMetrics, Tag, batch_accepted, event_accepted,
};
use crate::service::service_endpoint;

/// What the ingestion API works with.
pub struct ProducerDependencies {
    /// Takes events in.
    pub ingest: Arc<Ingest>,
    /// Whether this process can do its work.
    pub health: Health,
    /// Shares out requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Counts refused requests.
    pub telemetry: Arc<dyn Telemetry>,
    /// Room for request bodies.
    pub bodies: BodyBudget,
    /// Who is believed when it names a client.
    pub trusted_proxies: TrustedProxies,
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
    let peer = peer_address(request.remote_addr());
    let client = Client::from(dependencies.trusted_proxies.client(peer, request.headers()));
    let Some(decision) = dependencies.limiter.take(client, class).await else {
        return api.get_response(request).await;
    };
    let mut response = if decision.allowed {
        api.get_response(request).await
    } else {
        dependencies.telemetry.rate_limited(class);
        Failure::RateLimited { retry_after: decision.retry_after }.into_response()
    };
    describe_limit(&decision, response.headers_mut());
    response
}

fn describe_limit(decision: &RateDecision, headers: &mut HeaderMap) {
    headers.insert("ratelimit-limit", HeaderValue::from(decision.limit));
    headers.insert("ratelimit-remaining", HeaderValue::from(decision.remaining));
    headers.insert("ratelimit-reset", HeaderValue::from(whole_seconds(decision.reset_after)));
}

/// How ingestion answers.
pub struct Ingestion;

impl Documented for Ingestion {
    const SUCCESS: (u16, &'static str) = (202, "Accepted, with the promise that `durability` names");
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "The body cannot be read, or no event is acceptable for its own fault"),
        (408, "The body did not arrive in time"),
        (413, "The body is too large, there are too many events, or every event is over the record limit"),
        (415, "The media type or content coding is not supported"),
        (429, "Over the rate limit"),
        (502, "An instance broke off: it is not known whether the events were kept"),
        (503, "Nothing was accepted, for want of capacity"),
        (504, "It is not known whether the events were kept"),
    ];
    const HEADERS: &'static [(&'static str, &'static str)] = &[
        ("RateLimit-Limit", "Requests a second for this client"),
        ("RateLimit-Remaining", "Requests left now"),
        ("RateLimit-Reset", "Seconds until the whole burst is available again"),
    ];
}

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
        headers: &HeaderMap,
        /// Gives the event an id that is the same whenever the same body is sent under the same key, so that the store
        /// recognises a repeat.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        event: JsonBody<LogEvent>,
    ) -> Answer<JsonBytes<EventAccepted>, Ingestion> {
        let take = async {
            let body = dependencies.bodies.read(headers, event.body).await?;
            let mut intake = dependencies.ingest.intake(derived_ids(headers, &body.bytes)?);
            take_event(&body.bytes, &mut intake)?;
            drop(body);
            let outcome = intake.deliver().await;
            // The only event is the request: the rule that it breaks is what the client needs to know.
            judge(&outcome).map_err(|failure| match (failure, outcome.refusals.first()) {
                (Failure::NoValidEvent { .. }, Some(Refusal { reason, .. })) => {
                    Failure::InvalidEvent { code: reason.code(), detail: reason.to_string() }
                }
                (failure, _) => failure,
            })?;
            Ok(JsonBytes::new(event_accepted(&outcome)))
        };
        let answer: Result<_, Failure> = take.await;
        answer.into()
    }

    /// Hand over up to 10,000 events
    ///
    /// As a JSON array, or as JSON lines. A bad event never fails its neighbours: `errors` names each one. A body that
    /// should be a JSON array and is none accepts nothing; a bad line fails alone.
    #[oai(path = "/batch", method = "post", operation_id = "postLogBatch", tag = "Tag::Ingestion")]
    async fn post_batch(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
        headers: &HeaderMap,
        /// Gives events without an id one that is the same whenever the same body is sent under the same key, so that
        /// the store recognises repeats.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        _key: Header<Option<String>>,
        events: BatchBody,
    ) -> Answer<JsonBytes<BatchAccepted>, Ingestion> {
        let take = async {
            let (body, lines) = match events {
                BatchBody::Array(array) => (array.body, false),
                BatchBody::Lines(lines) => (lines.body, true),
            };
            let body = dependencies.bodies.read(headers, body).await?;
            let ids = derived_ids(headers, &body.bytes)?;
            let begin = || dependencies.ingest.intake(ids);
            let intake = if lines {
                let mut intake = begin();
                take_lines(&body.bytes, &mut intake)?;
                intake
            } else {
                take_events(&body.bytes, begin)?
            };
            drop(body);
            let outcome = intake.deliver().await;
            judge(&outcome)?;
            Ok(JsonBytes::new(batch_accepted(&outcome)))
        };
        let answer: Result<_, Failure> = take.await;
        answer.into()
    }

    /// How a producer is
    #[oai(path = "/health", method = "get", operation_id = "getLogHealth", tag = "Tag::Operations")]
    async fn health(
        &self,
        dependencies: Data<&Arc<ProducerDependencies>>,
    ) -> Answer<Json<ProducerHealth>, AlwaysAnswers> {
        let totals = dependencies.ingest.totals();
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

/// The ids that an `Idempotency-Key` gives to the events of a body.
fn derived_ids(headers: &HeaderMap, body: &[u8]) -> Result<Option<DerivedIds>, Failure> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Failure::InvalidParameter { detail: "Idempotency-Key is given more than once".to_owned() });
    }
    let ids = DerivedIds::new(key.as_bytes(), body);
    ids.map(Some).map_err(|error| Failure::InvalidParameter { detail: error.to_string() })
}

/// Turns the verdict on a request into its answer.
fn judge(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.verdict() {
        Verdict::Accepted => Ok(()),
        Verdict::Invalid => {
            Err(Failure::NoValidEvent { errors: outcome.refusals.iter().map(EventFailure::from).collect() })
        }
        Verdict::TooLarge => {
            let reason = outcome.refusals.first().map(|refusal| refusal.reason.to_string()).unwrap_or_default();
            Err(Failure::RecordTooLarge { detail: format!("{reason}; nothing was accepted") })
        }
        Verdict::NoCapacity => {
            let code = outcome.refusals.iter().map(|refusal| &refusal.reason).find(|reason| reason.is_retryable());
            Err(Failure::NoCapacity { code: code.map_or("no_capacity", RefusalReason::code) })
        }
        Verdict::Unknown => Err(Failure::OutcomeUnknown),
    }
}
