//! OTLP in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"): names in lowerCamelCase, ids in
//! hexadecimal digits, 64-bit numbers as texts or numbers. Libraries of protobuf also write the names of the schema,
//! which have underscores, ids in base64 and the names of severities.
//!
//! Invariant: a list or a group of another type makes the body malformed. Whatever else has another type is kept as text.

use std::borrow::Cow;

use application::ingest::{AgentIntake, AgentStop, JsonText, Members};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::metadata::{Extents, JsonKind, JsonValue};

use crate::ingest::agents::json_values::{plain, shown};
use crate::ingest::agents::otlp::record::{Origin, Record, SERVICE_NAME, STACK_TRACE};
use crate::ingest::protocol::DecodeError;

/// Deepest nesting of a value that is written out: deeper than metadata may be, so that it is noticed there.
const VALUE_DEPTH_MAX: u32 = 24;

/// Both names of a member: of JSON, and of the schema.
type Name = [&'static str; 2];

/// Takes in the records of an `ExportLogsServiceRequest`.
pub fn decode(request: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    let extents = Extents::of(request.json());
    let [groups] = members_of(request.members_with(&extents), [["resourceLogs", "resource_logs"]]);
    for resource_logs in of_kind(groups, JsonKind::Array, "resourceLogs")?.elements_with(&extents) {
        of_kind(resource_logs, JsonKind::Object, "an element of resourceLogs")?;
        intake.group()?;
        let names = [["resource"; 2], ["scopeLogs", "scope_logs"]];
        let [of_resource, scopes] = members_of(resource_logs.members_with(&extents), names);
        let resource = Resource::read(of_kind(of_resource, JsonKind::Object, "resource")?);
        for scope_logs in of_kind(scopes, JsonKind::Array, "scopeLogs")?.elements_with(&extents) {
            of_kind(scope_logs, JsonKind::Object, "an element of scopeLogs")?;
            intake.group()?;
            let names = [["scope"; 2], ["logRecords", "log_records"]];
            let [of_scope, log_records] = members_of(scope_logs.members_with(&extents), names);
            of_kind(of_scope, JsonKind::Object, "scope")?;
            let mut log_records =
                of_kind(log_records, JsonKind::Array, "logRecords")?.elements_with(&extents).peekable();
            if log_records.peek().is_some() {
                let origin = resource.origin(scope(of_scope), intake)?;
                log_records.try_for_each(|log_record| record(log_record).add(&origin, intake))?;
            }
        }
    }
    Ok(())
}

/// What a resource says.
#[derive(Default)]
pub(super) struct Resource {
    source: Option<String>,
    members: Members,
}

impl Resource {
    /// Reads a resource.
    pub(super) fn read(resource: JsonValue<'_>) -> Self {
        let (mut source, mut members) = (None, Members::default());
        for (key, value) in key_values(member_of(resource, ["attributes"; 2])) {
            if key == SERVICE_NAME {
                source = Some(text_of(value).unwrap_or_else(|| plain(value)).into_owned());
            }
            member(&mut members, &key, value);
        }
        Self { source, members }
    }

    /// The origin of the records of a scope of it.
    pub(super) fn origin(&self, scope: Members, intake: &mut AgentIntake<'_>) -> Result<Origin<'_>, AgentStop> {
        Origin::new(self.source.as_deref(), &self.members, scope, intake)
    }
}

/// A value of this kind; `null` stands for a member that is absent.
fn of_kind<'a>(value: JsonValue<'a>, kind: JsonKind, name: &str) -> Result<JsonValue<'a>, DecodeError> {
    if value.kind() == kind || value.kind() == JsonKind::Null {
        return Ok(value);
    }
    let expected = if kind == JsonKind::Array { "an array" } else { "an object" };
    Err(DecodeError::Malformed(format!("{name} is not {expected}, nothing was accepted")))
}

/// The members of the scope: name, version and attributes.
pub(super) fn scope(scope: JsonValue<'_>) -> Members {
    let mut members = Members::default();
    let names = [["name"; 2], ["version"; 2], ["attributes"; 2]];
    let [name, version, attributes] = members_of(scope.members(), names);
    for (name, given) in [("name", text(name)), ("version", text(version))] {
        if !given.is_empty() {
            members.text(name, &given);
        }
    }
    for (key, value) in key_values(attributes) {
        member(&mut members, &key, value);
    }
    members
}

