//! What somebody has to be told, and how often.
//!
//! Constraints and invariants:
//! * What holds for a while is told when it begins and once more when it is over; between two limits nothing changes, so that
//!   what wavers around one limit is not told again and again.
//! * What happens again and again is told at once and then at most once in [`REPEAT_INTERVAL`], with how often it happened;
//!   no occurrence is left out of the counts.
//! * An alert is bounded, whatever the texts are that it is made of.
//! * Time is an argument, counted from any fixed point.

use std::time::Duration;

use crate::admission::Fill;
use crate::delivery::Guarantee;
use crate::partition::Partition;

/// What recurs is told no more often than this.
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// What recurs is over when it has not happened for so long.
pub const QUIET_INTERVAL: Duration = Duration::from_secs(600);
/// Trouble has to be seen for so long: some of it mends itself.
pub const FIRM_INTERVAL: Duration = Duration::from_secs(3);
/// Trouble that comes and goes is over when it has not been seen for so long.
pub const CALM_INTERVAL: Duration = Duration::from_secs(60);
/// Most bytes of one detail; more are cut off.
pub const DETAIL_BYTES_MAX: usize = 1_000;

/// A fill above this share, in percent, is told...
const FILLING_PERCENT: u128 = 80;
/// ... until it is below this one.
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
    /// The bus refused accepted records for ever.
    RecordsRefused,
    /// Records that the bus has rejected permanently cannot be kept on disk.
    RefusedLogUnwritable,
    /// A consumer found records that can never be stored.
    DeadLetters,
    /// Accepted events are lost, though nobody ended the process.
    EventsLost,
    /// A journal that was taken over has bytes that are no entries.
    JournalDamaged,
    /// Accepted events are missing from the accounts of a producer, or are in them twice.
    ConservationBroken,
    /// The bus takes no records until somebody mends its topic, its rights, its settings or, of the embedded one, its disk.
    BusUnusable,
    /// A consumer cannot go on with a partition until somebody decides how.
    PartitionStopped,
}

/// How much hurry there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost or refused yet: look at it today.
    Warning,
    /// Events are refused, set aside or in danger: look at it now.
    Critical,
}

/// Whether what an alert is about holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It does.
    Firing,
    /// It does not any more.
    Resolved,
}

