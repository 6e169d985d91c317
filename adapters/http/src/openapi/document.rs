//! The OpenAPI document.
//!
//! There is one document for the whole API, on every role. Producer and consumer share the path `/api/logs`,
//! which poem-openapi would write twice, so their documents are merged here.

use application::ingest::REQUEST_EVENTS_MAX;
use application::outage::OutageState;
use domain::alert::Severity;
use domain::delivery::Durability;
use domain::delivery::breaker::BreakerState;
use domain::level::Level;
use serde_json::{Value, json};

use crate::actuator::ActuatorApi;
use crate::actuator::fleet::FleetApi;
use crate::gateway::balancing::Availability;
use crate::ingest::agents;
use crate::openapi::access::describe_access;
use crate::openapi::service::document_of;
use crate::query::query_api;
use crate::routes::ingest_operations;

/// A level, in any case, with its aliases.
const LEVEL_PATTERN: &str = "^([Tt][Rr][Aa][Cc][Ee]|[Dd][Ee][Bb][Uu][Gg]|[Ii][Nn][Ff][Oo]|[Ww][Aa][Rr][Nn]([Ii][Nn][Gg])?|\
    [Ee][Rr][Rr][Oo][Rr]|[Ff][Aa][Tt][Aa][Ll]|[Cc][Rr][Ii][Tt][Ii][Cc][Aa][Ll]|[Aa][Ll][Ee][Rr][Tt]|\
    [Ee][Mm][Ee][Rr][Gg][Ee][Nn][Cc][Yy])$";

/// The document of the whole API, as JSON with a newline at the end.
#[must_use]
pub fn openapi_document() -> String {
    let mut document = document_of((ingest_operations(), ActuatorApi, FleetApi));
    merge(&mut document, document_of(query_api()));
    merge(&mut document, agents::document::operations());
    for (place, addition) in additions() {
        if let Some(schema) = document.pointer_mut(place) {
            merge(schema, addition);
        }
    }
    for (path, name, addition) in parameters() {
        if let Some(schema) = parameter_schema(&mut document, &path, name) {
            merge(schema, addition);
        }
    }
    for place in ["LogEvent", "RedriveRequest"] {
        allow_null(&mut document, place);
    }
    complete(&mut document);
    describe_access(&mut document);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// What poem-openapi has no way to write, by place.
fn additions() -> Vec<(&'static str, Value)> {
    let names = Level::ALL.map(Level::name);
    let durabilities = [Durability::Acknowledged, Durability::Journaled, Durability::Buffered].map(Durability::name);
    let status = json!({ "enum": ["UP", "DOWN"] });
    let roles = json!({ "enum": ["all", "gateway", "producer", "consumer"] });
    let availabilities = Availability::ALL.map(Availability::name);
    let breakers = BreakerState::ALL.map(BreakerState::name);
    let outages = [OutageState::Away, OutageState::Replaying].map(OutageState::name);
    let severities = [Severity::Warning, Severity::Critical].map(Severity::name);
    vec![
        ("/components/schemas/LogEvent/properties/level", json!({ "pattern": LEVEL_PATTERN })),
        ("/components/schemas/LogEvent/properties/source", json!({ "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$" })),
        ("/components/schemas/StoredEvent/properties/level", json!({ "enum": names })),
        ("/components/schemas/EventAccepted/properties/status", json!({ "enum": ["Accepted"] })),
        ("/components/schemas/EventAccepted/properties/durability", json!({ "enum": durabilities })),
        ("/components/schemas/ProducerHealth/properties/status", status.clone()),
        ("/components/schemas/HealthReport/properties/status", status.clone()),
        ("/components/schemas/ComponentHealth/properties/status", status.clone()),
        ("/components/schemas/InstanceReport/properties/status", status),
        ("/components/schemas/FleetInstance/properties/status", json!({ "enum": ["UP", "DOWN", "UNREACHABLE"] })),
        ("/components/schemas/FleetInstance/properties/role", roles.clone()),
        ("/components/schemas/InstanceReport/properties/role", roles),
        ("/components/schemas/InstanceRouting/properties/state", json!({ "enum": availabilities })),
        ("/components/schemas/BreakerReport/properties/state", json!({ "enum": breakers })),
        ("/components/schemas/OutageReport/properties/state", json!({ "enum": outages })),
        ("/components/schemas/AlertReport/properties/severity", json!({ "enum": severities })),
        ("/components/schemas/ProducerReport/properties/bus", json!({ "enum": ["embedded", "kafka"] })),
        ("/components/schemas/DeadLetter/properties/encoding", json!({ "enum": ["text", "base64"] })),
        ("/components/schemas/EventPage/properties/nextCursor", json!({ "nullable": true })),
        ("/components/schemas/EventContext/properties/beforeCursor", json!({ "nullable": true })),
        ("/components/schemas/EventContext/properties/afterCursor", json!({ "nullable": true })),
        ("/components/schemas/DeadLetterPage/properties/nextCursor", json!({ "nullable": true })),
        ("/components/schemas/DeadLetterPage/properties/total", json!({ "nullable": true })),
        ("/components/schemas/RedriveRequest", json!({ "additionalProperties": false })),
        (
            "/paths/~1api~1logs~1batch/post/requestBody/content/application~1json/schema",
            json!({ "minItems": 1, "maxItems": REQUEST_EVENTS_MAX }),
        ),
    ]
}

/// The same for parameters of GET operations, by path and name.
fn parameters() -> Vec<(String, &'static str, Value)> {
    let level = LEVEL_PATTERN.trim_start_matches('^').trim_end_matches('$');
    let levels = json!({ "items": { "pattern": format!("^{level}[+]?(,{level}[+]?)*$") } });
    let searches = ["", "/stats", "/tail", "/fields", "/values", "/export"]
        .map(|operation| (format!("/api/logs{operation}"), "level", levels.clone()));
    let tag = json!({ "items": { "pattern": "^[^:]+:.*$" } });
    searches.into_iter().chain([("/actuator/metrics/{name}".to_owned(), "tag", tag)]).collect()
}

/// The schema of a parameter of a GET operation.
fn parameter_schema<'d>(document: &'d mut Value, path: &str, name: &str) -> Option<&'d mut Value> {
    let operation = document.get_mut("paths")?.get_mut(path)?.get_mut("get")?;
    let mut parameters = operation.get_mut("parameters")?.as_array_mut()?.iter_mut();
    parameters.find(|parameter| parameter["name"] == name)?.get_mut("schema")
}

