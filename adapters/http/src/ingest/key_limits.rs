//! The limits of access keys: how much the keys of one name may send, whatever addresses they come from.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use domain::access::{Key, KeyLimits};
use domain::ports::{Client, RateDecision, RequestClass};
use poem::Request;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::access::admitted::key_of;
use crate::error::{ApiError, OverLimit};
use crate::ingest::accept::ProducerDependencies;
use crate::ingest::agents::{LOOK_INTERVAL, RETRY_AFTER_MIN};

/// The burst of events: a bucket is full again this long after a request that was just refused may begin.
const BURST: Duration = Duration::from_secs(1);

impl ProducerDependencies {
    /// Decides whether a request may begin: by the limits of its key where that has any, and otherwise by those of its
    /// client's address. `None` if nothing is limited.
    pub(super) async fn decide(
        &self,
        request: &Request,
        client: Client,
        class: RequestClass,
    ) -> Option<(RateDecision, OverLimit)> {
        let key = key_of(request);
        let decision = match key.and_then(|key| Some((key, key.limits.requests_per_second?))) {
            Some((key, limit)) => {
                Some((self.key_limiter.take(Client::with_keys(&key.name), limit).await, OverLimit::KeyRequests))
            }
            None => self.limiter.take(client, class).await.map(|decision| (decision, OverLimit::Client)),
        };
        let Some(key) = key.filter(|_| decision.is_none_or(|(decision, _)| decision.allowed)) else { return decision };
        self.overdrawn(key).await.map(|overdrawn| (overdrawn, OverLimit::KeyEvents)).or(decision)
    }

    /// Holds a request of an agent for at most `patience` until it may begin by the limits of its key, if that has any.
    /// Requests with keys of one name begin in the order in which they came, and at most as many wait as of one client.
    /// Returns how long it was held, and why it may not begin even then.
    pub(super) async fn hold_by_key(&self, request: &Request, patience: Duration) -> (Duration, Option<ApiError>) {
        let limited = key_of(request).filter(|key| key.limits != KeyLimits::default());
        let Some(key) = limited else { return (Duration::ZERO, None) };
        let refused = |wait: Option<(Duration, OverLimit)>| {
            // One that only waits for others does not know what they wait for.
            let likely = key.limits.events_per_second.map_or(OverLimit::KeyRequests, |_| OverLimit::KeyEvents);
            let (retry_after, limit) = wait.unwrap_or((RETRY_AFTER_MIN, likely));
            Some(ApiError::RateLimited { retry_after, limit })
        };
        let keys = Client::with_keys(&key.name);
        // `None` until it was asked: a request that others wait in front of would take what they wait for.
        let mut wait = None;
        if !self.agents.has_waiters(keys) {
            wait = self.wait_by_key(key).await;
            if wait.is_none() {
                return (Duration::ZERO, None);
            }
        }
        let Some(place) = self.agents.queue(keys) else {
            return (Duration::ZERO, refused(wait));
        };
        let began = Instant::now();
        let deadline = began + patience;
        let mut stop = pin!(self.health.draining());
        loop {
            let now = Instant::now();
            if now >= deadline {
                return (now.duration_since(began), refused(wait));
            }
            let pause = wait.filter(|_| place.is_first()).map_or(LOOK_INTERVAL, |(wait, _)| wait.max(LOOK_INTERVAL));
            tokio::select! {
                () = &mut stop => return (began.elapsed(), refused(wait)),
                () = sleep_until(deadline.min(now + pause)) => {}
            }
            if place.is_first() {
                wait = self.wait_by_key(key).await;
                if wait.is_none() {
                    return (began.elapsed(), None);
                }
            }
        }
    }

    /// How long until a request of an agent may begin by the limits of its key, and by which; `None` if it may now.
    async fn wait_by_key(&self, key: &Key) -> Option<(Duration, OverLimit)> {
        // Before a request is taken from the bucket: a request that looks several times counts once.
        if let Some(decision) = self.overdrawn(key).await {
            return Some((decision.retry_after, OverLimit::KeyEvents));
        }
        let limit = key.limits.requests_per_second?;
        let decision = self.key_limiter.take(Client::with_keys(&key.name), limit).await;
        (!decision.allowed).then_some((decision.retry_after, OverLimit::KeyRequests))
    }

    /// The decision about a key that has sent more events than it may, and has not paid them back yet.
    async fn overdrawn(&self, key: &Key) -> Option<RateDecision> {
        let limit = key.limits.events_per_second?;
        let retry_after = self.key_limiter.wait(Client::with_keys(&key.name), limit).await;
        let reset_after = retry_after.saturating_add(BURST);
        let refused = RateDecision { allowed: false, limit: limit.get(), remaining: 0, reset_after, retry_after };
        (!retry_after.is_zero()).then_some(refused)
    }