/// What somebody has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// Whether that holds.
    pub state: AlertState,
    /// What is known about it, by name.
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

    /// The name, which never changes.
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

    /// How much hurry there is.
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

    /// One line for a person: what is, and what to do next.
    #[must_use]
    pub fn summary(self, state: AlertState) -> &'static str {
        use AlertState::{Firing, Resolved};
        match (self, state) {
            (Self::BreakerOpen, Firing) => {
                "the bus does not take records and events go to the journal: see whether the brokers run and can be reached"
            }
            (Self::BreakerOpen, Resolved) => {
                "the bus takes records again: nothing to do, the journal empties by itself"
            }
            (Self::JournalFilling, Firing) => {
                "the journal is more than 80 % full and low levels are refused: bring the bus back, or raise JOURNAL__BYTES_MAX"
            }
            (Self::JournalFilling, Resolved) => "the journal is less than 70 % full again: nothing to do",
            (Self::JournalUnwritable, Firing) => {
                "the journal cannot be written and an outage of the bus would refuse events: see the disk under DATA_DIR"
            }
            (Self::JournalUnwritable, Resolved) => "the journal can be written again: nothing to do",
            (Self::RecordsRefused, Firing) => {
                "the bus refused accepted events for ever, they are kept under journal/<n>/refused: mend the reason, then send them again"
            }
            (Self::RecordsRefused, Resolved) => {
                "the bus refused no event for ten minutes: what is under journal/<n>/refused still waits for a decision"
            }
            (Self::RefusedLogUnwritable, Firing) => {
                "records that the bus rejected permanently cannot be kept and wait in memory: export and remove journal/<n>/refused, or free its disk"
            }
            (Self::RefusedLogUnwritable, Resolved) => {
                "records that the bus rejected permanently are kept again: they wait for a decision"
            }
            (Self::DeadLetters, Firing) => {
                "records on the bus are no events that can be stored: see GET /api/dlq for what and why, mend the cause, then redrive"
            }
            (Self::DeadLetters, Resolved) => {
                "no dead letter for ten minutes: what GET /api/dlq lists still waits for a decision"
            }
            (Self::EventsLost, Firing) => {
                "accepted events are lost: see the reason, and have what was sent at that time sent again with the same ids"
            }
            (Self::EventsLost, Resolved) => "no event was lost for ten minutes: what was lost is not back",
            (Self::JournalDamaged, Firing) => {
                "a journal that was taken over has bytes that cannot be read: unless power was lost while they were written, events are lost"
            }
            (Self::JournalDamaged, Resolved) => "no journal was taken over with damage for ten minutes",
            (Self::ConservationBroken, Firing) => {
                "the accounts of accepted events do not add up, which is a defect: keep log, metrics and journal, and report it"
            }
            (Self::ConservationBroken, Resolved) => {
                "the accounts of accepted events add up again: report it nevertheless"
            }
            (Self::BusUnusable, Firing) => {
                "the bus takes no records until somebody mends its topic, rights, settings or disk: see the reason"
            }
            (Self::BusUnusable, Resolved) => "the bus takes records again: nothing to do",
            (Self::PartitionStopped, Firing) => {
                "a partition is not stored any more, because its position is not on the bus: restore a newer store, or give the lost records up"
            }
            (Self::PartitionStopped, Resolved) => "the partition is stored again: nothing to do",
        }
    }

    /// Where to read on, as a path in the repository.
    #[must_use]
    pub fn runbook(self) -> String {
        format!("docs/runbooks/{}.md", self.name())
    }
}

impl Severity {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Firing if it holds.
    #[must_use]
    pub fn of(holds: bool) -> Self {
        if holds { Self::Firing } else { Self::Resolved }
    }
}

impl Alert {
    /// An alert with no detail but its runbook.
    #[must_use]
    pub fn new(kind: AlertKind, state: AlertState) -> Self {
        Self { kind, state, details: vec![("runbook", kind.runbook())] }
    }

