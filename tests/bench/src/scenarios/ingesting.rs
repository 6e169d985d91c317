//! From HTTP to Kafka.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::keys::{certificate, client_files};
use e2e::{Http, Process};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::until;
use crate::events::{BATCH_EVENTS, EVENT_BYTES, Events, sources};
use crate::openloop::{self, Schedule};
use crate::processes::resident_bytes;
use crate::report::Row;
use crate::test_cluster::{Cpu, Installation, TestCluster, acknowledged};
use crate::wrk::{self, Bodies, Figures};

const BATCH_CONNECTIONS: usize = 64;
pub(super) const SINGLE_CONNECTIONS: usize = 256;
/// Maximum bytes of bodies in flight where bodies are large.
const BODIES_BYTES_MAX: usize = 20_000_000;
pub(super) const SOURCES: usize = 64;
/// Unmeasured time at the beginning, for the JVM, caches and connections.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);
/// Every event waits for its acknowledgement.
pub(super) const ACKNOWLEDGED: (&str, &str) = ("SPILLWAY_DELIVERY__INFO", "at-least-once");
/// The usual case: events with a time.
pub(super) const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";

/// Batches, one source each.
#[must_use]
pub fn batch_bodies(events: usize, bytes: usize) -> Vec<String> {
    let mut generator = Events::new(1, bytes, "INFO", TIMESTAMP);
    // Fewer are enough if they are large.
    let count = (20_000_000 / (events * bytes)).clamp(8, SOURCES);
    sources(count).iter().map(|source| generator.batch(source, events)).collect()
}

pub(super) fn single_bodies() -> Vec<String> {
    let mut generator = Events::new(1, EVENT_BYTES, "INFO", TIMESTAMP);
    sources(SOURCES).iter().map(|source| generator.event(source)).collect()
}

pub(super) fn json(bodies: &[impl AsRef<[u8]>]) -> Bodies {
    Bodies::new(bodies, "application/json", "")
}

/// Where bodies are sent, and what they contain.
pub(super) struct Target<'p> {
    producer: &'p Process,
    url: String,
    connections: usize,
    /// Events per body.
    events: usize,
}

/// Result of a run.
pub(super) struct Run {
    figures: Figures,
    pub events_per_second: f64,
    pub micros_each: f64,
}

/// Sends for the configured duration, and waits until everything is acknowledged; that time counts.
pub(super) async fn run(test_cluster: &TestCluster, target: &Target<'_>, bodies: &Bodies) -> Run {
    let http = target.producer.http("producer");
    let events_of = |figures: &Figures| figures.requests as f64 * target.events as f64;
    let measure = async |duration: Duration| {
        let before = acknowledged(&http).await;
        let cpu = Cpu::of_role(target.producer);
        let began = tokio::time::Instant::now();
        let figures = wrk::run(&target.url, bodies, target.connections, duration).await;
        let events = events_of(&figures);
        // Requests in flight when wrk ended arrive, too.
        until("all events are acknowledged", async || acknowledged(&http).await - before >= events).await;
        let events = acknowledged(&http).await - before;
        let seconds = began.elapsed().as_secs_f64();
        Run { figures, events_per_second: events / seconds, micros_each: cpu.micros_each(events) }
    };
    measure(WARM_UP).await;
    measure(test_cluster.duration).await
}

pub(super) fn row(label: impl Into<String>, run: &Run) -> Row {
    Row::new(label)
        .with("events/s", run.events_per_second)
        .with("CPU µs/event", run.micros_each)
        .with("p50 ms", run.figures.p50.as_secs_f64() * 1e3)
        .with("p99 ms", run.figures.p99.as_secs_f64() * 1e3)
        .with("p99.9 ms", run.figures.p999.as_secs_f64() * 1e3)
}

pub(super) fn batch_target(producer: &Process, events: usize) -> Target<'_> {
    let url = format!("{}/api/logs/batch", producer.http("producer").base());
    Target { producer, url, connections: BATCH_CONNECTIONS, events }
}

fn single_target(producer: &Process) -> Target<'_> {
    let url = format!("{}/api/logs", producer.http("producer").base());
    Target { producer, url, connections: SINGLE_CONNECTIONS, events: 1 }
}

