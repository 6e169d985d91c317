//! API answers beyond the plain calls of the README, over real sockets and mostly through the gateway.

#![cfg(test)]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use domain::delivery::Guarantee;
use domain::ports::{Clock, RecordPublisher};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use e2e::webhook::Webhook;
use e2e::{DEADLINE, Http, Program, Tail, metric, wait_until};
use serde_json::{Value, json};
use testkit::clock_at;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

async fn program(variables: &[(&str, &str)]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Program::start(BINARY, directory.path(), variables).await, directory)
}

fn event(message: &str, level: &str) -> String {
    json!({ "source": "s", "level": level, "message": message }).to_string()
}

#[tokio::test]
async fn the_same_body_under_the_same_idempotency_key_is_stored_once() {
    let (program, _directory) = program(&[("SPILLWAY_DELIVERY__INFO", "exactly-once")]).await;
    let lines = format!("{}\n{}\n", event("1", "INFO"), event("2", "ERROR"));
    let send = |key: &'static str, lines: String| {
        let gateway = program.gateway.clone();
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key)];
        async move { gateway.send("POST", "/api/logs/batch", &headers, lines).await.json() }
    };
    for (key, body, accepted) in [("a", &lines, 2), ("a", &lines, 2), ("b", &lines, 2), ("a", &event("1", "INFO"), 1)] {
        assert_eq!(send(key, body.clone()).await["accepted"], accepted);
    }
    let one = program.gateway.post("/api/logs", event("x", "INFO")).await;
    assert_eq!((one.status, &one.json()["code"]), (400, &"event_id_required".into()));
    let stored = || async {
        metric(&program.consumer, "spillway_events_stored_total").await
            + metric(&program.consumer, "spillway_events_deduplicated_total").await
            > 6.5
    };
    wait_until("all are stored or recognised", stored).await;
    assert_eq!(program.gateway.all_events("", 100).await.len(), 5);
}

