//! Producer, consumer and gateway as separate processes, on real servers: Kafka, PostgreSQL and Redis.
//!
//! `TEST_EVENTS` sets how many events the exactly-once test sends.

#![cfg(test)]

mod rows;
mod topic;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use domain::Uuid;
use e2e::servers::{OwnServers, Servers};
use e2e::{DEADLINE, Http, Process, Tail, wait_until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use self::rows::{execute, number, rows, until_rows};
use self::topic::{produce, read_topic};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// Time until the group notices a killed consumer: the minimum that a broker allows.
const QUICKLY_MISSED: (&str, &str) = ("SPILLWAY_KAFKA__PROPERTIES__SESSION_TIMEOUT_MS", "6000");

/// Posts events until all are accepted, repeating those that were not.
async fn post(producer: &Http, mut events: Vec<Value>) {
    while !events.is_empty() {
        let answer = producer.post("/api/logs/batch", Value::from(events.clone()).to_string()).await;
        let refused: BTreeSet<u64> = match answer.status {
            202 => {
                let errors = answer.json()["errors"].as_array().expect("errors").clone();
                errors.iter().map(|error| error["index"].as_u64().expect("an index")).collect()
            }
            503 => continue,
            status => panic!("{status}: {:?}", answer.body),
        };
        let refused = |index: usize| refused.contains(&(index as u64));
        events = events.into_iter().enumerate().filter(|(index, _)| refused(*index)).map(|(_, event)| event).collect();
    }
}

fn level(n: usize) -> &'static str {
    ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"][n % 6]
}

