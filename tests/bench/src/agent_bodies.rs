//! The same events in the protocols of log agents.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::events::Events;

/// The time of the first event, in nanoseconds since the Unix epoch: 2026-01-01. Each further event is a nanosecond later,
/// so that OTLP and Loki derive ids, as they do for clients with such times.
pub const FIRST_NANOS: u64 = 1_767_225_600_000_000_001;
/// The same time as the native API has it.
const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";
/// Members of the metadata that are texts, and the one that is a number.
const TEXTS: [&str; 2] = ["requestId", "userId"];
const NUMBER: &str = "durationMs";

/// Events of one source, as JSON objects of the native API.
#[must_use]
pub fn events(seed: u64, bytes: usize, source: &str, count: usize) -> Vec<Value> {
    let batch = Events::new(seed, bytes, "INFO", TIMESTAMP).batch(source, count);
    serde_json::from_str(&batch).expect("an array of events")
}

fn text<'e>(event: &'e Value, name: &str) -> &'e str {
    event[name].as_str().expect("a text")
}

/// The members of the metadata that are texts; none if the events are too small for metadata.
fn texts(event: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    TEXTS.into_iter().filter_map(|name| Some((name, event["metadata"][name].as_str()?)))
}

fn number(event: &Value) -> Option<u64> {
    event["metadata"][NUMBER].as_u64()
}

/// Times of events, from this one on.
fn times(first_nanos: u64) -> impl Iterator<Item = u64> {
    first_nanos..
}

/// A JSON array, as the native API and the HTTP outputs of agents take it.
#[must_use]
pub fn array(events: &[Value]) -> Vec<u8> {
    serde_json::to_vec(events).expect("JSON")
}

/// An `ExportLogsServiceRequest` of OTLP in protobuf.
#[must_use]
pub fn otlp_protobuf(events: &[Value], first_nanos: u64) -> Vec<u8> {
    let source = events.first().map_or("", |event| text(event, "source"));
    let attribute = |name: &str, value: Vec<u8>| [field(1, name.as_bytes()), field(2, &value)].concat();
    let resource = field(1, &attribute("service.name", field(1, source.as_bytes())));
    let mut scope_logs = Vec::new();
    for (event, nanos) in events.iter().zip(times(first_nanos)) {
        let mut record = vec![1 << 3 | 1];
        record.extend_from_slice(&nanos.to_le_bytes());
        record.extend_from_slice(&[2 << 3, 9]);
        record.extend(field(3, b"INFO"));
        record.extend(field(5, &field(1, text(event, "message").as_bytes())));
        for (name, value) in texts(event) {
            record.extend(field(6, &attribute(name, field(1, value.as_bytes()))));
        }
        if let Some(number) = number(event) {
            record.extend(field(6, &attribute(NUMBER, varint(3, number))));
        }
        scope_logs.extend(field(2, &record));
    }
    field(1, &[field(1, &resource), field(2, &scope_logs)].concat())
}

/// The same in JSON.
#[must_use]
pub fn otlp_json(events: &[Value], first_nanos: u64) -> Vec<u8> {
    let source = events.first().map_or("", |event| text(event, "source"));
    let record = |(event, nanos): (&Value, u64)| {
        let mut attributes: Vec<Value> =
            texts(event).map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } })).collect();
        attributes
            .extend(number(event).map(|number| json!({ "key": NUMBER, "value": { "intValue": number.to_string() } })));
        json!({
            "timeUnixNano": nanos.to_string(),
            "severityNumber": 9,
            "severityText": "INFO",
            "body": { "stringValue": text(event, "message") },
            "attributes": attributes,
        })
    };
    let records: Vec<Value> = events.iter().zip(times(first_nanos)).map(record).collect();
    let name = json!({ "key": "service.name", "value": { "stringValue": source } });
    let logs = json!({ "resource": { "attributes": [name] }, "scopeLogs": [{ "logRecords": records }] });
    json!({ "resourceLogs": [logs] }).to_string().into_bytes()
}