    /// The same alert with a further detail, of which at most [`DETAIL_BYTES_MAX`] are kept.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        let mut value = value.to_string();
        value.truncate(value.floor_char_boundary(DETAIL_BYTES_MAX));
        self.details.push((name, value));
        self
    }

    /// One line for a person: what is, and what to do next.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.kind.summary(self.state)
    }

    /// The circuit breaker has opened for this reason, or has closed again.
    #[must_use]
    pub fn breaker_open(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::BreakerOpen, state).with("reason", reason)
    }

    /// The journal is this full.
    #[must_use]
    pub fn journal_filling(state: AlertState, fill: Fill) -> Self {
        Self::new(AlertKind::JournalFilling, state)
            .with("used_bytes", fill.used_bytes)
            .with("bytes_max", fill.bytes_max)
            .with("percent", percent(fill))
    }

    /// The journal cannot be written for this reason, or could not until now.
    #[must_use]
    pub fn journal_unwritable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::JournalUnwritable, state).with("reason", reason)
    }

    /// The bus refused records for ever; partition and reason are those of one of them.
    #[must_use]
    pub fn records_refused(telling: Telling, partition: Partition, reason: &str) -> Self {
        Self::recurring(AlertKind::RecordsRefused, telling).with("partition", partition).with("reason", reason)
    }

    /// Records that the bus has rejected permanently cannot be kept for this reason, or could not until now.
    #[must_use]
    pub fn refused_log_unwritable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::RefusedLogUnwritable, state).with("reason", reason)
    }

    /// A consumer found dead letters; place and reason are those of one of them.
    #[must_use]
    pub fn dead_letters(telling: Telling, topic: &str, partition: Partition, offset: u64, reason: &str) -> Self {
        Self::recurring(AlertKind::DeadLetters, telling)
            .with("topic", topic)
            .with("partition", partition)
            .with("offset", offset)
            .with("reason", reason)
    }

    /// Accepted events are lost; partition and reason are those of some of them.
    #[must_use]
    pub fn events_lost(telling: Telling, partition: Partition, reason: &str) -> Self {
        Self::recurring(AlertKind::EventsLost, telling).with("partition", partition).with("reason", reason)
    }

    /// Bytes, which `telling` counts, of a journal that was taken over are no entries; the partition is that of some of them.
    #[must_use]
    pub fn journal_damaged(telling: Telling, partition: Partition) -> Self {
        Self::recurring(AlertKind::JournalDamaged, telling).with("partition", partition)
    }

    /// How many events of each guarantee are in the accounts once too often (positive) or once too rarely (negative).
    #[must_use]
    pub fn conservation_broken(state: AlertState, imbalances: &[(Guarantee, i128)]) -> Self {
        let broken = imbalances.iter().filter(|(_, imbalance)| *imbalance != 0);
        broken.fold(Self::new(AlertKind::ConservationBroken, state), |alert, (guarantee, imbalance)| {
            alert.with(guarantee.name(), imbalance)
        })
    }

    /// Somebody has to mend the bus, or did.
    #[must_use]
    pub fn bus_unusable(state: AlertState, reason: &str) -> Self {
        Self::new(AlertKind::BusUnusable, state).with("reason", reason)
    }

    /// A consumer goes no further in this partition.
    #[must_use]
    pub fn partition_stopped(state: AlertState, topic: &str, partition: Partition, reason: &str) -> Self {
        Self::new(AlertKind::PartitionStopped, state)
            .with("topic", topic)
            .with("partition", partition)
            .with("reason", reason)
    }

    fn recurring(kind: AlertKind, telling: Telling) -> Self {
        let alert = Self::new(kind, telling.state());
        match telling {
            Telling::Firing { new, total } => alert.with("new", new).with("total", total),
            Telling::Resolved { total } => alert.with("total", total),
        }
    }
}

fn percent(fill: Fill) -> u128 {
    (u128::from(fill.used_bytes) * 100).checked_div(u128::from(fill.bytes_max)).unwrap_or(100)
}

/// Something that holds or does not, and is told when that changes. At first it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    holds: bool,
}

impl Condition {
    /// What to tell now that it holds or does not, if anything.
    pub fn observe(&mut self, holds: bool) -> Option<AlertState> {
        (std::mem::replace(&mut self.holds, holds) != holds).then(|| AlertState::of(holds))
    }

    /// Whether it holds, as far as was told.
    #[must_use]
    pub fn holds(self) -> bool {
        self.holds
    }
}

/// Trouble that comes and goes: told when it was seen each time for [`FIRM_INTERVAL`], and when it has not been seen for
/// [`CALM_INTERVAL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Since when it has been seen each time.
    since: Option<Duration>,
    /// When it was last seen, once it was told.
    last_seen: Option<Duration>,
}

impl Trouble {
    /// What to tell now that it is seen or not, if anything. To be asked every few seconds.
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

/// A fill that is told when it passes 80 %, and again when it is below 70 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FillCondition {
    filling: Condition,
}

impl FillCondition {
    /// What to tell about this fill, if anything.
    pub fn observe(&mut self, fill: Fill) -> Option<AlertState> {
        let (used, max) = (u128::from(fill.used_bytes) * 100, u128::from(fill.bytes_max));
        // Exactly at a limit nothing changes.
        let holds = if self.filling.holds() { used >= max * RELIEVED_PERCENT } else { used > max * FILLING_PERCENT };
        self.filling.observe(holds)
    }
}

/// What to tell of something that recurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It happened.
    Firing {
        /// How often since it was told the last time.
        new: u64,
        /// How often since it began.
        total: u64,
    },
    /// It has not happened for [`QUIET_INTERVAL`].
    Resolved {
        /// How often it had happened.
        total: u64,
    },
}

