//! Measures writing and searching of segments with events made from real log lines:
//!
//! ```text
//! cargo run --release -p segments --example measure -- ROWS DIRECTORY LOGFILE...
//! ```
//!
//! Numbers and ids in the lines are replaced by random ones, as they differ in every real event. Segments are written by one
//! thread and read through the page cache; the answers are those of segments alone.

#![expect(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing, reason = "a program for measurements")]

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::{Condition, EventFilter, Literal, Pattern, TimeField, ValueTest};
use domain::level::Level;
use domain::metadata::Metadata;
use domain::query::LogQuery;
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use segments::{Row, Segment, SegmentBounds, SegmentError, SegmentSummary, SegmentWriter, count, find, search};
use storage::{Directory, Storage};

/// 2026-01-15T00:00:00Z, and the distance of events: 50,000 a second.
const BEGIN_MICROS: i64 = 1_768_435_200_000_000;
const DISTANCE_MICROS: i64 = 20;
const RUNS: u64 = 20;
const NEVER: &dyn Fn() -> bool = &|| false;

/// Time on the processor of this thread: other programs on the machine do not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.number() >> 11) % bound
    }
}

/// The line with other digits in its numbers of at least three digits, and in its ids.
fn varied(line: &str, random: &mut Random) -> String {
    let mut varied = String::with_capacity(line.len());
    for word in line.split_inclusive(|char: char| !char.is_ascii_alphanumeric()) {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let hexadecimal = word.bytes().filter(|byte| matches!(byte, b'a'..=b'f')).count();
        let id = digits >= 3 && digits + hexadecimal + 1 >= word.len();
        varied.extend(word.chars().map(|char| match char {
            '0'..='9' if id => char::from_digit(random.below(10) as u32, 10).expect("a digit"),
            'a'..='f' if id => char::from_digit(10 + random.below(6) as u32, 16).expect("a digit"),
            other => other,
        }));
    }
    varied
}

fn event(n: u64, lines: &[String], random: &mut Random) -> LogEvent<'static> {
    let micros = BEGIN_MICROS + n as i64 * DISTANCE_MICROS;
    let received_at = Timestamp::from_unix_micros(micros).expect("in range");
    let timestamp = Timestamp::from_unix_micros(micros - random.below(50_000) as i64).expect("in range");
    let mut message = varied(&lines[random.below(lines.len() as u64) as usize], random);
    if n % 500_009 == 7 {
        message.push_str(" qwyrzlebnitz");
    }
    let level =
        [Level::Info, Level::Info, Level::Info, Level::Debug, Level::Warn, Level::Error][random.below(6) as usize];
    let metadata = format!(
        "{{\"userId\":{},\"http.status\":{},\"durationMs\":{},\"region\":\"eu-{}\"}}",
        random.below(1_000_000),
        [200, 200, 200, 201, 404, 500][random.below(6) as usize],
        random.below(5_000),
        random.below(4),
    );
    let id = u128::from(micros.unsigned_abs() / 1_000) << 80 | u128::from(random.number()) | 7 << 76 | 2 << 62;
    LogEvent {
        event_id: Uuid::from_u128(id),
        id_origin: IdOrigin::Generated,
        source: Cow::Owned(format!("service-{}", random.below(30))),
        level,
        message: Cow::Owned(message),
        timestamp,
        received_at,
        stack_trace: None,
        trace_id: (random.below(4) == 0).then(|| (u128::from(random.number()) << 64 | 5).to_be_bytes()),
        span_id: None,
        metadata: Some(Metadata::parse(&metadata).expect("JSON").into_owned()),
    }
}

fn write(rows: u64, storage: &Arc<dyn Storage>, lines: &[String]) -> (Vec<SegmentSummary>, Vec<LogEvent<'static>>) {
    let mut random = Random(88_172_645_463_325_252);
    let (mut summaries, mut samples) = (Vec::new(), Vec::new());
    let (mut made, mut json_bytes) = (0, 0_u64);
    let mut writing = Duration::ZERO;
    while made < rows {
        let name = format!("{made}.parquet");
        let mut writer = SegmentWriter::create(Arc::clone(storage), &name, SegmentBounds::default()).expect("created");
        while made < rows && !writer.is_full() {
            let part: Vec<LogEvent<'_>> =
                (made..rows.min(made + 10_000)).map(|n| event(n, lines, &mut random)).collect();
            let begin = processor_time();
            for event in &part {
                if writer.is_full() {
                    break;
                }
                let row = Row { sequence: made, event, topic: "logs", partition: (made % 8) as u32, offset: made / 8 };
                writer.push(&row).expect("written");
                made += 1;
            }
            writing += processor_time() - begin;
            json_bytes += part.iter().map(json_length).sum::<u64>();
            samples.extend(part.into_iter().next());
        }
        let begin = processor_time();
        summaries.extend(writer.finish().expect("finished"));
        writing += processor_time() - begin;
    }
    let file_bytes: u64 = summaries.iter().map(|summary| summary.file_bytes).sum();
    let tails: u64 = summaries.iter().map(|summary| summary.file_bytes - summary.tail_offset).sum();
    println!("{made} rows in {} segments; {} bytes of JSON per event", summaries.len(), json_bytes / made);
    println!(
        "{:.2} us of processor time per row, {:.0} rows/s; {:.1} bytes per event, tails {tails} bytes together",
        writing.as_secs_f64() * 1e6 / made as f64,
        made as f64 / writing.as_secs_f64(),
        file_bytes as f64 / made as f64,
    );
    (summaries, samples)
}

