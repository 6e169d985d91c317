//! When a condition, a fault or an incident is reported.

use std::time::Duration;

use super::kinds::AlertState;
use crate::admission::Usage;

/// Minimum interval between two reports of a recurring incident.
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// A recurring incident is over after this time without an occurrence.
pub const QUIET_INTERVAL: Duration = Duration::from_secs(600);
/// Trouble must persist this long before it is reported: some of it resolves by itself.
pub const FIRM_INTERVAL: Duration = Duration::from_secs(3);
/// An intermittent fault is over after this time without being seen.
pub const CALM_INTERVAL: Duration = Duration::from_secs(60);

/// A usage above this percentage is reported...
const FILLING_PERCENT: u128 = 80;
/// ... until it falls below this one.
const RELIEVED_PERCENT: u128 = 70;

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

/// An intermittent fault: reported once it has been seen in every observation for [`FIRM_INTERVAL`], and resolved once
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
