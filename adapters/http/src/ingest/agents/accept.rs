//! The one way of a request of an agent: hold, body, decode, deliver, answer.

use std::time::Duration;

use application::ingest::{PROMISE_TIMEOUT, RefusalReason};
use domain::level::Level;
use domain::ports::{AgentLimiter, Client, RequestClass};
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::{Body, Request, Response};

use crate::access::admitted::{key_of, tenant_of};
use crate::access::denial::Denial;
use crate::body::{Coding, REQUEST_BYTES_MAX};
use crate::error::{ApiError, OverLimit};
use crate::ingest::accept::ProducerDependencies;
use crate::ingest::agents::hold::{Admission, Shortage};
use crate::ingest::agents::protocol::{AgentProtocol, add_header};
use crate::ingest::protocol::DecodeError;
use crate::server::trace_parent;

/// Says for how many milliseconds a request was held, to a gateway: the wait does not count as latency of the instance.
pub const HELD: HeaderName = HeaderName::from_static("x-spillway-held-ms");
/// What is left of a client's time for the answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Room for a body whose length is not given, to begin with.
const UNKNOWN_BODY_BYTES: usize = 64 * 1024;
/// Shortest time after which an agent over its limit should send again.
pub(in crate::ingest) const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

impl ProducerDependencies {
    /// Answers a request of an agent.
    pub async fn accept_agent(&self, protocol: &dyn AgentProtocol, mut request: Request) -> Response {
        let client = self.client(&request);
        let patience = self.agents.hold(patience(request.headers()));
        let (by_key, over_limit) = self.hold_by_key(&request, patience).await;
        let body = request.take_body();
        let (mut response, held) = match over_limit.map_or_else(|| protocol.coding(&request), Err) {
            Ok(coding) => {
                let length = content_length(&request);
                let has_room = || self.ingest.has_room_for(Level::Info) && self.bodies.has_room(length);
                let patience = patience.saturating_sub(by_key);
                let admission = self.agents.admit(client, patience, has_room, self.health.draining()).await;
                let held = by_key + admission.held;
                let answered = match self.refusal(client, length, &admission) {
                    Some(error) => Err(error),
                    None => self.take_agent(protocol, &request, (client, coding, held), body).await,
                };
                (answered.unwrap_or_else(|error| protocol.error(&request, error)), held)
            }
            Err(error) => {
                if let ApiError::RateLimited { limit, .. } = error {
                    self.telemetry.rate_limited(RequestClass::Agent);
                    self.refusals.over_limit(limit, key_of(&request), client, RequestClass::Agent);
                }
                (protocol.error(&request, error), by_key)
            }
        };
        if !held.is_zero() {
            self.telemetry.agent_request_held(protocol.name());
            let millis = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
            response.headers_mut().insert(HELD, HeaderValue::from(millis));
        }
        add_header(&mut response, protocol.header());
        response
    }

    /// Why a request may not begin even now. Without room for INFO it may: there is room for ERROR, and each entry is
    /// looked at.
    fn refusal(&self, client: Client, length: usize, admission: &Admission) -> Option<ApiError> {
        match admission.shortage? {
            Shortage::Tokens(wait) => {
                self.telemetry.rate_limited(RequestClass::Agent);
                self.refusals.refused(client, RequestClass::Agent);
                let retry_after = wait.max(RETRY_AFTER_MIN);
                Some(ApiError::RateLimited { retry_after, limit: OverLimit::Client })
            }
            Shortage::Turn => Some(self.no_capacity(RefusalReason::NoCapacity, false)),
            Shortage::Room if !self.bodies.has_room(length) => Some(crate::body::NoRoom.into()),
            Shortage::Room if self.ingest.delivery().accepts() => None,
            Shortage::Room if self.ingest.delivery().is_closed() => {
                Some(self.no_capacity(RefusalReason::Draining, false))
            }
            Shortage::Room => Some(self.no_capacity(RefusalReason::NoCapacity, false)),
        }
    }

