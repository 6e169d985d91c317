//! A line of a log becomes an event of the API.
//!
//! * Every line becomes an event: what is not understood stays in the text, or in the metadata under the name
//!   that it had. Nothing here fails, and nothing here reads a clock or makes an identifier.
//! * Only the first [`BEGINNING_CHARS`] characters are searched for a level and a time: further on, such words
//!   are what the line is about and not what it is.
//! * An event never breaks a rule of the API by its form (a level that is none, a source that is a number); only
//!   the limits on sizes are left to the server, which can say better what they are.

use domain::Uuid;
use domain::level::Level;
use domain::timestamp::Timestamp;
use regex::{Captures, Regex};
use serde_json::{Map, Value};
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// How much of a line is searched for a level and a time.
const BEGINNING_CHARS: usize = 160;
/// Longest name of a source that the API takes.
const SOURCE_BYTES_MAX: usize = 255;

const DAY_MICROS: i64 = 86_400_000_000;

/// Members that carry a level, the contract's own name first; any case will do.
const LEVEL_MEMBERS: &[&str] = &["level", "severity", "lvl", "loglevel", "log.level", "levelname"];
/// Members that carry the text.
const MESSAGE_MEMBERS: &[&str] = &["message", "msg", "log", "event", "text"];
/// Members that carry the time.
const TIMESTAMP_MEMBERS: &[&str] = &["timestamp", "time", "ts", "@timestamp", "datetime"];
/// Members that carry the source.
const SOURCE_MEMBERS: &[&str] = &["source", "service", "app"];

/// What may stand before a level or a time: nothing, no part of a word, number or path, or a change of colour.
const BEFORE: &str = r"(?:^|[^0-9A-Za-z_.:/-]|\x1b\[[0-9;]*m)";
const AFTER: &str = r"(?:$|[^0-9A-Za-z_])";
const CLOCK: &str = r"(?<hour>[0-9]{2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2})(?:[.,](?<fraction>[0-9]{1,9}))?";
const ZONE: &str = r"(?: ?(?<zone>[Zz]|UTC|GMT|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9]))?";

/// An event, ready to be sent.
#[derive(Debug)]
pub struct Event {
    /// The event as one line of JSON, as the API takes it.
    pub json: String,
    /// Its level.
    pub level: Level,
    /// Whether the level stood in the line, and is not the default.
    pub level_found: bool,
    /// Whether the time stood in the line: otherwise the server takes the time of receipt.
    pub time_found: bool,
}

/// Where an event comes from, and what only the caller can know.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Source of events that name none.
    pub source: &'a str,
    /// Identifier of the event, if the line brings none.
    pub event_id: Uuid,
    /// The present: times without a year are put next to it.
    pub now: Timestamp,
}

/// Finds levels and times in lines.
#[derive(Debug)]
pub struct LineParser {
    default_level: Level,
    /// Of times that do not say one.
    offset: UtcOffset,
    level: Regex,
    glog: Regex,
    times: Vec<Regex>,
}

