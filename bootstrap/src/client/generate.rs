//! `spillway generate`: sends made-up events at a rate, and measures the answers.
//!
//! * One request at a time: if the server is slower than the rate, fewer events are sent, and the summary says so.
//! * Events that the server refuses are counted and not sent again.
//! * An interrupted run prints the summary of what it has sent. Events of a request without an answer are in doubt.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use domain::ports::Clock;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::interval;

use super::api::{Answer, Api};
use super::connection::{Connection, parse_timeout};
use super::failure::{Failure, failure_of};
use super::numbers::number_of;
use super::output::Output;
use super::query::counted;
use crate::send::{grouped, rate};
use crate::system::SystemClock;

/// How often events are sent: five batches per second are within the default rate limit of ten.
const TICK: Duration = Duration::from_millis(200);
/// How long the last events may be late.
const LATENESS_MAX: Duration = Duration::from_secs(2);
/// Maximum events of a request, as in the API.
const BATCH_EVENTS_MAX: u64 = 10_000;
/// Maximum bytes of a request, as far as several events are concerned.
const BATCH_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Maximum latencies that are kept; later ones replace the first.
const LATENCIES_MAX: usize = 1_000_000;
/// Maximum bytes of what the names of sources begin with; a name has 255.
const SOURCE_BYTES_MAX: usize = 200;
/// What messages consist of.
const WORDS: [&str; 16] = [
    "payment", "order", "cart", "timeout", "retry", "accepted", "user", "session", "cache", "miss", "queue", "commit",
    "shard", "request", "answer", "worker",
];

/// Options of `spillway generate`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Events per second
    #[arg(long, value_name = "EVENTS", default_value_t = 100, value_parser = number_of(1_u64..=10_000_000))]
    rate: u64,
    /// How long to send
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = parse_timeout)]
    duration: Duration,
    /// Number of different sources: generated-1, generated-2 and so on
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = number_of(1_u64..=100_000))]
    sources: u64,
    /// What the names of the sources begin with, such as shop for shop-1, shop-2 and so on: for a key that may write only these
    #[arg(long, value_name = "NAME", default_value = "generated", value_parser = parse_source)]
    source: String,
    /// Bytes of an event as JSON; the shortest have 160 to 200
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = number_of(1_u64..=200_000))]
    bytes: u64,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// Parses the beginning of the names of sources.
fn parse_source(text: &str) -> Result<String, String> {
    let is_valid = (1..=SOURCE_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {SOURCE_BYTES_MAX} bytes, and no control characters"))
    }
}

/// The body of a 202.
#[derive(Deserialize)]
struct Report {
    accepted: u64,
    failed: u64,
    #[serde(default)]
    durability: Durability,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Durability {
    acknowledged: u64,
    journaled: u64,
    buffered: u64,
}

/// What came of the events.
#[derive(Debug, Default)]
struct Results {
    sent: u64,
    accepted: u64,
    refused: u64,
    durability: Durability,
    /// Refused events by reason.
    reasons: BTreeMap<String, u64>,
    latencies: Vec<Duration>,
    requests: usize,
}

/// Runs the command until it ends, or until `stop` says so.
///
/// # Errors
/// See [`Failure`]. The summary of what was sent is printed in any case.
pub async fn run(options: Options, output: &mut Output, stop: oneshot::Receiver<()>) -> Result<(), Failure> {
    let (api, began) = (Api::new(&options.connection)?, Instant::now());
    let mut results = Results::default();
    let mut random = Random(SystemClock.now().unix_micros().unsigned_abs());
    let sent = tokio::select! {
        biased;
        Ok(()) = stop => Err(Failure::Interrupted),
        sent = send(&api, &options, &mut random, &mut results) => sent,
    };
    let interrupted = sent == Err(Failure::Interrupted);
    // Without any answer, a failure says all there is to say.
    if results.requests > 0 || interrupted && results.sent > 0 {
        output.write(results.summary(began.elapsed()).as_bytes())?;
        output.flush()?;
    }
    let wanted = events_due(&options, options.duration);
    if interrupted {
        output.note(format!("-- interrupted: {} of {} sent", grouped(results.sent), counted(wanted)));
    }
    if sent.is_ok() && results.sent < wanted {
        let missing = counted(wanted - results.sent);
        output
            .note(format!("-- {missing} of {} could not be sent in time: the answers took too long", grouped(wanted)));
    }
    sent
}

async fn send(api: &Api, options: &Options, random: &mut Random, results: &mut Results) -> Result<(), Failure> {
    let (began, mut ticks) = (Instant::now(), interval(TICK));
    loop {
        ticks.tick().await;
        let elapsed = began.elapsed().min(options.duration);
        let due = events_due(options, elapsed);
        while results.sent < due && began.elapsed() < options.duration + LATENESS_MAX {
            let events = batch_events_max(options.bytes).min(due - results.sent);
            let body = batch(options, events, random);
            let asked = Instant::now();
            results.sent += events;
            let answer = api.post("/api/logs/batch", "application/x-ndjson", Bytes::from(body)).await?;
            results.add(events, asked.elapsed(), &answer)?;
        }
        if elapsed == options.duration {
            return Ok(());
        }
    }
}

/// Events that must have been sent after this time.
fn events_due(options: &Options, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(options.rate) * elapsed.as_millis() / 1_000).unwrap_or(u64::MAX)
}

