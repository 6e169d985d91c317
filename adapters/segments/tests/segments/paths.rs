//! Columns for names of metadata.

use domain::filter::{Condition, EventFilter, Literal, Pattern, ValueTest};
use domain::metadata::Metadata;
use domain::query::{LogQuery, StoredEvent};
use domain::stats::{Counts, GroupBy, StatsQuery};
use segments::{count, search, verify};

use crate::*;

/// Values of every kind, of which some are equal without being the same.
const VALUES: [&str; 15] = [
    "12345",
    "\"12345\"",
    "1.2345e4",
    "\"1.2345e4\"",
    "12345.0",
    "[12345,\"x\"]",
    "null",
    "{\"id\":12345}",
    "true",
    "\"TRUE\"",
    "\"\"",
    "\"stra\u{df}e\"",
    "\"stra\\u00dfe\"",
    "-0.0",
    "0",
];
const LITERALS: [&str; 11] = ["12345", "1.2345e4", "123*", "*", "true", "null", "", "STRASSE", "0", "500", "x"];
/// A name with a dot is written in one way, in another, or in both.
const STATUSES: [&[&str]; 4] = [
    &[r#""http.status":500"#, r#""http.status":"500""#, r#""http.status":{"id":500},"x":{"y":1}"#],
    &[r#""http":{"status":500}"#, r#""http":{"status":"x"}"#, r#""http":{"status":[500,"x"]}"#],
    &[r#""http.status":500"#, r#""http":{"status":500}"#, r#""http":{"status":503},"http.status":500"#],
    &[
        r#""http.status":500"#,
        r#""http.status":null,"http":{"status":500}"#,
        r#""http.status":{"id":1},"http":{"status":500}"#,
    ],
];

fn events_with(json: impl Fn(usize) -> String, count: usize) -> Vec<StoredEvent> {
    let mut events: Vec<StoredEvent> = (0..count as u64).map(|n| plain(n, format!("event {n}"))).collect();
    for (n, stored) in events.iter_mut().enumerate() {
        stored.event.metadata = Some(Metadata::parse(&json(n)).expect("JSON").into_owned());
    }
    events
}

/// The frequent ones have columns, whatever characters they have, but not ids.
#[test]
fn frequent_names_of_metadata_have_columns() {
    let files = Files::new();
    let json = |n: usize| {
        let rare = if n.is_multiple_of(8) { ",\"rare\":1" } else { "" };
        let ids = format!("\"request\":\"{:012x}\",\"host\":\"node-{:012}\"", n * 7_919, n % 5);
        format!("{{\"user\":{{\"id\":{n}}},\"a (b).c\":\"x\",\"tags\":[1],\"none\":null,{ids}{rare}}}")
    };
    let events = events_with(json, 40);
    let summary = files.write("segment", &events, SMALL);
    verify(files.storage.as_ref(), &summary).expect("it is whole");
    let segment = files.open(&summary);
    assert_eq!(segment.path_columns(), ["metadata.a (b).c", "metadata.host", "metadata.user.id"]);
    let query = LogQuery::newest(EventFilter::default(), 40);
    assert_eq!(search(&[segment], &query, NEVER).expect("it is read"), reference(&events, &query));
}

/// Searches and counts leave out rows by these columns, and decide as if there were none.
#[test]
fn columns_for_names_change_neither_searches_nor_counts() {
    let files = Files::new();
    let long = format!("\"{}\"", "12345".repeat(400));
    let values: Vec<&str> = VALUES.into_iter().chain([long.as_str()]).collect();
    let mut found = 0;
    for (n, statuses) in STATUSES.into_iter().enumerate() {
        let json = |n: usize| format!("{{\"userId\":{},{}}}", values[n % values.len()], statuses[n % statuses.len()]);
        let events = events_with(json, 4 * values.len());
        let segments = in_segments(&files, &events, &n.to_string());
        assert!(segments.iter().all(|segment| segment.path_columns().len() >= 2));
        let merged = merge(&segments, files.storage.as_ref(), &format!("{n}-merged"), NEVER);
        let merged = [files.open(&merged.expect("it is read").expect("it has rows"))];
        found += compare(&segments, &events) + compare(&merged, &events);
    }
    assert!(found > 20_000, "the filters must find something: {found}");
}

/// Compares searches and counts by names with a full scan. Returns how many events were found.
fn compare(segments: &[Arc<Segment>], events: &[StoredEvent]) -> usize {
    let names = ["userId", "http.status", "http", "userId.id", "absent"];
    let mut found = 0;
    for (name, literal) in names.into_iter().flat_map(|name| LITERALS.map(|literal| (name, literal))) {
        for text_only in [false, true] {
            let pattern = Pattern::new(&literal.split('*').collect::<Vec<_>>());
            let test = ValueTest::Equals(Literal { pattern, text_only });
            let equals = EventFilter::from(Condition::Metadata { name: name.to_owned(), test });
            let or = EventFilter::Any(vec![equals.clone(), EventFilter::message("7")]);
            for filter in [equals.clone(), !equals.clone(), or, equals.and(EventFilter::message("1"))] {
                let query = LogQuery::newest(filter.clone(), 200);
                let page = search(segments, &query, NEVER).expect("it is read");
                assert_eq!(page, reference(events, &query), "{query:?}");
                found += page.items.len();
            }
        }
    }
    let filters = [EventFilter::default(), EventFilter::message("1")];
    for (name, filter) in names.into_iter().flat_map(|name| filters.clone().map(|filter| (name, filter))) {
        let by = GroupBy::Metadata(name.to_owned());
        let query = StatsQuery { filter, interval: Duration::from_secs(60), by, time_max: None };
        let (mut expected, mut counts) = (Counts::default(), Counts::default());
        let matching = events.iter().filter(|stored| query.filter.matches(&stored.event));
        matching.for_each(|stored| expected.add(&query, &stored.event));
        count(segments, &query, &mut counts, NEVER).expect("it is read");
        assert_eq!(counts.buckets, expected.buckets, "{query:?}");
    }
    found
}
