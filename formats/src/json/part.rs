//! The beginning of a JSON object whose rest is missing, or stands in the next lines.

use domain::level::Level;
use domain::timestamp::Timestamp;

use super::draft;
use crate::times::Clock;

/// What is open at the end of a text. Strings end with their line.
#[derive(Debug, Default)]
pub struct Nesting {
    /// The open brackets, from the outermost to the innermost.
    brackets: Vec<u8>,
    in_string: bool,
    is_escape: bool,
    /// The last byte that is not a blank.
    last: u8,
    bytes: usize,
    last_comma: Option<usize>,
}

impl Nesting {
    /// Reads one line.
    pub fn line(&mut self, line: &str) {
        (self.in_string, self.is_escape) = (false, false);
        for (index, byte) in line.bytes().enumerate() {
            match byte {
                _ if self.is_escape => self.is_escape = false,
                b'\\' if self.in_string => self.is_escape = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.brackets.push(byte),
                b'}' | b']' => drop(self.brackets.pop()),
                b',' => self.last_comma = Some(self.bytes + index),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                self.last = byte;
            }
        }
        self.bytes += line.len() + 1;
    }

    /// Whether a bracket is open, and no string.
    pub fn is_open(&self) -> bool {
        !self.brackets.is_empty() && !self.in_string
    }

    pub fn is_closed(&self) -> bool {
        self.brackets.is_empty()
    }

    /// Whether a line that is not indented may go on where the last one ended, by the grammar of JSON (RFC 8259).
    pub fn may_go_on_with(&self, line: &str) -> bool {
        let in_array = self.brackets.last() == Some(&b'[');
        match (self.last, line.as_bytes().first()) {
            (b'{' | b'[' | b',' | b':', Some(b'"')) => true,
            (b'[' | b':', Some(b'{' | b'[')) => true,
            (b',', Some(b'{' | b'[')) => in_array,
            (b'[' | b',' | b':', Some(_)) if in_array || self.last == b':' => is_scalar(line),
            (b'"' | b'}' | b']' | b'0'..=b'9' | b'e' | b'l', Some(b',')) => true,
            _ => false,
        }
    }

    /// The text with what closes it; `None` if nothing is open.
    fn completed(&self, text: &str) -> Option<String> {
        let mut json = text.trim_end().trim_end_matches(',').to_owned();
        if self.brackets.is_empty() {
            return None;
        }
        if self.in_string {
            if self.is_escape {
                json.pop();
            }
            json.push('"');
        } else if self.last == b':' {
            json.push_str("null");
        }
        json.extend(self.brackets.iter().rev().map(|open| if *open == b'{' { '}' } else { ']' }));
        Some(json)
    }
}

/// `true`, `1.5,`
fn is_scalar(line: &str) -> bool {
    let value = line.trim_end().trim_end_matches(',');
    let is_number_byte = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    matches!(value, "true" | "false" | "null") || (!value.is_empty() && value.bytes().all(is_number_byte))
}

/// The level and the time that the members of an object state, whose end is missing.
pub fn level_and_time_of_part(text: &str, clock: Clock<'_>) -> (Option<Level>, Option<Timestamp>) {
    let nesting = |text: &str| {
        let mut nesting = Nesting::default();
        text.split('\n').for_each(|line| nesting.line(line));
        nesting
    };
    let whole = nesting(text);
    let read = |nesting: &Nesting, text: &str| draft(&nesting.completed(text)?, clock);
    // The last member may lack its value.
    let without_last = || {
        let text = text.get(..whole.last_comma?)?;
        read(&nesting(text), text)
    };
    read(&whole, text).or_else(without_last).map_or((None, None), |draft| (draft.level, draft.time))
}
