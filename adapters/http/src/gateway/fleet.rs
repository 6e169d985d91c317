//! The reports of the instances behind a gateway.
//!
//! Constraints and invariants:
//! * An instance that does not answer is part of the answer, never an error of the whole.
//! * Instances are asked at the same time, each once per [`KEPT_FOR`] however many requests there are, and at most
//!   [`INSTANCES_MAX`] of them. The time of each is bounded ([`crate::gateway::forward`]), and so are the bytes that it may send.
//! * They are asked with the credentials of a request that the gateway has let in, and judge them themselves. What an instance
//!   refuses to one request counts for others with the same credentials only.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem_openapi::types::ParseFromJSON;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::access::X_API_KEY;
use crate::gateway::forward::{AskError, Forwarder};
use crate::gateway::instances::{Instance, InstanceState};
use crate::openapi::fleet::{FleetInstance, InstanceReport};

/// How long an answer counts.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Most answers that are kept in which an instance refused the credentials.
const REFUSED_MAX: usize = 4;
/// Headers of a request that may have credentials.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, X_API_KEY, header::COOKIE];
/// Most instances that are asked.
const INSTANCES_MAX: usize = 100;
/// Where an instance reports.
const PATH: &str = "/actuator/instance";
/// What the fleet shows for an instance that sent no report.
const UNREACHABLE: &str = "UNREACHABLE";

/// An instance that may be asked, or a name without an address.
pub enum Known {
    /// It has an address.
    Instance(InstanceState, Arc<Instance>),
    /// No address is known: its role and its URL.
    Unresolved(&'static str, String),
}

/// What instances answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// What each of them answered, in the order in which they are known.
    pub instances: Vec<FleetInstance>,
    /// How many instances were not asked.
    pub left_out: u64,
    /// Whether one of them refused the credentials.
    refused: bool,
}

/// The last reports.
#[derive(Default)]
pub struct Reports {
    kept: Mutex<Kept>,
    /// Hashes credentials with a secret of this process, so that they themselves are not kept.
    hash: RandomState,
}

#[derive(Default)]
struct Kept {
    /// The last answers of instances that all took the credentials: for every request.
    answers: Option<(Instant, Answers)>,
    /// Other answers, the oldest first, with the hash of the credentials that they are for.
    refused: VecDeque<(Instant, u64, Answers)>,
}

impl Kept {
    /// The answers for these credentials, unless they are too old.
    fn get(&mut self, credentials: u64) -> Option<Answers> {
        self.answers = self.answers.take().filter(|(at, _)| at.elapsed() < KEPT_FOR);
        self.refused.retain(|(at, ..)| at.elapsed() < KEPT_FOR);
        let refused = self.refused.iter().find(|(_, of, _)| *of == credentials).map(|(.., answers)| answers);
        self.answers.as_ref().map(|(_, answers)| answers).or(refused).cloned()
    }

    fn keep(&mut self, credentials: u64, answers: Answers) {
        if !answers.refused {
            self.answers = Some((Instant::now(), answers));
            return;
        }
        if self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((Instant::now(), credentials, answers));
    }
}

impl Reports {
    /// The last answers for a request with these headers, or new ones if those are too old.
    pub async fn get<F: Future<Output = Answers>>(&self, headers: &HeaderMap, ask: impl FnOnce() -> F) -> Answers {
        let credentials = self.hash_of(headers);
        // Held while instances are asked: others that want to know wait for the same answer. Who asks may go away, which
        // ends the asking; the next one asks anew.
        let mut kept = self.kept.lock().await;
        if let Some(answers) = kept.get(credentials) {
            return answers;
        }
        let answers = ask().await;
        kept.keep(credentials, answers.clone());
        answers
    }

    fn hash_of(&self, headers: &HeaderMap) -> u64 {
        let mut hasher = self.hash.build_hasher();
        for name in CREDENTIALS {
            // With their lengths and their number, so that no header can be mistaken for another one.
            headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Asks instances at the same time.
pub async fn ask_all(forwarder: &Arc<Forwarder>, headers: HeaderMap, mut known: Vec<Known>) -> Answers {
    let left_out = known.len().saturating_sub(INSTANCES_MAX) as u64;
    known.truncate(INSTANCES_MAX);
    let headers = Arc::new(headers);
    let mut asked = JoinSet::new();
    for (place, known) in known.into_iter().enumerate() {
        let (forwarder, headers) = (Arc::clone(forwarder), Arc::clone(&headers));
        asked.spawn(async move {
            match known {
                Known::Instance(state, instance) => {
                    let answer = forwarder.ask(&instance, PATH, &headers).await;
                    let refused = matches!(answer, Err(AskError::Refused(_)));
                    (place, of_instance(&state, answer.and_then(|body| parsed(&body))), refused)
                }
                Known::Unresolved(role, url) => (place, unresolved(role, url), false),
            }
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        // A task that panicked would have no answer; nothing in it panics.
        answers.extend(answer);
    }
    answers.sort_by_key(|(place, ..)| *place);
    let refused = answers.iter().any(|(.., refused)| *refused);
    let instances = answers.into_iter().map(|(_, instance, _)| instance).collect();
    Answers { instances, left_out, refused }
}

fn parsed(body: &[u8]) -> Result<InstanceReport, AskError> {
    let text = std::str::from_utf8(body).map_err(|_| AskError::Unreadable)?;
    InstanceReport::parse_from_json_string(text).map_err(|_| AskError::Unreadable)
}

fn of_instance(state: &InstanceState, answer: Result<InstanceReport, AskError>) -> FleetInstance {
    let (report, problem) = match answer {
        Ok(report) => (Some(report), None),
        Err(error) => (None, Some(error.to_string())),
    };
    FleetInstance {
        role: state.role.to_owned(),
        url: Some(state.url.clone()),
        address: state.address.to_string(),
        status: report.as_ref().map_or_else(|| UNREACHABLE.to_owned(), |report| report.status.clone()),
        routing: Some(state.into()),
        problem,
        report,
    }
}

fn unresolved(role: &'static str, url: String) -> FleetInstance {
    FleetInstance {
        role: role.to_owned(),
        url: Some(url),
        address: String::new(),
        status: UNREACHABLE.to_owned(),
        routing: None,
        problem: Some(
            "no address of its own is known for its name: check the name, and whether the instance runs".to_owned(),
        ),
        report: None,
    }
}

#[cfg(test)]
mod tests;
