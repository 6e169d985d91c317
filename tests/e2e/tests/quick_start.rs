//! The calls shown in the README, and further answers of the API.

#![cfg(test)]

use e2e::{Http, Program, metric, wait_until};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

async fn program(variables: &[(&str, &str)]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Program::start(BINARY, directory.path(), variables).await, directory)
}

async fn stored(http: &Http, id: &str) -> Value {
    let path = format!("/api/logs/{id}");
    wait_until("the event is stored", || async { http.get(&path).await.status == 200 }).await;
    http.get(&path).await.json()
}

#[tokio::test]
async fn the_calls_of_the_readme_answer_as_documented() {
    let (program, _directory) = program(&[]).await;
    let gateway = &program.gateway;

    let one = gateway
        .post(
            "/api/logs",
            r#"{"source": "my-app", "level": "INFO", "message": "User login successful",
                "metadata": {"userId": "12345", "ip": "192.168.1.1"}}"#,
        )
        .await;
    assert_eq!((one.status, one.header("content-type")), (202, "application/json"));
    let one = one.json();
    assert_eq!((&one["status"], &one["durability"]), (&"Accepted".into(), &"buffered".into()));

    let batch = gateway
        .post(
            "/api/logs/batch",
            r#"[{"source": "app-1", "level": "INFO", "message": "Log 1"},
                {"source": "app-2", "level": "ERROR", "message": "Log 2", "stackTrace": "Exception: error"}]"#,
        )
        .await;
    assert_eq!(batch.status, 202);
    let batch = batch.json();
    assert_eq!((&batch["accepted"], &batch["failed"], &batch["errors"]), (&2.into(), &0.into(), &Value::Array(vec![])));
    assert_eq!(batch["durability"], serde_json::json!({"acknowledged": 1, "journaled": 0, "buffered": 1}));

    let health = gateway.get("/api/logs/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"UP".into()));

    let event = stored(gateway, one["eventId"].as_str().expect("an id")).await;
    assert_eq!(event["message"], "User login successful");
    assert_eq!(event["metadata"], serde_json::json!({"userId": "12345", "ip": "192.168.1.1"}));
    assert_eq!((&event["timestamp"], &event["receivedAt"]), (&one["timestamp"], &one["timestamp"]));
    wait_until("all events are found", || async { gateway.all_events("", 2).await.len() == 3 }).await;
    let errors = gateway.all_events("level=ERROR", 10).await;
    assert_eq!(errors.len(), 1);
    assert_eq!((&errors[0]["stackTrace"], &errors[0]["partition"]), (&"Exception: error".into(), &0.into()));

    wait_until("all events are counted", || async {
        metric(&program.consumer, "spillway_events_stored_total").await >= 3.0
    })
    .await;
    assert!((metric(&program.producer, "kafka_producer_messages_sent_total").await - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn the_start_says_what_a_person_needs() {
    let (program, directory) = program(&[]).await;
    let data_dir = directory.path().display().to_string();
    let gateway = program.gateway.address();
    let documentation = format!("documentation: http://{gateway}/swagger-ui");
    wait_until("the last line is there", || async { program.has_said(&documentation) }).await;
    let log = program.log();
    for parts in [
        vec!["gateway listens".to_owned(), gateway.to_string()],
        vec!["producer listens".to_owned(), program.producer.address().to_string()],
        vec!["consumer listens".to_owned(), program.consumer.address().to_string()],
        vec!["no keys are required until their file exists".to_owned(), "keys.toml".to_owned()],
        vec![data_dir, "bus=\"embedded\"".to_owned(), "store=\"embedded\"".to_owned()],
    ] {
        assert!(log.iter().any(|line| parts.iter().all(|part| line.contains(part))), "{parts:?} in {log:#?}");
    }
}

#[tokio::test]
async fn a_bad_event_has_its_own_error_and_its_neighbours_are_stored() {
    let (program, _directory) = program(&[]).await;
    let batch = program
        .gateway
        .post(
            "/api/logs/batch",
            r#"[{"source":"s","level":"INFO","message":"first"}, 7, {"source":"s","level":"LOUD","message":"m"},
                {"source":"s","level":"INFO","message":5}, {"source":"s","source":"s","level":"INFO","message":"m"},
                {"source":"s","level":"INFO","message":"\ud83d"}, {"source":"s","level":"INFO","message":"m","metadata":[]},
                {"source":"s","level":"INFO","message":"m","host":"web-1","metadata":{"host":1}},
                {"source":"s","level":"info","message":"last","host":"web-1","timestamp":null}]"#,
        )
        .await;
    assert_eq!(batch.status, 202, "{:?}", batch.body);
    let batch = batch.json();
    assert_eq!((&batch["accepted"], &batch["failed"]), (&2.into(), &7.into()));
    let codes: Vec<(u64, &str)> = batch["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (error["index"].as_u64().expect("an index"), error["code"].as_str().expect("a code")))
        .collect();
    let expected = [
        (1, "event_not_object"),
        (2, "level_unknown"),
        (3, "field_type"),
        (4, "duplicate_field"),
        (5, "invalid_text"),
        (6, "metadata_not_object"),
        (7, "metadata_clash"),
    ];
    assert_eq!(codes, expected);
    wait_until("both are stored", || async { program.consumer.all_events("", 10).await.len() == 2 }).await;
    let last = program.consumer.all_events("q=LAST", 10).await;
    assert_eq!(last[0]["metadata"], serde_json::json!({"host": "web-1"}));
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_stable_code() {
    let (program, _directory) = program(&[]).await;
    let json = [("content-type", "application/json")];
    let ten_thousand_and_one =
        format!("[{}]", vec![r#"{"source":"s","level":"INFO","message":"m"}"#; 10_001].join(","));
    let too_large = vec![b' '; 16 * 1024 * 1024 + 1];
    for (method, path, headers, body, status, code) in [
        ("POST", "/api/logs", &json[..], b"{".to_vec(), 400, "undecodable"),
        ("POST", "/api/logs", &json, b"{} {}".to_vec(), 400, "undecodable"),
        ("POST", "/api/logs", &json, b"{}".to_vec(), 400, "source_required"),
        ("POST", "/api/logs/batch", &json, b"[]".to_vec(), 400, "no_valid_event"),
        ("POST", "/api/logs/batch", &json, b"[{}]".to_vec(), 400, "no_valid_event"),
        ("POST", "/api/logs/batch", &json, b"{}".to_vec(), 400, "undecodable"),
        (
            "POST",
            "/api/logs/batch",
            &json,
            br#"[{"source":"s","level":"INFO","message":"m"},"#.to_vec(),
            400,
            "undecodable",
        ),
        ("POST", "/api/logs/batch", &json, ten_thousand_and_one.into_bytes(), 413, "too_large"),
        ("POST", "/api/logs/batch", &json, too_large, 413, "too_large"),
        ("POST", "/api/logs", &[("content-type", "text/plain")], b"hello".to_vec(), 415, "unsupported_media_type"),
        ("POST", "/api/logs", &[], b"{}".to_vec(), 415, "unsupported_media_type"),
        ("POST", "/api/logs", &[json[0], ("content-encoding", "br")], b"{}".to_vec(), 415, "unsupported_media_type"),
        ("DELETE", "/api/logs", &[], Vec::new(), 405, "method_not_allowed"),
        ("GET", "/api/logs/batch", &[], Vec::new(), 405, "method_not_allowed"),
        ("GET", "/api/nothing", &[], Vec::new(), 404, "not_found"),
        ("GET", "/api/logs/42", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs/00000000-0000-0000-0000-000000000000", &[], Vec::new(), 404, "not_found"),
        ("GET", "/api/logs?sorce=x", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?limit=0", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?limit=1001", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?level=LOUD", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?from=yesterday", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?cursor=AAAA", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?q=", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?q=a&q=b", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs?query=level:LOUD", &[], Vec::new(), 400, "query_invalid"),
        ("GET", "/api/logs/export?format=xml", &[], Vec::new(), 400, "invalid_parameter"),
        ("GET", "/api/logs/00000000-0000-0000-0000-000000000000/context", &[], Vec::new(), 404, "not_found"),
    ] {
        let answer = program.gateway.send(method, path, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {:?}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{method} {path}");
        assert!(!problem["detail"].as_str().unwrap_or_default().is_empty());
        assert_eq!(answer.status == 405, !answer.header("allow").is_empty(), "{method} {path}");
    }
    assert_eq!(program.gateway.send("DELETE", "/api/logs", &[], "").await.header("allow"), "GET, POST");
    assert_eq!(program.producer.get("/api/logs").await.header("allow"), "POST");
    // A charset is part of the media type.
    let charset = [("content-type", "application/json; charset=utf-8")];
    let event = r#"{"source":"s","level":"INFO","message":"m"}"#;
    assert_eq!(program.gateway.send("POST", "/api/logs", &charset, event).await.status, 202);
}

#[tokio::test]
async fn every_role_serves_the_document_swagger_ui_health_and_metrics() {
    let (program, _directory) = program(&[]).await;
    let committed: Value = serde_json::from_str(include_str!("../../../openapi/spillway.json")).expect("JSON");
    for http in [&program.gateway, &program.producer, &program.consumer] {
        assert_eq!(http.get("/openapi.json").await.json(), committed);
        let page = String::from_utf8(http.get("/swagger-ui").await.body.to_vec()).expect("text");
        assert!(page.contains("SwaggerUIBundle") && page.contains("postLogBatch") && page.contains("getLogs"));
        for source in ["src=\"http", "href=\"http", "@import"] {
            assert!(!page.contains(source), "the page needs another host: {source}");
        }
        for path in ["/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness"] {
            let health = http.get(path).await;
            assert_eq!((health.status, &health.json()["status"]), (200, &"UP".into()), "{path}");
        }
        assert!((metric(http, "spillway_build_info").await - 1.0).abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn the_rate_limit_applies_to_the_client_and_ignores_forged_headers() {
    let (program, _directory) =
        program(&[("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "2"), ("SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND", "1")])
            .await;
    let event = r#"{"source":"s","level":"INFO","message":"m"}"#;
    let json = ("content-type", "application/json");
    let forged = program.gateway.send("POST", "/api/logs", &[json, ("x-forwarded-for", "198.51.100.1")], event).await;
    assert_eq!((forged.status, &forged.json()["code"]), (403, &"proxy_not_trusted".into()));
    let mut refused = None;
    for _ in 0..50 {
        let answer = program.gateway.send("POST", "/api/logs", &[json], event).await;
        assert_eq!(answer.header("ratelimit-limit"), "2");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the limit holds");
    assert_eq!((refused.header("ratelimit-remaining"), refused.header("retry-after")), ("0", "1"));
    assert_eq!(refused.json()["code"], "rate_limited");
    // The producer trusts headers from its own machine, so these are other clients.
    let other = program.producer.send("POST", "/api/logs", &[json, ("x-forwarded-for", "203.0.113.7")], event).await;
    assert_eq!((other.status, other.header("ratelimit-remaining")), (202, "1"));
}

#[tokio::test]
async fn a_stop_is_clean_and_accepted_events_exist_after_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    for n in 0..20 {
        let event = format!(r#"{{"source":"s","level":"INFO","message":"event {n}"}}"#);
        assert_eq!(program.gateway.post("/api/logs", event).await.status, 202);
    }
    assert_eq!(program.terminate().await, Some(0));
    let program = Program::start(BINARY, directory.path(), &[]).await;
    wait_until("all events are stored", || async { program.gateway.all_events("", 7).await.len() == 20 }).await;
}
