//! Plain text: the level and the time at the head of a line.
//!
//! * The head is what stands before the sentence: times, groups in brackets, names of hosts, threads and loggers,
//!   numbers. A level or a time behind it is a part of the message.
//! * Quoted text, addresses, statements and the values of fields are never read as a level.
//! * Only the first [`HEAD_BYTES_MAX`] bytes are looked at.

mod forms;
mod group;
mod scan;
mod word;

use domain::level::Level;
use domain::timestamp::Timestamp;

use self::scan::Scan;
use crate::times::Clock;

/// How much of a line is searched for its level and its time.
pub const HEAD_BYTES_MAX: usize = 512;

/// What the head of a line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The level, if the head states one.
    pub level: Option<Level>,
    /// The time, if the head states one that can be known.
    pub time: Option<Timestamp>,
    /// Whether there is a time or a clock, known or not.
    pub has_time: bool,
    /// Where the first time ends, if the line begins with one.
    pub time_end: usize,
    /// Where the level ends, if a plain word in capitals behind one blank after the time is the level.
    pub level_end: usize,
}

impl Head {
    /// Whether the line states a level or a time, and so begins an event.
    pub fn begins_event(&self) -> bool {
        self.level.is_some() || self.has_time
    }

    /// The message without time and level, if these are written as the event itself would print them, so that
    /// nothing is lost: an RFC 3339 time in UTC, a blank, the level, a blank.
    pub fn message_alone<'a>(&self, text: &'a str) -> Option<&'a str> {
        let (time, level) = (self.time?, self.level?);
        let stated = text.get(..self.time_end)?.strip_suffix('Z')?;
        let printed = time.text();
        let printed = printed.as_str().strip_suffix('Z')?;
        let same = stated == printed
            || (stated.contains('.') && stated.trim_end_matches('0').trim_end_matches('.') == printed);
        let named = text.get(self.time_end..self.level_end)?.strip_prefix(' ')? == level.name();
        let rest = text.get(self.level_end..)?.strip_prefix(' ')?;
        let is_text = rest.starts_with(|first: char| !first.is_whitespace() && first != ':');
        (same && named && is_text).then_some(rest)
    }
}

/// Reads the head of a line.
pub fn head(text: &str, clock: Clock<'_>) -> Head {
    forms::head(text, clock).unwrap_or_else(|| Scan::new(text, clock).run())
}

/// Whether a line has a form of its own, which does not consist of the words of a head.
pub fn has_form(text: &str, clock: Clock<'_>) -> bool {
    forms::head(text, clock).is_some()
}
