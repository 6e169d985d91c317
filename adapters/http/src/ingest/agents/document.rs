//! The operations of agents in the OpenAPI document.
//!
//! Written here and not derived from types: bodies are binary, or JSON of any shape, and each protocol answers in its
//! own way. A test holds the paths to the route table.

use serde_json::{Map, Value, json};

/// An operation of a protocol.
struct Operation {
    paths: &'static [&'static str],
    methods: &'static [&'static str],
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    /// Media types of bodies, and whether they are JSON.
    bodies: &'static [(&'static str, bool)],
    success: (&'static str, &'static str, Option<&'static str>),
    /// Media type of errors.
    errors: &'static str,
    /// Whether it answers 429: others answer 503 when a client is over its limit.
    says_rate_limited: bool,
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const NDJSON: &str = "application/x-ndjson";

const OPERATIONS: [Operation; 7] = [
    Operation {
        paths: &["/api/logs/ingest"],
        methods: &["post"],
        id: "ingestObjects",
        summary: "Hand over events as log agents write them",
        description: "A JSON object, an array, objects one after another, or lines of text, whatever the media type \
                      says. Fields have the names that agents and libraries give them; what breaks a rule is kept as \
                      text. `source` in the query (or `src`) is the source of events without one.",
        bodies: &[(JSON, true), (NDJSON, false), ("text/plain", false)],
        success: ("202", "All events are accepted", Some(JSON)),
        errors: "application/problem+json",
        says_rate_limited: true,
    },
    Operation {
        paths: &["/v1/logs"],
        methods: &["post"],
        id: "exportOtlpLogs",
        summary: "OTLP/HTTP logs",
        description: "An `ExportLogsServiceRequest` in protobuf or JSON. The answer has the format of the request.",
        bodies: &[(PROTOBUF, false), (JSON, true)],
        success: ("200", "All records are accepted", Some(JSON)),
        errors: JSON,
        says_rate_limited: true,
    },
    Operation {
        paths: &["/loki/api/v1/push", "/api/prom/push"],
        methods: &["post"],
        id: "pushLoki",
        summary: "Loki push",
        description: "JSON, or protobuf in a snappy block.",
        bodies: &[(JSON, true), (PROTOBUF, false)],
        success: ("204", "All lines are accepted", None),
        errors: "text/plain; charset=utf-8",
        says_rate_limited: true,
    },
    Operation {
        paths: &["/_bulk", "/{index}/_bulk"],
        methods: &["post", "put"],
        id: "bulk",
        summary: "Elasticsearch and OpenSearch bulk request",
        description: "Actions `index` and `create` add an event; `update` and `delete` are refused by item.",
        bodies: &[(NDJSON, false), (JSON, true)],
        success: ("200", "All documents are accepted; `items` says so for each", Some(JSON)),
        errors: JSON,
        says_rate_limited: false,
    },
    Operation {
        paths: &["/services/collector", "/services/collector/event", "/services/collector/event/1.0"],
        methods: &["post"],
        id: "collectEnvelopes",
        summary: "Splunk HTTP Event Collector, events",
        description: "Envelopes one after another.",
        bodies: &[(JSON, true)],
        success: ("200", "All events are accepted", Some(JSON)),
        errors: JSON,
        says_rate_limited: false,
    },
    Operation {
        paths: &["/services/collector/raw", "/services/collector/raw/1.0"],
        methods: &["post"],
        id: "collectLines",
        summary: "Splunk HTTP Event Collector, raw lines",
        description: "One event a line.",
        bodies: &[("text/plain", false)],
        success: ("200", "All events are accepted", Some(JSON)),
        errors: JSON,
        says_rate_limited: false,
    },
    Operation {
        paths: &["/services/collector/ack"],
        methods: &["post"],
        id: "collectAcknowledgements",
        summary: "Splunk HTTP Event Collector, acknowledgements",
        description: "Always true: with a channel, an answer comes only once its events are safe.",
        bodies: &[(JSON, true)],
        success: ("200", "Which requests are acknowledged", Some(JSON)),
        errors: JSON,
        says_rate_limited: false,
    },
];

/// The part of the document that describes the operations of agents.
#[must_use]
pub fn operations() -> Value {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        for (path_number, path) in operation.paths.iter().enumerate() {
            let mut item = Map::new();
            for (method_number, method) in operation.methods.iter().enumerate() {
                // The id of an operation is its own.
                let number = path_number * operation.methods.len() + method_number;
                let id = if number == 0 { operation.id.to_owned() } else { format!("{}{}", operation.id, number + 1) };
                item.insert((*method).to_owned(), operation.describe(path, &id));
            }
            paths.insert((*path).to_owned(), Value::Object(item));
        }
    }
    let tag = json!({ "name": "Agents", "description": "Hand logs over by the protocols of log agents." });
    json!({ "tags": [tag], "paths": paths })
}

impl Operation {
    fn describe(&self, path: &str, id: &str) -> Value {
        let any = |is_json: bool| if is_json { json!({}) } else { json!({ "type": "string", "format": "binary" }) };
        let content: Map<String, Value> = self
            .bodies
            .iter()
            .map(|(media_type, is_json)| ((*media_type).to_owned(), json!({ "schema": any(*is_json) })))
            .collect();
        let mut responses = Map::new();
        let (status, description, media_type) = self.success;
        let mut success = json!({ "description": description });
        if let (Some(media_type), Value::Object(success)) = (media_type, &mut success) {
            success.insert("content".to_owned(), json!({ media_type: { "schema": {} } }));
        }
        responses.insert(status.to_owned(), success);
        for (status, description) in self.failures() {
            let content = json!({ self.errors: { "schema": {} } });
            responses.insert(status.to_owned(), json!({ "description": description, "content": content }));
        }
        let mut described = json!({
            "tags": ["Agents"],
            "summary": self.summary,
            "description": self.description,
            "operationId": id,
            "requestBody": { "content": content, "required": true },
            "responses": responses,
        });
        let parameters = parameters(path);
        if let (false, Value::Object(described)) = (parameters.is_empty(), &mut described) {
            described.insert("parameters".to_owned(), Value::Array(parameters));
        }
        described
    }

    fn failures(&self) -> Vec<(&'static str, &'static str)> {
        let mut failures = vec![
            ("400", "The body cannot be decoded; or, of Loki and HEC, some events were left out: the text says why"),
            ("413", "The body is too large, or its events are"),
            ("415", "The media type or content coding is not supported"),
        ];
        if self.says_rate_limited {
            failures.push(("429", "The client is over its limit; send again after `Retry-After`"));
        }
        failures.extend([
            ("502", "Through the gateway: an instance broke off"),
            ("503", "Not everything was accepted; send again after `Retry-After`"),
            ("504", "It is not known whether the events were kept: send again"),
        ]);
        failures
    }
}

fn parameters(path: &str) -> Vec<Value> {
    let parameter = |name: &str, place: &str| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
    };
    match path {
        "/{index}/_bulk" => vec![parameter("index", "path")],
        "/api/logs/ingest" => vec![parameter("source", "query"), parameter("src", "query")],
        _ => Vec::new(),
    }
}
