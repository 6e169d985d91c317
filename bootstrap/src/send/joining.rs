//! Joins continuation lines to their event as its stack trace.
//!
//! * Only a plain-text event is continued, and only by plain text of the same input.
//! * Traces are recognised by their form: indented frames, the headings of Java and Python, and the names of
//!   exceptions. An indented line that begins with a time is an event: some logs indent everything.
//! * One event is held back, with at most [`TEXT_BYTES_MAX`] of a trace.

use domain::event::TEXT_BYTES_MAX;
use domain::level::Level;
use domain::timestamp::Timestamp;

use super::event_id::EventId;
use super::levels::level_named;
use super::line::{Event, LineParser, object_in};
use super::pending::{Pending, Place};

/// The heading of a Python trace. Its frames are indented, and a line that is not indented ends it.
const TRACEBACK: &str = "Traceback (most recent call last)";
/// Beginnings of unindented lines that continue a trace.
const HEADINGS: &[&str] = &[
    TRACEBACK,
    "Caused by:",
    "Suppressed:",
    "... ",
    "During handling of the above exception",
    "The above exception was the direct cause",
];
const EXCEPTION_ENDINGS: &[&str] = &["Exception", "Error", "Throwable"];

/// An event that waits for continuation lines.
#[derive(Debug)]
pub struct Held {
    event: Event,
    id: EventId,
    place: Place,
    stack_trace: String,
    /// Whether the last line of a Python trace is still to come.
    in_traceback: bool,
}

impl Held {
    /// Holds the event of `line`.
    #[must_use]
    pub fn new(event: Event, id: EventId, place: Place, line: &str) -> Self {
        Self { event, id, place, stack_trace: String::new(), in_traceback: line.starts_with(TRACEBACK) }
    }

    /// Adds `line` if it continues the event and there is room for it.
    pub fn join(&mut self, line: &str, parser: &LineParser, now: Timestamp) -> bool {
        let joins = self.stack_trace.len() + 1 + line.len() <= TEXT_BYTES_MAX
            && object_in(line).is_none()
            && self.is_continued_by(line, parser, now);
        if joins {
            if !self.stack_trace.is_empty() {
                self.stack_trace.push('\n');
            }
            self.stack_trace.push_str(line);
            self.id.extend(line);
            self.in_traceback = line.starts_with(TRACEBACK) || (self.in_traceback && is_indented(line));
        }
        joins
    }

    /// The event, ready to be sent.
    #[must_use]
    pub fn into_pending(self) -> Pending {
        Pending { json: self.event.into_json(self.id.uuid(), self.stack_trace), place: self.place, in_doubt: false }
    }

    fn is_continued_by(&self, line: &str, parser: &LineParser, now: Timestamp) -> bool {
        if is_indented(line) {
            return !begins_with_time(line, parser, now);
        }
        HEADINGS.iter().any(|heading| line.starts_with(heading)) || self.is_thrown(line)
    }

    /// Whether `line` names an exception that belongs to the event. The text of the exception may look like a level or
    /// a time, but is neither.
    fn is_thrown(&self, line: &str) -> bool {
        let name = line.split_once(':').map_or(line, |(name, _)| name).trim_end();
        let is_name = name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '$'));
        if !is_name || level_named(name).is_some() {
            return false;
        }
        let is_exception = name.contains('.') && EXCEPTION_ENDINGS.iter().any(|ending| name.ends_with(ending));
        let is_expected = self.stack_trace.is_empty() && (self.event.time_found || self.event.level >= Level::Warn);
        self.in_traceback || (is_exception && is_expected)
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

