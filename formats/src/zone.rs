//! Zones: of times that state none, and the abbreviations and names that times state.

use std::str::FromStr;

use domain::timestamp::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Farthest offset from UTC that a zone can have.
const OFFSET_SECONDS_MAX: i32 = 15 * 3600;

/// The zone of times that state none: an offset from UTC, or a zone of the IANA database with its summer time.
#[derive(Clone, Debug)]
pub struct Zone(Rule);

/// How far a zone is from UTC.
#[derive(Clone, Debug)]
enum Rule {
    /// Always as many seconds ahead of UTC.
    Fixed(i32),
    /// As the IANA database says.
    Named(TimeZone),
}

/// The text names no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a zone: use UTC, an offset such as +02:00 or -0530, a name such as Europe/Berlin, or local")]
pub struct InvalidZone;

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(Rule::Fixed(0));

    /// A zone that is always `seconds` ahead of UTC.
    pub(crate) fn fixed(seconds: i32) -> Self {
        Self(Rule::Fixed(seconds))
    }

    /// The zone of the IANA database with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(|zone| Self(Rule::Named(zone)))
    }

    /// The instant at which clocks of this zone show `seconds` since 1970 and `micros`. A time that clocks skip in
    /// spring is read with the offset before; one that they show twice in autumn is the first.
    pub(crate) fn instant(&self, seconds: i64, micros: i64) -> Option<Timestamp> {
        let offset = match &self.0 {
            Rule::Fixed(offset) => i64::from(*offset),
            Rule::Named(zone) => offset_of(zone, seconds)?,
        };
        Timestamp::from_unix_micros((seconds - offset).checked_mul(1_000_000)?.checked_add(micros)?).ok()
    }
}

fn offset_of(zone: &TimeZone, seconds: i64) -> Option<i64> {
    let civil: DateTime = jiff::Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC).datetime();
    let instant = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(seconds - instant.as_second())
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
        if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
            return Ok(Self::UTC);
        }
        if text.eq_ignore_ascii_case("local") {
            return Ok(Self(Rule::Named(TimeZone::system())));
        }
        if text.starts_with(['+', '-']) {
            let offset = offset(text.as_bytes()).ok_or(InvalidZone)?;
            return if offset.1 == text.len() {
                offset.0.map(Self::fixed).ok_or(InvalidZone)
            } else {
                Err(InvalidZone)
            };
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte)) {
            return Self::named(text).ok_or(InvalidZone);
        }
        Err(InvalidZone)
    }
}

