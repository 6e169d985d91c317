//! The JSON of an event, as `POST /api/logs/batch` takes it (docs/api.md).
//!
//! * Metadata is copied verbatim: numbers keep their digits.
//! * The document is one line, whatever the metadata looks like.

use std::borrow::Cow;
use std::collections::HashMap;

use domain::Uuid;
use domain::level::Level;
use domain::metadata::Metadata;
use formats::Draft;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::source::{Pod, Source};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    source: &'a str,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

/// The JSON of an event with this identifier. `source` and `level` are those of a draft that states none.
///
/// # Errors
/// Never in practice: text and valid JSON can always be written.
pub fn document(draft: &Draft, source: &Source, level: Level, event_id: Uuid) -> serde_json::Result<String> {
    let metadata: Option<&RawValue> =
        draft.metadata.as_ref().map(|metadata| serde_json::from_str(metadata.as_json())).transpose()?;
    let metadata = match &source.pod {
        Some(pod) => with_pod(metadata, pod)?,
        None => metadata.map(Cow::Borrowed),
    };
    let document = Document {
        source: draft.source.as_deref().unwrap_or(&source.name),
        level: draft.level.unwrap_or(level).name(),
        message: &draft.message,
        timestamp: draft.time.map(|time| time.to_string()),
        event_id: draft.event_id.unwrap_or(event_id).to_string(),
        stack_trace: draft.stack_trace.as_deref(),
        trace_id: draft.trace_id.as_deref(),
        span_id: draft.span_id.as_deref(),
        metadata: metadata.as_deref(),
    };
    let json = serde_json::to_string(&document)?;
    // Outside of strings, where it is escaped, a line feed of JSON is only space.
    Ok(if json.contains('\n') { json.replace('\n', " ") } else { json })
}

/// Adds the pod to metadata, unless a line says it itself. Metadata without room for it stays as it is.
fn with_pod<'a>(metadata: Option<&'a RawValue>, pod: &Pod) -> serde_json::Result<Option<Cow<'a, RawValue>>> {
    let json = metadata.map_or("{}", RawValue::get).trim();
    let names: HashMap<String, IgnoredAny> = serde_json::from_str(json)?;
    let mut longer = json.strip_suffix('}').unwrap_or(json).to_owned();
    let mut is_first = names.is_empty();
    for (name, value) in [("namespace", &pod.namespace), ("pod", &pod.name)] {
        if !names.contains_key(name) {
            let comma = if std::mem::take(&mut is_first) { "" } else { "," };
            longer.push_str(&[comma, "\"", name, "\":", &serde_json::to_string(value)?].concat());
        }
    }
    longer.push('}');
    if Metadata::parse(&longer).is_err() {
        return Ok(metadata.map(Cow::Borrowed));
    }
    RawValue::from_string(longer).map(|metadata| Some(Cow::Owned(metadata)))
}

#[cfg(test)]
mod tests {
    use domain::metadata::METADATA_BYTES_MAX;
    use domain::timestamp::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_draft_that_states_nothing_has_the_defaults() {
        let draft = Draft { message: "x".to_owned(), ..Draft::default() };
        let json = document(&draft, &Source::named("here"), Level::Warn, Uuid::from_u128(7)).unwrap();
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(json, format!(r#"{{"source":"here","level":"WARN","message":"x","eventId":"{id}"}}"#));
    }

    #[test]
    fn what_a_draft_states_wins_and_numbers_stay_verbatim() {
        let metadata = "{\"price\":1.50,\"id\":123456789012345678901234567890,\n\"big\":1e400}";
        let draft = Draft {
            level: Some(Level::Error),
            time: Some(Timestamp::parse("2024-01-15T10:30:00.5Z").unwrap()),
            source: Some("shop".to_owned()),
            message: "two\nlines".to_owned(),
            stack_trace: Some("at x".to_owned()),
            trace_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            span_id: Some("0123456789abcdef".to_owned()),
            event_id: Some(Uuid::from_u128(8)),
            metadata: Some(Metadata::from_checked(metadata.into())),
            cut: false,
        };
        let json = document(&draft, &Source::named("here"), Level::Warn, Uuid::from_u128(7)).unwrap();
        let expected = json!({
            "source": "shop", "level": "ERROR", "message": "two\nlines", "timestamp": "2024-01-15T10:30:00.5Z",
            "eventId": "00000000-0000-0000-0000-000000000008", "stackTrace": "at x",
            "traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef",
        });
        let (fields, numbers) = json.split_once(",\"metadata\":").unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&format!("{fields}}}")).unwrap(), expected);
        assert_eq!(numbers, r#"{"price":1.50,"id":123456789012345678901234567890, "big":1e400}}"#);
    }

    #[test]
    fn a_pod_is_in_the_metadata_unless_the_line_says_it_or_there_is_no_room() {
        let pod = Pod { namespace: "shop".to_owned(), name: "web-0".to_owned() };
        let source = Source { name: "cart".to_owned(), pod: Some(pod) };
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX - 10));
        for (metadata, expected) in [
            (None, r#"{"namespace":"shop","pod":"web-0"}"#),
            (Some("{}"), r#"{"namespace":"shop","pod":"web-0"}"#),
            (Some(r#"{"a":1.50} "#), r#"{"a":1.50,"namespace":"shop","pod":"web-0"}"#),
            (Some(r#"{"pod":"other"}"#), r#"{"pod":"other","namespace":"shop"}"#),
            (Some(long.as_str()), long.as_str()),
        ] {
            let metadata = metadata.map(|metadata| Metadata::from_checked(metadata.to_owned().into()));
            let draft = Draft { message: "x".to_owned(), metadata, ..Draft::default() };
            let json = document(&draft, &source, Level::Info, Uuid::from_u128(7)).unwrap();
            let (_, found) = json.split_once(",\"metadata\":").unwrap();
            assert_eq!(found, format!("{expected}}}"));
        }
    }
}
