//! Clients that send numbered events and record the answers.
//!
//! Constraints and invariants:
//! * A client has one request in flight; it falls behind its pace rather than open another, and catches up on at most two
//!   seconds.
//! * Each client has distinct sources, so that the order of each source can be checked.
//! * An event is sent again only if that cannot distort the counts: it was not kept, or it has an `eventId`.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::level::Level;
use domain::partition::{PRIORITY_PARTITION, Partitioner, PriorityLane};
use e2e::{Answer, Http, NoAnswer};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ledger::{ClientAccount, Lane, Ledger, Outcome, Request, SOURCES, Second, number};

/// How far a client may fall behind its pace and still catch up.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// Maximum wait before a refused request is sent again, whatever `Retry-After` says.
const RESEND_WAIT_MAX: Duration = Duration::from_secs(1);

/// Description of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Clients that send batches.
    pub batch_clients: u16,
    /// Events per batch.
    pub batch_events: u32,
    /// Events per second of all batches together.
    pub batch_events_per_second: u32,
    /// Clients that send single events.
    pub single_clients: u16,
    /// Single events per second, of all clients together.
    pub singles_per_second: u32,
    /// Size of a message, in bytes.
    pub message_bytes: usize,
    /// One of this many requests has events of the priority lane; 0 for none.
    pub priority_every: u32,
    /// Whether refused events are sent again, under the same number.
    pub resend: bool,
    /// Keeps the events of all sources outside of partition 0, given this number of partitions.
    pub outside_partition_0_of: Option<u32>,
}

impl Default for Load {
    /// A few thousand events per second of all levels, from four clients with batches and four without.
    fn default() -> Self {
        Self {
            batch_clients: 4,
            batch_events: 100,
            batch_events_per_second: 4_000,
            single_clients: 4,
            singles_per_second: 200,
            message_bytes: 100,
            priority_every: 4,
            resend: false,
            outside_partition_0_of: None,
        }
    }
}

/// A running load.
pub struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<ClientAccount>>,
}

struct Shared {
    gateways: Vec<Http>,
    began: Instant,
    seconds: Mutex<Vec<Second>>,
    /// Accepted events.
    accepted: AtomicU64,
    /// Send time, in milliseconds since the start, of the last request that was acknowledged.
    acknowledged_ms: AtomicU64,
    without_retry_after: AtomicU64,
    /// Number of producers replaced.
    generations: Arc<AtomicU16>,
}

impl Load {
    /// Starts sending to these gateways. `generations` counts the producers that were replaced.
    #[must_use]
    pub fn begin(self, gateways: Vec<Http>, generations: Arc<AtomicU16>) -> Running {
        let shared = Arc::new(Shared {
            gateways,
            began: Instant::now(),
            seconds: Mutex::default(),
            accepted: AtomicU64::new(0),
            acknowledged_ms: AtomicU64::new(0),
            without_retry_after: AtomicU64::new(0),
            generations,
        });
        let (stop, stopped) = watch::channel(false);
        let clients = (0..self.batch_clients + self.single_clients).map(|client| {
            let is_batch = client < self.batch_clients;
            let (per_second, clients, events) = if is_batch {
                (self.batch_events_per_second / self.batch_events.max(1), self.batch_clients, self.batch_events)
            } else {
                (self.singles_per_second, self.single_clients, 1)
            };
            let client = Client {
                number: client,
                sources: self.sources(client),
                events,
                is_batch,
                // Every other client sends event ids.
                with_ids: client.is_multiple_of(2),
                period: Duration::from_secs(u64::from(clients)) / per_second.max(1),
                load: self.clone(),
                shared: Arc::clone(&shared),
                stopped: stopped.clone(),
            };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        Running { shared, stop, clients }
    }

    fn sources(&self, client: u16) -> Vec<String> {
        let partitioner = |partitions| Partitioner::new(PriorityLane::Shared, partitions).ok();
        let is_suitable = |source: &str| {
            let Some(partitions) = self.outside_partition_0_of.and_then(NonZeroU32::new) else { return true };
            let partitioner = partitioner(partitions);
            partitioner.is_none_or(|rule| rule.partition(source, Level::Info, partitions) != PRIORITY_PARTITION)
        };
        let names = (0_u32..).map(|n| format!("client-{client}-{n}")).filter(|name| is_suitable(name));
        names.take(SOURCES as usize).collect()
    }
}

impl Running {
    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// When it started.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.shared.began
    }

    /// Events accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// Counts so far, second by second.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        self.shared.seconds().clone()
    }

    /// Whether a request sent at or after `from` has been acknowledged.
    #[must_use]
    pub fn has_acknowledged_since(&self, from: Duration) -> bool {
        Duration::from_millis(self.shared.acknowledged_ms.load(Ordering::Acquire)) >= from
    }

