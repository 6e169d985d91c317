//! Times as people give them.

use std::time::Duration;

use domain::timestamp::Timestamp;

/// What [`TimeInput::parse`] accepts, for errors.
const TIME_FORMS: &str = "a time such as 2024-01-15T10:30:00Z, 2024-01-15, 1705314600 (seconds), now-15m or -1h";
/// What a time without a zone should be, for errors.
pub(super) const ZONED_TIME_FORM: &str =
    "a time with its zone, such as 2024-01-15T10:30:00Z or 2024-01-15T11:30:00+01:00";
/// Numbers below this one are seconds since 1970, others milliseconds: it is the year 5138 in seconds, and in March 1973 in
/// milliseconds.
const SECONDS_END: i64 = 100_000_000_000;

/// A point in time, or its distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInput {
    /// A point in time.
    At(Timestamp),
    /// This many seconds after now; negative before.
    FromNow(i64),
}

impl TimeInput {
    /// Reads RFC 3339, a date (its start in UTC), seconds or milliseconds since 1970, `now`, `now-15m`, `now+1h` or `-1h`. Units are
    /// s, m, h, d and w.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = Timestamp::parse(text) {
            return Some(Self::At(time));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse::<i64>().ok()?;
            let micros = number.checked_mul(if number < SECONDS_END { 1_000_000 } else { 1_000 })?;
            return Timestamp::from_unix_micros(micros).ok().map(Self::At);
        }
        if let Ok(start) = Timestamp::parse_date(text) {
            return Some(Self::At(start));
        }
        let distance = match text.strip_prefix("now") {
            Some("") => return Some(Self::FromNow(0)),
            Some(distance) => distance,
            None if text.starts_with('-') => text,
            None => return None,
        };
        let (sign, length) = match distance.split_at_checked(1)? {
            ("-", length) => (-1, length),
            ("+", length) => (1, length),
            _ => return None,
        };
        let seconds = i64::try_from(parse_duration(length)?.as_secs()).ok()?;
        Some(Self::FromNow(sign * seconds))
    }

    /// The point in time, if an event can have it.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::FromNow(seconds) => {
                let micros = now.unix_micros().checked_add(seconds.checked_mul(1_000_000)?)?;
                Timestamp::from_unix_micros(micros).ok()
            }
        }
    }
}

/// What should be in the place of a text that is not a time.
pub(super) fn expected_time(text: &str) -> &'static str {
    if lacks_zone(text) { ZONED_TIME_FORM } else { TIME_FORMS }
}

/// Whether a text would be a time if it had a zone.
pub(super) fn lacks_zone(text: &str) -> bool {
    let text = text.replacen(' ', "T", 1);
    ["Z", ":00Z"].iter().any(|end| Timestamp::parse(&format!("{text}{end}")).is_ok())
}

/// A number with a unit: s, m, h, d or w.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (number, unit) = text.split_at_checked(unit)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        "w" => 7 * 24 * 3_600,
        _ => return None,
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| number.parse::<u64>().ok()).flatten()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Option<String> {
        let now = Timestamp::parse("2024-01-15T10:30:00Z").expect("a time");
        TimeInput::parse(text)?.resolve(now).map(|time| time.text().as_str().to_owned())
    }

    #[test]
    fn times_are_absolute_or_relative_to_now() {
        for (text, time) in [
            ("2024-01-15T11:30:00.5+01:00", "2024-01-15T10:30:00.5Z"),
            ("2024-01-14", "2024-01-14T00:00:00Z"),
            ("1705314600123", "2024-01-15T10:30:00.123Z"),
            ("1705314600", "2024-01-15T10:30:00Z"),
            ("99999999999", "5138-11-16T09:46:39Z"),
            ("100000000000", "1973-03-03T09:46:40Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("now", "2024-01-15T10:30:00Z"),
            ("now-15m", "2024-01-15T10:15:00Z"),
            ("now+1h", "2024-01-15T11:30:00Z"),
            ("-90s", "2024-01-15T10:28:30Z"),
            ("-2d", "2024-01-13T10:30:00Z"),
            ("-1w", "2024-01-08T10:30:00Z"),
        ] {
            assert_eq!(resolved(text).as_deref(), Some(time), "{text}");
        }
        for text in [
            "",
            "-",
            "1h",
            "+1h",
            "now1h",
            "now-",
            "now-1",
            "-1x",
            "--1h",
            "-1.5h",
            "yesterday",
            "99999999999999999",
            "-9999999999w",
        ] {
            assert_eq!(resolved(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_told_so() {
        for text in ["2024-01-15T10:30:00", "2024-01-15T10:30:00.5", "2024-01-15T10:30", "2024-01-15 10:30:00"] {
            assert!(resolved(text).is_none() && lacks_zone(text), "{text}");
            assert_eq!(expected_time(text), ZONED_TIME_FORM);
        }
        for text in ["", "yesterday", "2024-01-15", "2024-01-15T10:30:00Z", "10:30"] {
            assert!(!lacks_zone(text), "{text}");
            assert_eq!(expected_time(text), TIME_FORMS);
        }
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("1s", 1),
            ("90m", 5_400),
            ("2h", 7_200),
            ("7d", 604_800),
            ("1w", 604_800),
            ("999999999d", 86_399_999_913_600),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5", "5y", "-1s", "+1s", "1.5h", "1 s", "99999999999999999999d", "1µ"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
