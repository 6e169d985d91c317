//! Sends batches of events to Spillway, repeatedly, until every event is settled.
//!
//! * An event is settled when the server has accepted it or refused it permanently. No event is lost otherwise: after a
//!   missing, late or invalid answer it is sent again under the same identifier, and is stored once.
//! * One request at a time; the pauses between attempts grow, or are set by the server.
//! * No event is refused because of its neighbours: a batch that is refused as a whole is halved until the event at
//!   fault is alone.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioExecutor;

use super::answer::{Answer, read_answer, retry_after};
use super::patience::{Patience, Pause, Stopped, Waiting};
use super::pending::Pending;
use super::tally::Tally;
use super::target::Target;
use crate::http_client::{Connector, HttpsError, HttpsFiles, connector, https_fault, root_cause};

/// Maximum timeout for an answer: longer than a gateway waits for a producer.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(40);
/// Minimum timeout for an answer, however soon the client gives up: with less every request would be in doubt.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Maximum bytes of an answer: 10,000 errors of 800 bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Sends events to one Spillway.
pub struct Client {
    http: hyper_util::client::legacy::Client<Connector, WatchedBody>,
    target: Target,
    /// The headers of every request.
    headers: HeaderMap,
    /// `None` means never.
    give_up_after: Option<Duration>,
    /// Whether the server has answered.
    was_reached: AtomicBool,
}

impl Client {
    /// A client that stops when no event has been settled for `give_up_after`; `None` means never. An attempt in
    /// progress is not cut short, but has the same time limit. Every request has the headers `extra`, which replace the
    /// user and password of the target if they log in themselves. `files` are for https.
    ///
    /// # Errors
    /// The target is one of https, and a file cannot be used or the system has no certificates of authorities.
    pub fn new(
        target: Target,
        extra: HeaderMap,
        give_up_after: Option<Duration>,
        files: &HttpsFiles,
    ) -> Result<Self, HttpsError> {
        let connector = connector(target.is_encrypted(), files)?;
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(authorization) = target.authorization() {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers.extend(extra);
        Ok(Self { http, target, headers, give_up_after, was_reached: AtomicBool::new(false) })
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
        *request.headers_mut() = self.headers.clone();
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
            Ok(Ok((status, retry_after, body))) => {
                self.was_reached.store(true, Ordering::Relaxed);
                read_answer(status, retry_after, &body, events.len())
            }
            Ok(Err(error)) => match https_fault(&*error, &self.target) {
                // A server that was reached before is changing its certificate, perhaps.
                Some(fault) if !self.was_reached.load(Ordering::Relaxed) => Answer::NotHere(fault),
                _ => unreachable(&root_cause(&*error)),
            },
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

#[cfg(test)]
mod tests;
