//! Environment variables and the keys of settings that they set.

use std::collections::HashMap;

use serde_json::Value;

const PREFIX: &str = "SPILLWAY_";

/// The variables of Spillway among those of the environment.
///
/// `SPILLWAY_STORE` names the store and `SPILLWAY_STORE__RETENTION` is a member of its section, so the former is mapped
/// to a member too.
pub(super) fn variables(environment: impl IntoIterator<Item = (String, String)>) -> HashMap<String, String> {
    let named = |name: String| if name == "SPILLWAY_STORE" { "SPILLWAY_STORE__KIND".to_owned() } else { name };
    environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| (named(name), value))
        .collect()
}

/// The variable of the setting with this path of keys.
pub(crate) fn variable_of(path: &[String]) -> String {
    let name = format!("{PREFIX}{}", path.join("__").to_ascii_uppercase());
    if name == "SPILLWAY_STORE__KIND" { "SPILLWAY_STORE".to_owned() } else { name }
}

/// The leaves of a tree of objects, with their paths.
pub(super) fn flatten(value: &Value) -> Vec<(Vec<String>, Value)> {
    let Value::Object(members) = value else { return vec![(Vec::new(), value.clone())] };
    let inner = |(name, value): (&String, &Value)| {
        let name = name.clone();
        flatten(value).into_iter().map(move |(mut path, leaf)| {
            path.insert(0, name.clone());
            (path, leaf)
        })
    };
    members.iter().flat_map(inner).collect()
}
