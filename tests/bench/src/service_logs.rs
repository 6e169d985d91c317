//! Batches of events as services log them ([`testkit::service_logs`]), for searches. Consecutive events are of different sources.

use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::event::to_hex;
use domain::timestamp::Timestamp;
use testkit::service_logs::{level, message, metadata, mixed, trace_id};
use tokio::time::Instant;

use crate::report;

/// Events of a batch; they have one source.
pub const BATCH_EVENTS: u64 = 100;
/// Sources. So many batches have the events of one range of time.
const SOURCES: u64 = 50;
const GROUP_EVENTS: u64 = SOURCES * BATCH_EVENTS;
/// Batches of [`LiveBatches`]: so many that compression does not see one twice in a page or row group.
const LIVE_BATCHES: u64 = 2_000;
/// Where [`LiveBatches`] put the time, and the id of an event.
const TIME: &str = "0000-00-00T00:00:00.000000Z";
const ID: &str = "01a20f37-31cf-76dd-a6da-000000000000";
/// Hexadecimal digits at the end of an id that differ.
const ID_DIGITS: usize = 12;
/// Time between the events of a live batch.
const LIVE_DISTANCE_MICROS: i64 = 500;

/// The source of event `n`.
#[must_use]
pub fn source(n: u64) -> String {
    format!("source-{}", n % SOURCES)
}

/// Event `n` as a line of JSON, with this time and id.
fn write_event(lines: &mut String, n: u64, time: &str, id: Option<&str>) {
    let written = write_members(lines, n, time, id);
    written.expect("memory");
}

