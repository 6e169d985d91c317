//! Words at the head of a line.

use domain::level::Level;

use crate::levels;
use crate::times::{self, Clock};

/// Words that PostgreSQL puts where levels stand, before statements and details.
const PARTS_OF_REPORTS: [&str; 8] =
    ["STATEMENT", "DETAIL", "HINT", "CONTEXT", "QUERY", "LOCATION", "BACKTRACE", "HTTP"];

/// What names a value, so that the word behind it is not read as a level: `Status: ERROR`.
const LABELS: [&str; 12] = [
    "status", "state", "result", "response", "reason", "code", "type", "message", "value", "output", "answer",
    "returned",
];

/// Whether a name before a colon says what follows: a part of a report, or a word of a sentence, capitalised or not.
pub fn is_label(name: &str) -> bool {
    let is_capitalised = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.len() > 1
        && name.bytes().skip(1).all(|byte| byte.is_ascii_lowercase());
    is_capitalised || PARTS_OF_REPORTS.contains(&name) || LABELS.iter().any(|label| name.eq_ignore_ascii_case(label))
}

/// Words of sentences. Behind them, a word in capitals is not read as a level.
const SENTENCE_WORDS: [&str; 70] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "cannot", "could", "did", "do",
    "does", "for", "from", "get", "got", "had", "has", "have", "if", "in", "into", "is", "it", "like", "logged", "no",
    "not", "of", "on", "or", "print", "printed", "prints", "read", "received", "returned", "returns", "said", "saw",
    "see", "select", "sent", "set", "sets", "show", "state", "than", "that", "the", "this", "to", "update", "use",
    "user", "was", "were", "when", "while", "will", "with", "without", "wrote", "you", "your",
];
/// Words that continue a sentence which begins with `error`, `information` or another name of a level.
const AFTER_ERROR: [&str; 27] = [
    "about", "of", "that", "and", "at", "by", "code", "codes", "count", "creating", "during", "for", "from", "handler",
    "in", "is", "log", "message", "occurred", "on", "page", "rate", "response", "to", "was", "while", "with",
];
/// Names of fields that carry a level, in text that is not logfmt otherwise.
const LEVEL_FIELDS: [&str; 6] = ["level", "lvl", "severity", "loglevel", "log_level", "log.level"];

/// Levels of logrus, cut to four letters.
const LOGRUS: [(&str, Level); 5] = [
    ("ERRO", Level::Error),
    ("DEBU", Level::Debug),
    ("FATA", Level::Fatal),
    ("TRAC", Level::Trace),
    ("PANI", Level::Fatal),
];

/// A word: bytes up to a blank, a bracket, a bar or a quote.
pub struct Word<'a> {
    /// The word.
    pub text: &'a str,
    /// What follows it.
    rest: &'a str,
    /// How many letters it begins with.
    letters: usize,
}

impl<'a> Word<'a> {
    pub fn at(text: &'a str, from: usize) -> Self {
        let all = text.get(from..).unwrap_or_default();
        let is_end = |byte: &u8| {
            byte.is_ascii_whitespace()
                || matches!(byte, b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'|' | b'"' | b',' | b';')
        };
        let end = all.bytes().position(|byte| is_end(&byte)).unwrap_or(all.len());
        let (word, rest) = all.split_at_checked(end).unwrap_or((all, ""));
        let letters = word.bytes().take_while(u8::is_ascii_alphabetic).count();
        Self { text: word, rest, letters }
    }

