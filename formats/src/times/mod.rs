//! Times in lines: of any common form, at a given place of a text.
//!
//! * A time that a line states but that cannot be known (a day that can be read two ways, an offset that no zone has, a
//!   clock without a day) is recognised as a time, and has no instant.
//! * A time without a zone is that of [`Clock::zone`]; one without a year is in the latest year that puts it no more
//!   than a day ahead of [`Clock::now`]: clocks and offsets differ, but logs do not contain future times.
//! * Digits beyond the microsecond are cut off, and a second 60 counts as the last microsecond of its minute, as in
//!   [`domain::timestamp::Timestamp`].

mod cursor;
mod days;
mod epoch;
#[cfg(test)]
mod tests;

use domain::timestamp::Timestamp;

use self::cursor::Cursor;
pub use self::days::begins_name;
use self::days::{Day, day_at};
pub use self::epoch::{of_number, of_seconds_and_nanos};
use crate::zone::{self, Zone};

const DAY_MICROS: i64 = 86_400_000_000;
const LAST_MICRO: i64 = 999_999;
/// February 29 may be up to eight years back.
const YEARS_BACK_MAX: i32 = 8;

/// What a time in a line is relative to.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// The zone of times that state none.
    pub zone: &'a Zone,
    /// Now.
    pub now: Timestamp,
}

impl Clock<'_> {
    fn this_year(self) -> i32 {
        days::year_of(self.now.unix_micros().div_euclid(DAY_MICROS))
    }
}

/// A time that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The instant, if it can be known.
    pub instant: Option<Timestamp>,
    /// Where the text of the time ends.
    pub end: usize,
    /// Whether the text says the day, not only the time of day.
    pub has_day: bool,
}

/// A zone as a time states it.
enum Stated {
    None,
    Zone(Zone),
    Invalid,
}

/// A time of day.
struct TimeOfDay {
    /// None if there is no such time.
    seconds: Option<i64>,
    micros: i64,
}

/// The time that begins at `from`.
pub fn at(text: &str, from: usize, clock: Clock<'_>) -> Option<Time> {
    let bytes = text.as_bytes();
    let first = *bytes.get(from)?;
    if from > 0 && bytes.get(from - 1).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    if !first.is_ascii_digit() && !begins_name(bytes, from) {
        return None;
    }
    if first.is_ascii_digit()
        && let Some(time) = epoch::at(bytes, from)
    {
        return Some(time);
    }
    let mut cursor = Cursor::new(bytes, from);
    match day_at(&mut cursor, clock.this_year()) {
        Some(day) => with_day(text, &day, cursor, clock),
        None => clock_alone(Cursor::new(bytes, from)),
    }
}

/// The time that the whole text is, perhaps with a zone in parentheses behind it.
pub fn whole(text: &str, clock: Clock<'_>) -> Option<Timestamp> {
    let text = text.trim();
    // What most libraries write is read at once.
    if let Some(time) = Timestamp::parse_utc(text.as_bytes()) {
        return Some(time);
    }
    let time = at(text, 0, clock)?;
    let rest = text.get(time.end..)?.trim_start();
    if rest.is_empty() || (rest.starts_with('(') && rest.ends_with(')')) { time.instant } else { None }
}

fn with_day(text: &str, day: &Day, mut cursor: Cursor<'_>, clock: Clock<'_>) -> Option<Time> {
    if !day.compact_clock_follows(&mut cursor) && !cursor.skip_between_day_and_clock() {
        return None;
    }
    let clock_from = cursor.at;
    let time_of_day = time_of_day(&mut cursor, day.is_compact)?;
    if day.is_compact {
        // Six digits that are not a time of day are a number.
        time_of_day.seconds?;
    }
    let mut day = *day;
    let mut stated = stated_zone(text, &mut cursor);
    if day.year.is_none() && day.month_was_named {
        // date(1) and asctime(3) print the year last: `Mon Jan 15 10:30:00 UTC 2024`.
        if let Some(year) = year_behind(&mut cursor) {
            day.year = Some(year);
            if matches!(stated, Stated::None) {
                stated = stated_zone(text, &mut cursor);
            }
        }
    }
    debug_assert!(cursor.at > clock_from);
    let instant = match &stated {
        Stated::Invalid => None,
        Stated::Zone(zone) => instant(&day, &time_of_day, zone, clock.now),
        Stated::None => instant(&day, &time_of_day, clock.zone, clock.now),
    };
    Some(Time { instant, end: cursor.at, has_day: true })
}

/// A clock without a day, such as `09:15:27.123`: a time, but which one cannot be known.
fn clock_alone(mut cursor: Cursor<'_>) -> Option<Time> {
    let from = cursor.at;
    cursor.digits(1, 2)?;
    cursor.byte(b':').then_some(())?;
    cursor.digits(2, 2)?;
    cursor.byte(b':').then_some(())?;
    cursor.at = from;
    let time = time_of_day(&mut cursor, false)?;
    // `13:00:00 AM` is a clock, though a wrong one; `99:99:99` is none.
    let has_half = !cursor.previous().is_some_and(|last| last.is_ascii_digit());
    (time.seconds.is_some() || has_half).then_some(())?;
    Some(Time { instant: None, end: cursor.at, has_day: false })
}

