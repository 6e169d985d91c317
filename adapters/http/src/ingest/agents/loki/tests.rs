use poem::http::Method;
use proptest::prelude::*;
use serde_json::json;

use crate::ingest::agents::tests::{Sent, send, send_both_ways, some_of};
use crate::routes::decode_agent_body as decode;

const PATH: &str = "/loki/api/v1/push";

async fn push(media_type: &str, body: &[u8]) -> Sent {
    send(Method::POST, PATH, &[("content-type", media_type)], body).await
}

#[tokio::test]
async fn lines_of_winston_are_events_in_either_format() {
    let text = push("application/json", include_bytes!("../../../../tests/recorded/loki-winston.json")).await;
    let binary =
        push("application/x-protobuf", include_bytes!("../../../../tests/recorded/loki-winston.pb.snappy")).await;
    for (sent, client) in [(text, "winston-loki-json"), (binary, "winston-loki-proto")] {
        assert_eq!((sent.status, sent.body.len()), (204, 0));
        assert_eq!(sent.all("level"), ["ERROR", "INFO", "WARN"]);
        let event = &sent.events[1];
        assert_eq!(event["source"], "check");
        let message = event["message"].as_str().expect("text");
        assert!(message.starts_with(&format!("check x {client} info 0 ")), "{message}");
        assert_eq!(event["metadata"]["order"], "0");
    }
}

#[tokio::test]
async fn json_without_its_content_type_is_told_what_to_send() {
    for media_type in ["", "application/x-www-form-urlencoded"] {
        let sent = push(media_type, br#"{"streams":[]}"#).await;
        let text = String::from_utf8_lossy(&sent.body).into_owned();
        assert!(sent.status == 400 && text.contains("send Content-Type: application/json"), "{}: {text}", sent.status);
    }
}

#[tokio::test]
async fn structured_metadata_joins_the_labels_unless_a_name_is_in_both() {
    let stream = |structured| {
        json!({ "streams": [{
            "stream": { "service_name": "s", "level": "warn" },
            "values": [["1705314600000000001", "line", structured]],
        }] })
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = stream(json!({ "trace_id": trace, "user": "u" })).to_string();
    let sent = push("application/json", body.as_bytes()).await;
    let event = &sent.events[0];
    assert_eq!((&event["traceId"], &event["level"]), (&json!(trace), &json!("WARN")));
    assert_eq!(event["metadata"], json!({ "service_name": "s", "level": "warn", "trace_id": trace, "user": "u" }));
    let body = stream(json!({ "level": "error" })).to_string();
    let sent = push("application/json", body.as_bytes()).await;
    let expected = json!({ "service_name": "s", "level": "warn", "structuredMetadata": { "level": "error" } });
    assert_eq!((&sent.events[0]["level"], &sent.events[0]["metadata"]), (&json!("ERROR"), &expected));
}

#[tokio::test]
async fn ids_follow_from_labels_time_and_line_where_times_are_fine() {
    let body = |nanos: &str, line: &str| {
        json!({ "streams": [{ "stream": { "app": "a" }, "values": [[nanos, line], [nanos, line]] }] }).to_string()
    };
    let fine = push("application/json", body("1705314600000000001", "x").as_bytes()).await;
    let again = push("application/json", body("1705314600000000001", "x").as_bytes()).await;
    assert_eq!(fine.all("eventId"), again.all("eventId"));
    assert_ne!(fine.events[0]["eventId"], fine.events[1]["eventId"], "a real repeat is kept");
    let coarse = push("application/json", body("1705314600000000000", "x").as_bytes()).await;
    assert_eq!(coarse.events[0]["eventId"], "00000000-0000-0000-0000-000000000007");
}

#[tokio::test]
async fn the_legacy_shape_and_labels_that_cannot_be_read_are_taken() {
    let body = r#"{"streams":[
        {"labels":"{job=\"varlogs\"}","entries":[{"ts":"2024-01-15T10:30:00.5Z","line":"a"}]},
        {"labels":"{job=","entries":[{"line":"b"}]}]}"#;
    let sent = send(Method::POST, "/api/prom/push", &[("content-type", "application/json")], body.as_bytes()).await;
    assert_eq!((sent.status, sent.all("source")), (204, vec![&json!("varlogs"), &json!("unknown")]));
    assert_eq!(sent.events[0]["timestamp"], "2024-01-15T10:30:00.5Z");
    assert_eq!(sent.events[1]["metadata"], json!({ "labels": "{job=" }));
}

