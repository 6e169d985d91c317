//! Segments against a full scan by the rule, and against damage.

#![cfg(test)]

mod paths;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use contracts::search::events_and_filters;
use domain::Uuid;
use domain::access::TenantId;
use domain::event::{IdOrigin, LogEvent, TEXT_BYTES_MAX};
use domain::filter::{Condition, EventFilter, Pattern, TimeField};
use domain::metadata::{METADATA_BYTES_MAX, Metadata};
use domain::query::{
    Direction, LogQuery, Order, PAGE_BYTES_MAX, Page, PageFilling, PageKey, StoredEvent, TAIL_BYTES_MAX, TailQuery,
    Ties,
};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use segments::{
    GROUP_BYTES_MAX, KnownId, PageSearch, Row, Segment, SegmentBounds, SegmentError, SegmentSummary, SegmentWriter,
    TailSearch, TimeIsUp, count, find, for_each_event, known, merge, search, verify,
};
use storage::{Directory, Storage};

/// So small that a few events fill several row groups and blocks.
const SMALL: SegmentBounds = SegmentBounds {
    rows_max: 120,
    file_bytes_max: u64::MAX,
    group_rows_max: 24,
    group_bytes_max: 8_192,
    block_rows: 7,
};
const NEVER: TimeIsUp<'_> = &|| false;

struct Files {
    directory: tempfile::TempDir,
    storage: Arc<dyn Storage>,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Arc::new(Directory::open(directory.path()).expect("it opens"));
        Self { directory, storage }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, events: &[StoredEvent], bounds: SegmentBounds) -> SegmentSummary {
        let mut writer = SegmentWriter::create(Arc::clone(&self.storage), name, bounds).expect("it is created");
        for stored in events {
            writer.push(&row(stored)).expect("it is written");
        }
        writer.finish().expect("it is finished").expect("it has rows")
    }

    fn open(&self, summary: &SegmentSummary) -> Arc<Segment> {
        Arc::new(Segment::open(self.storage.as_ref(), summary).expect("it opens"))
    }
}

fn row(stored: &StoredEvent) -> Row<'_> {
    let StoredEvent { event, topic, partition, offset } = stored;
    Row { sequence: offset * 2, event, topic, partition: *partition, offset: *offset }
}

