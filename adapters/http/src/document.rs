//! The OpenAPI document.
//!
//! There is one document for the whole API, on every role. Producer and consumer share the path `/api/logs`,
//! which poem-openapi would write twice, so their documents are merged here.

use serde_json::{Value, json};

use crate::actuator::ActuatorApi;
use crate::consumer::ConsumerApi;
use crate::producer::ProducerApi;
use crate::service::document_of;

/// The document of the whole API, as JSON with a newline at the end.
#[must_use]
pub fn openapi_document() -> String {
    let mut document = document_of((ProducerApi, ActuatorApi));
    merge(&mut document, document_of((ConsumerApi, ActuatorApi)));
    // What poem-openapi has no way to write: members that are null instead of absent, objects that take no other
    // members, and rules for the elements of a list.
    for (place, addition) in [
        ("/components/schemas/EventPage/properties/nextCursor", json!({ "nullable": true })),
        ("/components/schemas/DeadLetterPage/properties/nextCursor", json!({ "nullable": true })),
        ("/components/schemas/RedriveRequest", json!({ "additionalProperties": false })),
        ("/paths/~1actuator~1metrics~1{name}/get/parameters/1/schema/items", json!({ "pattern": "^[^:]+:.*$" })),
    ] {
        if let Some(schema) = document.pointer_mut(place) {
            merge(schema, addition);
        }
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
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
