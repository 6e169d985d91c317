//! One line: which format it has, and its draft.
//!
//! The first of these that fits counts: JSON, syslog, an access log, pairs (logfmt), text. A format that the user names
//! is tried alone; a line that does not have it is text.

use crate::access;
use crate::draft::Draft;
use crate::format::{Format, Name, Options};
use crate::json;
use crate::logfmt;
use crate::syslog::{Message, Strictness};
use crate::text::{self, Head};
use crate::times::{self, Clock};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object or pairs: nothing joins it.
    Structured,
    /// Text with a header: a level, a time, or a format of its own.
    Headed,
    /// Text without a header.
    Bare,
}

/// A line that was read.
#[derive(Debug)]
pub struct Reading {
    pub draft: Draft,
    pub kind: Kind,
    /// Whether the line has a time or a clock.
    pub has_time: bool,
}

/// Reads a line that has text.
pub fn read(line: &str, options: &Options, clock: Clock<'_>) -> Reading {
    match &options.format {
        Format::Auto => automatic(line, clock),
        Format::Named(name) => named(line, *name, clock).unwrap_or_else(|| match name {
            Name::Json => part_of_object(line, clock),
            _ => plain(line, clock),
        }),
        Format::Pattern(pattern) => match pattern.draft(line, clock) {
            Some(draft) => Reading { has_time: draft.time.is_some(), draft, kind: Kind::Headed },
            None => automatic(line, clock),
        },
    }
}

fn named(line: &str, name: Name, clock: Clock<'_>) -> Option<Reading> {
    match name {
        Name::Text => None,
        Name::Json => json::draft(line, clock).map(structured),
        Name::Logfmt => logfmt::draft(line, clock).map(structured),
        Name::Syslog => syslog_line(line, clock),
        Name::Access => access_line(line, clock),
    }
}

fn automatic(line: &str, clock: Clock<'_>) -> Reading {
    let first = line.trim_start().as_bytes().first().copied().unwrap_or_default();
    if first == b'{' {
        return json::draft(line, clock).map_or_else(|| part_of_object(line, clock), structured);
    }
    let reading = behind_time(line, clock)
        .or_else(|| syslog_line(line, clock))
        .or_else(|| access_line(line, clock))
        .or_else(|| {
            let is_pair = first.is_ascii_alphabetic() || first == b'_' || first == b'@';
            if is_pair { logfmt::draft(line, clock).map(structured) } else { None }
        });
    reading.unwrap_or_else(|| plain(line, clock))
}

/// An object whose end is missing, or no object at all.
fn part_of_object(line: &str, clock: Clock<'_>) -> Reading {
    let Reading { mut draft, mut kind, mut has_time } = plain(line, clock);
    if kind == Kind::Bare {
        (draft.level, draft.time) = json::level_and_time_of_part(line.trim_start(), clock);
        has_time = draft.time.is_some();
        kind = if has_time || draft.level.is_some() { Kind::Headed } else { Kind::Bare };
    }
    Reading { draft, kind, has_time }
}

/// An object, or pairs, behind a time that something put before them.
fn behind_time(line: &str, clock: Clock<'_>) -> Option<Reading> {
    if !line.ends_with('}') && !line.contains("level=") && !line.contains("lvl=") {
        return None;
    }
    let time = times::at(line, 0, clock).filter(|time| time.has_day)?;
    let rest = line.get(time.end..)?.trim_start();
    let inner = if rest.starts_with('{') { json::draft(rest, clock) } else { logfmt::draft(rest, clock) };
    let mut draft = inner?;
    draft.time = draft.time.or(time.instant);
    Some(structured(draft))
}

/// An object or pairs.
pub fn structured(draft: Draft) -> Reading {
    Reading { has_time: draft.time.is_some(), draft, kind: Kind::Structured }
}

fn access_line(line: &str, clock: Clock<'_>) -> Option<Reading> {
    let draft = access::draft(line, clock).or_else(|| access::w3c::cloudfront(line, clock))?;
    Some(Reading { has_time: draft.time.is_some(), draft, kind: Kind::Headed })
}

/// The header of syslog, and what the program wrote behind it: that may have a format of its own.
fn syslog_line(line: &str, clock: Clock<'_>) -> Option<Reading> {
    let header = Message::read(line, Strictness::Strict, clock)?;
    let inner = if header.text.starts_with('{') {
        json::draft(header.text, clock)
    } else {
        access::draft(header.text, clock).or_else(|| logfmt::draft(header.text, clock))
    };
    let fields = header.fields();
    let draft = match inner {
        Some(inner) => Draft {
            level: header.level.or(inner.level),
            time: inner.time.or(header.time),
            metadata: fields.add_to(inner.metadata),
            ..inner
        },
        None => {
            let head = text::head(header.text, clock);
            let message = if header.text.trim().is_empty() { line } else { header.text };
            Draft {
                level: header.level.or(head.level),
                // Devices leave out the host, or write their own header.
                time: header.time.or(head.time),
                metadata: fields.into_metadata().ok()?,
                ..Draft::of_message(message)
            }
        }
    };
    Some(Reading { draft, kind: Kind::Headed, has_time: true })
}

fn plain(line: &str, clock: Clock<'_>) -> Reading {
    let head: Head = text::head(line, clock);
    let message = head.message_alone(line).unwrap_or(line);
    let draft = Draft { level: head.level, time: head.time, ..Draft::of_message(message.trim_end()) };
    let kind = if head.begins_event() { Kind::Headed } else { Kind::Bare };
    Reading { draft, kind, has_time: head.has_time }
}
