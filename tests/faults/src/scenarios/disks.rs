//! Disks of producers, and of one process in role `all`, usage up or reject writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Http, Program, series};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use super::delivery::{HALF_OPEN_WITHIN, until_journaled, until_nothing_is_journaled};
use crate::cluster::{Cluster, DEADLINE, Directory, Plan, Role, go_on, holds_within};
use crate::comparison::{Ordering, Row, compare, source_hash};
use crate::load::Load;
use crate::proxy::Mode;
use crate::report::Report;
use crate::test_cluster::TestCluster;

const MIB: u64 = 1 << 20;
/// The space that is free changes while a disk is filled.
const FILL_ATTEMPTS_MAX: usize = 100;

/// A file of another process on the disk. Removed on drop.
struct Filler(std::path::PathBuf);

impl Filler {
    /// Fills the free space, except for this many bytes.
    fn leaving(directory: &Path, free_bytes: u64) -> Self {
        let path = directory.join("filler");
        // Again if others have taken some of the space meanwhile.
        let is_taken = (0..FILL_ATTEMPTS_MAX).any(|_| {
            let output = std::process::Command::new("df").args(["--output=avail", "-B1"]).arg(directory).output();
            let output = String::from_utf8(output.expect("df runs").stdout).expect("text");
            let free: u64 = output.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number");
            let size = free.saturating_sub(free_bytes).max(1).to_string();
            let taken = std::process::Command::new("fallocate").args(["-l", &size]).arg(&path).output();
            taken.expect("fallocate runs").status.success()
        });
        assert!(is_taken, "the disk can be filled");
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers of a process in role `all` on a full disk.
#[derive(Debug, Default)]
struct Probe {
    info: (u16, String),
    error: u16,
    query: u16,
    producer_ready: u16,
    consumer_ready: u16,
    disk: String,
}

async fn probe(program: &Program) -> Probe {
    let post = async |level: &str| {
        let body = format!(r#"{{"source":"probe","level":"{level}","message":"probe"}}"#);
        let answer = program.gateway.post("/api/logs", body).await;
        (answer.status, answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    let status = async |http: &Http, path: &str| http.get(path).await.status;
    let health = program.producer.get("/actuator/health").await.json();
    Probe {
        info: post("INFO").await,
        error: post("ERROR").await.0,
        query: status(&program.gateway, "/api/logs?limit=5").await,
        producer_ready: status(&program.producer, "/actuator/health/readiness").await,
        consumer_ready: status(&program.consumer, "/actuator/health/readiness").await,
        disk: health["components"]["disk"]["detail"].as_str().unwrap_or_default().to_owned(),
    }
}

/// `spillway all` on a disk of 200 MiB that another process fills completely, and then again to just below the reserve,
/// while events arrive.
pub async fn small_disk(test_cluster: Arc<TestCluster>) -> Report {
    let Some(disk) = Directory::new(Some(200 * MIB)) else { return Report::skipped("no tmpfs can be mounted") };
    let data_dir = disk.path().join("data");
    std::fs::create_dir(&data_dir).expect("a directory");
    let program = Program::start(&test_cluster.binary, &data_dir, &[]).await;
    let load = Load { batch_events_per_second: 2_000, message_bytes: 500, ..Load::default() };
    let running = load.begin(vec![program.gateway.clone()], Arc::default());
    let mut report = Report::default();
    let accepted = async |events: u64| holds_within(DEADLINE, async || running.accepted() >= events).await;
    report.expect(accepted(5_000).await, "events are accepted");

    let filler = Filler::leaving(disk.path(), 0);
    go_on(&running, test_cluster.amounts.outage / 2).await;
    let full = probe(&program).await;
    drop(filler);
    let freed = Instant::now();
    let taken_again = accepted(running.accepted() + 2_000).await;
    report.expect(taken_again, "events are accepted again once there is space");
    report.note(format!("accepting again {:.1} s after there was space", freed.elapsed().as_secs_f64()));

    let filler = Filler::leaving(disk.path(), 16 * MIB);
    go_on(&running, Duration::from_secs(3)).await;
    let reserved = probe(&program).await;
    drop(filler);
    let fault_over = Instant::now();
    report.expect(accepted(running.accepted() + 2_000).await, "all levels are accepted again");
    let began = running.began();
    let ledger = running.stop().await;
    let lag = async || series(&program.consumer, "kafka_consumer_lag_records").await.iter().sum::<f64>() == 0.0;
    report.expect(holds_within(DEADLINE, lag).await, "the store accepts everything without a restart");
    let all_stored = Instant::now();

    let mut rows = rows(&program.consumer).await;
    let comparison = compare(&ledger, &mut rows, Ordering::OneProducer);
    let since_load = fault_over.saturating_duration_since(began);
    report = Report {
        comparison,
        calls: ledger.calls(),
        calls_accepted: ledger.answers_with(202),
        calls_503: ledger.answers_with(503),
        until_acknowledged: ledger.acknowledged_after(since_load).map(|at| at.saturating_sub(since_load)),
        until_stored: Some(all_stored.saturating_duration_since(fault_over)),
        ledger,
        ..report
    };
    hold_to_promises(&mut report);
    let is_refused = full.info.0 == 503 && full.error == 503 && full.producer_ready == 503;
    report.expect(is_refused, format!("on a full disk nothing is accepted: {full:?}"));
    report.expect(full.info.1.contains("disk"), format!("the answer names the disk: {:?}", full.info.1));
    report.expect(full.disk.contains("DATA_DIR"), format!("health names the disk: {:?}", full.disk));
    report.expect((full.query, full.consumer_ready) == (200, 200), format!("queries work: {full:?}"));
    let is_reserved = reserved.info.0 == 503 && reserved.error == 202 && reserved.producer_ready == 200;
    report.expect(is_reserved, format!("in the reserve only ERROR and FATAL are accepted: {reserved:?}"));
    let said = |text: &str| program.log().iter().filter(|line| line.contains(text)).count();
    let lines = [
        ("filling up", said("is filling up")),
        ("disk state", said("the disk is") + said("the disk has space again")),
        ("log state", said("a log on disk does not accept records") + said("a log on disk accepts records again")),
        ("store", said("the store failed, retrying")),
    ];
    report.note(format!("lines of the log: {lines:?}"));
    let bounded = lines.iter().all(|(what, lines)| *lines <= if *what == "store" { 40 } else { 12 });
    report.expect(bounded, format!("each change of state is logged once: {lines:?}"));
    let exit = program.terminate().await;
    report.expect(exit == Some(0), format!("it exits 0: {exit:?}"));
    report
}

/// Checks the promises of a process in role `all`.
pub fn hold_to_promises(report: &mut Report) {
    let total = report.comparison.total();
    for (what, count) in [
        ("accepted events are lost", total.lost()),
        ("rows are duplicated", total.duplicated),
        ("rows are out of order", total.reordered),
        ("refused events are stored", total.refused_but_stored),
        ("answers 500", report.ledger.answers_with(500)),
        ("503 without Retry-After", report.ledger.without_retry_after),
    ] {
        report.expect(count == 0, format!("{what}: {count}"));
    }
    if let Some((number, sent)) = report.comparison.lost_example {
        report.note(format!("event {number} is lost; it was sent {sent:.3?} after the start of the load"));
    }
}

/// All rows of the load, read through the API.
pub async fn rows(consumer: &Http) -> Vec<Row> {
    let mut rows = Vec::new();
    let take = |event: Value| {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let number = |name: &str| event[name].as_u64().unwrap_or_default();
        let Some(of_load) = text("message").strip_prefix("event ").and_then(|rest| rest.split(' ').next()) else {
            return;
        };
        rows.push(Row {
            number: of_load.parse().expect("a number"),
            source_hash: source_hash(text("source")),
            level: domain::level::Level::parse(text("level")).map_or(u8::MAX, domain::level::Level::number),
            partition: u32::try_from(number("partition")).unwrap_or(u32::MAX),
            offset: number("offset"),
            // Only the embedded bus is read this way, and it has no packed records.
            sequence: 0,
        });
    };
    consumer.each_event("", 1_000, take).await;
    rows
}

/// Sets how many files the file system may have; `None` for the current number.
async fn allow_files(directory: &Path, files: Option<u64>) {
    let counted = Command::new("stat").args(["-f", "-c", "%c %d"]).arg(directory).output().await.expect("stat runs");
    let counted = String::from_utf8(counted.stdout).expect("text");
    let mut numbers = counted.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
    let used = numbers.next().unwrap_or(0) - numbers.next().unwrap_or(0);
    let option = format!("remount,nr_inodes={}", files.unwrap_or(used));
    let mounted = Command::new("mount").args(["-o", &option]).arg(directory).status().await;
    assert!(mounted.is_ok_and(|status| status.success()), "mount -o {option}");
}

/// Three times in an outage, the journal cannot create a file although the disk has space: writes at that time fail, and
/// are repaired.
pub async fn journal_writes_fail(test_cluster: Arc<TestCluster>) -> Report {
    let plan = Plan {
        disk_bytes: Some(512 * MIB),
        // Small segments, so that files are created all the time.
        producer_settings: vec![("JOURNAL__BYTES_MAX", "16MiB".to_owned()), ("MEMORY_BYTES_MAX", "8MiB".to_owned())],
        ..Plan::default()
    };
    let Some(mut cluster) = Cluster::set(&test_cluster, plan).await else {
        return Report::skipped("no tmpfs can be mounted");
    };
    let disk = cluster.producers_directory();
    let running = cluster.load(Load { batch_events_per_second: 6_000, ..Load::default() });
    cluster.until_stored(2_000).await;
    test_cluster.kafka.set(Mode::Cut);
    until_journaled(&cluster, 1_000.0).await;
    let is_up = async |wanted: f64| cluster.watch.last(0).is_some_and(|reading| reading.journal_up == wanted);
    for _ in 0..3 {
        allow_files(&disk, None).await;
        cluster.until("the journal cannot be written", DEADLINE, async || is_up(0.0).await).await;
        go_on(&running, Duration::from_secs(1)).await;
        allow_files(&disk, Some(100_000)).await;
        cluster.until("the journal is written again", DEADLINE, async || is_up(1.0).await).await;
        let journaled = cluster.watch.last(0).map_or(0.0, |reading| reading.journaled);
        until_journaled(&cluster, journaled + 500.0).await;
    }
    test_cluster.kafka.set(Mode::Pass);
    cluster.fault_is_over();
    cluster.until_acknowledged(&running, HALF_OPEN_WITHIN).await;
    until_nothing_is_journaled(&cluster, HALF_OPEN_WITHIN).await;
    let mut report = cluster.settle(running, 0).await;
    report.expect(report.comparison.total().journaled > 2_000, "events are journaled in between");
    cluster.shutdown().await;
    report
}

/// Kafka rejects records above the topic's limit until the small disk of the log of rejected records is full, and until
/// that log has been exported and removed.
pub async fn refused_log_full(test_cluster: Arc<TestCluster>) -> Report {
    const MEMORY_BYTES: u64 = 8 * MIB;
    const MESSAGE_BYTES: usize = 30_000;
    let plan = Plan {
        producer_settings: vec![
            ("MEMORY_BYTES_MAX", MEMORY_BYTES.to_string()),
            // The topic's limit applies to compressed bytes.
            ("KAFKA__COMPRESSION", "none".to_owned()),
        ],
        ..Plan::default()
    };
    let mut cluster = super::cluster(&test_cluster, plan).await;
    let refused = cluster.producers_directory().join("journal/0/refused");
    let Some(disk) = SmallDirectory::mount(&refused, MIB) else { return Report::skipped("no tmpfs can be mounted") };
    let load = Load {
        batch_events: 10,
        batch_events_per_second: 100,
        singles_per_second: 20,
        message_bytes: MESSAGE_BYTES,
        ..Load::default()
    };
    let running = cluster.load(load);
    cluster.until_stored(200).await;
    let topic = cluster.topic();
    topic.set("max.message.bytes", "20000").await;
    let producer = cluster.http(Role::Producer, 0);
    let unkept = async || series(&producer, "spillway_refused_unkept_bytes").await.iter().sum::<f64>();
    let is_full = async || unkept().await > (MEMORY_BYTES / 4) as f64;
    cluster.until("more records are rejected than can be kept", DEADLINE * 2, is_full).await;
    let answer = producer.try_send("GET", "/actuator/health/readiness", &[], "").await;
    let ready = answer.map_or(0, |answer| answer.status);
    go_on(&running, test_cluster.amounts.outage / 2).await;
    let waiting_bytes = unkept().await;
    let peak = cluster.process(Role::Producer, 0).peak_memory_bytes();
    topic.set("max.message.bytes", "1048576").await;
    let mut exported = export(&cluster).await;
    let rejected: u64 = exported.values().sum();
    for file in std::fs::read_dir(&refused).expect("it is there").flatten() {
        std::fs::remove_file(file.path()).expect("it can be removed");
    }
    // More room than the waiting records need.
    disk.resize(64 * MIB);
    cluster.fault_is_over();
    cluster.until("the waiting records are kept", DEADLINE, async || unkept().await == 0.0).await;
    until_nothing_is_journaled(&cluster, HALF_OPEN_WITHIN).await;
    let began = running.began();
    let ledger = running.stop().await;
    for (message, copies) in export(&cluster).await {
        *exported.entry(message).or_default() += copies;
    }
    let mut report = cluster.settle_sent(ledger, began, u64::MAX).await;
    let lost = report.comparison.total().lost();
    // Records that were accepted and then rejected have no row; they must be in the export.
    report.broken.retain(|promise| !promise.starts_with("acknowledged or journaled events are lost"));
    let kept: u64 = exported.values().sum();
    report.expect(lost == kept, format!("unstored events are kept: {lost} rows are missing, {kept} were exported"));
    report.expect(exported.values().all(|copies| *copies == 1), "each rejected record is kept once");
    let still_rejected = kept.saturating_sub(rejected);
    report.expect(
        still_rejected * MESSAGE_BYTES as u64 <= waiting_bytes as u64,
        format!("only waiting records are rejected, not the backlog: {still_rejected} of {waiting_bytes} bytes"),
    );
    report.expect(ready == 503, format!("a producer that cannot keep rejected records is not ready: {ready}"));
    let bytes_max = MEMORY_BYTES as f64 * 1.25 + MIB as f64;
    report.expect(waiting_bytes <= bytes_max, format!("{waiting_bytes} bytes wait, at most {bytes_max}"));
    report.note(format!("waiting bytes={waiting_bytes} peak memory={} MiB exported={kept}", peak / MIB));
    cluster.shutdown().await;
    report
}

/// A small in-memory file system mounted on a directory; unmounted on drop.
struct SmallDirectory(std::path::PathBuf);

impl SmallDirectory {
    fn mount(path: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a directory");
        let size = format!("size={bytes}");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }

    fn resize(&self, bytes: u64) {
        let option = format!("remount,size={bytes}");
        let mounted = std::process::Command::new("mount").args(["-o", &option]).arg(&self.0).status();
        assert!(mounted.is_ok_and(|status| status.success()), "mount -o {option}");
    }
}

impl Drop for SmallDirectory {
    fn drop(&mut self) {
        // Lazily: a process may still have files open.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The rejected records of the first producer: number of copies by message.
async fn export(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut command = Command::new(&cluster.test_cluster.binary);
    command.args(["journal", "export", "--refused"]).env("SPILLWAY_DATA_DIR", cluster.producers_directory());
    let output = command.output().await.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut messages = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        let message = line["event"]["message"].as_str().expect("a message");
        *messages.entry(message.chars().take(40).collect()).or_default() += 1;
    }
    messages
}
