//! Sends batches of events to Spillway, repeatedly, until every event is settled.
//!
//! * An event is settled when the server has accepted it or refused it permanently. No event is lost otherwise: after a
//!   missing, late or invalid answer it is sent again under the same identifier, and is stored once.
//! * From when its request is sent until it is settled, an event is in doubt, unless an answer says that nothing was
//!   kept. An event stays in doubt: a later refusal says nothing about an earlier request.
//! * One request at a time; the pauses between attempts grow, or are set by the server.
//! * No event is refused because of its neighbours: a batch that is refused as a whole is halved until the event at
//!   fault is alone.
//! * No clock is read here: time passes in [`Waiting`].

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// Timeout for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum timeout for an answer: longer than a gateway waits for a producer.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(40);
/// Minimum timeout for an answer, however soon the client gives up: with less every request would be in doubt.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Maximum bytes of an answer: 10,000 errors of 800 bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// First pause before another attempt; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Maximum pause that the client chooses.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Maximum pause that the server can request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Maximum number of refusals listed with their place.
const FIRST_REFUSALS_MAX: usize = 5;
/// Maximum number of codes counted separately; further ones count as `other`.
const CODES_MAX: usize = 50;
/// The server's code for an unknown outcome.
const OUTCOME_UNKNOWN: &str = "outcome_unknown";
/// Maximum characters of a server text that are shown.
const DETAIL_CHARS_MAX: usize = 300;

/// The base URL of a Spillway: `http://host:port`, with an optional path before its API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    base: String,
    batch: Uri,
}

/// The text is not a base URL of a Spillway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base URL of a Spillway, such as http://127.0.0.1:8080 (TLS is not supported yet)")]
pub struct InvalidTarget;

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let base = text.trim_end_matches('/').to_owned();
        let batch: Uri = format!("{base}/api/logs/batch").parse().map_err(|_| InvalidTarget)?;
        let complete = batch.scheme_str() == Some("http") && batch.host().is_some_and(|host| !host.is_empty());
        if complete && !base.contains('?') { Ok(Self { base, batch }) } else { Err(InvalidTarget) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// Where an event was read.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the file.
    pub file: Arc<str>,
    /// Number of the line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An event to be sent.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The event as one line of JSON.
    pub json: String,
    /// Where it was read.
    pub place: Place,
    /// Whether the outcome of a request with it is unknown.
    pub in_doubt: bool,
}

/// The outcome of settled events.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that the server accepted.
    pub accepted: u64,
    /// Accepted events by durability.
    pub durability: Durability,
    /// Permanently refused events, by code.
    pub refused: BTreeMap<String, u64>,
    /// The first refusals: place, code and detail.
    pub first_refusals: Vec<String>,
    /// Events in doubt after completed requests.
    pub(super) doubts: u64,
    /// The request in progress.
    under_way: UnderWay,
}

/// A request until it is answered or abandoned.
#[derive(Debug, Default)]
struct UnderWay {
    /// Its events that were not in doubt before.
    events: u64,
    /// Whether any part of it may have reached the server.
    sent: Arc<AtomicBool>,
}

impl Tally {
    /// Events that were sent and may have been kept, but are not settled.
    #[must_use]
    pub fn in_doubt(&self) -> u64 {
        let under_way = if self.under_way.sent.load(Ordering::Relaxed) { self.under_way.events } else { 0 };
        self.doubts + under_way
    }

    /// Begins a request with `events`; set the returned flag once any part of it has been sent.
    fn begin(&mut self, events: &[Pending]) -> Arc<AtomicBool> {
        let certain = events.iter().filter(|event| !event.in_doubt).count() as u64;
        self.under_way = UnderWay { events: certain, sent: Arc::default() };
        Arc::clone(&self.under_way.sent)
    }

