//! Messages of syslog: RFC 5424, RFC 3164 with and without its priority, the ISO times of rsyslog and journalctl, the
//! kernel's `<4>[  12.345678] …`, and what devices make of these.
//!
//! Constraints and invariants:
//! * The header becomes fields, and the text is what follows it. No other text is lost: what is not a part of a header
//!   stays in the text.
//! * Of a priority, the level is the severity, whatever the text says.
//! * Structured data has at most [`STRUCTURED_DATA_BYTES_MAX`] bytes as JSON, and every name at most
//!   [`NAME_BYTES_MAX`] bytes.

use std::net::IpAddr;

use domain::level::Level;
use domain::timestamp::Timestamp;

use crate::fields::Fields;
use crate::levels;
use crate::times::{self, Clock};
use crate::zone::Zone;

/// Largest priority: facility 23, severity 7 (RFC 5424, 6.2.1).
const PRIORITY_MAX: u32 = 191;
/// Most bytes of the name of a host or a program, of a process id and of a message id.
const NAME_BYTES_MAX: usize = 255;
/// Most bytes of structured data as JSON, so that it fits into the metadata of an event with the other fields.
const STRUCTURED_DATA_BYTES_MAX: usize = 56 * 1024;
/// The names of RFC 5424, table 1, as syslog.conf has them.
pub(crate) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// A field without a value (RFC 5424, 6).
const NIL: &str = "-";

/// How much of a header a text without a priority must have. A priority is enough to tell a message from other text:
/// behind it, every other part of the header may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// For a line of a file, where any text may stand: a time, a host and a tag. If the time is not in the form of
    /// RFC 3164, the tag has a process id or is that of the kernel, or the time is one of rsyslog.
    Strict,
    /// For a message that came as syslog: a time and a tag.
    Lenient,
}