#[tokio::test]
async fn a_line_of_json_is_a_line_and_an_empty_line_is_an_event() {
    let pino = push("application/json", include_bytes!("../../../../tests/recorded/loki-pino.json")).await;
    assert_eq!(pino.all("level"), ["ERROR", "INFO", "WARN"]);
    let body = br#"{"streams":[{"stream":{},"values":[["1",""],[]]}]}"#;
    let sent = push("application/json", body).await;
    assert_eq!((sent.status, sent.all("message")), (204, vec![&json!("(no message)"), &json!("[]")]));
}

#[tokio::test]
async fn a_line_whose_time_cannot_be_read_is_kept_with_the_time_of_receipt() {
    let times = ["yesterday", "", "99999999999999999999999", "{\"a\":1}"];
    let values: Vec<_> = times.iter().map(|time| json!([time, format!("at {time}")])).collect();
    let body = json!({ "streams": [{ "stream": { "app": "a" }, "values": values }] }).to_string();
    let sent = push("application/json", body.as_bytes()).await;
    assert_eq!((sent.status, sent.events.len()), (204, times.len()));
    for (event, time) in sent.events.iter().zip(times) {
        assert_eq!(event["message"], format!("at {time}").trim_end());
        assert_eq!(event["timestamp"], event["receivedAt"]);
        let expected = json!({ "protocol": "loki", "reason": "timestamp_invalid" });
        assert_eq!((&event["metadata"]["ingest"], &event["metadata"]["timestamp"]), (&expected, &json!(time)));
    }
    // A stream with the labels `{}` and one entry: a timestamp that is cut off, or beyond the year 9999, and the line `x`.
    for timestamp in [&b"\x08"[..], b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"] {
        let field = |number: u8, bytes: &[u8]| {
            let length = u8::try_from(bytes.len()).expect("short");
            [&[number << 3 | 2, length][..], bytes].concat()
        };
        let entry = [field(1, timestamp), field(2, b"x")].concat();
        let push_request = field(1, &[field(1, b"{}"), field(2, &entry)].concat());
        let block = snap::raw::Encoder::new().compress_vec(&push_request).expect("it is small");
        let sent = push("application/x-protobuf", &block).await;
        assert_eq!((sent.status, sent.all("message")), (204, vec![&json!("x")]), "{timestamp:?}");
        assert_eq!(sent.events[0]["metadata"]["ingest"]["reason"], "timestamp_invalid");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_refused_with_a_text() {
    for (media_type, body) in
        [("application/json", &b"{"[..]), ("application/json", b"{}"), ("application/x-protobuf", b"\x05hello")]
    {
        let sent = push(media_type, body).await;
        assert_eq!((sent.status, sent.events.len()), (400, 0), "{media_type}");
        assert!(sent.headers["content-type"].as_bytes().starts_with(b"text/plain") && sent.body.ends_with(b"\n"));
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
            let mut intake = ingest.agent_intake("loki", None);
            prop_assert!(decode(PATH, media_type, body, &mut intake).is_some());
        }
    }
}

proptest! {
    #[test]
    fn a_usual_push_is_taken_as_any_other(
        values in some_of(&[
            r#"["1705314600000000001","a line"]"#,
            r#"["1705314600000000002","ERROR a",{"level":"warn","user":"u"}]"#,
            r#" [ "1705314600000000003" , "a\n" , { } ] "#,
            r#"["1705314600000000004","b",{"n":1}]"#,
            r#"["x","c"]"#,
            r#""text""#,
            "[]",
            "y",
        ]),
        before in some_of(&[
            r#""stream":{"service_name":"s","level":"error"}"#,
            r#""stream":{"service_name":"\u0073","n":1}"#,
            r#""stream":{}"#,
            r#""labels":"{app=\"a\"}""#,
            r#""values":[]"#,
        ]),
        behind in prop::sample::select(vec!["", " ", ",{}", ",[]", "]"]),
    ) {
        let comma = if before.is_empty() { "" } else { "," };
        let push = format!("{{\"streams\":[{{{before}{comma}\"values\":[{values}]}}{behind}]}}");
        let [usual, any] = send_both_ways(PATH, &push);
        prop_assert_eq!(usual, any, "{}", push);
    }
}
