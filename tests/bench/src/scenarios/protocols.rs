//! The protocols of log agents beside the native batch.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e::Process;
use e2e::http2::{self, PREFACE};
use testkit::agent_bodies::{AgentEvents, FIRST_NANOS};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::until;
use crate::agent_bodies::{self, loki_snappy, syslog};
use crate::events::{BATCH_EVENTS, EVENT_BYTES, sources};
use crate::processes::cpu_time;
use crate::report::Row;
use crate::test_cluster::{TestCluster, acknowledged};
use crate::wrk::{self, Bodies};

/// Connections, of any protocol.
const CONNECTIONS: usize = 16;
/// Different bodies of each protocol.
const BODIES: usize = 16;
/// How often all protocols are measured in one round, one after another.
const TURNS: u32 = 4;
/// The row that the others are compared with.
const NATIVE: &str = "native batch";

/// How the bodies of a protocol are sent.
enum Way {
    Http { path: &'static str, bodies: Bodies },
    Grpc { bodies: Arc<[Vec<u8>]> },
    Tcp { bodies: Arc<[Vec<u8>]> },
}

/// Where a producer listens beside its HTTP address.
#[derive(Clone, Copy, Debug)]
struct Listeners {
    grpc: SocketAddr,
    syslog: SocketAddr,
}

/// What a protocol has cost so far.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    events: f64,
    seconds: f64,
    cpu: Duration,
}

fn ways() -> Vec<(&'static str, Way)> {
    let mut number = 0;
    let events: Vec<_> = sources(BODIES)
        .iter()
        .map(|source| {
            number += 1;
            agent_bodies::events(number, EVENT_BYTES, source, BATCH_EVENTS)
        })
        .collect();
    let json = "application/json";
    let bodies = |body: &dyn Fn(&AgentEvents) -> Vec<u8>| -> Vec<Vec<u8>> { events.iter().map(body).collect() };
    let http = |path, body: &dyn Fn(&AgentEvents) -> Vec<u8>, content_type| Way::Http {
        path,
        bodies: Bodies::new(&bodies(body), content_type, ""),
    };
    let otlp_protobuf = |events: &AgentEvents| events.otlp_protobuf(FIRST_NANOS);
    let otlp_json = |events: &AgentEvents| events.otlp_json(FIRST_NANOS);
    let loki_protobuf = |events: &AgentEvents| loki_snappy(events, FIRST_NANOS);
    let loki_json = |events: &AgentEvents| events.loki_json(FIRST_NANOS);
    vec![
        (NATIVE, http("/api/logs/batch", &AgentEvents::array, json)),
        ("OTLP, protobuf", http("/v1/logs", &otlp_protobuf, "application/x-protobuf")),
        ("OTLP over gRPC", Way::Grpc { bodies: bodies(&otlp_protobuf).into() }),
        ("OTLP, JSON", http("/v1/logs", &otlp_json, json)),
        ("Loki, protobuf and snappy", http("/loki/api/v1/push", &loki_protobuf, "application/x-protobuf")),
        ("Loki, JSON", http("/loki/api/v1/push", &loki_json, json)),
        ("_bulk", http("/_bulk", &AgentEvents::bulk, "application/x-ndjson")),
        ("HTTP outputs", http("/api/logs/ingest", &AgentEvents::array, json)),
        ("Splunk HEC", http("/services/collector", &AgentEvents::envelopes, json)),
        ("syslog over TCP", Way::Tcp { bodies: bodies(&syslog).into() }),
    ]
}