fn batch_events_max(bytes: u64) -> u64 {
    (BATCH_BYTES_MAX / bytes.max(1)).clamp(1, BATCH_EVENTS_MAX)
}

/// Events as NDJSON.
fn batch(options: &Options, events: u64, random: &mut Random) -> String {
    let mut body = String::new();
    for _ in 0..events {
        push_event(&mut body, options, random);
        body.push('\n');
    }
    body
}

fn push_event(body: &mut String, options: &Options, random: &mut Random) {
    let start = body.len();
    let (number, level) = (random.below(options.sources) + 1, level(random.below(1_000)));
    let source = serde_json::Value::from(format!("{}-{number}", options.source));
    let (user, millis) = (random.below(10_000), random.below(500));
    // Not zero, which no trace id may be.
    let trace = u128::from(random.next()) << 64 | u128::from(random.next()) | 1;
    // Writing into memory does not fail.
    let _ = write!(
        body,
        r#"{{"source":{source},"level":"{level}","traceId":"{trace:032x}","metadata":{{"userId":"{user}","durationMs":{millis}}},"message":"#
    );
    let _ = write!(body, "\"{}", random.word());
    let end = start + usize::try_from(options.bytes).unwrap_or(usize::MAX);
    while body.len() + 2 < end {
        body.push(' ');
        body.push_str(random.word());
    }
    body.push_str("\"}");
}

/// One event in a thousand is FATAL, 29 are ERROR, 70 WARN, 100 DEBUG, and 800 INFO.
fn level(number: u64) -> &'static str {
    match number {
        0 => "FATAL",
        1..30 => "ERROR",
        30..100 => "WARN",
        100..200 => "DEBUG",
        _ => "INFO",
    }
}

impl Results {
    fn add(&mut self, events: u64, latency: Duration, answer: &Answer) -> Result<(), Failure> {
        if self.latencies.len() < LATENCIES_MAX {
            self.latencies.push(latency);
        } else if let Some(oldest) = self.latencies.get_mut(self.requests % LATENCIES_MAX) {
            *oldest = latency;
        }
        self.requests += 1;
        if let Some(report) = serde_json::from_slice::<Report>(&answer.body).ok().filter(|_| answer.status == 202) {
            self.accepted += report.accepted;
            self.durability.acknowledged += report.durability.acknowledged;
            self.durability.journaled += report.durability.journaled;
            self.durability.buffered += report.durability.buffered;
            self.refuse(report.failed, "single events were refused");
            return Ok(());
        }
        let failure = failure_of(answer.status, &answer.body);
        self.refuse(events, &failure.to_string());
        // Other answers may change while the command runs.
        match answer.status.as_u16() {
            429 | 500.. => Ok(()),
            _ => Err(failure),
        }
    }

    fn refuse(&mut self, events: u64, reason: &str) {
        self.refused += events;
        if events > 0 {
            // Details may contain numbers: the first reasons are enough.
            let known = self.reasons.len() < 5 || self.reasons.contains_key(reason);
            *self.reasons.entry(if known { reason } else { "other reasons" }.to_owned()).or_default() += events;
        }
    }

    fn summary(&mut self, elapsed: Duration) -> String {
        let (sent, speed, seconds) = (counted(self.sent), rate(self.sent, elapsed), elapsed.as_secs_f64());
        let (accepted, refused) = (grouped(self.accepted), grouped(self.refused));
        let mut text = format!("{sent} in {seconds:.1} s ({speed}): {accepted} accepted, {refused} refused");
        // Writing into memory does not fail.
        let unknown = self.sent - (self.accepted + self.refused).min(self.sent);
        if unknown > 0 {
            let _ = write!(text, ", {} in doubt", grouped(unknown));
        }
        let Durability { acknowledged, journaled, buffered } = self.durability;
        let (acknowledged, journaled, buffered) = (grouped(acknowledged), grouped(journaled), grouped(buffered));
        let _ =
            writeln!(text, "\n  durability: {acknowledged} acknowledged, {journaled} journaled, {buffered} buffered");
        for (reason, events) in &self.reasons {
            let _ = writeln!(text, "  refused:    {}: {reason}", grouped(*events));
        }
        if self.latencies.is_empty() {
            return text;
        }
        self.latencies.sort_unstable();
        let [p50, p90, p99] = [50, 90, 99].map(|percent| millis(percentile(&self.latencies, percent)));
        let requests = grouped(self.requests as u64);
        let _ = writeln!(text, "  latency:    p50 {p50}, p90 {p90}, p99 {p99} ({requests} requests)");
        text
    }
}

