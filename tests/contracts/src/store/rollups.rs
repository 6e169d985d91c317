//! Counts, whatever a store reads them from ([`domain::rollup`]).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use domain::access::SourcePattern;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::{Condition, EventFilter, Pattern};
use domain::level::Level;
use domain::ports::LogStore;
use domain::rollup::ROLLUP_SOURCES_MAX;
use domain::stats::{GroupBy, StatsQuery};
use domain::timestamp::Timestamp;

use super::{Consumer, MICROSECOND, StoreSubject, counts, expire_all, group_partition, numbered};
use crate::in_time;
use crate::variety::{EPOCH, SOURCES, Seed, event, time};

const ROUNDS: usize = 9;
const QUERIES: usize = 40;
const MINUTE: i64 = 60_000_000;

/// Any time, often the first or the last microsecond of a minute, also before 1970 and at either end of all time.
fn any_timestamp(seed: &mut Seed) -> Timestamp {
    let minute = EPOCH + MINUTE * i64::try_from(seed.below(8)).unwrap_or(0);
    match seed.below(24) {
        0 => Timestamp::MIN,
        1 => Timestamp::MAX,
        2 => time(*seed.pick(&[-1, 0, 1, MINUTE - 1, -MINUTE - 1])),
        3..10 => time(minute + *seed.pick(&[-1, 0, 1])),
        _ => time(minute + i64::try_from(seed.below(60_000_000)).unwrap_or(0)),
    }
}

fn any_event(seed: &mut Seed, received_at: Timestamp) -> LogEvent<'static> {
    LogEvent {
        id_origin: if seed.one_in(2) { IdOrigin::Client } else { IdOrigin::Generated },
        source: Cow::Borrowed(*seed.pick(&SOURCES)),
        level: *seed.pick(&Level::ALL),
        timestamp: any_timestamp(seed),
        ..event(seed.id(), received_at)
    }
}

fn any_query(seed: &mut Seed) -> StatsQuery {
    let (from, to) = (any_timestamp(seed), any_timestamp(seed));
    let range = EventFilter::between((!seed.one_in(4)).then_some(from), (!seed.one_in(4)).then_some(to));
    let levels = EventFilter::levels((0..1 + seed.below(3)).map(|_| *seed.pick(&Level::ALL)));
    let source = EventFilter::source(SOURCES[seed.below(SOURCES.len())]);
    let filter = range.and(match seed.below(10) {
        0 => levels,
        1 => !levels,
        2 => source,
        3 => Condition::Source(Pattern::new(&["SH", ""])).into(),
        4 => EventFilter::Any(vec![levels, source]),
        5 => {
            let patterns: Vec<SourcePattern> = ["sh*", "it's"].map(|text| text.parse().expect("a pattern")).into();
            EventFilter::within(&patterns.into())
        }
        _ => EventFilter::default(),
    });
    StatsQuery {
        filter,
        interval: Duration::from_secs(*seed.pick(&[60, 120, 300, 3_600, 86_400 * 365, 7])),
        by: if seed.one_in(2) { GroupBy::Level } else { GroupBy::Source },
        time_max: None,
    }
}