    /// Ends the request with `events`. `unknown` says whether its outcome is unknown, provided that it was sent.
    fn end(&mut self, events: &mut [Pending], unknown: bool) {
        let request = std::mem::take(&mut self.under_way);
        if unknown && request.sent.load(Ordering::Relaxed) {
            events.iter_mut().for_each(|event| self.doubt(event));
        }
    }

    fn doubt(&mut self, event: &mut Pending) {
        self.doubts += u64::from(!event.in_doubt);
        event.in_doubt = true;
    }

    /// Counts an event that will never be accepted.
    pub fn refuse(&mut self, place: &Place, code: &str, detail: &str) {
        if self.first_refusals.len() < FIRST_REFUSALS_MAX {
            self.first_refusals.push(format!("{place} {code}: {}", printable(detail)));
        }
        let known = self.refused.contains_key(code) || self.refused.len() < CODES_MAX;
        *self.refused.entry(if known { printable(code) } else { "other".to_owned() }).or_default() += 1;
    }

    /// Permanently refused events.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Settles the events listed in `errors`, and returns those to be sent again. All other events are accepted or not,
    /// as `others_accepted` says.
    fn settle(&mut self, events: Vec<Pending>, errors: Vec<EventError>, others_accepted: bool) -> Vec<Pending> {
        let mut errors: HashMap<usize, EventError> = errors.into_iter().map(|error| (error.index, error)).collect();
        let mut again = Vec::new();
        for (index, mut event) in events.into_iter().enumerate() {
            match errors.remove(&index) {
                None if others_accepted => {
                    self.accepted += 1;
                    self.doubts -= u64::from(event.in_doubt);
                }
                Some(error) if !error.retryable => self.refuse_pending(&event, &error.code, &error.detail),
                error => {
                    if error.is_some_and(|error| error.code == OUTCOME_UNKNOWN) {
                        self.doubt(&mut event);
                    }
                    again.push(event);
                }
            }
        }
        again
    }

    /// Settles an event that will never be accepted.
    fn refuse_pending(&mut self, event: &Pending, code: &str, detail: &str) {
        self.doubts -= u64::from(event.in_doubt);
        self.refuse(&event.place, code, detail);
    }
}

/// Accepted events by the durability that the server promised.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Durability {
    /// They survive a power failure.
    pub acknowledged: u64,
    /// They are in the producer's journal.
    pub journaled: u64,
    /// They survive the end of the process.
    pub buffered: u64,
}

/// Why sending stopped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// A pause before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The pause that the server requests; otherwise it depends on the number of failed attempts.
    pub duration: Option<Duration>,
    /// The reason, for display.
    pub reason: String,
    /// Whether the server cannot be reached.
    pub away: bool,
}

/// How time passes: really, or simulated in tests.
pub trait Waiting {
    /// Time since an arbitrary moment; monotonic.
    fn now(&self) -> Duration;
    /// Waits for `duration`, and may display the reason.
    fn wait(&mut self, duration: Duration, pause: &Pause) -> impl Future<Output = ()>;
}

/// Sends events to one Spillway.
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, WatchedBody>,
    target: Target,
    /// `None` means never.
    give_up_after: Option<Duration>,
}

impl Client {
    /// A client that stops when no event has been settled for `give_up_after`; `None` means never. An attempt in
    /// progress is not cut short, but has the same time limit.
    #[must_use]
    pub fn new(target: Target, give_up_after: Option<Duration>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { http, target, give_up_after }
    }

