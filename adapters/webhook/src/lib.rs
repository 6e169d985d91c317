//! Alerts, told to a webhook.
//!
//! Constraints and invariants:
//! * One alert after the other, in the order in which they were raised. One whose answer is lost is told again, so that it may
//!   arrive twice.
//! * What waits is bounded; beyond the bound the oldest goes, because the newest says how things are.
//! * Each alert comes to one [`AlertOutcome`], of which the observer is told.
//! * The log shows of the URL no more than the host: the rest is often a secret.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::alert::Alert;
use domain::backoff::Backoff;
use domain::ports::{Alerter, BoxFuture, Clock};
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_retry::RetryIf;

mod connector;
mod tls_fault;
mod webhook_url;

pub use connector::{Connector, HttpsError, HttpsFiles, NoAuthorities, connector, connector_with_files};
use connector::{client_config, connector_with};
pub use tls_fault::TlsFault;
pub use webhook_url::{InvalidWebhookUrl, WebhookUrl, basic_authorization};

/// Most alerts that wait to be told.
pub const ALERTS_MAX: usize = 100;
/// Most tries to tell an alert.
pub const TRIES_MAX: usize = 5;
/// Wait before the second try; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertOutcome {
    /// The webhook took it.
    Delivered,
    /// The webhook refused it, or took nothing however often it was tried.
    Failed,
    /// Too many waited.
    Dropped,
}

/// Gets to know what became of an alert with this name.
pub type AlertObserver = Arc<dyn Fn(&'static str, AlertOutcome) + Send + Sync>;

/// How to tell.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Where to.
    pub url: WebhookUrl,
    /// Longest time of a try.
    pub timeout: Duration,
    /// Which process tells: its machine and port.
    pub instance: String,
    /// What it does.
    pub role: &'static str,
}

/// Tells alerts to a webhook.
pub struct Webhook {
    instance: String,
    role: &'static str,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    telling: Mutex<Option<JoinHandle<()>>>,
}

/// What waits to be told.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    observer: AlertObserver,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// The one that is being told.
    under_way: Option<&'static str>,
    /// No more are taken.
    closed: bool,
}

/// An alert as the webhook gets it.
#[derive(Clone)]
struct Message {
    name: &'static str,
    body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    state: &'a str,
    severity: &'a str,
    summary: &'a str,
    details: Map<String, Value>,
    instance: &'a str,
    role: &'a str,
    at: String,
}

/// Why a try failed.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Trying again does not help.
    last: bool,
}

impl Webhook {
    /// A webhook that is told from now on, by a task that `spawn` starts. Needs a tokio runtime.
    ///
    /// # Errors
    /// The URL is one of https, and nobody is trusted.
    pub fn start(
        options: WebhookOptions,
        clock: Arc<dyn Clock>,
        observer: AlertObserver,
        spawn: impl FnOnce(BoxFuture<()>) -> JoinHandle<()>,
    ) -> Result<Self, NoAuthorities> {
        let tls = client_config(options.url.is_encrypted())?;
        Ok(Self::with(options, clock, observer, tls, FIRST_WAIT, spawn))
    }

    fn with(
        options: WebhookOptions,
        clock: Arc<dyn Clock>,
        observer: AlertObserver,
        tls: ClientConfig,
        first_wait: Duration,
        spawn: impl FnOnce(BoxFuture<()>) -> JoinHandle<()>,
    ) -> Self {
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Notify::new(), observer });
        let telling = Sender { http: client(tls), url: options.url, timeout: options.timeout, first_wait };
        let task = spawn(Box::pin(telling.run(Arc::clone(&queue))));
        let telling = Mutex::new(Some(task));
        Self { instance: options.instance, role: options.role, clock, queue, telling }
    }

    /// Takes no more alerts, and tells those that wait within `timeout`, unless the webhook turns out to take none. Returns how
    /// many were not told.
    pub async fn close(&self, timeout: Duration) -> usize {
        self.queue.waiting().closed = true;
        self.queue.changed.notify_one();
        let task = self.telling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut task) = task
            && tokio::time::timeout(timeout, &mut task).await.is_err()
        {
            task.abort();
        }
        self.queue.give_up()
    }

    fn message(&self, alert: Alert) -> Message {
        let summary = alert.summary();
        let (name, severity) = (alert.kind.name(), alert.kind.severity().name());
        let details = alert.details.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        let body = Body {
            name,
            state: alert.state.name(),
            severity,
            summary,
            details,
            instance: &self.instance,
            role: self.role,
            at: self.clock.now().to_string(),
        };
        // Text and maps with keys of text can always be written.
        Message { name, body: serde_json::to_vec(&body).unwrap_or_default().into() }
    }
}