/// Batches with each promise, beside bare librdkafka and the bare HTTP server.
pub async fn batch(test_cluster: &TestCluster) -> Vec<Row> {
    let bodies = json(&batch_bodies(BATCH_EVENTS, EVENT_BYTES));
    let mut rows = Vec::new();
    let installation = test_cluster.installation(&[]);
    {
        // Creates the topic.
        let producer = installation.start("producer", &[]).await;
        producer.terminate().await;
    }
    let kafka = test_cluster.cpu_of_kafka();
    let [records, seconds, cpu, _] = test_cluster.produce(installation.topic()).await;
    let bare = records / seconds;
    rows.push(
        Row::new("librdkafka alone")
            .with("events/s", bare)
            .with("CPU µs/event", cpu * 1e6 / records)
            .with("Kafka's CPU µs/event", kafka.micros_each(records)),
    );
    for (label, setting) in [
        ("acknowledged", ACKNOWLEDGED),
        ("exactly-once, acknowledged", ("SPILLWAY_DELIVERY__INFO", "exactly-once")),
        ("buffered", ("SPILLWAY_DELIVERY__INFO", "at-most-once")),
    ] {
        let producer = installation.start("producer", &[setting]).await;
        let kafka = test_cluster.cpu_of_kafka();
        let exactly_once = setting.1 == "exactly-once";
        let with_ids = exactly_once.then(|| json(&bodies_with_ids()));
        let run = run(test_cluster, &batch_target(&producer, BATCH_EVENTS), with_ids.as_ref().unwrap_or(&bodies)).await;
        let events = run.events_per_second * test_cluster.duration.as_secs_f64();
        rows.push(
            row(label, &run)
                .with("Kafka's CPU µs/event", kafka.micros_each(events))
                .with("of librdkafka", run.events_per_second / bare)
                .with("RSS MB", resident_bytes(producer.pid()) as f64 / 1e6),
        );
        producer.terminate().await;
    }
    installation.remove().await;
    let constant = test_cluster.constant().await;
    wrk::run(&constant.url, &bodies, BATCH_CONNECTIONS, WARM_UP).await;
    let cpu = constant.cpu();
    let figures = wrk::run(&constant.url, &bodies, BATCH_CONNECTIONS, test_cluster.duration).await;
    let events = figures.requests as f64 * BATCH_EVENTS as f64;
    rows.push(
        Row::new("the HTTP server alone, answering a constant")
            .with("events/s", figures.per_second() * BATCH_EVENTS as f64)
            .with("CPU µs/event", cpu.micros_each(events))
            .with("p50 ms", figures.p50.as_secs_f64() * 1e3)
            .with("p99 ms", figures.p99.as_secs_f64() * 1e3)
            .with("p99.9 ms", figures.p999.as_secs_f64() * 1e3),
    );
    rows
}

/// Batches whose events have ids. They are sent repeatedly, which the producer does not detect.
fn bodies_with_ids() -> Vec<String> {
    let mut number = 0_u64;
    let with_id = |body: String| {
        let events = body.split("{\"source\"").skip(1).map(|rest| {
            number += 1;
            format!("{{\"eventId\":\"01a20f37-31cf-76dd-a6da-{number:012x}\",\"source\"{rest}")
        });
        format!("[{}", events.collect::<String>())
    };
    batch_bodies(BATCH_EVENTS, EVENT_BYTES).into_iter().map(with_id).collect()
}

/// Single events, beside the bare HTTP server.
pub async fn single(test_cluster: &TestCluster) -> Vec<Row> {
    let bodies = single_bodies();
    let files = json(&bodies);
    let bytes: Arc<[Bytes]> = bodies.into_iter().map(Bytes::from).collect();
    let constant = test_cluster.constant().await;
    wrk::run(&constant.url, &files, SINGLE_CONNECTIONS, WARM_UP).await;
    let cpu = constant.cpu();
    let bare = wrk::run(&constant.url, &files, SINGLE_CONNECTIONS, test_cluster.duration).await;
    let mut rows = vec![
        Row::new("the HTTP server alone, answering a constant")
            .with("events/s", bare.per_second())
            .with("CPU µs/event", cpu.micros_each(bare.requests as f64))
            .with("p50 ms", bare.p50.as_secs_f64() * 1e3)
            .with("p99 ms", bare.p99.as_secs_f64() * 1e3)
            .with("p99.9 ms", bare.p999.as_secs_f64() * 1e3),
    ];
    drop(constant);
    let installation = test_cluster.installation(&[]);
    for (label, guarantee) in [("acknowledged", "at-least-once"), ("buffered", "at-most-once")] {
        let producer = installation.start("producer", &[("SPILLWAY_DELIVERY__INFO", guarantee)]).await;
        let run = run(test_cluster, &single_target(&producer), &files).await;
        let schedule = Schedule {
            path: "/api/logs",
            bodies: Arc::clone(&bytes),
            per_second: run.events_per_second / 2.0,
            duration: test_cluster.duration,
        };
        let latencies = openloop::run(&producer.http("producer"), schedule).await;
        rows.push(
            row(label, &run)
                .with("of the constant", run.events_per_second / bare.per_second())
                .with("p50 ms at half", latencies.millis(0.5))
                .with("p99 ms at half", latencies.millis(0.99))
                .with("p99.9 ms at half", latencies.millis(0.999)),
        );
        producer.terminate().await;
    }
    installation.remove().await;
    rows
}