/// Asserts that the answer is that of the rule. Returns the number of its buckets.
async fn assert_counts(store: &dyn LogStore, events: &[LogEvent<'static>], query: &StatsQuery) -> usize {
    let expected = counts(events, query);
    let counted = in_time("stats", store.stats(query)).await.expect("the store answers");
    assert_eq!(counted, expected, "{query:?}");
    expected.buckets.len()
}

/// Any request for counts has the answer of the rule, and so has the same request with a condition that is always true and that
/// rollups do not know: after appends with and without repeats, and after expiry, which some events arrive behind.
pub async fn counts_are_exact_whatever_they_are_read_from(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(25);
    // As in the checks of expiry.
    let step = i64::try_from(subject.expiry_unit().max(MICROSECOND).as_micros()).expect("a short unit");
    let start = EPOCH.div_euclid(step) * step;
    let received = |steps: usize| time(start + step * i64::try_from(steps).unwrap_or(0));
    let mut consumers = [0, 1].map(|partition| Consumer::of(&*store, group_partition(partition)));
    let mut kept: Vec<LogEvent<'static>> = Vec::new();
    let (mut from_rollups, mut from_rows) = (0, 0);
    for round in 0..ROUNDS {
        let new: Vec<LogEvent<'static>> = (0..40)
            .map(|_| {
                let steps = seed.below(6);
                any_event(&mut seed, received(steps))
            })
            .collect();
        let mut events = new.clone();
        kept.extend(new);
        if round % 2 == 1 {
            events.extend((0..20).map(|_| seed.pick(&kept).clone()));
        }
        assert_eq!(consumers[round % 2].append(events).await.stored, 40, "all others are repeats");
        if round % 3 == 2 {
            let oldest = received(1 + round / 3);
            expire_all(&*store, oldest).await;
            kept.retain(|event| event.received_at >= oldest);
        }
        for _ in 0..QUERIES {
            let query = any_query(&mut seed);
            let buckets = assert_counts(&*store, &kept, &query).await;
            let rows = StatsQuery { filter: query.filter.clone().and(EventFilter::message("")), ..query.clone() };
            assert_eq!(rows.rollups(), None, "the condition is not one of rollups");
            assert_counts(&*store, &kept, &rows).await;
            let by = if query.rollups().is_some() { &mut from_rollups } else { &mut from_rows };
            *by += usize::from(buckets > 0);
        }
    }
    assert!(from_rollups > 100 && from_rows > 10, "{from_rollups} from rollups, {from_rows} from rows: no variety");
}

/// Sources that are not kept apart are counted, by level and each by itself, and removed.
pub async fn counts_are_exact_with_more_sources_than_rollups_keep_apart(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let events: Vec<LogEvent<'static>> = (0..)
        .take(ROLLUP_SOURCES_MAX + 50)
        .map(|n: u32| LogEvent {
            source: Cow::Owned(format!("source-{n}")),
            level: if n.is_multiple_of(3) { Level::Warn } else { Level::Info },
            timestamp: time(EPOCH + 10_000 * i64::from(n)),
            received_at: time(EPOCH),
            ..numbered(n)
        })
        .collect();
    for events in events.chunks(2_500) {
        consumer.append(events.to_vec()).await;
    }
    let last = events.last().map(|event| EventFilter::source(&event.source)).expect("an event");
    let range = EventFilter::between(Some(time(EPOCH - 1)), Some(time(EPOCH + 2 * MINUTE + 1)));
    let queries = [
        (range.clone(), GroupBy::Level),
        (range.clone(), GroupBy::Source),
        (range.clone().and(last.clone()), GroupBy::Level),
        (range.and(!last), GroupBy::Source),
    ]
    .map(|(filter, by)| StatsQuery { filter, interval: Duration::from_secs(60), by, time_max: None });
    for query in &queries {
        assert!(query.rollups().is_some() && assert_counts(&*store, &events, query).await > 0, "{query:?}");
    }
    expire_all(&*store, Timestamp::MAX).await;
    for query in &queries {
        assert_eq!(assert_counts(&*store, &[], query).await, 0, "{query:?}");
    }
    consumer.append(events.iter().take(1).cloned()).await;
    for query in &queries {
        assert_counts(&*store, &events[..1], query).await;
    }
}

/// Partitions append events of one minute, level and source at once: none waits until it gives up, and each event is counted.
pub async fn counts_of_partitions_that_append_at_once_are_exact(subject: &impl StoreSubject) {
    const APPENDS: u32 = 10;
    const EVENTS: u32 = 20;
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let events_of = |partition: u32| (0..APPENDS * EVENTS).map(move |n| numbered(partition * APPENDS * EVENTS + n));
    let appending = |partition: u32| {
        let store = Arc::clone(&store);
        async move {
            let mut consumer = Consumer::of(&*store, group_partition(partition));
            let events: Vec<_> = events_of(partition).collect();
            for events in events.chunks(EVENTS as usize) {
                consumer.append(events.to_vec()).await;
            }
        }
    };
    tokio::join!(appending(0), appending(1), appending(2), appending(3));
    let events: Vec<_> = (0..4).flat_map(events_of).collect();
    for by in [GroupBy::Level, GroupBy::Source] {
        let query =
            StatsQuery { filter: EventFilter::default(), interval: Duration::from_secs(60), by, time_max: None };
        assert_eq!(assert_counts(&*store, &events, &query).await, 1);
    }
}