/// Hours, minutes, perhaps seconds and a fraction, perhaps AM or PM.
fn time_of_day(cursor: &mut Cursor<'_>, is_compact: bool) -> Option<TimeOfDay> {
    let hour = cursor.digits(1, 2)?;
    let (minute, second) = if cursor.byte(b':') {
        let minute = cursor.digits(2, 2)?;
        (minute, if cursor.byte_before_digit(b':') { cursor.digits(2, 2)? } else { 0 })
    } else if is_compact {
        (cursor.digits(2, 2)?, cursor.digits(2, 2).unwrap_or(0))
    } else {
        return None;
    };
    let mut micros = cursor.fraction_micros();
    let hour = hour_of_day(i64::from(hour), cursor.afternoon());
    let mut second = i64::from(second);
    if second == 60 {
        (second, micros) = (59, LAST_MICRO);
    }
    let ends = match cursor.rest() {
        [b':', next, ..] => !next.is_ascii_digit(),
        [next, ..] => !next.is_ascii_digit(),
        [] => true,
    };
    let hour = hour.filter(|hour| *hour < 24 && minute < 60 && second < 60);
    let seconds = hour.map(|hour| hour * 3600 + i64::from(minute) * 60 + second);
    ends.then_some(TimeOfDay { seconds, micros })
}

/// The hour of 24, if the clock of 12 hours states one: 13 to 23 with PM and 0 with AM have only one reading.
fn hour_of_day(hour: i64, afternoon: Option<bool>) -> Option<i64> {
    match (afternoon, hour) {
        (None, _) | (Some(true), 13..=23) | (Some(false), 0) => Some(hour),
        (Some(afternoon), 1..=12) => Some(hour % 12 + if afternoon { 12 } else { 0 }),
        _ => None,
    }
}

fn instant(day: &Day, time: &TimeOfDay, zone: &Zone, now: Timestamp) -> Option<Timestamp> {
    let seconds = time.seconds?;
    let in_year = |year| zone.instant(day.days_since_1970(year)? * 86_400 + seconds, time.micros);
    if let Some(year) = day.year {
        return in_year(year);
    }
    let this_year = Clock { zone, now }.this_year();
    (this_year - YEARS_BACK_MAX..=this_year + 1)
        .rev()
        .filter_map(in_year)
        .find(|time| time.unix_micros() - now.unix_micros() <= DAY_MICROS)
}

/// A year of four digits behind the clock, and nothing else of a number.
fn year_behind(cursor: &mut Cursor<'_>) -> Option<i32> {
    let from = cursor.at;
    let year = if cursor.byte(b' ') { cursor.digits(4, 4) } else { None };
    let ends = !cursor.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-/.".contains(&byte));
    let year = year.and_then(|year| i32::try_from(year).ok()).filter(|year| ends && (1970..2200).contains(year));
    if year.is_none() {
        cursor.at = from;
    }
    year
}

/// The zone behind a clock: `Z`, an offset, an abbreviation, `GMT+0100`, or a name of the IANA database. A word that
/// is none of these is text.
fn stated_zone(text: &str, cursor: &mut Cursor<'_>) -> Stated {
    let from = cursor.at;
    let rest = cursor.rest();
    match rest {
        [b'Z' | b'z', next @ ..] if !next.first().is_some_and(u8::is_ascii_alphanumeric) => {
            cursor.at += 1;
            return Stated::Zone(Zone::UTC);
        }
        [b'+' | b'-', ..] => return offset_here(cursor),
        _ => {}
    }
    cursor.skip_blanks();
    let has_blank = cursor.at > from;
    match cursor.peek() {
        Some(b'+' | b'-') if has_blank => {
            let stated = offset_here(cursor);
            if matches!(stated, Stated::None) {
                cursor.at = from;
            }
            stated
        }
        Some(b'A'..=b'Z') => match named_zone(text, cursor) {
            Some(zone) => Stated::Zone(zone),
            None => {
                cursor.at = from;
                Stated::None
            }
        },
        _ => {
            cursor.at = from;
            Stated::None
        }
    }
}

fn offset_here(cursor: &mut Cursor<'_>) -> Stated {
    match zone::offset(cursor.rest()) {
        None => Stated::None,
        Some((seconds, length)) => {
            cursor.at += length;
            seconds.map_or(Stated::Invalid, |seconds| Stated::Zone(Zone::fixed(seconds)))
        }
    }
}

fn named_zone(text: &str, cursor: &mut Cursor<'_>) -> Option<Zone> {
    let bytes = cursor.rest();
    let letters = bytes.iter().take(8).take_while(|byte| byte.is_ascii_uppercase()).count();
    let next = bytes.get(letters).copied();
    let from = cursor.at;
    if !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/')) {
        let name = text.get(from..from + letters)?;
        let minutes = zone::abbreviation(name)?;
        // A letter behind the clock is more often a level or a component than universal time.
        if name == "Z" && next.is_some_and(|byte| !byte.is_ascii_whitespace() && byte != b']') {
            return None;
        }
        if matches!(next, Some(b'.' | b'=')) || (next == Some(b'-') && !matches!(name, "GMT" | "UTC")) {
            return None;
        }
        cursor.at += letters;
        if matches!(name, "GMT" | "UTC") && matches!(next, Some(b'+' | b'-')) {
            if let Stated::Zone(zone) = offset_here(cursor) {
                return Some(zone);
            }
            // `GMT+1`
            if let [sign, hours @ b'0'..=b'9', rest @ ..] = cursor.rest()
                && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
            {
                cursor.at += 2;
                let seconds = i32::from(hours - b'0') * 3600;
                return Some(Zone::fixed(if *sign == b'-' { -seconds } else { seconds }));
            }
        }
        return Some(Zone::fixed(minutes * 60));
    }
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
    let length = bytes.iter().take(40).take_while(is_name).count();
    let name = text.get(from..from + length).filter(|name| name.contains('/'))?;
    let zone = Zone::named(name)?;
    cursor.at += length;
    Some(zone)
}