/// Single events and batches through the gateway, beside the producer alone.
pub async fn gateway(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[ACKNOWLEDGED]);
    let producer = installation.start("producer", &[]).await;
    let upstream = producer.http("producer").base().to_owned();
    let variables =
        [("SPILLWAY_GATEWAY__PRODUCERS", upstream.as_str()), ("SPILLWAY_GATEWAY__CONSUMERS", upstream.as_str())];
    let gateway = installation.start("gateway", &variables).await;
    let base = gateway.http("gateway").base().to_owned();
    let (batches, singles) = (json(&batch_bodies(BATCH_EVENTS, EVENT_BYTES)), json(&single_bodies()));
    let mut rows = Vec::new();
    for (label, bodies, target) in [
        ("batches", &batches, batch_target(&producer, BATCH_EVENTS)),
        ("single events", &singles, single_target(&producer)),
    ] {
        rows.push(row(format!("{label}, direct"), &run(test_cluster, &target, bodies).await));
        let path = target.url.strip_prefix(&upstream).expect("a path").to_owned();
        let through = Target { url: format!("{base}{path}"), ..target };
        let cpu = Cpu::of_role(&gateway);
        let run = run(test_cluster, &through, bodies).await;
        // Includes the warm-up, so it is slightly too high.
        let micros = cpu.micros_each(run.events_per_second * (test_cluster.duration + WARM_UP).as_secs_f64());
        rows.push(row(format!("{label}, through the gateway"), &run).with("gateway's CPU µs/event", micros));
    }
    gateway.terminate().await;
    producer.terminate().await;
    installation.remove().await;
    rows
}

/// Batches with keys and TLS, beside the same without, in alternation.
pub async fn secured(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[ACKNOWLEDGED, ("SPILLWAY_AUTH__METRICS", "anonymous")]);
    let keys = installation.keys();
    let key =
        keys.create(&["--name", "bench", "--role", "ingest", "--source", "*", "--events-per-second", "100000000"]);
    let (file, server) = (keys.path().display().to_string(), certificate("server").display().to_string());
    let with_keys = [("SPILLWAY_AUTH__KEYS_FILE", file.as_str())];
    let with_tls =
        [("SPILLWAY_PRODUCER__TLS_CERTIFICATE", server.as_str()), ("SPILLWAY_PRODUCER__TLS_KEY", server.as_str())];
    let files = client_files(None);
    let (plain, encrypted) = (Http::to, |address| Http::over_tls(address, &files));
    let bodies = batch_bodies(BATCH_EVENTS, EVENT_BYTES);
    let (open, presenting) = (json(&bodies), json(&bodies).with_key(&key));
    let measured = async |producer: Process, bodies: &Bodies| {
        let run = run(test_cluster, &batch_target(&producer, BATCH_EVENTS), bodies).await;
        producer.terminate().await;
        run
    };
    let without = measured(installation.start_with("producer", &[], plain).await, &open).await;
    let mut rows = vec![row("without", &without)];
    let both = [with_keys.as_slice(), with_tls.as_slice()].concat();
    for (label, run) in [
        ("keys", measured(installation.start_with("producer", &with_keys, plain).await, &presenting).await),
        ("TLS", measured(installation.start_with("producer", &with_tls, encrypted).await, &open).await),
        ("keys and TLS", measured(installation.start_with("producer", &both, encrypted).await, &presenting).await),
    ] {
        let share = run.events_per_second / without.events_per_second;
        rows.push(row(label, &run).with("of without", share));
    }
    installation.remove().await;
    rows
}