    /// What the events of a request will be charged to: its key, if that has a limit. To be made just before they are
    /// delivered.
    pub(super) fn charge(&self, key: Option<&Arc<Key>>, events: usize) -> Option<Charge> {
        let (keys, limit) = key.and_then(|key| Some((Client::with_keys(&key.name), key.limits.events_per_second?)))?;
        let (settle, settled) = oneshot::channel();
        let limiter = Arc::clone(&self.key_limiter);
        let charged = tokio::spawn(async move {
            let events = settled.await.unwrap_or(events);
            if events > 0 {
                limiter.charge(keys, limit, events).await;
            }
        });
        Some(Charge { settle, charged })
    }
}

/// A charge to a key, whose size is known once the events are delivered: those that the client has to send again do not
/// count. If it is dropped before, because the client has gone away, all of them do: what was published is delivered
/// nevertheless.
pub(super) struct Charge {
    settle: oneshot::Sender<usize>,
    charged: JoinHandle<()>,
}

impl Charge {
    /// Charges so many events.
    pub(super) async fn settle(self, events: usize) {
        // The task waits for nothing else.
        let _ = self.settle.send(events);
        let _ = self.charged.await;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use domain::access::KeyHash;
    use domain::admission::Usage;
    use domain::delivery::Durability;
    use domain::ports::{MockKeyLimiter, MockRecordPublisher, PublishError, Receipt};
    use poem::http::{HeaderValue, StatusCode};

    use super::*;
    use crate::access::admitted::Admitted;
    use crate::ingest::agents::objects::Objects;
    use crate::ingest::native::SingleEvent;
    use crate::ingest::protocol::Protocol;
    use crate::ingest::tests::{HOLD, dependencies_on, dependencies_with_keys};

    const TEN: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

    /// A request with a key that has both limits.
    fn request() -> Request {
        let key = Key {
            id: "AAAAAAAA".parse().expect("an id"),
            name: "shop".parse().expect("a name"),
            hash: KeyHash::new([1; 32]),
            roles: Vec::new(),
            sources: None,
            expires: None,
            revoked: None,
            limits: KeyLimits { requests_per_second: Some(TEN), events_per_second: Some(TEN) },
        };
        let mut request = Request::builder().finish();
        request.extensions_mut().insert(Admitted::With(Arc::new(key)));
        request
    }

    /// A limiter that makes requests wait by their number, and by events, until these times.
    fn limiter(requests: Duration, events: Duration) -> MockKeyLimiter {
        let began = Instant::now();
        let left = move |until: Duration| until.saturating_sub(began.elapsed());
        let mut limiter = MockKeyLimiter::new();
        limiter.expect_take().returning(move |_, limit| {
            let retry_after = left(requests);
            let allowed = retry_after.is_zero();
            RateDecision { allowed, limit: limit.get(), remaining: 0, reset_after: retry_after, retry_after }
        });
        limiter.expect_wait().returning(move |_, _| left(events));
        limiter
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_an_agent_waits_for_the_limits_of_its_key_and_no_longer_than_it_may() {
        let second = Duration::from_secs(1);
        for (requests, events, held, is_refused) in [
            (Duration::ZERO, Duration::ZERO, Duration::ZERO, false),
            (second, Duration::ZERO, second, false),
            (Duration::ZERO, 2 * second, 2 * second, false),
            (5 * second, Duration::ZERO, HOLD, true),
        ] {
            let producer = dependencies_with_keys(limiter(requests, events));
            let (waited, refused) = producer.hold_by_key(&request(), HOLD).await;
            assert!(waited >= held && waited <= held + LOOK_INTERVAL, "{requests:?} {events:?}: {waited:?}");
            assert_eq!(refused.is_some(), is_refused, "{requests:?} {events:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_overtake_one_that_waits_for_the_limits_of_its_key() {
        let second = Duration::from_secs(1);
        let (mut limiter, mut takes) = (MockKeyLimiter::new(), 0);
        limiter.expect_take().returning(move |_, limit| {
            takes += 1;
            // The first one has to wait. Any later one would be allowed at once.
            let retry_after = if takes == 1 { 2 * second } else { Duration::ZERO };
            let allowed = retry_after.is_zero();
            RateDecision { allowed, limit: limit.get(), remaining: 0, reset_after: retry_after, retry_after }
        });
        limiter.expect_wait().return_const(Duration::ZERO);
        let producer = dependencies_with_keys(limiter);
        let (first, later) = (request(), request());
        let later = async {
            tokio::time::sleep(second).await;
            producer.hold_by_key(&later, HOLD).await
        };
        let ((first, first_refused), (later, later_refused)) = tokio::join!(producer.hold_by_key(&first, HOLD), later);
        assert!(first_refused.is_none() && later_refused.is_none());
        assert!(first >= 2 * second && first <= 2 * second + LOOK_INTERVAL, "{first:?}");
        assert!(later >= second && later <= second + 2 * LOOK_INTERVAL, "{later:?}");
    }

    /// A producer on this bus that charges keys as the limiter says.
    fn producer_on(bus: MockRecordPublisher, mut limiter: MockKeyLimiter) -> ProducerDependencies {
        limiter.expect_take().returning(|_, limit| RateDecision {
            allowed: true,
            limit: limit.get(),
            remaining: 1,
            reset_after: Duration::ZERO,
            retry_after: Duration::ZERO,
        });
        limiter.expect_wait().return_const(Duration::ZERO);
        dependencies_on(bus, limiter)
    }

    /// A bus with this answer to every batch.
    fn bus(answer: fn() -> Result<Receipt, PublishError>) -> MockRecordPublisher {
        let mut bus = MockRecordPublisher::new();
        bus.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 100 << 20 });
        bus.expect_publish().returning(move |_| answer());
        bus
    }

    /// The same request with an event.
    fn with_event() -> Request {
        let mut request = request();
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        request.set_body(r#"{"source":"s","level":"INFO","message":"m"}"#);
        request
    }

    const NATIVE: &[&dyn Protocol] = &[&SingleEvent];

    #[tokio::test]
    async fn events_are_charged_once_they_are_accepted_and_not_when_they_have_to_be_sent_again() {
        let promised = || -> Result<Receipt, PublishError> {
            let promised = std::future::ready(Ok(Durability::Buffered));
            Ok(Receipt { promised: Box::pin(promised), settled: Box::pin(std::future::ready(Ok(()))) })
        };
        let mut limiter = MockKeyLimiter::new();
        limiter.expect_charge().withf(|_, _, events| *events == 1).times(2).return_const(());
        let producer = producer_on(bus(promised), limiter);
        assert_eq!(producer.accept(RequestClass::Single, NATIVE, with_event()).await.status(), StatusCode::ACCEPTED);
        assert_eq!(producer.accept_agent(&Objects, with_event()).await.status(), StatusCode::ACCEPTED);
        let mut limiter = MockKeyLimiter::new();
        limiter.expect_charge().never();
        let producer = producer_on(bus(|| Err(PublishError::Full)), limiter);
        for answer in [
            producer.accept(RequestClass::Single, NATIVE, with_event()).await,
            producer.accept_agent(&Objects, with_event()).await,
        ] {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_is_charged_for_what_is_delivered() {
        let pending = || -> Result<Receipt, PublishError> {
            Ok(Receipt { promised: Box::pin(std::future::pending()), settled: Box::pin(std::future::pending()) })
        };
        let (charge, mut charged) = tokio::sync::mpsc::unbounded_channel();
        let mut limiter = MockKeyLimiter::new();
        limiter.expect_charge().returning(move |_, _, events| charge.send(events).expect("the test waits"));
        let producer = producer_on(bus(pending), limiter);
        let answer = producer.accept(RequestClass::Single, NATIVE, with_event());
        assert!(tokio::time::timeout(Duration::from_secs(1), answer).await.is_err(), "nothing is promised");
        assert_eq!(charged.recv().await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_names_the_limit_of_the_key_that_it_is_over() {
        let second = Duration::from_secs(1);
        let native = async |requests, events| {
            let producer = dependencies_with_keys(limiter(requests, events));
            let answer = producer.accept(RequestClass::Single, NATIVE, with_event()).await;
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            answer.into_body().into_string().await.expect("a body")
        };
        assert!(native(second, Duration::ZERO).await.contains("requests_per_second"));
        assert!(native(Duration::ZERO, second).await.contains("events_per_second"));
        for (requests, events, expected) in
            [(2 * HOLD, Duration::ZERO, OverLimit::KeyRequests), (Duration::ZERO, 2 * HOLD, OverLimit::KeyEvents)]
        {
            let producer = dependencies_with_keys(limiter(requests, events));
            let (_, refused) = producer.hold_by_key(&request(), HOLD).await;
            assert!(matches!(refused, Some(ApiError::RateLimited { limit, .. }) if limit == expected), "{refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_key_or_a_limit_nothing_waits() {
        let producer = dependencies_with_keys(MockKeyLimiter::new());
        let (waited, refused) = producer.hold_by_key(&Request::builder().finish(), HOLD).await;
        assert!(waited.is_zero() && refused.is_none());
    }
}
