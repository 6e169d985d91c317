//! A JSON object over several lines.

use crate::json::Nesting;

/// Most bytes and lines of one object.
const BYTES_MAX: usize = 256 * 1024;
const LINES_MAX: usize = 8192;

/// The lines of an object so far.
#[derive(Debug)]
pub struct Pretty {
    text: String,
    nesting: Nesting,
    lines: usize,
    /// Whether the first line is JSON, so that the others need not be indented.
    is_json: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It belongs to the object, which goes on.
    More,
    /// It ends the object.
    End,
    /// It does not belong to the object.
    Not,
}

impl Pretty {
    /// The object that a line begins: a brace alone, or one whose last value goes on.
    pub fn begin(line: &str) -> Option<Self> {
        let line = line.trim_end();
        let is_json = line == "{" || begins_with_name(line);
        let goes_on = line.starts_with('{') && line.ends_with(['{', '[', ',']);
        if !is_json && !goes_on {
            return None;
        }
        let mut pretty = Self { text: String::new(), nesting: Nesting::default(), lines: 0, is_json };
        pretty.push(line);
        pretty.nesting.is_open().then_some(pretty)
    }

    /// Adds a line, if it is indented, closes a bracket, or goes on as JSON does.
    pub fn add(&mut self, line: &str) -> Added {
        let goes_on = line.starts_with([' ', '\t', '}', ']']) || (self.is_json && self.nesting.may_go_on_with(line));
        if !goes_on || self.lines >= LINES_MAX || self.text.len() + line.len() > BYTES_MAX {
            return Added::Not;
        }
        self.push(line);
        if self.nesting.is_closed() { Added::End } else { Added::More }
    }

    /// All lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn push(&mut self, line: &str) {
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.nesting.line(line);
        self.text.push_str(line);
        self.lines += 1;
    }
}

/// `{"name": …`
fn begins_with_name(line: &str) -> bool {
    let name = line.strip_prefix('{').and_then(|rest| rest.trim_start().strip_prefix('"'));
    name.and_then(|name| name.split_once('"')).is_some_and(|(_, behind)| behind.trim_start().starts_with(':'))
}