/// Runs each case against one producer, and makes a row of it.
async fn each(test_cluster: &TestCluster, cases: Vec<(String, Bodies, usize, usize)>) -> Vec<Row> {
    let installation = test_cluster.installation(&[ACKNOWLEDGED]);
    let producer = installation.start("producer", &[]).await;
    let rows = rows_of(test_cluster, &producer, cases).await;
    producer.terminate().await;
    installation.remove().await;
    rows
}

async fn rows_of(
    test_cluster: &TestCluster,
    producer: &Process,
    cases: Vec<(String, Bodies, usize, usize)>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (label, bodies, events, connections) in cases {
        let target = Target { connections, ..batch_target(producer, events) };
        rows.push(row(label, &run(test_cluster, &target, &bodies).await).with("connections", connections as f64));
    }
    rows
}

/// JSON, JSON lines and compressed bodies.
pub async fn formats(test_cluster: &TestCluster) -> Vec<Row> {
    let arrays = batch_bodies(BATCH_EVENTS, EVENT_BYTES);
    let mut generator = Events::new(1, EVENT_BYTES, "INFO", TIMESTAMP);
    let lines: Vec<String> = sources(SOURCES).iter().map(|source| generator.lines(source, BATCH_EVENTS)).collect();
    let gzip = |body: &String| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()).expect("memory")
    };
    let zstd = |body: &String| zstd::encode_all(body.as_bytes(), 3).expect("memory");
    let gzipped: Vec<_> = arrays.iter().map(gzip).collect();
    let zstandard: Vec<_> = arrays.iter().map(zstd).collect();
    let case = |label: &str, bodies| (label.to_owned(), bodies, BATCH_EVENTS, BATCH_CONNECTIONS);
    let cases = vec![
        case("JSON array", json(&arrays)),
        case("JSON lines", Bodies::new(&lines, "application/x-ndjson", "")),
        case("JSON array, gzip", Bodies::new(&gzipped, "application/json", "gzip")),
        case("JSON array, zstd", Bodies::new(&zstandard, "application/json", "zstd")),
    ];
    each(test_cluster, cases).await
}

/// One to a thousand connections.
pub async fn clients(test_cluster: &TestCluster) -> Vec<Row> {
    let bodies = batch_bodies(BATCH_EVENTS, EVENT_BYTES);
    let case = |connections: usize| (connections.to_string(), json(&bodies), BATCH_EVENTS, connections);
    each(test_cluster, [1, 4, 16, 64, 256, 1_000].map(case).into()).await
}

/// The number of connections whose bodies of this size fit into what a producer accepts at once (`BODY_BYTES_MAX`, 32
/// MB).
fn connections(body_bytes: usize) -> usize {
    (BODIES_BYTES_MAX / body_bytes).clamp(1, BATCH_CONNECTIONS)
}

/// Events of 100 bytes to 10 KB.
pub async fn sizes(test_cluster: &TestCluster) -> Vec<Row> {
    let case = |bytes: usize| {
        let bodies = json(&batch_bodies(BATCH_EVENTS, bytes));
        (format!("{bytes} B"), bodies, BATCH_EVENTS, connections(BATCH_EVENTS * bytes))
    };
    each(test_cluster, [100, 225, 1_000, 10_000].map(case).into()).await
}

/// One to 10,000 events per batch.
pub async fn batches(test_cluster: &TestCluster) -> Vec<Row> {
    let case = |events: usize| {
        let bodies = json(&batch_bodies(events, EVENT_BYTES));
        (events.to_string(), bodies, events, connections(events * EVENT_BYTES))
    };
    each(test_cluster, [1, 10, 100, 1_000, 10_000].map(case).into()).await
}

/// 1 to 48 partitions.
pub async fn partitions(test_cluster: &TestCluster) -> Vec<Row> {
    let bodies = batch_bodies(BATCH_EVENTS, EVENT_BYTES);
    let mut rows = Vec::new();
    for partitions in ["1", "3", "6", "12", "48"] {
        let installation: Installation<'_> =
            test_cluster.installation(&[ACKNOWLEDGED, ("SPILLWAY_KAFKA__PARTITIONS", partitions)]);
        let producer = installation.start("producer", &[]).await;
        let cases = vec![(partitions.to_owned(), json(&bodies), BATCH_EVENTS, BATCH_CONNECTIONS)];
        rows.extend(rows_of(test_cluster, &producer, cases).await);
        producer.terminate().await;
        installation.remove().await;
    }
    rows
}
