use std::io::Write;

use poem::http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::ingest::agents::tests::{Sent, send, send_both_ways, some_of};
use crate::routes::decode_agent_body as decode;

const PYTHON: &[u8] = include_bytes!("../../../../tests/recorded/otlp-python.pb");
const JAVASCRIPT: &[u8] = include_bytes!("../../../../tests/recorded/otlp-javascript.pb");
const JAVASCRIPT_JSON: &[u8] = include_bytes!("../../../../tests/recorded/otlp-javascript.json");

async fn otlp(media_type: &str, body: &[u8]) -> Sent {
    send(Method::POST, "/v1/logs", &[("content-type", media_type)], body).await
}

fn levels(sent: &Sent) -> Vec<&Value> {
    sent.all("level")
}

#[tokio::test]
async fn records_of_the_python_library_are_events() {
    let sent = otlp("application/x-protobuf", PYTHON).await;
    assert_eq!((sent.status, sent.body.as_slice()), (200, &b""[..]));
    assert_eq!(sent.headers["content-type"], "application/x-protobuf");
    // The priority lane comes first.
    assert_eq!(levels(&sent), ["ERROR", "INFO", "WARN"]);
    let info = &sent.events[1];
    assert_eq!(
        (&info["source"], &info["message"]),
        (&json!("check-otlp-http-py"), &json!("check x otlp-http-py info 0"))
    );
    assert_eq!(info["metadata"]["code.line.number"], 37);
    assert_eq!(info["metadata"]["resource"]["telemetry.sdk.version"], "1.45.2");
    assert_eq!(info["metadata"]["scope"], json!({ "name": "otlp-http-py" }));
    // The times are finer than a millisecond, so that the ids are the same when the body is sent again.
    let again = otlp("application/x-protobuf", PYTHON).await;
    assert_eq!(again.all("eventId"), sent.all("eventId"));
    assert_ne!(info["eventId"], sent.events[2]["eventId"]);
}

#[tokio::test]
async fn both_formats_of_the_javascript_library_give_the_same_events() {
    let binary = otlp("application/x-protobuf", JAVASCRIPT).await;
    let text = otlp("application/json; charset=utf-8", JAVASCRIPT_JSON).await;
    assert_eq!((text.status, text.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(text.headers["content-type"], "application/json");
    assert_eq!(
        (levels(&binary), levels(&text)),
        (vec![&json!("ERROR"), &json!("INFO"), &json!("WARN")], levels(&binary))
    );
    for (binary, text) in binary.events.iter().zip(&text.events) {
        for (event, client) in [(binary, "check-otlp-http-proto-js"), (text, "check-otlp-http-json-js")] {
            assert_eq!(event["source"], client);
            assert_eq!(event["metadata"]["nested"], json!({ "a": [1, "b"] }));
            assert_eq!(event["metadata"]["order_id"], 0);
            // Milliseconds are too coarse.
            assert_eq!(event["eventId"], "00000000-0000-0000-0000-000000000007");
        }
    }
}

#[tokio::test]
async fn every_kind_of_value_is_kept() {
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "observedTimeUnixNano": 1_705_314_600_000_000_001_u64,
        "severityNumber": 21,
        "severityText": "fatal2",
        "eventName": "crash",
        "body": { "kvlistValue": { "values": [{ "key": "a", "value": { "boolValue": true } }] } },
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "attributes": [
            { "key": "exception.stacktrace", "value": { "stringValue": "at main" } },
            { "key": "double", "value": { "doubleValue": 1.5 } },
            { "key": "int", "value": { "intValue": "-9007199254740993" } },
            { "key": "bytes", "value": { "bytesValue": "AQI=" } },
            { "key": "empty", "value": {} },
            { "key": "array", "value": { "arrayValue": {} } },
        ],
    }] }] }] });
    let sent = otlp("application/json", body.to_string().as_bytes()).await;
    let event = &sent.events[0];
    assert_eq!(
        (&event["level"], &event["message"], &event["source"]),
        (&json!("FATAL"), &json!("{\"a\":true}"), &json!("unknown"))
    );
    assert_eq!((&event["stackTrace"], &event["timestamp"]), (&json!("at main"), &json!("2024-01-15T10:30:00Z")));
    assert_eq!(
        (&event["traceId"], &event["spanId"]),
        (&json!("5b8efff798038103d269b633813fc60c"), &json!("eee19b7ec3c1b174"))
    );
    let expected = json!({
        "double": 1.5, "int": -9_007_199_254_740_993_i64, "bytes": "AQI=", "empty": null, "array": [],
        "eventName": "crash", "severityText": "fatal2",
    });
    assert_eq!(event["metadata"], expected);
}

