use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::access::SourcePattern;
use crate::filter::Pattern;

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn query(filter: EventFilter, minutes: u64, by: GroupBy) -> StatsQuery {
    StatsQuery { filter, interval: Duration::from_secs(60 * minutes), by, time_max: None }
}

fn event(micros: i64, level: u8, source: &str) -> LogEvent<'_> {
    let level = Level::from_number(i64::from(level)).expect("a level");
    LogEvent { timestamp: time(micros), ..event_of(level, source) }
}

#[test]
fn edges_are_the_rest_of_the_first_and_the_last_minute() {
    const M: i64 = MINUTE_MICROS;
    for (from, to, minutes, edges) in [
        (0, M - 1, Some(0..=0), vec![]),
        (0, M - 2, None, vec![]),
        (1, M, Some(0..=1), vec![(0, 0), (M + 1, 2 * M - 1)]),
        (-1, 2 * M, Some(-1..=2), vec![(-M, -2), (2 * M + 1, 3 * M - 1)]),
        (-M, -1, Some(-1..=-1), vec![]),
        (5, 1, None, vec![]),
    ] {
        let filter = Condition::Time(TimeField::Timestamp, time(from)..=time(to)).into();
        let query = query(filter, 1, GroupBy::Level);
        let rollups = query.rollups();
        assert_eq!(rollups.as_ref().map(|rollups| rollups.minutes.clone()), minutes, "{from} {to}");
        let edges: Vec<_> = edges.into_iter().map(|(from, to)| time(from)..=time(to)).collect();
        assert_eq!(rollups.map_or(Vec::new(), |rollups| rollups.edges), edges, "{from} {to}");
    }
    let all = query(EventFilter::default(), 1, GroupBy::Level);
    let all = all.rollups().expect("longer than a minute");
    assert_eq!((*all.minutes.start(), *all.minutes.end()), (minute_of(Timestamp::MIN), minute_of(Timestamp::MAX)));
    assert_eq!(all.edges, []);
}

#[test]
fn rollups_answer_only_what_they_know() {
    let source = || EventFilter::from(Condition::Source(Pattern::new(&["sh", ""])));
    let levels = || EventFilter::levels([Level::Warn]);
    let of_time = |field| EventFilter::from(Condition::Time(field, time(0)..=time(200 * MINUTE_MICROS)));
    let timestamp = || of_time(TimeField::Timestamp);
    for (filter, asks_for_sources) in [
        (EventFilter::default(), Some(false)),
        (timestamp().and(levels()), Some(false)),
        (timestamp().and(EventFilter::All(vec![timestamp(), !levels()])), Some(false)),
        (timestamp().and(EventFilter::source("shop")), Some(true)),
        (EventFilter::Any(vec![levels(), source()]), Some(true)),
        (!EventFilter::Any(vec![!source(), EventFilter::source("shop")]), Some(true)),
        (EventFilter::within(&Vec::<SourcePattern>::new().into()), Some(true)),
        (timestamp().and(EventFilter::message("m")), None),
        (timestamp().and(!timestamp()), None),
        (EventFilter::Any(vec![timestamp(), levels()]), None),
        (of_time(TimeField::ReceivedAt), None),
        (EventFilter::trace([1; 16]), None),
    ] {
        let query = query(filter, 1, GroupBy::Level);
        assert_eq!(query.rollups().map(|rollups| rollups.asks_for_sources), asks_for_sources, "{query:?}");
    }
    let mut asked = query(EventFilter::default(), 1, GroupBy::Source);
    assert!(asked.rollups().is_some_and(|rollups| rollups.asks_for_sources));
    asked.interval = Duration::from_secs(90);
    assert_eq!(asked.rollups(), None);
    for by in [GroupBy::TraceId, GroupBy::Metadata("a".to_owned())] {
        assert_eq!(query(EventFilter::default(), 1, by).rollups(), None);
    }
}

