//! OTLP in protobuf (opentelemetry-proto: collector/logs/v1/logs_service.proto, logs/v1/logs.proto,
//! common/v1/common.proto, resource/v1/resource.proto).

use std::borrow::Cow;
use std::time::Duration;

use application::ingest::{AgentIntake, JsonText, Members, text_of};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::event::TEXT_BYTES_MAX;

use crate::ingest::agents::otlp::record::{Origin, Record, SERVICE_NAME, STACK_TRACE};
use crate::ingest::agents::protobuf::{Fields, NotProtobuf, Value, repeated};
use crate::ingest::protocol::DecodeError;

/// Deepest nesting of a value that is written out: deeper than metadata may be, so that it is noticed there.
const VALUE_DEPTH_MAX: u32 = 24;

impl From<NotProtobuf> for DecodeError {
    fn from(error: NotProtobuf) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Takes in the records of an `ExportLogsServiceRequest`.
pub fn decode(body: &[u8], intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    for resource_logs in repeated(body, 1) {
        let resource_logs = resource_logs?;
        intake.group()?;
        // Fields may come in any order: the resource first, however it was written.
        let (mut source, mut resource) = (None, Members::default());
        for message in repeated(resource_logs, 1) {
            for attribute in repeated(message?, 1) {
                let (key, value) = key_value(attribute?)?;
                if key == SERVICE_NAME {
                    source = value.map(text_or_json).transpose()?.map(Cow::into_owned);
                }
                member(&mut resource, &key, value)?;
            }
        }
        for scope_logs in repeated(resource_logs, 2) {
            let scope_logs = scope_logs?;
            intake.group()?;
            let mut log_records = repeated(scope_logs, 2).peekable();
            if log_records.peek().is_none() {
                continue;
            }
            let origin = Origin::new(source.as_deref(), &resource, scope(scope_logs)?, intake)?;
            for log_record in log_records {
                record(log_record?)?.add(&origin, intake)?;
            }
        }
    }
    Ok(())
}

/// The members of the scope: name, version and attributes.
fn scope(scope_logs: &[u8]) -> Result<Members, NotProtobuf> {
    let mut members = Members::default();
    for message in repeated(scope_logs, 1) {
        for field in Fields::new(message?) {
            match field? {
                (1, Value::Bytes(name)) if !name.is_empty() => members.text("name", &text_of(name)),
                (2, Value::Bytes(version)) if !version.is_empty() => {
                    members.text("version", &text_of(version));
                }
                (3, Value::Bytes(attribute)) => {
                    let (key, value) = key_value(attribute)?;
                    member(&mut members, &key, value)?;
                }
                _ => {}
            }
        }
    }
    Ok(members)
}

fn record(message: &[u8]) -> Result<Record<'_>, NotProtobuf> {
    let mut record = Record::default();
    for field in Fields::new(message) {
        match field? {
            (1, Value::Fixed64(time)) => record.time = time,
            (2, Value::Varint(severity)) => record.severity = severity,
            (3, Value::Bytes(text)) => record.severity_text = text_of(text),
            (5, Value::Bytes(value)) => record.body = text_or_json(value)?,
            (6, Value::Bytes(attribute)) => {
                let (key, value) = key_value(attribute)?;
                let trace = value.filter(|_| key == STACK_TRACE).map(text).transpose()?.flatten();
                match trace {
                    Some(trace) => record.stack_trace = Some(trace),
                    None => member(&mut record.attributes, &key, value)?,
                }
            }
            (9, Value::Bytes(id)) => record.trace_id = id.try_into().ok(),
            (10, Value::Bytes(id)) => record.span_id = id.try_into().ok(),
            (11, Value::Fixed64(time)) => record.observed_time = time,
            (12, Value::Bytes(name)) => record.event_name = text_of(name),
            _ => {}
        }
    }
    Ok(record)
}

/// Key and value of a `KeyValue`.
fn key_value(message: &[u8]) -> Result<(Cow<'_, str>, Option<&[u8]>), NotProtobuf> {
    let (mut key, mut value) = (Cow::Borrowed(""), None);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(text)) => key = text_of(text),
            (2, Value::Bytes(any)) => value = Some(any),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Adds an attribute, unless no more fits.
fn member(members: &mut Members, key: &str, value: Option<&[u8]>) -> Result<(), NotProtobuf> {
    if members.is_cut() {
        return Ok(());
    }
    match value.map(|any| Fields::new(any).last_field()).transpose()?.flatten() {
        Some((1, Value::Bytes(text))) => members.text(key, &text_of(text)),
        Some((3, Value::Varint(int))) => members.scalar(key, &int.cast_signed().to_string()),
        _ => {
            let mut written = Ok(());
            members.value(key, |json| written = write_optional(value, json, 0));
            return written;
        }
    }
    Ok(())
}

