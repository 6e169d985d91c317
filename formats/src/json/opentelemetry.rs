//! Log records of OpenTelemetry as JSON (OTLP/JSON), such as the file exporter of the collector writes them.

use domain::metadata::{JsonKind, JsonValue};

use crate::fields::{Fields, quoted};

/// Deepest value that is converted; deeper ones stay as they are.
const DEPTH_MAX: u32 = 12;

/// Whether an object has a name that one of these records has, anywhere.
pub fn may_be_record(object: &str) -> bool {
    object.contains("imeUnixNano\"") || object.contains("\"resourceLogs\"")
}

/// The object that a line of one record is, with attributes as plain members. `None` if the line is something else, or
/// has more than one record.
pub fn record(object: &str) -> Option<String> {
    let value = JsonValue::new(object);
    if !object.contains("\"resourceLogs\"") {
        let is_record = object.contains("imeUnixNano\"") && object.contains("Value\"");
        return if is_record { Some(plain(value, &[])) } else { None };
    }
    let resource_logs = only(member(value, "resourceLogs")?)?;
    let scope_logs = only(member(resource_logs, "scopeLogs")?)?;
    let record = only(member(scope_logs, "logRecords")?)?;
    let resource = member(resource_logs, "resource").and_then(|resource| member(resource, "attributes"));
    let scope = member(scope_logs, "scope").filter(|scope| scope.members().next().is_some());
    let others: Vec<_> =
        [("resource", resource.map(attributes)), ("scope", scope.map(|scope| scope.json().to_owned()))]
            .into_iter()
            .filter_map(|(name, json)| Some((name, json?)))
            .collect();
    Some(plain(record, &others))
}

fn member<'a>(value: JsonValue<'a>, name: &str) -> Option<JsonValue<'a>> {
    value.members().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The only element of an array.
fn only(array: JsonValue<'_>) -> Option<JsonValue<'_>> {
    let mut elements = array.elements();
    elements.next().filter(|_| elements.next().is_none())
}

/// The record with its attributes and its body as plain JSON, and the members of `others`.
fn plain(record: JsonValue<'_>, others: &[(&str, String)]) -> String {
    let mut fields = Fields::default();
    for (name, value) in record.members() {
        match name.as_ref() {
            "attributes" if value.kind() == JsonKind::Array => fields.push_json(&name, &attributes(value)),
            "body" => fields.push_json(&name, &any_value(value, 0)),
            _ => fields.push_json(&name, value.json()),
        }
    }
    for (name, json) in others {
        fields.push_json(name, json);
    }
    fields.into_json()
}

/// `[{"key": …, "value": …}]` as an object.
fn attributes(list: JsonValue<'_>) -> String {
    key_values(list, 0)
}

fn key_values(list: JsonValue<'_>, depth: u32) -> String {
    let mut fields = Fields::default();
    for pair in list.elements() {
        if let (Some(key), Some(value)) = (member(pair, "key"), member(pair, "value")) {
            fields.push_json(&key.plain(), &any_value(value, depth + 1));
        }
    }
    fields.into_json()
}

/// `{"stringValue": …}` and its relatives as plain JSON. Integers are texts in OTLP/JSON, and stay so.
fn any_value(value: JsonValue<'_>, depth: u32) -> String {
    let mut members = value.members();
    let (Some((kind, inner)), None) = (members.next(), members.next()) else { return value.json().to_owned() };
    match kind.as_ref() {
        "stringValue" | "boolValue" | "doubleValue" | "bytesValue" => inner.json().to_owned(),
        "intValue" => {
            let digits = inner.plain();
            let is_number = digits.len() < 20 && digits.parse::<i64>().is_ok_and(|number| number.to_string() == digits);
            if is_number { digits.into_owned() } else { quoted(&digits) }
        }
        "arrayValue" if depth < DEPTH_MAX => {
            let values = member(inner, "values");
            let values: Vec<_> =
                values.iter().flat_map(|values| values.elements()).map(|v| any_value(v, depth + 1)).collect();
            format!("[{}]", values.join(","))
        }
        "kvlistValue" if depth < DEPTH_MAX => {
            member(inner, "values").map_or_else(|| "{}".to_owned(), |values| key_values(values, depth))
        }
        _ => value.json().to_owned(),
    }
}
