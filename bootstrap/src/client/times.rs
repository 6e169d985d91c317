//! Times on the command line and in its output.
//!
//! * No clock is read here, except in [`now`]: the current time is an argument.
//! * Times relative to now are passed to the API as such: the clock of the server counts, not that of this machine.

use std::str::FromStr;

use domain::ports::Clock;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::failure::Failure;
use crate::system::SystemClock;

/// Units of relative times: letter, name, seconds.
const UNITS: [(char, &str, i64); 5] =
    [('s', "second", 1), ('m', "minute", 60), ('h', "hour", 3_600), ('d', "day", 86_400), ('w', "week", 604_800)];
/// Fewest digits of a number of milliseconds since 1970: fewer are more likely a mistake (1973 has twelve).
const EPOCH_DIGITS_MIN: usize = 12;

/// A time as an argument of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeArgument {
    /// So long before now: a number and the letter of its unit.
    Ago(u32, char),
    /// Now.
    Now,
    /// The beginning of this day.
    Today,
    /// The beginning of the day before.
    Yesterday,
    /// A date, or date and time, in the local time zone.
    Local(DateTime),
    /// A time with its offset from UTC.
    Exact(Timestamp),
}

/// The text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a time: write 15m, 1h, 2d, today, yesterday, 2024-01-15, '2024-01-15 10:30', 2024-01-15T10:30:00Z, or \
     milliseconds since 1970"
)]
pub struct InvalidTime;

impl FromStr for TimeArgument {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        match text {
            "now" => return Ok(Self::Now),
            "today" => return Ok(Self::Today),
            "yesterday" => return Ok(Self::Yesterday),
            _ => {}
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let millis = text.parse().ok().filter(|_| text.len() >= EPOCH_DIGITS_MIN).ok_or(InvalidTime)?;
            return Timestamp::from_millisecond(millis).map(Self::Exact).map_err(|_| InvalidTime);
        }
        let relative = text.strip_prefix("now-").or_else(|| text.strip_prefix('-')).unwrap_or(text);
        if let Some(unit) = relative.chars().next_back().filter(|letter| UNITS.iter().any(|unit| unit.0 == *letter))
            && let Some(Ok(number)) = relative.strip_suffix(unit).map(str::parse::<u32>)
            && relative.starts_with(|first: char| first.is_ascii_digit())
        {
            return Ok(Self::Ago(number, unit));
        }
        // The offset must be looked for first: the other format would ignore it.
        if let Ok(exact) = text.parse() {
            return Ok(Self::Exact(exact));
        }
        text.parse().map(Self::Local).map_err(|_| InvalidTime)
    }
}

impl TimeArgument {
    /// The time as a parameter of the API for events, which understands relative times.
    ///
    /// # Errors
    /// The time is outside of the calendar.
    pub fn to_parameter(&self, now: &Zoned) -> Result<String, Failure> {
        match self {
            Self::Ago(number, unit) => Ok(format!("-{number}{unit}")),
            other => other.to_rfc3339(now),
        }
    }

    /// The time in RFC 3339; `now` has the time zone of local times.
    ///
    /// # Errors
    /// The time is outside of the calendar.
    pub fn to_rfc3339(&self, now: &Zoned) -> Result<String, Failure> {
        let timestamp = match self {
            Self::Ago(number, unit) => {
                let seconds = UNITS.iter().find(|known| known.0 == *unit).map_or(1, |known| known.2);
                now.timestamp().checked_sub(SignedDuration::from_secs(i64::from(*number).saturating_mul(seconds)))
            }
            Self::Now => Ok(now.timestamp()),
            Self::Today => now.start_of_day().map(|start| start.timestamp()),
            Self::Yesterday => now.yesterday().and_then(|day| day.start_of_day()).map(|start| start.timestamp()),
            Self::Local(local) => local.to_zoned(now.time_zone().clone()).map(|local| local.timestamp()),
            Self::Exact(timestamp) => Ok(*timestamp),
        };
        let outside = |_| Failure::Usage("a time is outside of the calendar: it must be after the year 0".to_owned());
        timestamp.map(|timestamp| timestamp.to_string()).map_err(outside)
    }

