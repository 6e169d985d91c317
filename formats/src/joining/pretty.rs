//! A JSON object over several lines.

/// Most bytes and lines of one object.
const BYTES_MAX: usize = 256 * 1024;
const LINES_MAX: usize = 8192;

/// The lines of an object so far.
#[derive(Debug)]
pub struct Pretty {
    text: String,
    depth: usize,
    lines: usize,
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
        if !line.starts_with('{') || !line.ends_with(['{', '[', ',']) {
            return None;
        }
        let mut pretty = Self { text: String::new(), depth: 0, lines: 0 };
        pretty.count(line);
        let is_open = pretty.depth > 0;
        pretty.push(line);
        is_open.then_some(pretty)
    }

    /// Adds a line, if it is indented or closes a bracket.
    pub fn add(&mut self, line: &str) -> Added {
        if !line.starts_with([' ', '\t', '}', ']'])
            || self.lines >= LINES_MAX
            || self.text.len() + line.len() > BYTES_MAX
        {
            return Added::Not;
        }
        self.count(line);
        self.push(line);
        if self.depth == 0 { Added::End } else { Added::More }
    }

    /// All lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn push(&mut self, line: &str) {
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.lines += 1;
    }

    /// Counts the brackets of a line outside of its strings, which end with the line.
    fn count(&mut self, line: &str) {
        let (mut in_string, mut is_escape) = (false, false);
        for byte in line.bytes() {
            match byte {
                _ if is_escape => is_escape = false,
                b'\\' if in_string => is_escape = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => self.depth += 1,
                b'}' | b']' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}