impl Telling {
    /// Whether it still happens.
    #[must_use]
    pub fn state(self) -> AlertState {
        AlertState::of(matches!(self, Self::Firing { .. }))
    }
}

/// Something that happens, and may happen again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recurrence {
    /// Since when it happens; `None` while it does not.
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
    /// It happened so often. Returns what to tell, if anything.
    pub fn add(&mut self, occurrences: u64, now: Duration) -> Option<Telling> {
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
                Some(Telling::Firing { new: occurrences, total: occurrences })
            }
        }
    }

    /// What to tell now though nothing happened, if anything. To be asked every few seconds.
    pub fn due(&mut self, now: Duration) -> Option<Telling> {
        let since = self.since.as_mut()?;
        if since.untold > 0 && now.saturating_sub(since.told_at) >= REPEAT_INTERVAL {
            since.told_at = now;
            return Some(Telling::Firing { new: std::mem::take(&mut since.untold), total: since.total });
        }
        if now.saturating_sub(since.last_at) >= QUIET_INTERVAL {
            let total = since.total;
            self.since = None;
            return Some(Telling::Resolved { total });
        }
        None
    }

    /// What was not told yet, for whoever is about to end.
    pub fn rest(&mut self) -> Option<Telling> {
        let since = self.since.as_mut().filter(|since| since.untold > 0)?;
        Some(Telling::Firing { new: std::mem::take(&mut since.untold), total: since.total })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_stable_and_each_alert_says_where_to_read_on() {
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
    fn details_are_bounded_and_stay_text() {
        let long = "ä".repeat(DETAIL_BYTES_MAX);
        let alert = Alert::breaker_open(AlertState::Firing, &format!("x{long}"));
        let (_, reason) = &alert.details[1];
        assert!(reason.len() == DETAIL_BYTES_MAX - 1 && format!("x{long}").starts_with(reason.as_str()));
    }

    #[test]
    fn broken_accounts_are_told_by_guarantee() {
        let imbalances = [(Guarantee::AtMostOnce, 0), (Guarantee::AtLeastOnce, 3), (Guarantee::ExactlyOnce, -1)];
        let alert = Alert::conservation_broken(AlertState::Firing, &imbalances);
        assert_eq!(alert.details[1..], [("at-least-once", "3".to_owned()), ("exactly-once", "-1".to_owned())]);
    }

    #[test]
    fn a_fill_is_told_above_80_and_again_below_70_percent() {
        let mut condition = FillCondition::default();
        let mut observe = |used_bytes| condition.observe(Fill { used_bytes, bytes_max: 1_000 });
        let told: Vec<_> = [800, 801, 799, 900, 700, 699, 0, 750, 800, 801].map(&mut observe).into();
        let (firing, resolved) = (Some(AlertState::Firing), Some(AlertState::Resolved));
        assert_eq!(told, [None, firing, None, None, None, resolved, None, None, None, firing]);
        let full = Alert::journal_filling(AlertState::Firing, Fill { used_bytes: 5, bytes_max: 0 });
        assert_eq!(full.details[3], ("percent", "100".to_owned()));
    }

    #[test]
    fn what_recurs_is_told_at_once_then_each_minute_with_counts_and_is_over_after_ten_quiet_minutes() {
        let at = Duration::from_secs;
        let mut recurrence = Recurrence::default();
        assert_eq!(recurrence.due(at(5)), None);
        assert_eq!(recurrence.add(2, at(10)), Some(Telling::Firing { new: 2, total: 2 }));
        assert_eq!(recurrence.add(3, at(20)), None);
        assert_eq!(recurrence.due(at(69)), None);
        assert_eq!(recurrence.add(1, at(69)), None);
        assert_eq!(recurrence.due(at(70)), Some(Telling::Firing { new: 4, total: 6 }));
        assert_eq!(recurrence.due(at(668)), None);
        assert_eq!(recurrence.due(at(669)), Some(Telling::Resolved { total: 6 }));
        assert_eq!(recurrence.due(at(5_000)), None);
        assert_eq!(recurrence.add(1, at(5_000)), Some(Telling::Firing { new: 1, total: 1 }));
        assert_eq!(recurrence.rest(), None);
        assert_eq!(recurrence.add(4, at(5_001)), None);
        assert_eq!((recurrence.rest(), recurrence.rest()), (Some(Telling::Firing { new: 4, total: 5 }), None));
    }

    proptest! {
        #[test]
        fn a_condition_is_told_when_it_changes_and_only_then(observed in vec(any::<bool>(), 0..100)) {
            let mut condition = Condition::default();
            let mut before = false;
            for holds in observed {
                let expected = (holds != before).then(|| AlertState::of(holds));
                prop_assert_eq!(condition.observe(holds), expected);
                before = holds;
            }
        }

        #[test]
        fn trouble_that_lasts_is_told_once_and_is_over_after_a_minute_without_it(steps in vec((prop_oneof![0_u64..4, 0_u64..90], any::<bool>()), 1..100)) {
            let mut trouble = Trouble::default();
            let (mut now, mut last_seen, mut told) = (Duration::ZERO, Duration::ZERO, AlertState::Resolved);
            let mut since = None;
            for (seconds, seen) in steps {
                now += Duration::from_secs(seconds);
                let was = told;
                if let Some(state) = trouble.observe(seen, now) {
                    prop_assert_ne!(state, told, "told twice");
                    told = state;
                }
                if seen {
                    let firm = now - *since.get_or_insert(now) >= FIRM_INTERVAL;
                    prop_assert!(told == AlertState::Firing || !firm, "told in time");
                    prop_assert!(was == AlertState::Firing || told == AlertState::Resolved || firm, "told too early");
                    last_seen = now;
                    continue;
                }
                since = None;
                if told == AlertState::Firing {
                    prop_assert!(now - last_seen < CALM_INTERVAL, "over at last");
                } else if was == AlertState::Firing {
                    prop_assert!(now - last_seen >= CALM_INTERVAL, "not over too early");
                }
            }
        }

        #[test]
        fn a_fill_is_raised_once_and_resolved_once_however_it_wavers(
            fills in vec(0_u64..=110, 0..200),
            bytes_max in 1_u64..u64::MAX / 200,
        ) {
            let mut condition = FillCondition::default();
            let mut told = AlertState::Resolved;
            for percent in fills {
                if let Some(state) = condition.observe(Fill { used_bytes: bytes_max * percent / 100, bytes_max }) {
                    prop_assert_ne!(state, told, "told twice");
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
        fn what_recurs_is_told_rarely_and_completely(steps in vec((0_u64..200, 0_u64..4), 1..200)) {
            let mut recurrence = Recurrence::default();
            let mut now = Duration::ZERO;
            // Of this time that it happens: what was added and told, when it was told and when it happened last.
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
                    Some(Telling::Firing { new, total }) => {
                        prop_assert!(new > 0 && told_at.is_none_or(|told_at| now - told_at >= REPEAT_INTERVAL));
                        told += new;
                        prop_assert_eq!((total, told), (added, added), "nothing is left out");
                        told_at = Some(now);
                    }
                    Some(Telling::Resolved { total }) => {
                        prop_assert!(told_at.is_some() && occurrences == 0 && now - last_at >= QUIET_INTERVAL);
                        prop_assert_eq!((total, told), (added, added));
                        (added, told, told_at) = (0, 0, None);
                    }
                    None => {
                        let waits = told_at.is_some_and(|told_at| now - told_at < REPEAT_INTERVAL);
                        prop_assert!(added == told || waits, "told at last");
                        prop_assert!(told_at.is_none() || now - last_at < QUIET_INTERVAL || waits, "over at last");
                    }
                }
            }
        }
    }
}
