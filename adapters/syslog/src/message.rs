//! A message of syslog as an entry: RFC 5424, RFC 3164 and what devices make of it, or no header at all.

use std::borrow::Cow;

use application::ingest::{AgentEntry, JsonText, Members};
use domain::event_input::LevelInput;
use domain::level::Level;
use domain::timestamp::Timestamp;

/// Names of facilities (RFC 5424, section 6.2.1), as syslog.h has them.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Longest name of an application without a delimiter that says that it is one (RFC 5424: 48; some write more).
const TAG_BYTES_MAX: usize = 64;
/// Most bytes of an element of structured data.
const ELEMENT_BYTES_MAX: usize = 60 * 1024;
const NIL: &str = "-";

/// Reads a message. `received_at` decides the year of a time without one.
pub fn entry(text: &str, received_at: Timestamp) -> AgentEntry<'_> {
    let text = text.trim_matches(['\n', '\r', '\0', ' ']);
    let mut message = Message::default();
    let (priority, rest) = priority(text);
    let body = match rest.strip_prefix("1 ").filter(|_| priority.is_some()) {
        Some(rest) => message.rfc_5424(rest),
        None => message.rfc_3164(rest, priority.is_some(), received_at),
    };
    let mut metadata = Members::default();
    if let Some(facility) = priority.and_then(|priority| FACILITIES.get(usize::from(priority / 8))) {
        metadata.text("facility", facility);
    }
    for (name, value) in [("host", message.host), ("pid", message.pid), ("msgid", message.id)] {
        if let Some(value) = value {
            metadata.text(name, value);
        }
    }
    metadata.all(&message.data);
    AgentEntry {
        source: message.app.or(message.host).map(Cow::Borrowed),
        level: priority.map(|priority| LevelInput::Parsed(level(priority % 8))),
        message: Cow::Borrowed(body.trim_start_matches('\u{feff}')),
        timestamp: message.time,
        metadata,
        ..AgentEntry::default()
    }
}

/// The level of a severity (RFC 5424, section 6.2.1).
fn level(severity: u8) -> Level {
    match severity {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}

/// The priority in front of a message, and what follows it.
fn priority(text: &str) -> (Option<u8>, &str) {
    let parsed = text.strip_prefix('<').and_then(|rest| rest.split_once('>')).and_then(|(number, rest)| {
        let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u8 = number.parse().ok().filter(|number| is_number && *number < 192)?;
        Some((number, rest))
    });
    parsed.map_or((None, text), |(number, rest)| (Some(number), rest))
}

/// What a header says.
#[derive(Default)]
struct Message<'a> {
    time: Option<Timestamp>,
    host: Option<&'a str>,
    app: Option<&'a str>,
    pid: Option<&'a str>,
    id: Option<&'a str>,
    data: Members,
}

impl<'a> Message<'a> {
    /// Reads a header of RFC 5424 behind its version, and returns the rest.
    fn rfc_5424(&mut self, header: &'a str) -> &'a str {
        let mut fields = [NIL; 5];
        let mut rest = header;
        for field in &mut fields {
            // Without all of its fields it is none: the text is kept whole.
            let Some((value, behind)) = rest.split_once(' ') else { return header };
            (*field, rest) = (value, behind);
        }
        let [time, host, app, pid, id] = fields.map(|field| Some(field).filter(|field| *field != NIL));
        self.time = time.and_then(|time| Timestamp::parse(time).ok());
        (self.host, self.app, self.pid, self.id) = (host, app, pid, id);
        if let Some(rest) = rest.strip_prefix(NIL).filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
            return rest.trim_start_matches(' ');
        }
        let mut data = Members::default();
        match structured_data(rest, &mut data) {
            Some(behind) => {
                self.data = data;
                behind.trim_start_matches(' ')
            }
            None => rest,
        }
    }

    /// Reads a header of RFC 3164, whose every part may be absent, and returns the rest. Without priority and time
    /// there is none: a word with a colon may be anything.
    fn rfc_3164(&mut self, header: &'a str, has_priority: bool, received_at: Timestamp) -> &'a str {
        let mut rest = header;
        if let Some((time, behind)) = time(header, received_at) {
            self.time = Some(time);
            rest = behind.trim_start_matches(' ');
            // A host has no colon at its end, and a tag has.
            if let Some((host, behind)) = rest.split_once(' ')
                && !host.ends_with(':')
                && !host.ends_with(']')
            {
                self.host = Some(host).filter(|host| *host != NIL);
                rest = behind.trim_start_matches(' ');
            }
        }
        let has_header = has_priority || self.time.is_some();
        let tag = rest.split_once(':').filter(|(tag, _)| has_header && is_tag(tag));
        let Some((tag, body)) = tag else { return rest };
        match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
            Some((app, pid)) => (self.app, self.pid) = (Some(app).filter(|app| !app.is_empty()), Some(pid)),
            None => self.app = Some(tag),
        }
        body.trim_start_matches(' ')
    }
}