impl LineParser {
    /// A parser that gives `default_level` to lines without a level and `offset` to times without one.
    ///
    /// # Errors
    /// Never in practice: the patterns are constants.
    pub fn new(default_level: Level, offset: UtcOffset) -> Result<Self, regex::Error> {
        let level = [
            // logfmt, and JSON behind something else: level=warn, "level":"warn"
            r#"(?:^|[^0-9A-Za-z_])(?:(?i-u:level|lvl|severity|loglevel|levelname)=|"(?i-u:level|severity)" ?: ?)"?([A-Za-z]+)"#,
            // nginx, Apache: [error], [core:error]
            r"\[ *(?:[0-9A-Za-z_]*:)?([A-Za-z]+) *\]",
            // log4j, logback, Python: ERROR, but not /ERROR, ERRORS or error
            r#"(?:^|[ \t\[(<|:"'=-]|\x1b\[[0-9;]*m)([A-Z]{3,9})(?:$|[ \t\[\])>|:,;"'/\x1b-])"#,
        ]
        .join("|");
        // klog and glog: I0115 10:30:00.123456, I20240115 10:30:00.123456
        let glog = [r"^[IWEF](?<year>[0-9]{4})?(?<month>[0-9]{2})(?<day>[0-9]{2}) +", CLOCK, AFTER].concat();
        let times = [
            // RFC 3339, ISO 8601, log4j, nginx: 2024-01-15T10:30:00.123Z, 2024-01-15 10:30:00,123, 2024/01/15 10:30:00
            [BEFORE, r"(?<year>[0-9]{4})[/-](?<month>[0-9]{2})[/-](?<day>[0-9]{2})[Tt ]", CLOCK, ZONE, AFTER].concat(),
            // Access logs, Tomcat: 10/Oct/2000:13:55:36 -0700, 10-Oct-2000 13:55:36.123
            [BEFORE, r"(?<day>[0-9]{2})[/-](?<month>[A-Z][a-z]{2})[/-](?<year>[0-9]{4})[: ]", CLOCK, ZONE, AFTER]
                .concat(),
            // syslog, C: Jan  2 15:04:05, Jan  2 15:04:05 2024
            [
                BEFORE,
                r"(?<month>[A-Z][a-z]{2}) {1,2}(?<day>[0-9]{1,2}) ",
                CLOCK,
                r"(?: (?<year>(?:19|20)[0-9]{2}))?",
                AFTER,
            ]
            .concat(),
            glog.clone(),
            // Squid, logfmt: 1705314600.123
            [r"^(?:(?:ts|time)=)?(?<epoch>[0-9]{9,10}\.[0-9]{1,9})", AFTER].concat(),
        ];
        let times = times.iter().map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { default_level, offset, level: Regex::new(&level)?, glog: Regex::new(&glog)?, times })
    }

    /// The event that `line`, without its line end, stands for.
    #[must_use]
    pub fn event(&self, line: &[u8], origin: Origin<'_>) -> Event {
        let text = String::from_utf8_lossy(line);
        let object = text.trim_start().starts_with('{').then(|| serde_json::from_str(&text).ok()).flatten();
        let fields = match object {
            Some(members) => self.fields_of_object(members, &text, origin.now),
            None => self.fields_of_text(&text, origin.now),
        };
        let level = fields.level.unwrap_or(self.default_level);
        let mut event = Map::new();
        event.insert("source".to_owned(), fields.source.unwrap_or_else(|| origin.source.to_owned()).into());
        event.insert("level".to_owned(), level.name().into());
        event.insert("message".to_owned(), fields.message.into());
        if let Some(timestamp) = fields.timestamp {
            event.insert("timestamp".to_owned(), timestamp.to_string().into());
        }
        event.insert("eventId".to_owned(), fields.event_id.unwrap_or(origin.event_id).to_string().into());
        event.extend(fields.others);
        Event {
            json: Value::Object(event).to_string(),
            level,
            level_found: fields.level.is_some(),
            time_found: fields.timestamp.is_some(),
        }
    }

    fn fields_of_text(&self, text: &str, now: Timestamp) -> Fields {
        let (level, timestamp) = (self.level_in(text), self.time_in(text, now));
        Fields { message: text.to_owned(), level, timestamp, source: None, event_id: None, others: Map::new() }
    }

    fn fields_of_object(&self, mut members: Map<String, Value>, line: &str, now: Timestamp) -> Fields {
        members.retain(|_, value| !value.is_null());
        let level = take(&mut members, LEVEL_MEMBERS, level_of);
        let timestamp = take(&mut members, TIMESTAMP_MEMBERS, |value| self.time_of(value, now));
        let source = take(&mut members, SOURCE_MEMBERS, source_of);
        let message = take(&mut members, MESSAGE_MEMBERS, message_of);
        let event_id = take(&mut members, &["eventId"], |value| Uuid::try_parse(value.as_str()?).ok());
        // What a container runtime has wrapped is a line of its own.
        let inner = message.as_deref().unwrap_or_default();
        Fields {
            level: level.or_else(|| self.level_in(inner)),
            timestamp: timestamp.or_else(|| self.time_in(inner, now)),
            source,
            event_id,
            message: message.unwrap_or_else(|| line.to_owned()),
            others: other_fields(members),
        }
    }

    fn level_in(&self, text: &str) -> Option<Level> {
        let text = beginning(text);
        let explicit = level_of_priority(text).or_else(|| self.level_of_glog(text));
        explicit.or_else(|| {
            let mut words = self.level.captures_iter(text).filter_map(|found| found.iter().skip(1).flatten().next());
            words.find_map(|word| level_named(word.as_str()))
        })
    }

    fn level_of_glog(&self, text: &str) -> Option<Level> {
        if !self.glog.is_match(text) {
            return None;
        }
        match text.bytes().next()? {
            b'I' => Some(Level::Info),
            b'W' => Some(Level::Warn),
            b'E' => Some(Level::Error),
            _ => Some(Level::Fatal),
        }
    }

    /// The first possible time in the beginning of `text`, whatever its format.
    fn time_in(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let text = beginning(text);
        let first_of = |format: &Regex| {
            format.captures_iter(text).find_map(|found| Some((found.get(0)?.start(), self.time(&found, now)?)))
        };
        self.times.iter().filter_map(first_of).min_by_key(|(start, _)| *start).map(|(_, time)| time)
    }

    /// The time of a member: a number counts from the Unix epoch, text may have any format that a line may have.
    fn time_of(&self, value: &Value, now: Timestamp) -> Option<Timestamp> {
        match value {
            Value::Number(number) => time_of_epoch(&number.to_string()),
            Value::String(text) => time_of_epoch(text).or_else(|| self.time_in(text, now)),
            _ => None,
        }
    }

    /// The time that a pattern found, unless there is no such day, hour or minute.
    fn time(&self, found: &Captures<'_>, now: Timestamp) -> Option<Timestamp> {
        let text = |name| found.name(name).map(|part| part.as_str());
        let number = |name| text(name)?.parse::<u8>().ok();
        if let Some(epoch) = text("epoch") {
            return time_of_epoch(epoch);
        }
        let micros = micros_of(text("fraction").unwrap_or_default());
        let time = Time::from_hms(number("hour")?, number("minute")?, number("second")?).ok()?;
        let (month, day) = (month_named(text("month")?)?, number("day")?);
        let offset = text("zone").and_then(|zone| parse_offset(zone).ok()).unwrap_or(self.offset);
        let in_year = |year| {
            let date = Date::from_calendar_date(year, month, day).ok()?;
            let seconds = PrimitiveDateTime::new(date, time).assume_offset(offset).unix_timestamp();
            Timestamp::from_unix_micros(seconds * 1_000_000 + i64::from(micros)).ok()
        };
        match text("year") {
            Some(year) => in_year(year.parse().ok()?),
            None => latest_until_tomorrow(in_year, now),
        }
    }
}

