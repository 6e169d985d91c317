//! Requests of OTLP in JSON as most libraries write them, read in one look at each byte.
//!
//! Invariant: the events from here are those that [`super::json`] makes of the same request. A record or a request that is
//! unusual is left to it.

use std::borrow::Cow;

use application::ingest::{AgentIntake, AgentStop, Members};
use application::json_reader::JsonReader;
use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::metadata::{JsonKind, JsonValue};

use crate::ingest::agents::otlp::json::{self, Resource};
use crate::ingest::agents::otlp::record::{Record, STACK_TRACE};
use crate::ingest::protocol::DecodeError;

/// Takes in the records of a request; `None` says nothing of it, and some of its records may have been added. At the first record
/// without room, it stops and does not check the rest of the body.
pub fn decode(request: &str, intake: &mut AgentIntake<'_>) -> Option<Result<(), DecodeError>> {
    let mut json = JsonReader::new(request);
    let mut request = Request { intake, stop: None };
    json.skip_space();
    let mut seen = false;
    let read = json.object(|json| {
        (json.name()?.bytes() == b"resourceLogs" && !std::mem::replace(&mut seen, true)).then_some(())?;
        json.array(|json| request.resource_logs(json))
    });
    let read = read.and_then(|()| json.end());
    match request.stop {
        Some(AgentStop::TooLarge) => None,
        Some(stop) => Some(Err(stop.into())),
        None => read.map(Ok),
    }
}

/// A request that is taken in.
struct Request<'a, 'b> {
    intake: &'a mut AgentIntake<'b>,
    /// Why no further record is taken.
    stop: Option<AgentStop>,
}

impl<'b> Request<'_, 'b> {
    fn resource_logs(&mut self, json: &mut JsonReader<'_>) -> Option<()> {
        self.taken(|intake| intake.group())?;
        let (mut resource, mut has_scopes) = (None, false);
        json.object(|json| match json.name()?.bytes() {
            b"resource" if resource.is_none() && !has_scopes => {
                resource = Some(Resource::read(object(json)?));
                Some(())
            }
            b"scopeLogs" if !has_scopes => {
                has_scopes = true;
                let resource = resource.get_or_insert_default();
                json.array(|json| self.scope_logs(json, resource))
            }
            b"schemaUrl" => json.value().map(drop),
            _ => None,
        })
    }

    fn scope_logs(&mut self, json: &mut JsonReader<'_>, resource: &Resource) -> Option<()> {
        self.taken(|intake| intake.group())?;
        let (mut scope, mut has_records) = (None, false);
        json.object(|json| match json.name()?.bytes() {
            b"scope" if scope.is_none() && !has_records => {
                scope = Some(json::scope(object(json)?));
                Some(())
            }
            b"logRecords" if !has_records => {
                has_records = true;
                self.log_records(json, resource, scope.take().unwrap_or_default())
            }
            b"schemaUrl" => json.value().map(drop),
            _ => None,
        })
    }

    fn log_records(&mut self, json: &mut JsonReader<'_>, resource: &Resource, scope: Members) -> Option<()> {
        if !json.begins_array()? {
            return Some(());
        }
        let origin = self.taken(|intake| resource.origin(scope, intake))?;
        loop {
            let record = any_record(json)?;
            self.taken(|intake| record.add(&origin, intake))?;
            if !json.continues_array()? {
                return Some(());
            }
        }
    }

    fn taken<T>(&mut self, take: impl FnOnce(&mut AgentIntake<'b>) -> Result<T, AgentStop>) -> Option<T> {
        take(&mut *self.intake).map_err(|stop| self.stop = Some(stop)).ok()
    }
}

/// Reads an object that metadata can hold.
fn object<'a>(json: &mut JsonReader<'a>) -> Option<JsonValue<'a>> {
    json.value().map(JsonValue::new).filter(|value| value.kind() == JsonKind::Object)
}

/// Reads the record at the place of the reader.
fn any_record<'a>(json: &mut JsonReader<'a>) -> Option<Record<'a>> {
    let from = json.position();
    record(json).or_else(|| {
        json.go_to(from);
        json.value().map(|value| json::record(JsonValue::new(value)))
    })
}

