//! `spillway all` is killed while the embedded store seals, merges and removes segments.
//!
//! Constraints and invariants:
//! * Sealing has no settings for tests: so many events are sent that it begins a segment about every two seconds.
//! * A kill comes as soon as a file of a segment appears, so it hits the step that writes the file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use domain::timestamp::Timestamp;
use e2e::{Http, Program, series, wait_until};
use tokio::process::Command;

use super::disks::{hold_to_promises, rows};
use crate::cluster::{DEADLINE, go_on, holds_within};
use crate::comparison::{self, compare};
use crate::ledger::{Ledger, Outcome};
use crate::load::Load;
use crate::proxy::free_port;
use crate::report::Report;
use crate::test_cluster::TestCluster;

/// Files that are begun between two kills. The kill hits the last of them.
const FILES_PER_LIFE: u64 = 4;
/// Lines of the log.
const SEALED: &str = "events are sealed";
const MERGED: &str = "segments are merged";
const REMOVED: &str = "removed the oldest events";

/// Nothing is removed: every event is found once.
pub async fn killed_while_sealing(test_cluster: Arc<TestCluster>) -> Report {
    killed(&test_cluster, false).await
}

/// From the second start on, the segments have as many bytes as they may have: each new one removes the oldest.
pub async fn killed_while_removing(test_cluster: Arc<TestCluster>) -> Report {
    killed(&test_cluster, true).await
}

async fn killed(test_cluster: &TestCluster, removes: bool) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a free port")));
    let place = Place { binary: &test_cluster.binary, data_dir: directory.path(), address };
    let mut program = place.start(0).await;
    let (began_micros, generations) = (unix_micros(), Arc::<AtomicU16>::default());
    // Half of the clients send ids, and send again what had no answer.
    let load =
        Load { batch_clients: 8, batch_events: 500, batch_events_per_second: 30_000, resend: true, ..Load::default() };
    let running = load.begin(vec![Http::to(address)], Arc::clone(&generations));

    let (mut steps, mut unfinished, mut newest) = (Vec::new(), 0, 0);
    let (mut bytes_max, mut removed_until) = (0_u64, 0);
    // Before the first one nothing is removed.
    let kills = test_cluster.amounts.kills.max(2);
    for kill in 1..=kills {
        let wanted = newest + FILES_PER_LIFE;
        wait_until("files of segments are written", async || place.newest_file() >= wanted).await;
        let log = program.kill().await;
        generations.fetch_add(1, Ordering::AcqRel);
        newest = place.newest_file();
        let listed = place.listed().await;
        unfinished += u64::from(listed.iter().all(|segment| segment.name != file_name(newest)));
        steps.push(Steps::of(&log));
        if removes {
            // It may have been killed before it logged that it removed the oldest.
            let oldest = listed.first().map(|oldest| oldest.received_to);
            removed_until = removals(&log).chain(oldest).fold(removed_until, i64::max);
        }
        if removes && bytes_max == 0 {
            bytes_max = listed.iter().map(|segment| place.bytes(&segment.name)).sum();
        }
        // At last nothing is removed, so that what was listed is found.
        program = place.start(if kill == kills { 0 } else { bytes_max }).await;
    }
    let mut report = Report::default();
    let is_merged =
        async || Steps::of(&program.log()).merged + steps.iter().map(|steps| steps.merged).sum::<usize>() > 0;
    report.expect(removes || holds_within(DEADLINE, is_merged).await, "segments are merged");
    go_on(&running, Duration::from_secs(2)).await;
    let mut ledger = running.stop().await;
    let lag = async || series(&program.consumer, "kafka_consumer_lag_records").await.iter().sum::<f64>() == 0.0;
    report.expect(holds_within(DEADLINE, lag).await, "everything is stored");

    let mut rows = rows(&program.consumer).await;
    steps.push(Steps::of(&program.log()));
    report.expect(program.terminate().await == Some(0), "it exits 0");
    let (is_whole, verified) = place.segments("verify").await;
    report.expect(is_whole, format!("all segments are whole: {verified}"));
    if removes {
        let until = Duration::from_micros(u64::try_from(removed_until - began_micros).unwrap_or(0));
        leave_open(&mut ledger, until);
        report.note(format!("removed is what was received until {until:.3?} after the start of the load"));
    }
    report.comparison = compare(&ledger, &mut rows, comparison::Ordering::OneProducer);
    (report.calls, report.calls_accepted, report.calls_503) =
        (ledger.calls(), ledger.answers_with(202), ledger.answers_with(503));
    report.ledger = ledger;
    hold_to_promises(&mut report);
    let (total, strangers) = (report.comparison.total(), report.comparison.strangers);
    report.expect(strangers == 0, format!("rows differ from what was sent: {strangers}"));
    report.expect(total.accepted() > 0, "something is accepted that was not removed");
    report.expect(unfinished > 0, "a kill hits a file that is being written");
    let each = |count: fn(&Steps) -> usize| steps.iter().map(count).collect::<Vec<_>>();
    let (sealed, merged, removed) = (each(|of| of.sealed), each(|of| of.merged), each(|of| of.removed));
    let is_hit_while_sealing = sealed.iter().take(kills as usize).all(|segments| *segments > 0);
    report.expect(is_hit_while_sealing, format!("each life seals segments before its kill: {sealed:?}"));
    let is_removed = removed.iter().any(|times| *times > 0);
    report.expect(is_removed == removes, format!("segments are removed if there are too many bytes: {removed:?}"));
    report.note(format!("kills={kills}, of these in the middle of a file={unfinished}"));
    report.note(format!("by life: segments sealed={sealed:?} times merged={merged:?} times removed={removed:?}"));
    report.note(verified);
    report
}