    /// The range since this time in words, such as `the last 15 minutes`; only for relative times.
    #[must_use]
    pub fn range_in_words(&self) -> Option<String> {
        let Self::Ago(number, letter) = self else { return None };
        let name = UNITS.iter().find(|unit| unit.0 == *letter)?.1;
        Some(if *number == 1 { format!("the last {name}") } else { format!("the last {number} {name}s") })
    }
}

/// The current time, in UTC or in the local time zone.
#[must_use]
pub fn now(utc: bool) -> Zoned {
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    Timestamp::from_microsecond(SystemClock.now().unix_micros()).unwrap_or_default().to_zoned(zone)
}

/// A time of the API for display: in the time zone of `now`, with the year if it is not that of `now`. A text that is
/// not a time is returned unchanged.
#[must_use]
pub fn shown(rfc3339: &str, now: &Zoned, millis: bool) -> String {
    let Ok(timestamp) = rfc3339.parse::<Timestamp>() else { return rfc3339.to_owned() };
    let local = timestamp.to_zoned(now.time_zone().clone());
    let format = match (local.year() == now.year(), millis) {
        (true, true) => "%m-%d %H:%M:%S%.3f",
        (true, false) => "%m-%d %H:%M:%S",
        (false, true) => "%Y-%m-%d %H:%M:%S%.3f",
        (false, false) => "%Y-%m-%d %H:%M:%S",
    };
    local.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-24 21:20:05 in a zone one hour ahead of UTC.
    fn now_there() -> Zoned {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        "2026-11-24T20:20:05Z".parse::<Timestamp>().unwrap().to_zoned(zone)
    }

    #[test]
    fn times_are_passed_as_the_api_understands_them() {
        for (text, parameter, exact) in [
            ("15m", "-15m", "2026-11-24T20:05:05Z"),
            ("-1h", "-1h", "2026-11-24T19:20:05Z"),
            ("now-2w", "-2w", "2026-11-10T20:20:05Z"),
            ("now", "2026-11-24T20:20:05Z", "2026-11-24T20:20:05Z"),
            ("today", "2026-11-23T23:00:00Z", "2026-11-23T23:00:00Z"),
            ("yesterday", "2026-11-22T23:00:00Z", "2026-11-22T23:00:00Z"),
            ("2024-01-15", "2024-01-14T23:00:00Z", "2024-01-14T23:00:00Z"),
            ("2024-01-15 10:30", "2024-01-15T09:30:00Z", "2024-01-15T09:30:00Z"),
            ("2024-01-15T10:30:01", "2024-01-15T09:30:01Z", "2024-01-15T09:30:01Z"),
            ("2024-01-15T10:30:00+02:00", "2024-01-15T08:30:00Z", "2024-01-15T08:30:00Z"),
            ("1705314600000", "2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
        ] {
            let time: TimeArgument = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(time.to_parameter(&now_there()).as_deref(), Ok(parameter), "{text}");
            assert_eq!(time.to_rfc3339(&now_there()).as_deref(), Ok(exact), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "soon",
            "15",
            "15x",
            "15mm",
            "m",
            "-",
            "+5m",
            "1.5h",
            "2024",
            "2024-13-01",
            "5m5s",
            "99999999999s",
            "ä",
        ] {
            assert_eq!(text.parse::<TimeArgument>(), Err(InvalidTime), "{text}");
        }
        let long_ago: TimeArgument = "4000000000w".parse().unwrap();
        assert_eq!(long_ago.to_rfc3339(&now_there()).map_err(|failure| failure.exit_code()), Err(64));
    }

    #[test]
    fn ranges_have_words_and_other_years_are_shown() {
        let words = |text: &str| text.parse::<TimeArgument>().unwrap().range_in_words();
        assert_eq!(words("15m").as_deref(), Some("the last 15 minutes"));
        assert_eq!(words("1h").as_deref(), Some("the last hour"));
        assert_eq!(words("today"), None);
        assert_eq!(shown("2026-11-24T20:20:05.199176Z", &now_there(), true), "11-24 21:20:05.199");
        assert_eq!(shown("2024-01-15T10:30:00Z", &now_there(), false), "2024-01-15 11:30:00");
        assert_eq!(shown("\x1b", &now_there(), false), "\x1b");
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in any::<String>()) {
            if let Ok(time) = text.parse::<TimeArgument>() {
                let _ = (time.to_parameter(&now_there()), time.to_rfc3339(&now_there()), time.range_in_words());
            }
            let _ = shown(&text, &now_there(), true);
        }
    }
}
