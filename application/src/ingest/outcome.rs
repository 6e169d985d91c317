//! What became of the events of a request.

use domain::Uuid;
use domain::delivery::Durability;
use domain::event::EventError;
use domain::level::Level;
use domain::ports::PublishError;
use domain::timestamp::Timestamp;

/// Maximum events per request.
pub const REQUEST_EVENTS_MAX: usize = 10_000;
/// Maximum bytes of a source that an answer repeats.
const SHOWN_SOURCE_BYTES_MAX: usize = 64;

/// An event that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Position in the request, from 0.
    pub index: usize,
    /// The reason.
    pub reason: RefusalReason,
}

/// Why an event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// It breaks a rule of the event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It could not be parsed as an event.
    #[error("{detail}")]
    Malformed {
        /// Stable code of the adapter that parsed it.
        code: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The key of the request may not write events of its source: the beginning of that.
    #[error("this key may not write events of the source {0:?}")]
    SourceForbidden(String),
    /// There is currently no capacity for it.
    #[error("no capacity at the moment, this event was not kept: retry later")]
    NoCapacity,
    /// The remaining capacity is reserved for more severe events.
    #[error("the remaining capacity is reserved for levels above {0}, this event was not kept: retry later")]
    LoadShed(Level),
    /// The bus does not work and no journal can take the event.
    #[error("the bus is unavailable, this event was not kept: retry later")]
    BusUnavailable,
    /// The bus permanently rejects it.
    #[error("the bus permanently rejects this event: {0}")]
    RefusedByBus(String),
    /// This instance is stopping.
    #[error("this instance is stopping, this event was not kept: retry")]
    Draining,
    /// It is not known yet whether it was kept.
    #[error("it is not known whether this event was kept: retry with the same eventId")]
    OutcomeUnknown,
}

impl RefusalReason {
    /// The key of a request may not write events of this source.
    #[must_use]
    pub fn forbidden(source: &str) -> Self {
        let shown = source.get(..source.floor_char_boundary(SHOWN_SOURCE_BYTES_MAX)).unwrap_or_default();
        Self::SourceForbidden(format!("{shown}{}", if shown.len() < source.len() { "…" } else { "" }))
    }

    /// Whether the key of the request may not write events of the source.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::SourceForbidden(_))
    }

    /// Stable code for clients.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Event(error) => error.code(),
            Self::Malformed { code, .. } => code,
            Self::SourceForbidden(_) => "source_forbidden",
            Self::NoCapacity => "no_capacity",
            Self::LoadShed(_) => "load_shed",
            Self::BusUnavailable => "bus_unavailable",
            Self::RefusedByBus(_) => "refused_by_bus",
            Self::Draining => "draining",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }

    /// Whether the same event may be accepted later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Event(_) | Self::Malformed { .. } | Self::SourceForbidden(_) | Self::RefusedByBus(_) => false,
            Self::NoCapacity | Self::LoadShed(_) | Self::BusUnavailable | Self::Draining | Self::OutcomeUnknown => true,
        }
    }
}

impl From<&PublishError> for RefusalReason {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Full => Self::NoCapacity,
            PublishError::Unavailable(_) => Self::BusUnavailable,
            PublishError::Refused(_) => Self::RefusedByBus(error.to_string()),
            PublishError::Closed => Self::Draining,
        }
    }
}

/// More events in one request than [`REQUEST_EVENTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has at most {REQUEST_EVENTS_MAX} events")]
pub struct TooManyEvents;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was received.
    pub received_at: Timestamp,
    /// Accepted events by durability.
    pub accepted: Accepted,
    /// All other events, by index.
    pub refusals: Vec<Refusal>,
    /// The id of the last valid event; for a request with a single event, its id.
    pub event_id: Option<Uuid>,
}

