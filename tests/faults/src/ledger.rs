//! Requests and answers: enough to determine later what happened to each event.
//!
//! Constraints and invariants:
//! * Each event has a unique number, which is in its message: `event NUMBER …`.
//! * A client sends its requests sequentially, each after the previous answer, with ascending numbers.
//! * A request has events of one lane only, so that the promises of its answer can be assigned to a guarantee.
//! * Only a few bytes per event are kept: millions of them fit into memory.

use std::time::Duration;

use domain::level::Level;

/// Maximum number of clients.
pub const CLIENTS_MAX: u64 = 1_024;
/// Number of sources per client.
pub const SOURCES: u32 = 4;

/// Levels that share an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// ERROR and FATAL: at-least-once.
    Priority,
    /// All other levels: at-most-once.
    Rest,
}

impl Lane {
    /// Both, in the order of [`crate::comparison::Comparison::lanes`].
    pub const ALL: [Self; 2] = [Self::Priority, Self::Rest];

    /// The guarantee of its levels.
    #[must_use]
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::Priority => "at-least-once",
            Self::Rest => "at-most-once",
        }
    }

    /// The level of the event at position `sequence` in its client's order.
    #[must_use]
    pub fn level(self, sequence: u32) -> Level {
        // Otherwise each source would have only one level.
        let round = sequence / SOURCES;
        match (self, round % 4) {
            (Self::Priority, 0 | 2) => Level::Error,
            (Self::Priority, _) => Level::Fatal,
            (Self::Rest, 0) => Level::Trace,
            (Self::Rest, 1) => Level::Debug,
            (Self::Rest, 2) => Level::Info,
            (Self::Rest, _) => Level::Warn,
        }
    }
}

/// The number of an event.
#[must_use]
pub fn number(client: u16, sequence: u32) -> u64 {
    u64::from(sequence) * CLIENTS_MAX + u64::from(client)
}

/// The client of the event with this number, and its position in that client's order.
#[must_use]
pub fn place(number: u64) -> (u16, u32) {
    let client = u16::try_from(number % CLIENTS_MAX).unwrap_or(u16::MAX);
    (client, u32::try_from(number / CLIENTS_MAX).unwrap_or(u32::MAX))
}

/// Outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202: number of events by durability; the others by their position in the request.
    Accepted {
        /// On the bus.
        acknowledged: u32,
        /// Fsynced in a journal.
        journaled: u32,
        /// In memory.
        buffered: u32,
        /// Positions of events that were not kept.
        refused: Vec<u32>,
        /// Positions of events whose outcome is unknown.
        unknown: Vec<u32>,
    },
    /// No event was kept.
    Refused,
    /// The outcome is unknown.
    Unknown,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its first event; the others follow.
    pub first: u32,
    /// Number of events.
    pub events: u32,
    /// Lane of the events.
    pub lane: Lane,
    /// Number of producers replaced when it was sent and when it was answered.
    pub generations: (u16, u16),
    /// When it was sent, since the start of the load.
    pub sent: Duration,
    /// Time until its answer.
    pub took: Duration,
    /// Its outcome.
    pub outcome: Outcome,
}

/// All requests of a client, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct ClientAccount {
    /// Its number.
    pub client: u16,
    /// The sources of its events, in turn.
    pub sources: Vec<String>,
    /// The requests.
    pub requests: Vec<Request>,
}

/// Counts of one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Events acknowledged, journaled, buffered.
    pub accepted: [u64; 3],
    /// Events refused, by level, least severe first.
    pub refused: [u64; Level::ALL.len()],
    /// Answers by status; missing answers count under 0.
    pub answers: Vec<(u16, u64)>,
}

impl Second {
    /// Counts an answer.
    pub fn answer(&mut self, status: u16) {
        match self.answers.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.answers.push((status, 1)),
        }
    }

    /// Answers with this status.
    #[must_use]
    pub fn answers_with(&self, status: u16) -> u64 {
        self.answers.iter().filter(|(known, _)| *known == status).map(|(_, count)| count).sum()
    }

    /// Requests that were answered or abandoned.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.answers.iter().map(|(_, count)| count).sum()
    }

    /// Accepted events.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.iter().sum()
    }
}

/// Everything sent in one scenario.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The clients.
    pub clients: Vec<ClientAccount>,
    /// One entry per second, since the start of the load; a request counts when it is answered.
    pub seconds: Vec<Second>,
    /// Answers 429 and 503 without `Retry-After`.
    pub without_retry_after: u64,
}

impl Ledger {
    /// All requests.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.clients.iter().flat_map(|client| &client.requests)
    }

    /// Answers with this status.
    #[must_use]
    pub fn answers_with(&self, status: u16) -> u64 {
        self.seconds.iter().map(|second| second.answers_with(status)).sum()
    }

    /// Requests that were answered or abandoned.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.seconds.iter().map(Second::calls).sum()
    }

    /// Accepted events.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.seconds.iter().map(Second::accepted).sum()
    }

    /// When the first request sent at or after `from` was answered with an acknowledged event.
    #[must_use]
    pub fn acknowledged_after(&self, from: Duration) -> Option<Duration> {
        let later = self.requests().filter(|request| request.sent >= from);
        let acknowledged =
            later.filter(|request| matches!(request.outcome, Outcome::Accepted { acknowledged: 1.., .. }));
        acknowledged.map(|request| request.sent + request.took).min()
    }

    /// The time within which this share of the requests was answered with 202.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        let accepted = self.requests().filter(|request| matches!(request.outcome, Outcome::Accepted { .. }));
        quantile(accepted.map(|request| request.took).collect(), share)
    }
}

/// The quantile of the values for this share; zero if there are none.
#[must_use]
pub fn quantile(mut values: Vec<Duration>, share: f64) -> Duration {
    values.sort_unstable();
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_event() {
        for (client, sequence) in [(0, 0), (1, 0), (0, 1), (1_023, 70_000), (17, u32::MAX)] {
            assert_eq!(place(number(client, sequence)), (client, sequence));
        }
    }

    #[test]
    fn each_source_has_every_level_of_the_lane() {
        for lane in Lane::ALL {
            for source in 0..SOURCES {
                let levels = (0..100).filter(|n| n % SOURCES == source).map(|n| lane.level(n));
                let distinct: std::collections::BTreeSet<String> = levels.map(|level| format!("{level:?}")).collect();
                assert_eq!(distinct.len(), if lane == Lane::Priority { 2 } else { 4 });
            }
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = || (1..=100).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(quantile(values(), 0.5), Duration::from_millis(51));
        assert_eq!(quantile(values(), 0.99), Duration::from_millis(100));
        assert_eq!(quantile(values(), 1.0), Duration::from_millis(100));
        assert_eq!(quantile(Vec::new(), 0.5), Duration::ZERO);
    }
}
