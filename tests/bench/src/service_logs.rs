//! Events as services log them, for searches: texts with many numbers and ids, the same in every run.
//!
//! Event `n` has the word [`RARE_WORD`] if `n` is 7 above a multiple of 1,000,003, and the value 12345 of `userId` once per
//! 100,000 events. Four events in a row, of different sources, have one trace id in each fourth of these groups.

use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::timestamp::Timestamp;
use tokio::time::Instant;

use crate::report;

/// A word of few events.
pub const RARE_WORD: &str = "zanzibar";
/// A word of no event.
pub const MISSING_WORD: &str = "unreachable";
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

/// A number that depends on `n` only, for one of several purposes (splitmix64).
fn mixed(n: u64, purpose: u64) -> u64 {
    let mut mixed = n.wrapping_mul(8).wrapping_add(purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The trace id of event `n`, if it has one.
#[must_use]
pub fn trace_id(n: u64) -> Option<String> {
    let group = n / 4;
    group.is_multiple_of(4).then(|| format!("{:016x}{:016x}", mixed(group, 1), mixed(group, 2)))
}

/// The value of `requestId` in the metadata of event `n`, which no other event has.
#[must_use]
pub fn request_id(n: u64) -> String {
    format!("{:016x}", mixed(n, 3))
}

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
    let (some, more) = (mixed(n, 0), mixed(n, 4));
    let (user, millis, port) = (n * 7_919 % 100_000, some % 997, 1_024 + more % 60_000);
    let level = match some / 1_000 % 100 {
        0..75 => "INFO",
        75..90 => "DEBUG",
        90..97 => "WARN",
        _ => "ERROR",
    };
    let status = match n % 200 {
        0 => 500,
        rest if rest % 25 == 3 => 404,
        _ => 200,
    };
    lines.push('{');
    if let Some(id) = id {
        write!(lines, r#""eventId":"{id}","#)?;
    }
    write!(lines, r#""timestamp":"{time}","source":"{}","level":"{level}","message":""#, source(n))?;
    let address = format!("10.{}.{}.{}:{port}", more % 4, more >> 8 & 255, more >> 16 & 255);
    match more >> 24 & 7 {
        0 | 1 => write!(lines, "request {n} of user {user} answered with {status} in {millis} ms, client {address}")?,
        2 | 3 => write!(
            lines,
            "GET /api/v2/orders/{}/items?page={} from {address}: {} bytes in {millis} ms",
            some >> 32,
            more >> 28 & 15,
            more >> 32 & 0xf_ffff
        )?,
        4 => write!(lines, "session {some:016x} of user {user} renewed for {} s from {address}", more >> 32 & 0xffff)?,
        5 => write!(
            lines,
            "statement {:08x} on shard {} took {millis}.{} ms, {} rows, connection {address}",
            some as u32,
            more >> 32 & 63,
            more >> 40 & 511,
            more >> 50
        )?,
        6 => write!(
            lines,
            "order {} placed by user {user}: {} items, {}.{:02} EUR, invoice INV-{:08}",
            some >> 32,
            1 + (more >> 32 & 7),
            more >> 40 & 1_023,
            some % 100,
            more >> 38
        )?,
        _ => {
            write!(lines, "retry {} of job {more:016x} after {millis} ms: {address} refused it", 1 + (some >> 40 & 7))?
        }
    }
    if n.is_multiple_of(3) {
        lines.push_str(": payment accepted");
    }
    if n % 1_000_003 == 7 {
        write!(lines, " {RARE_WORD}")?;
    }
    lines.push('"');
    if let Some(trace_id) = trace_id(n) {
        write!(lines, r#","traceId":"{trace_id}""#)?;
    }
    write!(
        lines,
        r#","metadata":{{"userId":{user},"requestId":"{}","http":{{"method":"GET","status":{status}}},"durationMs":{millis},"region":"eu-{}"}}}}"#,
        request_id(n),
        some >> 60 & 3
    )?;
    lines.push('\n');
    Ok(())
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