/// Reads a usual record. If it is refused, the reader stands anywhere in it.
fn record<'a>(json: &mut JsonReader<'a>) -> Option<Record<'a>> {
    let (mut record, mut seen) = (Record::default(), 0_u8);
    json.object(|json| {
        let place = match json.name()?.bytes() {
            b"timeUnixNano" => {
                record.time = number(json)?;
                0
            }
            b"observedTimeUnixNano" => {
                record.observed_time = number(json)?;
                1
            }
            b"severityNumber" => {
                record.severity = number(json)?;
                2
            }
            b"severityText" => {
                record.severity_text = text(json)?;
                3
            }
            b"body" => {
                json.object(|json| {
                    (record.body.is_empty() && json.name()?.bytes() == b"stringValue").then_some(())?;
                    record.body = text(json).filter(|body| !body.is_empty())?;
                    Some(())
                })?;
                4
            }
            b"attributes" => {
                attributes(json, &mut record.attributes)?;
                5
            }
            b"traceId" => {
                id(json, &mut record.trace_id)?;
                6
            }
            b"spanId" => {
                id(json, &mut record.span_id)?;
                7
            }
            b"flags" | b"droppedAttributesCount" => return json.value().map(drop),
            _ => return None,
        };
        // Of some, the last one counts.
        let is_first = seen & (1 << place) == 0;
        seen |= 1 << place;
        is_first.then_some(())
    })?;
    Some(record)
}

/// Reads attributes with a single value.
fn attributes(json: &mut JsonReader<'_>, members: &mut Members) -> Option<()> {
    json.array(|json| {
        let (mut key, mut has_value) = (None, false);
        json.object(|json| {
            match (json.name()?.bytes(), key.take()) {
                (b"key", None) => key = Some(text(json)?),
                (b"value", Some(name)) if name != STACK_TRACE && !has_value => {
                    json.object(|json| {
                        (!has_value).then_some(())?;
                        has_value = true;
                        value(json, &name, members)
                    })?;
                    key = Some(name);
                }
                _ => return None,
            }
            Some(())
        })?;
        has_value.then_some(())
    })
}

/// Reads the member of an `AnyValue`, and adds it as the value of an attribute.
fn value(json: &mut JsonReader<'_>, name: &str, members: &mut Members) -> Option<()> {
    let kind = json.name()?.bytes();
    let value = json.value()?;
    let is_text = value.starts_with('"');
    match kind {
        // Metadata changes some escapes.
        b"stringValue" if is_text && value.contains('\\') => members.json(name, value),
        b"stringValue" if is_text => members.scalar(name, value),
        b"intValue" => members.scalar(name, Some(digits(value)).filter(|digits| is_integer(digits))?),
        b"boolValue" | b"doubleValue" if !is_text && !value.starts_with(['{', '[']) => members.scalar(name, value),
        _ => return None,
    }
    (!members.is_cut()).then_some(())
}

/// What a number is as text, which may stand in quotes.
fn digits(json: &str) -> &str {
    json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(json)
}

/// Whether a text is a number of 64 bits as JSON writes it.
fn is_integer(digits: &str) -> bool {
    let begins_as_one = matches!(digits.strip_prefix('-').unwrap_or(digits).as_bytes(), [b'1'..=b'9', ..]);
    (begins_as_one || digits == "0") && digits.parse::<i64>().is_ok()
}

/// Reads a number, or a text that is one.
fn number(json: &mut JsonReader<'_>) -> Option<u64> {
    digits(json.value()?).parse().ok()
}

/// Reads an id in hexadecimal digits; an empty text is none.
fn id<const N: usize>(json: &mut JsonReader<'_>, id: &mut Option<[u8; N]>) -> Option<()> {
    let text = text(json)?;
    if !text.is_empty() {
        *id = Some(from_hex(&text)?);
    }
    Some(())
}