    /// Settles every event in `tally`, with as many requests as necessary.
    ///
    /// # Errors
    /// No event was settled for too long, or the server does not accept events at this URL: events not counted in
    /// `tally` as settled or in doubt were not sent.
    pub async fn deliver(
        &self,
        events: Vec<Pending>,
        tally: &mut Tally,
        waiting: &mut impl Waiting,
    ) -> Result<(), Stopped> {
        let mut patience = Patience::new(self.give_up_after, waiting.now());
        let mut batches = vec![events];
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            let sent = tally.begin(&batch);
            let answer = self.post(&batch, &sent).await;
            tally.end(&mut batch, matches!(answer, Answer::Later { unknown: true, .. }));
            match answer {
                Answer::Settled { others_accepted, durability, errors } => {
                    tally.durability.add(durability);
                    let (before, pause) = (batch.len(), Pause::to_retry(&errors));
                    let again = tally.settle(batch, errors, others_accepted);
                    if again.len() < before {
                        patience.renew(waiting.now());
                    }
                    if !again.is_empty() {
                        batches.push(again);
                        patience.pause(pause, waiting).await?;
                    }
                }
                Answer::Refused { code, detail } => match batch.as_slice() {
                    [event] => {
                        tally.refuse_pending(event, &code, &detail);
                        patience.renew(waiting.now());
                    }
                    _ => {
                        let second_half = batch.split_off(batch.len() / 2);
                        batches.extend([second_half, batch]);
                    }
                },
                Answer::Later { pause, .. } => {
                    batches.push(batch);
                    patience.pause(pause, waiting).await?;
                }
                Answer::NotHere(reason) => return Err(Stopped(reason)),
            }
        }
        Ok(())
    }

    async fn post(&self, events: &[Pending], sent: &Arc<AtomicBool>) -> Answer {
        let lines: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
        let body = Full::new(Bytes::from(lines.join("\n")));
        let mut request = Request::new(WatchedBody { body, sent: Arc::clone(sent) });
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.batch.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        let exchange = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, Box<dyn Error + Send + Sync>>((head.status, retry_after(&head.headers), body))
        };
        let unreachable = |cause: &str| {
            let reason = format!("cannot reach {}: {cause}", self.target);
            Answer::Later { pause: Pause { duration: None, reason, away: true }, unknown: true }
        };
        match tokio::time::timeout(self.answer_timeout(), exchange).await {
            Ok(Ok((status, retry_after, body))) => read_answer(status, retry_after, &body, events.len()),
            Ok(Err(error)) => unreachable(&root_cause(&*error)),
            Err(_) => unreachable("no answer in time"),
        }
    }

    fn answer_timeout(&self) -> Duration {
        self.give_up_after.unwrap_or(ANSWER_TIMEOUT_MAX).clamp(ANSWER_TIMEOUT_MIN, ANSWER_TIMEOUT_MAX)
    }
}

/// A body that records when it is read, which happens once there is a connection to write it to.
struct WatchedBody {
    body: Full<Bytes>,
    sent: Arc<AtomicBool>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Durability {
    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.journaled += other.journaled;
        self.buffered += other.buffered;
    }
}

/// How long to continue without any settled event, and how long to pause in between.
struct Patience {
    /// `None` means without limit.
    give_up_after: Option<Duration>,
    /// When the last event was settled.
    since: Duration,
    backoff: Duration,
}

impl Patience {
    fn new(give_up_after: Option<Duration>, now: Duration) -> Self {
        Self { give_up_after, since: now, backoff: BACKOFF_MIN }
    }

    fn renew(&mut self, now: Duration) {
        *self = Self::new(self.give_up_after, now);
    }

    /// Pauses, but not beyond the time to give up: then one last attempt is made.
    async fn pause(&mut self, pause: Pause, waiting: &mut impl Waiting) -> Result<(), Stopped> {
        let mut duration = pause.duration.unwrap_or(self.backoff);
        if let Some(give_up_after) = self.give_up_after {
            let left = give_up_after.saturating_sub(waiting.now().saturating_sub(self.since));
            if left.is_zero() {
                return Err(Stopped(format!("no progress for {} s: {}", give_up_after.as_secs(), pause.reason)));
            }
            duration = duration.min(left);
        }
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        waiting.wait(duration, &pause).await;
        Ok(())
    }
}

impl Pause {
    fn to_retry(errors: &[EventError]) -> Self {
        let reason = errors.iter().find(|error| error.retryable).map(|error| printable(&error.detail));
        let reason = reason.unwrap_or_else(|| "some events were not accepted yet".to_owned());
        Self { duration: None, reason, away: false }
    }
}

