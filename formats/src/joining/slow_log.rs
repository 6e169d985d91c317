//! The slow query log of MySQL and MariaDB: a heading of lines that begin with `#`, then the statement (MySQL Reference
//! Manual, "The Slow Query Log").
//!
//! Invariant: what the heading says becomes metadata, and the statement is the message, so that nothing is lost.

use domain::event::TEXT_BYTES_MAX;
use domain::timestamp::Timestamp;

use crate::draft::Draft;
use crate::fields::Fields;
use crate::times;

/// Most lines of a heading, and most bytes of all its lines.
const HEADING_LINES_MAX: u32 = 16;
const HEADING_BYTES_MAX: usize = 16 * 1024;
const TIME: &str = "# Time: ";
const USER: &str = "# User@Host: ";

/// An event of the log so far.
#[derive(Debug, Default)]
pub struct SlowLog {
    /// All lines.
    lines: String,
    /// The lines behind the heading.
    statement: String,
    fields: Fields<'static>,
    heading_lines: u32,
    has_user: bool,
    has_time: bool,
    /// The time that the statement sets, for events whose heading has none.
    time: Option<Timestamp>,
}

impl SlowLog {
    /// The event that a line begins: a time, or a user if the time is that of the event before it.
    /// `has_time`: the time of the line is known, and need not be in the metadata.
    pub fn begin(line: &str, has_time: bool) -> Option<Self> {
        let begins_with_user = line.starts_with(USER) && line.contains(" @ ");
        if !line.starts_with(TIME) && !begins_with_user {
            return None;
        }
        let mut log = Self { has_time, ..Self::default() };
        log.add_heading(line);
        Some(log)
    }

    /// Adds a line, unless another event begins or the limits are reached.
    pub fn add(&mut self, line: &str) -> bool {
        let is_heading = line.starts_with("# ") && self.statement.is_empty();
        let begins_other = line.starts_with(TIME) || (line.starts_with(USER) && (self.has_user || !is_heading));
        if begins_other || self.lines.len() + self.statement.len() + line.len() > TEXT_BYTES_MAX {
            return false;
        }
        if is_heading {
            self.add_heading(line)
        } else {
            if let Some(time) = line.strip_prefix("SET timestamp=").and_then(|rest| rest.strip_suffix(';')) {
                self.time = self.time.or_else(|| times::of_number(time));
            }
            push_line(&mut self.statement, line);
            true
        }
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.lines.len() + self.statement.len()
    }

    fn add_heading(&mut self, line: &str) -> bool {
        if self.heading_lines >= HEADING_LINES_MAX || self.lines.len() + line.len() > HEADING_BYTES_MAX {
            return false;
        }
        self.heading_lines += 1;
        self.has_user |= line.starts_with(USER);
        push_line(&mut self.lines, line);
        if self.has_time && line.starts_with(TIME) {
            return true;
        }
        let (mut name, mut value) = ("", String::new());
        let content = line.trim_start_matches(['#', ' ']);
        for word in content.split_whitespace() {
            match word.strip_suffix(':').filter(|name| !name.is_empty() && !name.contains(':')) {
                Some(next) => {
                    self.push_field(name, &value);
                    (name, value) = (next, String::new());
                }
                None => {
                    if !value.is_empty() {
                        value.push(' ');
                    }
                    value.push_str(word);
                }
            }
        }
        self.push_field(name, &value);
        true
    }

    fn push_field(&mut self, name: &str, value: &str) {
        if !name.is_empty() && !value.is_empty() {
            self.fields.push_number_or_text(name, value);
        }
    }

    /// Adds what the lines say to the draft of the first line.
    pub fn complete(self, draft: &mut Draft) {
        let text = if self.statement.trim().is_empty() { &self.lines } else { &self.statement };
        draft.set_message(text);
        draft.time = draft.time.or(self.time);
        draft.metadata = self.fields.add_to(draft.metadata.take());
    }
}

fn push_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
