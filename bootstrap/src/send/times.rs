//! Finds the time in a line.
//!
//! * No clock is read here: the current time is an argument.

use domain::timestamp::Timestamp;
use regex::{Captures, Regex};
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

const DAY_MICROS: i64 = 86_400_000_000;

/// What may precede a level or a time: the start of the text, any character that is not part of a word, number or path,
/// or a colour code.
const BEFORE: &str = r"(?:^|[^0-9A-Za-z_.:/-]|\x1b\[[0-9;]*m)";
const AFTER: &str = r"(?:$|[^0-9A-Za-z_])";
const CLOCK: &str = r"(?<hour>[0-9]{2}):(?<minute>[0-9]{2}):(?<second>[0-9]{2})(?:[.,](?<fraction>[0-9]{1,9}))?";
const ZONE: &str = r"(?: ?(?<zone>[Zz]|UTC|GMT|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9]))?";

/// The formats of times.
#[derive(Debug)]
pub struct Times {
    /// For times without an offset.
    offset: UtcOffset,
    formats: Vec<Regex>,
}

/// A time and its position.
#[derive(Clone, Copy, Debug)]
pub struct FoundTime {
    /// The time.
    pub timestamp: Timestamp,
    /// Where its text begins, in bytes.
    pub start: usize,
    /// Where its text ends.
    pub end: usize,
}

impl Times {
    /// Compiles the formats; times without an offset from UTC have `offset`.
    ///
    /// # Errors
    /// Never in practice: the patterns are constants.
    pub fn new(offset: UtcOffset) -> Result<Self, regex::Error> {
        let in_line = |parts: &[&str]| [BEFORE, "(?<whole>", &parts.concat(), ")", AFTER].concat();
        let at_start = |whole: &str, after: &str| ["^(?<whole>", whole, ")", after].concat();
        let formats = [
            // RFC 3339, ISO 8601, log4j, nginx: 2024-01-15T10:30:00.123Z, 2024-01-15 10:30:00,123, 2024/01/15 10:30:00
            in_line(&[r"(?<year>[0-9]{4})[/-](?<month>[0-9]{2})[/-](?<day>[0-9]{2})[Tt ]", CLOCK, ZONE]),
            // Access logs, Tomcat: 10/Oct/2000:13:55:36 -0700, 10-Oct-2000 13:55:36.123
            in_line(&[r"(?<day>[0-9]{2})[/-](?<month>[A-Z][a-z]{2})[/-](?<year>[0-9]{4})[: ]", CLOCK, ZONE]),
            // RFC 2822, HTTP, Redis: Tue, 24 Nov 2026 10:00:00 GMT, 24 Nov 2026 10:00:00.123
            in_line(&[
                r"(?:[A-Z][a-z]{2}, )?(?<day>[0-9]{1,2}) (?<month>[A-Z][a-z]{2}) (?<year>[0-9]{4}) ",
                CLOCK,
                ZONE,
            ]),
            // Germany and its neighbours: 24.11.2026 10:00:00
            in_line(&[r"(?<day>[0-9]{2})\.(?<month>[0-9]{2})\.(?<year>[0-9]{4}),? ", CLOCK, ZONE]),
            // syslog, C: Jan  2 15:04:05, Jan  2 15:04:05 2024
            in_line(&[r"(?<month>[A-Z][a-z]{2}) {1,2}(?<day>[0-9]{1,2}) ", CLOCK, r"(?: (?<year>(?:19|20)[0-9]{2}))?"]),
            // klog and glog: I0115 10:30:00.123456, I20240115 10:30:00.123456
            at_start(&[r"[IWEF](?<year>[0-9]{4})?(?<month>[0-9]{2})(?<day>[0-9]{2}) +", CLOCK].concat(), AFTER),
            // Squid, logfmt: 1705314600.123
            at_start(r"(?:(?:ts|time)=)?(?<epoch>[0-9]{9,10}\.[0-9]{1,9})", AFTER),
            // Seconds since the Unix epoch: 1705314600 x
            at_start(r"(?<epoch>[0-9]{10})", r"[ \t]"),
        ];
        let formats = formats.iter().map(|format| Regex::new(format)).collect::<Result<_, _>>()?;
        Ok(Self { offset, formats })
    }

    /// The first valid time in `text`, in any format.
    #[must_use]
    pub fn find(&self, text: &str, now: Timestamp) -> Option<FoundTime> {
        let first_of = |format: &Regex| {
            format.captures_iter(text).find_map(|found| {
                let (whole, timestamp) = (found.name("whole")?, self.time(&found, now)?);
                Some(FoundTime { timestamp, start: whole.start(), end: whole.end() })
            })
        };
        self.formats.iter().filter_map(first_of).min_by_key(|found| found.start)
    }

    /// The time that a pattern found, unless its day, hour or minute is invalid.
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

/// Parses an offset from UTC: `+02:00`, `-0500`, `Z`, `UTC` or `GMT`.
///
/// # Errors
/// Any other text, and offsets that are not in use anywhere.
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

/// The text is not an offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an offset from UTC, such as +02:00 or -05:00")]
pub struct InvalidOffset;

fn month_named(text: &str) -> Option<Month> {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let position = NAMES.iter().position(|name| *name == text).map(|position| position + 1);
    let number = position.or_else(|| text.parse().ok())?;
    Month::try_from(u8::try_from(number).ok()?).ok()
}

/// The latest year in which the time is no more than a day ahead of `now`: clocks and offsets differ, but logs do not
/// contain future times.
fn latest_until_tomorrow(in_year: impl Fn(i32) -> Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let seconds = now.unix_micros().div_euclid(1_000_000);
    let year = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?.year();
    let years = [year + 1, year, year - 1];
    years.into_iter().filter_map(in_year).find(|time| time.unix_micros() - now.unix_micros() <= DAY_MICROS)
}

/// A time since the Unix epoch in seconds, milliseconds, microseconds or nanoseconds, distinguished by its size. A
/// number below 100,000,000 (seconds of 1973) is a duration or a count, not a time.
pub fn time_of_epoch(text: &str) -> Option<Timestamp> {
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

/// Microseconds from the digits after a decimal point.
fn micros_of(fraction: &str) -> u32 {
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_parsed_in_all_spellings() {
        for (text, seconds) in [("+02:00", 7_200), ("-0530", -19_800), ("Z", 0), ("utc", 0), ("-00:30", -1_800)] {
            assert_eq!(parse_offset(text).map(UtcOffset::whole_seconds), Ok(seconds), "{text}");
        }
        for text in ["", "2", "02:00", "+2:00", "+15:00", "+01:60", "+a1:00", "ä"] {
            assert_eq!(parse_offset(text), Err(InvalidOffset), "{text}");
        }
    }
}