/// Reads any record.
pub(super) fn record(log_record: JsonValue<'_>) -> Record<'_> {
    let mut record = Record::default();
    if log_record.kind() != JsonKind::Object {
        return Record { body: text(log_record), fault: Some("record_invalid"), ..record };
    }
    for (name, value) in log_record.members() {
        match &*name {
            "timeUnixNano" | "time_unix_nano" => record.time = time(value, &mut record.unread_time),
            "observedTimeUnixNano" | "observed_time_unix_nano" => {
                record.observed_time = time(value, &mut record.unread_time);
            }
            "severityNumber" | "severity_number" => match severity(value) {
                Some(severity) => record.severity = severity,
                None if record.severity_text.is_empty() => record.severity_text = plain(value),
                None => {}
            },
            "severityText" | "severity_text" => {
                let text = text(value);
                if !text.is_empty() {
                    record.severity_text = text;
                }
            }
            "eventName" | "event_name" => record.event_name = text(value),
            "body" => {
                let text = text_of(value);
                record.fault = text.is_none().then_some("body_invalid");
                record.body = text.unwrap_or_else(|| plain(value));
            }
            "traceId" | "trace_id" => record.trace_id = id(value),
            "spanId" | "span_id" => record.span_id = id(value),
            "attributes" => {
                for (key, value) in key_values(value) {
                    let trace = (key == STACK_TRACE).then(|| member_of(value, STRING));
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
fn member_of(object: JsonValue<'_>, name: Name) -> JsonValue<'_> {
    let [value] = members_of(object.members(), [name]);
    value
}

/// The same for several names.
fn members_of<'a, const N: usize>(
    members: impl Iterator<Item = (Cow<'a, str>, JsonValue<'a>)>,
    names: [Name; N],
) -> [JsonValue<'a>; N] {
    let mut values = [nothing(); N];
    for (name, value) in members {
        let index = names.iter().position(|both| both.iter().any(|known| name == *known));
        if let Some(of_name) = index.and_then(|index| values.get_mut(index)) {
            *of_name = value;
        }
    }
    values
}

/// A number; 0 if it is absent, and `None` if it is something else.
fn number(value: JsonValue<'_>) -> Option<u64> {
    let text = text(value);
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

/// A time in nanoseconds, and 0 for what cannot be read as one: `unread` gets that.
fn time(value: JsonValue<'_>, unread: &mut Option<String>) -> u64 {
    number(value).unwrap_or_else(|| {
        *unread = Some(shown(value));
        0
    })
}

/// The number of a severity, also of its name in the schema, such as `SEVERITY_NUMBER_ERROR2`: the first one of its level.
fn severity(value: JsonValue<'_>) -> Option<u64> {
    const NAMES: [(&str, u64); 7] =
        [("UNSPECIFIED", 0), ("TRACE", 1), ("DEBUG", 5), ("INFO", 9), ("WARN", 13), ("ERROR", 17), ("FATAL", 21)];
    number(value).or_else(|| {
        let text = value.plain();
        let name = text.strip_prefix("SEVERITY_NUMBER_")?.trim_end_matches(['2', '3', '4']);
        NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number)
    })
}

/// An id in hexadecimal digits, or in base64.
fn id<const N: usize>(value: JsonValue<'_>) -> Option<[u8; N]> {
    let text = value.plain();
    if text.len() > 2 * N {
        return None;
    }
    from_hex(&text).or_else(|| STANDARD.decode(text.as_bytes()).ok()?.try_into().ok())
}

fn text(value: JsonValue<'_>) -> Cow<'_, str> {
    if value.kind() == JsonKind::Null { Cow::Borrowed("") } else { plain(value) }
}

/// The attributes of a list. What is not an attribute, or not a list, is the value of one with the name `attributes`.
fn key_values(list: JsonValue<'_>) -> impl Iterator<Item = (Cow<'_, str>, JsonValue<'_>)> {
    let other = Some(list).filter(|list| !matches!(list.kind(), JsonKind::Array | JsonKind::Null));
    list.elements().map(key_value).chain(other.map(|list| (Cow::Borrowed("attributes"), list)))
}

fn key_value(attribute: JsonValue<'_>) -> (Cow<'_, str>, JsonValue<'_>) {
    if attribute.kind() != JsonKind::Object {
        return (Cow::Borrowed("attributes"), attribute);
    }
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
    if members.is_cut() {
        return;
    }
    match any_value(value) {
        // It was checked, and has no escapes that metadata refuses.
        Some((Kind::String, text)) if text.kind() == JsonKind::Text && !text.json().contains('\\') => {
            members.scalar(key, text.json());
        }
        _ => members.value(key, |json| write(value, json, 0)),
    }
}

const STRING: Name = ["stringValue", "string_value"];

/// The kinds of an `AnyValue`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Int,
    Array,
    List,
    /// One that is written as it is: a number, a truth value, or bytes in base64.
    Plain,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "stringValue" | "string_value" => Self::String,
            "intValue" | "int_value" => Self::Int,
            "boolValue" | "bool_value" | "doubleValue" | "double_value" | "bytesValue" | "bytes_value" => Self::Plain,
            "arrayValue" | "array_value" => Self::Array,
            "kvlistValue" | "kvlist_value" => Self::List,
            _ => return None,
        })
    }
}

/// The kind and the value of an `AnyValue`; of several the last one that is not `null`.
fn any_value(any: JsonValue<'_>) -> Option<(Kind, JsonValue<'_>)> {
    let mut found = None;
    for (name, value) in any.members() {
        if let Some(kind) = Kind::of(&name).filter(|_| found.is_none() || value.kind() != JsonKind::Null) {
            found = Some((kind, value));
        }
    }
    found
}

/// The text of an `AnyValue`, or its JSON; `None` if the value is something else.
fn text_of(any: JsonValue<'_>) -> Option<Cow<'_, str>> {
    let Some((kind, value)) = any_value(any) else { return is_empty(any).then_some(Cow::Borrowed("")) };
    if kind == Kind::String && value.kind() == JsonKind::Text {
        return Some(plain(value));
    }
    let mut json = JsonText::new(TEXT_BYTES_MAX);
    write(any, &mut json, 0);
    Some(Cow::Owned(if json.as_str() == "null" { String::new() } else { json.into_string() }))
}

/// Whether a value is `null` or an object without members.
fn is_empty(value: JsonValue<'_>) -> bool {
    match value.kind() {
        JsonKind::Null => true,
        JsonKind::Object => value.members().next().is_none(),
        _ => false,
    }
}

/// Writes an `AnyValue` as the JSON value that it stands for. What is none is written as it is, or as its JSON text.
fn write(any: JsonValue<'_>, json: &mut JsonText, depth: u32) {
    let Some((kind, value)) = any_value(any) else { return write_other(any, json) };
    let has_values = matches!(value.kind(), JsonKind::Object | JsonKind::Null);
    match kind {
        Kind::Array | Kind::List if depth == VALUE_DEPTH_MAX || json.is_cut() => json.push("null"),
        Kind::Array if has_values => {
            json.push("[");
            for (index, element) in member_of(value, ["values"; 2]).elements().enumerate() {
                if json.is_cut() {
                    break;
                }
                json.push(if index == 0 { "" } else { "," });
                write(element, json, depth + 1);
            }
            json.push("]");
        }
        Kind::List if has_values => {
            json.push("{");
            for (index, pair) in member_of(value, ["values"; 2]).elements().enumerate() {
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
        Kind::Int if value.plain().parse::<i64>().is_ok() => json.push(&value.plain()),
        _ => write_other(value, json),
    }
}

/// Writes a value that is not an `AnyValue`.
fn write_other(value: JsonValue<'_>, json: &mut JsonText) {
    match value.kind() {
        JsonKind::Object if is_empty(value) => json.push("null"),
        JsonKind::Object | JsonKind::Array => json.push_text(value.json()),
        _ => json.push(value.json()),
    }
}
