//! Loki's push in JSON, in the present shape (`stream`, `values`) and in the legacy one (`labels`, `entries`).

use std::borrow::Cow;

use application::ingest::{AgentIntake, AgentStop};
use application::json_reader::JsonReader;
use domain::event::TEXT_BYTES_MAX;
use domain::metadata::{Extents, JsonKind, JsonValue};

use crate::ingest::agents::json_values::{self, plain, shown};
use crate::ingest::agents::loki::labels;
use crate::ingest::agents::loki::stream::{LabelledStream, Labels, Stated, Structured};
use crate::ingest::agents::times::AgentTime;
use crate::ingest::protocol::DecodeError;

/// Takes in the lines of a push.
pub fn decode(body: &str, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    if let Some(taken) = decode_usual(body, intake) {
        return taken;
    }
    intake.restart();
    decode_any(json_values::object(body)?, intake)
}

/// Takes in a push as most agents write it, in one look at each byte; `None` says nothing of it, and some of its lines may have
/// been added. At the first line without room, it stops and does not check the rest of the body.
fn decode_usual(push: &str, intake: &mut AgentIntake<'_>) -> Option<Result<(), DecodeError>> {
    let mut json = JsonReader::new(push);
    let (mut stop, mut seen) = (None, false);
    json.skip_space();
    let read = json.object(|json| {
        (json.name()?.bytes() == b"streams" && !std::mem::replace(&mut seen, true)).then_some(())?;
        json.array(|json| usual_stream(json, intake, &mut stop))
    });
    let read = read.filter(|()| seen).and_then(|()| json.end());
    match stop {
        Some(AgentStop::TooLarge) => None,
        Some(stop) => Some(Err(stop.into())),
        None => read.map(Ok),
    }
}

fn usual_stream(json: &mut JsonReader<'_>, intake: &mut AgentIntake<'_>, stop: &mut Option<AgentStop>) -> Option<()> {
    let mut taken = |taken: Result<(), AgentStop>| taken.map_err(|reason| *stop = Some(reason)).ok();
    taken(intake.group())?;
    let (mut stream, mut has_values) = (None, false);
    json.object(|json| match json.name()?.bytes() {
        b"stream" if stream.is_none() && !has_values => {
            let mut labels = Labels::new();
            json.object(|json| {
                let name = json.name()?;
                labels.add(name.text(), &json.string()?);
                Some(())
            })?;
            stream = Some(labels.into_stream());
            Some(())
        }
        b"values" if !has_values => {
            has_values = true;
            let stream = stream.take().unwrap_or_else(|| Labels::new().into_stream());
            json.array(|json| {
                let Value { time, text, structured } = next_value(json)?;
                taken(stream.line(&text, time, structured, intake))
            })
        }
        _ => None,
    })
}

/// Reads the line at the place of the reader.
fn next_value<'a>(json: &mut JsonReader<'a>) -> Option<Value<'a>> {
    let from = json.position();
    usual_value(json).or_else(|| {
        json.go_to(from);
        json.value().map(|value| any_value(JsonValue::new(value)))
    })
}

/// Takes in any push.
fn decode_any(push: JsonValue<'_>, intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
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
                "values" => values.elements_with(&extents).try_for_each(|value| {
                    let Value { time, text, structured } = any_value(value);
                    labelled.line(&text, time, structured, intake)
                })?,
                "entries" => {
                    values.elements_with(&extents).try_for_each(|entry| take_entry(&labelled, entry, intake))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A line in the present shape: time, line and, if there is any, structured metadata.
#[derive(Debug)]
struct Value<'a> {
    time: Stated,
    text: Cow<'a, str>,
    structured: Structured,
}

/// Reads a line as most agents write it, in place. What it refuses, [`any_value`] reads.
fn usual_value<'a>(json: &mut JsonReader<'a>) -> Option<Value<'a>> {
    json.begins_array()?.then_some(())?;
    let time = AgentTime::from_nanos(json.string()?.parse::<i64>().ok()?.into())?;
    json.continues_array()?.then_some(())?;
    let text = json.string().filter(|text| text.len() <= TEXT_BYTES_MAX)?;
    let mut structured = Structured::default();
    if json.continues_array()? {
        json.object(|json| {
            let name = json.name()?;
            structured.add(name.text(), &json.string()?);
            Some(())
        })?;
        (!json.continues_array()?).then_some(())?;
    }
    Some(Value { time: Stated::Time(time), text, structured })
}

/// A line, whatever it consists of.
fn any_value(value: JsonValue<'_>) -> Value<'_> {
    let mut parts = value.elements();
    let time = parts.next().map_or(Stated::Nothing, |time| Stated::read(nanos(time), || shown(time)));
    let text = parts.next().map_or_else(|| Cow::Borrowed(value.json()), plain);
    let mut structured = Structured::default();
    if let Some(members) = parts.next() {
        members.members().for_each(|(name, value)| structured.add(&name, &value.plain()));
    }
    Value { time, text, structured }
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

#[cfg(test)]
mod tests {
    use domain::event::TEXT_BYTES_MAX;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn usual(json: &str) -> Option<String> {
        usual_value(&mut JsonReader::new(json)).map(|value| format!("{value:?}"))
    }

    #[test]
    fn lines_of_agents_are_read_in_place() {
        let lines = [
            r#"["1705314600000000001","a line"]"#,
            r#"["1705314600000000001", "say \"hi\"" , {} ]"#,
            r#"["1705314600000000001","é",{"level":"warn","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","user":"u\n"}]"#,
        ];
        lines.into_iter().for_each(|line| assert!(usual(line).is_some(), "{line}"));
    }

    fn part() -> impl Strategy<Value = String> {
        let time = vec![
            "\"1705314600000000001\"",
            "\"0\"",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "\"9223372036854775807\"",
            "\"17053146000000000010\"",
            "\"\\u0031705314600000000001\"",
            "1705314600000000001",
        ];
        let structured = vec![
            "{}",
            "{\"level\":\"warn\",\"lvl\":\"\"}",
            "{ \"level\" : \"warn\" , \"level\" : \"error\" }",
            "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanID\":\"00f067aa0ba902b7\"}",
            "{\"traceId\":\"4BF92F3577B34DA6A3CE929D0E0E4736\",\"trace_id\":\"x\"}",
            "{\"a\":1}",
            "{\"\\u0061\":\"\\ud800\"}",
            "{\"a\":{\"b\":[null]}}",
            "{\"\":\"\"}",
        ];
        let other = vec!["null", "[]", "[\"0\",\"x\"]", "true"];
        let long = Just(format!("\"{}\"", "x".repeat(TEXT_BYTES_MAX + 1)));
        let text = "\"([a-z é€😀{}\\[\\],:]{0,9}(\\\\[\"\\\\/bfnrt]|\\\\u00e9|\\\\ud83d)?){0,3}\"";
        prop_oneof![
            8 => select([time, structured, other].concat()).prop_map(str::to_owned),
            8 => text,
            1 => long,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_line_that_is_read_in_place_is_read_as_any_other(
            time in prop_oneof![Just("\"1705314600000000001\"".to_owned()), part()],
            parts in prop::collection::vec(part(), 0..4),
            space in select(vec!["", " ", "\r\n\t"]),
        ) {
            let parts = [vec![time], parts].concat();
            let json = format!("[{space}{}{space}]", parts.join(&format!("{space},{space}")));
            if let Some(usual) = usual(&json) {
                prop_assert_eq!(usual, format!("{:?}", any_value(JsonValue::new(&json))));
            }
        }
    }
}
