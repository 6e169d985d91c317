//! The parts of a line: words, and what is within quotes or brackets.

use crate::fields::Fields;

/// How much of a line is divided, and into how many parts.
const BYTES_MAX: usize = 8 * 1024;
const PARTS_MAX: usize = 48;

/// A part of a line.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Word(&'a str),
    Quoted(&'a str),
    Bracketed(&'a str),
}

/// The parts of the beginning of a line.
pub fn parts(line: &str) -> Vec<Part<'_>> {
    let mut rest = line.get(..line.floor_char_boundary(BYTES_MAX)).unwrap_or_default();
    let mut parts = Vec::new();
    while parts.len() < PARTS_MAX {
        rest = rest.trim_start();
        let part = match rest.as_bytes().first() {
            None => break,
            Some(b'"') => enclosed(rest, b'"').map(|(part, rest)| (Part::Quoted(part), rest)),
            Some(b'[') => enclosed(rest, b']').map(|(part, rest)| (Part::Bracketed(part), rest)),
            Some(_) => None,
        };
        let (part, behind) = part.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
            (Part::Word(word), behind)
        });
        parts.push(part);
        rest = behind;
    }
    parts
}

/// What is between the first byte and `close`, before which a backslash may stand.
fn enclosed(text: &str, close: u8) -> Option<(&str, &str)> {
    let mut is_escape = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == close && !is_escape;
        is_escape = byte == b'\\' && !is_escape;
        ends
    })?;
    Some((text.get(1..=end)?, text.get(end + 2..)?))
}

impl<'a> Part<'a> {
    pub fn text(&self) -> &'a str {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Bracketed(text) => text,
        }
    }

    pub fn is_quoted(&self) -> bool {
        matches!(self, Self::Quoted(_))
    }

    pub fn in_brackets(&self) -> Option<&'a str> {
        if let Self::Bracketed(text) = self { Some(text) } else { None }
    }

    /// Whether it is `METHOD target` or `METHOD target HTTP/1.1` in quotes.
    pub fn is_request(&self) -> bool {
        let Self::Quoted(text) = self else { return false };
        let mut words = text.split(' ');
        let is_method = |word: &str| {
            (3..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        let method = words.next().is_some_and(is_method);
        let target = words.next().is_some_and(|target| !target.is_empty());
        method && target && text.len() < BYTES_MAX
    }

    /// Adds method, path, query and protocol of a request.
    pub fn push_request(&self, fields: &mut Fields) {
        let mut words = self.text().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        fields.push_text("method", method);
        match target.split_once('?') {
            Some((path, query)) => {
                fields.push_text("path", path);
                fields.push_text("query", query);
            }
            None => fields.push_text("path", target),
        }
        if let Some(protocol) = words.next() {
            fields.push_text("protocol", protocol);
        }
    }
}