/// The text of an `AnyValue` that is one.
fn text(any: &[u8]) -> Result<Option<Cow<'_, str>>, NotProtobuf> {
    match Fields::new(any).last_field()? {
        Some((1, Value::Bytes(text))) => Ok(Some(text_of(text))),
        _ => Ok(None),
    }
}

/// The text of an `AnyValue`, or its JSON.
fn text_or_json(any: &[u8]) -> Result<Cow<'_, str>, NotProtobuf> {
    if let Some(text) = text(any)? {
        return Ok(text);
    }
    let mut json = JsonText::new(TEXT_BYTES_MAX);
    write(any, &mut json, 0)?;
    Ok(Cow::Owned(if json.as_str() == "null" { String::new() } else { json.into_string() }))
}

/// Writes an `AnyValue` as JSON, and `null` for none.
fn write_optional(any: Option<&[u8]>, json: &mut JsonText, depth: u32) -> Result<(), NotProtobuf> {
    let Some(any) = any else {
        json.push("null");
        return Ok(());
    };
    write(any, json, depth)
}

/// Writes an `AnyValue` as JSON. Of several values the last one counts, as for any field that is not repeated.
fn write(any: &[u8], json: &mut JsonText, depth: u32) -> Result<(), NotProtobuf> {
    let nested = depth + 1;
    match Fields::new(any).last_field()? {
        Some((1, Value::Bytes(text))) => json.push_text(&text_of(text)),
        Some((2, Value::Varint(bool))) => json.push(if bool == 0 { "false" } else { "true" }),
        Some((3, Value::Varint(int))) => json.push(&int.cast_signed().to_string()),
        Some((4, Value::Fixed64(bits))) => write_double(f64::from_bits(bits), json),
        Some((5 | 6, Value::Bytes(_))) if depth == VALUE_DEPTH_MAX || json.is_cut() => json.push("null"),
        Some((5, Value::Bytes(array))) => {
            json.push("[");
            for (index, value) in repeated(array, 1).enumerate() {
                if json.is_cut() {
                    break;
                }
                json.push(if index == 0 { "" } else { "," });
                write(value?, json, nested)?;
            }
            json.push("]");
        }
        Some((6, Value::Bytes(list))) => {
            json.push("{");
            for (index, pair) in repeated(list, 1).enumerate() {
                if json.is_cut() {
                    break;
                }
                let (key, value) = key_value(pair?)?;
                json.push(if index == 0 { "" } else { "," });
                json.push_text(&key);
                json.push(":");
                write_optional(value, json, nested)?;
            }
            json.push("}");
        }
        Some((7, Value::Bytes(bytes))) => {
            // No more of it than a message holds.
            let bytes = bytes.get(..bytes.len().min(TEXT_BYTES_MAX)).unwrap_or_default();
            json.push_text(&STANDARD.encode(bytes));
        }
        _ => json.push("null"),
    }
    Ok(())
}

/// JSON has no infinity and no NaN: those are texts.
fn write_double(double: f64, json: &mut JsonText) {
    match serde_json::to_string(&double) {
        Ok(number) if double.is_finite() => json.push(&number),
        _ => json.push_text(&double.to_string()),
    }
}

/// An `ExportLogsServiceResponse` with a partial success.
pub fn partial_success(rejected: u64, message: &str) -> Vec<u8> {
    let mut partial = Vec::new();
    write_varint(&mut partial, 1 << 3);
    write_varint(&mut partial, rejected);
    write_bytes(&mut partial, 2, message.as_bytes());
    let mut answer = Vec::new();
    write_bytes(&mut answer, 1, &partial);
    answer
}

/// A `google.rpc.Status`.
pub fn status(code: u64, message: &str) -> Vec<u8> {
    let mut status = Vec::new();
    write_varint(&mut status, 1 << 3);
    write_varint(&mut status, code);
    write_bytes(&mut status, 2, message.as_bytes());
    status
}

/// The same with a `google.rpc.RetryInfo` among its details (googleapis/googleapis, `google/rpc/error_details.proto`).
pub fn status_with_retry(code: u64, message: &str, retry_after: Duration) -> Vec<u8> {
    let mut delay = Vec::new();
    for (field, number) in [(1, retry_after.as_secs()), (2, retry_after.subsec_nanos().into())] {
        if number > 0 {
            write_varint(&mut delay, field << 3);
            write_varint(&mut delay, number);
        }
    }
    let mut retry_info = Vec::new();
    write_bytes(&mut retry_info, 1, &delay);
    let mut detail = Vec::new();
    write_bytes(&mut detail, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    write_bytes(&mut detail, 2, &retry_info);
    let mut status = status(code, message);
    write_bytes(&mut status, 3, &detail);
    status
}

fn write_bytes(buffer: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    write_varint(buffer, field << 3 | 2);
    write_varint(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn write_varint(buffer: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        buffer.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    buffer.push(u8::try_from(number).unwrap_or_default());
}