/// A message: what its header says, and the text behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// The level of the severity, if there is a priority.
    pub level: Option<Level>,
    /// The name of the facility, as syslog.conf has it, if there is a priority.
    pub facility: Option<&'static str>,
    /// The time, if the header states one that can be known.
    pub time: Option<Timestamp>,
    /// The host: 1 to 255 bytes.
    pub host: Option<&'a str>,
    /// The name of the program: 1 to 255 bytes.
    pub app: Option<&'a str>,
    /// The process id, which may be any word of 1 to 255 bytes.
    pub pid: Option<&'a str>,
    /// The type of the message (MSGID of RFC 5424): 1 to 255 bytes.
    pub id: Option<&'a str>,
    /// The structured data of RFC 5424 as a JSON object: under the id of each element, an object with its parameters.
    /// At most 56 KiB; longer data stays in the text.
    pub structured_data: Option<String>,
    /// What follows the header, without blanks and a byte order mark in front of it. May be empty.
    pub text: &'a str,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` if the text has no header. A time without a zone is one of `zone`; one without a year is
    /// in the latest year that puts it at most a day ahead of `now`.
    #[must_use]
    pub fn parse(text: &'a str, strictness: Strictness, zone: &Zone, now: Timestamp) -> Option<Self> {
        Self::read(text, strictness, Clock { zone, now })
    }

    /// [`Message::parse`] with a clock.
    pub(crate) fn read(text: &'a str, strictness: Strictness, clock: Clock<'_>) -> Option<Self> {
        let Some((priority, rest)) = priority(text) else { return Self::without_priority(text, strictness, clock) };
        let rfc_5424 = rest.strip_prefix("1 ").and_then(|rest| Self::rfc_5424(rest, clock));
        let message = rfc_5424.unwrap_or_else(|| Self::rfc_3164(rest, clock));
        let facility = usize::try_from(priority / 8).ok().and_then(|number| FACILITIES.get(number)).copied();
        Some(Self { level: levels::of_syslog(i64::from(priority % 8)), facility, ..message })
    }

    /// The header without level and time as the text of a JSON object with `hostname`, `app`, `pid`, `messageId`,
    /// `facility` and `structuredData`; `None` if it has none of these.
    #[must_use]
    pub fn metadata(&self) -> Option<String> {
        let fields = self.fields();
        (!fields.is_empty()).then(|| fields.into_json())
    }

    /// The members of [`Message::metadata`].
    pub(crate) fn fields(&self) -> Fields<'static> {
        let mut fields = Fields::default();
        for (name, value) in [("hostname", self.host), ("app", self.app)] {
            if let Some(value) = value {
                fields.push_text(name, value);
            }
        }
        for (name, value) in [("pid", self.pid), ("messageId", self.id)] {
            if let Some(value) = value {
                fields.push_number_or_text(name, value);
            }
        }
        if let Some(facility) = self.facility {
            fields.push_text("facility", facility);
        }
        if let Some(data) = &self.structured_data {
            fields.push_json("structuredData", data);
        }
        fields
    }

    /// `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG` (RFC 5424, 6). The form of the time tells it from
    /// text that begins with the digit 1.
    fn rfc_5424(header: &'a str, clock: Clock<'_>) -> Option<Self> {
        let mut parts = header.splitn(6, ' ');
        let other = |time| known_time(time, clock).filter(|(_, rest)| rest.is_empty()).map(|(time, _)| time);
        let time = match parts.next()? {
            NIL => None,
            time => Some(Timestamp::parse_utc(time.as_bytes()).or_else(|| other(time))?),
        };
        let mut value = || {
            let value = parts.next().filter(|value| value.len() <= NAME_BYTES_MAX)?;
            Some(Some(value).filter(|value| !matches!(*value, NIL | "")))
        };
        let (host, app, pid, id) = (value()?, value()?, value()?, value()?);
        let rest = parts.next().unwrap_or(NIL);
        let behind_nil = rest.strip_prefix(NIL).filter(|behind| behind.is_empty() || behind.starts_with(' '));
        let (structured_data, text) = match behind_nil {
            Some(text) => (None, text),
            // Some senders leave the structured data out.
            None => structured_data(rest).map_or((None, rest), |(data, text)| (Some(data), text)),
        };
        Some(Self { time, host, app, pid, id, structured_data, text: bare(text), ..Self::default() })
    }

    /// `Jan 15 10:30:00 host program[7]: text` behind a priority, where each part may be absent (RFC 3164, 4.3).
    fn rfc_3164(header: &'a str, clock: Clock<'_>) -> Self {
        // Without a time, the first word is more often a part of the text than a host.
        let (time, (host, rest)) = match time_and_rest(header, clock) {
            Some((time, rest)) => (Some(time), host_and_rest(rest)),
            None => (None, (None, header)),
        };
        let tag = Tag::of(rest).unwrap_or_else(|| Tag { text: rest, ..Tag::default() });
        Self { time, host, app: tag.app, pid: tag.pid, text: bare(tag.text), ..Self::default() }
    }

    /// `Jan 15 10:30:00 host program[7]: text` without a priority.
    fn without_priority(line: &'a str, strictness: Strictness, clock: Clock<'_>) -> Option<Self> {
        let is_rfc_3164 = line.as_bytes().first()?.is_ascii_alphabetic();
        let (time, rest) = time_and_rest(line, clock)?;
        let (host, behind) = host_and_rest(rest);
        let tag = Tag::of(behind)?;
        if strictness == Strictness::Strict {
            let time = line.get(..line.len() - rest.len()).unwrap_or_default().trim_end();
            let is_certain = is_rfc_3164 || tag.has_brackets || tag.app == Some("kernel") || is_time_of_rsyslog(time);
            // HAProxy leaves out the host, and Heroku names a process: `app[web.1]`.
            let is_process = tag.pid.is_some_and(|pid| pid.starts_with(|first: char| first.is_ascii_alphabetic()));
            let needs_host = !(tag.has_brackets && (is_rfc_3164 || (is_process && line.get(10..11) == Some("T"))));
            // Columns that are filled up with blanks are a log of a program; `[12]:34` is a place in its code.
            let is_spaced = !rest.starts_with(' ') && (tag.text.is_empty() || tag.text.starts_with(' '));
            if (host.is_none() && needs_host) || !is_spaced || !is_certain {
                return None;
            }
        }
        Some(Self { time: Some(time), host, app: tag.app, pid: tag.pid, text: bare(tag.text), ..Self::default() })
    }
}

/// `2024-01-15T10:30:00.123456+01:00`: rsyslog writes six decimals and an offset, unless it is told otherwise
/// (RSYSLOG_FileFormat).
fn is_time_of_rsyslog(time: &str) -> bool {
    let Some((_, fraction)) = time.split_once('.').filter(|(seconds, _)| seconds.get(10..11) == Some("T")) else {
        return false;
    };
    let (digits, offset) = fraction.split_at_checked(6).unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()) && offset.starts_with(['+', '-'])
}

fn priority(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority = number.parse().ok().filter(|priority| is_number && *priority <= PRIORITY_MAX)?;
    Some((priority, rest))
}