#[test]
fn sources_beyond_the_limit_count_as_others_on_their_day() {
    let names: Vec<String> = (0..=ROLLUP_SOURCES_MAX).map(|n| format!("{n:05}")).collect();
    let mut sources = RollupSources::default();
    let mut others = |day: i64, names: &[String]| {
        let mut rollups = Rollups::default();
        names.iter().for_each(|name| rollups.add(time(0), Level::Info, name));
        rollups.limit_sources(time(day * DAY_MICROS), &mut sources);
        assert!(rollups.as_slice().is_sorted_by_key(Rollup::key));
        assert_eq!(rollups.as_slice().iter().map(|rollup| rollup.events).sum::<u64>(), names.len() as u64);
        rollups
            .as_slice()
            .iter()
            .filter(|rollup| rollup.source == OTHER_SOURCES)
            .map(|rollup| rollup.events)
            .sum::<u64>()
    };
    let beyond = &names[ROLLUP_SOURCES_MAX..];
    assert_eq!([others(0, &names), others(0, &names), others(0, beyond)], [1, 1, 1]);
    assert_eq!(others(1, beyond), 0, "another day");
    assert_eq!(others(0, beyond), 1, "the day before is still known");
    for day in 2..2 + DAYS_MAX as i64 {
        assert_eq!(others(day, beyond), 0);
    }
    assert_eq!(others(0, beyond), 0, "it is not known any longer");
}

fn any_events() -> impl Strategy<Value = Vec<(i64, u8, String)>> {
    proptest::collection::vec((-300_000_000_i64..300_000_000, 0_u8..6, "[ab]"), 0..60)
}

proptest! {
    #[test]
    fn rollups_count_each_event_once_in_order(events in any_events()) {
        let events: Vec<LogEvent<'_>> =
            events.iter().map(|(micros, level, source)| event(*micros, *level, source)).collect();
        let mut expected = BTreeMap::new();
        for event in &events {
            *expected.entry((minute_of(event.timestamp), event.level, &*event.source)).or_insert(0) += 1;
        }
        let rollups = Rollups::of(&events);
        let counted: Vec<_> = rollups.as_slice().iter().map(|rollup| (rollup.key(), rollup.events)).collect();
        prop_assert_eq!(counted, expected.into_iter().collect::<Vec<_>>());
    }

    /// The rule that stores apply.
    #[test]
    fn minutes_without_edges_are_all_events(
        events in any_events(),
        from in -400_000_000_i64..400_000_000,
        length in 0_i64..400_000_000,
        minutes in 1_u64..4,
        kind in 0..6,
    ) {
        let events: Vec<LogEvent<'_>> =
            events.iter().map(|(micros, level, source)| event(*micros, *level, source)).collect();
        let filter = EventFilter::between(Some(time(from)), Some(time(from + length)));
        let filter = match kind / 2 {
            0 => filter,
            1 => filter.and(!EventFilter::levels([Level::Info, Level::Fatal])),
            _ => filter.and(EventFilter::Any(vec![EventFilter::source("a"), EventFilter::levels([Level::Warn])])),
        };
        let query = query(filter, minutes, if kind % 2 == 0 { GroupBy::Level } else { GroupBy::Source });
        let mut expected = Counts::default();
        events.iter().filter(|event| query.filter.matches(event)).for_each(|event| expected.add(&query, event));
        if let Some(rollups) = query.rollups() {
            let mut counts = Counts::default();
            for rollup in Rollups::of(&events).as_slice() {
                if rollups.minutes.contains(&rollup.minute) {
                    let at = time(rollup.minute * MINUTE_MICROS);
                    rollups.count(&mut counts, at, rollup.level, rollup.source, rollup.events);
                }
            }
            let mut outside = Counts::default();
            for event in &events {
                if rollups.edges.iter().any(|edge| edge.contains(&event.timestamp)) {
                    rollups.count(&mut outside, event.timestamp, event.level, &event.source, 1);
                }
            }
            counts.subtract(&outside);
            prop_assert_eq!(counts.buckets, expected.buckets);
        } else {
            prop_assert!(length < MINUTE_MICROS - 1);
        }
    }
}