fn stored(events: Vec<LogEvent<'static>>) -> Vec<StoredEvent> {
    let store = |(offset, event)| StoredEvent { event, topic: "logs".to_owned(), partition: offset as u32 % 3, offset };
    (0..).zip(events).map(store).collect()
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

/// The page that a scan of all events finds.
fn reference(events: &[StoredEvent], query: &LogQuery) -> Page<StoredEvent> {
    let after = |event: &StoredEvent| {
        query.after.as_ref().is_none_or(|after| query.order.compare(after, &PageKey::from(event)).is_lt())
    };
    let mut matching: Vec<&StoredEvent> =
        events.iter().filter(|stored| query.filter.matches(&stored.event) && after(stored)).collect();
    matching.sort_by(|one, other| query.order.compare(&PageKey::from(*one), &PageKey::from(*other)));
    let mut page = PageFilling::new(query.limit, PAGE_BYTES_MAX);
    let _ = matching.into_iter().any(|event| page.take(event.bytes(), event.clone()));
    page.page
}

/// All orders of pages.
fn orders() -> impl Iterator<Item = Order> {
    [Direction::NewestFirst, Direction::OldestFirst]
        .into_iter()
        .flat_map(|direction| [Ties::EventId, Ties::Arrival].map(|ties| Order { direction, ties }))
}

/// The events in a few segments, of which some overlap in time.
fn in_segments(files: &Files, events: &[StoredEvent], prefix: &str) -> Vec<Arc<Segment>> {
    let parts = events.chunks(60).enumerate();
    parts.map(|(n, part)| files.open(&files.write(&format!("{prefix}{n}"), part, SMALL))).collect()
}

#[test]
fn a_search_finds_what_a_full_scan_by_the_rule_finds() {
    let files = Files::new();
    for seed in 0..3 {
        let (events, filters) = events_and_filters(seed, 160, 60);
        let events = stored(events);
        let segments = in_segments(&files, &events, &format!("{seed}-"));
        let mut found = 0;
        for (n, filter) in filters.into_iter().enumerate() {
            let order = orders().nth(n % 4).expect("there are four");
            let mut query = LogQuery { filter, order, after: None, limit: 5 + (n as u32 * 7) % 40, time_max: None };
            loop {
                let page = search(&segments, &query, NEVER).expect("it is read");
                assert_eq!(page, reference(&events, &query), "seed {seed}: {query:?}");
                found += page.items.len();
                let Some(next) = page.next() else { break };
                query.after = Some(next);
            }
        }
        assert!(found > 2_000, "the filters must find something: {found}");
    }
}

#[test]
fn counts_are_those_of_a_full_scan() {
    let files = Files::new();
    for seed in 0..2 {
        let (events, filters) = events_and_filters(seed, 160, 24);
        let events = stored(events);
        let segments = in_segments(&files, &events, &format!("{seed}-"));
        let first = events.iter().map(|stored| stored.event.timestamp).min().expect("there are events");
        for (n, filter) in filters.into_iter().enumerate() {
            let from = first.unix_micros() - first.unix_micros().rem_euclid(60_000_000) + [0, 0, 3_000_001][n % 3];
            let to = from + [60_000_000, 7_200_000_000, 61_000_000][n / 3 % 3] - 1;
            let range = Condition::Time(TimeField::Timestamp, time(from)..=time(to));
            let simple = [EventFilter::default(), EventFilter::source("shop"), filter];
            let by = [GroupBy::Level, GroupBy::Source, GroupBy::TraceId, GroupBy::Metadata("userId".to_owned())];
            for filter in simple {
                let filter = EventFilter::from(range.clone()).and(filter);
                for by in by.clone() {
                    let interval = Duration::from_secs([60, 1, 300][n % 3]);
                    let query = StatsQuery { filter: filter.clone(), interval, by, time_max: None };
                    let mut expected = Counts::default();
                    for stored in events.iter().filter(|stored| query.filter.matches(&stored.event)) {
                        expected.add(&query, &stored.event);
                    }
                    let mut counts = Counts::default();
                    count(&segments, &query, &mut counts, NEVER).expect("it is read");
                    assert_eq!(counts.buckets, expected.buckets, "seed {seed}: {query:?}");
                }
            }
        }
    }
}

#[test]
fn every_event_is_found_by_its_id_and_others_are_not() {
    let files = Files::new();
    let events = stored(events_and_filters(7, 150, 0).0);
    let segments = in_segments(&files, &events, "");
    for stored in &events {
        assert_eq!(find(&segments, stored.event.event_id).expect("it is read"), std::slice::from_ref(stored));
    }
    assert_eq!(find(&segments, Uuid::from_u128(1)).expect("it is read"), []);
}

#[test]
fn a_tail_finds_the_matching_events_of_a_range_in_the_order_of_their_sequence_numbers() {
    let files = Files::new();
    let (events, filters) = events_and_filters(12, 160, 60);
    let events = stored(events);
    let segments = in_segments(&files, &events, "");
    let mut found = 0;
    for (n, filter) in filters.into_iter().enumerate() {
        let range = n as u64 * 3..=n as u64 * 3 + 150;
        let query = TailQuery { filter, after: None, limit: 1 + n as u32 % 20 };
        let mut search = TailSearch::new(query.clone(), range.clone());
        for segment in &segments {
            search.scan(std::slice::from_ref(segment), NEVER).expect("it is read");
        }
        let mut expected = PageFilling::new(query.limit, TAIL_BYTES_MAX);
        let sequences = events.iter().map(|stored| (stored.offset * 2, stored));
        let _ = sequences
            .filter(|(sequence, stored)| range.contains(sequence) && query.filter.matches(&stored.event))
            .any(|(sequence, stored)| expected.take(stored.bytes(), (sequence, stored.clone())));
        found += expected.page.items.len();
        assert_eq!(search.page(), expected.page, "{query:?}");
    }
    assert!(found > 100, "the filters must find something: {found}");
}

/// Rows that are in no segment yet take part in a page, and say which segments it needs.
#[test]
fn a_page_of_offered_events_and_segments_is_that_of_all_events() {
    let files = Files::new();
    let (events, filters) = events_and_filters(13, 160, 60);
    let events = stored(events);
    let (sealed, rows) = events.split_at(120);
    let segments = in_segments(&files, sealed, "");
    for (n, filter) in filters.into_iter().enumerate() {
        let order = orders().nth(n % 4).expect("there are four");
        let query = LogQuery { order, ..LogQuery::newest(filter, 1 + n as u32 % 20) };
        let mut search = PageSearch::new(query.clone());
        rows.iter()
            .filter(|stored| query.filter.matches(&stored.event))
            .for_each(|stored| search.offer(stored.clone()));
        let expected = reference(&events, &query);
        let spans = segments.iter().map(|segment| segment.summary().timestamps);
        if search.holds_page(spans) {
            let mut page = PageSearch::new(query.clone());
            rows.iter().filter(|row| query.filter.matches(&row.event)).for_each(|row| page.offer(row.clone()));
            assert_eq!(page.page().items, expected.items, "{query:?}");
        }
        for segment in segments.iter().filter(|segment| search.needs(segment.summary().timestamps)).collect::<Vec<_>>()
        {
            search.scan(std::slice::from_ref(segment), NEVER).expect("it is read");
        }
        assert_eq!(search.page(), expected, "{query:?}");
    }
}

#[test]
fn a_segment_knows_its_ids_and_tells_all_of_its_events() {
    let files = Files::new();
    let mut events = stored(events_and_filters(14, 100, 0).0);
    let tenant = TenantId::of_name("shop");
    for stored in events.iter_mut().step_by(3) {
        stored.event.id_origin = IdOrigin::Tenant(tenant);
    }
    let segment = files.open(&files.write("segment", &events, SMALL));
    let wanted: Vec<&StoredEvent> = events.iter().step_by(5).collect();
    let ids: HashSet<Uuid> = wanted.iter().map(|stored| stored.event.event_id).chain([Uuid::from_u128(1)]).collect();
    let mut found = known(&segment, &ids).expect("it is read");
    found.sort_by_key(|known| known.event_id);
    let mut expected: Vec<KnownId> = wanted
        .iter()
        .map(|StoredEvent { event, .. }| KnownId {
            event_id: event.event_id,
            tenant: event.id_origin.tenant(),
            received_at: event.received_at,
        })
        .collect();
    expected.sort_by_key(|known| known.event_id);
    assert_eq!(found, expected);

    let mut sequences = Vec::new();
    for_each_event::<SegmentError>(&segment, |sequence, stored| {
        assert_eq!(sequence, stored.offset * 2);
        sequences.push(sequence);
        Ok(())
    })
    .expect("it is read");
    sequences.sort_unstable();
    assert_eq!(sequences, (0..100).map(|n| n * 2).collect::<Vec<u64>>());
}

#[test]
fn a_merged_segment_has_the_rows_of_the_others() {
    let files = Files::new();
    let (events, filters) = events_and_filters(8, 300, 100);
    let events = stored(events);
    let segments = in_segments(&files, &events, "part");
    let summary = merge(&segments, files.storage.as_ref(), "merged", NEVER).expect("they are merged");
    let summary = summary.expect("there are rows");
    verify(files.storage.as_ref(), &summary).expect("it is whole");
    assert_eq!((summary.rows, summary.sequences), (300, (0, 598)));
    assert_eq!(summary.text_bytes, segments.iter().map(|segment| segment.summary().text_bytes).sum::<u64>());
    let merged = [files.open(&summary)];
    for filter in filters {
        let query = LogQuery::newest(filter, 50);
        assert_eq!(search(&merged, &query, NEVER).expect("it is read"), reference(&events, &query));
    }
    // The order of time keeps blocks narrow: the newest event needs none but the last one.
    let too_many = vec![Arc::clone(&segments[0]); segments::MERGE_SEGMENTS_MAX + 1];
    let refused = merge(&too_many, files.storage.as_ref(), "refused", NEVER);
    assert!(matches!(refused, Err(SegmentError::Refused { .. })) && !files.path("refused").exists());
}

/// Everything that a few queries answer.
#[derive(Debug, PartialEq)]
struct Answers(Vec<Page<StoredEvent>>, Counts);

fn answers(files: &Files, summary: &SegmentSummary, filters: &[EventFilter]) -> Result<Answers, SegmentError> {
    let segments = [Arc::new(Segment::open(files.storage.as_ref(), summary)?)];
    let pages = filters.iter().map(|filter| search(&segments, &LogQuery::newest(filter.clone(), 20), NEVER));
    let pages = pages.collect::<Result<_, _>>()?;
    let range = Condition::Time(TimeField::Timestamp, Timestamp::MIN..=Timestamp::MAX);
    let interval = Duration::from_secs(60);
    let query = StatsQuery { filter: range.into(), interval, by: GroupBy::Level, time_max: None };
    let mut counts = Counts::default();
    count(&segments, &query, &mut counts, NEVER)?;
    Ok(Answers(pages, counts))
}

#[test]
fn a_flipped_byte_anywhere_is_an_error_and_never_other_results() {
    let files = Files::new();
    let (events, mut filters) = events_and_filters(9, 60, 6);
    filters.push(EventFilter::default());
    filters.push(EventFilter::message("no such text"));
    let events = stored(events);
    let summary = files.write("segment", &events, SMALL);
    verify(files.storage.as_ref(), &summary).expect("it is whole");
    let expected = answers(&files, &summary, &filters).expect("it is whole");
    let path = files.path("segment");
    let whole = std::fs::read(&path).expect("it is read");
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(61).chain(whole.len() - 12..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).expect("it is written");
        match answers(&files, &summary, &filters) {
            Ok(answers) => assert_eq!(answers, expected, "byte {at}"),
            Err(SegmentError::Damaged { .. }) => noticed += 1,
            Err(error) => panic!("byte {at}: {error}"),
        }
        let verified = verify(files.storage.as_ref(), &summary);
        assert!(matches!(verified, Err(SegmentError::Damaged { .. })), "byte {at}: {verified:?}");
    }
    assert!(noticed > 50, "{noticed}");
}