fn begins_with_time(line: &str, parser: &LineParser, now: Timestamp) -> bool {
    let before = parser.level_and_time(line, now).1.and_then(|time| line.get(..time.start));
    before.is_some_and(|before| !before.contains(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use domain::Uuid;
    use serde_json::Value;
    use time::UtcOffset;

    use super::*;

    /// The numbers of the lines that start an event.
    fn events(log: &str) -> Vec<usize> {
        let parser = LineParser::new(Level::Info, UtcOffset::UTC).unwrap();
        let (mut held, mut events): (Option<Held>, _) = (None, Vec::new());
        for (index, line) in log.lines().enumerate() {
            if !held.as_mut().is_some_and(|held| held.join(line, &parser, Timestamp::MIN)) {
                events.push(index + 1);
                held = Some(hold(&parser, line)).filter(|held| held.event.is_text);
            }
        }
        events
    }

    fn hold(parser: &LineParser, line: &str) -> Held {
        let place = Place { file: "a.log".into(), line: 1 };
        Held::new(parser.event(line, "here", Timestamp::MIN), EventId::Unique(Uuid::nil()), place, line)
    }

    #[test]
    fn traces_join_the_event_before_them() {
        for log in [
            "ERROR x\njava.lang.IllegalStateException: FATAL: y\n\tat a.B.c(B.java:1)\nCaused by: d.E\n\tat f\n... 3 more",
            "2024-01-15 10:30:00 x\na.b.C$MyError\n\tat f\nSuppressed: g",
            "ERROR x\nTraceback (most recent call last):\n  File \"a.py\", line 1\n    f()\nValueError: 2024",
            "Traceback (most recent call last):\n  File\nKeyboardInterrupt",
            "x\nTraceback (most recent call last):\n  y\nKeyError: 1\nDuring handling of the above exception, z:\n\
             Traceback (most recent call last):\n  y\nrequests.Timeout: z",
            "Error: boom\n    at f (a.js:1:2)",
            "  indented at once\n  and again",
        ] {
            assert_eq!(events(log), [1], "{log}");
        }
    }

    #[test]
    fn lines_that_are_events_do_not_join() {
        for (log, expected) in [
            ("a\nb", vec![1, 2]),
            ("x\njava.lang.IllegalStateException: no level and no time before it", vec![1, 2]),
            ("ERROR x\nValueError: no package and no traceback", vec![1, 2]),
            ("ERROR x\n\tat a\njava.lang.Error: not directly behind", vec![1, 3]),
            ("ERROR a.b.Error: x\ngoroutine 1 [running]:", vec![1, 2]),
            ("Traceback (most recent call last):\n  a\nError: a level\nb", vec![1, 3, 4]),
            ("Traceback (most recent call last):\n  a\nB: c\nD: e", vec![1, 4]),
            ("  2024-01-15 10:30:00 x\n  [2024-01-15 10:30:01] y\n  at 2024-01-15 10:30:01", vec![1, 2]),
            ("x\n {\"msg\":\"y\"}\n z", vec![1, 2, 3]),
        ] {
            assert_eq!(events(log), expected, "{log}");
        }
    }

    #[test]
    fn joined_lines_become_the_stack_trace() {
        let parser = LineParser::new(Level::Info, UtcOffset::UTC).unwrap();
        let mut held = hold(&parser, "ERROR x");
        assert!(held.join("\tat a", &parser, Timestamp::MIN) && held.join("Caused by: b", &parser, Timestamp::MIN));
        let event: Value = serde_json::from_str(&held.into_pending().json).unwrap();
        assert_eq!((&event["message"], &event["stackTrace"]), (&"ERROR x".into(), &"\tat a\nCaused by: b".into()));
    }

    #[test]
    fn the_length_of_a_trace_is_limited() {
        let parser = LineParser::new(Level::Info, UtcOffset::UTC).unwrap();
        let mut held = hold(&parser, "x");
        let half = format!(" {}", "y".repeat(TEXT_BYTES_MAX / 2 - 2));
        assert!(held.join(&half, &parser, Timestamp::MIN) && held.join(&half, &parser, Timestamp::MIN));
        assert!(!held.join(" z", &parser, Timestamp::MIN) && held.stack_trace.len() <= TEXT_BYTES_MAX);
    }
}
