//! The yardsticks: minimal programs that Spillway is compared with.
//!
//! `yardstick constant` is Spillway's own HTTP server, which reads each body and answers a constant. It prints its
//! address. `yardstick produce BROKERS TOPIC SECONDS` sends records of the same size as Spillway's through librdkafka,
//! with the same settings, as fast as possible, and prints `records seconds cpu_seconds peak_bytes`.

#![expect(clippy::expect_used, reason = "failed measurements panic")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "called by the benchmark driver")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter_http::{Server, ServerOptions};
use bench::events::{EVENT_BYTES, Events, sources};
use bench::processes::{cpu_time, peak_bytes};
use poem::http::StatusCode;
use poem::{Request, Response};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["constant"] => constant(),
        ["produce", brokers, topic, seconds] => produce(brokers, topic, seconds.parse().expect("seconds")),
        _ => {
            eprintln!("usage: yardstick constant | produce BROKERS TOPIC SECONDS");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

/// Serves until it is killed.
fn constant() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(any_port, ServerOptions::default()).await.expect("an address");
        println!("{}", server.address().expect("an address"));
        let endpoint = poem::endpoint::make(|mut request: Request| async move {
            request.take_body().into_bytes().await?;
            let answer = Response::builder().status(StatusCode::ACCEPTED).content_type("application/json");
            Ok::<_, poem::Error>(answer.body(r#"{"accepted":1}"#))
        });
        let endpoint = poem::EndpointExt::map_to_response(endpoint);
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let service = server.service(endpoint, Arc::new(|_| {}));
        server.run(service, stopped).await;
    });
}

/// Counts records acknowledged by the broker.
struct Acknowledged(Arc<AtomicU64>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        result.as_ref().expect("the broker accepts it");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn produce(brokers: &str, topic: &str, seconds: u64) {
    let acknowledged = Arc::<AtomicU64>::default();
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "snappy"),
        ("queue.buffering.max.kbytes", "65536"),
        ("queue.buffering.max.messages", "0"),
    ] {
        config.set(name, value);
    }
    let context = Acknowledged(Arc::clone(&acknowledged));
    let producer: ThreadedProducer<Acknowledged> = config.create_with_context(context).expect("a client");
    let mut events = Events::new(1, EVENT_BYTES, "INFO", "2026-01-01T00:00:00.000000Z");
    let records: Vec<(String, String)> = sources(64)
        .into_iter()
        .cycle()
        .take(10_000)
        .map(|source| {
            // The bytes that Spillway adds to an event.
            let rest = events.event(&source);
            let id = r#"{"eventId":"01a20f37-31cf-76dd-a6da-0300122616c3","receivedAt":"2026-01-01T00:00:00.000000Z","#;
            (source, format!("{id}{}", rest.trim_start_matches('{')))
        })
        .collect();
    let (began, cpu) = (Instant::now(), cpu_time(std::process::id()));
    let deadline = began + Duration::from_secs(seconds);
    'sending: for batch in records.chunks(100).cycle() {
        if Instant::now() > deadline {
            break;
        }
        for (key, value) in batch {
            let mut record = BaseRecord::to(topic).key(key.as_str()).payload(value.as_str());
            while let Err((error, same)) = producer.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    eprintln!("yardstick: {error}");
                    break 'sending;
                }
                record = same;
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker accepts the rest");
    let took = began.elapsed();
    let cpu = cpu_time(std::process::id()) - cpu;
    let (records, peak) = (acknowledged.load(Ordering::Relaxed), peak_bytes(std::process::id()));
    println!("{records} {} {} {peak}", took.as_secs_f64(), cpu.as_secs_f64());
}
