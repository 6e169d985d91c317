//! The scan of a head, word by word.

use domain::level::Level;

use super::word::{self, Word};
use super::{HEAD_BYTES_MAX, Head, group};
use crate::levels;
use crate::times::{self, Clock};

/// Most words and groups that a head may have.
const ITEMS_MAX: u32 = 24;
/// Most words in capitals, such as `HTTP`, that may stand before a level.
const CAPITALS_MAX: u32 = 2;
/// Most words of lower case, such as a thread, that may stand before a level.
const LOWER_MAX: u32 = 1;
/// Most names with a colon that may stand before a level.
const COLONS_MAX: u32 = 3;
/// Longest cell of CSV that is passed over.
const CELL_BYTES_MAX: usize = 128;

/// A scan from left to right. It stops at the first thing that is not part of a head.
pub struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    clock: Clock<'a>,
    at: usize,
    /// What was found.
    head: Head,
    items: u32,
    /// Plain words since the beginning, or since the last colon.
    capitals: u32,
    lower: u32,
    colons: u32,
    /// Words since the time, and how many of them are numbers.
    since_time: u32,
    numbers_since_time: u32,
    /// Whether a name with a colon is directly before.
    after_colon: bool,
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a str, clock: Clock<'a>) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            clock,
            at: 0,
            head: Head::default(),
            items: 0,
            capitals: 0,
            lower: 0,
            colons: 0,
            since_time: 0,
            numbers_since_time: 0,
            after_colon: false,
        }
    }

    pub fn run(mut self) -> Head {
        while self.items < ITEMS_MAX && self.at < HEAD_BYTES_MAX && !self.is_done() && self.step().is_some() {
            self.items += 1;
        }
        self.head
    }

    fn is_done(&self) -> bool {
        self.head.level.is_some() && self.head.time.is_some()
    }

    /// One time, group or word; `None` at the end of the head.
    fn step(&mut self) -> Option<()> {
        self.skip_separators();
        let first = *self.bytes.get(self.at)?;
        if self.head.time.is_none()
            && let Some(time) = times::at(self.text, self.at, self.clock)
        {
            self.found_time(time);
            return Some(());
        }
        match first {
            b'"' if self.at == 0 || matches!(self.bytes.get(self.at - 1), Some(b',' | b';' | b'\t')) => self.cell(),
            b'"' | b'\'' | b'`' => None,
            b'[' | b'(' | b'<' | b'{' => self.group(first),
            _ => self.word(),
        }
    }

    /// A cell of CSV in quotes: the level, the time, or something to pass over.
    fn cell(&mut self) -> Option<()> {
        let from = self.at + 1;
        let length = self.bytes.get(from..)?.iter().take(CELL_BYTES_MAX).position(|byte| *byte == b'"')?;
        let end = from + length + 1;
        if !matches!(self.bytes.get(end), Some(b',' | b';' | b'\t')) {
            return None;
        }
        let content = self.text.get(from..end - 1)?;
        if self.head.level.is_none()
            && let Some(level) = levels::named(content)
        {
            self.found_level(level, end);
        } else if self.head.time.is_none()
            && let Some(time) = times::at(self.text, from, self.clock).filter(|time| time.end == end - 1)
        {
            self.found_time(time);
        }
        self.at = end;
        Some(())
    }

    fn skip_separators(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_separator = |byte: &&u8| {
            matches!(
                byte,
                b' ' | b'\t' | b'-' | b'|' | b']' | b')' | b'>' | b'}' | b'#' | b'=' | b',' | b';' | b':' | b'*'
            )
        };
        self.at += rest.iter().take_while(is_separator).count();
    }

    fn found_time(&mut self, time: times::Time) {
        if self.at == 0 {
            self.head.time_end = time.end;
        }
        self.head.has_time = true;
        self.head.time = time.instant;
        self.at = time.end;
        (self.since_time, self.numbers_since_time) = (0, 0);
    }

    fn found_level(&mut self, level: Level, end: usize) {
        self.head.level = Some(level);
        self.at = end;
    }

    /// A group in brackets: the level, something that begins with a time or a level, or something to pass over.
    fn group(&mut self, open: u8) -> Option<()> {
        let content = group::content(self.text, self.at);
        let Some(content) = content else {
            // Not closed: what is inside may still be a time and a level.
            self.at += 1;
            return (open == b'[').then_some(());
        };
        let end = self.at + content.len() + 2;
        if open == b'{' {
            self.at = end;
            return (!content.trim_start().starts_with(['"', '\''])).then_some(());
        }
        // `<error>text` is an element of XML.
        let is_element =
            open == b'<' && self.bytes.get(end).is_some_and(|next| !next.is_ascii_whitespace() && *next != b':');
        let in_place = !is_element && (open != b'(' || self.capitals + self.lower == 0);
        if self.head.level.is_none()
            && in_place
            && let Some(level) = group::level(content, open)
        {
            self.found_level(level, end);
            return Some(());
        }
        if group::is_entered(content, open, self.clock) {
            self.at += 1;
            if self.head.level.is_none()
                && let Some(level) = group::letter_before_time(content)
            {
                self.found_level(level, self.at + 1);
            }
            return Some(());
        }
        self.at = end;
        // `name[7]: ` is a name with a colon.
        if self.bytes.get(end) == Some(&b':') && self.bytes.get(end + 1).is_none_or(u8::is_ascii_whitespace) {
            return self.pass_colon();
        }
        Some(())
    }

    fn word(&mut self) -> Option<()> {
        let word = Word::at(self.text, self.at);
        if word.text.is_empty() {
            return None;
        }
        let end = self.at + word.text.len();
        if self.head.level.is_none()
            && let Some((level, length)) = self.level(&word)
        {
            let follows_time = self.head.time_end > 0 && self.at == self.head.time_end + 1;
            if follows_time && self.colons == 0 {
                self.head.level_end = self.at + length;
            }
            self.found_level(level, self.at + length);
            return Some(());
        }
        self.at = end;
        self.since_time += 1;
        if word.text.contains("://") {
            return None;
        }
        if let Some(name) = word.text.strip_suffix(':') {
            return if word::is_label(name) { None } else { self.pass_colon() };
        }
        self.after_colon = false;
        self.numbers_since_time += u32::from(word.is_number());
        if word.is_identifier() {
            return Some(());
        }
        self.pass_plain(&word)
    }

    /// A name with a colon: a logger, a program, a place in the code. Behind a word of lower case, it ends a clause.
    fn pass_colon(&mut self) -> Option<()> {
        if self.lower > 0 {
            return None;
        }
        self.colons += 1;
        (self.capitals, self.lower) = (0, 0);
        self.after_colon = true;
        (self.colons <= COLONS_MAX).then_some(())
    }

    /// A word of letters only: a component, a thread, or the beginning of the sentence.
    fn pass_plain(&mut self, word: &Word<'_>) -> Option<()> {
        if self.head.level.is_some() || !word.may_be_component() {
            return None;
        }
        if word.is_capitals() {
            self.capitals += 1;
        } else {
            self.lower += 1;
        }
        (self.capitals <= CAPITALS_MAX && self.lower <= LOWER_MAX).then_some(())
    }

    /// The level that a word is, and how many of its bytes.
    fn level(&self, word: &Word<'_>) -> Option<(Level, usize)> {
        let plain_before = self.capitals + self.lower;
        if let Some(level) = word.field_level().or_else(|| word.severity_of_device()) {
            return Some((level, word.text.len()));
        }
        let is_first = plain_before == 0;
        if is_first || self.head.has_time {
            let level = word.capitals_level(self.after_colon || self.since_time == 0 || self.at == 0);
            if level.is_some() {
                return level;
            }
        }
        if is_first && let Some(level) = word.named_with_colon(self.at == 0) {
            return Some(level);
        }
        let directly_behind_time = self.head.has_time && self.since_time == 0 && is_first;
        if directly_behind_time && let Some(level) = word.bare() {
            return Some(level);
        }
        let before = self.bytes.get(self.at.wrapping_sub(1));
        if before == Some(&b'\t') || self.at == 0 {
            let in_column = if self.at == 0 { word.before_time(self.clock) } else { word.in_column() };
            if in_column.is_some() {
                return in_column;
            }
        }
        if self.head.has_time && plain_before <= 1 { self.letter(word) } else { None }
    }

    /// A single letter: behind the numbers of logcat, before a bar (capnslog), before a component (MongoDB), or with an
    /// exclamation mark (Telegraf).
    fn letter(&self, word: &Word<'_>) -> Option<(Level, usize)> {
        if self.since_time <= 2
            && let Some(level) = word.logcat()
        {
            return Some((level, word.text.len()));
        }
        let level = word.letter()?;
        let logcat = self.since_time <= 3 && self.numbers_since_time == 2;
        let directly = self.since_time == 0 && (word.is_before_bar() || word.is_before_component());
        let marked = self.since_time == 0 && word.text.len() == 2;
        (logcat || directly || marked).then_some((level, word.text.len()))
    }
}
