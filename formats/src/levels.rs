//! The names of levels.
//!
//! Sources: RFC 5424 (syslog), Log4j, java.util.logging, Python, Serilog, .NET, zap, zerolog, logrus, npm, Monolog,
//! Cloud Logging, PostgreSQL, MySQL, OpenTelemetry. Notice, success and config are INFO; critical, alert and emergency
//! are FATAL, since the system cannot continue.

use domain::level::Level;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 13;

/// Names that stand for a level wherever a level may stand.
const NAMES: [(&str, Level); 28] = [
    ("INFO", Level::Info),
    ("WARN", Level::Warn),
    ("ERROR", Level::Error),
    ("DEBUG", Level::Debug),
    ("TRACE", Level::Trace),
    ("FATAL", Level::Fatal),
    ("WARNING", Level::Warn),
    ("INFORMATION", Level::Info),
    ("INFORMATIONAL", Level::Info),
    ("NOTICE", Level::Info),
    ("CRITICAL", Level::Fatal),
    ("CRIT", Level::Fatal),
    ("ALERT", Level::Fatal),
    ("EMERGENCY", Level::Fatal),
    ("EMERG", Level::Fatal),
    ("PANIC", Level::Fatal),
    ("DPANIC", Level::Fatal),
    ("SEVERE", Level::Error),
    ("ERR", Level::Error),
    ("WRN", Level::Warn),
    ("INF", Level::Info),
    ("DBG", Level::Debug),
    ("TRC", Level::Trace),
    ("VRB", Level::Trace),
    ("FTL", Level::Fatal),
    ("PNC", Level::Fatal),
    ("VERBOSE", Level::Trace),
    ("FINEST", Level::Trace),
];

/// Names that are usual words as well: they count only where nothing but a level can stand.
const WORDS: [(&str, Level); 15] = [
    ("FINE", Level::Debug),
    ("FINER", Level::Debug),
    ("CONFIG", Level::Info),
    ("SUCCESS", Level::Info),
    ("NOTE", Level::Info),
    ("SYSTEM", Level::Info),
    ("LOG", Level::Info),
    ("NORMAL", Level::Info),
    ("SILLY", Level::Trace),
    ("HTTP", Level::Debug),
    ("FAIL", Level::Error),
    ("DBUG", Level::Debug),
    ("TRCE", Level::Trace),
    ("FAILURE", Level::Error),
    ("EROR", Level::Error),
];

/// The level with this name, in any case; names that are usual words as well are not known.
pub fn named(name: &str) -> Option<Level> {
    find(&NAMES, name)
}

/// The level with this name, in any case, where nothing but a level can stand.
pub fn named_in_place(name: &str) -> Option<Level> {
    named(name).or_else(|| find(&WORDS, name))
}

/// `TRACE` of `trace4` (Apache httpd), `DEBUG` of `DEBUG1` (PostgreSQL): these are levels of 1 to 8.
pub fn without_number(name: &str) -> &str {
    let bare = name.strip_suffix(|last: char| matches!(last, '1'..='8')).unwrap_or(name);
    if ["debug", "trace"].iter().any(|known| bare.eq_ignore_ascii_case(known)) { bare } else { name }
}

fn find(names: &[(&str, Level)], name: &str) -> Option<Level> {
    if !(3..=NAME_BYTES_MAX).contains(&name.len()) {
        return None;
    }
    let name = without_number(name);
    names.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, level)| *level)
}

/// The level that is a value: a name, a name with a number behind it (slog writes `ERROR+2`), the text of a number as
/// bunyan and pino use it, or a letter.
pub fn of_value(text: &str) -> Option<Level> {
    let text = text.trim().trim_matches(['[', ']', '"']);
    let name = text.split(['+', '-']).next().unwrap_or_default();
    named_in_place(text)
        .or_else(|| named_in_place(name))
        .or_else(|| text.parse().ok().and_then(of_tens))
        .or_else(|| letter(text))
}

/// A single letter, or MongoDB's `D1` to `D5`.
pub fn letter(text: &str) -> Option<Level> {
    match text.as_bytes() {
        [b'F' | b'C' | b'A'] => Some(Level::Fatal),
        [b'E'] => Some(Level::Error),
        [b'W'] => Some(Level::Warn),
        [b'I' | b'N'] => Some(Level::Info),
        [b'D'] | [b'D', b'1'..=b'5'] => Some(Level::Debug),
        [b'T' | b'V'] => Some(Level::Trace),
        _ => None,
    }
}

/// The numbers of bunyan and pino (10 is TRACE, 60 is FATAL). Numbers between them belong to the level below.
pub fn of_tens(number: i64) -> Option<Level> {
    if (10..70).contains(&number) { Level::from_number(number / 10 - 1) } else { None }
}

/// The numbers of Python's logging (10 is DEBUG, 50 is CRITICAL).
pub fn of_python(number: i64) -> Option<Level> {
    if (10..60).contains(&number) { Level::from_number(number / 10) } else { None }
}

/// The numbers of Monolog (100 is DEBUG, 600 is EMERGENCY).
pub fn of_hundreds(number: i64) -> Option<Level> {
    match number {
        100..200 => Some(Level::Debug),
        200..300 => Some(Level::Info),
        300..400 => Some(Level::Warn),
        400..500 => Some(Level::Error),
        500..=600 => Some(Level::Fatal),
        _ => None,
    }
}

/// The level of a severity of syslog (RFC 5424, 6.2.1): 0 is emergency, 7 is debug.
#[must_use]
pub fn of_syslog(severity: i64) -> Option<Level> {
    match severity {
        0..=2 => Some(Level::Fatal),
        3 => Some(Level::Error),
        4 => Some(Level::Warn),
        5 | 6 => Some(Level::Info),
        7 => Some(Level::Debug),
        _ => None,
    }
}

/// The severity numbers of OpenTelemetry: four for each level, 1 to 4 for TRACE.
pub fn of_opentelemetry(number: i64) -> Option<Level> {
    if (1..=24).contains(&number) { Level::from_number((number - 1) / 4) } else { None }
}
