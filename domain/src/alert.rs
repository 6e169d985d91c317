//! Which alerts the operator gets, and how often.
//!
//! Constraints and invariants:
//! * A condition is reported when it begins and again when it ends. Between its two thresholds nothing changes, so a
//!   value that fluctuates around one threshold is reported once.
//! * A recurring incident is reported at once and then at most once per [`REPEAT_INTERVAL`], with the number of
//!   occurrences; every occurrence is counted.
//! * The size of an alert is bounded, whatever texts it contains.
//! * Time is an argument, counted from any fixed point.

use std::time::Duration;

use crate::admission::Usage;
use crate::delivery::Guarantee;
use crate::partition::Partition;

/// Minimum interval between two reports of a recurring incident.
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// A recurring incident is over after this time without an occurrence.
pub const QUIET_INTERVAL: Duration = Duration::from_secs(600);
/// Trouble must persist this long before it is reported: some of it resolves by itself.
pub const FIRM_INTERVAL: Duration = Duration::from_secs(3);
/// Intermittent fault is over after this time without being seen.
pub const CALM_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum bytes of one detail; the rest is cut off.
pub const DETAIL_BYTES_MAX: usize = 1_000;

/// A usage above this percentage is reported...
const FILLING_PERCENT: u128 = 80;
/// ... until it falls below this one.
const RELIEVED_PERCENT: u128 = 70;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// The circuit breaker in front of the bus is open.
    BreakerOpen,
    /// The journal is nearly full.
    JournalFilling,
    /// The journal cannot be written.
    JournalUnwritable,
    /// The bus permanently rejected accepted records.
    RecordsRefused,
    /// Records that the bus has rejected permanently cannot be kept on disk.
    RefusedLogUnwritable,
    /// A consumer found records that can never be stored.
    DeadLetters,
    /// Accepted events were lost although the process was not killed.
    EventsLost,
    /// A journal that was taken over contains bytes that are not entries.
    JournalDamaged,
    /// Accepted events are missing from the accounts of a producer, or counted twice.
    ConservationBroken,
    /// The bus accepts no records until the operator fixes its topic, permissions, settings or, for the embedded bus,
    /// its disk.
    BusUnusable,
    /// A consumer stopped a partition and needs a decision by the operator.
    PartitionStopped,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost or refused yet: look at it today.
    Warning,
    /// Events are refused, set aside or at risk: look at it now.
    Critical,
}