    fn name(&self) -> &'a str {
        self.text.get(..self.letters).unwrap_or_default()
    }

    fn tail(&self) -> &'a str {
        self.text.get(self.letters..).unwrap_or_default()
    }

    pub fn is_number(&self) -> bool {
        self.text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Whether it has anything but letters: a number, a host, a logger, a file, an identifier.
    pub fn is_identifier(&self) -> bool {
        (self.text.is_ascii() && self.letters < self.text.len()) || self.rest.starts_with('[')
    }

    pub fn is_capitals(&self) -> bool {
        self.text.bytes().all(|byte| byte.is_ascii_uppercase())
    }

    /// Whether a word of letters may be a component or a thread: no word of a sentence, and not `Capitalised`.
    pub fn may_be_component(&self) -> bool {
        let lower = self.text.bytes().all(|byte| byte.is_ascii_lowercase());
        let mixed_inside = self.text.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
        if !(lower || mixed_inside || self.is_capitals()) || !self.text.is_ascii() {
            return false;
        }
        // Ruby writes the first letter of the level before the time: `A, [2024-…`.
        let is_letter = self.text.len() == 1 && self.is_capitals() && self.rest.starts_with(',');
        is_letter || !SENTENCE_WORDS.iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// The value of a field that carries a level, such as `level=warn`.
    pub fn field_level(&self) -> Option<Level> {
        let (name, value) = self.text.split_once('=')?;
        LEVEL_FIELDS.contains(&name).then(|| levels::of_value(value.trim_end_matches([',', ';'])))?
    }

    /// A name in capitals: alone, with a colon, a comma or an exclamation mark, before a slash (Celery), or behind a
    /// dot and before a colon (Monolog). Usual words (`CONFIG`) count only `in_place`.
    pub fn capitals_level(&self, in_place: bool) -> Option<(Level, usize)> {
        let is_capitals = |name: &str| name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_uppercase());
        let name = self.name();
        if self.rest.starts_with('[') && self.tail().is_empty() {
            // logrus on a terminal: `ERRO[0001] …`
            let cut = LOGRUS.iter().find(|(cut, _)| *cut == name);
            if let Some((_, level)) = cut {
                return Some((*level, name.len()));
            }
        }
        // `DEBUG1:` of PostgreSQL
        if is_capitals(name)
            && let Some(numbered) = self.text.strip_suffix(':')
            && levels::without_number(numbered).len() < numbered.len()
        {
            return levels::named(numbered).map(|level| (level, numbered.len()));
        }
        if is_capitals(name) {
            let level =
                levels::named(name).or_else(|| self.usual_word(name).filter(|_| in_place || self.tail() == ":"))?;
            let tail = self.tail();
            let alone = matches!(tail, "" | ":" | "," | "!" | ";" | "-" | "*" | "...");
            let with_logger = tail.starts_with([':', '/']) && tail.len() > 1;
            return (alone || with_logger).then_some((level, name.len()));
        }
        let channel = self.text.strip_suffix(':')?;
        let (_, name) = channel.rsplit_once('.')?;
        levels::named(name).filter(|_| is_capitals(name)).map(|level| (level, self.text.len()))
    }

    /// Levels that are usual words: as the names of JUL, or with the colon that PostgreSQL writes.
    fn usual_word(&self, name: &str) -> Option<Level> {
        let colon = self.tail().starts_with(':');
        let may = match name {
            "FINE" | "FINER" | "CONFIG" | "SUCCESS" | "FAILURE" => true,
            "LOG" | "FAIL" => colon,
            "ANY" => return self.rest.starts_with(" -- ").then_some(Level::Info),
            _ => false,
        };
        if may { levels::named_in_place(name) } else { None }
    }

    /// A name in any case with a colon behind it and a blank behind that: `error: …`, `fatal error: …`.
    pub fn named_with_colon(&self, is_at_start: bool) -> Option<(Level, usize)> {
        let name = self.name();
        if self.tail() == ":" && (self.rest.is_empty() || self.rest.starts_with(char::is_whitespace)) {
            let short_of_dotnet = is_at_start && matches!(name, "fail" | "dbug" | "trce");
            let level = if short_of_dotnet { levels::named_in_place(name) } else { levels::named(name) };
            return level.map(|level| (level, name.len()));
        }
        let two_words = self.tail().is_empty() && name.eq_ignore_ascii_case("fatal");
        let error = two_words && self.rest.get(..7).is_some_and(|rest| rest.eq_ignore_ascii_case(" error:"));
        error.then_some((Level::Fatal, name.len()))
    }

    /// A name in any case directly behind the time, unless it begins a sentence: `error reading the file`.
    pub fn bare(&self) -> Option<(Level, usize)> {
        let name = self.name();
        if !matches!(self.tail(), "" | ";") {
            return None;
        }
        let level = levels::named(name)?;
        let next = Word::at(self.rest, 1);
        let is_separate = !self.rest.starts_with(' ') || self.rest.starts_with("  ") || next.letters == 0;
        let is_sentence =
            name.len() > 4 && (AFTER_ERROR.contains(&next.text) || (next.text.ends_with("ing") && next.is_lower()));
        (is_separate || !is_sentence).then_some((level, name.len()))
    }

    fn is_lower(&self) -> bool {
        self.text.bytes().all(|byte| byte.is_ascii_lowercase())
    }

    /// A name in any case that is a column of its own, with a tab on both sides.
    pub fn in_column(&self) -> Option<(Level, usize)> {
        let ends = self.rest.is_empty() || self.rest.starts_with('\t');
        levels::named_in_place(self.text).filter(|_| ends).map(|level| (level, self.text.len()))
    }

    /// A name in any case before a time: a column of CSV, or a blank between.
    pub fn before_time(&self, clock: Clock<'_>) -> Option<(Level, usize)> {
        let name = self.name();
        let letter = || matches!(name, "E" | "W" | "I" | "D" | "F").then(|| levels::letter(name)).flatten();
        let level = levels::named_in_place(name).or_else(letter)?;
        if !self.tail().is_empty() {
            return None;
        }
        let behind = self.rest.strip_prefix([',', ';']).unwrap_or(self.rest);
        let blanks = behind.len() - behind.trim_start().len();
        let is_time = times::at(behind, blanks, clock).is_some()
            || (behind.trim_start().starts_with('[') && times::at(behind, blanks + 1, clock).is_some());
        is_time.then_some((level, name.len()))
    }

    /// `%LINK-3-UPDOWN:`, as Cisco's devices write facility, severity and name.
    pub fn severity_of_device(&self) -> Option<Level> {
        let mut parts = self.text.strip_prefix('%')?.split('-');
        let (facility, severity, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_capitals = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let known = is_capitals(facility) && is_capitals(name.trim_end_matches(':')) && severity.len() == 1;
        levels::of_syslog(severity.parse().ok().filter(|_| known)?)
    }

    /// `E/Tag`, as logcat writes it.
    pub fn logcat(&self) -> Option<Level> {
        let (letter, tag) = self.text.split_once('/')?;
        levels::letter(letter).filter(|_| letter.len() == 1 && !tag.is_empty())
    }

    /// A single letter, perhaps with an exclamation mark.
    pub fn letter(&self) -> Option<Level> {
        let letter = self.text.strip_suffix('!').unwrap_or(self.text);
        if self.letters == 1 || letter.len() == 2 { levels::letter(letter) } else { None }
    }

    pub fn is_before_bar(&self) -> bool {
        self.rest.starts_with(" |")
    }

    /// Whether a component in capitals follows, as MongoDB writes it.
    pub fn is_before_component(&self) -> bool {
        let next = Word::at(self.rest, 1);
        next.text == "-" || (next.letters == next.text.len() && next.letters > 2 && next.is_capitals())
    }
}
