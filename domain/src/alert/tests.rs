//! Tests of alerts, and of when they are reported.

use std::collections::HashSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    Alert, AlertKind, AlertState, AlertUpdate, CALM_INTERVAL, Condition, DETAIL_BYTES_MAX, FIRM_INTERVAL,
    FillCondition, QUIET_INTERVAL, REPEAT_INTERVAL, Recurrence, Trouble,
};
use crate::admission::Usage;
use crate::delivery::Guarantee;

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
            "segment_unreadable",
            "keys_unusable",
            "tls_certificate_unusable",
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
