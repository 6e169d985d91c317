//! Points in time, with microsecond precision.

use std::fmt;
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, Time};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time: microseconds since 1970-01-01T00:00:00Z, in the years 0000 to 9999 that RFC 3339 can represent.
/// Every store keeps exactly this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text or number is not a point in time between the years 0000 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between the years 0000 and 9999, such as 2024-01-15T10:30:00Z")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// A time from microseconds since the Unix epoch.
    ///
    /// # Errors
    /// Outside of [`Timestamp::MIN`]..=[`Timestamp::MAX`].
    pub fn from_unix_micros(micros: i64) -> Result<Self, InvalidTimestamp> {
        let timestamp = Self(micros);
        if (Self::MIN..=Self::MAX).contains(&timestamp) { Ok(timestamp) } else { Err(InvalidTimestamp) }
    }

    /// Parses RFC 3339 text with any offset. Digits beyond the microsecond are cut off.
    ///
    /// # Errors
    /// Any other text, a second 60 that was not a leap second, or a year outside of 0000-9999 after conversion to UTC.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Some(timestamp) = Self::parse_utc(text.as_bytes()) {
            return Ok(timestamp);
        }
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros = parsed.unix_timestamp_nanos().div_euclid(1_000);
        Self::from_unix_micros(i64::try_from(micros).map_err(|_| InvalidTimestamp)?)
    }

    /// Parses the most common form, `2024-01-15T10:30:00.123Z`, with up to nine fractional digits or none; `None` for
    /// any other text, which may still be a time.
    fn parse_utc(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_first_chunk::<10>()?;
        let (time, rest) = rest.split_first_chunk::<9>()?;
        let [.., b'-', _, _, b'-', _, _] = date else { return None };
        let [b'T', _, _, b':', _, _, b':', _, _] = time else { return None };
        let year = i32::try_from(number(date.get(..4)?)?).ok()?;
        let two = |digits: Option<&[u8]>| u8::try_from(number(digits?)?).ok();
        let month = Month::try_from(two(date.get(5..7))?).ok()?;
        let date = Date::from_calendar_date(year, month, two(date.get(8..))?).ok()?;
        let time = Time::from_hms(two(time.get(1..3))?, two(time.get(4..6))?, two(time.get(7..))?).ok()?;
        let micros = match rest {
            b"Z" => 0,
            [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
                let fraction = number(digits)?;
                match 6_u32.checked_sub(u32::try_from(digits.len()).ok()?) {
                    Some(missing) => fraction * 10_u32.pow(missing),
                    None => fraction / 10_u32.pow(u32::try_from(digits.len()).ok()?.saturating_sub(6)),
                }
            }
            _ => return None,
        };
        let seconds = OffsetDateTime::new_utc(date, time).unix_timestamp();
        Some(Self(seconds * MICROS_PER_SECOND + i64::from(micros)))
    }

    /// The time as text, without an allocation.
    #[must_use]
    pub fn text(self) -> TimestampText {
        // Every value within the years 0000 to 9999 has a date.
        let time = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(MICROS_PER_SECOND)).ok();
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut text = TimestampText { bytes: [0; TimestampText::BYTES_MAX], len: 0 };
        text.push_digits(time.year().unsigned_abs(), 4);
        for (sign, number) in [
            (b'-', u8::from(time.month())),
            (b'-', time.day()),
            (b'T', time.hour()),
            (b':', time.minute()),
            (b':', time.second()),
        ] {
            text.push(sign);
            text.push_digits(u32::from(number), 2);
        }
        let micros = u32::try_from(self.0.rem_euclid(MICROS_PER_SECOND)).unwrap_or_default();
        if micros > 0 {
            text.push(b'.');
            text.push_digits(micros, 6);
            while text.len > 0 && text.bytes.get(text.len - 1) == Some(&b'0') {
                text.len -= 1;
            }
        }
        text.push(b'Z');
        text
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// The time `duration` after this one, if it can be represented.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = self.0.checked_add(i64::try_from(duration.as_micros()).ok()?)?;
        Self::from_unix_micros(micros).ok()
    }

    /// The time `duration` before this one, or [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(Self::MIN.0))
    }

    /// The time elapsed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

/// The number written in up to nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

/// The text of a [`Timestamp`]: RFC 3339 in UTC, with as many fractional digits as the value needs.
#[derive(Clone, Copy, Debug)]
pub struct TimestampText {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl TimestampText {
    /// As in `2024-01-15T10:30:00.123456Z`.
    const BYTES_MAX: usize = 27;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII digits and punctuation only.
        self.bytes.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn push_digits(&mut self, number: u32, digits: u32) {
        let mut divisor = 10_u32.pow(digits - 1);
        while divisor > 0 {
            self.push(b'0' + u8::try_from(number / divisor % 10).unwrap_or_default());
            divisor /= 10;
        }
    }
}

/// As in `2024-01-15T10:30:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, InvalidTimestamp> {
        Timestamp::parse(text).map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn offsets_become_utc_and_digits_beyond_the_microsecond_are_cut() {
        assert_eq!(parse("2024-01-15T10:30:00+02:00").as_deref(), Ok("2024-01-15T08:30:00Z"));
        assert_eq!(parse("2024-01-15T10:30:00.123456789Z").as_deref(), Ok("2024-01-15T10:30:00.123456Z"));
        assert_eq!(parse("1969-12-31T23:59:59.9999999Z").as_deref(), Ok("1969-12-31T23:59:59.999999Z"));
        assert_eq!(parse("9999-12-31T23:59:59.999999Z").as_deref(), Ok("9999-12-31T23:59:59.999999Z"));
    }

    #[test]
    fn years_that_rfc_3339_cannot_represent_in_utc_are_refused() {
        assert_eq!(parse("0000-01-01T00:00:00Z").as_deref(), Ok("0000-01-01T00:00:00Z"));
        for text in
            ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z"]
        {
            assert_eq!(parse(text), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn text_other_than_rfc_3339_is_refused() {
        for text in [
            "",
            "now",
            "2024-01-15",
            "2024-01-15T10:30:00",
            "2024-02-30T00:00:00Z",
            "2024-01-15T12:00:60Z",
            "1705314600",
        ] {
            assert_eq!(parse(text), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let timestamp = Timestamp::from_unix_micros(micros).expect("in range");
            let text = timestamp.to_string();
            prop_assert_eq!(Timestamp::parse(&text), Ok(timestamp));
            // Compare with the `time` crate.
            let other = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).expect("in range");
            prop_assert_eq!(text, other.format(&Rfc3339).expect("a year that RFC 3339 knows"));
        }

        #[test]
        fn the_fast_path_agrees_with_the_full_parser(
            text in "(000[0-9]|[0-2][0-9]{3}|9999)-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,11})?Z"
        ) {
            if let Some(short) = Timestamp::parse_utc(text.as_bytes()) {
                let long = OffsetDateTime::parse(&text, &Rfc3339).expect("a time").unix_timestamp_nanos().div_euclid(1_000);
                prop_assert_eq!(i128::from(short.unix_micros()), long);
            }
        }
    }
}