/// About the length of the event as a client sends it.
fn json_length(event: &LogEvent<'_>) -> u64 {
    let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_json().len() + 12);
    let trace = event.trace_id.map_or(0, |_| 45);
    (event.source.len() + event.message.len() + metadata + trace + 27 + 70) as u64
}

fn timed(what: &str, mut run: impl FnMut(u64) -> Result<usize, SegmentError>) {
    let (mut times, mut processor) = (Vec::new(), Vec::new());
    let mut found = 0;
    for n in 0..RUNS {
        let (begin, processor_begin) = (Instant::now(), processor_time());
        found += run(n).expect("it is read");
        times.push(begin.elapsed());
        processor.push(processor_time() - processor_begin);
    }
    let at = |times: &mut Vec<Duration>, percent: usize| {
        times.sort();
        times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3
    };
    println!(
        "{what:36} ms p50 {:7.1} p99 {:7.1}; on the processor p50 {:7.1} p99 {:7.1}; found {:.1}",
        at(&mut times, 50),
        at(&mut times, 99),
        at(&mut processor, 50),
        at(&mut processor, 99),
        found as f64 / RUNS as f64,
    );
}

fn query(segments: &[Arc<Segment>], filter: EventFilter) -> Result<usize, SegmentError> {
    Ok(search(segments, &LogQuery::newest(filter, 100), NEVER)?.items.len())
}

fn anywhere(text: &str) -> EventFilter {
    Condition::Anywhere(Pattern::text(text)).into()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, directory, files @ ..] = arguments.as_slice() else {
        println!("arguments: ROWS DIRECTORY LOGFILE...");
        return;
    };
    let read = |file: &String| std::fs::read_to_string(file).expect("a log file");
    let lines: Vec<String> = files
        .iter()
        .flat_map(|file| read(file).lines().map(|line| line.chars().take(400).collect()).collect::<Vec<String>>())
        .collect();
    let storage: Arc<dyn Storage> = Arc::new(Directory::open(Path::new(directory)).expect("a directory"));
    let (summaries, samples) = write(rows.parse().expect("a number"), &storage, &lines);
    let begin = Instant::now();
    let segments: Vec<Arc<Segment>> =
        summaries.iter().map(|summary| Arc::new(Segment::open(storage.as_ref(), summary).expect("opens"))).collect();
    println!("opened in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);

    timed("newest 100", |_| query(&segments, EventFilter::default()));
    timed("newest 100 of a source", |n| query(&segments, EventFilter::source(&format!("service-{}", n % 30))));
    timed("common word, newest 100", |_| query(&segments, anywhere("server")));
    timed("rare word", |_| query(&segments, anywhere("qwyrzlebnitz")));
    timed("rare word, upper case, part", |_| query(&segments, anywhere("WYRZLEBNI")));
    timed("absent word", |n| {
        query(&segments, anywhere(["xyloquartz", "vjkwqxz", "blorptang", "mizzlefrax"][n as usize % 4]))
    });
    timed("part of an id, absent", |n| query(&segments, anywhere(&format!("{}7391{}", 4_021 + n, 5_501 + 3 * n))));
    timed("seven digits, no key", |_| query(&segments, anywhere("7391402")));
    timed("userId:N", |n| {
        let pattern = Pattern::text(&(12_345 + n * 17_001).to_string());
        let test = ValueTest::Equals(Literal { pattern, text_only: false });
        query(&segments, Condition::Metadata { name: "userId".to_owned(), test }.into())
    });
    timed("trace id", |n| {
        let with_trace: Vec<[u8; 16]> = samples.iter().filter_map(|event| event.trace_id).collect();
        query(&segments, EventFilter::trace(with_trace[n as usize % with_trace.len()]))
    });
    timed("event id", |n| {
        let at = (n as usize * 7) % samples.len();
        find(&segments, samples[at].event_id).map(|events| events.len())
    });
    timed("absent event id", |n| find(&segments, Uuid::from_u128(u128::from(n))).map(|events| events.len()));
    timed("histogram by level, a minute each", |_| {
        let range = Condition::Time(TimeField::Timestamp, Timestamp::MIN..=Timestamp::MAX);
        let interval = Duration::from_secs(60);
        let query = StatsQuery { filter: range.into(), interval, by: GroupBy::Level, time_max: None };
        let mut counts = Counts::default();
        count(&segments, &query, &mut counts, NEVER).map(|()| counts.buckets.len())
    });
}