#[tokio::test]
async fn a_tail_shows_stored_events_resumes_and_ends_with_the_process() {
    let (program, _directory) = program(&[]).await;
    let gateway = &program.gateway;
    assert_eq!(gateway.post("/api/logs", event("before", "ERROR")).await.status, 202);
    wait_until("it is stored", || async { gateway.all_events("", 10).await.len() == 1 }).await;

    let mut all = Tail::open(gateway, "", None).await;
    let mut some = Tail::open(&program.consumer, "?level=ERROR&q=KEPT", None).await;
    // The first message of a tail confirms that it has begun.
    let (_, (id, nothing)) = tokio::join!(some.next(), async { all.next().await.expect("a beginning") });
    assert_eq!((id.as_str(), nothing), ("1", None));
    for (message, level) in [("dropped", "ERROR"), ("kept", "INFO"), ("kept", "ERROR")] {
        assert_eq!(gateway.post("/api/logs", event(message, level)).await.status, 202);
        let (_, seen) = all.event().await;
        assert_eq!((&seen["message"], &seen["level"]), (&message.into(), &level.into()));
    }
    let (id, seen) = some.event().await;
    assert_eq!((&seen["message"], &seen["level"]), (&"kept".into(), &"ERROR".into()));
    assert_eq!(id, "4");
    assert!(seen["eventId"].is_string() && seen["offset"].is_number());

    let mut resumed = Tail::open(gateway, "", Some("2")).await;
    let (first, second) = (resumed.event().await, resumed.event().await);
    assert_eq!((first.0.as_str(), &first.1["level"]), ("3", &"INFO".into()));
    assert_eq!((second.0.as_str(), &second.1["level"]), ("4", &"ERROR".into()));

    // Open tails do not delay a stop.
    let began = std::time::Instant::now();
    assert_eq!(program.terminate().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for mut tail in [all, some, resumed] {
        while tail.next().await.is_some() {}
    }
}

#[tokio::test]
async fn counts_match_the_events_sent() {
    let (program, _directory) = program(&[]).await;
    let gateway = &program.gateway;
    let at = |time: &str, level: &str| json!({"source": "s", "level": level, "message": "m", "timestamp": time});
    let batch = json!([
        at("2024-01-15T10:00:00Z", "INFO"),
        at("2024-01-15T10:00:59.9Z", "INFO"),
        at("2024-01-15T10:01:00Z", "ERROR"),
        at("2024-01-15T10:04:00Z", "FATAL"),
    ]);
    assert_eq!(gateway.post("/api/logs/batch", batch.to_string()).await.json()["accepted"], 4);
    wait_until("all are stored", || async { gateway.all_events("", 10).await.len() == 4 }).await;
    let path = "/api/logs/stats?from=2024-01-15T10:00:00Z&to=2024-01-15T10:04:00Z&interval=1m";
    let stats = gateway.get(path).await.json();
    assert_eq!(stats["total"], json!({"TRACE": 0, "DEBUG": 0, "INFO": 2, "WARN": 0, "ERROR": 1, "FATAL": 0}));
    let buckets = stats["buckets"].as_array().expect("buckets");
    let starts: Vec<_> = buckets.iter().map(|bucket| bucket["start"].as_str().expect("a time")).collect();
    assert_eq!(
        starts,
        ["2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z", "2024-01-15T10:02:00Z", "2024-01-15T10:03:00Z"]
    );
    assert_eq!((&buckets[0]["counts"]["INFO"], &buckets[1]["counts"]["ERROR"]), (&2.into(), &1.into()));
    let since_first = gateway.get("/api/logs/stats?from=first&level=ERROR&level=FATAL").await.json();
    let total = &since_first["total"];
    assert_eq!(since_first["from"], "2024-01-15T10:01:00Z");
    assert_eq!((&total["INFO"], &total["ERROR"], &total["FATAL"]), (&0.into(), &1.into(), &1.into()));
}

/// Publishes records on the bus of a data directory whose program is not running.
async fn publish(data_dir: &Path, values: &[&[u8]]) {
    let options = BusOptions {
        partitions: NonZeroU32::new(3).expect("not zero"),
        memory_bytes_max: 1 << 20,
        retention_bytes: 1 << 30,
        retention_age: Duration::from_secs(3_600),
    };
    let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T12:00:00Z"));
    let bus = EmbeddedBus::open(&data_dir.join("bus"), &options, &Arc::new(Disk::unlimited()), &clock, |_| 0)
        .expect("the bus opens");
    let mut records = Records::default();
    for value in values {
        records
            .push(b"s", clock_at("2024-01-15T12:00:00Z").now(), false, |buffer| buffer.extend_from_slice(value))
            .expect("small");
    }
    let batch = RecordBatch { partition: 1, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None };
    bus.publish(batch.into()).expect("taken").promised.await.expect("acknowledged");
    assert_eq!(bus.drain(DEADLINE).await, 0);
}

#[tokio::test]
async fn dead_letters_are_shown_and_can_be_redriven() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = br#"{"eventId":"0190163d-8694-739b-aea5-966c26f8ad91","timestamp":"2024-01-15T10:30:00Z","receivedAt":"2024-01-15T10:30:00Z","source":"s","level":"INFO","message":"m"}"#;
    publish(directory.path(), &[b"poison", good, b"\xff\xfe"]).await;
    // No event is too old to be kept.
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_STORE__RETENTION", "36500d")]).await;
    let gateway = &program.gateway;
    let letters = async |query: &str| {
        let page = gateway.get(&format!("/api/dlq{query}")).await;
        assert_eq!(page.status, 200, "{:?}", page.body);
        page.json()["deadLetters"].as_array().cloned().expect("letters")
    };
    wait_until("both are found", || async { letters("").await.len() == 2 }).await;
    let found = letters("").await;
    let of = |letter: &Value| (letter["value"].clone(), letter["encoding"].clone(), letter["offset"].clone());
    assert_eq!(of(&found[0]), ("poison".into(), "text".into(), 0.into()));
    assert_eq!(of(&found[1]), ("//4=".into(), "base64".into(), 2.into()));
    assert_eq!(
        (&found[0]["topic"], &found[0]["partition"], &found[0]["key"]),
        (&"logs".into(), &1.into(), &"s".into())
    );
    assert_eq!(gateway.all_events("", 10).await.len(), 1, "their neighbour is stored");
    let first = gateway.get("/api/dlq?limit=1").await.json();
    let next = gateway.get(&format!("/api/dlq?limit=1&cursor={}", first["nextCursor"])).await.json();
    assert_eq!((&next["deadLetters"][0]["id"], &next["nextCursor"]), (&found[1]["id"], &Value::Null));
    assert_eq!((&first["total"], &first["moreThanTotal"]), (&2.into(), &false.into()));
    assert_eq!(next["total"], Value::Null, "the first page has it");

    let redrive = async |body: Value| {
        let answer = gateway.post("/api/dlq/redrive", body.to_string()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let answer = answer.json();
        (answer["redriven"].as_u64().expect("a count"), answer["skipped"].as_u64().expect("a count"))
    };
    assert_eq!(redrive(json!({"dryRun": true})).await, (2, 0));
    assert_eq!(letters("?redriven=true").await.len(), 0);
    assert_eq!(redrive(json!({"id": found[0]["id"]})).await, (1, 0));
    wait_until("it is a dead letter again, because it still cannot be stored", || async {
        letters("").await.len() == 3
    })
    .await;
    assert_eq!(letters("?redriven=true").await.len(), 1);
    assert_eq!(redrive(json!({"id": found[0]["id"]})).await, (0, 1));
    assert_eq!(redrive(json!({"id": found[0]["id"], "force": true})).await, (1, 0));
    wait_until("it is a dead letter again", || async { letters("?redriven=false").await.len() == 3 }).await;
    let copies = letters("").await.iter().filter(|letter| letter["value"] == "poison").count();
    assert_eq!(copies, 3);
    assert_eq!(program.terminate().await, Some(0));
}

#[tokio::test]
async fn dead_letters_are_reported_to_log_and_webhook_also_during_a_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    publish(directory.path(), &[b"poison", b"\xff\xfe"]).await;
    let mut webhook = Webhook::start().await;
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_ALERT__WEBHOOK_URL", &webhook.url)]).await;
    let request = webhook.next().await;
    let told = &request.body;
    assert_eq!(
        (&told["name"], &told["state"], &told["severity"], &told["role"]),
        (&"dead_letters".into(), &"firing".into(), &"warning".into(), &"all".into())
    );
    assert!(told["instance"].as_str().expect("text").ends_with(&format!(":{}", program.gateway.address().port())));
    let details = &told["details"];
    assert_eq!((&details["total"], &details["topic"], &details["offset"]), (&"2".into(), &"logs".into(), &"1".into()));
    let runbook = details["runbook"].as_str().expect("a runbook");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(runbook).exists(), "{runbook}");
    assert!(Timestamp::parse(told["at"].as_str().expect("text")).is_ok());
    wait_until("the log has the alert", || async { program.has_said(r#"alert: records on the bus"#) }).await;
    let delivered = async || {
        let text = program.gateway.get("/actuator/prometheus").await.body;
        let line = "spillway_alerts_total{name=\"dead_letters\",outcome=\"delivered\"} ";
        let text = String::from_utf8(text.to_vec()).expect("text");
        text.lines().find_map(|text| text.strip_prefix(line)).expect("from the start").to_owned()
    };
    assert_eq!(delivered().await, "0");
    request.answer(500);
    webhook.next().await.answer(200);
    wait_until("it is counted", || async { delivered().await == "1" }).await;

    // They fail again at once: too soon for another notification, except for the stop.
    assert_eq!(program.gateway.post("/api/dlq/redrive", "{}").await.json()["redriven"], 2);
    let found = async || metric(&program.consumer, "spillway_events_dead_lettered_total").await > 3.5;
    wait_until("they are back", found).await;
    let stopped = tokio::spawn(program.terminate());
    let request = webhook.next().await;
    let details = &request.body["details"];
    assert_eq!((&details["new"], &details["total"]), (&"2".into(), &"4".into()));
    request.answer(503);
    webhook.next().await.answer(200);
    assert_eq!(stopped.await.expect("it was asked"), Some(0));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_a_405_names_the_allowed_methods() {
    let (program, _directory) = program(&[]).await;
    let gateway = &program.gateway;
    let given =
        gateway.send("POST", "/api/logs", &[("x-request-id", "my-1"), ("content-type", "application/json")], "{}");
    let given = given.await;
    assert_eq!((given.status, given.header("x-request-id")), (400, "my-1"));
    let made = gateway.get("/api/logs").await;
    assert_eq!(made.header("x-request-id").len(), 36);
    for (http, path, allow) in [
        (gateway, "/api/logs", "GET, POST"),
        (gateway, "/api/logs/batch", "POST"),
        (gateway, "/api/logs/health", "GET"),
        (gateway, "/api/logs/tail", "GET"),
        (gateway, "/api/logs/stats", "GET"),
        (gateway, "/api/dlq", "GET"),
        (gateway, "/api/dlq/redrive", "POST"),
        (gateway, "/actuator/metrics", "GET"),
        (&program.producer, "/api/logs", "POST"),
        (&program.consumer, "/api/logs", "GET"),
    ] {
        let refused = http.send("DELETE", path, &[], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, allow), "{path}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    let documents = [gateway, &program.producer, &program.consumer].map(|http| http.get("/openapi.json"));
    for document in documents {
        assert_eq!(document.await.json()["paths"].as_object().map(serde_json::Map::len), Some(34));
    }
}

#[tokio::test]
async fn every_metric_of_the_contract_exists_from_the_start_under_both_names() {
    let (program, _directory) = program(&[]).await;
    let text = String::from_utf8(program.gateway.get("/actuator/prometheus").await.body.to_vec()).expect("text");
    for series in [
        "kafka_producer_messages_sent_total 0",
        "kafka_producer_messages_failed_total 0",
        "resilience4j_circuitbreaker_state{name=\"kafka\",state=\"closed\"} 1",
        "resilience4j_circuitbreaker_state{name=\"kafka\",state=\"open\"} 0",
        "spillway_events_accepted_total{guarantee=\"at-least-once\"} 0",
        "spillway_events_deduplicated_total 0",
        "spillway_records_in_work 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is missing in\n{text}");
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"] {
        assert!(metric(&program.gateway, name).await > 0.0, "{name}");
    }
    for name in ["process_start_time_seconds", "spillway_runtime_workers", "spillway_runtime_alive_tasks"] {
        assert!(metric(&program.gateway, name).await >= 1.0, "{name}");
    }
    let sent = program.gateway.post("/api/logs", event("m", "ERROR")).await;
    assert_eq!(sent.status, 202);
    let text = String::from_utf8(program.gateway.get("/actuator/prometheus").await.body.to_vec()).expect("text");
    assert!(text.contains("kafka_producer_send_duration_seconds_bucket{le=\"+Inf\"} 1"), "{text}");

    let get = async |path: &str| program.producer.get(&format!("/actuator/metrics{path}")).await;
    let names = get("").await.json();
    assert!(names["names"].as_array().expect("names").contains(&"kafka.producer.buffer.available.bytes".into()));
    let buffer = get("/kafka.producer.buffer.available.bytes").await.json();
    assert_eq!(buffer["measurements"], json!([{"statistic": "VALUE", "value": 64_000_000.0}]));
    let accepted = get("/spillway.events.accepted?tag=guarantee:at-least-once").await.json();
    assert_eq!(accepted["measurements"], json!([{"statistic": "COUNT", "value": 1.0}]));
    assert_eq!(get("/no.such.metric").await.status, 404);
    assert_eq!(get("/spillway.events.accepted?tag=guarantee").await.status, 400);
    let info = program.consumer.get("/actuator/info").await.json();
    assert_eq!((&info["build"]["name"], &info["role"]), (&"spillway".into(), &"all".into()));
}

/// Statuses of this many single events, each with another forged address before the client's own.
async fn forged(http: &Http, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for n in 0..requests {
        let address = format!("198.51.100.{n}, 203.0.113.{n}");
        let headers = [("x-forwarded-for", address.as_str()), ("content-type", "application/json")];
        statuses.push(http.send("POST", "/api/logs", &headers, event("m", "INFO")).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_forged_address_changes_nothing_at_the_gateway() {
    let limit = [("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "1")];
    let (program, _directory) = program(&limit).await;
    // Anyone could be behind a proxy that the gateway does not know.
    assert!(forged(&program.gateway, 50).await.iter().all(|status| *status == 403));
    let mut last = None;
    for _ in 0..50 {
        last = Some(program.gateway.post("/api/logs", event("m", "INFO")).await);
    }
    let refused = last.expect("an answer");
    assert_eq!((refused.status, refused.header("retry-after"), refused.header("ratelimit-limit")), (429, "1", "1"));
    // The producer trusts its gateway, and so any client on loopback.
    assert!(forged(&program.producer, 50).await.iter().all(|status| *status == 202));
}
