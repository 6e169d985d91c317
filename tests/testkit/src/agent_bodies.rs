//! The same events in the protocols of log agents.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// The time of the first event, in nanoseconds since the Unix epoch: 2026-01-01. Each further event is a nanosecond later,
/// so that OTLP and Loki derive ids, as they do for clients with such times.
pub const FIRST_NANOS: u64 = 1_767_225_600_000_000_001;
const SECOND_NANOS: u64 = 1_000_000_000;

/// An event as an agent sends it, at INFO.
#[derive(Clone, Debug)]
pub struct AgentEvent {
    /// Its text.
    pub message: String,
    /// Its time in protocols with milliseconds: so many after 2026-01-01, from 0 to 999.
    pub millis: u16,
    /// Members of its metadata that are texts.
    pub texts: Vec<(&'static str, String)>,
    /// The one that is a number.
    pub number: Option<(&'static str, u64)>,
}

/// Events of one source.
#[derive(Clone, Debug)]
pub struct AgentEvents {
    /// Their source.
    pub source: String,
    /// The events.
    pub events: Vec<AgentEvent>,
}

impl AgentEvent {
    /// Its time as RFC 3339.
    fn timestamp(&self) -> String {
        format!("2026-01-01T00:00:00.{:03}Z", self.millis)
    }

    /// Its metadata.
    fn metadata(&self) -> Map<String, Value> {
        let texts = self.texts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        texts.chain(self.number.map(|(name, value)| (name.to_owned(), Value::from(value)))).collect()
    }

    /// Its metadata where all values are texts.
    fn metadata_as_texts(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.texts.iter().cloned().chain(self.number.map(|(name, value)| (name, value.to_string())))
    }
}

impl AgentEvents {
    /// A JSON array, as the native API and the HTTP outputs of agents take it.
    #[must_use]
    pub fn array(&self) -> Vec<u8> {
        let event = |event: &AgentEvent| {
            let mut object = json!({
                "source": self.source,
                "level": "INFO",
                "timestamp": event.timestamp(),
                "message": event.message,
            });
            let metadata = event.metadata();
            if let Some(members) = object.as_object_mut().filter(|_| !metadata.is_empty()) {
                members.insert("metadata".to_owned(), metadata.into());
            }
            object
        };
        serde_json::to_vec(&self.events.iter().map(event).collect::<Vec<Value>>()).expect("JSON")
    }

    /// An `ExportLogsServiceRequest` of OTLP in protobuf.
    #[must_use]
    pub fn otlp_protobuf(&self, first_nanos: u64) -> Vec<u8> {
        let attribute = |name: &str, value: &[u8]| [field(1, name.as_bytes()), field(2, value)].concat();
        let resource = field(1, &attribute("service.name", &field(1, self.source.as_bytes())));
        let mut scope_logs = Vec::new();
        for (event, nanos) in self.events.iter().zip(first_nanos..) {
            let mut record = vec![1 << 3 | 1];
            record.extend_from_slice(&nanos.to_le_bytes());
            record.extend_from_slice(&[2 << 3, 9]);
            record.extend(field(3, b"INFO"));
            record.extend(field(5, &field(1, event.message.as_bytes())));
            for (name, value) in &event.texts {
                record.extend(field(6, &attribute(name, &field(1, value.as_bytes()))));
            }
            if let Some((name, number)) = event.number {
                record.extend(field(6, &attribute(name, &varint(3, number))));
            }
            scope_logs.extend(field(2, &record));
        }
        field(1, &[field(1, &resource), field(2, &scope_logs)].concat())
    }

    /// The same in JSON.
    #[must_use]
    pub fn otlp_json(&self, first_nanos: u64) -> Vec<u8> {
        let record = |(event, nanos): (&AgentEvent, u64)| {
            let texts = event.texts.iter();
            let mut attributes: Vec<Value> =
                texts.map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } })).collect();
            let number = event.number.map(|(name, number)| (name, number.to_string()));
            attributes.extend(number.map(|(name, number)| json!({ "key": name, "value": { "intValue": number } })));
            json!({
                "timeUnixNano": nanos.to_string(),
                "severityNumber": 9,
                "severityText": "INFO",
                "body": { "stringValue": event.message },
                "attributes": attributes,
            })
        };
        let records: Vec<Value> = self.events.iter().zip(first_nanos..).map(record).collect();
        let name = json!({ "key": "service.name", "value": { "stringValue": self.source } });
        let logs = json!({ "resource": { "attributes": [name] }, "scopeLogs": [{ "logRecords": records }] });
        json!({ "resourceLogs": [logs] }).to_string().into_bytes()
    }

    /// A push of Loki in protobuf, without its coding, which is snappy.
    #[must_use]
    pub fn loki_protobuf(&self, first_nanos: u64) -> Vec<u8> {
        let labels = format!("{{service_name=\"{}\",level=\"info\"}}", self.source);
        let mut stream = field(1, labels.as_bytes());
        for (event, nanos) in self.events.iter().zip(first_nanos..) {
            let time = [varint(1, nanos / SECOND_NANOS), varint(2, nanos % SECOND_NANOS)].concat();
            let mut entry = [field(1, &time), field(2, event.message.as_bytes())].concat();
            for (name, value) in event.metadata_as_texts() {
                entry.extend(field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
            }
            stream.extend(field(2, &entry));
        }
        field(1, &stream)
    }

    /// A push of Loki in JSON.
    #[must_use]
    pub fn loki_json(&self, first_nanos: u64) -> Vec<u8> {
        let value = |(event, nanos): (&AgentEvent, u64)| {
            let metadata = event.metadata_as_texts();
            let metadata: Map<String, Value> =
                metadata.map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
            json!([nanos.to_string(), event.message, metadata])
        };
        let values: Vec<Value> = self.events.iter().zip(first_nanos..).map(value).collect();
        let stream = json!({ "stream": { "service_name": self.source, "level": "info" }, "values": values });
        json!({ "streams": [stream] }).to_string().into_bytes()
    }

    /// A bulk request of Elasticsearch, with fields of its common schema.
    #[must_use]
    pub fn bulk(&self) -> Vec<u8> {
        let mut body = String::new();
        for event in &self.events {
            let document = json!({
                "@timestamp": event.timestamp(),
                "log.level": "info",
                "service.name": self.source,
                "message": event.message,
            });
            let document = with_metadata(document, event);
            writeln!(body, "{{\"create\":{{\"_index\":\"logs\"}}}}\n{document}").expect("memory");
        }
        body.into_bytes()
    }

    /// Envelopes of Splunk's collector.
    #[must_use]
    pub fn envelopes(&self) -> Vec<u8> {
        let mut body = String::new();
        for event in &self.events {
            let inner = with_metadata(json!({ "level": "info", "message": event.message }), event);
            let (seconds, source) = (FIRST_NANOS / SECOND_NANOS, json!(self.source));
            write!(body, "{{\"time\":{seconds}.{:03},\"source\":{source},\"event\":{inner}}}", event.millis)
                .expect("memory");
        }
        body.into_bytes()
    }

    /// Messages of syslog (RFC 5424).
    #[must_use]
    pub fn syslog(&self) -> Vec<String> {
        let message = |event: &AgentEvent| {
            let metadata = event.metadata_as_texts();
            let data: String = metadata.map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
            let (time, source, text) = (event.timestamp(), &self.source, &event.message);
            format!("<14>1 {time} host {source} 42 - [meta@1{data}] {text}")
        };
        self.events.iter().map(message).collect()
    }
}

