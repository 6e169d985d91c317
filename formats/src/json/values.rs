//! The values of members, as fields of an event.

use std::borrow::Cow;

use domain::level::Level;
use domain::metadata::{JsonKind, JsonValue};
use domain::timestamp::Timestamp;

use super::text_of;
use crate::ansi;
use crate::draft::hexadecimal;
use crate::levels;
use crate::times::{self, Clock};

/// What the members of an object show about its format, which decides what numbers mean.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// GELF: levels are those of syslog.
    gelf: bool,
    /// Serilog's compact format leaves the level out for information.
    compact_serilog: bool,
    /// MongoDB: `s` is the severity.
    mongodb: bool,
    /// An event of Kubernetes: `type` is `Warning` or `Normal`.
    kubernetes_event: bool,
    /// OpenTelemetry.
    opentelemetry: bool,
}

impl Dialect {
    pub fn new(has: impl Fn(&str) -> bool, kind: Option<JsonValue<'_>>) -> Self {
        Self {
            gelf: has("short_message"),
            compact_serilog: has("@t") && (has("@mt") || has("@m")),
            mongodb: has("t") && has("s") && has("c"),
            kubernetes_event: kind.is_some_and(|kind| kind.plain() == "Event"),
            opentelemetry: has("severityNumber") || has("SeverityNumber") || has("severity_number"),
        }
    }

    /// The level of an object that states none.
    pub fn default_level(self) -> Option<Level> {
        self.compact_serilog.then_some(Level::Info)
    }

    /// The level in the member of this name.
    pub fn level(self, name: &str, is_inner: bool, value: JsonValue<'_>) -> Option<Level> {
        let lower = lower(name);
        let is_number = value.kind() == JsonKind::Number || self.gelf;
        let number = || value.plain().parse::<i64>().ok();
        match lower.as_ref() {
            "s" if !self.mongodb => None,
            "type" if !self.kubernetes_event => None,
            "priority" => number().map_or_else(|| levels::of_value(&text_of(value)?), levels::of_syslog),
            "severitynumber" | "severity_number" => number().map_or_else(
                // The name of the number in the protocol: `SEVERITY_NUMBER_WARN2`
                || levels::named(value.plain().strip_prefix("SEVERITY_NUMBER_")?.trim_end_matches(['2', '3', '4'])),
                levels::of_opentelemetry,
            ),
            "severity" if self.opentelemetry && is_number => levels::of_opentelemetry(number()?),
            "levelno" => levels::of_python(number()?),
            "level" if self.gelf => number().map_or_else(|| levels::of_value(&text_of(value)?), levels::of_syslog),
            // Loguru: `{"name": "ERROR", "no": 40}`
            _ if value.kind() == JsonKind::Object => levels::of_value(&text_of(member(value, "name")?)?),
            _ if is_number && !is_inner => {
                let number = number()?;
                levels::of_tens(number).or_else(|| levels::of_hundreds(number))
            }
            // winston colours the level.
            _ => levels::of_value(&ansi::removed(&text_of(value)?)),
        }
    }
}

/// Whether a level as it is written says more than the level of the event, such as `notice` or `ERROR+2`.
pub fn keeps_more_than(value: JsonValue<'_>, level: Level) -> bool {
    const SAME: [&str; 14] =
        ["ERR", "WRN", "INF", "DBG", "TRC", "FTL", "INFORMATION", "INFORMATIONAL", "E", "W", "I", "D", "T", "F"];
    let text = value.plain();
    if text.eq_ignore_ascii_case(level.name()) {
        return false;
    }
    let text = ansi::removed(&text);
    let is_name = |text: &str| {
        matches!(text.to_ascii_uppercase().as_str(), "WARNING" | "CRITICAL") || text.eq_ignore_ascii_case(level.name())
    };
    let is_tens = text.parse() == Ok(i64::from(level.number() + 1) * 10);
    !(is_name(&text) || is_tens || SAME.iter().any(|same| text.eq_ignore_ascii_case(same)))
}

