//! The throughput of another program that sends logs to Kafka, on the same machine.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::process::Command;
use tokio::time::Instant;

use super::until;
use crate::events::{BATCH_EVENTS, EVENT_BYTES, Events, sources};
use crate::processes::resident_bytes;
use crate::report::Row;
use crate::scenarios::ingesting::batches_acknowledged;
use crate::test_cluster::{Cpu, PARTITIONS, TestCluster};

/// Maximum wait for the watermarks of a topic.
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Without further events for this long, all have arrived.
const NO_MORE_AFTER: Duration = Duration::from_secs(10);

/// rsyslog, then Spillway.
pub async fn peer(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    installation.make_topic(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("a port");
    drop(socket);
    // Its queue is in memory, and a full queue blocks its sender.
    let configuration = format!(
        r#"global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imtcp")
module(load="omkafka")
template(name="line" type="string" string="%rawmsg%")
main_queue(queue.size="100000" queue.dequeueBatchSize="1024")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="kafka")
ruleset(name="kafka" queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="1024" queue.timeoutenqueue="60000") {{
  action(type="omkafka" topic="{topic}" broker="{brokers}" template="line" partitions.auto="on"
         confParam=["compression.codec=snappy", "acks=all", "enable.idempotence=true", "queue.buffering.max.kbytes=65536",
                    "queue.buffering.max.messages=100000"]
         resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{directory}/failed" action.resumeRetryCount="-1"
         action.resumeInterval="1")
}}
"#,
        directory = directory.path().display(),
        port = address.port(),
        topic = installation.topic(),
        brokers = test_cluster.brokers(),
    );
    let file = directory.path().join("rsyslog.conf");
    std::fs::write(&file, configuration).expect("a file");
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&file).arg("-i").arg(directory.path().join("pid"));
    let mut rsyslog = command.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("rsyslogd runs");
    let pid = rsyslog.id().expect("it runs");
    until("rsyslog listens", async || TcpStream::connect(address).is_ok()).await;
    let mut generator = Events::new(1, EVENT_BYTES, "INFO", "2026-01-01T00:00:00.000Z");
    let lines: Vec<String> = sources(64).iter().map(|source| generator.lines(source, BATCH_EVENTS)).collect();
    let duration = test_cluster.duration;
    let (began, cpu) = (Instant::now(), Cpu::of(vec![pid]));
    let sending = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("rsyslog listens");
        let began = std::time::Instant::now();
        let mut sent = 0;
        for batch in lines.iter().cycle() {
            if began.elapsed() > duration {
                break;
            }
            stream.write_all(batch.as_bytes()).expect("rsyslog reads");
            sent += BATCH_EVENTS as u64;
        }
        sent
    });
    let sent = sending.await.expect("the sender ends");
    let mut config = ClientConfig::new();
    let client: BaseConsumer = config.set("bootstrap.servers", test_cluster.brokers()).create().expect("a client");
    let partitions: i32 = PARTITIONS.parse().expect("a number");
    let arrived = || {
        let watermarks = (0..partitions).map(|partition| {
            let found = client.fetch_watermarks(installation.topic(), partition, WATERMARKS_TIMEOUT);
            found.expect("Kafka answers").1
        });
        watermarks.sum::<i64>().unsigned_abs()
    };
    // It may lose some: it is done when no more arrive.
    let (mut last, mut last_at) = (0, Instant::now());
    until("Kafka has all events", async || {
        let now = arrived();
        if now > last {
            (last, last_at) = (now, Instant::now());
        }
        last >= sent || last_at.elapsed() > NO_MORE_AFTER
    })
    .await;
    let (seconds, events) = ((last_at - began).as_secs_f64(), last as f64);
    let theirs = Row::new("rsyslog, lines over TCP")
        .with("events/s", events / seconds)
        .with("CPU µs/event", cpu.micros_each(events))
        .with("RSS MB", resident_bytes(pid) as f64 / 1e6)
        .with("lost events", sent.saturating_sub(last) as f64);
    rsyslog.kill().await.expect("rsyslog ends");
    let ours = batches_acknowledged(test_cluster, &installation).await;
    installation.remove().await;
    vec![theirs, ours]
}
