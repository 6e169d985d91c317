//! Lines of syslog: RFC 5424, RFC 3164 with and without its priority, the ISO times of rsyslog and journalctl, and the
//! kernel's `<4>[  12.345678] …`.
//!
//! The header becomes fields, and the message is what follows it; of a priority, the level is the severity, whatever
//! the text says.

use domain::level::Level;

use crate::draft::Draft;
use crate::fields::{Fields, quoted};
use crate::levels;
use crate::limits::bounded;
use crate::text;
use crate::times::{self, Clock};

/// Largest priority: facility 23, severity 7.
const PRIORITY_MAX: u32 = 191;
/// Longest name of a host or a program.
const NAME_BYTES_MAX: usize = 255;

/// The header of a line, and what follows it.
pub struct Line<'a> {
    /// Level, time and metadata; the message is empty.
    pub header: Draft,
    /// What the program wrote.
    pub message: &'a str,
}

/// The line, if it has a header of syslog.
pub fn line<'a>(line: &'a str, clock: Clock<'_>) -> Option<Line<'a>> {
    let Some((priority, rest)) = priority(line) else { return without_priority(line, clock, None) };
    if let Some(rest) = rest.strip_prefix("1 ") {
        return rfc_5424(priority, rest, clock);
    }
    if let Some(line) = without_priority(rest, clock, Some(priority)) {
        return Some(line);
    }
    let mut fields = Fields::default();
    push_facility(&mut fields, priority);
    let metadata = fields.into_metadata().ok()?;
    // Devices leave out the host, or write their own header.
    let time = text::head(rest, clock).time;
    Some(Line { header: Draft { level: level(priority), time, metadata, ..Draft::default() }, message: rest })
}

fn level(priority: u32) -> Option<Level> {
    levels::of_syslog(i64::from(priority % 8))
}

fn priority(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority = number.parse().ok().filter(|priority| is_number && *priority <= PRIORITY_MAX)?;
    Some((priority, rest))
}

/// The names of RFC 5424, table 1, as syslog.conf has them.
fn push_facility(fields: &mut Fields, priority: u32) {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
        "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];
    if let Some(name) = usize::try_from(priority / 8).ok().and_then(|number| NAMES.get(number)) {
        fields.push_text("facility", name);
    }
}

/// `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG` (RFC 5424, 6).
fn rfc_5424<'a>(priority: u32, text: &'a str, clock: Clock<'_>) -> Option<Line<'a>> {
    let mut parts = text.splitn(6, ' ');
    let time = parts.next()?;
    let names = ["hostname", "app", "pid", "messageId"];
    let mut fields = Fields::default();
    for name in names {
        let value = parts.next()?;
        if value.len() > NAME_BYTES_MAX {
            return None;
        }
        if value != "-" {
            fields.push_number_or_text(name, value);
        }
    }
    push_facility(&mut fields, priority);
    let rest = parts.next().unwrap_or("-");
    let (data, message) = match rest.strip_prefix('-') {
        Some(message) => (Fields::default(), message),
        // Some senders leave the structured data out.
        None => structured_data(rest).unwrap_or((Fields::default(), rest)),
    };
    if !data.is_empty() {
        fields.push_json("structuredData", &data.into_json());
    }
    let message = message.trim_start_matches(' ');
    let message = message.strip_prefix('\u{feff}').unwrap_or(message);
    let instant = times::whole(time, clock);
    if time != "-" && instant.is_none() {
        return None;
    }
    let metadata = fields.into_metadata().ok()?;
    Some(Line { header: Draft { level: level(priority), time: instant, metadata, ..Draft::default() }, message })
}

/// `[id name="value" …]…` and what follows it (RFC 5424, 6.3).
fn structured_data(text: &str) -> Option<(Fields, &str)> {
    let mut elements = Fields::default();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let id_end = element.find([' ', ']'])?;
        let (id, behind) = element.split_at_checked(id_end)?;
        let mut parameters = Fields::default();
        rest = behind;
        while let Some(parameter) = rest.strip_prefix(' ') {
            let (name, behind) = parameter.split_once("=\"")?;
            let mut is_escape = false;
            let end = behind.bytes().position(|byte| {
                let ends = byte == b'"' && !is_escape;
                is_escape = byte == b'\\' && !is_escape;
                ends
            })?;
            let (value, behind) = behind.split_at_checked(end)?;
            parameters.push_json(name, &quoted(&value.replace("\\\"", "\"").replace("\\]", "]").replace("\\\\", "\\")));
            rest = behind.get(1..)?;
        }
        rest = rest.strip_prefix(']')?;
        elements.push_json(id, &parameters.into_json());
    }
    (!elements.is_empty()).then_some((elements, rest))
}

/// `Jan 15 10:30:00 host program[7]: message`. With a time of another form, the number of the process is what
/// distinguishes the line from other text.
fn without_priority<'a>(text: &'a str, clock: Clock<'_>, priority: Option<u32>) -> Option<Line<'a>> {
    let first = *text.as_bytes().first()?;
    if !first.is_ascii_alphanumeric() {
        return None;
    }
    let time = times::at(text, 0, clock).filter(|time| time.has_day)?;
    let rest = text.get(time.end..)?.strip_prefix(' ')?;
    let (host, rest) = rest.split_once(' ')?;
    let is_name = |name: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'@'))
    };
    let is_host = |name: &str| is_name(name) || name.parse::<std::net::IpAddr>().is_ok();
    if !is_host(host) || levels::named_in_place(host).is_some() {
        return None;
    }
    let (tag, message) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
    let (app, pid) = match tag.split_once('[') {
        Some((app, pid)) => (app, Some(pid.strip_suffix(']')?)),
        None => (tag, None),
    };
    let is_rfc_3164 = first.is_ascii_alphabetic() || priority.is_some();
    if !is_name(app) || (pid.is_none() && !is_rfc_3164 && app != "kernel") {
        return None;
    }
    let mut fields = Fields::default();
    fields.push_text("hostname", host);
    fields.push_text("app", app);
    if let Some(pid) = pid {
        fields.push_number_or_text("pid", pid);
    }
    if let Some(priority) = priority {
        push_facility(&mut fields, priority);
    }
    let metadata = fields.into_metadata().ok()?;
    let header = Draft { level: priority.and_then(level), time: time.instant, metadata, ..Draft::default() };
    Some(Line { header, message: message.trim_start_matches(' ') })
}

/// The message of a line whose program wrote nothing.
pub fn or_whole(message: &str, whole: &str) -> String {
    bounded(if message.trim().is_empty() { whole } else { message })
}