/// Whether the condition of an alert holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It no longer holds.
    Resolved,
}

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

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::BreakerOpen,
        Self::JournalFilling,
        Self::JournalUnwritable,
        Self::RecordsRefused,
        Self::RefusedLogUnwritable,
        Self::DeadLetters,
        Self::EventsLost,
        Self::JournalDamaged,
        Self::ConservationBroken,
        Self::BusUnusable,
        Self::PartitionStopped,
    ];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::JournalFilling => "journal_filling",
            Self::JournalUnwritable => "journal_unwritable",
            Self::RecordsRefused => "records_refused",
            Self::RefusedLogUnwritable => "refused_log_unwritable",
            Self::DeadLetters => "dead_letters",
            Self::EventsLost => "events_lost",
            Self::JournalDamaged => "journal_damaged",
            Self::ConservationBroken => "conservation_broken",
            Self::BusUnusable => "bus_unusable",
            Self::PartitionStopped => "partition_stopped",
        }
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::BreakerOpen | Self::DeadLetters | Self::JournalDamaged => Severity::Warning,
            Self::JournalFilling
            | Self::JournalUnwritable
            | Self::RecordsRefused
            | Self::RefusedLogUnwritable
            | Self::EventsLost
            | Self::ConservationBroken
            | Self::BusUnusable
            | Self::PartitionStopped => Severity::Critical,
        }
    }

    /// One line for the operator: what is wrong, and what to do next.
    #[must_use]
    pub fn summary(self, state: AlertState) -> &'static str {
        use AlertState::{Firing, Resolved};
        match (self, state) {
            (Self::BreakerOpen, Firing) => {
                "the bus accepts no records and events go to the journal: check whether the brokers run and are reachable"
            }
            (Self::BreakerOpen, Resolved) => {
                "the bus accepts records again: nothing to do, the journal empties by itself"
            }
            (Self::JournalFilling, Firing) => {
                "the journal is more than 80 % full and low levels are refused: restore the bus, or raise JOURNAL__BYTES_MAX"
            }
            (Self::JournalFilling, Resolved) => "the journal is less than 70 % full again: nothing to do",
            (Self::JournalUnwritable, Firing) => {
                "the journal cannot be written, so an outage of the bus would refuse events: check the disk under DATA_DIR"
            }
            (Self::JournalUnwritable, Resolved) => "the journal can be written again: nothing to do",
            (Self::RecordsRefused, Firing) => {
                "the bus permanently rejected accepted events, kept under journal/<n>/refused: fix the cause, then resend them"
            }
            (Self::RecordsRefused, Resolved) => {
                "the bus rejected no event for ten minutes: events under journal/<n>/refused still need a decision"
            }
            (Self::RefusedLogUnwritable, Firing) => {
                "records that the bus permanently rejected cannot be kept and wait in memory: export and remove journal/<n>/refused, or free disk space"
            }
            (Self::RefusedLogUnwritable, Resolved) => {
                "records that the bus permanently rejected are kept again: decide what to do with them"
            }
            (Self::DeadLetters, Firing) => {
                "records on the bus cannot be stored as events: see GET /api/dlq for records and reasons, fix the cause, then redrive"
            }
            (Self::DeadLetters, Resolved) => {
                "no dead letter for ten minutes: the letters in GET /api/dlq still need a decision"
            }
            (Self::EventsLost, Firing) => {
                "accepted events were lost: check the reason, and have the senders resend the events of that time with the same ids"
            }
            (Self::EventsLost, Resolved) => "no event was lost for ten minutes: lost events are not recovered",
            (Self::JournalDamaged, Firing) => {
                "a journal that was taken over has bytes that cannot be read: unless they were being written during a power failure, events are lost"
            }
            (Self::JournalDamaged, Resolved) => "no journal was taken over with damage for ten minutes",
            (Self::ConservationBroken, Firing) => {
                "the accounts of accepted events do not balance, which is a defect: save log, metrics and journal, and report it"
            }
            (Self::ConservationBroken, Resolved) => {
                "the accounts of accepted events balance again: report it nevertheless"
            }
            (Self::BusUnusable, Firing) => {
                "the bus accepts no records: check the reason, then fix its topic, permissions, settings or disk"
            }
            (Self::BusUnusable, Resolved) => "the bus accepts records again: nothing to do",
            (Self::PartitionStopped, Firing) => {
                "a partition is no longer stored because its position is not on the bus: restore a newer store, or give up the lost records"
            }
            (Self::PartitionStopped, Resolved) => "the partition is stored again: nothing to do",
        }
    }

    /// Path of the runbook in the repository.
    #[must_use]
    pub fn runbook(self) -> String {
        format!("docs/runbooks/{}.md", self.name())
    }
}

impl Severity {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Firing if the condition holds.
    #[must_use]
    pub fn of(holds: bool) -> Self {
        if holds { Self::Firing } else { Self::Resolved }
    }
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

/// A condition that is reported when it changes. Initially it does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    holds: bool,
}

impl Condition {
    /// Records whether the condition holds now. Returns what to report, if anything.
    pub fn observe(&mut self, holds: bool) -> Option<AlertState> {
        (std::mem::replace(&mut self.holds, holds) != holds).then(|| AlertState::of(holds))
    }

    /// Whether the condition holds, as last reported.
    #[must_use]
    pub fn holds(self) -> bool {
        self.holds
    }
}

/// Intermittent fault: reported once it has been seen in every observation for [`FIRM_INTERVAL`], and resolved once
/// it has not been seen for [`CALM_INTERVAL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Since when every observation has seen it.
    since: Option<Duration>,
    /// When it was last seen, once it was reported.
    last_seen: Option<Duration>,
}