#[test]
fn a_file_that_is_missing_cut_or_longer_is_an_error() {
    let files = Files::new();
    let summary = files.write("segment", &stored(events_and_filters(10, 30, 0).0), SMALL);
    let path = files.path("segment");
    let whole = std::fs::read(&path).expect("it is read");
    for bytes in [&whole[..whole.len() - 1], &whole[..100], &[], &[whole.as_slice(), &[0]].concat()] {
        std::fs::write(&path, bytes).expect("it is written");
        let opened = Segment::open(files.storage.as_ref(), &summary);
        assert!(matches!(opened, Err(SegmentError::Damaged { .. })), "{opened:?}");
    }
    std::fs::write(&path, &whole).expect("it is written");
    for (tail_offset, tail_crc) in [(0, summary.tail_crc), (u64::MAX, summary.tail_crc), (summary.tail_offset, 0)] {
        let wrong = SegmentSummary { tail_offset, tail_crc, ..summary.clone() };
        let opened = Segment::open(files.storage.as_ref(), &wrong);
        assert!(matches!(opened, Err(SegmentError::Damaged { .. })), "{opened:?}");
    }
    std::fs::remove_file(&path).expect("it is removed");
    assert!(matches!(Segment::open(files.storage.as_ref(), &summary), Err(SegmentError::Io { .. })));
}

