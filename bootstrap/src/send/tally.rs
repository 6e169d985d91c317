//! Counts the outcome of events: settled, in doubt, or not sent.
//!
//! * From when its request is sent until it is settled, an event is in doubt, unless an answer says that nothing was
//!   kept.
//! * An event stays in doubt: a later refusal says nothing about an earlier request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::answer::{Durability, EventError, OUTCOME_UNKNOWN, printable};
use super::pending::{Pending, Place};

/// Maximum number of refusals listed with their place.
const FIRST_REFUSALS_MAX: usize = 5;
/// Maximum number of codes counted separately; further ones count as `other`.
const CODES_MAX: usize = 50;

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
    pub(super) fn begin(&mut self, events: &[Pending]) -> Arc<AtomicBool> {
        let certain = events.iter().filter(|event| !event.in_doubt).count() as u64;
        self.under_way = UnderWay { events: certain, sent: Arc::default() };
        Arc::clone(&self.under_way.sent)
    }

    /// Ends the request with `events`. `unknown` says whether its outcome is unknown, provided that it was sent.
    pub(super) fn end(&mut self, events: &mut [Pending], unknown: bool) {
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
    pub(super) fn settle(
        &mut self,
        events: Vec<Pending>,
        errors: Vec<EventError>,
        others_accepted: bool,
    ) -> Vec<Pending> {
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
    pub(super) fn refuse_pending(&mut self, event: &Pending, code: &str, detail: &str) {
        self.doubts -= u64::from(event.in_doubt);
        self.refuse(&event.place, code, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
