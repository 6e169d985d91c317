//! The same events in the protocols of log agents, and the steps that take them in.

use std::fmt::Write as _;
use std::sync::Arc;

use adapter_http::decode_agent_body;
use adapter_syslog::entry;
use application::ingest::Ingest;

use crate::{EVENTS, Step};

/// The time of the first event, in nanoseconds since the Unix epoch; the others follow a nanosecond later each, so that ids
/// are derived.
const FIRST_NANOS: u64 = 1_767_225_600_000_000_001;
const SECOND_NANOS: u64 = 1_000_000_000;
const SOURCE: &str = "checkout-007";

/// The steps, one for each protocol and format.
pub fn steps(ingest: &Arc<Ingest>) -> Vec<Step> {
    let protobuf = "application/x-protobuf";
    let json = "application/json";
    let mut steps = vec![
        decoding("OTLP in protobuf", ingest, "/v1/logs", protobuf, otlp_protobuf()),
        decoding("OTLP in JSON", ingest, "/v1/logs", json, otlp_json().into()),
        decoding("Loki in protobuf", ingest, "/loki/api/v1/push", protobuf, loki_protobuf()),
        decoding("Loki in JSON", ingest, "/loki/api/v1/push", json, loki_json().into()),
        decoding("bulk", ingest, "/_bulk", json, bulk().into()),
        decoding("objects", ingest, "/api/logs/ingest", json, crate::body().into()),
        decoding("envelopes", ingest, "/services/collector", json, envelopes().into()),
    ];
    let (ingest, messages) = (Arc::clone(ingest), syslog());
    steps.push(Step {
        name: "syslog",
        run: Box::new(move || {
            let mut intake = ingest.agent_intake("syslog", None);
            for message in &messages {
                let entry = entry(message, intake.received_at());
                intake.add(entry, None).expect("there is room");
            }
        }),
    });
    steps
}

/// Decodes a body, and encodes its events.
fn decoding(
    name: &'static str,
    ingest: &Arc<Ingest>,
    path: &'static str,
    media_type: &'static str,
    body: Vec<u8>,
) -> Step {
    let ingest = Arc::clone(ingest);
    let run = move || {
        let mut intake = ingest.agent_intake("micro", None);
        assert_eq!(decode_agent_body(path, media_type, &body, &mut intake), Some(true), "{path}");
        assert_eq!(intake.entries(), EVENTS, "{path}");
    };
    Step { name, run: Box::new(run) }
}

fn message(n: usize) -> String {
    format!("payment accepted after retry on upstream for order {n:05} of a session in")
}

/// The texts of the metadata.
fn texts(n: usize) -> [(&'static str, String); 2] {
    [("requestId", format!("{n:016x}")), ("userId", n.to_string())]
}

fn otlp_protobuf() -> Vec<u8> {
    let attribute = |name: &str, value: &[u8]| [field(1, name.as_bytes()), field(2, value)].concat();
    let resource = field(1, &attribute("service.name", &field(1, SOURCE.as_bytes())));
    let mut scope_logs = Vec::new();
    for (n, nanos) in (0..EVENTS).zip(FIRST_NANOS..) {
        let mut record = vec![1 << 3 | 1];
        record.extend_from_slice(&nanos.to_le_bytes());
        record.extend_from_slice(&[2 << 3, 9]);
        record.extend(field(3, b"INFO"));
        record.extend(field(5, &field(1, message(n).as_bytes())));
        for (name, value) in texts(n) {
            record.extend(field(6, &attribute(name, &field(1, value.as_bytes()))));
        }
        record.extend(field(6, &attribute("durationMs", &varint(3, n as u64))));
        scope_logs.extend(field(2, &record));
    }
    field(1, &[field(1, &resource), field(2, &scope_logs)].concat())
}

fn otlp_json() -> String {
    let records: Vec<String> = (0..EVENTS)
        .zip(FIRST_NANOS..)
        .map(|(n, nanos)| {
            let texts = texts(n)
                .map(|(name, value)| format!("{{\"key\":\"{name}\",\"value\":{{\"stringValue\":\"{value}\"}}}},"));
            format!(
                "{{\"timeUnixNano\":\"{nanos}\",\"severityNumber\":9,\"severityText\":\"INFO\",\
                 \"body\":{{\"stringValue\":\"{}\"}},\"attributes\":[{}\
                 {{\"key\":\"durationMs\",\"value\":{{\"intValue\":\"{n}\"}}}}]}}",
                message(n),
                texts.concat()
            )
        })
        .collect();
    format!(
        "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\
         \"value\":{{\"stringValue\":\"{SOURCE}\"}}}}]}},\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}",
        records.join(",")
    )
}

/// Without its coding, which is snappy.
fn loki_protobuf() -> Vec<u8> {
    let mut stream = field(1, format!("{{service_name=\"{SOURCE}\",level=\"info\"}}").as_bytes());
    for (n, nanos) in (0..EVENTS).zip(FIRST_NANOS..) {
        let time = [varint(1, nanos / SECOND_NANOS), varint(2, nanos % SECOND_NANOS)].concat();
        let mut entry = [field(1, &time), field(2, message(n).as_bytes())].concat();
        for (name, value) in texts(n).into_iter().chain([("durationMs", n.to_string())]) {
            entry.extend(field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
        }
        stream.extend(field(2, &entry));
    }
    field(1, &stream)
}

fn loki_json() -> String {
    let values: Vec<String> = (0..EVENTS)
        .zip(FIRST_NANOS..)
        .map(|(n, nanos)| format!("[\"{nanos}\",\"{}\",{{{},\"durationMs\":\"{n}\"}}]", message(n), members(n)))
        .collect();
    format!(
        "{{\"streams\":[{{\"stream\":{{\"service_name\":\"{SOURCE}\",\"level\":\"info\"}},\"values\":[{}]}}]}}",
        values.join(",")
    )
}

fn bulk() -> String {
    let mut body = String::new();
    for n in 0..EVENTS {
        writeln!(
            body,
            "{{\"create\":{{\"_index\":\"logs\"}}}}\n{{\"@timestamp\":\"2026-01-01T00:00:00.{n:03}Z\",\
             \"log.level\":\"info\",\"service.name\":\"{SOURCE}\",\"message\":\"{}\",{},\"durationMs\":{n}}}",
            message(n),
            members(n)
        )
        .expect("memory");
    }
    body
}

fn envelopes() -> String {
    (0..EVENTS)
        .map(|n| {
            format!(
                "{{\"time\":1767225600.{n:03},\"source\":\"{SOURCE}\",\"event\":{{\"level\":\"info\",\
                 \"message\":\"{}\",{},\"durationMs\":{n}}}}}",
                message(n),
                members(n)
            )
        })
        .collect()
}

/// The texts of the metadata as members of an object.
fn members(n: usize) -> String {
    texts(n).map(|(name, value)| format!("\"{name}\":\"{value}\"")).join(",")
}

fn syslog() -> Vec<String> {
    let message = |n: usize| {
        let data = texts(n).map(|(name, value)| format!(" {name}=\"{value}\"")).concat();
        format!("<14>1 2026-01-01T00:00:00.{n:03}Z host {SOURCE} 42 - [meta@1{data} durationMs=\"{n}\"] {}", message(n))
    };
    (0..EVENTS).map(message).collect()
}

/// A field of protobuf with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    write_varint(&mut field, bytes.len() as u64);
    field.extend_from_slice(bytes);
    field
}

/// A field of protobuf with a number.
fn varint(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    write_varint(&mut field, value);
    field
}

fn write_varint(buffer: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        buffer.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    buffer.push(u8::try_from(number).expect("seven bits"));
}