/// A push of Loki in protobuf, in a block of snappy.
#[must_use]
pub fn loki_protobuf(events: &[Value], first_nanos: u64) -> Vec<u8> {
    const SECOND: u64 = 1_000_000_000;
    let source = events.first().map_or("", |event| text(event, "source"));
    let mut stream = field(1, format!("{{service_name=\"{source}\",level=\"info\"}}").as_bytes());
    for (event, nanos) in events.iter().zip(times(first_nanos)) {
        let time = [varint(1, nanos / SECOND), varint(2, nanos % SECOND)].concat();
        let mut entry = [field(1, &time), field(2, text(event, "message").as_bytes())].concat();
        let number = number(event).map(|number| (NUMBER, number.to_string()));
        let texts = texts(event).map(|(name, value)| (name, value.to_owned()));
        for (name, value) in texts.chain(number) {
            entry.extend(field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
        }
        stream.extend(field(2, &entry));
    }
    snap::raw::Encoder::new().compress_vec(&field(1, &stream)).expect("it is small")
}

/// A push of Loki in JSON.
#[must_use]
pub fn loki_json(events: &[Value], first_nanos: u64) -> Vec<u8> {
    let source = events.first().map_or("", |event| text(event, "source"));
    let value = |(event, nanos): (&Value, u64)| {
        let number = number(event).map(|number| (NUMBER, number.to_string()));
        let structured: serde_json::Map<String, Value> = texts(event)
            .map(|(name, value)| (name, value.to_owned()))
            .chain(number)
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        json!([nanos.to_string(), text(event, "message"), structured])
    };
    let values: Vec<Value> = events.iter().zip(times(first_nanos)).map(value).collect();
    let stream = json!({ "stream": { "service_name": source, "level": "info" }, "values": values });
    json!({ "streams": [stream] }).to_string().into_bytes()
}

/// A bulk request of Elasticsearch, with fields of its common schema.
#[must_use]
pub fn bulk(events: &[Value]) -> Vec<u8> {
    let mut body = String::new();
    for event in events {
        let mut document = json!({
            "@timestamp": event["timestamp"],
            "log.level": "info",
            "service.name": event["source"],
            "message": event["message"],
        });
        with_metadata(&mut document, event);
        writeln!(body, "{{\"create\":{{\"_index\":\"logs\"}}}}\n{document}").expect("memory");
    }
    body.into_bytes()
}

/// Envelopes of Splunk's collector.
#[must_use]
pub fn envelopes(events: &[Value]) -> Vec<u8> {
    let mut body = String::new();
    for event in events {
        let mut inner = json!({ "level": "info", "message": event["message"] });
        with_metadata(&mut inner, event);
        let envelope = json!({ "time": 1_767_225_600.0, "source": event["source"], "event": inner });
        write!(body, "{envelope}").expect("memory");
    }
    body.into_bytes()
}

fn with_metadata(document: &mut Value, event: &Value) {
    if let Some(metadata) = event["metadata"].as_object() {
        for (name, value) in metadata {
            document[name] = value.clone();
        }
    }
}

/// Messages of syslog (RFC 5424), each with its length in front of it.
#[must_use]
pub fn syslog(events: &[Value]) -> Vec<u8> {
    let mut messages = Vec::new();
    for event in events {
        let mut data: String = texts(event).map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
        if let Some(number) = number(event) {
            data.push_str(&format!(" {NUMBER}=\"{number}\""));
        }
        let (source, text) = (text(event, "source"), text(event, "message"));
        let message = format!("<14>1 {TIMESTAMP} host {source} 42 - [meta@1{data}] {text}");
        messages.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
    }
    messages
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_the_texts_of_all_events() {
        let events = events(7, 225, "checkout-001", 10);
        let snappy = loki_protobuf(&events, FIRST_NANOS);
        let unpacked = snap::raw::Decoder::new().decompress_vec(&snappy).expect("a block");
        for (name, body) in [
            ("array", array(&events)),
            ("OTLP in protobuf", otlp_protobuf(&events, FIRST_NANOS)),
            ("OTLP in JSON", otlp_json(&events, FIRST_NANOS)),
            ("Loki in protobuf", unpacked),
            ("Loki in JSON", loki_json(&events, FIRST_NANOS)),
            ("bulk", bulk(&events)),
            ("envelopes", envelopes(&events)),
            ("syslog", syslog(&events)),
        ] {
            let body = String::from_utf8_lossy(&body);
            for event in &events {
                let [message, request] =
                    [text(event, "message"), event["metadata"]["requestId"].as_str().expect("an id")];
                assert!(body.contains(message) && body.contains(request), "{name}: {message}");
            }
            assert!(body.contains("checkout-001"), "{name}");
        }
    }
}
