//! Heads of a form of their own: klog, Redis, logcat, reports of Erlang, PHP, npm.

use domain::level::Level;

use super::Head;
use crate::levels;
use crate::syslog::FACILITIES;
use crate::times::{self, Clock};

/// Messages of PHP (Zend/zend_errors.h). Notices and deprecations are normal operation.
const PHP: [(&str, Level); 14] = [
    ("Fatal error:", Level::Fatal),
    ("Parse error:", Level::Error),
    ("Recoverable fatal error:", Level::Error),
    ("Catchable fatal error:", Level::Error),
    ("Core error:", Level::Error),
    ("Compile error:", Level::Error),
    ("Warning:", Level::Warn),
    ("Core warning:", Level::Warn),
    ("Compile warning:", Level::Warn),
    ("Startup:", Level::Warn),
    ("Notice:", Level::Info),
    ("Deprecated:", Level::Info),
    ("Strict Standards:", Level::Info),
    ("Unknown error:", Level::Error),
];

/// The head, if the line has one of these forms.
pub fn head(text: &str, clock: Clock<'_>) -> Option<Head> {
    match text.as_bytes() {
        [b'I' | b'W' | b'E' | b'F' | b'D', digit, ..] if digit.is_ascii_digit() => klog(text, clock),
        [b'V' | b'D' | b'I' | b'W' | b'E' | b'F' | b'A', b'/', ..] => logcat_brief(text),
        [letter @ (b'E' | b'W'), b':', b' ', ..] => {
            // apt: `E: Unable to locate package`
            let level = if *letter == b'E' { Level::Error } else { Level::Warn };
            Some(Head { level: Some(level), ..Head::default() })
        }
        [b'=', ..] => erlang(text, clock),
        [b'0'..=b'9', ..] => redis(text, clock),
        [b'#', b' ', b'T', ..] => labelled(text, &["# Time: "], clock),
        [b'L', b'o', b'g', b' ', ..] => labelled(text, &["Log started: ", "Log ended: "], clock),
        [b'n', b'p', b'm', b' ', ..] => npm(text),
        [b'P', b'H', b'P', b' ', ..] => php(text).map(|level| Head { level: Some(level), ..Head::default() }),
        [b'[', ..] => php_with_time(text, clock),
        [b'a'..=b'z', ..] => dmesg(text, clock),
        _ => None,
    }
}

/// A time that is all of the line but its label: `# Time: …` (the slow query log of MySQL), `Log started: …` (apt).
fn labelled(text: &str, labels: &[&str], clock: Clock<'_>) -> Option<Head> {
    let label = labels.iter().find(|label| text.starts_with(**label))?;
    let time = times::at(text, label.len(), clock)?;
    text.get(time.end..)?.trim().is_empty().then_some(Head { time: time.instant, has_time: true, ..Head::default() })
}

/// `kern  :err   : [    1.234567] …`: facility and level in columns, as `dmesg -x` writes them.
fn dmesg(text: &str, clock: Clock<'_>) -> Option<Head> {
    // Most lines have a colon later, or none.
    let colon = text.bytes().take(9).position(|byte| byte == b':').filter(|at| *at >= 6)?;
    let (facility, rest) = (text.get(..colon)?, text.get(colon + 1..)?);
    let (level, rest) = rest.split_once(": ").filter(|(level, _)| level.len() == 6)?;
    if !FACILITIES.contains(&facility.trim_end()) {
        return None;
    }
    let level = levels::named_in_place(level.trim_end())?;
    let inner = rest.strip_prefix('[').unwrap_or(rest);
    let time = times::at(inner, 0, clock);
    let instant = time.and_then(|time| time.instant);
    Some(Head { level: Some(level), time: instant, has_time: time.is_some(), ..Head::default() })
}

/// klog and glog: `E0115 10:30:00.123456 …`, with a year `E20240115 …` or `E240115 …`.
fn klog(text: &str, clock: Clock<'_>) -> Option<Head> {
    let level = levels::letter(text.get(..1)?)?;
    let digits = text.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let from = match digits {
        6 | 8 => 1,
        4 => 0,
        _ => return None,
    };
    let time = if from == 1 {
        times::at(text.get(1..)?, 0, clock)?
    } else {
        // The month and the day as logcat writes them.
        let rewritten = format!("{}-{}", text.get(1..3)?, text.get(3..)?.chars().take(24).collect::<String>());
        times::at(&rewritten, 0, clock)?
    };
    Some(Head { level: Some(level), time: time.instant, has_time: true, ..Head::default() })
}

/// `E/Tag( 1234): …`
fn logcat_brief(text: &str) -> Option<Head> {
    let (tag, _) = text.split_once("): ")?;
    let (tag, process) = tag.split_once('(')?;
    let is_tag = tag.len() < 64 && process.trim().bytes().all(|byte| byte.is_ascii_digit());
    let level = levels::letter(text.get(..1)?).filter(|_| is_tag)?;
    Some(Head { level: Some(level), ..Head::default() })
}

/// `=ERROR REPORT==== 15-Jan-2024::10:30:00.123456 ===`
fn erlang(text: &str, clock: Clock<'_>) -> Option<Head> {
    let (kind, rest) = text.strip_prefix('=')?.split_once(" REPORT====")?;
    let level = match kind {
        "CRASH" | "SUPERVISOR" => Level::Error,
        "PROGRESS" => Level::Info,
        _ => levels::named(kind)?,
    };
    let time = times::at(rest, 1, clock)?;
    Some(Head { level: Some(level), time: time.instant, has_time: true, ..Head::default() })
}

/// `4711:M 15 Jan 2024 10:30:00.123 * …`: the symbol is the level (redis, src/server.c).
fn redis(text: &str, clock: Clock<'_>) -> Option<Head> {
    let (process, rest) = text.split_at_checked(text.find(':').filter(|at| *at <= 10)?)?;
    let [b':', b'X' | b'C' | b'S' | b'M', b' ', ..] = rest.as_bytes() else { return None };
    if !process.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let time = times::at(rest, 3, clock)?;
    let level = match rest.as_bytes().get(time.end..time.end + 3)? {
        b" # " => Level::Warn,
        b" * " => Level::Info,
        b" - " | b" . " => Level::Debug,
        _ => return None,
    };
    Some(Head { level: Some(level), time: time.instant, has_time: true, ..Head::default() })
}

/// `npm ERR! …`, `npm warn …`
fn npm(text: &str) -> Option<Head> {
    let word = text.split(' ').nth(1)?.trim_end_matches('!');
    Some(Head { level: Some(levels::named(word)?), ..Head::default() })
}

/// `[15-Jan-2024 10:30:00 UTC] PHP Warning:  …`
fn php_with_time(text: &str, clock: Clock<'_>) -> Option<Head> {
    let inner = text.get(1..)?;
    let end = inner.bytes().take(64).position(|byte| byte == b']')?;
    let level = php(inner.get(end + 1..)?.strip_prefix(' ')?)?;
    let time = times::at(inner, 0, clock)?;
    Some(Head { level: Some(level), time: time.instant, has_time: true, ..Head::default() })
}

fn php(text: &str) -> Option<Level> {
    let message = text.strip_prefix("PHP ")?;
    PHP.iter().find(|(begin, _)| message.starts_with(begin)).map(|(_, level)| *level)
}
