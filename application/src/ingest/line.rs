//! Lines of text as entries: what an agent read from a file or a terminal and sends as it is.
//!
//! Constraint: what `spillway send` finds in a line (level, time, fields, stack trace) is found here too, by the same
//! crate.

use std::borrow::Cow;

use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::event_input::LevelInput;
use domain::timestamp::Timestamp;
use formats::{Draft, Event, Options, Reader};

use super::entry::AgentEntry;

/// Reads a text of one or more lines. `now` decides the year of times without one; times without a zone are in UTC.
#[must_use]
pub fn line(text: &str, now: Timestamp) -> AgentEntry<'static> {
    let text = text.trim_end();
    // What is too long for a message is cut, and said to be, by the entry.
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return AgentEntry { message: Cow::Owned(text.to_owned()), ..AgentEntry::default() };
    }
    let draft = if text.contains('\n') { of_lines(text, now) } else { of_line(text, now) };
    let mut entry = AgentEntry {
        source: draft.source.map(Cow::Owned),
        level: draft.level.map(LevelInput::Parsed),
        message: Cow::Owned(draft.message),
        timestamp: draft.time,
        event_id: draft.event_id,
        stack_trace: draft.stack_trace.map(Cow::Owned),
        trace_id: draft.trace_id.as_deref().and_then(from_hex),
        span_id: draft.span_id.as_deref().and_then(from_hex),
        ..AgentEntry::default()
    };
    if let Some(metadata) = draft.metadata {
        entry.metadata.object(metadata.get());
    }
    entry
}

fn of_line(line: &str, now: Timestamp) -> Draft {
    formats::draft(line.as_bytes(), &Options::default(), now)
}

/// The agent has joined these lines: they are one event. What the first line says holds for it; unless the other lines are
/// its stack trace, the message is the text.
fn of_lines(text: &str, now: Timestamp) -> Draft {
    let (mut reader, mut events) = (Reader::<()>::new(Options::default()), Vec::new());
    let mut complete = |event: Event<()>| {
        if events.len() < 2 {
            events.push(event.draft);
        }
    };
    for line in text.lines() {
        reader.line(line.as_bytes(), (), now, &mut complete);
    }
    reader.flush(&mut complete);
    let is_one = events.len() == 1;
    match events.into_iter().next() {
        Some(draft) if is_one => draft,
        Some(draft) => Draft { message: text.to_owned(), stack_trace: None, ..draft },
        None => Draft { message: text.to_owned(), ..Draft::default() },
    }
}

#[cfg(test)]
mod tests {
    use domain::level::Level;

    use super::*;

    fn read(text: &str) -> (Option<Level>, Option<String>, String, Option<String>, Option<String>) {
        let entry = line(text, Timestamp::MIN);
        let level = entry.level.and_then(|level| level.parse());
        let time = entry.timestamp.map(|time| time.to_string());
        let stack_trace = entry.stack_trace.map(Cow::into_owned);
        (level, time, entry.message.into_owned(), stack_trace, entry.metadata.into_json())
    }

    #[test]
    fn level_time_and_fields_of_a_line_are_found() {
        let time = Some("2024-01-15T10:30:00Z".to_owned());
        let (level, found, message, ..) = read("2024-01-15 10:30:00 ERROR payment failed\n");
        assert_eq!(
            (level, found, message.as_str()),
            (Some(Level::Error), time.clone(), "2024-01-15 10:30:00 ERROR payment failed")
        );
        let (level, found, message, _, metadata) =
            read(r#"{"level":"warn","time":"2024-01-15T10:30:00Z","msg":"slow","ms":1.50}"#);
        assert_eq!((level, found, message.as_str()), (Some(Level::Warn), time, "slow"));
        assert_eq!(metadata.as_deref(), Some(r#"{"ms":1.50}"#));
        assert_eq!(read("plain").2, "plain");
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!((read("").2.as_str(), read(&long).2), ("", long));
    }

    #[test]
    fn lines_that_an_agent_has_joined_are_one_event() {
        let (level, _, message, stack_trace, _) =
            read("2024-01-15 10:30:00 ERROR boom\njava.lang.X: y\n\tat a.B(C.java:1)");
        assert_eq!((level, message.as_str()), (Some(Level::Error), "2024-01-15 10:30:00 ERROR boom"));
        assert!(stack_trace.is_some_and(|trace| trace.contains("at a.B")));
        let (level, _, message, stack_trace, _) = read("2024-01-15 10:30:00 WARN a\n2024-01-15 10:30:01 INFO b");
        assert_eq!((level, stack_trace), (Some(Level::Warn), None));
        assert!(message.ends_with("WARN a\n2024-01-15 10:30:01 INFO b"), "{message}");
    }
}