/// Takes back the answers to what was sent until then: these events may have been removed or not.
fn leave_open(ledger: &mut Ledger, until: Duration) {
    for client in &mut ledger.clients {
        // The first attempt of what is sent again may be the one that was stored.
        let (mut first, mut sent) = (u32::MAX, Duration::ZERO);
        for request in &mut client.requests {
            if request.first != first {
                (first, sent) = (request.first, request.sent);
            }
            if sent <= until {
                request.outcome = Outcome::Unknown;
            }
        }
    }
}

/// How often a life did what its log says.
struct Steps {
    sealed: usize,
    merged: usize,
    removed: usize,
}

impl Steps {
    fn of(log: &[String]) -> Self {
        let said = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        Self { sealed: said(SEALED), merged: said(MERGED), removed: said(REMOVED) }
    }
}

/// Last receipts of what was removed, in microseconds since 1970. A segment that was removed may have a later one than a segment
/// that is sealed after that: after a kill, partitions are not read evenly.
fn removals(log: &[String]) -> impl Iterator<Item = i64> {
    let until =
        log.iter().filter_map(|line| line.contains(REMOVED).then(|| line.split_once("received_until=")).flatten());
    until.map(|(_, until)| {
        let until = until.split(' ').next().unwrap_or(until);
        Timestamp::parse(until).expect("a time").unix_micros()
    })
}

/// A segment of the list.
struct Listed {
    name: String,
    /// Last receipt of its events, in microseconds since 1970.
    received_to: i64,
}

/// Where the program runs.
struct Place<'a> {
    binary: &'a str,
    data_dir: &'a Path,
    address: SocketAddr,
}

impl Place<'_> {
    /// Starts it with this `STORE__BYTES_MAX`.
    async fn start(&self, bytes_max: u64) -> Program {
        let (address, bytes_max) = (self.address.to_string(), bytes_max.to_string());
        let variables = [
            ("SPILLWAY_GATEWAY__LISTEN", address.as_str()),
            ("SPILLWAY_STORE__BYTES_MAX", bytes_max.as_str()),
            ("SPILLWAY_LOG", "warn,bootstrap=info,adapter_embedded::store=debug"),
        ];
        Program::start(self.binary, self.data_dir, &variables).await
    }

    /// Number of the newest file of a segment, whether it is complete or not; 0 without one.
    fn newest_file(&self) -> u64 {
        let files = std::fs::read_dir(self.data_dir.join("segments")).expect("a directory").flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".parquet")?.parse().ok()).max().unwrap_or(0)
    }

    fn bytes(&self, name: &str) -> u64 {
        std::fs::metadata(self.data_dir.join("segments").join(name)).expect("it is there").len()
    }

    /// Runs `spillway segments COMMAND`: whether it exits with 0, and what it prints.
    async fn segments(&self, command: &str) -> (bool, String) {
        let mut spillway = Command::new(self.binary);
        spillway.args(["segments", command]).current_dir(self.data_dir).env("SPILLWAY_DATA_DIR", self.data_dir);
        let output = spillway.output().await.expect("the program runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("text").trim().to_owned())
    }

    /// The listed segments, in the order in which they would be removed.
    async fn listed(&self) -> Vec<Listed> {
        let (_, printed) = self.segments("list").await;
        let segments = printed.lines().filter_map(|line| line.split_once(": "));
        let segments = segments.map(|(name, rest)| {
            let received = rest.split_once(" received from ").and_then(|(_, rest)| rest.split_once(", "));
            let to = received.and_then(|(received, _)| received.split_once(" to ")).expect("times of receipt").1;
            let to = Timestamp::parse(to).expect("a time");
            Listed { name: name.to_owned(), received_to: to.unix_micros() }
        });
        segments.collect()
    }
}

/// The name of the file with this number.
fn file_name(number: u64) -> String {
    format!("{number:012}.parquet")
}

/// Microseconds since 1970, by the clock that times of receipt are of.
#[expect(clippy::disallowed_methods, reason = "the program under test has the same clock")]
fn unix_micros() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("before the year 200000")
}
