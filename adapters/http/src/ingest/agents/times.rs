//! Times as agents write them: texts of several kinds, and numbers since the Unix epoch in any unit.

use domain::metadata::{JsonKind, JsonValue};
use domain::timestamp::Timestamp;

/// Why the time of an event is that of its receipt, or one that its line has.
pub const TIME_INVALID: &str = "timestamp_invalid";

/// A time as its protocol has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentTime {
    /// Kept to the microsecond.
    pub timestamp: Timestamp,
    /// The same in nanoseconds since the Unix epoch, if it is after that and before the year 2554.
    pub unix_nanos: Option<u64>,
}

impl AgentTime {
    /// A number of nanoseconds since the Unix epoch.
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        let micros = i64::try_from(nanos.div_euclid(1_000)).ok()?;
        let timestamp = Timestamp::from_unix_micros(micros).ok()?;
        Some(Self { timestamp, unix_nanos: u64::try_from(nanos).ok() })
    }

    /// The time that a JSON value is: a number, or a text with either.
    #[must_use]
    pub fn of_json(value: JsonValue<'_>) -> Option<Self> {
        match value.kind() {
            JsonKind::Number => epoch(value.json()),
            JsonKind::Text => Self::of_text(&value.plain()),
            _ => None,
        }
    }

    /// The time that a text says: RFC 3339, also with a space between date and time, an offset without a colon, or
    /// without an offset, which is UTC; or a number.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(time) = epoch(text) {
            return Some(time);
        }
        let timestamp = Timestamp::parse(text).ok().or_else(|| Timestamp::parse(&as_rfc_3339(text)?).ok())?;
        let micros = i128::from(timestamp.unix_micros());
        Self::from_nanos(micros * 1_000 + i128::from(nanos_beyond_micros(text)))
    }
}

/// Most bytes of a text that is a time.
const TEXT_BYTES_MAX: usize = 40;

/// The digits of a fraction that a timestamp cuts off: those for single nanoseconds.
fn nanos_beyond_micros(text: &str) -> u16 {
    let fraction = text.split_once('.').map(|(_, fraction)| fraction.as_bytes()).unwrap_or_default();
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).chain(std::iter::repeat(&b'0'));
    digits.skip(6).take(3).fold(0, |nanos, digit| nanos * 10 + u16::from(digit - b'0'))
}

/// The text as RFC 3339 would have it, if it is one that needs a change.
fn as_rfc_3339(text: &str) -> Option<String> {
    if !text.is_ascii() || !(19..=TEXT_BYTES_MAX).contains(&text.len()) {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let (separator, time) = rest.split_at_checked(1)?;
    if !matches!(separator, "T" | "t" | " ") {
        return None;
    }
    // ISO 8601 allows a comma before a fraction, and Java writes one.
    let time = time.replace(',', ".");
    let zone = time.rfind(['+', '-', 'Z', 'z']);
    let (time, zone) = zone.and_then(|at| time.split_at_checked(at)).unwrap_or((time.as_str(), "Z"));
    let zone = match zone.as_bytes() {
        [_, _, _, minute, _] if *minute != b':' => {
            let (hours, minutes) = zone.split_at_checked(3)?;
            format!("{hours}:{minutes}")
        }
        [_, _, _] => format!("{zone}:00"),
        _ => zone.to_owned(),
    };
    Some(format!("{date}T{}{zone}", time.trim_end()))
}

/// The time that a decimal number says. Its size tells its unit: seconds up to the year 5138, then milliseconds,
/// microseconds and nanoseconds.
fn epoch(number: &str) -> Option<AgentTime> {
    if number.len() > TEXT_BYTES_MAX || !number.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(fraction) || !plain(whole.trim_start_matches('-')) {
        return exponential(number);
    }
    // Nearly all fit into fewer bits, and those are read faster.
    let whole = whole.parse::<i64>().map(i128::from).or_else(|_| whole.parse::<i128>()).ok()?;
    let nanos_of_unit = unit_nanos(whole);
    // Digits beyond a nanosecond are cut off.
    let (mut nanos, mut digit_nanos) = (0, nanos_of_unit / 10);
    for digit in fraction.bytes() {
        nanos += i64::from(digit - b'0') * digit_nanos;
        digit_nanos /= 10;
    }
    let nanos = if number.starts_with('-') { -nanos } else { nanos };
    AgentTime::from_nanos(whole.checked_mul(nanos_of_unit.into())? + i128::from(nanos))
}

/// A number with an exponent, to the precision of a double.
fn exponential(number: &str) -> Option<AgentTime> {
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite() && number.abs() < 1e19)?;
    let unit = unit_nanos(number as i128);
    AgentTime::from_nanos((number * unit as f64) as i128)
}

fn unit_nanos(whole: i128) -> i64 {
    match whole.unsigned_abs() {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        AgentTime::of_text(text).map(|time| time.timestamp.to_string())
    }

    #[test]
    fn texts_and_numbers_of_agents_are_times() {
        for (text, expected) in [
            ("2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00.5Z"),
            ("2024-01-15 10:30:00", "2024-01-15T10:30:00Z"),
            ("2024-01-15T10:30:00,123+0200", "2024-01-15T08:30:00.123Z"),
            ("2024-01-15 10:30:00.123 +02:00", "2024-01-15T08:30:00.123Z"),
            ("2024-01-15T10:30:00-05", "2024-01-15T15:30:00Z"),
            ("1705314600", "2024-01-15T10:30:00Z"),
            ("1705314600.25", "2024-01-15T10:30:00.25Z"),
            ("1705314600250", "2024-01-15T10:30:00.25Z"),
            ("1705314600250001", "2024-01-15T10:30:00.250001Z"),
            ("1705314600250001999", "2024-01-15T10:30:00.250001Z"),
            ("1.7053146e9", "2024-01-15T10:30:00Z"),
            ("-1.5", "1969-12-31T23:59:58.5Z"),
            ("0", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "now",
            "2024-01-15",
            "1e400",
            "99999999999999999999999",
            "1705314600x",
            "1.2.3",
            "é024-01-15 10:30:00",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn nanoseconds_are_kept_beside_the_timestamp() {
        let nanos = |text| AgentTime::of_text(text).and_then(|time| time.unix_nanos);
        assert_eq!(nanos("2024-01-15T10:30:00.123456789Z"), Some(1_705_314_600_123_456_789));
        assert_eq!(nanos("1705314600123456789"), Some(1_705_314_600_123_456_789));
        assert_eq!(nanos("1705314600.1234567"), Some(1_705_314_600_123_456_700));
        assert_eq!(nanos("1969-12-31T23:59:59Z"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,45}") {
            let _ = AgentTime::of_text(&text);
        }

        #[test]
        fn a_number_of_nanoseconds_is_that_time(nanos in 100_000_000_000_000_000_u64..9_000_000_000_000_000_000) {
            let time = AgentTime::of_text(&nanos.to_string()).expect("a time");
            prop_assert_eq!(time.unix_nanos, Some(nanos));
        }
    }
}