    async fn take_agent(
        &self,
        protocol: &dyn AgentProtocol,
        request: &Request,
        (client, coding, held): (Client, Coding, Duration),
        body: Body,
    ) -> Result<Response, ApiError> {
        let body = self.bodies.read_coded(coding, body).await?;
        let bytes = body.bytes.len();
        let intake = self.ingest.agent_intake(protocol.name(), trace_parent(request.headers()));
        let mut intake = intake.of_tenant(tenant_of(request));
        intake.reserve(bytes);
        let decoded = protocol.decode(request, &body.bytes, &mut intake);
        // A request that is refused for lack of room comes again: its client should not pay for it twice.
        if decoded.as_ref().is_err_and(|error| !matches!(error, DecodeError::NoRoom(_))) {
            self.agents.limiter.charge(client, 0, bytes);
        }
        let note = decoded?;
        let entries = intake.entries();
        // Frees the body. The note is kept until the client has read the answer.
        let mut room = body.into_lease();
        room.resize(note.len())?;
        let charge = self.charge(key_of(request), entries);
        let mut due = Due { limiter: &*self.agents.limiter, client, events: entries, bytes, is_due: true };
        let outcome = intake.deliver(PROMISE_TIMEOUT.saturating_sub(held)).await;
        due.is_due = outcome.is_ok();
        drop(due);
        if let Some(charge) = charge {
            let is_again = outcome.as_ref().is_err_and(RefusalReason::is_retryable);
            charge.settle(if is_again { 0 } else { entries }).await;
        }
        if let Some(key) = key_of(request) {
            match &outcome {
                Ok(outcome) => self.refusals.forbidden(key, client, &outcome.refusals),
                Err(RefusalReason::SourceForbidden(source)) => {
                    self.refusals.forbidden_source(key, client, source, entries as u64);
                }
                Err(_) => {}
            }
        }
        let outcome = outcome.map_err(|reason| self.no_capacity(reason, true))?;
        let answer = protocol.answer(request, &outcome, note);
        let mut response = Response::builder().status(answer.status);
        if let Some(media_type) = answer.media_type {
            response = response.header(header::CONTENT_TYPE, media_type);
        }
        Ok(if answer.body.is_empty() { response.finish() } else { response.body(room.hold_answer(answer.body)) })
    }

    /// The error for a request of which an event was not accepted. Events of other partitions may have been, if it came to
    /// that.
    fn no_capacity(&self, reason: RefusalReason, may_be_partial: bool) -> ApiError {
        match reason {
            RefusalReason::OutcomeUnknown => return ApiError::OutcomeUnknown,
            RefusalReason::SourceForbidden(_) => {
                return Denial::SourceForbidden { detail: reason.to_string() }.into();
            }
            _ => {}
        }
        let is_draining = reason == RefusalReason::Draining;
        let shortage = self.shortage.as_ref().filter(|_| !is_draining).and_then(|shortage| shortage());
        ApiError::NoCapacity { reason, shortage, may_be_partial }
    }
}

/// What a client is charged for a request, unless it is refused. If it is dropped before that is known, because the client
/// has gone away, it is due: what was published is delivered nevertheless.
struct Due<'a> {
    limiter: &'a dyn AgentLimiter,
    client: Client,
    events: usize,
    bytes: usize,
    is_due: bool,
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        if self.is_due {
            self.limiter.charge(self.client, self.events, self.bytes);
        }
    }
}

/// How long a client waits at most, less what the answer takes: `grpc-timeout`, if it is a call (a number and the first
/// letter of its unit).
fn patience(headers: &HeaderMap) -> Duration {
    let given = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
    let parsed = given.and_then(|given| {
        let (number, unit) = given.split_at_checked(given.len().checked_sub(1)?)?;
        let number: u32 = number.parse().ok()?;
        let unit = match unit {
            "H" => Duration::from_secs(3_600),
            "M" => Duration::from_secs(60),
            "S" => Duration::from_secs(1),
            "m" => Duration::from_millis(1),
            "u" => Duration::from_micros(1),
            "n" => Duration::from_nanos(1),
            _ => return None,
        };
        Some(unit.saturating_mul(number).saturating_sub(ANSWER_TIME))
    });
    parsed.unwrap_or(Duration::MAX)
}

/// The length of a body as its head gives it, or what it may begin with. No room is waited for that a body cannot have.
fn content_length(request: &Request) -> usize {
    let given = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: Option<usize> = given.and_then(|length| length.trim().parse().ok());
    length.unwrap_or(UNKNOWN_BODY_BYTES).min(REQUEST_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_held_for_less_than_its_client_waits() {
        for (given, millis) in [("10S", 9_000), ("1M", 59_000), ("1500m", 500), ("1S", 0), ("5n", 0)] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static("grpc-timeout"), HeaderValue::from_static(given))]);
            assert_eq!(patience(&headers), Duration::from_millis(millis), "{given}");
        }
        for given in ["", "S", "10x", "é"] {
            let value = HeaderValue::from_bytes(given.as_bytes()).expect("a header");
            let headers = HeaderMap::from_iter([(HeaderName::from_static("grpc-timeout"), value)]);
            assert_eq!(patience(&headers), Duration::MAX, "{given}");
        }
    }
}
