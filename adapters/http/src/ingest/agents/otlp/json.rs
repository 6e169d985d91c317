//! OTLP in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"): names in lowerCamelCase, ids in
//! hexadecimal digits, 64-bit numbers as texts or numbers.

use std::borrow::Cow;

use application::ingest::{AgentIntake, JsonText, Members};
use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::metadata::{JsonKind, JsonValue};

use crate::ingest::agents::json_values::plain;
use crate::ingest::agents::otlp::record::{Origin, Record, SERVICE_NAME, STACK_TRACE};
use crate::ingest::protocol::DecodeError;

/// Deepest nesting of a value that is written out: deeper than metadata may be, so that it is noticed there.
const VALUE_DEPTH_MAX: u32 = 24;

/// Takes in the records of an `ExportLogsServiceRequest`.
pub fn decode(request: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    for resource_logs in elements(request, "resourceLogs") {
        intake.group()?;
        let (mut source, mut resource) = (None, Members::default());
        let [of_resource, scopes] = members_of(resource_logs, ["resource", "scopeLogs"]);
        for attribute in elements(of_resource, "attributes") {
            let (key, value) = key_value(attribute);
            if key == SERVICE_NAME {
                source = Some(text_of(value).into_owned());
            }
            member(&mut resource, &key, value);
        }
        for scope_logs in scopes.elements() {
            intake.group()?;
            let [of_scope, log_records] = members_of(scope_logs, ["scope", "logRecords"]);
            let mut log_records = log_records.elements().peekable();
            if log_records.peek().is_none() {
                continue;
            }
            let scope = scope(of_scope);
            let origin = Origin::new(source.as_deref(), &resource, scope, intake)?;
            for log_record in log_records {
                record(log_record).add(&origin, intake)?;
            }
        }
    }
    Ok(())
}

/// The members of the scope: name, version and attributes.
fn scope(scope: JsonValue<'_>) -> Members {
    let mut members = Members::default();
    for (name, given) in ["name", "version"].into_iter().zip(members_of(scope, ["name", "version"])) {
        let given = text(given);
        if !given.is_empty() {
            members.text(name, &given);
        }
    }
    for attribute in elements(scope, "attributes") {
        let (key, value) = key_value(attribute);
        member(&mut members, &key, value);
    }
    members
}

fn record(log_record: JsonValue<'_>) -> Record<'_> {
    let mut record = Record::default();
    for (name, value) in log_record.members() {
        match &*name {
            "timeUnixNano" => record.time = number(value),
            "observedTimeUnixNano" => record.observed_time = number(value),
            "severityNumber" => record.severity = number(value),
            "severityText" => record.severity_text = text(value),
            "eventName" => record.event_name = text(value),
            "body" => record.body = text_of(value),
            "traceId" => record.trace_id = from_hex(&value.plain()),
            "spanId" => record.span_id = from_hex(&value.plain()),
            "attributes" => {
                for attribute in value.elements() {
                    let (key, value) = key_value(attribute);
                    let trace = (key == STACK_TRACE).then(|| member_of(value, "stringValue"));
                    match trace.filter(|value| value.kind() == JsonKind::Text) {
                        Some(trace) => record.stack_trace = Some(plain(trace)),
                        None => member(&mut record.attributes, &key, value),
                    }
                }
            }
            _ => {}
        }
    }
    record
}

/// A value that nothing is in.
fn nothing<'a>() -> JsonValue<'a> {
    JsonValue::new("null")
}

/// The member with this name; of several the last, and `null` if there is none.
fn member_of<'a>(object: JsonValue<'a>, name: &str) -> JsonValue<'a> {
    let [value] = members_of(object, [name]);
    value
}

/// The same for several names. To find the end of a member takes as long as it has bytes, so large objects are read once.
fn members_of<'a, const N: usize>(object: JsonValue<'a>, names: [&str; N]) -> [JsonValue<'a>; N] {
    let mut values = [nothing(); N];
    for (name, value) in object.members() {
        if let Some(of_name) = names.iter().position(|of| name == *of).and_then(|index| values.get_mut(index)) {
            *of_name = value;
        }
    }
    values
}

fn elements<'a>(object: JsonValue<'a>, name: &str) -> impl Iterator<Item = JsonValue<'a>> + use<'a> {
    member_of(object, name).elements()
}

fn number(value: JsonValue<'_>) -> u64 {
    value.plain().parse().unwrap_or_default()
}

fn text(value: JsonValue<'_>) -> Cow<'_, str> {
    if value.kind() == JsonKind::Null { Cow::Borrowed("") } else { plain(value) }
}

fn key_value(attribute: JsonValue<'_>) -> (Cow<'_, str>, JsonValue<'_>) {
    let (mut key, mut value) = (Cow::Borrowed(""), nothing());
    for (name, member) in attribute.members() {
        match &*name {
            "key" => key = text(member),
            "value" => value = member,
            _ => {}
        }
    }
    (key, value)
}

/// Adds an attribute, unless no more fits.
fn member(members: &mut Members, key: &str, value: JsonValue<'_>) {
    if !members.is_cut() {
        members.value(key, |json| write(value, json, 0));
    }
}

/// The text of an `AnyValue`, or its JSON.
fn text_of(any: JsonValue<'_>) -> Cow<'_, str> {
    let string = member_of(any, "stringValue");
    if string.kind() == JsonKind::Text {
        return plain(string);
    }
    let mut json = JsonText::new(TEXT_BYTES_MAX);
    write(any, &mut json, 0);
    Cow::Owned(if json.as_str() == "null" { String::new() } else { json.into_string() })
}

/// Writes an `AnyValue` as the JSON value that it stands for.
fn write(any: JsonValue<'_>, json: &mut JsonText, depth: u32) {
    let Some((kind, value)) = any.members().last() else { return json.push("null") };
    match &*kind {
        "arrayValue" | "kvlistValue" if depth == VALUE_DEPTH_MAX || json.is_cut() => json.push("null"),
        "arrayValue" => {
            json.push("[");
            for (index, element) in elements(value, "values").enumerate() {
                if json.is_cut() {
                    break;
                }
                json.push(if index == 0 { "" } else { "," });
                write(element, json, depth + 1);
            }
            json.push("]");
        }
        "kvlistValue" => {
            json.push("{");
            for (index, pair) in elements(value, "values").enumerate() {
                if json.is_cut() {
                    break;
                }
                let (key, value) = key_value(pair);
                json.push(if index == 0 { "" } else { "," });
                json.push_text(&key);
                json.push(":");
                write(value, json, depth + 1);
            }
            json.push("}");
        }
        // A 64-bit number is a text in JSON, because JavaScript has none.
        "intValue" if value.plain().parse::<i64>().is_ok() => json.push(&value.plain()),
        // Texts, numbers, and bytes in base64.
        _ if matches!(value.kind(), JsonKind::Object | JsonKind::Array) => json.push_text(value.json()),
        _ => json.push(value.json()),
    }
}