/// The time that a value is: a text, a number since 1970, or one of the objects that libraries write.
pub fn time(value: JsonValue<'_>, clock: Clock<'_>) -> Option<Timestamp> {
    match value.kind() {
        JsonKind::Number => times::of_number(value.json()),
        JsonKind::Text => {
            let text = value.plain();
            // JSON of .NET and of PowerShell: `/Date(1705314600000)/`
            let text = text.strip_prefix("/Date(").and_then(|text| text.strip_suffix(")/")).unwrap_or(&text);
            let usual = Timestamp::parse_utc(text.as_bytes()).or_else(|| times::of_number(text.trim()));
            usual.or_else(|| times::whole(text, clock))
        }
        JsonKind::Object => {
            if let Some(date) = member(value, "$date") {
                let date = if date.kind() == JsonKind::Object { date.members().next()?.1 } else { date };
                return if date.kind() == JsonKind::Object { None } else { time(date, clock) };
            }
            let number = |value: JsonValue<'_>| value.plain().parse::<i64>().ok();
            if let Some(seconds) = member(value, "epochSecond").or_else(|| member(value, "seconds")).and_then(number) {
                let nanos = member(value, "nanoOfSecond").or_else(|| member(value, "nanos")).and_then(number);
                return times::of_seconds_and_nanos(seconds, nanos.unwrap_or(0));
            }
            date_of_php(value, clock).or_else(|| times::whole(&text_of(member(value, "repr")?)?, clock))
        }
        JsonKind::Array | JsonKind::Bool | JsonKind::Null => None,
    }
}

/// `{"date": "2024-01-15 10:30:00.000000", "timezone": "Europe/Berlin"}`, as PHP prints a time and Loguru a similar
/// one.
fn date_of_php(value: JsonValue<'_>, clock: Clock<'_>) -> Option<Timestamp> {
    let (date, zone) = (text_of(member(value, "date")?)?, text_of(member(value, "timezone")?)?);
    times::whole(&format!("{date} {zone}"), clock)
}

/// A name in lower case.
pub fn lower(name: &str) -> Cow<'_, str> {
    let has_upper = name.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

pub fn member<'a>(value: JsonValue<'a>, name: &str) -> Option<JsonValue<'a>> {
    value.members().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Whether a time has digits beyond the microsecond, which an event does not keep.
pub fn has_more_digits(value: JsonValue<'_>) -> bool {
    let text = value.plain();
    let fraction = text.bytes().skip_while(|byte| !matches!(byte, b'.' | b',')).skip(1);
    let digits = fraction.take_while(u8::is_ascii_digit);
    let nanos = text.len() == 19 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.ends_with("000");
    nanos || digits.skip(6).any(|digit| digit != b'0')
}

/// A message: a text that is not empty, a number, or the value of OpenTelemetry that has a text.
pub fn message(value: JsonValue<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        JsonKind::Text => {
            let text = value.plain();
            let trimmed = text.trim_end_matches(['\r', '\n']).len();
            let text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.get(..trimmed)?),
                Cow::Owned(mut text) => {
                    text.truncate(trimmed);
                    Cow::Owned(text)
                }
            };
            (!text.trim().is_empty()).then_some(text)
        }
        JsonKind::Number => Some(value.plain()),
        JsonKind::Object => {
            let mut members = value.members();
            match (members.next(), members.next()) {
                (Some((name, text)), None) if name == "stringValue" => {
                    message(text).filter(|_| text.kind() == JsonKind::Text)
                }
                _ => None,
            }
        }
        JsonKind::Array => bytes(value),
        JsonKind::Bool | JsonKind::Null => None,
    }
}

/// The text in an array of bytes, as journald prints what is not UTF-8.
fn bytes(value: JsonValue<'_>) -> Option<Cow<'_, str>> {
    let bytes: Option<Vec<u8>> = value.elements().map(|byte| byte.json().parse().ok()).collect();
    let text = String::from_utf8_lossy(&bytes?).into_owned();
    (!text.trim().is_empty()).then_some(Cow::Owned(text))
}

/// A stack trace: a text, or an array of its lines.
pub fn stack_trace(value: JsonValue<'_>) -> Option<String> {
    match value.kind() {
        JsonKind::Text => Some(value.plain().into_owned()).filter(|text| !text.trim().is_empty()),
        JsonKind::Array => {
            let lines: Option<Vec<_>> = value.elements().map(text_of).collect();
            lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n"))
        }
        _ => None,
    }
}

/// A trace of 32 hexadecimal digits, perhaps behind `/traces/` as Cloud Logging writes it.
pub fn trace_id(value: JsonValue<'_>) -> Option<String> {
    let text = text_of(value)?;
    let id = text.rsplit_once("/traces/").map_or(text.as_ref(), |(_, id)| id);
    hexadecimal(id, 32)
}

/// The trace and the span of a `traceparent` (W3C Trace Context, 3.2).
pub fn trace_parent(value: JsonValue<'_>) -> Option<(String, String)> {
    let text = text_of(value)?;
    let mut parts = text.split('-');
    let (_version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    Some((hexadecimal(trace, 32)?, hexadecimal(span, 16)?))
}

/// Whether a name is a file and a line, which libraries call `source` as well.
pub fn is_place_in_code(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, line)| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
}