/// The text behind a header without the blanks and the byte order mark (RFC 5424, 6.4) in front of it.
fn bare(text: &str) -> &str {
    let text = text.trim_start_matches(' ');
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The time at the beginning of a text, and what follows it. One that cannot be known stays in the text.
fn known_time<'a>(text: &'a str, clock: Clock<'_>) -> Option<(Timestamp, &'a str)> {
    let time = times::at(text, 0, clock).filter(|time| time.has_day)?;
    Some((time.instant?, text.get(time.end..)?))
}

/// The time at the beginning of a header, and what follows the blank behind it.
fn time_and_rest<'a>(text: &'a str, clock: Clock<'_>) -> Option<(Timestamp, &'a str)> {
    let (time, rest) = known_time(text, clock)?;
    Some((time, rest.strip_prefix(' ')?))
}

/// The host, and what follows it: all, if the first word cannot be one.
fn host_and_rest(text: &str) -> (Option<&str>, &str) {
    let text = text.trim_start_matches(' ');
    let is_host =
        |name: &str| (is_name(name) || name.parse::<IpAddr>().is_ok()) && levels::named_in_place(name).is_none();
    match text.split_once(' ').filter(|(host, _)| is_host(host)) {
        Some((host, rest)) => (Some(host).filter(|host| *host != NIL), rest),
        None => (None, text),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// `program[7]: text` or `program: text`.
#[derive(Default)]
struct Tag<'a> {
    app: Option<&'a str>,
    pid: Option<&'a str>,
    /// Whether there are brackets for a process id.
    has_brackets: bool,
    /// What follows the colon.
    text: &'a str,
}

impl<'a> Tag<'a> {
    /// The tag at the beginning of a text. The name of a level is none.
    fn of(text: &'a str) -> Option<Self> {
        let text = text.trim_start_matches(' ');
        let (tag, behind) = text.split_once(':')?;
        let (app, pid) = match tag.split_once('[') {
            Some((app, pid)) => (app, Some(pid.strip_suffix(']')?)),
            None => (tag, None),
        };
        // A number is one that devices count their messages with. Parentheses: `(systemd)`.
        let is_app = is_name(app.trim_matches(['(', ')']))
            && app.bytes().any(|byte| byte.is_ascii_alphabetic())
            && app.len() <= NAME_BYTES_MAX
            && levels::named(app).is_none();
        let is_pid = pid.is_none_or(|pid| pid.is_empty() || is_name(pid));
        // `http://…` and `10:30` are not a tag.
        let is_end = pid.is_some() || behind.is_empty() || behind.starts_with(' ');
        (is_app && is_pid && is_end).then_some(Self {
            app: Some(app),
            pid: pid.filter(|pid| !pid.is_empty()),
            has_brackets: pid.is_some(),
            text: behind,
        })
    }
}

/// `[id name="value" …]…` as JSON, and what follows it (RFC 5424, 6.3).
fn structured_data(text: &str) -> Option<(String, &str)> {
    let mut elements = Fields::default();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let (id, mut behind) = element.split_at_checked(element.find([' ', ']'])?)?;
        let mut parameters = Fields::default();
        rest = loop {
            behind = behind.trim_start_matches(' ');
            if let Some(rest) = behind.strip_prefix(']') {
                break rest;
            }
            // The quotation mark behind the first equals sign that has one.
            let is_opening = |at: usize| behind.get(..at).is_some_and(|before| before.ends_with('='));
            let (at, _) = behind.match_indices('"').find(|(at, _)| is_opening(*at))?;
            let name = behind.get(..at - 1)?;
            let value = parameter_value(behind.get(at + 1..)?)?;
            parameters.push_text(name, &value.0);
            behind = value.1;
        };
        if id.is_empty() {
            return None;
        }
        elements.push_json(id, &parameters.into_json());
    }
    if elements.is_empty() {
        return None;
    }
    let json = elements.into_json();
    (json.len() <= STRUCTURED_DATA_BYTES_MAX).then_some((json, rest))
}

/// The value of a parameter behind its opening quotation mark, and what follows its closing one.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at_checked(rest.find(['"', '\\'])?)?;
        value.push_str(plain);
        if let Some(behind) = special.strip_prefix('"') {
            return Some((value, behind));
        }
        let escaped = special.get(1..)?;
        match escaped.chars().next()? {
            char @ ('"' | '\\' | ']') => {
                value.push(char);
                rest = escaped.get(1..)?;
            }
            _ => {
                value.push('\\');
                rest = escaped;
            }
        }
    }
}