/// What a line says.
struct Fields {
    level: Option<Level>,
    timestamp: Option<Timestamp>,
    source: Option<String>,
    event_id: Option<Uuid>,
    message: String,
    /// Fields of the contract that are optional, ready to be sent.
    others: Map<String, Value>,
}

/// Takes the first of `names` that is there and is understood; what is not understood stays.
fn take<T>(members: &mut Map<String, Value>, names: &[&str], understand: impl Fn(&Value) -> Option<T>) -> Option<T> {
    names.iter().find_map(|name| {
        let (key, value) = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        let (key, understood) = (key.clone(), understand(value)?);
        members.shift_remove(&key);
        Some(understood)
    })
}

/// The optional fields of the contract. Members that belong to none of them join the metadata here and not on
/// the server, which would have to refuse a `level` that is no level or a name that is there already.
fn other_fields(mut members: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    let identifier = |digits| move |value: &Value| hexadecimal(value, digits);
    let stack_trace = take(&mut members, &["stackTrace"], |value| value.is_string().then(|| value.clone()));
    let trace_id = take(&mut members, &["traceId"], identifier(32));
    let span_id = take(&mut members, &["spanId"], identifier(16));
    for (name, value) in [("stackTrace", stack_trace), ("traceId", trace_id), ("spanId", span_id)] {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    let mut metadata = take(&mut members, &["metadata"], |value| value.as_object().cloned()).unwrap_or_default();
    for (mut name, value) in members {
        while metadata.contains_key(&name) {
            name.push('_');
        }
        metadata.insert(name, value);
    }
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), metadata.into());
    }
    fields
}

fn hexadecimal(value: &Value, digits: usize) -> Option<Value> {
    let text = value.as_str()?;
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| value.clone())
}