    /// Stops, after the answers to requests in flight.
    pub async fn stop(self) -> Ledger {
        self.stop.send_replace(true);
        let mut clients = Vec::new();
        for client in self.clients {
            clients.push(client.await.expect("a client"));
        }
        Ledger {
            clients,
            seconds: self.shared.seconds().clone(),
            without_retry_after: self.shared.without_retry_after.load(Ordering::Acquire),
        }
    }
}

impl Shared {
    fn seconds(&self) -> MutexGuard<'_, Vec<Second>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, request: &Request, status: u16) {
        let second = (request.sent + request.took).as_secs() as usize;
        let mut refused = [0; Level::ALL.len()];
        let mut refuse = |index: u32| refused[usize::from(request.lane.level(request.first + index).number())] += 1;
        let mut accepted = [0; 3];
        match &request.outcome {
            Outcome::Accepted { acknowledged, journaled, buffered, refused, .. } => {
                accepted = [u64::from(*acknowledged), u64::from(*journaled), u64::from(*buffered)];
                refused.iter().copied().for_each(&mut refuse);
                if *acknowledged > 0 {
                    self.acknowledged_ms.fetch_max(request.sent.as_millis() as u64, Ordering::AcqRel);
                }
            }
            Outcome::Refused => (0..request.events).for_each(&mut refuse),
            Outcome::Unknown => {}
        }
        self.accepted.fetch_add(accepted.iter().sum(), Ordering::AcqRel);
        let mut seconds = self.seconds();
        if seconds.len() <= second {
            seconds.resize_with(second + 1, Second::default);
        }
        let second = &mut seconds[second];
        second.accepted.iter_mut().zip(accepted).for_each(|(sum, events)| *sum += events);
        second.refused.iter_mut().zip(refused).for_each(|(sum, events)| *sum += events);
        second.answer(status);
    }
}

struct Client {
    number: u16,
    sources: Vec<String>,
    events: u32,
    is_batch: bool,
    with_ids: bool,
    period: Duration,
    load: Load,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

impl Client {
    async fn run(mut self) -> ClientAccount {
        let mut ledger = ClientAccount { client: self.number, sources: self.sources.clone(), requests: Vec::new() };
        // Staggered, so that clients do not all send at the same moment.
        let mut next = Instant::now() + self.period.mul_f64(f64::from(self.number % 16) / 16.0);
        let (mut first, mut turn) = (0, u32::from(self.number));
        loop {
            next = next.max(Instant::now().checked_sub(BEHIND_MAX).unwrap_or(next));
            tokio::select! {
                () = sleep_until(next) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return ledger,
            }
            next += self.period;
            let is_priority = self.load.priority_every > 0 && turn.is_multiple_of(self.load.priority_every);
            let lane = if is_priority { Lane::Priority } else { Lane::Rest };
            loop {
                let (request, retry_after) = self.send(first, lane).await;
                let again = match request.outcome {
                    Outcome::Accepted { .. } => false,
                    Outcome::Refused => self.load.resend,
                    Outcome::Unknown => self.load.resend && self.with_ids,
                };
                ledger.requests.push(request);
                let wait = retry_after.min(RESEND_WAIT_MAX);
                if !again || timeout(wait, self.stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                    break;
                }
            }
            (first, turn) = (first + self.events, turn + 1);
        }
    }

    /// Sends a request, and returns when it may be sent again.
    async fn send(&self, first: u32, lane: Lane) -> (Request, Duration) {
        let generations = &self.shared.generations;
        let (body, generation) = (self.body(first, lane), generations.load(Ordering::Acquire));
        let sent = self.shared.began.elapsed();
        let path = if self.is_batch { "/api/logs/batch" } else { "/api/logs" };
        let answer = self.post(path, body).await;
        let took = self.shared.began.elapsed() - sent;
        let (status, outcome, retry_after) = match answer {
            Ok(answer) => {
                let retry_after = answer.header("retry-after").parse().ok().map(Duration::from_secs);
                if matches!(answer.status, 429 | 503) && retry_after.is_none() {
                    self.shared.without_retry_after.fetch_add(1, Ordering::AcqRel);
                }
                (answer.status, outcome(&answer, self.is_batch), retry_after.unwrap_or(RESEND_WAIT_MAX))
            }
            Err(NoAnswer::NotSent) => (0, Outcome::Refused, RESEND_WAIT_MAX),
            Err(NoAnswer::Unknown) => (0, Outcome::Unknown, RESEND_WAIT_MAX),
        };
        let generations = (generation, generations.load(Ordering::Acquire));
        let request = Request { first, events: self.events, lane, generations, sent, took, outcome };
        self.shared.count(&request, status);
        (request, retry_after)
    }

