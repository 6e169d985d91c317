//! A place in the bytes of a line.

/// Reads bytes from a place on.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The last byte that was read.
    pub fn previous(&self) -> Option<u8> {
        self.bytes.get(self.at.checked_sub(1)?).copied()
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Skips this byte, if it is next.
    pub fn byte(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Skips this byte, if it is next and a digit follows it.
    pub fn byte_before_digit(&mut self, byte: u8) -> bool {
        let follows = self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit);
        follows && self.byte(byte)
    }

    /// How many digits are next; at most 20 are counted.
    pub fn count_digits(&self) -> usize {
        self.rest().iter().take(20).take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// Reads a number of `min` to `max` digits, and leaves further digits. At most nine.
    pub fn digits(&mut self, min: usize, max: usize) -> Option<u32> {
        let count = self.count_digits().min(max);
        if count < min {
            return None;
        }
        let digits = self.rest().get(..count)?;
        self.at += count;
        Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// Skips blanks; at most eight.
    pub fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take(8).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }

    /// Skips what may stand between a day and a clock: `T`, blanks, a comma, an underscore, colons.
    pub fn skip_between_day_and_clock(&mut self) -> bool {
        let from = self.at;
        match self.rest() {
            [b'T' | b't' | b'_' | b'-', digit, ..] if digit.is_ascii_digit() => self.at += 1,
            [b':', b':', ..] => self.at += 2,
            [b':', ..] => self.at += 1,
            [b',', ..] => {
                self.at += 1;
                self.skip_blanks();
            }
            _ => {
                self.skip_blanks();
                // `January 15, 2024 at 10:30`
                if self.at > from && self.rest().starts_with(b"at ") {
                    self.at += 3;
                }
            }
        }
        self.at > from && self.peek().is_some_and(|byte| byte.is_ascii_digit())
    }

    /// Reads a fraction behind a point or a comma, in microseconds; zero if there is none.
    pub fn fraction_micros(&mut self) -> i64 {
        // `10:30:00:123`: milliseconds behind a colon.
        let is_millis = matches!(self.rest(), [b':', a, b, c, rest @ ..]
            if [a, b, c].iter().all(|byte| byte.is_ascii_digit()) && !rest.first().is_some_and(u8::is_ascii_digit));
        let has_mark = self.byte_before_digit(b'.') || self.byte_before_digit(b',') || (is_millis && self.byte(b':'));
        if !has_mark {
            return 0;
        }
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        let (mut micros, mut count) = (0, 0);
        for digit in digits {
            if count < 6 {
                micros = micros * 10 + i64::from(digit - b'0');
            }
            count += 1;
        }
        self.at += count;
        micros * 10_i64.pow(6_u32.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// Reads AM or PM, perhaps behind a blank; whether it is PM.
    pub fn afternoon(&mut self) -> Option<bool> {
        let mut ahead = *self;
        ahead.skip_blanks();
        let (afternoon, length) = match ahead.rest() {
            [half @ (b'A' | b'a' | b'P' | b'p'), b'M' | b'm', ..] => (matches!(half, b'P' | b'p'), 2),
            [half @ (b'a' | b'p'), b'.', b'm', b'.', ..] => (*half == b'p', 4),
            _ => return None,
        };
        if ahead.rest().get(length).is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        self.at = ahead.at + length;
        Some(afternoon)
    }
}