/// The overall result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one event was accepted.
    Accepted,
    /// No event was valid, or the request was empty.
    Invalid,
    /// Every event exceeds the record limit.
    TooLarge,
    /// Nothing was accepted, and at least one event only due to lack of capacity.
    NoCapacity,
    /// No event is known to be accepted, and at least one may have been.
    Unknown,
}

impl Outcome {
    /// Implements the contract's table of answers.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reasons = || self.refusals.iter().map(|refusal| &refusal.reason);
        if self.accepted.total() > 0 {
            Verdict::Accepted
        } else if reasons().any(|reason| *reason == RefusalReason::OutcomeUnknown) {
            Verdict::Unknown
        } else if reasons().any(RefusalReason::is_retryable) {
            Verdict::NoCapacity
        } else if !self.refusals.is_empty()
            && reasons().all(|reason| matches!(reason, RefusalReason::Event(EventError::RecordTooLarge { .. })))
        {
            Verdict::TooLarge
        } else {
            Verdict::Invalid
        }
    }

    /// What the answer to a client says that reads nothing about single events: how many were not accepted, and why.
    /// `None` if all were accepted.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let mut reasons: Vec<(&RefusalReason, usize)> = Vec::new();
        for Refusal { reason, .. } in &self.refusals {
            match reasons.iter_mut().find(|(first, _)| first.code() == reason.code()) {
                Some((_, events)) => *events += 1,
                None => reasons.push((reason, 1)),
            }
        }
        let (left_out, accepted) = (self.refusals.len(), self.accepted.total());
        let reasons: Vec<String> = reasons.iter().map(|(reason, events)| format!("{events}: {reason}")).collect();
        (left_out > 0).then(|| {
            format!(
                "{left_out} of {} events left out, {accepted} accepted: do not send them again ({})",
                left_out + accepted,
                reasons.join("; ")
            )
        })
    }
}

/// Accepted events by durability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// On the bus.
    pub acknowledged: usize,
    /// Fsynced in the journal.
    pub journaled: usize,
    /// In memory or in the operating system's buffers.
    pub buffered: usize,
}

impl Accepted {
    /// All accepted events.
    #[must_use]
    pub fn total(&self) -> usize {
        self.acknowledged + self.journaled + self.buffered
    }

    pub(super) fn add(&mut self, durability: Durability, events: usize) {
        match durability {
            Durability::Acknowledged => self.acknowledged += events,
            Durability::Journaled => self.journaled += events,
            Durability::Buffered => self.buffered += events,
        }
    }

    /// The durability of a request with a single event.
    #[must_use]
    pub fn durability(&self) -> Durability {
        if self.acknowledged > 0 {
            Durability::Acknowledged
        } else if self.journaled > 0 {
            Durability::Journaled
        } else {
            Durability::Buffered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_source_that_is_forbidden_the_beginning_is_named() {
        for (source, named) in
            [("shop".to_owned(), "shop".to_owned()), ("é".repeat(100), format!("{}…", "é".repeat(32)))]
        {
            assert_eq!(RefusalReason::forbidden(&source), RefusalReason::SourceForbidden(named));
        }
    }

    #[test]
    fn what_was_left_out_is_counted_by_reason() {
        let rejected = |cause: &str| RefusalReason::RefusedByBus(cause.to_owned());
        let reasons = [rejected("too old"), RefusalReason::forbidden("other"), rejected("too large")];
        let refusals = reasons.into_iter().enumerate().map(|(index, reason)| Refusal { index, reason }).collect();
        let accepted = Accepted { journaled: 1, buffered: 1, ..Accepted::default() };
        let outcome = Outcome { received_at: Timestamp::MIN, accepted, refusals, event_id: None };
        let text = "3 of 5 events left out, 2 accepted: do not send them again (2: the bus permanently rejects this event: too \
                    old; 1: this key may not write events of the source \"other\")";
        assert_eq!(outcome.left_out().as_deref(), Some(text));
        assert_eq!(Outcome { refusals: Vec::new(), ..outcome }.left_out(), None);
    }
}
