//! Events as JSON lines: one event a line (github.com/ndjson/ndjson-spec).

use application::ingest::{Intake, Outcome, RefusalReason};
use application::json_reader::JsonReader;

use crate::ingest::native::json::{raw, read, take_element};
use crate::ingest::native::reply::{ACCEPTED, batch_accepted};
use crate::ingest::protocol::{DecodeError, Protocol, Success};

/// Events as JSON lines.
pub struct BatchLines;

impl Protocol for BatchLines {
    fn media_types(&self) -> &'static [&'static str] {
        &["application/x-ndjson"]
    }

    fn success(&self) -> Success {
        ACCEPTED
    }

    fn decode(&self, body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        take_lines(body, intake)
    }

    fn render(&self, outcome: &Outcome) -> Vec<u8> {
        batch_accepted(outcome)
    }
}

/// Takes in one event a line (github.com/ndjson/ndjson-spec). Empty lines are skipped and not counted; a line that
/// cannot be read fails alone.
///
/// # Errors
/// There are too many lines: nothing may be delivered.
pub fn take_lines(body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut reader = JsonReader::new("");
    intake.reserve(body.len());
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(draft) = read(&mut reader, line) {
            intake.add(draft)?;
            continue;
        }
        match raw(line) {
            Ok(element) => take_element(element, intake)?,
            Err(error) => {
                // Where it says "line 1", it means this one.
                let error = error.to_string();
                let what = error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what);
                let detail = format!("the line is not JSON: {what}");
                intake.refuse(RefusalReason::Malformed { code: "line_invalid", detail })?;
            }
        }
    }
    Ok(())
}