fn plain(n: u64, message: String) -> StoredEvent {
    let mut events = stored(events_and_filters(1, 1, 0).0);
    let mut stored = events.pop().expect("one event");
    stored.event.event_id = Uuid::from_u128(u128::from(n) + 1);
    stored.event.message = message.into();
    stored.event.timestamp = time(1_705_314_600_000_000 + n as i64);
    stored.event.received_at = stored.event.timestamp;
    stored.offset = n;
    stored
}

#[test]
fn the_largest_events_are_stored_and_found() {
    let files = Files::new();
    let name = "n".repeat(1_000);
    let metadata = format!("{{\"{name}\":\"{}\"}}", "m".repeat(METADATA_BYTES_MAX - name.len() - 9));
    let metadata = Metadata::parse(&metadata).expect("it is as large as it may be").into_owned();
    let count = GROUP_BYTES_MAX / TEXT_BYTES_MAX + 3;
    let events: Vec<StoredEvent> = (0..count as u64)
        .map(|n| {
            let mut stored = plain(n, n.to_string() + &" ".repeat(TEXT_BYTES_MAX - n.to_string().len()));
            stored.event.stack_trace = Some("\u{fffd}".repeat(TEXT_BYTES_MAX / 3).into());
            stored.event.metadata = Some(metadata.clone());
            stored
        })
        .collect();
    let summary = files.write("segment", &events, SegmentBounds::default());
    verify(files.storage.as_ref(), &summary).expect("it is whole");
    let segments = [files.open(&summary)];
    for filter in
        [EventFilter::default(), EventFilter::message(" "), Condition::StackTrace(Pattern::text("\u{fffd}")).into()]
    {
        let query = LogQuery::newest(filter, 1_000);
        let page = search(&segments, &query, NEVER).expect("it is read");
        assert!(page == reference(&events, &query) && page.more, "{}", page.items.len());
    }
}