/// An object with the metadata of an event as further members.
fn with_metadata(mut object: Value, event: &AgentEvent) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.extend(event.metadata());
    }
    object
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
        let event = |n: u16| AgentEvent {
            message: format!("message {n} of all"),
            millis: n,
            texts: vec![("requestId", format!("request-{n}-of-all"))],
            number: Some(("durationMs", u64::from(n) + 7_000)),
        };
        let events = AgentEvents { source: "checkout-001".to_owned(), events: (0..10).map(event).collect() };
        for (name, body) in [
            ("array", events.array()),
            ("OTLP in protobuf", events.otlp_protobuf(FIRST_NANOS)),
            ("OTLP in JSON", events.otlp_json(FIRST_NANOS)),
            ("Loki in protobuf", events.loki_protobuf(FIRST_NANOS)),
            ("Loki in JSON", events.loki_json(FIRST_NANOS)),
            ("bulk", events.bulk()),
            ("envelopes", events.envelopes()),
            ("syslog", events.syslog().concat().into_bytes()),
        ] {
            let body = String::from_utf8_lossy(&body);
            for event in &events.events {
                for text in [&event.message, &event.texts[0].1] {
                    assert!(body.contains(text.as_str()), "{name}: {text}");
                }
            }
            assert!(body.contains("checkout-001"), "{name}");
        }
    }
}
