//! One agent at a steady rate, with the default settings.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Http, Process, metric};
use flate2::Compression;
use flate2::write::GzEncoder;
use testkit::agent_bodies::FIRST_NANOS;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::until;
use crate::agent_bodies;
use crate::events::{EVENT_BYTES, sources};
use crate::openloop::Latencies;
use crate::report::Row;
use crate::test_cluster::TestCluster;

const CONNECTIONS: u32 = 50;
const BATCH: usize = 500;
const EVENTS_PER_SECOND: u32 = 20_000;
/// Shortest time of the measurement: a limit with a burst of a second must show.
const SECONDS_MIN: u64 = 30;

/// One agent sends batches over OTLP through the gateway, to one process and to separate ones. No answer may refuse any.
pub async fn agent(test_cluster: &TestCluster) -> Vec<Row> {
    let duration = test_cluster.duration.max(Duration::from_secs(SECONDS_MIN));
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(test_cluster.spillway(), "all", directory.path(), &[]).await;
    let to = |role| process.http(role);
    let embedded = measure("one process, embedded", &to("gateway"), &to("producer"), duration).await;
    process.terminate().await;

    let installation = test_cluster.installation(&[]);
    let producer = installation.start("producer", &[]).await;
    let upstream = producer.http("producer").base().to_owned();
    let variables =
        [("SPILLWAY_GATEWAY__PRODUCERS", upstream.as_str()), ("SPILLWAY_GATEWAY__CONSUMERS", upstream.as_str())];
    let gateway = installation.start("gateway", &variables).await;
    let to_producer = producer.http("producer");
    let separate =
        measure("gateway and producer, Kafka and Redis", &gateway.http("gateway"), &to_producer, duration).await;
    gateway.terminate().await;
    producer.terminate().await;
    installation.remove().await;
    vec![embedded, separate]
}

/// Bodies as an agent sends them: protobuf in gzip.
fn bodies() -> Arc<[Bytes]> {
    let body = |(number, source): (u64, &String)| {
        let events = agent_bodies::events(number, EVENT_BYTES, source, BATCH);
        let body = events.otlp_protobuf(FIRST_NANOS + number * BATCH as u64);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let gzip = encoder.write_all(&body).and_then(|()| encoder.finish()).expect("memory");
        Bytes::from(gzip)
    };
    (0..).zip(&sources(16)).map(body).collect()
}

async fn measure(label: &'static str, gateway: &Http, producer: &Http, duration: Duration) -> Row {
    let batches_per_second = EVENTS_PER_SECOND as usize / BATCH;
    let period = Duration::from_secs(u64::from(CONNECTIONS)) / u32::try_from(batches_per_second).expect("few");
    let bodies = bodies();
    let (done, mut answers) = mpsc::unbounded_channel();
    let start = Instant::now();
    for connection in 0..CONNECTIONS {
        // A client of its own has a connection of its own.
        let (http, bodies, done) = (Http::to(gateway.address()), Arc::clone(&bodies), done.clone());
        tokio::spawn(async move {
            let mut pace = interval_at(start + period * connection / CONNECTIONS, period);
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for n in (connection as usize).. {
                let due = pace.tick().await;
                if due.duration_since(start) >= duration {
                    return;
                }
                let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
                let body = bodies[n % bodies.len()].clone();
                let answer = http.try_send("POST", "/v1/logs", &headers, body).await;
                let _ = done.send((answer.map(|answer| answer.status), due.elapsed()));
            }
        });
    }
    drop(done);
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some((status, time)) = answers.recv().await {
        match status {
            Some(200) => times.push(time),
            _ => refused += 1,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let accepted = (times.len() * BATCH) as f64;
    let held = metric(producer, "spillway_agent_requests_held_total").await;
    until("all events are acknowledged", async || {
        metric(producer, "spillway_events_acknowledged_total").await >= accepted
    })
    .await;
    assert_eq!(refused, 0, "{label}: refused of {} requests, {held} were held", times.len() + refused);
    let latencies = Latencies::of(times);
    Row::new(label)
        .with("events/s", accepted / seconds)
        .with("refused requests", refused as f64)
        .with("held requests", held)
        .with("p50 ms", latencies.millis(0.5))
        .with("p99 ms", latencies.millis(0.99))
}