/// `null` is as good as absent for members that need not be there.
fn allow_null(document: &mut Value, schema: &str) {
    let Some(schema) = document.pointer_mut(&format!("/components/schemas/{schema}")) else { return };
    let required = schema.get("required").cloned().unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, property) in properties {
        let required = required.as_array().is_some_and(|required| required.contains(&Value::from(name.as_str())));
        // A member with a default cannot be null.
        if !required && property.get("default").is_none() {
            merge(property, json!({ "nullable": true }));
        }
    }
}

/// Bounds are whole numbers; numbers without a sign have bounds, which `format` alone does not tell; and a reference with a description of its
/// own, which OpenAPI 3.0 can only write as a list of one, is a reference, or generators make a type of each.
fn complete(node: &mut Value) {
    if let Value::Object(members) = node {
        if let Some(reference) = members.get("allOf").and_then(|all| all.get(0)).and_then(|of| of.get("$ref")).cloned()
        {
            *node = json!({ "$ref": reference });
            return;
        }
        for bound in ["minimum", "maximum"] {
            if let Some(number) = members.get_mut(bound) {
                as_whole(number);
            }
        }
        let maximum = match members.get("format").and_then(Value::as_str) {
            Some("uint16") => Some(u64::from(u16::MAX)),
            Some("uint32") => Some(u64::from(u32::MAX)),
            Some("uint64") => None,
            _ => {
                members.values_mut().for_each(complete);
                return;
            }
        };
        members.entry("minimum").or_insert(0.into());
        if let Some(maximum) = maximum {
            members.entry("maximum").or_insert(maximum.into());
        }
    } else if let Value::Array(elements) = node {
        elements.iter_mut().for_each(complete);
    }
}

/// All bounds here are whole numbers, which poem-openapi writes with a fraction.
fn as_whole(number: &mut Value) {
    let whole = number.to_string().strip_suffix(".0").and_then(|digits| digits.parse::<i64>().ok());
    if let Some(whole) = whole {
        *number = whole.into();
    }
}

/// Adds what only `other` has; lists are joined.
fn merge(document: &mut Value, other: Value) {
    match (document, other) {
        (Value::Object(members), Value::Object(others)) => {
            for (name, other) in others {
                merge(members.entry(name).or_insert(Value::Null), other);
            }
        }
        (Value::Array(elements), Value::Array(others)) => {
            for other in others {
                if !elements.contains(&other) {
                    elements.push(other);
                }
            }
        }
        (document @ Value::Null, other) => *document = other,
        (_, _) => {}
    }
}
