//! Lines and objects of agents as entries.
//!
//! Constraint: what `spillway send` finds in a line (level, time, fields, stack trace) is found here too, by the same
//! crate.

use std::borrow::Cow;

use domain::event::{TEXT_BYTES_MAX, from_hex};
use domain::event_input::LevelInput;
use domain::metadata::UsualMember;
use domain::timestamp::Timestamp;
use formats::{Draft, Event, Options, Reader};

use super::entry::AgentEntry;
use super::members::Members;
use super::state::state;

/// Maximum bytes of an object whose members are looked at: an event has less. The memory for its members is bounded so.
pub const OBJECT_BYTES_MAX: usize = 1024 * 1024;

/// Reads a text of one or more lines. `now` decides the year of times without one; times without a zone are in UTC.
#[must_use]
pub fn line(text: &str, now: Timestamp) -> AgentEntry<'static> {
    let text = text.trim_end();
    // What is too long for a message is cut, and said to be, by the entry.
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        // Enough of it to be too long.
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX + 4)).unwrap_or_default();
        return AgentEntry { message: Cow::Owned(text.to_owned()), ..AgentEntry::default() };
    }
    entry_of(if text.contains('\n') { of_lines(text, now) } else { of_line(text, now) })
}

/// Reads the text of a JSON object, which may span lines, as a line that is one; `None` if it is something else. An object
/// of more than [`OBJECT_BYTES_MAX`] is not checked. If the object states no level, its message is read as a line: an agent
/// may have put one there. `members` are those of the object, if it is a usual one.
#[must_use]
pub fn object(json: &str, members: Option<&[UsualMember<'_>]>, now: Timestamp) -> Option<AgentEntry<'static>> {
    let json = json.trim();
    if json.len() > OBJECT_BYTES_MAX {
        let message = json.get(..json.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned();
        return Some(AgentEntry { message: message.into(), fault: Some("metadata_size"), ..AgentEntry::default() });
    }
    let mut entry = entry_of(formats::object(json, members, now)?);
    if entry.level.is_some() || entry.message == json {
        return Some(entry);
    }
    let mut inner = line(&entry.message, now);
    state(&mut inner, entry.timestamp, None);
    entry.metadata.all_or_within("line", std::mem::take(&mut inner.metadata));
    Some(AgentEntry {
        source: entry.source.or(inner.source),
        level: inner.level,
        message: inner.message,
        timestamp: inner.timestamp,
        event_id: entry.event_id.or(inner.event_id),
        stack_trace: entry.stack_trace.or(inner.stack_trace),
        trace_id: entry.trace_id.or(inner.trace_id),
        span_id: entry.span_id.or(inner.span_id),
        metadata: entry.metadata,
        fault: entry.fault,
    })
}

/// Reads the lines of one body: a stack trace joins the event before it.
pub struct Lines {
    reader: Reader<()>,
    now: Timestamp,
}

impl Lines {
    /// No line was read yet. `now` decides the year of times without one.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { reader: Reader::new(Options::default()), now }
    }

    /// Reads the next line. Entries that are complete are passed to `complete`, in the order of their first lines.
    pub fn line(&mut self, line: &str, mut complete: impl FnMut(AgentEntry<'static>)) {
        self.reader.line(line.as_bytes(), (), self.now, &mut |event: Event<()>| complete(entry_of(event.draft)));
    }

    /// Passes on what waits for further lines.
    pub fn finish(mut self, mut complete: impl FnMut(AgentEntry<'static>)) {
        self.reader.flush(&mut |event: Event<()>| complete(entry_of(event.draft)));
    }
}

fn entry_of(draft: Draft) -> AgentEntry<'static> {
    AgentEntry {
        source: draft.source.map(Cow::Owned),
        level: draft.level.map(LevelInput::Parsed),
        message: Cow::Owned(draft.message),
        timestamp: draft.time,
        event_id: draft.event_id,
        stack_trace: draft.stack_trace.map(Cow::Owned),
        trace_id: draft.trace_id.as_deref().and_then(from_hex),
        span_id: draft.span_id.as_deref().and_then(from_hex),
        metadata: draft.metadata.map(Members::from).unwrap_or_default(),
        fault: None,
    }
}

fn of_line(line: &str, now: Timestamp) -> Draft {
    formats::draft(line, &Options::default(), now)
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
    fn an_object_is_read_as_a_line_and_without_a_level_its_message_is_too() {
        let now = Timestamp::parse("2026-11-29T08:00:00Z").expect("a time");
        let entry = object(
            "{\n \"@timestamp\": \"2024-01-15T10:30:01Z\",\n \"message\": \"2024-01-15 10:30:00 ERROR x\",\n \"k\": 1\n}",
            None,
            now,
        )
        .expect("an object");
        let level = entry.level.and_then(|level| level.parse());
        assert_eq!((level, &*entry.message), (Some(Level::Error), "2024-01-15 10:30:00 ERROR x"));
        assert_eq!(entry.timestamp.map(|time| time.to_string()).as_deref(), Some("2024-01-15T10:30:01Z"));
        let metadata = r#"{"k":1,"lineTimestamp":"2024-01-15T10:30:00Z"}"#;
        assert_eq!(entry.metadata.into_json().as_deref(), Some(metadata));
        let stated = object(r#"{"level":"warn","message":"ERROR: no level"}"#, None, now).expect("an object");
        assert_eq!(stated.level.and_then(|level| level.parse()), Some(Level::Warn));
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(OBJECT_BYTES_MAX));
        let kept = object(&large, None, now).expect("not checked");
        assert_eq!((kept.message.len(), kept.fault), (TEXT_BYTES_MAX, Some("metadata_size")));
        for other in ["", "[]", "{\"a\":1", "{\"a\":01}", "{} {}"] {
            assert!(object(other, None, now).is_none(), "{other}");
        }
    }

    #[test]
    fn the_lines_of_a_body_join_their_event() {
        let (mut lines, mut entries) = (Lines::new(Timestamp::MIN), Vec::new());
        for line in
            ["2024-01-15 10:30:00 ERROR a", "java.lang.X: y", "\tat a.B(C.java:1)", "", "2024-01-15 10:30:01 INFO b"]
        {
            lines.line(line, |entry| entries.push(entry));
        }
        lines.finish(|entry| entries.push(entry));
        assert_eq!(entries.len(), 2);
        assert!(entries[0].stack_trace.as_deref().is_some_and(|trace| trace.contains("\tat a.B")));
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