impl Trouble {
    /// Records whether the fault is seen now. Returns what to report, if anything. Call it every few seconds.
    pub fn observe(&mut self, seen: bool, now: Duration) -> Option<AlertState> {
        let since = if seen { *self.since.get_or_insert(now) } else { now };
        self.since = self.since.filter(|_| seen);
        match self.last_seen {
            Some(_) if seen => {
                self.last_seen = Some(now);
                None
            }
            None if seen && now.saturating_sub(since) >= FIRM_INTERVAL => {
                self.last_seen = Some(now);
                Some(AlertState::Firing)
            }
            Some(last) if now.saturating_sub(last) >= CALM_INTERVAL => {
                self.last_seen = None;
                Some(AlertState::Resolved)
            }
            Some(_) | None => None,
        }
    }
}

/// A usage that is reported when it exceeds 80 %, and resolved when it falls below 70 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FillCondition {
    filling: Condition,
}

impl FillCondition {
    /// Records this usage. Returns what to report, if anything.
    pub fn observe(&mut self, usage: Usage) -> Option<AlertState> {
        let (used, max) = (u128::from(usage.used_bytes) * 100, u128::from(usage.bytes_max));
        // A usage exactly at a threshold changes nothing.
        let holds = if self.filling.holds() { used >= max * RELIEVED_PERCENT } else { used > max * FILLING_PERCENT };
        self.filling.observe(holds)
    }
}

/// What to report about a recurring incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertUpdate {
    /// It happened.
    Firing {
        /// Occurrences since the last report.
        new: u64,
        /// Occurrences since the incident began.
        total: u64,
    },
    /// It has not happened for [`QUIET_INTERVAL`].
    Resolved {
        /// Total number of occurrences.
        total: u64,
    },
}

impl AlertUpdate {
    /// Whether the incident is still active.
    #[must_use]
    pub fn state(self) -> AlertState {
        AlertState::of(matches!(self, Self::Firing { .. }))
    }
}

/// An incident that may recur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recurrence {
    /// Since when it has been active; `None` while it is not.
    since: Option<Since>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    total: u64,
    untold: u64,
    told_at: Duration,
    last_at: Duration,
}

impl Recurrence {
    /// Records `occurrences` of the incident. Returns what to report, if anything.
    pub fn add(&mut self, occurrences: u64, now: Duration) -> Option<AlertUpdate> {
        if occurrences == 0 {
            return self.due(now);
        }
        match &mut self.since {
            Some(since) => {
                since.total = since.total.saturating_add(occurrences);
                since.untold = since.untold.saturating_add(occurrences);
                since.last_at = since.last_at.max(now);
                self.due(now)
            }
            None => {
                self.since = Some(Since { total: occurrences, untold: 0, told_at: now, last_at: now });
                Some(AlertUpdate::Firing { new: occurrences, total: occurrences })
            }
        }
    }

    /// What to report now without a new occurrence, if anything. Call it every few seconds.
    pub fn due(&mut self, now: Duration) -> Option<AlertUpdate> {
        let since = self.since.as_mut()?;
        if since.untold > 0 && now.saturating_sub(since.told_at) >= REPEAT_INTERVAL {
            since.told_at = now;
            return Some(AlertUpdate::Firing { new: std::mem::take(&mut since.untold), total: since.total });
        }
        if now.saturating_sub(since.last_at) >= QUIET_INTERVAL {
            let total = since.total;
            self.since = None;
            return Some(AlertUpdate::Resolved { total });
        }
        None
    }