/// The same events by each protocol, in alternation.
pub async fn protocols(test_cluster: &TestCluster) -> Vec<Row> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let listeners = Listeners { grpc: free(), syslog: free() };
    let (grpc, syslog) = (listeners.grpc.to_string(), listeners.syslog.to_string());
    let installation = test_cluster.installation(&[
        ("SPILLWAY_DELIVERY__INFO", "at-least-once"),
        ("SPILLWAY_RATE_LIMIT__AGENT_EVENTS_PER_SECOND", "10000000"),
        ("SPILLWAY_RATE_LIMIT__AGENT_BYTES_PER_SECOND", "4GB"),
        ("SPILLWAY_OTLP__GRPC_LISTEN", &grpc),
        ("SPILLWAY_SYSLOG__LISTEN", &syslog),
    ]);
    let producer = installation.start("producer", &[]).await;
    let ways = ways();
    let mut costs = vec![Cost::default(); ways.len()];
    // The first turn is not measured: connections, caches, the JVM.
    let turn = Duration::from_secs((test_cluster.duration.as_secs() / u64::from(TURNS)).max(1));
    for turns in 0..=TURNS {
        for ((_, way), cost) in ways.iter().zip(&mut costs) {
            let of_turn = measure(&producer, way, listeners, turn).await;
            if turns > 0 {
                cost.events += of_turn.events;
                cost.seconds += of_turn.seconds;
                cost.cpu += of_turn.cpu;
            }
        }
    }
    producer.terminate().await;
    installation.remove().await;
    let micros = |cost: &Cost| cost.cpu.as_secs_f64() * 1e6 / cost.events;
    let native = costs.first().map(micros).expect("the native batch comes first");
    let row = |((label, _), cost): (&(&'static str, Way), &Cost)| {
        Row::new(*label)
            .with("events/s", cost.events / cost.seconds)
            .with("CPU µs/event", micros(cost))
            .with("of the native batch", micros(cost) / native)
    };
    ways.iter().zip(&costs).map(row).collect()
}

/// Sends for a while, and waits until everything is acknowledged.
async fn measure(producer: &Process, way: &Way, listeners: Listeners, duration: Duration) -> Cost {
    let http = producer.http("producer");
    let (before, cpu, began) = (acknowledged(&http).await, cpu_time(producer.pid()), Instant::now());
    let sent = match way {
        Way::Http { path, bodies } => {
            let figures = wrk::run(&format!("{}{path}", http.base()), bodies, CONNECTIONS, duration).await;
            figures.requests * BATCH_EVENTS as u64
        }
        Way::Grpc { bodies } => sent_by(Sender::Calls, listeners.grpc, bodies, duration).await,
        Way::Tcp { bodies } => sent_by(Sender::Messages, listeners.syslog, bodies, duration).await,
    };
    // Requests in flight when wrk ended arrive, too.
    until("all events are acknowledged", async || acknowledged(&http).await - before >= sent as f64).await;
    let events = acknowledged(&http).await - before;
    Cost { events, seconds: began.elapsed().as_secs_f64(), cpu: cpu_time(producer.pid()) - cpu }
}

/// What is done with a body on a connection.
#[derive(Clone, Copy, Debug)]
enum Sender {
    /// It is a call of gRPC, whose answer is waited for.
    Calls,
    /// It is written, and nothing answers.
    Messages,
}

/// Sends bodies over as many connections for this long, one after another on each; returns the number of events.
async fn sent_by(sender: Sender, address: SocketAddr, bodies: &Arc<[Vec<u8>]>, duration: Duration) -> u64 {
    let sent = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (bodies, sent) = (Arc::clone(bodies), Arc::clone(&sent));
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a connection");
            if matches!(sender, Sender::Calls) {
                stream.write_all(&[PREFACE, &http2::settings(&[])].concat()).await.expect("it is read");
            }
            let began = Instant::now();
            // A client's streams have odd numbers.
            for (n, stream_id) in (connection..).zip((1..).step_by(2)) {
                if began.elapsed() >= duration {
                    break;
                }
                let body = &bodies[n % bodies.len()];
                match sender {
                    Sender::Calls => {
                        stream.write_all(&http2::call(stream_id, body)).await.expect("it is read");
                        http2::read_to_end_of(&mut stream, stream_id).await.expect("an answer");
                    }
                    Sender::Messages => stream.write_all(body).await.expect("it is read"),
                }
                sent.fetch_add(BATCH_EVENTS as u64, Ordering::AcqRel);
            }
            stream.shutdown().await.expect("it is open");
        });
    }
    let all = async {
        while let Some(ended) = senders.join_next().await {
            ended.expect("everything is sent");
        }
    };
    timeout(super::DEADLINE, all).await.expect("the producer reads");
    sent.load(Ordering::Acquire)
}
