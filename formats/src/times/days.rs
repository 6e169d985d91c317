//! The day that a time begins with.

use super::cursor::Cursor;

const MONTHS: [(&str, u32); 12] = [
    ("january", 1),
    ("february", 2),
    ("march", 3),
    ("april", 4),
    ("may", 5),
    ("june", 6),
    ("july", 7),
    ("august", 8),
    ("september", 9),
    ("october", 10),
    ("november", 11),
    ("december", 12),
];
/// How old a line may be whose year has two digits, and how old if it can be read in several ways.
const GUESSED_YEARS_MAX: i32 = 15;
const PREFERRED_YEARS_MAX: i32 = 5;
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A day.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// The year, if the text says it.
    pub year: Option<i32>,
    /// 1 to 12, or 0 if the day can be read in two ways.
    month: u32,
    day: u32,
    /// Whether the month was a name; then the year may follow the clock.
    pub month_was_named: bool,
    /// Whether the day was eight digits, or six, without separators.
    pub is_compact: bool,
}

impl Day {
    /// Days since 1970-01-01, in the proleptic Gregorian calendar.
    pub fn days_since_1970(&self, year: i32) -> Option<i64> {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let last = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        if !(1..=last).contains(&self.day) {
            return None;
        }
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(era * 146_097 + day_of_era - 719_468)
    }

    /// Skips to the clock behind a compact day, such as `20240115T103000Z` or `20240115103000`.
    pub fn compact_clock_follows(&self, cursor: &mut Cursor<'_>) -> bool {
        self.is_compact && cursor.count_digits() == 6
    }
}

/// The year of a day since 1970.
pub fn year_of(days: i64) -> i32 {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let year = year_of_era + era * 400 + i64::from(day_of_year >= 306);
    i32::try_from(year).unwrap_or(i32::MAX)
}

/// Whether the name of a month or a weekday may begin here: cheap, for most words are neither.
pub fn begins_name(bytes: &[u8], from: usize) -> bool {
    match bytes.get(from..from + 3) {
        Some([first @ (b'A'..=b'Z' | b'a'..=b'z'), second, third]) => {
            let start = [first.to_ascii_lowercase(), second.to_ascii_lowercase(), third.to_ascii_lowercase()];
            let is_weekday = matches!(&start, b"mon" | b"tue" | b"wed" | b"thu" | b"fri" | b"sat" | b"sun");
            let is_early = matches!(&start, b"jan" | b"feb" | b"mar" | b"apr" | b"may" | b"jun");
            is_weekday || is_early || matches!(&start, b"jul" | b"aug" | b"sep" | b"oct" | b"nov" | b"dec")
        }
        _ => false,
    }
}