fn write_members(lines: &mut String, n: u64, time: &str, id: Option<&str>) -> std::fmt::Result {
    lines.push('{');
    if let Some(id) = id {
        write!(lines, r#""eventId":"{id}","#)?;
    }
    let (source, level, message) = (source(n), level(n).name(), message(n));
    write!(lines, r#""timestamp":"{time}","source":"{source}","level":"{level}","message":"{message}""#)?;
    if let Some(trace_id) = trace_id(n) {
        write!(lines, r#","traceId":"{}""#, to_hex(&trace_id))?;
    }
    writeln!(lines, r#","metadata":{}}}"#, metadata(n))
}

/// Numbers of the events of a batch. The batches of a group of sources have the same range of time.
fn numbers(batch: u64) -> impl Iterator<Item = u64> {
    let first = batch / SOURCES * GROUP_EVENTS + batch % SOURCES;
    (0..BATCH_EVENTS).map(move |n| first + n * SOURCES)
}

/// Events of the past, evenly distributed over a range of time.
#[derive(Clone, Copy, Debug)]
pub struct PastEvents {
    begin_micros: i64,
    range: Duration,
    count: u64,
}

impl PastEvents {
    /// At least `count` events whose timestamps end now.
    #[must_use]
    pub fn until_now(count: u64, range: Duration) -> Self {
        let begin_micros = report::unix_micros() - micros(range);
        Self { begin_micros, range, count: count.max(1).next_multiple_of(GROUP_EVENTS) }
    }

    /// Their number.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Numbers of their batches.
    #[must_use]
    pub fn batches(&self) -> Range<u64> {
        0..self.count / BATCH_EVENTS
    }

    /// A batch as lines of JSON.
    #[must_use]
    pub fn batch(&self, batch: u64) -> Bytes {
        let mut lines = String::with_capacity(BATCH_EVENTS as usize * 400);
        for n in numbers(batch) {
            let after = micros(self.range) * n as i64 / self.count as i64;
            write_event(&mut lines, n, time(self.begin_micros + after, n).text().as_str(), None);
        }
        Bytes::from(lines)
    }
}

/// A time in this millisecond, whose text has all six digits of a fraction.
fn time(micros: i64, n: u64) -> Timestamp {
    let micros = micros - micros.rem_euclid(1_000) + (mixed(n, 5) % 100 * 10 + 1 + n % 9) as i64;
    Timestamp::from_unix_micros(micros).expect("a time of this century")
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("some hours")
}

/// Events of now: prepared batches, in turn, which get the time when they are sent.
pub struct LiveBatches {
    batches: Vec<LiveBatch>,
    has_ids: bool,
    /// Number of the next id.
    next_id: AtomicU64,
    began_micros: i64,
    began: Instant,
}

/// Lines, and where each of them begins.
struct LiveBatch {
    text: Vec<u8>,
    lines: Vec<usize>,
}

impl LiveBatches {
    /// Batches of events that get ids from the client, each another one, or from the store.
    #[must_use]
    pub fn new(has_ids: bool) -> Self {
        let batch = |batch| {
            let (mut text, mut lines) = (String::new(), Vec::new());
            for n in numbers(batch) {
                lines.push(text.len());
                write_event(&mut text, n, TIME, has_ids.then_some(ID));
            }
            LiveBatch { text: text.into_bytes(), lines }
        };
        let batches = (0..LIVE_BATCHES).map(batch).collect();
        Self {
            batches,
            has_ids,
            next_id: AtomicU64::new(0),
            began_micros: report::unix_micros(),
            began: Instant::now(),
        }
    }

    /// Batch `number` as lines of JSON; ids are new each time.
    #[must_use]
    pub fn batch(&self, number: u64) -> Bytes {
        let batch = &self.batches[(number % LIVE_BATCHES) as usize];
        let mut text = batch.text.clone();
        let first_id = if self.has_ids { self.next_id.fetch_add(BATCH_EVENTS, Ordering::Relaxed) } else { 0 };
        let now = self.began_micros + micros(self.began.elapsed());
        for (line, n) in batch.lines.iter().zip(0..) {
            let mut at = line + r#"{"timestamp":""#.len();
            if self.has_ids {
                let digits = format!("{:0width$x}", first_id + n, width = ID_DIGITS);
                let id = line + r#"{"eventId":""#.len();
                text[id + ID.len() - ID_DIGITS..id + ID.len()].copy_from_slice(digits.as_bytes());
                at = id + ID.len() + r#"","timestamp":""#.len();
            }
            let since = LIVE_DISTANCE_MICROS * (BATCH_EVENTS - n) as i64;
            text[at..at + TIME.len()].copy_from_slice(time(now - since, n).text().as_bytes());
        }
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use testkit::service_logs::{MISSING_WORD, RARE_WORD, request_id};

    use super::*;

    fn events(lines: &Bytes) -> Vec<Value> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a line of JSON")).collect()
    }

    #[test]
    fn past_events_have_each_number_once_and_the_size_of_real_ones() {
        let past = PastEvents::until_now(9_000, Duration::from_secs(10_800));
        assert_eq!(past.count(), 10_000);
        let bodies: Vec<Bytes> = past.batches().map(|batch| past.batch(batch)).collect();
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        assert!((300..340).contains(&(bytes / 10_000)), "{} bytes an event", bytes / 10_000);
        let events: Vec<Value> = bodies.iter().flat_map(events).collect();
        let mut requests: Vec<&str> =
            events.iter().map(|event| event["metadata"]["requestId"].as_str().expect("an id")).collect();
        requests.sort_unstable();
        let mut all: Vec<String> = (0..10_000).map(request_id).collect();
        all.sort_unstable();
        assert_eq!(requests, all);
        let rare = events.iter().filter(|event| event["message"].as_str().is_some_and(|text| text.contains(RARE_WORD)));
        assert_eq!(rare.count(), 1);
        assert!(bodies.iter().all(|body| !String::from_utf8_lossy(body).contains(MISSING_WORD)));
    }

    #[test]
    fn live_events_have_a_time_and_different_ids() {
        let live = LiveBatches::new(true);
        let mut ids = std::collections::HashSet::new();
        // The second one of them has the text of the first.
        for number in [3, 3 + LIVE_BATCHES] {
            for event in events(&live.batch(number)) {
                assert!(ids.insert(event["eventId"].as_str().expect("an id").to_owned()));
                assert_ne!(event["timestamp"].as_str().map(|time| &time[..4]), Some("0000"));
            }
        }
        assert_eq!(ids.len() as u64, 2 * BATCH_EVENTS);
        assert!(events(&LiveBatches::new(false).batch(0)).iter().all(|event| event.get("eventId").is_none()));
    }
}
