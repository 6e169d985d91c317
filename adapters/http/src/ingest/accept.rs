//! The one way of an ingestion request, whatever its protocol: rate limit, media type, body, idempotency, decode, deliver,
//! render.

use std::sync::Arc;

use application::health::{Check, Health};
use application::ingest::{Ingest, Outcome, RefusalReason, Verdict};
use domain::access::{Key, Tenant};
use domain::idempotency::DerivedIds;
use domain::ports::{Client, IdempotencyStore, KeyLimiter, RateDecision, RateLimiter, RequestClass, Telemetry};
use poem::http::{HeaderMap, HeaderValue, header};
use poem::{Body, Request, Response};

use crate::access::admitted::{key_of, tenant_of};
use crate::access::denial::Denial;
use crate::body::{BodyBudget, Lease};
use crate::client_address::{ForwardedClient, TrustedProxies, peer_address};
use crate::error::ApiError;
use crate::error::problem_json::EVENT_FAILURE_BYTES;
use crate::ingest::agents::AgentAdmission;
use crate::ingest::idempotency::{REPLAYED, Remembered, idempotency_key};
use crate::ingest::protocol::{Protocol, Success};
use crate::ingest::rate_limit::{RefusalLog, describe_limit};
use crate::server::trace_parent;

/// What the ingestion API works with.
pub struct ProducerDependencies {
    /// Takes events in.
    pub ingest: Arc<Ingest>,
    /// Whether this process can do its work.
    pub health: Health,
    /// Limits the rate of requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Limits what access keys send.
    pub key_limiter: Arc<dyn KeyLimiter>,
    /// Remembers answers to requests with an `Idempotency-Key`. Without it, the ids that follow from the key let the
    /// store recognise what is sent again, and nothing else does.
    pub idempotency: Option<Arc<dyn IdempotencyStore>>,
    /// Counts refused requests.
    pub telemetry: Arc<dyn Telemetry>,
    /// Logs clients that are over their rate limit.
    pub refusals: RefusalLog,
    /// Room for request bodies.
    pub bodies: BodyBudget,
    /// The proxies that may name a client.
    pub trusted_proxies: TrustedProxies,
    /// Lets requests of agents begin, at once or after a while.
    pub agents: AgentAdmission,
    /// Says what is short, such as the disk, for answers that refuse everything because there is no capacity.
    pub shortage: Option<Check>,
}

/// Whose request it is.
struct Sender {
    /// Where it comes from.
    client: Client,
    /// Who may repeat the request.
    owner: Client,
    /// The tenant whose events these are, if there is one.
    tenant: Option<Tenant>,
    /// Its key, if it needed one.
    key: Option<Arc<Key>>,
}

impl ProducerDependencies {
    /// The client that sent a request.
    pub(super) fn client(&self, request: &Request) -> Client {
        let forwarded = request.extensions().get().map(|ForwardedClient(client)| *client);
        let client = forwarded
            .unwrap_or_else(|| self.trusted_proxies.client(peer_address(request.remote_addr()), request.headers()));
        client.into()
    }

    /// Whose request it is.
    fn sender(&self, request: &Request, client: Client) -> Sender {
        let owner = key_of(request).map_or(client, |key| Client::with_keys(&key.name));
        Sender { client, owner, tenant: tenant_of(request), key: key_of(request).cloned() }
    }

    /// Answers a request with events in one of `protocols`. Every answer shows the state of the rate limit.
    pub async fn accept(
        &self,
        class: RequestClass,
        protocols: &'static [&'static dyn Protocol],
        mut request: Request,
    ) -> Response {
        let client = self.client(&request);
        // Before anything of the body is read.
        let decision = self.decide(&request, client, class).await;
        let mut response = match (decision, protocol_of(request.headers(), protocols)) {
            (Some((RateDecision { allowed: false, retry_after, .. }, limit)), protocol) => {
                self.telemetry.rate_limited(class);
                self.refusals.over_limit(limit, key_of(&request), client, class);
                let error = ApiError::RateLimited { retry_after, limit };
                render_error(protocol.ok().or(protocols.first().copied()), error)
            }
            (_, Err(error)) => render_error(protocols.first().copied(), error),
            (_, Ok(protocol)) => {
                let body = request.take_body();
                let sender = self.sender(&request, client);
                match self.take(class, sender, protocol, request.headers(), body).await {
                    Ok(response) => response,
                    Err(error) => protocol.render_error(error),
                }
            }
        };
        if let Some((decision, _)) = decision {
            describe_limit(&decision, response.headers_mut());
        }
        response
    }

    /// Takes in the events of a body, unless the request was answered before: then it gets that answer.
    async fn take(
        &self,
        class: RequestClass,
        Sender { client, owner, tenant, key: access_key }: Sender,
        protocol: &dyn Protocol,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, ApiError> {
        let key = idempotency_key(headers)?;
        let body = self.bodies.read(headers, body).await?;
        let tenant_id = tenant.as_ref().map(|tenant| tenant.id);
        let ids = key.map(|key| DerivedIds::of_tenant(tenant_id, key.as_bytes(), &body.bytes)).transpose();
        let ids = ids.map_err(|error| ApiError::InvalidParameter { detail: error.to_string() })?;
        let remembered = self.idempotency.as_deref().zip(key).zip(ids.as_ref());
        let remembered = remembered.map(|((store, key), ids)| Remembered::new(store, owner, class, key, ids));
        if let Some(remembered) = &remembered
            && let Some(answer) = remembered.earlier_answer().await?
        {
            let mut room = body.into_lease();
            room.resize(answer.len())?;
            let mut response = respond(protocol.success(), room.hold_answer(answer));
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            return Ok(response);
        }

        let mut intake = self.ingest.intake(ids, trace_parent(headers)).of_tenant(tenant);
        protocol.decode(&body.bytes, &mut intake)?;
        // The body is no longer needed; the errors wait for the delivery, and then for the client.
        let mut room = body.into_lease();
        room.resize(intake.refused() * EVENT_FAILURE_BYTES)?;
        let events = intake.events();
        let charge = self.charge(access_key.as_ref(), events);
        let outcome = intake.deliver().await;
        if let Some(charge) = charge {
            let again = outcome.refusals.iter().filter(|refusal| refusal.reason.is_retryable()).count();
            charge.settle(events.saturating_sub(again)).await;
        }
        if let Some(key) = &access_key {
            self.refusals.forbidden(key, client, &outcome.refusals);
        }
        let (outcome, room) = judge(class, outcome, room, self.shortage.as_ref())?;
        let answer = protocol.render(&outcome);
        // An answer that says "send it again" must not be the answer to every repeat.
        if let Some(remembered) = &remembered
            && !outcome.refusals.iter().any(|refusal| refusal.reason.is_retryable())
        {
            remembered.keep(&answer).await;
        }
        Ok(respond(protocol.success(), room.hold_answer(answer)))
    }
}

