//! Loki's push in protobuf (grafana/loki, `pkg/push/push.proto`).

use application::ingest::{AgentIntake, text_of};

use crate::ingest::agents::loki::labels;
use crate::ingest::agents::loki::stream::{LabelledStream, Stated, Structured};
use crate::ingest::agents::protobuf::{Fields, NotProtobuf, Value, repeated};
use crate::ingest::agents::times::AgentTime;
use crate::ingest::protocol::DecodeError;

/// Takes in the lines of a `PushRequest`.
pub fn decode(body: &[u8], intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    for stream in repeated(body, 1) {
        let stream = stream?;
        intake.group()?;
        let mut text = "".into();
        for labels in repeated(stream, 1) {
            text = text_of(labels?);
        }
        let labelled = labels::read(&text).into_stream();
        for entry in repeated(stream, 2) {
            take(&labelled, entry?, intake)?;
        }
    }
    Ok(())
}

fn take(stream: &LabelledStream, entry: &[u8], intake: &mut AgentIntake<'_>) -> Result<(), DecodeError> {
    let (mut time, mut line) = (Stated::Nothing, "".into());
    let mut structured = Structured::default();
    for field in Fields::new(entry) {
        match field? {
            (1, Value::Bytes(timestamp)) => time = time_of(timestamp),
            (2, Value::Bytes(text)) => line = text_of(text),
            (3, Value::Bytes(pair)) => {
                let (name, value) = name_and_value(pair)?;
                structured.add(&text_of(name), &text_of(value));
            }
            _ => {}
        }
    }
    Ok(stream.line(&line, time, structured, intake)?)
}

/// A `google.protobuf.Timestamp`. One that cannot be read costs its line nothing but the time.
fn time_of(timestamp: &[u8]) -> Stated {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(timestamp) {
        match field {
            Ok((1, Value::Varint(number))) => seconds = number.cast_signed(),
            Ok((2, Value::Varint(number))) => nanos = number.cast_signed(),
            Ok(_) => {}
            Err(NotProtobuf) => return Stated::Unreadable("not a protocol buffer".to_owned()),
        }
    }
    let time = AgentTime::from_nanos(i128::from(seconds) * 1_000_000_000 + i128::from(nanos));
    Stated::read(time, || format!("{seconds} s, {nanos} ns"))
}

/// A `LabelPairAdapter`.
fn name_and_value(pair: &[u8]) -> Result<(&[u8], &[u8]), NotProtobuf> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in Fields::new(pair) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}