/// The meaning of an answer for the events of the request.
#[derive(Debug, PartialEq)]
enum Answer {
    /// Some events are settled.
    Settled { others_accepted: bool, durability: Durability, errors: Vec<EventError> },
    /// No event is accepted, and the one at fault is not named.
    Refused { code: String, detail: String },
    /// No event is settled; the same request may succeed later. Either nothing was kept, or the outcome is `unknown`.
    Later { pause: Pause, unknown: bool },
    /// No such request will ever succeed.
    NotHere(String),
}

#[derive(Debug, Deserialize, PartialEq)]
struct EventError {
    index: usize,
    code: String,
    detail: String,
    retryable: bool,
}

/// The body of a 202.
#[derive(Deserialize)]
struct Report {
    accepted: usize,
    #[serde(default)]
    durability: Durability,
    #[serde(default)]
    errors: Vec<EventError>,
}

/// The body of any other answer, if it comes from Spillway.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    errors: Vec<EventError>,
}

/// Interprets the answer to a request with this number of `events`.
fn read_answer(status: StatusCode, retry_after: Option<Duration>, body: &[u8], events: usize) -> Answer {
    let later = |reason: String, unknown: bool| {
        let pause = Pause { duration: retry_after, reason, away: false };
        Answer::Later { pause, unknown }
    };
    if status == StatusCode::ACCEPTED {
        // An inconsistent answer proves nothing about any event.
        return match serde_json::from_slice::<Report>(body) {
            Ok(Report { accepted, durability, errors })
                if are_about(&errors, events) && accepted.checked_add(errors.len()) == Some(events) =>
            {
                Answer::Settled { others_accepted: true, durability, errors }
            }
            _ => later("the server's answer is invalid".to_owned(), true),
        };
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let detail = if problem.detail.is_empty() { title.clone() } else { printable(&problem.detail) };
    match status.as_u16() {
        // Both mean that nothing of the request was kept.
        429 | 503 => later(detail, false),
        408 | 500.. => later(detail, true),
        // These concern the URL or the client; sending every event separately would not help.
        401 | 403 | 404 | 405 | 415 => Answer::NotHere(format!("the server takes no events here ({title}): {detail}")),
        400..500 if !problem.errors.is_empty() && are_about(&problem.errors, events) => {
            Answer::Settled { others_accepted: false, durability: Durability::default(), errors: problem.errors }
        }
        400..500 => {
            let code = if problem.code.is_empty() { status.as_str().to_owned() } else { problem.code };
            Answer::Refused { code, detail }
        }
        _ => later(format!("unexpected answer: {title}"), true),
    }
}

/// Whether each error belongs to a different event.
fn are_about(errors: &[EventError], events: usize) -> bool {
    let indices: std::collections::HashSet<usize> = errors.iter().map(|error| error.index).collect();
    indices.len() == errors.len() && indices.iter().all(|index| *index < events)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(BACKOFF_MIN, RETRY_AFTER_MAX))
}

/// The innermost cause, without the operating system's error number.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(error) if error.raw_os_error().is_some() => error.kind().to_string(),
        _ => cause.to_string(),
    }
}