#[tokio::test]
async fn a_record_that_breaks_a_rule_is_kept_as_text_and_its_neighbour_is_unharmed() {
    let attribute = |key: &str| json!({ "key": key, "value": { "intValue": 1 } });
    let records = json!([
        { "body": { "stringValue": "twice" }, "attributes": [attribute("a"), attribute("a")] },
        { "body": { "stringValue": "x".repeat(300 * 1024) } },
        {},
        { "body": { "stringValue": "fine" } },
    ]);
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    let sent = otlp("application/json", body.to_string().as_bytes()).await;
    assert_eq!((sent.status, sent.events.len()), (200, 4));
    assert_eq!(
        sent.events[0]["metadata"]["ingest"],
        json!({ "protocol": "otlp", "reason": "metadata_duplicate_name", "text": "{\"a\":1,\"a\":1}" })
    );
    assert_eq!(sent.events[1]["metadata"]["ingest"]["reason"], "text_length");
    assert_eq!((&sent.events[2]["message"], &sent.events[3]["message"]), (&json!("(no message)"), &json!("fine")));
}

#[tokio::test]
async fn a_group_of_another_type_is_refused_and_nothing_of_the_body_is_kept() {
    let fine = json!({ "scopeLogs": [{ "logRecords": [{ "body": { "stringValue": "fine" } }] }] });
    for (body, name) in [
        (json!({ "resourceLogs": 5 }), "resourceLogs is not an array"),
        (json!({ "resourceLogs": {} }), "resourceLogs is not an array"),
        (json!({ "resourceLogs": [fine, "x"] }), "an element of resourceLogs is not an object"),
        (json!({ "resourceLogs": [{ "resource": [] }] }), "resource is not an object"),
        (json!({ "resourceLogs": [{ "scopeLogs": "x" }] }), "scopeLogs is not an array"),
        (json!({ "resourceLogs": [fine, { "scopeLogs": [1] }] }), "an element of scopeLogs is not an object"),
        (json!({ "resourceLogs": [{ "scopeLogs": [{ "scope": "x" }] }] }), "scope is not an object"),
        (json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": {} }] }] }), "logRecords is not an array"),
    ] {
        let sent = otlp("application/json", body.to_string().as_bytes()).await;
        assert_eq!((sent.status, sent.events.len()), (400, 0), "{body}");
        let message = sent.json()["message"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(message.starts_with(name), "{message}");
    }
    for body in [json!({}), json!({ "resourceLogs": null }), json!({ "resourceLogs": [{ "scopeLogs": null }] })] {
        assert_eq!(otlp("application/json", body.to_string().as_bytes()).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn what_has_another_type_is_kept_as_text() {
    let records = json!([
        "a line",
        { "body": "plain text" },
        { "body": { "text": "no kind" } },
        { "body": { "stringValue": "bad time" }, "timeUnixNano": "bad", "observedTimeUnixNano": "1705314600000000000" },
        { "body": { "stringValue": "attributes" }, "attributes": ["x", { "key": "a", "value": "plain" }] },
        { "body": { "stringValue": "an object" }, "attributes": { "a": 1 } },
    ]);
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    let sent = otlp("application/json", body.to_string().as_bytes()).await;
    assert_eq!((sent.status, sent.events.len()), (200, 6));
    let ingest = |reason: &str| json!({ "protocol": "otlp", "reason": reason });
    for (event, message, metadata) in [
        (0, "a line", json!({ "ingest": ingest("record_invalid") })),
        (1, "plain text", json!({ "ingest": ingest("body_invalid") })),
        (2, r#"{"text":"no kind"}"#, Value::Null),
        (3, "bad time", json!({ "timestamp": "bad", "ingest": ingest("timestamp_invalid") })),
        (4, "attributes", json!({ "attributes": "x", "a": "plain" })),
        (5, "an object", json!({ "attributes": r#"{"a":1}"# })),
    ] {
        let event = &sent.events[event];
        if metadata.is_null() {
            // The text of an object is read as one: the reason is there nevertheless.
            assert_eq!(event["metadata"]["ingest"]["reason"], "body_invalid");
            continue;
        }
        assert_eq!((&event["message"], &event["metadata"]), (&json!(message), &metadata));
    }
    assert_eq!(sent.events[3]["timestamp"], "2024-01-15T10:30:00Z");
}

#[tokio::test]
async fn the_names_of_the_schema_are_those_of_json() {
    let body = json!({ "resource_logs": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "string_value": "shop" } }] },
        "scope_logs": [{ "log_records": [{
            "time_unix_nano": "1705314600000000000",
            "severity_number": "SEVERITY_NUMBER_ERROR2",
            "severity_text": "error2",
            "event_name": "crash",
            "body": { "string_value": "failed" },
            "trace_id": "W47/95gDgQPSabYzgT/GDA==",
            "span_id": "7uGbfsPBsXQ=",
            "attributes": [
                { "key": "int", "value": { "int_value": "7" } },
                { "key": "list", "value": { "kvlist_value": { "values": [{ "key": "a", "value": { "bool_value": true } }] } } },
                { "key": "array", "value": { "array_value": { "values": [{ "double_value": 1.5 }] } } },
            ],
        }] }],
    }] });
    let sent = otlp("application/json", body.to_string().as_bytes()).await;
    let event = &sent.events[0];
    assert_eq!(
        (&event["source"], &event["level"], &event["message"], &event["timestamp"]),
        (&json!("shop"), &json!("ERROR"), &json!("failed"), &json!("2024-01-15T10:30:00Z"))
    );
    assert_eq!(
        (&event["traceId"], &event["spanId"]),
        (&json!("5b8efff798038103d269b633813fc60c"), &json!("eee19b7ec3c1b174"))
    );
    let metadata = &event["metadata"];
    assert_eq!(
        (&metadata["int"], &metadata["list"], &metadata["array"], &metadata["severityText"]),
        (&json!(7), &json!({ "a": true }), &json!([1.5]), &json!("error2"))
    );
}

#[tokio::test]
async fn snappy_and_empty_requests_are_taken() {
    let mut frames = snap::write::FrameEncoder::new(Vec::new());
    frames.write_all(PYTHON).expect("into memory");
    let frames = frames.into_inner().expect("into memory");
    let block = snap::raw::Encoder::new().compress_vec(PYTHON).expect("it is small");
    for (coding, body, events) in [
        ("snappy", &block[..], 3),
        ("snappy", &frames[..], 3),
        ("x-snappy-framed", &frames[..], 3),
        ("identity", &[][..], 0),
    ] {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", coding)];
        let sent = send(Method::POST, "/v1/logs", &headers, body).await;
        assert_eq!((sent.status, sent.events.len()), (200, events), "{coding}");
    }
}

#[tokio::test]
async fn errors_are_a_status_in_the_format_of_the_request() {
    let text = otlp("application/json", b"{").await;
    assert_eq!((text.status, text.json()["code"].as_u64()), (400, Some(3)));
    let binary = otlp("application/x-protobuf", b"\x0a").await;
    assert_eq!((binary.status, binary.headers["content-type"].to_str().ok()), (400, Some("application/x-protobuf")));
    assert!(binary.body.starts_with(b"\x08\x03\x12"), "{:?}", binary.body);
    for media_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let other = otlp(media_type, b"").await;
        assert_eq!((other.status, other.json()["code"].as_u64()), (415, Some(3)), "{media_type}");
        let message = other.json()["message"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(message.ends_with("send Content-Type: application/x-protobuf or application/json"), "{message}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        json in "[\\[\\]{}\":,a-z1]{0,60}",
    ) {
        let ingest = crate::ingest::tests::ingest_with_room();
        for (media_type, body) in [("application/x-protobuf", &bytes[..]), ("application/json", json.as_bytes())] {
            let mut intake = ingest.agent_intake("otlp", None);
            prop_assert!(decode("/v1/logs", media_type, body, &mut intake).is_some());
        }
    }
}

proptest! {
    #[test]
    fn a_usual_request_is_taken_as_any_other(
        records in some_of(&[
            r#"{"timeUnixNano":"1705314600000000001","severityNumber":9,"body":{"stringValue":"a\n"}}"#,
            r#"{"timeUnixNano":"1705314600000000002","severityNumber":17,"body":{"kvlistValue":{"values":[{"key":"k","value":{}}]}}}"#,
            r#"{"timeUnixNano":"1705314600000000003","severityText":"WARN","attributes":[{"key":"a","value":{"intValue":"7"}}]}"#,
            r#"{"time_unix_nano":"1705314600000000004","body":null}"#,
            r#" { "timeUnixNano" : "1705314600000000005" , "eventName" : "e" } "#,
            r#""text""#,
            "{}",
            "x",
        ]),
        before in some_of(&[
            r#""scope":{"name":"n","version":"1","attributes":[{"key":"a","value":{"boolValue":true}}]}"#,
            r#""scope":{}"#,
            r#""schemaUrl":"u""#,
            r#""logRecords":[]"#,
        ]),
        resource in some_of(&[
            r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]}"#,
            r#""resource":null"#,
            r#""schemaUrl":1"#,
            r#""other":1"#,
        ]),
        behind in prop::sample::select(vec!["", " ", ",{}", ",[]", "]"]),
    ) {
        let comma = |members: &str| if members.is_empty() { "" } else { "," };
        let (before, resource) = (format!("{before}{}", comma(&before)), format!("{resource}{}", comma(&resource)));
        let scopes = format!("{{{before}\"logRecords\":[{records}]}}");
        let request = format!("{{\"resourceLogs\":[{{{resource}\"scopeLogs\":[{scopes}]}}{behind}]}}");
        let [usual, any] = send_both_ways("/v1/logs", &request);
        prop_assert_eq!(usual, any, "{}", request);
    }
}