#[test]
fn a_segment_ends_at_its_bounds_and_is_of_one_day() {
    let files = Files::new();
    let day = 24 * 60 * 60 * 1_000_000;
    let bounds = SegmentBounds { rows_max: 2, ..SMALL };
    let mut writer = SegmentWriter::create(Arc::clone(&files.storage), "segment", bounds).expect("it is created");
    writer.push(&row(&plain(0, "first".to_owned()))).expect("it is written");
    let next_day = plain(day, "next day".to_owned());
    assert!(matches!(writer.push(&row(&next_day)), Err(SegmentError::Refused { .. })));
    assert!(!writer.is_full() && !writer.is_of_day(next_day.event.received_at));
    writer.push(&row(&plain(1, "second".to_owned()))).expect("it is written");
    assert!(writer.is_full());
    assert!(matches!(writer.push(&row(&plain(2, "third".to_owned()))), Err(SegmentError::Refused { .. })));
    assert_eq!(writer.finish().expect("it is finished").map(|summary| summary.rows), Some(2));
    let again = SegmentWriter::create(Arc::clone(&files.storage), "segment", bounds);
    assert!(matches!(again, Err(SegmentError::Io { .. })), "a name is used once");
    let empty = SegmentWriter::create(Arc::clone(&files.storage), "empty", bounds).expect("it is created");
    assert_eq!(empty.finish().expect("it is finished"), None);
    assert!(!files.path("empty").exists());
}

/// A timestamp far from its receipt must not make every search open the row group.
#[test]
fn unusual_timestamps_have_row_groups_of_their_own() {
    let files = Files::new();
    let mut events: Vec<StoredEvent> = (0..60).map(|n| plain(n, format!("event {n}"))).collect();
    events[5].event.timestamp = Timestamp::MAX;
    events[6].event.timestamp = Timestamp::MIN;
    let summary = files.write("segment", &events, SMALL);
    assert_eq!((summary.timestamps.from, summary.timestamps.to), (Timestamp::MIN, Timestamp::MAX));
    verify(files.storage.as_ref(), &summary).expect("it is whole");
    let segments = [files.open(&summary)];
    for order in orders() {
        for limit in [1, 2, 59, 60] {
            let query = LogQuery { order, ..LogQuery::newest(EventFilter::default(), limit) };
            assert_eq!(search(&segments, &query, NEVER).expect("it is read"), reference(&events, &query));
        }
    }
    // Blocks that are read, counted by how often the time is asked: the one with the year 9999, then the newest, and what other
    // threads begin meanwhile.
    let asked = AtomicUsize::new(0);
    let never = || {
        asked.fetch_add(1, Relaxed);
        false
    };
    search(&segments, &LogQuery::newest(EventFilter::default(), 2), &never).expect("it is read");
    let asked = asked.into_inner();
    assert!(asked <= 3 + 3, "{asked}");
}

#[test]
fn a_search_ends_when_its_time_is_up() {
    let files = Files::new();
    let events = stored(events_and_filters(11, 60, 0).0);
    let segments = in_segments(&files, &events, "");
    let query = LogQuery::newest(EventFilter::message("no such text ("), 5);
    let asked = AtomicUsize::new(0);
    let up = || asked.fetch_add(1, Relaxed) >= 2;
    assert!(matches!(search(&segments, &query, &up), Err(SegmentError::TooBroad)));
}

/// Many events share a timestamp across blocks and segments: the ids decide, whatever block they are in.
#[test]
fn equal_timestamps_continue_in_other_blocks() {
    let files = Files::new();
    let mut events: Vec<StoredEvent> = (0..120).map(|n| plain(n, format!("event {n}"))).collect();
    for (n, stored) in events.iter_mut().enumerate() {
        stored.event.timestamp = time(1_705_314_600_000_000 + n as i64 / 50);
        stored.event.event_id = Uuid::from_u128(1 + (n as u128 * 7_919) % 1_000);
    }
    let segments = in_segments(&files, &events, "");
    for order in orders() {
        let mut query = LogQuery { order, ..LogQuery::newest(EventFilter::default(), 9) };
        let mut seen = BTreeSet::new();
        loop {
            let page = search(&segments, &query, NEVER).expect("it is read");
            assert_eq!(page, reference(&events, &query));
            seen.extend(page.items.iter().map(|stored| stored.offset));
            let Some(next) = page.next() else { break };
            query.after = Some(next);
        }
        assert_eq!(seen.len(), events.len());
    }
}