/// A text from the server must neither flood nor control a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::scripted_server::{Reply, ScriptedServer};

    /// Simulated time; records all waits.
    #[derive(Default)]
    struct Recorded(Vec<(Duration, Pause)>);

    impl Waiting for Recorded {
        fn now(&self) -> Duration {
            self.0.iter().map(|(duration, _)| *duration).sum()
        }

        async fn wait(&mut self, duration: Duration, pause: &Pause) {
            self.0.push((duration, pause.clone()));
        }
    }

    impl Recorded {
        fn millis(&self) -> Vec<u128> {
            self.0.iter().map(|(duration, _)| duration.as_millis()).collect()
        }
    }

    fn events(names: &str) -> Vec<Pending> {
        let event = |(index, name): (usize, char)| Pending {
            json: name.to_string(),
            place: Place { file: "a.log".into(), line: index as u64 + 1 },
            in_doubt: false,
        };
        names.chars().enumerate().map(event).collect()
    }

    fn accepted(count: usize, errors: &str) -> Reply {
        let failed = errors.matches("index").count();
        Reply::new(
            202,
            format!(
                r#"{{"accepted":{count},"failed":{failed},"timestamp":"2024-01-15T10:30:00Z","durability":{{"acknowledged":0,"journaled":0,"buffered":{count}}},"errors":[{errors}]}}"#
            ),
        )
    }

    fn error(index: usize, retryable: bool) -> String {
        format!(r#"{{"index":{index},"code":"c{index}","detail":"d{index}","retryable":{retryable}}}"#)
    }

    fn problem(status: u16, errors: &str) -> Reply {
        Reply::new(
            status,
            format!(
                r#"{{"type":"about:blank","status":{status},"detail":"too bad","code":"bad","errors":[{errors}]}}"#
            ),
        )
    }

    struct Delivery {
        result: Result<(), Stopped>,
        tally: Tally,
        waited: Recorded,
        requests: Vec<String>,
    }

    /// Delivers events `a`, `b`, … to a server that sends these replies, one per request.
    async fn deliver(names: &str, replies: Vec<Reply>) -> Delivery {
        let server = ScriptedServer::start(replies).await;
        let client = Client::new(server.url().parse().unwrap(), Some(Duration::from_secs(60)));
        let (mut tally, mut waited) = (Tally::default(), Recorded::default());
        let result = client.deliver(events(names), &mut tally, &mut waited).await;
        let requests = server.requests().into_iter().map(|body| body.replace('\n', "")).collect();
        Delivery { result, tally, waited, requests }
    }

    #[tokio::test]
    async fn after_a_rate_limit_it_waits_as_long_as_the_server_says() {
        let too_fast = || problem(429, "").retry_after(7);
        let delivery = deliver("ab", vec![too_fast(), problem(503, "").retry_after(900), accepted(2, "")]).await;
        assert_eq!(delivery.result, Ok(()));
        assert_eq!((delivery.tally.accepted, delivery.tally.durability.buffered), (2, 2));
        assert_eq!(delivery.waited.millis(), [7_000, 53_000], "the second one is cut at the moment to give up");
        assert_eq!(delivery.waited.0[0].1.reason, "too bad");
        assert_eq!(delivery.requests, ["ab", "ab", "ab"]);
    }

    #[tokio::test]
    async fn a_retryable_refusal_is_sent_again_and_a_final_one_is_not() {
        let errors = [error(1, true), error(2, false)].join(",");
        let delivery = deliver("abcd", vec![accepted(2, &errors), accepted(1, "")]).await;
        assert_eq!(delivery.result, Ok(()));
        assert_eq!(delivery.tally.accepted, 3);
        assert_eq!(delivery.tally.first_refusals, ["a.log:3 c2: d2"]);
        assert_eq!((delivery.requests, delivery.waited.millis()), (vec!["abcd".to_owned(), "b".to_owned()], vec![100]));
    }

    #[tokio::test]
    async fn after_a_problem_that_names_its_events_the_others_are_sent_again() {
        let delivery = deliver("abc", vec![problem(400, &error(1, false)), accepted(2, "")]).await;
        assert_eq!((delivery.tally.accepted, delivery.tally.refused_total()), (2, 1));
        assert_eq!(delivery.requests, ["abc", "ac"]);
    }

    #[tokio::test]
    async fn a_batch_refused_as_a_whole_is_halved_until_the_bad_event_is_alone() {
        let bad = || problem(413, "");
        let delivery =
            deliver("abcde", vec![bad(), accepted(2, ""), bad(), accepted(1, ""), bad(), bad(), accepted(1, "")]);
        let delivery = delivery.await;
        assert_eq!(delivery.requests, ["abcde", "ab", "cde", "c", "de", "d", "e"]);
        assert_eq!(
            (delivery.tally.accepted, delivery.tally.first_refusals),
            (4, vec!["a.log:4 bad: too bad".to_owned()])
        );
        assert!(delivery.waited.0.is_empty());
    }

    #[tokio::test]
    async fn a_server_gets_the_same_events_after_an_outage() {
        let replies =
            vec![Reply::HangUp, Reply::HangUp, problem(502, ""), Reply::new(202, "{}".to_owned()), accepted(2, "")];
        let delivery = deliver("ab", replies).await;
        assert_eq!((delivery.result, delivery.tally.accepted), (Ok(()), 2));
        assert_eq!(delivery.waited.millis(), [100, 200, 400, 800]);
        let away: Vec<bool> = delivery.waited.0.iter().map(|(_, pause)| pause.away).collect();
        assert_eq!(away, [true, true, false, false]);
    }

    #[tokio::test]
    async fn without_progress_it_stops_and_says_why() {
        let client = Client::new("http://127.0.0.1:1".parse().unwrap(), Some(Duration::from_secs(5)));
        let (mut tally, mut waited) = (Tally::default(), Recorded::default());
        let stopped = client.deliver(events("ab"), &mut tally, &mut waited).await.unwrap_err();
        assert_eq!(stopped.0, "no progress for 5 s: cannot reach http://127.0.0.1:1: connection refused");
        assert_eq!(waited.millis(), [100, 200, 400, 800, 1_600, 1_900]);
        assert_eq!((tally.accepted, tally.refused_total(), tally.in_doubt()), (0, 0, 0));
    }

    #[tokio::test]
    async fn with_keep_trying_it_outlasts_any_outage() {
        let server = ScriptedServer::start([vec![Reply::HangUp; 20], vec![accepted(1, "")]].concat()).await;
        let client = Client::new(server.url().parse().unwrap(), None);
        let (mut tally, mut waited) = (Tally::default(), Recorded::default());
        assert_eq!(client.deliver(events("a"), &mut tally, &mut waited).await, Ok(()));
        assert!(waited.now() > Duration::from_secs(120) && tally.in_doubt() == 0);
    }

    /// How many of the events `a` and `b` are in doubt after these replies and then a 404.
    async fn in_doubt_after(mut replies: Vec<Reply>) -> u64 {
        replies.push(Reply::new(404, String::new()));
        let delivery = deliver("ab", replies).await;
        assert!(delivery.result.is_err());
        assert_eq!((delivery.tally.accepted, delivery.tally.refused_total()), (0, 0));
        delivery.tally.in_doubt()
    }

    #[tokio::test]
    async fn events_are_in_doubt_only_after_a_request_with_an_unknown_outcome() {
        for status in [408, 500, 502, 504, 200] {
            assert_eq!(in_doubt_after(vec![problem(status, "")]).await, 2, "{status}");
        }
        for status in [429, 503] {
            assert_eq!(in_doubt_after(vec![problem(status, "")]).await, 0, "{status}");
        }
        assert_eq!(in_doubt_after(vec![Reply::HangUp, Reply::HangUp]).await, 2);
        assert_eq!(in_doubt_after(vec![accepted(7, "")]).await, 2);
        assert_eq!(in_doubt_after(vec![problem(504, ""), problem(503, "")]).await, 2, "a doubt stays");
        let unknown = error(1, true).replace("c1", OUTCOME_UNKNOWN);
        assert_eq!(in_doubt_after(vec![problem(422, &unknown)]).await, 1);
    }

    #[tokio::test]
    async fn a_doubt_ends_when_the_event_is_accepted_or_refused() {
        let delivery = deliver("ab", vec![Reply::HangUp, accepted(1, &error(1, false))]).await;
        assert_eq!((delivery.tally.accepted, delivery.tally.refused_total(), delivery.tally.in_doubt()), (1, 1, 0));
        let delivery = deliver("a", vec![problem(504, ""), problem(413, "")]).await;
        assert_eq!((delivery.tally.refused_total(), delivery.tally.in_doubt()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_awaited_no_longer_than_the_time_to_give_up() {
        let server = ScriptedServer::start(vec![Reply::Silence]).await;
        let client = Client::new(server.url().parse().unwrap(), Some(Duration::from_secs(7)));
        let (sent, start) = (Arc::default(), tokio::time::Instant::now());
        let answer = client.post(&events("a"), &sent).await;
        let Answer::Later { pause, unknown: true } = answer else { panic!("{answer:?}") };
        assert!(pause.reason.ends_with("no answer in time"), "{pause:?}");
        assert!(sent.load(Ordering::Relaxed) && start.elapsed() == Duration::from_secs(7));
        for (seconds, timeout) in [(Some(0), 1), (Some(39), 39), (Some(41), 40), (None, 40)] {
            let client = Client::new(server.url().parse().unwrap(), seconds.map(Duration::from_secs));
            assert_eq!(client.answer_timeout(), Duration::from_secs(timeout));
        }
    }

    #[tokio::test]
    async fn progress_restarts_the_time_to_give_up() {
        let slow = |reply| vec![problem(503, "").retry_after(50), reply];
        let replies = [slow(accepted(1, &error(1, true))), slow(accepted(1, ""))].concat();
        let delivery = deliver("ab", replies).await;
        assert_eq!((delivery.result, delivery.waited.millis()), (Ok(()), vec![50_000, 100, 50_000]));
    }

    #[tokio::test]
    async fn it_stops_at_once_at_a_server_other_than_spillway() {
        let delivery = deliver("ab", vec![Reply::new(404, "<html>".to_owned())]).await;
        let reason = "the server takes no events here (404 Not Found): 404 Not Found";
        assert_eq!(delivery.result, Err(Stopped(reason.to_owned())));
        assert_eq!(delivery.tally.refused_total(), 0);
    }

    #[test]
    fn inconsistent_answers_settle_nothing() {
        for (accepted, errors) in
            [(3, ""), (1, ""), (1, &*error(2, true)), (0, &*[error(0, true), error(0, true)].join(","))]
        {
            let body = format!(r#"{{"accepted":{accepted},"errors":[{errors}]}}"#);
            let answer = read_answer(StatusCode::ACCEPTED, None, body.as_bytes(), 2);
            let is_later = matches!(answer, Answer::Later { pause: Pause { away: false, .. }, unknown: true });
            assert!(is_later, "{body}: {answer:?}");
        }
    }

    #[test]
    fn base_urls_may_have_a_path_and_must_be_plain_http() {
        for (text, batch) in [
            ("http://localhost:8080", "http://localhost:8080/api/logs/batch"),
            ("http://[::1]/logs/", "http://[::1]/logs/api/logs/batch"),
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.batch.to_string()).as_deref(), Ok(batch));
        }
        for text in ["", "localhost:8080", "https://host", "http://", "http://host?a", "ftp://host", "http://a b"] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
        }
    }

    #[test]
    fn texts_of_the_server_are_shortened_and_stripped_of_control_characters() {
        let mut tally = Tally::default();
        let place = Place { file: "a".into(), line: 1 };
        for number in 0..60 {
            tally.refuse(&place, &format!("c{number:02}"), &"\x1b[2Jx".repeat(200));
        }
        assert_eq!((tally.refused.len(), tally.refused_total(), tally.refused["other"]), (CODES_MAX + 1, 60, 10));
        assert_eq!(tally.first_refusals.len(), FIRST_REFUSALS_MAX);
        assert!(tally.first_refusals[0].starts_with("a:1 c00: [2Jx[2Jx") && tally.first_refusals[0].len() < 320);
    }
}
