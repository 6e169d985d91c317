//! What sealing, merging and searching cost for events as services log them, the same in every run: for a profiler that counts
//! instructions.
//!
//! ```text
//! cargo build --release -p segments --example cost
//! valgrind --tool=callgrind target/release/examples/cost ROWS SEGMENTS DIRECTORY [generate|write|merge|trace|value|word|missing [TIMES]]
//! ```
//!
//! Each word names a step; the ones before it are done too, so the difference of two runs is the cost of a step. Without one,
//! everything is done, and the bytes of each column are printed. A search is repeated as often as TIMES says.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing, reason = "a program for measurements")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::{Condition, EventFilter, Literal, Pattern, ValueTest};
use domain::metadata::Metadata;
use domain::query::LogQuery;
use domain::timestamp::Timestamp;
use parquet::file::reader::{FileReader, SerializedFileReader};
use segments::{Row, Segment, SegmentBounds, SegmentSummary, SegmentWriter, TimeIsUp, merge, search};
use storage::{Directory, Storage};
use testkit::service_logs::{MISSING_WORD, RARE_WORD, level, message, metadata, mixed, trace_id};

/// 2026-01-15T00:00:00Z, and the time between two events.
const BEGIN_MICROS: i64 = 1_768_435_200_000_000;
const DISTANCE_MICROS: i64 = 1_000;
const SOURCES: u64 = 200;
/// Events of one source that come together.
const BATCH_EVENTS: u64 = 20;
const NEVER: TimeIsUp<'_> = &|| false;

fn event(n: u64) -> LogEvent<'static> {
    let micros = BEGIN_MICROS + n as i64 * DISTANCE_MICROS + (mixed(n, 5) % 1_000) as i64;
    // A batch is received together.
    let batch = n / (SOURCES * BATCH_EVENTS) * SOURCES + n % SOURCES;
    let received = BEGIN_MICROS + (batch * BATCH_EVENTS) as i64 * DISTANCE_MICROS + 4_000_000;
    let time = |micros| Timestamp::from_unix_micros(micros).expect("in range");
    let id = u128::from(received.unsigned_abs() / 1_000) << 80 | u128::from(mixed(n, 6)) | 7 << 76 | 2 << 62;
    LogEvent {
        event_id: Uuid::from_u128(id),
        id_origin: IdOrigin::Generated,
        source: Cow::Owned(format!("source-{}", n % SOURCES)),
        level: level(n),
        message: Cow::Owned(message(n)),
        timestamp: time(micros),
        received_at: time(received),
        stack_trace: None,
        trace_id: trace_id(n),
        span_id: None,
        metadata: Some(Metadata::parse(&metadata(n)).expect("JSON").into_owned()),
    }
}

/// The numbers of events in the order of their arrival: batches of one source each.
fn numbers(rows: u64) -> impl Iterator<Item = u64> {
    let of_group = SOURCES * BATCH_EVENTS;
    (0..rows.div_ceil(of_group)).flat_map(move |group| {
        (0..SOURCES)
            .flat_map(move |source| (0..BATCH_EVENTS).map(move |at| group * of_group + at * SOURCES + source))
            .filter(move |n| *n < rows)
    })
}

fn write(storage: &Arc<dyn Storage>, name: &str, events: &[(u64, LogEvent<'_>)]) -> SegmentSummary {
    let mut writer = SegmentWriter::create(Arc::clone(storage), name, SegmentBounds::default()).expect("created");
    for (n, event) in events {
        let row = Row { sequence: *n, event, topic: "logs", partition: (n % SOURCES % 8) as u32, offset: n / 8 };
        writer.push(&row).expect("written");
    }
    writer.finish().expect("finished").expect("it has rows")
}

fn print_bytes(path: &Path, rows: u64) {
    let file = SerializedFileReader::new(File::open(path).expect("a file")).expect("Parquet");
    let mut columns: BTreeMap<String, i64> = BTreeMap::new();
    let mut all = 0;
    for column in file.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        *columns.entry(column.column_path().string()).or_default() += column.compressed_size();
        all += column.compressed_size();
    }
    let length = std::fs::metadata(path).expect("a file").len();
    let each = |bytes: f64| bytes / rows as f64;
    for (column, bytes) in columns {
        println!("{column:24} {:6.2} bytes/event", each(bytes as f64));
    }
    println!("{:24} {:6.2} bytes/event", "filters and tail", each(length as f64 - all as f64));
    println!("{:24} {:6.2} bytes/event", "all", each(length as f64));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, files, directory, last @ ..] = arguments.as_slice() else {
        println!("arguments: ROWS SEGMENTS DIRECTORY [STEP [TIMES]]");
        return;
    };
    let times: usize = last.get(1).map_or(1, |times| times.parse().expect("a number"));
    let (rows, files): (u64, usize) = (rows.parse().expect("a number"), files.parse().expect("a number"));
    let last = last.first().map_or("", String::as_str);
    let events: Vec<(u64, LogEvent<'_>)> = numbers(rows).map(|n| (n, event(n))).collect();
    if last == "generate" {
        return;
    }
    let storage: Arc<dyn Storage> = Arc::new(Directory::open(Path::new(directory)).expect("a directory"));
    let parts = events.chunks(events.len().div_ceil(files.max(1)));
    let summaries: Vec<SegmentSummary> =
        parts.enumerate().map(|(n, part)| write(&storage, &format!("{n}.parquet"), part)).collect();
    if last == "write" {
        return;
    }
    let open = |summary: &SegmentSummary| Arc::new(Segment::open(storage.as_ref(), summary).expect("opens"));
    let segments: Vec<Arc<Segment>> = summaries.iter().map(open).collect();
    if last == "merge" || last.is_empty() {
        let merged = merge(&segments, storage.as_ref(), "merged.parquet", NEVER);
        let merged = merged.expect("merged").expect("it has rows");
        println!("merged: {:.1} bytes/event", merged.file_bytes as f64 / rows as f64);
    }
    let user = Literal { pattern: Pattern::text("12345"), text_only: false };
    let filters: [(&str, EventFilter); 4] = [
        ("trace", EventFilter::trace(trace_id(rows / 32 * 16).expect("it has one"))),
        ("value", Condition::Metadata { name: "userId".to_owned(), test: ValueTest::Equals(user) }.into()),
        ("word", Condition::Anywhere(Pattern::text(RARE_WORD)).into()),
        ("missing", Condition::Anywhere(Pattern::text(MISSING_WORD)).into()),
    ];
    for (name, filter) in filters.into_iter().filter(|(name, _)| last.is_empty() || last == *name) {
        let query = LogQuery::newest(filter, 100);
        let began = Instant::now();
        let searched = || search(&segments, &query, NEVER).expect("it is read").items.len();
        let found: Vec<usize> = (0..times).map(|_| searched()).collect();
        let millis = began.elapsed().as_secs_f64() * 1_000.0 / times as f64;
        println!("{name}: {found:?} found, {millis:.2} ms each");
    }
    if last.is_empty() {
        print_bytes(&Path::new(directory).join("0.parquet"), summaries[0].rows);
    }
}