/// Reads a text that an event can hold.
fn text<'a>(json: &mut JsonReader<'a>) -> Option<Cow<'a, str>> {
    json.string().filter(|text| text.len() <= TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use domain::metadata::Metadata;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::ingest::agents::json_values::is_json_text;

    fn both(text: &str) -> (Option<String>, String) {
        let read = record(&mut JsonReader::new(text)).map(|record| format!("{record:?}"));
        (read, format!("{:?}", json::record(JsonValue::new(text))))
    }

    #[test]
    fn what_libraries_write_is_read_here() {
        let record = r#"{"timeUnixNano":"1705314600000000001","observedTimeUnixNano":1705314600000000002,"severityNumber":9,
            "severityText":"INFO","body":{"stringValue":"a\n"},"attributes":[{"key":"a","value":{"stringValue":"\"b"}},
            {"key":"n","value":{"intValue":"-7"}},{"key":"d","value":{"doubleValue":1.50}},{"key":"t","value":{"boolValue":true}}],
            "droppedAttributesCount":0,"flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":""}"#;
        let (read, any) = both(record);
        assert_eq!(read, Some(any));
    }

    /// The attributes of a record, if they are taken for metadata without a look.
    fn certain_metadata(text: &str) -> Option<String> {
        let attributes = record(&mut JsonReader::new(text))?.attributes;
        let is_metadata = attributes.is_metadata();
        attributes.into_json().filter(|_| is_metadata)
    }

    #[test]
    fn what_metadata_changes_or_refuses_is_not_taken_for_it() {
        for (any, is_metadata) in [
            (r#"{"stringValue":"x"}"#, true),
            (r#"{"stringValue":"x\u0000"}"#, false),
            (r#"{"stringValue":"\n"}"#, false),
            (r#"{"intValue":"-7"}"#, true),
            (r#"{"intValue":0}"#, true),
            (r#"{"intValue":"007"}"#, false),
            (r#"{"intValue":"+5"}"#, false),
            (r#"{"intValue":"-0"}"#, false),
        ] {
            let text = format!(r#"{{"attributes":[{{"key":"k","value":{any}}}]}}"#);
            assert_eq!(certain_metadata(&text).is_some(), is_metadata, "{any}");
        }
    }

    fn member() -> impl Strategy<Value = String> {
        let name = select(vec![
            "timeUnixNano",
            "observedTimeUnixNano",
            "severityNumber",
            "severityText",
            "body",
            "attributes",
            "traceId",
            "spanId",
            "flags",
            "eventName",
            "time_unix_nano",
            "other",
        ]);
        (name, value()).prop_map(|(name, value)| format!("\"{name}\":{value}"))
    }

    fn value() -> impl Strategy<Value = String> {
        let scalar = select(vec![
            "1",
            "\"17\"",
            "\"+5\"",
            "\"007\"",
            "\"-0\"",
            "\"0\"",
            "\"x\\u0000\"",
            "1E5",
            "-3",
            "1.5",
            "\"\"",
            "\"INFO\"",
            "\"a\\u00e9\\n\"",
            "\"\\ud800\"",
            "null",
            "true",
            "\"5b8efff798038103d269b633813fc60c\"",
            "\"00f067aa0ba902b7\"",
            "\"W47/95gDgQPSabYzgT/GDA==\"",
            "[]",
            "{}",
        ]);
        let kind = select(vec!["stringValue", "intValue", "boolValue", "doubleValue", "bytesValue", "arrayValue"]);
        let any = prop::collection::vec((kind, scalar.clone()), 0..3).prop_map(|members| {
            let members: Vec<_> = members.into_iter().map(|(kind, value)| format!("\"{kind}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        let key = select(vec!["\"k\"", "\"exception.stacktrace\"", "7", "\"q\\\"\""]);
        let attribute = (key, any.clone(), select(vec![0, 0, 0, 0, 1, 2, 3])).prop_map(|(key, any, form)| match form {
            0 => format!("{{\"key\":{key},\"value\":{any}}}"),
            1 => format!("{{\"value\":{any},\"key\":{key}}}"),
            2 => format!("{{\"key\":{key}}}"),
            _ => format!("{{\"key\":{key},\"value\":{any},\"value\":{any}}}"),
        });
        let attributes = prop::collection::vec(attribute, 0..3).prop_map(|all| format!("[{}]", all.join(", ")));
        prop_oneof![scalar.prop_map(str::to_owned), any, attributes]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_read_here_is_what_is_read_of_any_record(members in prop::collection::vec(member(), 0..5)) {
            let text = format!("{{{}}}", members.join(","));
            prop_assert!(is_json_text(&text), "{}", text);
            let (read, any) = both(&text);
            prop_assert!(read.as_ref().is_none_or(|read| *read == any), "{}\n{:?}\n{}", text, read, any);
            prop_assert!(certain_metadata(&text).is_none_or(|json| Metadata::parse(&json).is_ok_and(|read| read.as_json() == json)));
        }
    }
}
