//! Points in time, to the microsecond.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: microseconds since 1970-01-01T00:00:00Z, in the years 0000 to 9999 that RFC 3339 can
/// write. Every store keeps exactly this.
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

    /// Reads RFC 3339 text of any offset. Digits beyond the microsecond are cut off.
    ///
    /// # Errors
    /// Anything else, a second 60 that was no leap second, or a year that leaves 0000-9999 when converted to
    /// UTC.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros = parsed.unix_timestamp_nanos().div_euclid(1_000);
        Self::from_unix_micros(i64::try_from(micros).map_err(|_| InvalidTimestamp)?)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// The time that lies `duration` after this one, if there is one.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = self.0.checked_add(i64::try_from(duration.as_micros()).ok()?)?;
        Self::from_unix_micros(micros).ok()
    }

    /// The time that lies `duration` before this one, or [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(Self::MIN.0))
    }

    /// How long this time is after `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

/// RFC 3339 in UTC, with as many digits of the second as the value needs: `2024-01-15T10:30:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000).map_err(|_| fmt::Error)?;
        let mut text = Buffer { bytes: [0; 32], len: 0 };
        time.format_into(&mut text, &Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(text.bytes.get(..text.len).unwrap_or_default()).map_err(|_| fmt::Error)?)
    }
}

/// Room for the longest RFC 3339 text that a [`Timestamp`] has (27 bytes), without an allocation an event.
struct Buffer {
    bytes: [u8; 32],
    len: usize,
}

impl std::io::Write for Buffer {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::io::ErrorKind::WriteZero)?;
        room.copy_from_slice(text);
        self.len += text.len();
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
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
    fn years_that_rfc_3339_cannot_write_in_utc_are_refused() {
        assert_eq!(parse("0000-01-01T00:00:00Z").as_deref(), Ok("0000-01-01T00:00:00Z"));
        for text in
            ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z"]
        {
            assert_eq!(parse(text), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_rfc_3339_is_refused() {
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
        fn text_and_back_is_the_same_time(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let timestamp = Timestamp::from_unix_micros(micros).expect("in range");
            prop_assert_eq!(Timestamp::parse(&timestamp.to_string()), Ok(timestamp));
        }
    }
}