/// The offset that the bytes begin with, and its length: `+HH`, `+HHMM` or `+HH:MM`. No seconds if it is none of our
/// world.
pub(crate) fn offset(bytes: &[u8]) -> Option<(Option<i32>, usize)> {
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| match bytes.get(at..at + 2) {
        Some([tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => Some(i32::from(tens - b'0') * 10 + i32::from(ones - b'0')),
        _ => None,
    };
    let hours = two(1)?;
    let (minutes, end) = match (two(3), bytes.get(3), two(4)) {
        (Some(minutes), _, _) => (minutes, 5),
        (None, Some(b':'), Some(minutes)) => (minutes, 6),
        _ => (0, 3),
    };
    if bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some(((seconds <= OFFSET_SECONDS_MAX && minutes < 60).then_some(sign * seconds), end))
}

/// The offset of an abbreviation, in minutes: RFC 2822 (4.3) and the default set of PostgreSQL. An abbreviation that is
/// in neither has too many meanings.
pub(crate) fn abbreviation(name: &str) -> Option<i32> {
    if !(1..=6).contains(&name.len()) {
        return None;
    }
    let place = ABBREVIATIONS.binary_search_by_key(&name, |(known, _)| known).ok()?;
    ABBREVIATIONS.get(place).map(|(_, minutes)| *minutes)
}

/// In alphabetical order.
const ABBREVIATIONS: [(&str, i32); 149] = [
    ("ACDT", 630),
    ("ACST", 570),
    ("ACT", -300),
    ("ADT", -180),
    ("AEDT", 660),
    ("AEST", 600),
    ("AFT", 270),
    ("AKDT", -480),
    ("AKST", -540),
    ("ALMT", 360),
    ("AMST", -180),
    ("AMT", -240),
    ("ANAT", 720),
    ("ART", -180),
    ("AST", -240),
    ("AWST", 480),
    ("AZOST", 0),
    ("AZOT", -60),
    ("AZT", 240),
    ("BDT", 360),
    ("BNT", 480),
    ("BOT", -240),
    ("BRA", -180),
    ("BRST", -120),
    ("BRT", -180),
    ("BST", 60),
    ("BTT", 360),
    ("CDT", -300),
    ("CEST", 120),
    ("CET", 60),
    ("CETDST", 120),
    ("CHADT", 825),
    ("CHAST", 765),
    ("CHUT", 600),
    ("CKT", -600),
    ("CLST", -180),
    ("CLT", -240),
    ("COT", -300),
    ("CST", -360),
    ("EASST", -300),
    ("EAST", -360),
    ("EAT", 180),
    ("EDT", -240),
    ("EEST", 180),
    ("EET", 120),
    ("EETDST", 180),
    ("EGST", 0),
    ("EGT", -60),
    ("EST", -300),
    ("FET", 180),
    ("FJST", 780),
    ("FJT", 720),
    ("FKST", -180),
    ("FNST", -60),
    ("FNT", -120),
    ("GALT", -360),
    ("GAMT", -540),
    ("GET", 240),
    ("GFT", -180),
    ("GILT", 720),
    ("GMT", 0),
    ("GYT", -240),
    ("HKT", 480),
    ("HST", -600),
    ("ICT", 420),
    ("IDT", 180),
    ("IRKT", 480),
    ("IRT", 210),
    ("IST", 120),
    ("JAYT", 540),
    ("JST", 540),
    ("KGT", 360),
    ("KOST", 660),
    ("KRAT", 420),
    ("KST", 540),
    ("LHDT", 660),
    ("LHST", 630),
    ("LINT", 840),
    ("LKT", 330),
    ("MAGT", 660),
    ("MART", -570),
    ("MAWT", 300),
    ("MDT", -360),
    ("MEST", 120),
    ("MESZ", 120),
    ("MET", 60),
    ("METDST", 120),
    ("MEZ", 60),
    ("MHT", 720),
    ("MMT", 390),
    ("MSD", 240),
    ("MSK", 180),
    ("MST", -420),
    ("MUT", 240),
    ("MVT", 300),
    ("MYT", 480),
    ("NDT", -150),
    ("NFT", -210),
    ("NOVT", 420),
    ("NPT", 345),
    ("NST", -210),
    ("NUT", -660),
    ("NZDT", 780),
    ("NZST", 720),
    ("OMST", 360),
    ("PDT", -420),
    ("PET", -300),
    ("PETT", 720),
    ("PGT", 600),
    ("PHT", 480),
    ("PKST", 360),
    ("PKT", 300),
    ("PST", -480),
    ("PWT", 540),
    ("PYST", -180),
    ("PYT", -240),
    ("RET", 240),
    ("SAST", 120),
    ("SCT", 240),
    ("SGT", 480),
    ("TAHT", -600),
    ("TJT", 300),
    ("TKT", 780),
    ("TMT", 300),
    ("TOT", 780),
    ("TVT", 720),
    ("UCT", 0),
    ("ULAT", 480),
    ("UT", 0),
    ("UTC", 0),
    ("UYST", -120),
    ("UYT", -180),
    ("UZT", 300),
    ("VET", -240),
    ("VLAT", 600),
    ("VOLT", 180),
    ("VUT", 660),
    ("WAKT", 720),
    ("WEST", 60),
    ("WET", 0),
    ("WETDST", 60),
    ("WFT", 720),
    ("WGST", -120),
    ("WGT", -180),
    ("XJT", 360),
    ("YAKT", 540),
    ("YEKT", 300),
    ("Z", 0),
    ("ZULU", 0),
];
