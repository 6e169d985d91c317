//! The meaning of an answer of the server for the events of a request.

use std::collections::HashSet;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::patience::{BACKOFF_MIN, Pause};

/// Maximum pause that the server can request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// The server's code for an unknown outcome.
pub(super) const OUTCOME_UNKNOWN: &str = "outcome_unknown";
/// Maximum characters of a server text that are shown.
const DETAIL_CHARS_MAX: usize = 300;

/// The meaning of an answer for the events of the request.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Some events are settled.
    Settled { others_accepted: bool, durability: Durability, errors: Vec<EventError> },
    /// No event is accepted, and the one at fault is not named.
    Refused { code: String, detail: String },
    /// No event is settled; the same request may succeed later. Either nothing was kept, or the outcome is `unknown`.
    Later { pause: Pause, unknown: bool },
    /// No such request will ever succeed.
    NotHere(String),
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

impl Durability {
    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.journaled += other.journaled;
        self.buffered += other.buffered;
    }
}

/// What an answer says about one event.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct EventError {
    pub(super) index: usize,
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) retryable: bool,
}

impl Pause {
    /// The pause before the events with retryable errors are sent again.
    pub(super) fn to_retry(errors: &[EventError]) -> Self {
        let reason = errors.iter().find(|error| error.retryable).map(|error| printable(&error.detail));
        let reason = reason.unwrap_or_else(|| "some events were not accepted yet".to_owned());
        Self { duration: None, reason, away: false }
    }
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
pub(super) fn read_answer(status: StatusCode, retry_after: Option<Duration>, body: &[u8], events: usize) -> Answer {
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
        401 | 403 | 407 => Answer::NotHere(format!(
            "the server refuses this client ({title}): {detail}; check the access key (--key-file, SPILLWAY_CLIENT__KEY), \
             the user and password in --url, or --header"
        )),
        404 | 405 | 415 => {
            Answer::NotHere(format!("the server takes no events here ({title}): {detail}; check the URL in --url"))
        }
        300..400 => Answer::NotHere(format!(
            "the server takes no events here ({title}); give the URL that it leads to as --url"
        )),
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
    let indices: HashSet<usize> = errors.iter().map(|error| error.index).collect();
    indices.len() == errors.len() && indices.iter().all(|index| *index < events)
}

/// The pause that the server requests, within limits.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(BACKOFF_MIN, RETRY_AFTER_MAX))
}

/// A text from the server must neither flood nor control a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(index: usize, retryable: bool) -> String {
        format!(r#"{{"index":{index},"code":"c{index}","detail":"d{index}","retryable":{retryable}}}"#)
    }

    #[test]
    fn an_answer_for_the_client_or_the_url_says_what_to_check() {
        for (status, part) in [
            (301, "(301 Moved Permanently); give the URL that it leads to as --url"),
            (
                401,
                "refuses this client (401 Unauthorized): log in; check the access key (--key-file, SPILLWAY_CLIENT__KEY)",
            ),
            (404, "takes no events here (404 Not Found): log in; check the URL in --url"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = read_answer(status, None, br#"{"detail":"log in"}"#, 1);
            assert!(matches!(&answer, Answer::NotHere(reason) if reason.contains(part)), "{answer:?}");
        }
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
}