impl Alerter for Webhook {
    fn alert(&self, alert: Alert) {
        self.queue.push(self.message(alert));
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: Message) {
        let mut waiting = self.waiting();
        let dropped = if waiting.closed {
            Some(message)
        } else {
            let oldest = if waiting.messages.len() == ALERTS_MAX { waiting.messages.pop_front() } else { None };
            waiting.messages.push_back(message);
            oldest
        };
        drop(waiting);
        if let Some(dropped) = dropped {
            (self.observer)(dropped.name, AlertOutcome::Dropped);
        }
        self.changed.notify_one();
    }

    /// The next message; `None` when there will be none.
    async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(message) = waiting.messages.pop_front() {
                    waiting.under_way = Some(message.name);
                    return Some(message);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The message that was under way has come to this.
    fn settle(&self, outcome: AlertOutcome) {
        let name = self.waiting().under_way.take();
        if let Some(name) = name {
            (self.observer)(name, outcome);
        }
    }

    /// Nothing more will be told. Returns how many alerts that concerns.
    fn give_up(&self) -> usize {
        let names: Vec<&'static str> = {
            let mut waiting = self.waiting();
            let under_way = waiting.under_way.take();
            under_way.into_iter().chain(waiting.messages.drain(..).map(|message| message.name)).collect()
        };
        names.iter().for_each(|name| (self.observer)(name, AlertOutcome::Failed));
        names.len()
    }
}

/// The task that sends alerts.
struct Sender {
    http: Client<Connector, Full<Bytes>>,
    url: WebhookUrl,
    timeout: Duration,
    first_wait: Duration,
}

impl Sender {
    async fn run(self, queue: Arc<Queue>) {
        while let Some(message) = queue.next().await {
            let told = send_with_retries(self.first_wait, self.timeout, || self.post(message.body.clone())).await;
            let Err(Failure { reason, last }) = told else {
                queue.settle(AlertOutcome::Delivered);
                continue;
            };
            tracing::warn!(alert = message.name, webhook = %self.url, reason, "an alert could not be told to the webhook");
            queue.settle(AlertOutcome::Failed);
            // Who is about to end does not wait for a webhook that takes nothing.
            if !last && queue.waiting().closed {
                return;
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("spillway/", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = self.url.authorization() {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        match self.http.request(request).await {
            Ok(answer) => judge(answer.status()),
            Err(error) => Err(Failure { reason: cause(&error), last: false }),
        }
    }
}

/// What an answer says: a client's fault, and a webhook that is elsewhere, do not pass by themselves.
fn judge(status: StatusCode) -> Result<(), Failure> {
    let passes = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_success() {
        Ok(())
    } else {
        let last = (status.is_client_error() && !passes) || status.is_redirection();
        Err(Failure { reason: format!("it answered {status}"), last })
    }
}

/// Tries until one try succeeds, at most [`TRIES_MAX`] times.
async fn send_with_retries<F: Future<Output = Result<(), Failure>>>(
    first_wait: Duration,
    try_timeout: Duration,
    mut post: impl FnMut() -> F,
) -> Result<(), Failure> {
    let waits = Backoff::new(first_wait, Duration::MAX).take(TRIES_MAX - 1);
    let attempt = || {
        let post = post();
        async move {
            let in_time = timeout(try_timeout, post).await;
            let late = || Failure { reason: format!("no answer within {try_timeout:?}"), last: false };
            in_time.unwrap_or_else(|_| Err(late()))
        }
    };
    let again = |failure: &Failure| {
        tracing::debug!(reason = failure.reason, last = failure.last, "the webhook did not take an alert");
        !failure.last
    };
    RetryIf::start(waits, attempt, again).await
}

/// A client that keeps no connection: alerts are rare.
fn client(tls: ClientConfig) -> Client<Connector, Full<Bytes>> {
    let connector = connector_with(HttpConnector::new(), tls);
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

/// The innermost cause, which says most.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
