//! Which alerts the operator gets, and how often.
//!
//! Constraints and invariants:
//! * A condition is reported when it begins and again when it ends. Between its two thresholds nothing changes, so a
//!   value that fluctuates around one threshold is reported once.
//! * A recurring incident is reported at once and then at most once per [`REPEAT_INTERVAL`], with the number of
//!   occurrences; every occurrence is counted.
//! * The size of an alert is bounded, whatever texts it contains.
//! * Time is an argument, counted from any fixed point.

use crate::admission::Usage;
use crate::delivery::Guarantee;
use crate::partition::Partition;

mod firing;
mod hysteresis;
mod kinds;
#[cfg(test)]
mod tests;

pub use self::firing::{FiringAlert, FiringAlerts};
pub use self::hysteresis::{
    AlertUpdate, CALM_INTERVAL, Condition, FIRM_INTERVAL, FillCondition, QUIET_INTERVAL, REPEAT_INTERVAL, Recurrence,
    Trouble,
};
pub use self::kinds::{AlertKind, AlertState, Severity};

/// Maximum bytes of one detail; the rest is cut off.
pub const DETAIL_BYTES_MAX: usize = 1_000;

/// An alert for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What the alert is about.
    pub kind: AlertKind,
    /// Whether the condition holds.
    pub state: AlertState,
    /// Details by name.
    pub details: Vec<(&'static str, String)>,
}

impl Alert {
    /// An alert whose only detail is its runbook.
    #[must_use]
    pub fn new(kind: AlertKind, state: AlertState) -> Self {
        Self { kind, state, details: vec![("runbook", kind.runbook())] }
    }

    /// The same alert with a further detail, truncated to [`DETAIL_BYTES_MAX`].
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        let mut value = value.to_string();
        value.truncate(value.floor_char_boundary(DETAIL_BYTES_MAX));
        self.details.push((name, value));
        self
    }

    /// One line for the operator: what is wrong, and what to do next.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.kind.summary(self.state)
    }

    /// The circuit breaker opened for this reason, or closed again.
    #[must_use]
    pub fn breaker_open(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::BreakerOpen, state).with("reason", reason)
    }

    /// The journal has this usage.
    #[must_use]
    pub fn journal_filling(state: AlertState, usage: Usage) -> Self {
        Self::new(AlertKind::JournalFilling, state)
            .with("used_bytes", usage.used_bytes)
            .with("bytes_max", usage.bytes_max)
            .with("percent", percent(usage))
    }

    /// The journal cannot be written for this reason, or can be written again.
    #[must_use]
    pub fn journal_unwritable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::JournalUnwritable, state).with("reason", reason)
    }

    /// The bus permanently rejected records; partition and reason are those of one of them.
    #[must_use]
    pub fn records_refused(telling: AlertUpdate, partition: Partition, reason: &str) -> Self {
        Self::recurring(AlertKind::RecordsRefused, telling).with("partition", partition).with("reason", reason)
    }

    /// Records that the bus permanently rejected cannot be kept for this reason, or can be kept again.
    #[must_use]
    pub fn refused_log_unwritable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::RefusedLogUnwritable, state).with("reason", reason)
    }

    /// A consumer found dead letters; position and reason are those of one of them.
    #[must_use]
    pub fn dead_letters(telling: AlertUpdate, topic: &str, partition: Partition, offset: u64, reason: &str) -> Self {
        Self::recurring(AlertKind::DeadLetters, telling)
            .with("topic", topic)
            .with("partition", partition)
            .with("offset", offset)
            .with("reason", reason)
    }

    /// Accepted events were lost; partition and reason are those of some of them.
    #[must_use]
    pub fn events_lost(telling: AlertUpdate, partition: Partition, reason: &str) -> Self {
        Self::recurring(AlertKind::EventsLost, telling).with("partition", partition).with("reason", reason)
    }

    /// A journal that was taken over contains bytes that are not entries. `telling` counts the bytes; the partition is
    /// that of some of them.
    #[must_use]
    pub fn journal_damaged(telling: AlertUpdate, partition: Partition) -> Self {
        Self::recurring(AlertKind::JournalDamaged, telling).with("partition", partition)
    }

    /// For each guarantee, how many events are counted too often (positive) or are missing (negative) in the accounts.
    #[must_use]
    pub fn conservation_broken(state: AlertState, imbalances: &[(Guarantee, i128)]) -> Self {
        let broken = imbalances.iter().filter(|(_, imbalance)| *imbalance != 0);
        broken.fold(Self::new(AlertKind::ConservationBroken, state), |alert, (guarantee, imbalance)| {
            alert.with(guarantee.name(), imbalance)
        })
    }

    /// The bus needs a fix by the operator, or got one.
    #[must_use]
    pub fn bus_unusable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::BusUnusable, state).with("reason", reason)
    }

    /// A consumer stopped reading this partition.
    #[must_use]
    pub fn partition_stopped(state: AlertState, topic: &str, partition: Partition, reason: &str) -> Self {
        Self::new(AlertKind::PartitionStopped, state)
            .with("topic", topic)
            .with("partition", partition)
            .with("reason", reason)
    }

    /// A sealed segment cannot be read for this reason, or all can be read again.
    #[must_use]
    pub fn segment_unreadable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::SegmentUnreadable, state).with("reason", reason)
    }

    /// The file of access keys cannot be used for this reason, or can be used again.
    #[must_use]
    pub fn keys_unusable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::KeysUnusable, state).with("reason", reason)
    }

    /// The files of a listener's certificate cannot be used for this reason, or can be used again.
    #[must_use]
    pub fn tls_certificate_unusable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::TlsCertificateUnusable, state).with("reason", reason)
    }

    fn recurring(kind: AlertKind, telling: AlertUpdate) -> Self {
        let alert = Self::new(kind, telling.state());
        match telling {
            AlertUpdate::Firing { new, total } => alert.with("new", new).with("total", total),
            AlertUpdate::Resolved { total } => alert.with("total", total),
        }
    }
}

fn percent(usage: Usage) -> u128 {
    (u128::from(usage.used_bytes) * 100).checked_div(u128::from(usage.bytes_max)).unwrap_or(100)
}
