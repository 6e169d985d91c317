//! What the document says about keys: which role each operation needs, and how a request is refused.
//!
//! It comes from the route table, so no operation can be left out.

use serde_json::{Value, json};

use crate::routes::{Access, ROUTES};

/// Names the role that an operation needs where keys are required.
const ROLE: &str = "x-spillway-role";

/// Adds the schemes of keys, and to each operation that needs one its role and its refusals.
pub fn describe_access(document: &mut Value) {
    for route in ROUTES {
        let role = match route.access {
            Access::Monitor | Access::Anyone | Access::AnyKey => continue,
            Access::Scrape => "operate",
            Access::Role(role) | Access::WholeRole(role) => role.name(),
        };
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = document.get_mut("paths").and_then(|paths| paths.get_mut(route.path)?.get_mut(&method));
        let Some(operation) = operation.and_then(Value::as_object_mut) else { continue };
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            for (status, refusal) in refusals() {
                responses.entry(status).or_insert(refusal);
            }
        }
        // An empty requirement: where no keys are required, none is needed.
        operation.insert("security".to_owned(), json!([{}, { "bearer": [] }, { "basic": [] }, { "apiKey": [] }]));
        operation.insert(ROLE.to_owned(), role.into());
    }
    if let Some(components) = document.get_mut("components").and_then(Value::as_object_mut) {
        components.insert("securitySchemes".to_owned(), schemes());
    }
}

fn refusals() -> [(&'static str, Value); 3] {
    let refusal = |description: &str| {
        let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        json!({ "description": description, "content": { "application/problem+json": problem } })
    };
    [
        (
            "401",
            refusal(
                "Where keys are required: no key (`unauthenticated`), or one that is not valid \
                 (`credentials_invalid`)",
            ),
        ),
        (
            "403",
            refusal(
                "The key has not the role, or the host name, the page or the proxy of the request is not \
                 allowed",
            ),
        ),
        ("429", refusal("Too many keys that are not valid came from this address")),
    ]
}

fn schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "spw_…" },
        "basic": { "type": "http", "scheme": "basic", "description": "The password is the key." },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_says_which_role_it_needs_and_how_it_refuses() {
        let document: Value = serde_json::from_str(&crate::openapi_document()).expect("JSON");
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
            if operation.is_null() {
                continue;
            }
            let open = matches!(route.access, Access::Monitor | Access::Anyone);
            assert_eq!(operation[ROLE].is_string(), !open, "{}", route.path);
            for status in ["401", "403", "429"] {
                assert_eq!(operation["responses"][status].is_object(), !open, "{} {status}", route.path);
            }
        }
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }
}
