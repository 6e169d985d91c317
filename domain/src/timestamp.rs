//! Points in time, with microsecond precision.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Bytes of a date such as 2024-01-15.
const DATE_BYTES: usize = 10;
/// Digits of a fraction that the fast path reads.
const FRACTION_DIGITS_MAX: usize = 9;
/// What a fraction with so many digits is multiplied with, and then divided by, for microseconds.
const SCALES: [(u32, u32); FRACTION_DIGITS_MAX + 1] =
    [(1_000_000, 1), (100_000, 1), (10_000, 1), (1_000, 1), (100, 1), (10, 1), (1, 1), (1, 10), (1, 100), (1, 1_000)];
const YEAR_AND_MONTH: Form = Form::new(*b"0000-00-");
const TIME: Form = Form::new(*b"00:00:00");
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

    /// The beginning of a day in UTC, written as `2024-01-15`.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse_date(text: &str) -> Result<Self, InvalidTimestamp> {
        // Most values that are compared to a time are of another length.
        if text.len() != DATE_BYTES {
            return Err(InvalidTimestamp);
        }
        Self::parse(&format!("{text}T00:00:00Z"))
    }

    /// Parses the most common form, `2024-01-15T10:30:00.123Z`, with up to nine fractional digits or none; `None` for any
    /// other text, which may still be a time.
    #[must_use]
    pub fn parse_utc(text: &[u8]) -> Option<Self> {
        let (timestamp, bytes) = Self::parse_beginning(text)?;
        (bytes == text.len()).then_some(timestamp)
    }

    /// The time that a text begins with, if it has the form of [`Timestamp::parse_utc`], and its length in bytes.
    #[must_use]
    pub fn parse_beginning(text: &[u8]) -> Option<(Self, usize)> {
        let (year_and_month, rest) = text.split_first_chunk::<8>()?;
        let ([d1, d2, b'T'], rest) = rest.split_first_chunk::<3>()? else { return None };
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let [century, year, month] = YEAR_AND_MONTH.numbers(year_and_month, [0, 2, 5])?;
        let days = days_from_date(century * 100 + year, month, two_digits(*d1, *d2)?)?;
        let [hour, minute, second] = TIME.numbers(time, [0, 3, 6])?;
        // Leap seconds are left to the full parser.
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (micros, bytes) = fraction(rest)?;
        let seconds = days * SECONDS_PER_DAY + i64::from(hour * 3_600 + minute * 60 + second);
        Some((Self(seconds * MICROS_PER_SECOND + i64::from(micros)), TimestampText::SECONDS_BYTES - 1 + bytes))
    }

    /// The time as text, without an allocation.
    #[must_use]
    pub fn text(self) -> TimestampText {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second = u32::try_from(seconds.rem_euclid(SECONDS_PER_DAY)).unwrap_or_default();
        let mut micros = u32::try_from(self.0.rem_euclid(MICROS_PER_SECOND)).unwrap_or_default();
        let date = four_pairs([year / 100, year % 100, month, day]);
        let time = four_pairs([second / 3_600, second / 60 % 60, second % 60, micros / 10_000]);
        let rest = four_pairs([micros / 100 % 100, micros % 100, 0, 0]);
        let pair = |digits: u64, index: u32| digits >> (16 * index) & 0xffff;
        let words = [
            u64::from_le_bytes(*b"\0\0\0\0-\0\0-") | date & 0xffff_ffff | pair(date, 2) << 40,
            u64::from_le_bytes(*b"\0\0T\0\0:\0\0") | pair(date, 3) | pair(time, 0) << 24 | pair(time, 1) << 48,
            u64::from_le_bytes(*b":\0\0.\0\0\0\0") | pair(time, 2) << 8 | pair(time, 3) << 32 | pair(rest, 0) << 48,
            u64::from_le_bytes(*b"\0\0Z\0\0\0\0\0") | pair(rest, 1),
        ];
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
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

/// The microseconds of `.123Z` or `Z`, which a text begins with, and the bytes of that.
fn fraction(text: &[u8]) -> Option<(u32, usize)> {
    let digits = match text {
        [b'Z', ..] => return Some((0, 1)),
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    let mut number = 0;
    for (count, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if count < FRACTION_DIGITS_MAX => number = number * 10 + u32::from(byte - b'0'),
            b'Z' if count > 0 => {
                let (of_six, beyond_six) = SCALES.get(count)?;
                return Some((number * of_six / beyond_six, count + 2));
            }
            _ => return None,
        }
    }
    None
}

/// A form of eight bytes, in each of which stands a digit or one certain other byte. All bytes are compared at once.
struct Form {
    /// The form with a `0` for each digit.
    zeros: u64,
    /// What is added to a byte minus its `zeros`, so that the highest bit is set if the byte does not fit.
    limits: u64,
}

impl Form {
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);

    const fn new(zeros: [u8; 8]) -> Self {
        let mut limits = [0x80 - 1; 8];
        let mut at = 0;
        while let (Some((_, [byte, ..])), Some((_, [limit, ..]))) =
            (zeros.split_at_checked(at), limits.split_at_mut_checked(at))
        {
            if *byte == b'0' {
                *limit = 0x80 - 10;
            }
            at += 1;
        }
        Self { zeros: u64::from_le_bytes(zeros), limits: u64::from_le_bytes(limits) }
    }

    /// The numbers of two digits each that begin at these bytes of a text, if it has this form.
    #[inline]
    fn numbers<const N: usize>(&self, text: &[u8; 8], at: [u32; N]) -> Option<[u32; N]> {
        // Digits become their values, and all others zero.
        let values = u64::from_le_bytes(*text) ^ self.zeros;
        if (values | (values & !Self::HIGHEST).wrapping_add(self.limits)) & Self::HIGHEST != 0 {
            return None;
        }
        // In each byte ten times its digit and the next one, which is at most 99.
        let pairs = values * 10 + (values >> 8);
        Some(at.map(|at| (pairs >> (8 * at)) as u32 & 0xff))
    }
}

/// The number written in two digits.
fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let [tens, ones] = [tens, ones].map(|digit| u32::from(digit.wrapping_sub(b'0')));
    (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
}

/// Two digits for each of four numbers below 100; the first digit is the lowest byte.
fn four_pairs([first, second, third, fourth]: [u32; 4]) -> u64 {
    let lanes = u64::from(first) | u64::from(second) << 16 | u64::from(third) << 32 | u64::from(fourth) << 48;
    // Below 100, 103 / 1024 is exact enough to be a division by ten.
    let tens = ((lanes * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (lanes - tens * 10) << 8) | u64::from_ne_bytes([b'0'; 8])
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
    bytes: [u8; 32],
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

    /// Appends the text to a buffer.
    #[inline]
    pub fn append_to(&self, buffer: &mut Vec<u8>) {
        // Appends all bytes, whose number the compiler knows, and removes those beyond the text.
        let end = buffer.len() + self.len;
        buffer.extend_from_slice(&self.bytes);
        buffer.truncate(end);
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
    fn a_date_is_its_beginning_in_utc() {
        assert_eq!(
            Timestamp::parse_date("2024-02-29").map(|day| day.to_string()).as_deref(),
            Ok("2024-02-29T00:00:00Z")
        );
        for text in ["", "2023-02-29", "2024-2-29", "2024-02-29T", "20240229..", "2024-02-29T00:00:00Z"] {
            assert_eq!(Timestamp::parse_date(text), Err(InvalidTimestamp), "{text}");
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
            let mut appended = b"at ".to_vec();
            timestamp.text().append_to(&mut appended);
            prop_assert_eq!(appended, format!("at {text}").into_bytes());
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
