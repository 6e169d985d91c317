//! Points in time, with microsecond precision.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// What a fraction with so many digits is multiplied with, and then divided by, for microseconds.
const SCALES: [(u32, u32); 10] =
    [(1_000_000, 1), (100_000, 1), (10_000, 1), (1_000, 1), (100, 1), (10, 1), (1, 1), (1, 10), (1, 100), (1, 1_000)];
/// The two digits of each number below 100.
const DIGITS: &[[u8; 2]; 100] = {
    let (pairs, _) =
        b"00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051\
        525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"
            .as_chunks();
    match pairs.first_chunk() {
        Some(digits) => digits,
        None => &[[b'0'; 2]; 100],
    }
};
/// Days in 400 years.
const DAYS_PER_ERA: u32 = 146_097;
/// Days from the first of March, 400 years before the year 0, to 1970-01-01.
const DAYS_BEFORE_EPOCH: i64 = 719_468 + 146_097;

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
    #[must_use]
    pub fn parse_utc(text: &[u8]) -> Option<Self> {
        let (year_and_month, rest) = text.split_first_chunk::<8>()?;
        let ([d1, d2, b'T'], rest) = rest.split_first_chunk::<3>()? else { return None };
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let [century, year, month] = numbers(year_and_month, b"0000-00-", [0, 2, 5])?;
        let days = days_from_date(century * 100 + year, month, two_digits(*d1, *d2)?)?;
        let [hour, minute, second] = numbers(time, b"00:00:00", [0, 3, 6])?;
        // Leap seconds are left to the full parser.
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let micros = match rest {
            b"Z" => 0,
            [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
                let fraction = number(digits)?;
                let (of_six, beyond_six) = SCALES.get(digits.len())?;
                fraction * of_six / beyond_six
            }
            _ => return None,
        };
        let seconds = days * SECONDS_PER_DAY + i64::from(hour * 3_600 + minute * 60 + second);
        Some(Self(seconds * MICROS_PER_SECOND + i64::from(micros)))
    }

    /// The time as text, without an allocation.
    #[must_use]
    pub fn text(self) -> TimestampText {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second = u32::try_from(seconds.rem_euclid(SECONDS_PER_DAY)).unwrap_or_default();
        let mut micros = u32::try_from(self.0.rem_euclid(MICROS_PER_SECOND)).unwrap_or_default();
        let ([y1, y2], [y3, y4]) = (digits_of(year / 100), digits_of(year % 100));
        let ([mo1, mo2], [d1, d2]) = (digits_of(month), digits_of(day));
        let ([h1, h2], [mi1, mi2]) = (digits_of(second / 3_600), digits_of(second / 60 % 60));
        let ([s1, s2], [f1, f2]) = (digits_of(second % 60), digits_of(micros / 10_000));
        let ([f3, f4], [f5, f6]) = (digits_of(micros / 100 % 100), digits_of(micros % 100));
        let mut len = TimestampText::BYTES_MAX;
        if micros == 0 {
            len = TimestampText::SECONDS_BYTES;
        } else {
            // Most clocks have milliseconds.
            if micros.is_multiple_of(1_000) {
                micros /= 1_000;
                len -= 3;
            }
            while micros.is_multiple_of(10) {
                micros /= 10;
                len -= 1;
            }
        }
        let mut bytes = [
            y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2, b'.', f1, f2, f3,
            f4, f5, f6, b'Z',
        ];
        if let Some(last) = bytes.get_mut(len - 1) {
            *last = b'Z';
        }
        TimestampText { bytes, len }
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

/// The three numbers of two digits each that begin at these bytes of a text, if it has the form of `zeros`, with any
/// digit for each zero.
#[inline]
fn numbers(text: &[u8; 8], zeros: &[u8; 8], at: [u32; 3]) -> Option<[u32; 3]> {
    // All bytes at once: digits become their values, and all others zero. The highest bit of a byte is set if it is more
    // than 9, or more than 0 where it is not a digit.
    let is_digit = zeros.map(|byte| if byte == b'0' { 0x80 - 10 } else { 0x80 - 1 });
    let values = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*zeros);
    let highest = u64::from_ne_bytes([0x80; 8]);
    if (values | (values & !highest).wrapping_add(u64::from_le_bytes(is_digit))) & highest != 0 {
        return None;
    }
    let digit = |at: u32| (values >> (8 * at)) as u32 & 0xff;
    Some(at.map(|at| digit(at) * 10 + digit(at + 1)))
}

/// The number written in two digits.
fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let [tens, ones] = [tens, ones].map(|digit| u32::from(digit.wrapping_sub(b'0')));
    (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
}

/// Two digits of a number below 100.
fn digits_of(number: u32) -> [u8; 2] {
    DIGITS.get(number as usize).copied().unwrap_or([b'0'; 2])
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, in the years 0 to 9999. `None` if there is no such date.
///
/// Years begin in March here, so that the leap day is the last one, and months have 153 days in five. The same method as
/// `days_from_civil` in "chrono-Compatible Low-Level Date Algorithms" by Howard Hinnant.
fn days_from_date(year: u32, month: u32, day: u32) -> Option<i64> {
    let leaps = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        2 => 28 + u32::from(leaps),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > days_of_month {
        return None;
    }
    // Counted from a year 400 years earlier, so that no number is negative.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let (century, day_of_year) = (year / 100, (153 * month + 2) / 5 + day - 1);
    let days = year * 365 + year / 4 - century + century / 4 + day_of_year;
    Some(i64::from(days) - DAYS_BEFORE_EPOCH)
}

/// Year, month and day of the date so many days after 1970-01-01, in the years 0 to 9999: the reverse of
/// [`days_from_date`].
fn date_from_days(days: i64) -> (u32, u32, u32) {
    let days = u32::try_from(days + DAYS_BEFORE_EPOCH).unwrap_or_default();
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year - 400, month + 3, day) } else { (year - 399, month - 9, day) }
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
    /// As in `2024-01-15T10:30:00Z`.
    const SECONDS_BYTES: usize = 20;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text: ASCII digits and punctuation only.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
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

    #[test]
    fn dates_are_those_of_the_time_crate() {
        let day = |year, month, day| time::Date::from_calendar_date(year, month, day).expect("a date").to_julian_day();
        let (first, epoch) = (day(0, time::Month::January, 1), day(1970, time::Month::January, 1));
        let last = day(9999, time::Month::December, 31);
        // Every day of 400 years, after which dates repeat, and some of all others.
        let era = day(1800, time::Month::January, 1)..day(2200, time::Month::January, 1);
        for julian_day in (first..=last).step_by(13).chain(era).chain([first, last]) {
            let (year, month, day) = time::Date::from_julian_day(julian_day).expect("a date").to_calendar_date();
            let date = (year.unsigned_abs(), u32::from(u8::from(month)), u32::from(day));
            let days = i64::from(julian_day - epoch);
            assert_eq!((date_from_days(days), days_from_date(date.0, date.1, date.2)), (date, Some(days)));
        }
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0)]
        {
            assert_eq!(days_from_date(year, month, day), None, "{year}-{month}-{day}");
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
