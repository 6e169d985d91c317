//! A pattern of the user: a regular expression with named groups.
//!
//! * `time`, `level`, `message`, `source`, `trace_id`, `span_id` and `stack_trace` become fields of the event; other
//!   groups become metadata, as does a group whose text is not valid for its field.
//! * If letters or digits of the line are in no group, the whole line stays in the metadata as `raw`.
//! * Searching is linear in the line (the `regex` crate), and the compiled pattern is bounded.

use regex::{Captures, Regex, RegexBuilder};

use crate::draft::{self, Draft};
use crate::fields::Fields;
use crate::format::InvalidFormat;
use crate::levels;
use crate::times::{self, Clock};

/// Longest pattern, and largest when compiled.
const PATTERN_BYTES_MAX: usize = 8 * 1024;
const COMPILED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A regular expression with named groups.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It has no named group, an error, or is too large.
    pub fn new(text: &str) -> Result<Self, InvalidFormat> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(InvalidFormat::Regex(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| InvalidFormat::Regex(error.to_string()))?;
        if regex.capture_names().flatten().next().is_none() {
            return Err(InvalidFormat::Unknown);
        }
        Ok(Self(regex))
    }

    /// The draft of a line that matches.
    pub(crate) fn draft(&self, line: &str, clock: Clock<'_>) -> Option<Draft> {
        let captures = self.0.captures(line)?;
        let mut draft = Draft::default();
        let mut fields = Fields::default();
        for name in self.0.capture_names().flatten() {
            let Some(group) = captures.name(name).filter(|group| !group.as_str().is_empty()) else { continue };
            if !take(&mut draft, name, group.as_str(), clock) {
                fields.push_number_or_text(name, group.as_str());
            }
        }
        if !self.covers(&captures, line) {
            fields.push_text("raw", line);
        }
        match fields.into_metadata() {
            Ok(metadata) => draft.metadata = metadata,
            Err(_) => draft.message.clear(),
        }
        if draft.message.is_empty() {
            draft.set_message(line);
        }
        Some(draft)
    }

    /// Whether every letter and digit of the line is in a named group.
    fn covers(&self, captures: &Captures<'_>, line: &str) -> bool {
        let groups = self.0.capture_names().flatten().filter_map(|name| captures.name(name));
        let mut ranges: Vec<_> = groups.map(|group| group.range()).collect();
        ranges.sort_by_key(|range| range.start);
        let mut end = 0;
        let has_text = |part: Option<&str>| part.is_some_and(|part| part.contains(char::is_alphanumeric));
        for range in ranges {
            if range.start > end && has_text(line.get(end..range.start)) {
                return false;
            }
            end = end.max(range.end);
        }
        !has_text(line.get(end..))
    }
}

/// Makes a group a field of the event; false if it is none.
fn take(draft: &mut Draft, name: &str, text: &str, clock: Clock<'_>) -> bool {
    match name {
        "time" | "timestamp" => {
            draft.time = times::of_number(text).or_else(|| times::whole(text, clock));
            draft.time.is_some()
        }
        "level" => {
            draft.level = levels::of_value(text);
            draft.level.is_some()
        }
        "message" => {
            let is_text = !text.trim().is_empty();
            if is_text {
                draft.set_message(text);
            }
            is_text
        }
        "stack_trace" => {
            draft.set_stack_trace(text);
            true
        }
        "source" if draft::is_source(text) => {
            draft.source = Some(text.to_owned());
            true
        }
        "trace_id" => {
            draft.trace_id = draft::hexadecimal(text, 32);
            draft.trace_id.is_some()
        }
        "span_id" => {
            draft.span_id = draft::hexadecimal(text, 16);
            draft.span_id.is_some()
        }
        _ => false,
    }
}
