//! Maps the members of a JSON object to fields of the contract.
//!
//! * The contract's own name comes first, in any case. A name with dots is a member of that name, or a member of a
//!   member.
//! * Members that are used are removed; the others stay in place and become metadata.

use domain::level::Level;
use serde_json::{Map, Value};

use super::levels::level_named;

/// Maximum length of a source in the API.
const SOURCE_BYTES_MAX: usize = 255;

/// Members that carry a level.
pub const LEVEL: &[&str] = &["level", "severity", "lvl", "loglevel", "log.level", "levelname", "@l"];
/// Members that carry the text.
pub const MESSAGE: &[&str] =
    &["message", "msg", "log", "event", "text", "@m", "@mt", "body", "jsonPayload.message", "textPayload"];
/// Members that carry the time.
pub const TIMESTAMP: &[&str] = &["timestamp", "time", "ts", "@timestamp", "datetime", "@t", "asctime", "eventTime"];
/// Members that carry the source.
pub const SOURCE: &[&str] = &["source", "service", "app", "service.name"];
const STACK_TRACE: &[&str] =
    &["stackTrace", "stack_trace", "exc_info", "exception", "@x", "error.stack_trace", "err.stack", "stack"];
const TRACE_ID: &[&str] = &["traceId", "trace_id", "trace.id"];
const SPAN_ID: &[&str] = &["spanId", "span_id", "span.id"];

/// Removes and returns the first of `names` that is present and valid.
pub fn take<T>(
    members: &mut Map<String, Value>,
    names: &[&str],
    understand: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    names.iter().find_map(|name| take_one(members, name, &understand))
}

fn take_one<T>(members: &mut Map<String, Value>, name: &str, understand: &impl Fn(&Value) -> Option<T>) -> Option<T> {
    if let Some((key, value)) = find(members, name) {
        let (key, understood) = (key.clone(), understand(value)?);
        members.shift_remove(&key);
        return Some(understood);
    }
    let (outer, inner) = name.split_once('.')?;
    let key = find(members, outer)?.0.clone();
    let object = members.get_mut(&key)?.as_object_mut()?;
    let understood = take_one(object, inner, understand)?;
    if object.is_empty() {
        members.shift_remove(&key);
    }
    Some(understood)
}

fn find<'a>(members: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))
}

/// The optional fields of the contract. All other members join the metadata here rather than on the server, which would
/// have to refuse an invalid `level` or a duplicate name.
pub fn other_fields(mut members: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    let identifier = |digits| move |value: &Value| hexadecimal(value, digits);
    let stack_trace = take(&mut members, STACK_TRACE, |value| value.is_string().then(|| value.clone()));
    let trace_id = take(&mut members, TRACE_ID, identifier(32));
    let span_id = take(&mut members, SPAN_ID, identifier(16));
    for (name, value) in [("stackTrace", stack_trace), ("traceId", trace_id), ("spanId", span_id)] {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    let mut metadata = take(&mut members, &["metadata"], |value| value.as_object().cloned()).unwrap_or_default();
    for (mut name, value) in members {
        while metadata.contains_key(&name) {
            name.push('_');
        }
        metadata.insert(name, value);
    }
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), metadata.into());
    }
    fields
}

fn hexadecimal(value: &Value, digits: usize) -> Option<Value> {
    let text = value.as_str()?;
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| value.clone())
}

/// The level in a member: a name, or a number as used by bunyan and pino (10 is TRACE, 60 is FATAL).
pub fn level_of(value: &Value) -> Option<Level> {
    match value {
        Value::String(text) => level_named(text.trim()),
        Value::Number(number) => {
            let number = number.as_i64().filter(|number| (10..=60).contains(number))?;
            Level::from_number(number / 10 - 1)
        }
        _ => None,
    }
}

/// The source in a member.
pub fn source_of(value: &Value) -> Option<String> {
    value.as_str().filter(|name| is_source(name)).map(str::to_owned)
}

/// The text in a member. Container runtimes keep the line end.
pub fn message_of(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether the API accepts `name` as a source.
#[must_use]
pub fn is_source(name: &str) -> bool {
    (1..=SOURCE_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}
