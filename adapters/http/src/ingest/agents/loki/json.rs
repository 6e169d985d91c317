//! Loki's push in JSON, in the present shape (`stream`, `values`) and in the legacy one (`labels`, `entries`).

use std::borrow::Cow;

use application::ingest::AgentIntake;
use application::json_reader::JsonReader;
use domain::event::TEXT_BYTES_MAX;
use domain::metadata::{Extents, JsonKind, JsonValue};

use crate::ingest::agents::json_values::{plain, shown};
use crate::ingest::agents::loki::labels;
use crate::ingest::agents::loki::stream::{LabelledStream, Labels, Stated, Structured};
use crate::ingest::agents::times::AgentTime;
use crate::ingest::protocol::DecodeError;

/// Takes in the lines of a push.
pub fn decode(push: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    let extents = Extents::of(push.json());
    let streams = push.members_with(&extents).filter(|(name, _)| name == "streams").last().map(|(_, streams)| streams);
    let Some(streams) = streams.filter(|streams| streams.kind() == JsonKind::Array) else {
        return Err(DecodeError::Malformed("the body has no streams, nothing was accepted".to_owned()));
    };
    for stream in streams.elements_with(&extents) {
        intake.group()?;
        let mut labels = Labels::new();
        for (name, value) in stream.members_with(&extents) {
            match &*name {
                "stream" => value.members().for_each(|(name, value)| labels.add(&name, &value.plain())),
                "labels" => labels = labels::read(&value.plain()),
                _ => {}
            }
        }
        let labelled = labels.into_stream();
        for (name, values) in stream.members_with(&extents) {
            match &*name {
                "values" => take_values(&labelled, values, intake)?,
                "entries" => {
                    values.elements_with(&extents).try_for_each(|entry| take_entry(&labelled, entry, intake))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The lines of a stream in the present shape.
fn take_values(
    stream: &LabelledStream,
    values: JsonValue<'_>,
    intake: &mut AgentIntake<'_>,
) -> Result<(), DecodeError> {
    let mut json = JsonReader::new(values.json());
    let mut more = json.begins_array().unwrap_or_default();
    while more {
        let from = json.position();
        if let Some(UsualValue { time, text, structured }) = usual_value(&mut json) {
            stream.line(&text, Stated::Time(time), structured, intake)?;
        } else {
            json.go_to(from);
            take_value(stream, json.checked_value(), intake)?;
        }
        let not_array = || DecodeError::Malformed("values is not an array, nothing was accepted".to_owned());
        more = json.continues_array().ok_or_else(not_array)?;
    }
    Ok(())
}

/// A line in the present shape.
struct UsualValue<'a> {
    time: AgentTime,
    text: Cow<'a, str>,
    structured: Structured,
}

/// Reads a line as most agents write it, in place. What it refuses, [`take_value`] reads.
fn usual_value<'a>(json: &mut JsonReader<'a>) -> Option<UsualValue<'a>> {
    json.begins_array()?.then_some(())?;
    let time = AgentTime::from_nanos(json.string()?.parse::<i64>().ok()?.into())?;
    json.continues_array()?.then_some(())?;
    let text = json.string().filter(|text| text.len() <= TEXT_BYTES_MAX)?;
    let mut structured = Structured::default();
    if json.continues_array()? {
        json.object(|json| {
            let name = json.name()?.json();
            structured.add(name.get(1..name.len() - 1)?, &json.string()?);
            Some(())
        })?;
        (!json.continues_array()?).then_some(())?;
    }
    Some(UsualValue { time, text, structured })
}

/// A line in the present shape, whatever it consists of: time, line and, if there is any, structured metadata.
fn take_value(stream: &LabelledStream, value: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    let mut parts = value.elements();
    let time = parts.next().map_or(Stated::Nothing, |time| Stated::read(nanos(time), || shown(time)));
    let text = parts.next().map_or_else(|| Cow::Borrowed(value.json()), plain);
    let mut structured = Structured::default();
    if let Some(members) = parts.next() {
        members.members().for_each(|(name, value)| structured.add(&name, &value.plain()));
    }
    Ok(stream.line(&text, time, structured, intake)?)
}

/// A line in the legacy shape.
fn take_entry(stream: &LabelledStream, entry: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    let (mut time, mut text) = (Stated::Nothing, None);
    for (name, value) in entry.members() {
        match &*name {
            "ts" | "timestamp" => time = Stated::read(AgentTime::of_json(value), || shown(value)),
            "line" => text = Some(plain(value)),
            _ => {}
        }
    }
    let text = text.unwrap_or(Cow::Borrowed(entry.json()));
    Ok(stream.line(&text, time, Structured::default(), intake)?)
}

/// Loki's times are nanoseconds, however few.
fn nanos(value: JsonValue<'_>) -> Option<AgentTime> {
    value.plain().parse::<i64>().ok().and_then(|nanos| AgentTime::from_nanos(nanos.into()))
}