    /// Tries the gateways in turn, moving on if it cannot connect, like a client whose server name has several addresses.
    async fn post(&self, path: &str, body: String) -> Result<Answer, NoAnswer> {
        let (gateways, body) = (&self.shared.gateways, Bytes::from(body));
        let begin = usize::from(self.number) % gateways.len().max(1);
        for gateway in gateways.iter().cycle().skip(begin).take(gateways.len()) {
            match gateway.attempt("POST", path, &[("content-type", "application/json")], body.clone()).await {
                Err(NoAnswer::NotSent) => {}
                answer => return answer,
            }
        }
        Err(NoAnswer::NotSent)
    }

    fn body(&self, first: u32, lane: Lane) -> String {
        let mut body = String::with_capacity(self.events as usize * (self.load.message_bytes + 150));
        for sequence in first..first + self.events {
            body.push(if sequence == first { '[' } else { ',' });
            let source = &self.sources[(sequence % SOURCES) as usize];
            let level = lane.level(sequence).name();
            let number = number(self.number, sequence);
            let _ = write!(body, r#"{{"source":"{source}","level":"{level}","#);
            if self.with_ids {
                let _ = write!(body, r#""eventId":"{}","#, event_id(number));
            }
            let width = self.load.message_bytes.saturating_sub("event  ".len() + number.to_string().len());
            let _ = write!(body, r#""message":"event {number} {:.<width$}"}}"#, "");
        }
        if self.is_batch {
            body.push(']');
        } else {
            body.remove(0);
        }
        body
    }
}

/// The `eventId` of an event, if it has one.
#[must_use]
pub fn event_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// The outcome of a request's events according to its answer.
fn outcome(answer: &Answer, is_batch: bool) -> Outcome {
    match answer.status {
        202 if is_batch => {
            let answer = answer.json();
            let count = |durability: &str| {
                answer["durability"][durability].as_u64().map_or(0, |events| u32::try_from(events).unwrap_or(u32::MAX))
            };
            let errors: &[Value] = answer["errors"].as_array().map_or(&[], Vec::as_slice);
            let indexes = |unknown: bool| {
                let errors = errors.iter().filter(move |error| (error["code"] == "outcome_unknown") == unknown);
                errors.filter_map(|error| u32::try_from(error["index"].as_u64()?).ok()).collect()
            };
            Outcome::Accepted {
                acknowledged: count("acknowledged"),
                journaled: count("journaled"),
                buffered: count("buffered"),
                refused: indexes(false),
                unknown: indexes(true),
            }
        }
        202 => {
            let answer = answer.json();
            let is = |durability: &str| u32::from(answer["durability"] == durability);
            Outcome::Accepted {
                acknowledged: is("acknowledged"),
                journaled: is("journaled"),
                buffered: is("buffered"),
                refused: Vec::new(),
                unknown: Vec::new(),
            }
        }
        429 | 503 => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: Default::default(), body: body.to_owned().into() }
    }

    #[test]
    fn an_answer_determines_the_outcome_of_each_event() {
        let body = r#"{"accepted":5,"failed":3,"durability":{"acknowledged":1,"journaled":2,"buffered":2},"errors":[
            {"index":3,"code":"load_shed"},{"index":4,"code":"outcome_unknown"},{"index":7,"code":"no_capacity"}]}"#;
        let expected =
            Outcome::Accepted { acknowledged: 1, journaled: 2, buffered: 2, refused: vec![3, 7], unknown: vec![4] };
        assert_eq!(outcome(&answer(202, body), true), expected);
        let Outcome::Accepted { journaled: 1, acknowledged: 0, buffered: 0, .. } =
            outcome(&answer(202, r#"{"durability":"journaled"}"#), false)
        else {
            panic!("one journaled event")
        };
        assert_eq!(outcome(&answer(503, "{}"), true), Outcome::Refused);
        assert_eq!(outcome(&answer(429, "{}"), true), Outcome::Refused);
        for status in [502, 504, 500] {
            assert_eq!(outcome(&answer(status, "{}"), true), Outcome::Unknown);
        }
    }

    #[test]
    fn sources_stay_outside_of_partition_0_if_requested() {
        let load = Load { outside_partition_0_of: Some(3), ..Load::default() };
        let three = NonZeroU32::new(3).expect("not 0");
        let rule = Partitioner::new(PriorityLane::Shared, three).expect("enough");
        for source in (0..20).flat_map(|client| load.sources(client)) {
            assert_ne!(rule.partition(&source, Level::Info, three), PRIORITY_PARTITION, "{source}");
        }
    }
}