    /// What has not been reported yet. Call it before the process ends.
    pub fn rest(&mut self) -> Option<AlertUpdate> {
        let since = self.since.as_mut().filter(|since| since.untold > 0)?;
        Some(AlertUpdate::Firing { new: std::mem::take(&mut since.untold), total: since.total })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_stable_and_each_alert_names_its_runbook() {
        let names = AlertKind::ALL.map(AlertKind::name);
        assert_eq!(
            names,
            [
                "breaker_open",
                "journal_filling",
                "journal_unwritable",
                "records_refused",
                "refused_log_unwritable",
                "dead_letters",
                "events_lost",
                "journal_damaged",
                "conservation_broken",
                "bus_unusable",
                "partition_stopped",
            ]
        );
        assert_eq!(names.into_iter().collect::<HashSet<_>>().len(), names.len());
        for kind in AlertKind::ALL {
            let alert = Alert::new(kind, AlertState::Firing);
            assert_eq!(alert.details, [("runbook", format!("docs/runbooks/{}.md", kind.name()))]);
            for state in [AlertState::Firing, AlertState::Resolved] {
                let summary = kind.summary(state);
                assert!(!summary.contains('\n') && summary.len() < 200, "{summary}");
            }
        }
    }

    #[test]
    fn details_are_truncated_to_valid_text() {
        let long = "ä".repeat(DETAIL_BYTES_MAX);
        let alert = Alert::breaker_open(AlertState::Firing, &format!("x{long}"));
        let (_, reason) = &alert.details[1];
        assert!(reason.len() == DETAIL_BYTES_MAX - 1 && format!("x{long}").starts_with(reason.as_str()));
    }

    #[test]
    fn broken_accounts_are_reported_by_guarantee() {
        let imbalances = [(Guarantee::AtMostOnce, 0), (Guarantee::AtLeastOnce, 3), (Guarantee::ExactlyOnce, -1)];
        let alert = Alert::conservation_broken(AlertState::Firing, &imbalances);
        assert_eq!(alert.details[1..], [("at-least-once", "3".to_owned()), ("exactly-once", "-1".to_owned())]);
    }

    #[test]
    fn a_fill_is_reported_above_80_and_resolved_below_70_percent() {
        let mut condition = FillCondition::default();
        let mut observe = |used_bytes| condition.observe(Usage { used_bytes, bytes_max: 1_000 });
        let told: Vec<_> = [800, 801, 799, 900, 700, 699, 0, 750, 800, 801].map(&mut observe).into();
        let (firing, resolved) = (Some(AlertState::Firing), Some(AlertState::Resolved));
        assert_eq!(told, [None, firing, None, None, None, resolved, None, None, None, firing]);
        let full = Alert::journal_filling(AlertState::Firing, Usage { used_bytes: 5, bytes_max: 0 });
        assert_eq!(full.details[3], ("percent", "100".to_owned()));
    }

    #[test]
    fn a_recurring_incident_is_reported_at_once_then_each_minute_and_resolved_after_ten_quiet_minutes() {
        let at = Duration::from_secs;
        let mut recurrence = Recurrence::default();
        assert_eq!(recurrence.due(at(5)), None);
        assert_eq!(recurrence.add(2, at(10)), Some(AlertUpdate::Firing { new: 2, total: 2 }));
        assert_eq!(recurrence.add(3, at(20)), None);
        assert_eq!(recurrence.due(at(69)), None);
        assert_eq!(recurrence.add(1, at(69)), None);
        assert_eq!(recurrence.due(at(70)), Some(AlertUpdate::Firing { new: 4, total: 6 }));
        assert_eq!(recurrence.due(at(668)), None);
        assert_eq!(recurrence.due(at(669)), Some(AlertUpdate::Resolved { total: 6 }));
        assert_eq!(recurrence.due(at(5_000)), None);
        assert_eq!(recurrence.add(1, at(5_000)), Some(AlertUpdate::Firing { new: 1, total: 1 }));
        assert_eq!(recurrence.rest(), None);
        assert_eq!(recurrence.add(4, at(5_001)), None);
        assert_eq!((recurrence.rest(), recurrence.rest()), (Some(AlertUpdate::Firing { new: 4, total: 5 }), None));
    }

    proptest! {
        #[test]
        fn a_condition_is_reported_only_when_it_changes(observed in vec(any::<bool>(), 0..100)) {
            let mut condition = Condition::default();
            let mut before = false;
            for holds in observed {
                let expected = (holds != before).then(|| AlertState::of(holds));
                prop_assert_eq!(condition.observe(holds), expected);
                before = holds;
            }
        }

        #[test]
        fn lasting_trouble_is_reported_once_and_resolved_after_a_minute_without_it(steps in vec((prop_oneof![0_u64..4, 0_u64..90], any::<bool>()), 1..100)) {
            let mut fault = Trouble::default();
            let (mut now, mut last_seen, mut told) = (Duration::ZERO, Duration::ZERO, AlertState::Resolved);
            let mut since = None;
            for (seconds, seen) in steps {
                now += Duration::from_secs(seconds);
                let was = told;
                if let Some(state) = fault.observe(seen, now) {
                    prop_assert_ne!(state, told, "reported twice");
                    told = state;
                }
                if seen {
                    let firm = now - *since.get_or_insert(now) >= FIRM_INTERVAL;
                    prop_assert!(told == AlertState::Firing || !firm, "reported in time");
                    prop_assert!(was == AlertState::Firing || told == AlertState::Resolved || firm, "reported too early");
                    last_seen = now;
                    continue;
                }
                since = None;
                if told == AlertState::Firing {
                    prop_assert!(now - last_seen < CALM_INTERVAL, "resolved eventually");
                } else if was == AlertState::Firing {
                    prop_assert!(now - last_seen >= CALM_INTERVAL, "not resolved too early");
                }
            }
        }

        #[test]
        fn a_fluctuating_fill_is_raised_once_and_resolved_once(
            fills in vec(0_u64..=110, 0..200),
            bytes_max in 1_u64..u64::MAX / 200,
        ) {
            let mut condition = FillCondition::default();
            let mut told = AlertState::Resolved;
            for percent in fills {
                if let Some(state) = condition.observe(Usage { used_bytes: bytes_max * percent / 100, bytes_max }) {
                    prop_assert_ne!(state, told, "reported twice");
                    told = state;
                }
                let used = u128::from(bytes_max * percent / 100) * 100;
                if used > u128::from(bytes_max) * 80 {
                    prop_assert_eq!(told, AlertState::Firing);
                } else if used < u128::from(bytes_max) * 70 {
                    prop_assert_eq!(told, AlertState::Resolved);
                }
            }
        }

        #[test]
        fn a_recurring_incident_is_reported_rarely_and_completely(steps in vec((0_u64..200, 0_u64..4), 1..200)) {
            let mut recurrence = Recurrence::default();
            let mut now = Duration::ZERO;
            // For the current incident: what was added and reported, when it was last reported and when it last
            // occurred.
            let (mut added, mut told) = (0, 0);
            let (mut told_at, mut last_at) = (None::<Duration>, Duration::ZERO);
            for (seconds, occurrences) in steps {
                now += Duration::from_secs(seconds);
                let telling = if occurrences > 0 {
                    added += occurrences;
                    last_at = now;
                    recurrence.add(occurrences, now)
                } else {
                    recurrence.due(now)
                };
                match telling {
                    Some(AlertUpdate::Firing { new, total }) => {
                        prop_assert!(new > 0 && told_at.is_none_or(|told_at| now - told_at >= REPEAT_INTERVAL));
                        told += new;
                        prop_assert_eq!((total, told), (added, added), "nothing is left out");
                        told_at = Some(now);
                    }
                    Some(AlertUpdate::Resolved { total }) => {
                        prop_assert!(told_at.is_some() && occurrences == 0 && now - last_at >= QUIET_INTERVAL);
                        prop_assert_eq!((total, told), (added, added));
                        (added, told, told_at) = (0, 0, None);
                    }
                    None => {
                        let waits = told_at.is_some_and(|told_at| now - told_at < REPEAT_INTERVAL);
                        prop_assert!(added == told || waits, "reported eventually");
                        prop_assert!(told_at.is_none() || now - last_at < QUIET_INTERVAL || waits, "resolved eventually");
                    }
                }
            }
        }
    }
}