/// Event `n`; every other one has an id.
fn event(n: usize) -> Value {
    let mut event = json!({"source": format!("app-{}", n % 20), "level": level(n), "message": format!("event {n}")});
    if n.is_multiple_of(2) {
        event["eventId"] = Uuid::from_u128(n as u128 + 1).to_string().into();
    }
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_one_row_whatever_is_killed_and_restarted() {
    const PHASE_EVENTS_MAX: usize = 25_000;
    const BATCH_EVENTS: usize = 500;
    let events: usize = std::env::var("TEST_EVENTS").map_or(24_000, |events| events.parse().expect("a number"));
    let phases = (events / PHASE_EVENTS_MAX).max(4);
    let Some(environment) = Servers::of_environment() else { return };
    let Some(own) = OwnServers::start(&["postgres"]).await else { return };
    let redis = std::env::var("TEST_REDIS_URL").expect("it was there");
    let servers = Servers::at(environment.brokers, own.address("TEST_POSTGRES_URL"), redis);
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[QUICKLY_MISSED]);
    let start = |role: &'static str| Process::start(BINARY, role, directory.path(), &variables);
    let producer = start("producer").await;
    let mut consumer = start("consumer").await;
    let mut others = Vec::new();
    let (mut kills, mut restarts) = (0, 0);
    let began = Instant::now();
    for phase in 0..phases {
        let (from, to) = (events * phase / phases, events * (phase + 1) / phases);
        let posting: Vec<_> = (0..4)
            .map(|client| {
                let (producer, mine) = (producer.http("producer"), (from..to).filter(move |n| n % 4 == client));
                let batches: Vec<usize> = mine.collect();
                tokio::spawn(async move {
                    for batch in batches.chunks(BATCH_EVENTS) {
                        post(&producer, batch.iter().copied().map(event).collect()).await;
                    }
                })
            })
            .collect();
        // In the middle of the events posted before.
        let soon = (from as i64 - (to - from) as i64 / 2).max(0);
        until_rows(&servers, soon).await;
        consumer.kill().await;
        kills += 1;
        if phase == phases / 4 {
            others = vec![start("consumer").await, start("consumer").await];
        }
        if phase == phases / 3 || phase == phases * 2 / 3 {
            own.apply(if restarts == 0 { "kill" } else { "stop" }, "postgres").await;
            own.apply("start", "postgres").await;
            restarts += 1;
        }
        if phase == phases / 2 {
            for other in others.drain(..) {
                assert_eq!(other.terminate().await, Some(0));
            }
        }
        consumer = start("consumer").await;
        for client in posting {
            client.await.expect("all are accepted");
        }
    }
    until_rows(&servers, events as i64).await;
    let distinct = number(&servers, "SELECT count(DISTINCT message) FROM SCHEMA.events").await;

    // The same ids again.
    let again: Vec<usize> = (0..events).filter(|n| n.is_multiple_of(2)).collect();
    for batch in again.chunks(5_000) {
        post(&producer.http("producer"), batch.iter().copied().map(event).collect()).await;
    }
    let deduplicated = || async { e2e::metric(&consumer.http("consumer"), "spillway_events_deduplicated_total").await };
    let repeats = u32::try_from(again.len()).expect("few").into();
    wait_until("the repeats are recognised", async || deduplicated().await >= repeats).await;
    let total = rows(&servers).await;
    println!(
        "events={events} kills={kills} joined_and_left=2 postgres_restarts={restarts} rows={total} duplicates={} repeats_sent={} seconds={}",
        total - distinct,
        again.len(),
        began.elapsed().as_secs()
    );
    assert_eq!((total, distinct), (events as i64, events as i64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_set_aside_and_nothing_else_is() {
    const GOOD: usize = 10_000;
    let Some(environment) = Servers::of_environment() else { return };
    let Some(own) = OwnServers::start(&["postgres"]).await else { return };
    let redis = std::env::var("TEST_REDIS_URL").expect("it was there");
    let servers = Servers::at(environment.brokers, own.address("TEST_POSTGRES_URL"), redis);
    let directory = tempfile::tempdir().expect("a directory");
    // No event is too old to be kept.
    let variables = servers.variables(&[QUICKLY_MISSED, ("SPILLWAY_STORE__RETENTION", "36500d")]);
    let start = |role: &'static str| Process::start(BINARY, role, directory.path(), &variables);
    let producer = start("producer").await;
    // It creates the tables.
    let consumer = start("consumer").await;
    let tables =
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'SCHEMA' AND table_name = 'events'";
    wait_until("the tables exist", async || number(&servers, tables).await == 1).await;
    consumer.kill().await;
    // Events whose content the store rejects, until the constraint is dropped.
    execute(&servers, "ALTER TABLE SCHEMA.events ADD CONSTRAINT no_poison CHECK (message NOT LIKE 'poison%')").await;

    let now = "2026-01-01T00:00:00Z";
    let refused: Vec<String> = (0..4)
        .map(|n| {
            json!({"eventId": Uuid::from_u128(77 + n).to_string(), "timestamp": now, "receivedAt": now, "source": "other",
                "level": "INFO", "message": format!("poison {n}")})
            .to_string()
        })
        .collect();
    let undecodable: [&[u8]; 4] = [b"no JSON", b"{}", b"", b"\xff\xfe"];
    // Two dead letters at one offset.
    let packed = format!("[{}\n,{{}}]", refused[3]);
    for part in 0..10 {
        let events: Vec<Value> = (0..GOOD).filter(|n| n % 10 == part).map(event).collect();
        post(&producer.http("producer"), events).await;
        match part {
            2 => produce(&servers, 0, &[undecodable[0], refused[0].as_bytes()]),
            5 => produce(&servers, 1, &[refused[1].as_bytes(), undecodable[1], undecodable[2]]),
            7 => produce(&servers, 2, &[undecodable[3], refused[2].as_bytes(), packed.as_bytes()]),
            _ => {}
        }
    }
    // Repeatedly killed while it makes progress, and the store goes down in the middle.
    let progress =
        || async { rows(&servers).await + number(&servers, "SELECT count(*) FROM SCHEMA.dead_letters").await };
    let whole = GOOD as i64 + 9;
    let mut kills = 0;
    for step in 0..4 {
        let consumer = start("consumer").await;
        let before = progress().await;
        if step == 2 {
            own.apply("kill", "postgres").await;
            wait_until("the store is missed", async || consumer.has_said("the store failed")).await;
            own.apply("start", "postgres").await;
        }
        wait_until("the consumer continues", async || progress().await > before || progress().await == whole).await;
        consumer.kill().await;
        kills += 1;
    }
    let consumer = start("consumer").await;
    wait_until("all records are consumed", async || progress().await == whole).await;
    let letters = consumer.http("consumer").get("/api/dlq?limit=100").await.json();
    let letters = letters["deadLetters"].as_array().expect("letters");
    let good = number(&servers, "SELECT count(*) FROM SCHEMA.events WHERE message LIKE 'event %'").await;
    println!("good={good} dead_letters={} kills={kills}", letters.len());
    for letter in letters {
        println!("  partition={} offset={} reason={}", letter["partition"], letter["offset"], letter["reason"]);
    }
    assert_eq!((good, rows(&servers).await, letters.len()), (GOOD as i64, GOOD as i64, 9));

    let original: BTreeSet<Vec<u8>> = undecodable
        .iter()
        .map(|value| value.to_vec())
        .chain(refused.iter().map(|value| value.as_bytes().to_vec()))
        .collect();
    let place =
        |headers: &BTreeMap<String, String>| ["partition", "offset", "record_index"].map(|name| headers[name].clone());
    let copies = read_topic(&servers, &format!("{}.dlq", servers.name), |copies| {
        copies.iter().map(|(_, headers)| place(headers)).collect::<HashSet<_>>().len() == 9
    });
    assert_eq!(copies.iter().map(|(value, _)| value.clone()).collect::<BTreeSet<_>>(), original);
    for (_, headers) in &copies {
        assert_eq!(headers["topic"], servers.name);
        assert!(!headers["reason"].is_empty() && headers.contains_key("attempts"), "{headers:?}");
    }

    // Once the cause is fixed, they are events like all others.
    execute(&servers, "ALTER TABLE SCHEMA.events DROP CONSTRAINT no_poison").await;
    let redriven = consumer.http("consumer").post("/api/dlq/redrive", json!({"ratePerSecond": 100}).to_string()).await;
    assert_eq!((redriven.status, &redriven.json()["redriven"]), (200, &9.into()), "{:?}", redriven.body);
    until_rows(&servers, GOOD as i64 + 4).await;
    wait_until("records that cannot be decoded are dead letters again", async || progress().await == whole + 4 + 5)
        .await;
    assert_eq!(rows(&servers).await, GOOD as i64 + 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_tls_and_scram_works_and_errors_are_clear() {
    let Some(servers) = Servers::of_environment() else { return };
    let variable = |name: &str| std::env::var(format!("TEST_KAFKA_TLS_{name}")).ok();
    let (Some(brokers), Some(ca), Some(wrong_ca)) = (variable("BROKERS"), variable("CA"), variable("WRONG_CA")) else {
        assert!(std::env::var("CI").is_err(), "TEST_KAFKA_TLS_… are missing: scripts/services");
        eprintln!("skipped: TEST_KAFKA_TLS_… are missing; a Kafka that scripts/services runs as a process has them");
        return;
    };
    let (username, password) = (variable("USERNAME").expect("set"), variable("PASSWORD").expect("set"));
    let directory = tempfile::tempdir().expect("a directory");
    let with = |mechanism: &'static str, ca: &str, password: &str| -> Vec<(String, String)> {
        let all = [
            ("BROKERS", brokers.as_str()),
            ("TLS", "true"),
            ("TLS_CA", ca),
            ("SASL_MECHANISM", mechanism),
            ("SASL_USERNAME", &username),
            ("SASL_PASSWORD", password),
        ];
        all.iter().map(|(key, value)| (format!("SPILLWAY_KAFKA__{key}"), (*value).to_owned())).collect()
    };
    let borrowed = |all: &[(String, String)]| -> Vec<(String, String)> {
        let own = servers.variables(&[]).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.chain(all.iter().cloned()).collect()
    };
    for (n, mechanism) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().enumerate() {
        let variables = borrowed(&with(mechanism, &ca, &password));
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let producer = Process::start(BINARY, "producer", directory.path(), &variables).await;
        let consumer = Process::start(BINARY, "consumer", directory.path(), &variables).await;
        let answer = producer.http("producer").post("/api/logs", event(4).to_string()).await;
        assert_eq!((answer.status, &answer.json()["durability"]), (202, &"acknowledged".into()), "{:?}", answer.body);
        let other = json!({"source": "s", "level": "ERROR", "message": mechanism});
        post(&producer.http("producer"), vec![other]).await;
        until_rows(&servers, n as i64 + 2).await;
        assert_eq!(consumer.terminate().await, Some(0));
        assert_eq!(producer.terminate().await, Some(0));
    }
    for (what, ca, password, expected) in [
        ("wrong password", &ca, "wrong", "Authentication failed during authentication due to invalid credentials"),
        ("untrusted certificate", &wrong_ca, password.as_str(), "broker certificate could not be verified"),
    ] {
        let variables = borrowed(&with("SCRAM-SHA-512", ca, password));
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let producer = Process::listening(BINARY, "producer", directory.path(), &variables).await;
        let http = producer.http("producer");
        let says = async || {
            let health = http.get("/actuator/health").await.json();
            health["components"]["bus"]["detail"].as_str().is_some_and(|detail| detail.contains(expected))
        };
        wait_until("health names the error", says).await;
        // Events are still accepted: they wait on disk until the settings are fixed.
        let kept = json!({"source": "s", "level": "ERROR", "message": what});
        let answer = http.post("/api/logs", kept.to_string()).await;
        assert_eq!((answer.status, &answer.json()["durability"]), (202, &"journaled".into()), "{:?}", answer.body);
        assert_eq!(http.get("/actuator/health/readiness").await.status, 200);
        let report = http.get("/actuator/instance").await.json();
        let (outage, journal) = (&report["producer"]["outage"], &report["producer"]["journal"]);
        assert!(
            outage["state"] == "away" && outage["reason"].as_str().is_some_and(|of| of.contains(expected)),
            "{report}"
        );
        assert!(journal["events"].as_u64() > Some(0), "{report}");
        wait_until("the log names the error", async || producer.has_said(expected)).await;
        // The machine may have something to be warned of, too.
        let is_of_kafka = |line: &String| line.contains(" adapter_kafka::") || line.contains("ERROR");
        let told: Vec<String> =
            producer.log().into_iter().filter(|line| is_of_kafka(line) && !line.contains(" INFO ")).collect();
        println!("{what}: {told:?}");
        assert_eq!(told.len(), 1, "one message: {told:?}");
        assert_eq!(producer.terminate().await, Some(0));
    }
    let fixed = borrowed(&with("SCRAM-SHA-512", &ca, &password));
    let fixed: Vec<(&str, &str)> = fixed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let _producer = Process::start(BINARY, "producer", directory.path(), &fixed).await;
    let _consumer = Process::start(BINARY, "consumer", directory.path(), &fixed).await;
    until_rows(&servers, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_may_be_added_while_events_are_sent_and_stored() {
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[]);
    let producer = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let consumer = Process::start(BINARY, "consumer", directory.path(), &variables).await;
    let mut sent = 0;
    let mut send = async |events: usize| {
        post(&producer.http("producer"), (sent..sent + events).map(event).collect()).await;
        sent += events;
        sent
    };
    let before = send(2_000).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &servers.brokers).create().expect("a client");
    let added = admin.create_partitions(&[NewPartitions::new(&servers.name, 6)], &AdminOptions::new()).await;
    added.expect("an answer")[0].as_ref().expect("partitions are added");
    // Until the store has rows from each of the new partitions.
    let began = Instant::now();
    let mut all = before;
    while number(&servers, "SELECT count(DISTINCT partition) FROM SCHEMA.events").await < 6 {
        assert!(began.elapsed() < DEADLINE, "not all partitions are in use");
        all = send(100).await;
    }
    until_rows(&servers, all as i64).await;
    let distinct = number(&servers, "SELECT count(DISTINCT message) FROM SCHEMA.events").await;
    println!("partitions=3->6 accepted={all} rows={} distinct={distinct}", rows(&servers).await);
    assert_eq!((rows(&servers).await, distinct), (all as i64, all as i64));
    drop(consumer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_consumers_return_the_same() {
    const EVENTS: usize = 600;
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[]);
    let producer = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(Process::start(BINARY, "consumer", directory.path(), &variables).await);
    }
    let bases: Vec<String> = consumers.iter().map(|consumer| consumer.http("consumer").base().to_owned()).collect();
    let (producers, consumers_of) = (producer.http("producer"), bases.join(","));
    let upstreams =
        [("SPILLWAY_GATEWAY__PRODUCERS", producers.base()), ("SPILLWAY_GATEWAY__CONSUMERS", consumers_of.as_str())];
    let gateway = Process::start(BINARY, "gateway", directory.path(), &upstreams).await;
    let http = gateway.http("gateway");
    for consumer in &consumers {
        let consumer = consumer.http("consumer");
        let reads = async || !e2e::series(&consumer, "kafka_consumer_lag_records").await.is_empty();
        wait_until("each has a partition", reads).await;
    }
    // Sequentially, so that each consumer gets one.
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push(Tail::open(&http, "", None).await);
    }
    for batch in (0..EVENTS).collect::<Vec<_>>().chunks(50) {
        post(&http, batch.iter().copied().map(event).collect()).await;
    }
    for mut tail in tails {
        let mut seen: HashMap<String, usize> = HashMap::new();
        while seen.len() < EVENTS {
            let (_, event) = tail.event().await;
            *seen.entry(event["message"].as_str().expect("a message").to_owned()).or_default() += 1;
        }
        assert!(seen.values().all(|count| *count == 1), "each event once");
    }
    let mut pages = Vec::new();
    for consumer in &consumers {
        pages.push(consumer.http("consumer").all_events("", 100).await);
    }
    println!("consumers=3 events={EVENTS} from_each={:?}", pages.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(pages[0].len(), EVENTS);
    assert!(pages.iter().all(|page| *page == pages[0]), "the same pages from each");
    for consumer in &consumers {
        let stored = e2e::metric(&consumer.http("consumer"), "spillway_events_stored_total").await;
        assert!(stored > 0.0, "each has stored some");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_the_same_by_every_producer_and_its_trace_travels_to_every_group() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let log = ("SPILLWAY_LOG", "warn,bootstrap=info,application=debug,adapter_http=debug");
    let variables = servers.variables(&[log]);
    let mut producers = Vec::new();
    for _ in 0..2 {
        producers.push(Process::start(BINARY, "producer", directory.path(), &variables).await);
    }
    // Two groups, each with a separate schema.
    let other_schema = format!("{}_other", servers.schema());
    let other_variables = servers.variables(&[
        log,
        ("SPILLWAY_KAFKA__GROUP", &other_schema),
        ("SPILLWAY_POSTGRES__SCHEMA", &other_schema),
    ]);
    let consumer = Process::start(BINARY, "consumer", directory.path(), &variables).await;
    let other = Process::start(BINARY, "consumer", directory.path(), &other_variables).await;

    let send = async |producer: &Process, message: &str| {
        let headers =
            [("content-type", "application/json"), ("idempotency-key", servers.name.as_str()), ("traceparent", TRACE)];
        let body = json!([{"source": "s", "level": "ERROR", "message": message}]).to_string();
        producer.http("producer").send("POST", "/api/logs/batch", &headers, body).await
    };
    let first = send(&producers[0], "once").await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""), "{:?}", first.body);
    let second = send(&producers[1], "once").await;
    assert_eq!((second.status, second.header("idempotency-replayed")), (202, "true"), "{:?}", second.body);
    assert_eq!(first.body, second.body);
    let third = send(&producers[1], "twice").await;
    assert_eq!((third.status, &third.json()["code"]), (422, &"idempotency_key_reused".into()));

    for reader in [&consumer, &other] {
        let found = async || reader.http("consumer").all_events("", 10).await;
        wait_until("the event is stored", async || found().await.len() == 1).await;
        wait_until("the log contains its trace", async || reader.has_said(TRACE)).await;
    }
    assert!(producers[0].has_said(TRACE) && producers[0].has_said(first.header("x-request-id")));
    let records = read_topic(&servers, &servers.name, |records| records.len() == 1);
    assert_eq!(records[0].1["traceparent"], TRACE);
    assert_eq!(records[0].1["id-origin"], "client");
}
