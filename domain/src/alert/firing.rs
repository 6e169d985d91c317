//! The alerts that hold now, from the reports of their beginnings and ends.
//!
//! Constraints and invariants:
//! * There is one entry per kind; of [`AlertKind::PartitionStopped`], which concerns one partition, one per partition.
//! * An entry ends when everything that reported its beginning has reported its end.
//! * At most [`PARTITIONS_MAX`] stopped partitions are kept; the others are counted.

use super::{Alert, AlertKind, AlertState};
use crate::timestamp::Timestamp;

/// Maximum number of stopped partitions that are kept.
pub const PARTITIONS_MAX: usize = 16;

/// An alert that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringAlert {
    /// The last report of it.
    pub alert: Alert,
    /// When it began.
    pub since: Timestamp,
    /// When it was last reported: later than `since` for an incident that recurs.
    pub last_at: Timestamp,
    /// How many watchers see it.
    watchers: u32,
}

/// The alerts of a process that hold now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiringAlerts {
    firing: Vec<FiringAlert>,
    left_out: u64,
}

impl FiringAlerts {
    /// Records a report.
    pub fn observe(&mut self, alert: &Alert, now: Timestamp) {
        let has_room = self.has_room(alert.kind);
        let found = self.firing.iter_mut().find(|firing| is_same(&firing.alert, alert));
        match (alert.state, found) {
            (AlertState::Firing, Some(firing)) => {
                firing.alert.clone_from(alert);
                firing.last_at = now;
                if has_several_watchers(alert.kind) {
                    firing.watchers = firing.watchers.saturating_add(1);
                }
            }
            (AlertState::Firing, None) if has_room => {
                self.firing.push(FiringAlert { alert: alert.clone(), since: now, last_at: now, watchers: 1 });
            }
            (AlertState::Firing, None) => self.left_out = self.left_out.saturating_add(1),
            (AlertState::Resolved, Some(firing)) => {
                firing.watchers = firing.watchers.saturating_sub(1);
                self.firing.retain(|firing| firing.watchers > 0);
            }
            (AlertState::Resolved, None) => self.left_out = self.left_out.saturating_sub(1),
        }
    }

    /// The alerts, in the order in which they began.
    #[must_use]
    pub fn all(&self) -> &[FiringAlert] {
        &self.firing
    }

    /// How many hold besides.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Every other kind has one entry at most.
    fn has_room(&self, kind: AlertKind) -> bool {
        let of_kind = self.firing.iter().filter(|firing| firing.alert.kind == kind).count();
        kind != AlertKind::PartitionStopped || of_kind < PARTITIONS_MAX
    }
}

/// Whether two reports are about the same.
fn is_same(one: &Alert, other: &Alert) -> bool {
    let subject = |alert: &Alert, name: &str| {
        let detail = alert.details.iter().find(|(of, _)| *of == name);
        detail.map(|(_, value)| value.clone())
    };
    one.kind == other.kind
        && (one.kind != AlertKind::PartitionStopped
            || ["topic", "partition"].iter().all(|name| subject(one, name) == subject(other, name)))
}

/// Whether several parts of a process report an alert of this kind, each of them its beginning and its end in turn:
/// one watcher per listener, or one of the bus and one of its client.
fn has_several_watchers(kind: AlertKind) -> bool {
    matches!(kind, AlertKind::TlsCertificateUnusable | AlertKind::BusUnusable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::AlertUpdate;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000).expect("in range")
    }

    fn names(alerts: &FiringAlerts) -> Vec<&'static str> {
        alerts.all().iter().map(|firing| firing.alert.kind.name()).collect()
    }

    #[test]
    fn an_alert_holds_from_its_beginning_to_its_end() {
        let mut alerts = FiringAlerts::default();
        alerts.observe(&Alert::breaker_open(AlertState::Firing, "away"), at(1));
        alerts.observe(&Alert::keys_unusable(AlertState::Firing, "broken"), at(2));
        assert_eq!(names(&alerts), ["breaker_open", "keys_unusable"]);
        assert_eq!(alerts.all().first().map(|firing| firing.since), Some(at(1)));
        alerts.observe(&Alert::breaker_open(AlertState::Resolved, "away"), at(3));
        assert_eq!(names(&alerts), ["keys_unusable"]);
        alerts.observe(&Alert::keys_unusable(AlertState::Resolved, "broken"), at(4));
        assert_eq!(alerts, FiringAlerts::default());
    }

    #[test]
    fn a_recurring_incident_is_one_alert_with_the_last_details() {
        let mut alerts = FiringAlerts::default();
        let letters = |total| {
            Alert::dead_letters(AlertUpdate::Firing { new: 1, total }, "logs", 0, total, &format!("reason {total}"))
        };
        alerts.observe(&letters(1), at(1));
        alerts.observe(&letters(2), at(90));
        let [firing] = alerts.all() else { panic!("{alerts:?}") };
        assert_eq!((firing.since, firing.last_at, &firing.alert), (at(1), at(90), &letters(2)));
        alerts.observe(&Alert::dead_letters(AlertUpdate::Resolved { total: 2 }, "logs", 0, 2, "reason 2"), at(700));
        assert!(alerts.all().is_empty());
    }

    #[test]
    fn an_alert_with_several_watchers_ends_with_the_last_of_them() {
        let mut alerts = FiringAlerts::default();
        for reason in ["gateway", "producer"] {
            alerts.observe(&Alert::tls_certificate_unusable(AlertState::Firing, reason), at(1));
        }
        alerts.observe(&Alert::tls_certificate_unusable(AlertState::Resolved, "gateway"), at(2));
        assert_eq!(names(&alerts), ["tls_certificate_unusable"]);
        alerts.observe(&Alert::tls_certificate_unusable(AlertState::Resolved, "producer"), at(3));
        assert!(alerts.all().is_empty());
    }

    proptest! {
        #[test]
        fn stopped_partitions_are_all_kept_or_counted(stopped in 0_u32..64, resumed in 0_u32..64) {
            let mut alerts = FiringAlerts::default();
            let stop = |state, partition| Alert::partition_stopped(state, "logs", partition, "gone");
            for partition in 0..stopped {
                alerts.observe(&stop(AlertState::Firing, partition), at(1));
            }
            let count = |alerts: &FiringAlerts| alerts.all().len() as u64 + alerts.left_out();
            prop_assert!(alerts.all().len() <= PARTITIONS_MAX);
            prop_assert_eq!(count(&alerts), u64::from(stopped));
            let resumed = resumed.min(stopped);
            for partition in 0..resumed {
                alerts.observe(&stop(AlertState::Resolved, partition), at(2));
            }
            prop_assert_eq!(count(&alerts), u64::from(stopped - resumed));
        }
    }
}