/// The protocol that a request names by its media type, whatever the parameters of that say: JSON is UTF-8 (RFC 8259,
/// section 8.1).
fn protocol_of<'p>(headers: &HeaderMap, protocols: &[&'p dyn Protocol]) -> Result<&'p dyn Protocol, ApiError> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = given.map(|given| given.split(';').next().unwrap_or_default().trim());
    let knows = |protocol: &dyn Protocol| {
        essence.is_some_and(|essence| {
            protocol.media_types().iter().any(|media_type| media_type.eq_ignore_ascii_case(essence))
        })
    };
    protocols.iter().copied().find(|protocol| knows(*protocol)).ok_or_else(|| {
        let known: Vec<_> = protocols.iter().flat_map(|protocol| protocol.media_types()).copied().collect();
        let given =
            given.map_or_else(|| "there is no Content-Type".to_owned(), |given| format!("{given:?} is not supported"));
        ApiError::UnsupportedMediaType { detail: format!("{given}: send Content-Type: {}", known.join(" or ")) }
    })
}

/// The answer to a request that may not go on.
pub fn refuse(protocols: &'static [&'static dyn Protocol], headers: &HeaderMap, denial: Denial) -> Response {
    let protocol = protocol_of(headers, protocols).ok().or(protocols.first().copied());
    render_error(protocol, denial.into())
}

fn render_error(protocol: Option<&dyn Protocol>, error: ApiError) -> Response {
    match protocol {
        Some(protocol) => protocol.render_error(error),
        None => poem::IntoResponse::into_response(error),
    }
}

fn respond(success: Success, body: Body) -> Response {
    Response::builder().status(success.status).header(header::CONTENT_TYPE, success.media_type).body(body)
}

/// Turns the verdict on a request into its answer, which takes `room`.
fn judge(
    class: RequestClass,
    outcome: Outcome,
    room: Lease,
    shortage: Option<&Check>,
) -> Result<(Outcome, Lease), ApiError> {
    let first = outcome.refusals.first().map(|refusal| &refusal.reason);
    match (outcome.verdict(), first) {
        (Verdict::Accepted, _) => Ok((outcome, room)),
        (Verdict::Invalid, Some(reason)) if outcome.refusals.iter().all(|refusal| refusal.reason.is_forbidden()) => {
            Err(Denial::SourceForbidden { detail: reason.to_string() }.into())
        }
        // The only event is the request: the rule that it breaks is what the client needs to know.
        (Verdict::Invalid, Some(reason)) if class == RequestClass::Single => {
            Err(ApiError::InvalidEvent { code: reason.code(), detail: reason.to_string() })
        }
        (Verdict::Invalid, _) => Err(ApiError::NoValidEvent { refusals: outcome.refusals, room }),
        (Verdict::TooLarge, first) => {
            let reason = first.map(ToString::to_string).unwrap_or_default();
            Err(ApiError::RecordTooLarge { detail: format!("{reason}; nothing was accepted") })
        }
        (Verdict::NoCapacity, _) => {
            let retryable =
                outcome.refusals.into_iter().map(|refusal| refusal.reason).find(RefusalReason::is_retryable);
            let reason = retryable.unwrap_or(RefusalReason::NoCapacity);
            let is_draining = reason == RefusalReason::Draining;
            let shortage = shortage.filter(|_| !is_draining).and_then(|shortage| shortage());
            Err(ApiError::NoCapacity { reason, shortage, may_be_partial: false })
        }
        (Verdict::Unknown, _) => Err(ApiError::OutcomeUnknown),
    }
}