/// Whether a text is the name of an application, with or without a process id.
fn is_tag(tag: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./@()[]".contains(&byte);
    (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.bytes().all(fits)
}

/// The time at the beginning of a header, and what follows it: `Nov 29 08:04:20`, which is taken for UTC, or RFC 3339.
fn time(header: &str, received_at: Timestamp) -> Option<(Timestamp, &str)> {
    let (word, behind) = header.split_once(' ')?;
    if let Ok(time) = Timestamp::parse(word) {
        return Some((time, behind));
    }
    let (date, rest) = header.split_at_checked(15).filter(|(_, rest)| rest.is_empty() || rest.starts_with(' '))?;
    let (month, rest_of_date) = date.split_at_checked(3)?;
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let (day, clock) = rest_of_date.trim_start_matches(' ').split_once(' ')?;
    let received = received_at.to_string();
    let year: u32 = received.get(..4)?.parse().ok()?;
    let in_year = |year: u32| Timestamp::parse(&format!("{year:04}-{month:02}-{day:0>2}T{clock}Z")).ok();
    // A message of December that arrives in January is of last year.
    let a_day_ahead = received_at.checked_add(std::time::Duration::from_secs(24 * 3_600))?;
    let time = in_year(year).filter(|time| *time <= a_day_ahead).or_else(|| in_year(year.checked_sub(1)?))?;
    Some((time, rest))
}

/// Reads elements of structured data (RFC 5424, section 6.3) as objects under their ids, and returns what follows them.
fn structured_data<'a>(text: &'a str, members: &mut Members) -> Option<&'a str> {
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let id_bytes = element.find([' ', ']'])?;
        let (id, mut parameters) = element.split_at_checked(id_bytes)?;
        let mut object = JsonText::new(ELEMENT_BYTES_MAX);
        object.push("{");
        loop {
            parameters = parameters.trim_start_matches(' ');
            if let Some(behind) = parameters.strip_prefix(']') {
                rest = behind;
                break;
            }
            let (name, behind) = parameters.split_once("=\"")?;
            let (value, behind) = parameter_value(behind)?;
            object.push(if object.as_str().len() > 1 { "," } else { "" });
            object.push_text(name);
            object.push(":");
            object.push_text(&value);
            parameters = behind;
        }
        object.push("}");
        if object.is_cut() || id.is_empty() || members.has(id) {
            return None;
        }
        members.json(id, object.as_str());
    }
    (rest.len() < text.len()).then_some(rest)
}

/// The value of a parameter behind its opening quotation mark, and what follows its closing one.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            char => value.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn received_at() -> Timestamp {
        Timestamp::parse("2026-11-29T08:05:00Z").expect("a time")
    }

    /// Source, level, message, time and metadata.
    fn read(text: &str) -> (Option<String>, Option<Level>, String, Option<String>, String) {
        let entry = entry(text, received_at());
        let level = entry.level.and_then(|level| level.parse());
        let time = entry.timestamp.map(|time| time.to_string());
        let source = entry.source.map(Cow::into_owned);
        (source, level, entry.message.into_owned(), time, entry.metadata.into_json().unwrap_or_default())
    }

    #[test]
    fn messages_of_real_senders_are_understood() {
        let time = Some("2026-11-29T08:04:20Z");
        for (text, source, level, message, time, metadata) in [
            // logging.handlers.SysLogHandler of Python.
            ("<14>check: text\0", Some("check"), Some(Level::Info), "text", None, r#"{"facility":"user"}"#),
            // rsyslog and syslog-ng.
            (
                "<11>Nov 29 08:04:20 vm app[42]:  text\n",
                Some("app"),
                Some(Level::Error),
                "text",
                time,
                r#"{"facility":"user","host":"vm","pid":"42"}"#,
            ),
            // log/syslog of Go.
            (
                "<12>2026-11-29T08:04:20Z vm app[42]: text\n",
                Some("app"),
                Some(Level::Warn),
                "text",
                time,
                r#"{"facility":"user","host":"vm","pid":"42"}"#,
            ),
            // rfc5424-logging-handler of Python, with a byte order mark.
            (
                "<14>1 2026-11-29T08:04:20Z vm app 42 - - \u{feff}text",
                Some("app"),
                Some(Level::Info),
                "text",
                time,
                r#"{"facility":"user","host":"vm","pid":"42"}"#,
            ),
            // syslog-ng.
            (
                r#"<165>1 2026-11-29T08:04:20Z vm app - ID47 [meta sequenceId="1"][x@1 a="b\"\]" c=""] text"#,
                Some("app"),
                Some(Level::Info),
                "text",
                time,
                r#"{"facility":"local4","host":"vm","msgid":"ID47","meta":{"sequenceId":"1"},"x@1":{"a":"b\"]","c":""}}"#,
            ),
            // Fluent Bit.
            (
                "<14>1 2026-11-29T08:04:20Z - - - - - text",
                None,
                Some(Level::Info),
                "text",
                time,
                r#"{"facility":"user"}"#,
            ),
            ("header: none", None, None, "header: none", None, ""),
            ("no header: at all", None, None, "no header: at all", None, ""),
            ("<999>x y", None, None, "<999>x y", None, ""),
            (
                "<14>1 2026-11-29T08:04:20Z short",
                None,
                Some(Level::Info),
                "2026-11-29T08:04:20Z short",
                None,
                r#"{"facility":"user"}"#,
            ),
        ] {
            let expected =
                (source.map(str::to_owned), level, message.to_owned(), time.map(str::to_owned), metadata.to_owned());
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_time_without_a_year_is_the_latest_that_is_not_ahead() {
        for (text, expected) in [
            ("<14>Nov  9 01:02:03 h a: x", Some("2026-11-09T01:02:03Z")),
            ("<14>Nov 30 01:02:03 h a: x", Some("2026-11-30T01:02:03Z")),
            ("<14>Dec 31 23:59:59 h a: x", Some("2025-12-31T23:59:59Z")),
            ("<14>Foo 31 23:59:59 h a: x", None),
            ("<14>Feb 30 23:59:59 h a: x", None),
        ] {
            assert_eq!(read(text).3.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_entry(text in "\\PC{0,60}", header in "<[0-9]{1,3}>(1 )?[\\[\\]\"=\\\\a-c :-]{0,40}") {
            entry(&text, received_at());
            entry(&header, received_at());
        }
    }
}
