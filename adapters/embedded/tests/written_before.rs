//! A data directory that an earlier version left can be opened, searched and sealed further.
//!
//! `tests/written/1` has [`SEALED`] events in a segment and [`HOT`] in a chunk, both in version 1 of their formats. It was written once,
//! and is not written again: a later format gets a directory of its own. `SPILLWAY_WRITE_DATA=1` writes it, if it is missing.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::segments::{SegmentBounds, verify};
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, SealOptions, SqliteStore, StoreOptions, list_segments};
use domain::Uuid;
use domain::access::TenantId;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::{Append, Appended, GroupPartition, LogStore};
use domain::query::{LogQuery, StoredEvent};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;

const SEALED: u32 = 40;
const HOT: u32 = 10;
const FILE: &str = "store.db";
/// 2024-01-15T10:30:00Z, in microseconds.
const EPOCH: i64 = 1_705_314_600_000_000;

/// Event `n` of the directory: every field in every form.
fn event(n: u32) -> LogEvent<'static> {
    let at = |micros| Timestamp::from_unix_micros(EPOCH + i64::from(n) * 7_000_000 + micros).expect("in range");
    let origins = [IdOrigin::Client, IdOrigin::Generated, IdOrigin::Tenant(TenantId::from_bytes([7; 16]))];
    let digits = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let metadata = format!(r#"{{"userId":{n},"http":{{"status":"{}"}},"tags":["a",null]}}"#, 200 + n % 4);
    let number = n as u8 + 1;
    LogEvent {
        event_id: Uuid::from_u128(u128::from(n) + 1),
        id_origin: origins[n as usize % origins.len()],
        source: format!("source-{}", n % 4).into(),
        level: Level::ALL[n as usize % Level::ALL.len()],
        message: format!("Größe {n} of order {digits:016x}").into(),
        timestamp: at(0),
        received_at: at(1_000),
        stack_trace: n.is_multiple_of(5).then(|| "at main\n\tat order".into()),
        trace_id: n.is_multiple_of(2).then_some([number; 16]),
        span_id: n.is_multiple_of(4).then_some([number; 8]),
        metadata: (!n.is_multiple_of(3)).then(|| Metadata::parse(&metadata).expect("JSON").into_owned()),
    }
}

async fn open(data_dir: &Path) -> SqliteStore {
    let options = StoreOptions { dedup_window: Duration::from_secs(3_600), query_timeout: contracts::DEADLINE };
    // Several row groups and blocks.
    let bounds = SegmentBounds { group_rows_max: 24, block_rows: 7, ..SegmentBounds::default() };
    let seal = SealOptions { hot_events: 0, events_min: 1, bounds, ..SealOptions::default() };
    let segments = Directory::open(&data_dir.join(SEGMENTS)).expect("a directory");
    SqliteStore::over(&data_dir.join(FILE), options, seal, Arc::new(segments)).await.expect("the store opens")
}

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 2 }
}

async fn append(store: &SqliteStore, numbers: std::ops::Range<u32>) -> Appended {
    let expected = store.position(&group_partition()).await.expect("a position");
    let events: Vec<_> = (expected.unwrap_or(0)..).zip(numbers.map(event)).collect();
    let next = expected.unwrap_or(0) + events.len() as u64;
    let append = Append { group_partition: &group_partition(), expected, next, events: &events, dead_letters: &[] };
    store.append(&append).await.expect("the append succeeds")
}

async fn seal_all(store: &SqliteStore) {
    while store.seal().await.expect("it is sealed") {}
}

async fn write(data_dir: &Path) {
    std::fs::create_dir_all(data_dir).expect("a directory");
    let store = open(data_dir).await;
    append(&store, 0..SEALED).await;
    seal_all(&store).await;
    append(&store, SEALED..SEALED + HOT).await;
    store.close().await;
}

/// Compares everything that the store answers with the events.
async fn assert_complete(store: &SqliteStore) {
    let stored = |n: u32| {
        let GroupPartition { topic, partition, .. } = group_partition();
        StoredEvent { event: event(n), topic, partition, offset: n.into() }
    };
    let newest_first: Vec<StoredEvent> = (0..SEALED + HOT).rev().map(stored).collect();
    let (sealed, hot) = (event(8), event(SEALED + 2));
    for filter in [
        EventFilter::default(),
        EventFilter::source(&sealed.source),
        EventFilter::message("größe 4"),
        EventFilter::message(&sealed.message),
        EventFilter::trace(sealed.trace_id.expect("it has one")),
        EventFilter::trace(hot.trace_id.expect("it has one")),
    ] {
        let page = store.query(&LogQuery::newest(filter.clone(), 100)).await.expect("a page");
        let expected = newest_first.iter().filter(|stored| filter.matches(&stored.event));
        assert_eq!(page.items, expected.cloned().collect::<Vec<_>>(), "{filter:?}");
        assert!(!page.items.is_empty(), "{filter:?}");
    }
    let (filter, interval) = (EventFilter::default(), Duration::from_secs(60));
    let query = StatsQuery { filter, interval, by: GroupBy::Level, time_max: None };
    let mut counts = Counts::default();
    newest_first.iter().for_each(|stored| counts.add(&query, &stored.event));
    assert_eq!(store.stats(&query).await.expect("counts"), counts);
    let position = store.position(&group_partition()).await.expect("it answers");
    assert_eq!(position, Some(u64::from(SEALED + HOT)));
}

#[tokio::test]
async fn a_data_directory_of_an_earlier_version_opens_with_everything() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/written/1");
    if std::env::var_os("SPILLWAY_WRITE_DATA").is_some() && !written.exists() {
        write(&written).await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (file, segments) = (directory.path().join(FILE), directory.path().join(SEGMENTS));
    std::fs::create_dir(&segments).expect("a directory");
    std::fs::copy(written.join(FILE), &file).expect("it is copied");
    let name = "000000000001.parquet";
    std::fs::copy(written.join(SEGMENTS).join(name), segments.join(name)).expect("it is copied");

    let store = open(directory.path()).await;
    let listed = list_segments(&file).await.expect("the list");
    let [segment] = listed.as_slice() else { panic!("one segment: {listed:?}") };
    assert_eq!((segment.name.as_str(), segment.rows), (name, u64::from(SEALED)));
    verify(&Directory::open(&segments).expect("a directory"), segment).expect("it is whole");
    assert_complete(&store).await;
    seal_all(&store).await;
    assert_eq!(list_segments(&file).await.expect("the list").len(), 2, "what was in a chunk is sealed");
    assert_complete(&store).await;
    let again = append(&store, 0..SEALED + HOT).await;
    assert_eq!((again.stored, again.deduplicated), (0, (SEALED + HOT) as usize));
}