/// The day that begins here.
pub fn day_at(cursor: &mut Cursor<'_>, this_year: i32) -> Option<Day> {
    if !cursor.peek()?.is_ascii_digit() {
        return named_day(cursor, this_year);
    }
    match cursor.count_digits() {
        4 => year_first(cursor),
        8 | 14 => {
            let (year, month, day) = (cursor.digits(4, 4)?, cursor.digits(2, 2)?, cursor.digits(2, 2)?);
            let plausible = (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
            plausible.then(|| Day { is_compact: true, ..numbered(Some(year), month, day) })
        }
        6 => {
            let (year, month, day) = (cursor.digits(2, 2)?, cursor.digits(2, 2)?, cursor.digits(2, 2)?);
            let plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
            plausible.then(|| Day { is_compact: true, ..numbered(Some(full_year(year)), month, day) })
        }
        1 | 2 => day_or_month_first(cursor, this_year),
        _ => None,
    }
}

fn numbered(year: Option<u32>, month: u32, day: u32) -> Day {
    let year = year.and_then(|year| i32::try_from(year).ok());
    Day { year, month, day, month_was_named: false, is_compact: false }
}

/// Two digits of a year stand for 1970 to 2069.
fn full_year(two_digits: u32) -> u32 {
    if two_digits < 70 { 2000 + two_digits } else { 1900 + two_digits }
}

/// `2024-01-15`, `2024/01/15`, `2024.01.15`, `2024 Jan 15`, `2024-Jan-15`, `2024:01:15`.
fn year_first(cursor: &mut Cursor<'_>) -> Option<Day> {
    let year = cursor.digits(4, 4)?;
    let separator = cursor.peek().filter(|byte| matches!(byte, b'-' | b'/' | b'.' | b' ' | b':'))?;
    cursor.at += 1;
    if let Some(month) = month_name(cursor) {
        cursor.byte(separator).then_some(())?;
        cursor.skip_blanks();
        return Some(numbered(Some(year), month, cursor.digits(1, 2)?));
    }
    if separator == b' ' {
        return None;
    }
    let month = cursor.digits(1, 2)?;
    cursor.byte(separator).then_some(())?;
    let day = cursor.digits(1, 2)?;
    let plausible = (1..=12).contains(&month) && (1..=31).contains(&day);
    plausible.then(|| numbered(Some(year), month, day))
}

/// `15.01.2024`, `15/01/2024`, `01/15/2024`, `15-Jan-2024`, `15/Jan/2024`, `15 Jan 2024`, `01-15` of logcat.
fn day_or_month_first(cursor: &mut Cursor<'_>, this_year: i32) -> Option<Day> {
    let first = cursor.digits(1, 2)?;
    let separator = cursor.peek().filter(|byte| matches!(byte, b'-' | b'/' | b'.' | b' '))?;
    cursor.at += 1;
    cursor.skip_blanks();
    if let Some(month) = month_name(cursor) {
        let named = |year| Day { month_was_named: true, ..numbered(year, month, first) };
        let before_year = *cursor;
        let separated = cursor.byte(separator) || (separator == b' ' && cursor.byte(b','));
        cursor.skip_blanks();
        let year = if separated { year_of_two_or_four_digits(cursor) } else { None };
        // `15 Jan 10:30:00` has no year.
        if year.is_none() || cursor.peek() == Some(b':') && separator == b' ' && cursor.at - before_year.at < 5 {
            *cursor = before_year;
            return (separator == b' ').then(|| named(None));
        }
        return Some(named(year));
    }
    if separator == b' ' {
        return None;
    }
    let second = cursor.digits(1, 2)?;
    if !cursor.byte(separator) {
        // logcat: `01-15 10:30:00.123`
        let plausible = separator == b'-' && (1..=12).contains(&first) && (1..=31).contains(&second);
        return (plausible && cursor.peek() == Some(b' ')).then(|| numbered(None, first, second));
    }
    let third = cursor.count_digits();
    let last = cursor.digits(third.min(4), 4).filter(|_| third == 2 || third == 4)?;
    let year = if third == 2 { full_year(last) } else { last };
    let mut readings = Readings { this_year, has_year: third == 4, day: None, is_ambiguous: false };
    readings.add(year, second, first);
    if separator != b'.' {
        readings.add(year, first, second);
    }
    if third == 2 {
        // log4j's `yy/MM/dd`.
        readings.add(full_year(first), second, last);
    }
    readings.only()
}

/// The readings of three numbers.
struct Readings {
    this_year: i32,
    has_year: bool,
    day: Option<(u32, u32, u32)>,
    is_ambiguous: bool,
}

impl Readings {
    /// Adds a reading, if it is a day. One whose year is only a guess must be of our days.
    fn add(&mut self, year: u32, month: u32, day: u32) {
        let ago = self.this_year - i32::try_from(year).unwrap_or(i32::MAX);
        if !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || !(self.has_year || (-1..=GUESSED_YEARS_MAX).contains(&ago))
        {
            return;
        }
        let reading = (year, month, day);
        let is_recent = |(year, ..): (u32, u32, u32)| {
            self.has_year || self.this_year - i32::try_from(year).unwrap_or(i32::MIN) <= PREFERRED_YEARS_MAX
        };
        match self.day {
            Some(known) if known == reading || (is_recent(known) && !is_recent(reading)) => {}
            Some(known) if is_recent(known) || !is_recent(reading) => self.is_ambiguous = true,
            _ => {
                self.day = Some(reading);
                self.is_ambiguous = false;
            }
        }
    }

    /// The only reading; a day that cannot be known if there are several.
    fn only(self) -> Option<Day> {
        let (year, month, day) = self.day?;
        Some(if self.is_ambiguous { numbered(Some(year), 0, 0) } else { numbered(Some(year), month, day) })
    }
}

fn year_of_two_or_four_digits(cursor: &mut Cursor<'_>) -> Option<u32> {
    match cursor.count_digits() {
        4 => cursor.digits(4, 4),
        2 => cursor.digits(2, 2).map(full_year),
        _ => None,
    }
}

/// `Mon Jan 15`, `Mon, 15 Jan 2024`, `Jan 15`, `Jan 15, 2024`, `Jan 15 2024`, `Monday, 15-Jan-24`.
fn named_day(cursor: &mut Cursor<'_>, this_year: i32) -> Option<Day> {
    let weekday = name_in(cursor, WEEKDAYS.iter().map(|name| (*name, 0))).is_some();
    if weekday {
        cursor.byte(b',');
        cursor.skip_blanks();
        if cursor.peek()?.is_ascii_digit() {
            return if cursor.count_digits() == 4 { year_first(cursor) } else { day_or_month_first(cursor, this_year) };
        }
    }
    let month = month_name(cursor)?;
    let separator = cursor.peek().filter(|byte| matches!(byte, b' ' | b'-' | b'/'))?;
    cursor.at += 1;
    cursor.skip_blanks();
    let day = cursor.digits(1, 2)?;
    let before_year = *cursor;
    let separated = cursor.byte(b',') | cursor.byte(separator);
    cursor.skip_blanks();
    let year = if separated && cursor.count_digits() == 4 { cursor.digits(4, 4) } else { None };
    if year.is_none() {
        *cursor = before_year;
    }
    Some(Day { month_was_named: true, ..numbered(year, month, day) })
}

fn month_name(cursor: &mut Cursor<'_>) -> Option<u32> {
    name_in(cursor, MONTHS.iter().copied())
}

/// Reads one of the names, in full or its first three letters (`Sept` as well), in any case.
fn name_in<'n>(cursor: &mut Cursor<'_>, mut names: impl Iterator<Item = (&'n str, u32)>) -> Option<u32> {
    let rest = cursor.rest();
    let letters = rest.iter().take(12).take_while(|byte| byte.is_ascii_alphabetic()).count();
    // The shortest has three, and most days are digits.
    let word = rest.get(..letters).filter(|word| word.len() >= 3)?;
    let is_name = |name: &str| {
        let short = letters == 3 || (letters == 4 && name.starts_with("sept"));
        let begins = name.as_bytes().get(..letters).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        begins && (short || name.len() == letters)
    };
    let (_, number) = names.find(|(name, _)| is_name(name))?;
    cursor.at += letters;
    // `Jan. 15`
    cursor.byte(b'.');
    Some(number)
}
