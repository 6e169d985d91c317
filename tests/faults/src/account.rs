//! What was sent and what was answered: enough to tell, later, what became of each event.
//!
//! Constraints and invariants:
//! * Each event has a number of its own, which is in its message: `event NUMBER …`.
//! * A client sends one request after the other, each after the answer to the one before, and numbers ascend.
//! * A request has events of one lane only, so that what its answer promises can be told by guarantee.
//! * What is kept is a few bytes an event: millions of them fit into memory.

use std::time::Duration;

use domain::level::Level;

/// Most clients.
pub const CLIENTS_MAX: u64 = 1_024;
/// Sources of one client.
pub const SOURCES: u32 = 4;

/// The levels that share a place in the order.
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

    /// The level of the event that is `sequence` in its client's row.
    #[must_use]
    pub fn level(self, sequence: u32) -> Level {
        // Otherwise each source would have a level of its own.
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

/// Whose event has this number, and which it is in that client's row.
#[must_use]
pub fn place(number: u64) -> (u16, u32) {
    let client = u16::try_from(number % CLIENTS_MAX).unwrap_or(u16::MAX);
    (client, u32::try_from(number / CLIENTS_MAX).unwrap_or(u32::MAX))
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202: so many events of each durability; the others by their position in the request.
    Accepted {
        /// On the bus.
        acknowledged: u32,
        /// Fsynced in a journal.
        journaled: u32,
        /// In memory.
        buffered: u32,
        /// Nothing was kept of these.
        refused: Vec<u32>,
        /// Nobody knows what became of these.
        unknown: Vec<u32>,
    },
    /// Nothing was kept.
    Refused,
    /// Nobody knows what became of it.
    Unknown,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its first event; the others follow.
    pub first: u32,
    /// How many events it has.
    pub events: u32,
    /// Their lane.
    pub lane: Lane,
    /// How many producers had been replaced when it was sent and when it was answered.
    pub lives: (u16, u16),
    /// When it was sent, from the beginning of the load.
    pub sent: Duration,
    /// Until its answer.
    pub took: Duration,
    /// What became of it.
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

/// What happened in one second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Events acknowledged, journaled, buffered.
    pub accepted: [u64; 3],
    /// Events refused, by level, least severe first.
    pub refused: [u64; Level::ALL.len()],
    /// Answers by status; those that did not come are under 0.
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

    /// Requests that were answered, or given up.
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

/// Everything that was sent in one scenario.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The clients.
    pub clients: Vec<ClientAccount>,
    /// One entry a second, from the beginning of the load; a request counts when it is answered.
    pub seconds: Vec<Second>,
    /// Refusals for want of capacity that did not say when to come again.
    pub without_retry_after: u64,
}

impl Account {
    /// All requests.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.clients.iter().flat_map(|client| &client.requests)
    }

    /// Answers with this status.
    #[must_use]
    pub fn answers_with(&self, status: u16) -> u64 {
        self.seconds.iter().map(|second| second.answers_with(status)).sum()
    }

    /// Requests that were answered, or given up.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.seconds.iter().map(Second::calls).sum()
    }

    /// Accepted events.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.seconds.iter().map(Second::accepted).sum()
    }

    /// When the first request that was sent at or after `from` was answered with an acknowledged event.
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

/// The value below which this share of the values is; zero if there are none.
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