/// The level of a member: a name, or a number as bunyan and pino write it (10 is TRACE, 60 is FATAL).
fn level_of(value: &Value) -> Option<Level> {
    match value {
        Value::String(text) => level_named(text.trim()),
        Value::Number(number) => {
            let number = number.as_i64().filter(|number| (10..=60).contains(number))?;
            Level::from_number(number / 10 - 1)
        }
        _ => None,
    }
}

fn source_of(value: &Value) -> Option<String> {
    value.as_str().filter(|name| is_source(name)).map(str::to_owned)
}

/// Container runtimes keep the line end.
fn message_of(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether the API takes `name` as a source.
#[must_use]
pub fn is_source(name: &str) -> bool {
    (1..=SOURCE_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Reads an offset from UTC: `+02:00`, `-0500`, `Z`, `UTC` or `GMT`.
///
/// # Errors
/// Any other text, and offsets that no place on earth has.
pub fn parse_offset(text: &str) -> Result<UtcOffset, InvalidOffset> {
    if ["Z", "UTC", "GMT"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Ok(UtcOffset::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits.replacen(':', "", 1)),
        Some(("-", digits)) => (-1, digits.replacen(':', "", 1)),
        _ => return Err(InvalidOffset),
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidOffset);
    }
    let number: i16 = digits.parse().map_err(|_| InvalidOffset)?;
    let part = |value: i16| i8::try_from(sign * value).map_err(|_| InvalidOffset);
    let (hours, minutes) = (number / 100, number % 100);
    if hours > 14 {
        return Err(InvalidOffset);
    }
    UtcOffset::from_hms(part(hours)?, part(minutes)?, 0).map_err(|_| InvalidOffset)
}

/// The text is no offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an offset from UTC, such as +02:00 or -05:00")]
pub struct InvalidOffset;

fn beginning(text: &str) -> &str {
    text.char_indices().nth(BEGINNING_CHARS).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

fn level_named(word: &str) -> Option<Level> {
    Level::parse(word).ok().or_else(|| match word.to_ascii_uppercase().as_str() {
        "NOTICE" => Some(Level::Info),
        "ERR" | "SEVERE" => Some(Level::Error),
        "CRIT" | "EMERG" | "PANIC" => Some(Level::Fatal),
        _ => None,
    })
}

/// The severity in the priority that begins a syslog line (RFC 5424, section 6.2.1): `<34>`.
fn level_of_priority(text: &str) -> Option<Level> {
    let (number, _) = text.strip_prefix('<')?.split_once('>')?;
    let priority = number.parse::<u8>().ok().filter(|priority| *priority <= 191)?;
    Some(match priority % 8 {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    })
}

fn month_named(text: &str) -> Option<Month> {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let position = NAMES.iter().position(|name| *name == text).map(|position| position + 1);
    let number = position.or_else(|| text.parse().ok())?;
    Month::try_from(u8::try_from(number).ok()?).ok()
}

/// The latest year in which the time is no more than a day ahead of `now`: clocks and offsets differ, but nobody
/// logs the future.
fn latest_until_tomorrow(in_year: impl Fn(i32) -> Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let seconds = now.unix_micros().div_euclid(1_000_000);
    let year = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?.year();
    let years = [year + 1, year, year - 1];
    years.into_iter().filter_map(in_year).find(|time| time.unix_micros() - now.unix_micros() <= DAY_MICROS)
}

/// A time since the Unix epoch in seconds, milliseconds, microseconds or nanoseconds: its size tells which.
/// Numbers below 100,000,000 are no time (seconds of 1973) but a duration or a count.
fn time_of_epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = i64::from(micros_of(fraction));
    let micros = match whole {
        100_000_000..100_000_000_000 => whole * 1_000_000 + fraction,
        100_000_000_000..100_000_000_000_000 => whole * 1_000 + fraction / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => whole,
        100_000_000_000_000_000.. => whole / 1_000,
        _ => return None,
    };
    Timestamp::from_unix_micros(micros).ok()
}

/// Microseconds of the digits behind a decimal point.
fn micros_of(fraction: &str) -> u32 {
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Level = Level::Debug;

    /// Lines, and the level and time that they must yield (`-` for none), as of 2024-06-01 and UTC+1.
    const LINES: &[(&str, &str, &str)] = &[
        // log4j, logback, slf4j, java.util.logging
        ("2015-10-18 18:01:47,978 INFO [main] a.b.Master: Created", "INFO", "2015-10-18T17:01:47.978Z"),
        ("2024-01-15 10:30:00.123  WARN 4711 --- [nio-1] c.e.App : slow", "WARN", "2024-01-15T09:30:00.123Z"),
        ("2015-07-29 17:41:44,747 - ERROR [Peer[id=1]/0:0:0:0:2181:F@774] - x", "ERROR", "2015-07-29T16:41:44.747Z"),
        ("[2024-01-15T10:30:00,123+0200][TRACE][o.e.n.Node] started", "TRACE", "2024-01-15T08:30:00.123Z"),
        ("15-Jan-2024 10:30:00.123 SEVERE [main] o.a.c.Server failed", "ERROR", "2024-01-15T09:30:00.123Z"),
        ("[INFO ] no time here", "INFO", "-"),
        // Python, OpenStack, Celery
        ("WARNING:root:disk is nearly full", "WARN", "-"),
        ("2024-01-15 10:30:00,123 - app - CRITICAL - gone", "FATAL", "2024-01-15T09:30:00.123Z"),
        ("api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25 INFO x", "INFO", "2017-05-15T23:00:00.008Z"),
        ("[2024-01-15 10:30:00,123: WARNING/MainProcess] late", "WARN", "2024-01-15T09:30:00.123Z"),
        // Rust, Go, with and without colours
        ("2024-01-15T10:30:00.123456Z  INFO app: listening", "INFO", "2024-01-15T10:30:00.123456Z"),
        ("\x1b[2m2024-01-15T10:30:00Z\x1b[0m \x1b[31mERROR\x1b[0m app: x", "ERROR", "2024-01-15T10:30:00Z"),
        ("2024/01/15 10:30:00 http: server closed", "-", "2024-01-15T09:30:00Z"),
        ("WARN[0042] retrying", "WARN", "-"),
        ("time=\"2024-01-15T10:30:00-05:00\" level=warning msg=\"x\"", "WARN", "2024-01-15T15:30:00Z"),
        ("ts=1705314600.5 lvl=err msg=x", "ERROR", "2024-01-15T10:30:00.5Z"),
        ("E0115 10:30:00.123456    4711 pod.go:12] failed", "ERROR", "2024-01-15T09:30:00.123456Z"),
        ("F20231231 23:59:59.999999 7 main.cc:1] Check failed", "FATAL", "2023-12-31T22:59:59.999999Z"),
        // Web servers and databases
        ("2024/01/15 10:30:00 [error] 7#7: *1 open() failed", "ERROR", "2024-01-15T09:30:00Z"),
        ("10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /ERROR HTTP/1.0\" 200 1", "-", "2000-10-10T20:55:36Z"),
        ("[Wed Oct 11 14:32:52.123456 2000] [core:crit] [pid 7] x", "FATAL", "2000-10-11T13:32:52.123456Z"),
        ("1705314600.123     45 10.0.0.1 TCP_MISS/200", "-", "2024-01-15T10:30:00.123Z"),
        ("2024-01-15 10:30:00.123 UTC [7] FATAL:  too many clients", "FATAL", "2024-01-15T10:30:00.123Z"),
        ("2024-01-15T10:30:00.123456Z 0 [Note] mysqld: ready", "-", "2024-01-15T10:30:00.123456Z"),
        ("=ERROR REPORT==== 15-Jan-2024::10:30:00 ===", "ERROR", "-"),
        // syslog
        ("Jan  2 15:04:05 host sshd[7]: accepted", "-", "2024-01-02T14:04:05Z"),
        ("Jan  2 15:04:05 host app: NOTICE: not 2024-03-01 10:00:00 any more", "INFO", "2024-01-02T14:04:05Z"),
        ("<34>Oct 11 22:14:15 host su: failed", "FATAL", "2023-10-11T21:14:15Z"),
        ("<165>1 2003-10-11T22:14:15.003Z host app - ID47 - x", "INFO", "2003-10-11T22:14:15.003Z"),
        ("<3>the unit failed", "ERROR", "-"),
        ("Jun  2 00:30:00 host app: NOTICE a day ahead", "INFO", "2024-06-01T23:30:00Z"),
        ("Jun  2 01:30:00 host app: more than a day ahead", "-", "2023-06-02T00:30:00Z"),
        ("Feb 29 10:30:00 host app: in a leap year", "-", "2024-02-29T09:30:00Z"),
        ("web_1  | 2024-01-15 10:30:00 +0200 EMERG x", "FATAL", "2024-01-15T08:30:00Z"),
        // Neither level nor time
        ("an error is no warning, and info is no level", "-", "-"),
        ("Error: lower case, and ERRORS, WARN_MAX=3, /INFO, INFO.txt", "-", "-"),
        ("2024-02-30 10:30:00 there is no such day", "-", "-"),
        ("2024-01-15 24:00:00 nor such an hour", "-", "-"),
        ("Feb 30 10:30:00 nor this", "-", "-"),
        ("version 12024-01-15 10:30:00 or 2024-01-15 10:30:001", "-", "-"),
        ("<192>there is no such priority", "-", "-"),
        ("X0115 10:30:00.123456 no glog", "-", "-"),
        ("took 1705314600.123 somewhere in the line", "-", "-"),
        ("{not JSON [warn]", "WARN", "-"),
        ("", "-", "-"),
        // JSON
        (r#"{"level":"warn","ts":1705314600.123,"msg":"x"}"#, "WARN", "2024-01-15T10:30:00.123Z"),
        (r#"{"level":50,"time":1705314600123,"pid":1,"msg":"x"}"#, "ERROR", "2024-01-15T10:30:00.123Z"),
        (r#"{"Severity":"NOTICE","@timestamp":"2024-01-15 10:30:00,5"}"#, "INFO", "2024-01-15T09:30:00.5Z"),
        (r#"{"log":"E0115 10:30:00.5 1 a.go:1] x\n","stream":"stderr"}"#, "ERROR", "2024-01-15T09:30:00.5Z"),
        (r#"{"level":70,"ts":"1705314600123456789"}"#, "-", "2024-01-15T10:30:00.123456Z"),
        (r#"{"levelname":"INFO","time":1705314600123456,"took":3}"#, "INFO", "2024-01-15T10:30:00.123456Z"),
        (r#"{"time":12.5,"event":"a duration is no time"}"#, "-", "-"),
        (r#"{"message":"half a pair \ud800","level":"ERROR"}"#, "ERROR", "-"),
    ];

    fn parser() -> LineParser {
        LineParser::new(DEFAULT, UtcOffset::from_hms(1, 0, 0).unwrap()).unwrap()
    }

    fn event(line: &[u8]) -> (Event, Value) {
        event_of(&parser(), line)
    }

    fn event_of(parser: &LineParser, line: &[u8]) -> (Event, Value) {
        let now = Timestamp::parse("2024-06-01T00:00:00Z").unwrap();
        let event = parser.event(line, Origin { source: "here", event_id: Uuid::nil(), now });
        let json = serde_json::from_str(&event.json).unwrap();
        (event, json)
    }

    /// Everything but the identifier.
    fn parsed(line: &str) -> Value {
        let (_, mut json) = event(line.as_bytes());
        json.as_object_mut().unwrap().shift_remove("eventId");
        json
    }

    #[test]
    fn levels_and_times_are_found_where_they_are_and_nowhere_else() {
        for (line, level, time) in LINES {
            let (event, json) = event(line.as_bytes());
            let found = if event.level_found { event.level.name() } else { "-" };
            assert_eq!((found, json["timestamp"].as_str().unwrap_or("-")), (*level, *time), "{line}");
            assert_eq!(json["level"], if event.level_found { found } else { DEFAULT.name() }, "{line}");
            assert_eq!(event.time_found, *time != "-", "{line}");
        }
    }

    #[test]
    fn only_the_beginning_is_searched() {
        let (found, _) = event(format!("{} ERROR 2024-01-15 10:30:00 x", "ä".repeat(120)).as_bytes());
        assert!(found.level_found && found.time_found);
        let (found, _) = event(format!("{} ERROR 2024-01-15 10:30:00", "ä".repeat(160)).as_bytes());
        assert!(!found.level_found && !found.time_found);
    }

    #[test]
    fn the_message_of_a_plain_line_is_the_line() {
        for (line, ..) in LINES.iter().filter(|(line, ..)| !line.starts_with('{')) {
            assert_eq!(event(line.as_bytes()).1["message"], *line);
        }
        assert_eq!(event(b"a\xff\0b").1["message"], "a\u{fffd}\0b");
    }

    #[test]
    fn any_damage_to_a_line_still_leaves_an_event() {
        let parser = parser();
        for (line, ..) in LINES {
            for position in 0..line.len() {
                let replace = |byte| [&line.as_bytes()[..position], byte, &line.as_bytes()[position + 1..]].concat();
                let cut = line.as_bytes()[..position].to_vec();
                for damaged in [cut, replace(b"\""), replace(b"}"), replace(b"9"), replace(b"\0"), replace(b"\xFF")] {
                    let (_, json) = event_of(&parser, &damaged);
                    assert!(json["source"].is_string() && json["message"].is_string(), "{line} at {position}");
                    Level::parse(json["level"].as_str().unwrap()).unwrap();
                    Uuid::try_parse(json["eventId"].as_str().unwrap()).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_object_is_an_event_with_the_names_of_the_contract() {
        let line = r#"{"service":"shop","severity":"error","msg":"boom","time":"2024-01-15T10:30:00Z","user":7,"a":null,
            "traceId":"0123456789abcdef0123456789ABCDEF","spanId":"0123456789abcdef","stackTrace":"at x","metadata":{"k":[1.50]}}"#;
        let expected = serde_json::json!({
            "source": "shop", "level": "ERROR", "message": "boom", "timestamp": "2024-01-15T10:30:00Z",
            "stackTrace": "at x", "traceId": "0123456789abcdef0123456789ABCDEF", "spanId": "0123456789abcdef",
            "metadata": { "k": [1.5], "user": 7 },
        });
        assert_eq!(parsed(line), expected);
    }

    #[test]
    fn the_names_of_the_contract_come_first_and_the_others_stay() {
        let json = parsed(r#"{"msg":"a","message":"b","severity":"WARN","level":"INFO","app":"c","source":"d"}"#);
        assert_eq!((&json["message"], &json["level"], &json["source"]), (&"b".into(), &"INFO".into(), &"d".into()));
        assert_eq!(json["metadata"], serde_json::json!({ "msg": "a", "severity": "WARN", "app": "c" }));
    }

    #[test]
    fn what_is_not_understood_stays_in_the_metadata_under_its_name() {
        let line = r#"{"level":"loud","message":7,"timestamp":"soon","source":"","eventId":1,"traceId":"x","spanId":[],"stackTrace":{},"metadata":"m"}"#;
        let expected = serde_json::json!({
            "source": "here", "level": "DEBUG", "message": line,
            "metadata": serde_json::from_str::<Value>(line).unwrap(),
        });
        assert_eq!(parsed(line), expected);
        let json = parsed(r#"{"msg":"x","user":1,"metadata":{"user":2}}"#);
        assert_eq!(json["metadata"], serde_json::json!({ "user": 2, "user_": 1 }));
    }

    #[test]
    fn an_identifier_in_the_line_is_the_identifier_of_the_event() {
        let id = "01a20f37-31cf-76dd-a6da-0300122616c3";
        assert_eq!(event(format!(r#"{{"eventId":"{id}","msg":"x"}}"#).as_bytes()).1["eventId"], id);
        assert_eq!(event(b"x").1["eventId"], Uuid::nil().to_string());
    }

    #[test]
    fn offsets_are_read_in_all_their_spellings() {
        for (text, seconds) in [("+02:00", 7_200), ("-0530", -19_800), ("Z", 0), ("utc", 0), ("-00:30", -1_800)] {
            assert_eq!(parse_offset(text).map(UtcOffset::whole_seconds), Ok(seconds), "{text}");
        }
        for text in ["", "2", "02:00", "+2:00", "+15:00", "+01:60", "+a1:00", "ä"] {
            assert_eq!(parse_offset(text), Err(InvalidOffset), "{text}");
        }
    }
}