/// The smallest of the sorted values that `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

/// Numbers without cryptographic strength (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn word(&mut self) -> &'static str {
        let index = usize::try_from(self.below(WORDS.len() as u64)).unwrap_or_default();
        WORDS.get(index).copied().unwrap_or("word")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use hyper::StatusCode;

    use super::super::test_server::{TestServer, reply};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    const TWO_ACCEPTED: &str = r#"{"accepted":2,"failed":0,"durability":{"buffered":2}}"#;

    #[tokio::test]
    async fn an_interrupted_run_prints_what_it_has_sent() {
        // The third request has no answer until the run is interrupted.
        let replies = vec![reply(202, TWO_ACCEPTED), reply(202, TWO_ACCEPTED)];
        let server = TestServer::start_and_hold(replies).await;
        let (stop, stopped) = oneshot::channel();
        let options = options(&["--url", &server.url, "--rate", "10", "--for", "1h"]);
        let (mut output, written) = Output::in_memory();
        let interrupt = async {
            server.wait_for_requests(3).await;
            stop.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(run(options, &mut output, stopped), interrupt);
        assert_eq!(ended, Err(Failure::Interrupted));
        let text = written.text();
        let sent: u64 = text.split(' ').next().unwrap().parse().unwrap();
        assert!(sent > 4 && text.contains(": 4 accepted, 0 refused, "), "{text}");
        assert!(text.contains(&format!("{} in doubt", sent - 4)) && text.contains("(2 requests)"), "{text}");
        assert_eq!(output.notes(), [format!("-- interrupted: {sent} of 36,000 events sent")]);
    }

    fn options(arguments: &[&str]) -> Options {
        Arguments::try_parse_from([&["generate"], arguments].concat()).unwrap().options
    }

    #[test]
    fn events_are_valid_and_have_about_the_size_that_was_asked_for() {
        let options = options(&["--bytes", "300", "--sources", "2"]);
        let body = batch(&options, 100, &mut Random(1));
        assert_eq!(body.lines().count(), 100);
        for line in body.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(["generated-1", "generated-2"].contains(&event["source"].as_str().unwrap()), "{line}");
            assert!(event["traceId"].as_str().unwrap().len() == 32 && event["message"].is_string(), "{line}");
            assert!((300..310).contains(&line.len()), "{}: {line}", line.len());
        }
    }

    #[test]
    fn sources_begin_with_the_name_that_was_asked_for() {
        let options = options(&["--source", "shop \"a\"", "--sources", "1"]);
        let event: serde_json::Value = serde_json::from_str(batch(&options, 1, &mut Random(1)).trim()).unwrap();
        assert_eq!(event["source"], "shop \"a\"-1");
        for invalid in ["", "a\nb", &"x".repeat(SOURCE_BYTES_MAX + 1)] {
            assert!(Arguments::try_parse_from(["generate", "--source", invalid]).is_err(), "{invalid}");
        }
    }

    #[test]
    fn the_rate_is_kept_and_batches_are_bounded() {
        let options = options(&["--rate", "7"]);
        assert_eq!(events_due(&options, Duration::from_millis(1_000)), 7);
        assert_eq!(events_due(&options, Duration::from_millis(100)), 0);
        assert_eq!(batch_events_max(200), 10_000);
        assert_eq!(batch_events_max(200_000), 41);
        assert_eq!(batch_events_max(u64::MAX), 1);
    }

    #[test]
    fn answers_are_counted() {
        let answer = |status, body: &'static str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let mut results = Results { sent: 35, ..Results::default() };
        let report = r#"{"accepted":8,"failed":2,"timestamp":"x","durability":{"acknowledged":1,"journaled":0,"buffered":7},"errors":[]}"#;
        assert_eq!(results.add(10, Duration::from_millis(3), &answer(202, report)), Ok(()));
        assert_eq!(results.add(10, Duration::from_millis(1), &answer(429, r#"{"detail":"slow down"}"#)), Ok(()));
        assert_eq!(
            results.add(10, Duration::from_millis(2), &answer(404, "")).map_err(|failure| failure.exit_code()),
            Err(1)
        );
        assert_eq!(
            results.summary(Duration::from_secs(1)),
            "35 events in 1.0 s (35 events/s): 8 accepted, 22 refused, 5 in doubt\n  \
             durability: 1 acknowledged, 0 journaled, 7 buffered\n  \
             refused:    2: single events were refused\n  \
             refused:    10: slow down (429 Too Many Requests)\n  \
             refused:    10: the server answered 404 Not Found\n  \
             latency:    p50 2.0 ms, p90 3.0 ms, p99 3.0 ms (3 requests)\n"
        );
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!([50, 90, 99, 100].map(|percent| percentile(&values, percent).as_millis()), [50, 90, 99, 100]);
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
