//! The scan of JSON text: checks every byte and returns compact text.

use std::borrow::Cow;

use super::error::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX, MetadataError};
use super::name::{NAMES_IN_PAIRS_MAX, UNKNOWN_MEMBERS_MAX, shown, unescaped};
use super::plain::plain_bytes;
use super::plain_object::plain_member;

/// Maximum bytes of output to keep for one value. A longer value exceeds [`METADATA_BYTES_MAX`], and a longer name
/// cannot equal that of another member: a name within [`METADATA_BYTES_MAX`] has at most six times as many bytes when
/// written in escapes.
pub(super) const KEPT_BYTES_MAX: usize = 6 * METADATA_BYTES_MAX + 2;

/// Maximum digits before and after the point in PostgreSQL's `numeric`.
const INTEGER_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;
/// Stores write numbers out in full, so a short exponent could produce a long text. Floating-point numbers end below
/// this bound anyway.
const EXPONENT_MAX: i64 = 400;

/// Scans JSON text once. White space is removed and U+0000 replaced; until something changes, the output is the input.
pub(super) struct Scanner<'a> {
    input: &'a str,
    at: usize,
    /// Output so far, once it differs from the input; at most [`KEPT_BYTES_MAX`].
    changed: String,
    /// Whether the output exceeded that limit.
    overflowed: bool,
    /// Start of the input that is not yet in `changed`.
    kept_from: usize,
    depth: u32,
    /// The names of the objects that are open, as they are written, with quotes. At most [`UNKNOWN_MEMBERS_MAX`] with
    /// [`KEPT_BYTES_MAX`] bytes: the object with more exceeds [`METADATA_BYTES_MAX`].
    names: Vec<&'a str>,
    name_bytes: usize,
    /// Whether one of the names so far has an escape.
    name_escapes: bool,
    /// The name of [`Fault::DuplicateName`].
    duplicate: String,
}

/// A [`MetadataError`] during the scan, which fits into a register.
#[derive(Clone, Copy)]
enum Fault {
    Syntax,
    Depth,
    LoneSurrogate,
    Number,
    /// The name is [`Scanner::duplicate`].
    DuplicateName,
}

impl<'a> Scanner<'a> {
    /// A scan of one value that will be at nesting level `depth` in the result.
    pub(super) fn new(input: &'a str, depth: u32) -> Self {
        Self::with_names(input, depth, Vec::new())
    }

    /// The same, with the memory of an earlier scan.
    fn with_names(input: &'a str, depth: u32, names: Vec<&'a str>) -> Self {
        // `object` and `array` count themselves on entry.
        Self {
            input,
            at: 0,
            changed: String::new(),
            overflowed: false,
            kept_from: 0,
            depth: depth.saturating_sub(1),
            names,
            name_bytes: 0,
            name_escapes: false,
            duplicate: String::new(),
        }
    }

    /// The names of the members of a checked object, as JSON text with quotes.
    pub(super) fn names_of(object: &'a str) -> Vec<&'a str> {
        let mut scanner = Self::new(object, 1);
        // The text was checked when it was created, so the scan cannot fail; if it did, no name would be known.
        match scanner.members() {
            Ok(()) => scanner.names,
            Err(_) => Vec::new(),
        }
    }

    /// The value as compact text; if that exceeds [`KEPT_BYTES_MAX`], the input, which is longer still.
    pub(super) fn document(mut self) -> Result<Cow<'a, str>, MetadataError> {
        self.skip_space();
        self.checked_value()?;
        self.skip_space();
        if self.at != self.input.len() {
            return Err(MetadataError::Syntax);
        }
        Ok(self.compact())
    }

    /// The value that the input begins with, as [`Scanner::document`] returns it, and its length in the input. `names`
    /// is memory that every scan of one input may use.
    pub(super) fn first(
        input: &'a str,
        depth: u32,
        names: &mut Vec<&'a str>,
    ) -> Result<(Cow<'a, str>, usize), MetadataError> {
        names.clear();
        let mut scanner = Self::with_names(input, depth, std::mem::take(names));
        scanner.checked_value()?;
        *names = std::mem::take(&mut scanner.names);
        let bytes = scanner.at;
        Ok((scanner.compact(), bytes))
    }

    fn checked_value(&mut self) -> Result<(), MetadataError> {
        self.value().map_err(|fault| match fault {
            Fault::Syntax => MetadataError::Syntax,
            Fault::Depth => MetadataError::Depth,
            Fault::LoneSurrogate => MetadataError::LoneSurrogate,
            Fault::Number => MetadataError::Number,
            Fault::DuplicateName => MetadataError::DuplicateName(std::mem::take(&mut self.duplicate)),
        })
    }

    /// What was scanned, as compact text.
    fn compact(mut self) -> Cow<'a, str> {
        if self.changed.is_empty() && !self.overflowed {
            return Cow::Borrowed(self.input.get(self.kept_from..self.at).unwrap_or_default());
        }
        self.keep_up_to(self.at);
        if self.overflowed {
            Cow::Borrowed(self.input.get(..self.at).unwrap_or_default())
        } else {
            Cow::Owned(self.changed)
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(Fault::Syntax),
        }
    }

    /// Refuses two members of one name: PostgreSQL would keep the last, and SQLite find the first.
    fn object(&mut self) -> Result<(), Fault> {
        let outer = self.names.len();
        self.members()?;
        let own = self.names.get(outer..).unwrap_or_default();
        if !self.overflowed
            && let Some(name) = name_given_twice(own, self.name_escapes)
        {
            self.duplicate = shown(&name);
            return Err(Fault::DuplicateName);
        }
        self.name_bytes -= own.iter().map(|name| name.len()).sum::<usize>();
        self.names.truncate(outer);
        Ok(())
    }

    fn members(&mut self) -> Result<(), Fault> {
        self.enter()?;
        if !self.closes(b'}') {
            loop {
                self.member()?;
                if self.ends_list(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn member(&mut self) -> Result<(), Fault> {
        let from = self.at;
        if let Some((name, member)) = plain_member(self.input.as_bytes().get(from..).unwrap_or_default()) {
            self.at = from + member;
            self.collect_name(from, from + name);
            return Ok(());
        }
        self.name_escapes |= self.string()?;
        self.collect_name(from, self.at);
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        self.value()
    }

    #[inline]
    fn collect_name(&mut self, from: usize, to: usize) {
        let name = self.input.get(from..to).unwrap_or_default();
        self.overflowed |= self.names.len() >= UNKNOWN_MEMBERS_MAX || self.name_bytes + name.len() > KEPT_BYTES_MAX;
        if !self.overflowed {
            self.names.push(name);
            self.name_bytes += name.len();
        }
    }

    fn array(&mut self) -> Result<(), Fault> {
        self.enter()?;
        if !self.closes(b']') {
            loop {
                self.value()?;
                if self.ends_list(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Skips the opening bracket.
    fn enter(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.depth += 1;
        if self.depth > METADATA_DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.skip_space();
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
        }
        closes
    }

    fn ends_list(&mut self, bracket: u8) -> Result<bool, Fault> {
        self.skip_space();
        if self.closes(bracket) {
            return Ok(true);
        }
        self.expect(b',')?;
        self.skip_space();
        Ok(false)
    }

    /// Returns whether it has an escape.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        self.expect(b'"')?;
        let bytes = self.input.as_bytes().get(self.at..).unwrap_or_default();
        let plain = plain_bytes(bytes);
        if bytes.get(plain) == Some(&b'"') {
            self.at += plain + 1;
            return Ok(false);
        }
        self.at += plain;
        self.string_with_escapes()
    }

    /// The rest of a string from the first byte on that does not stand for itself, but does not end it.
    #[inline(never)]
    fn string_with_escapes(&mut self) -> Result<bool, Fault> {
        let mut escapes = false;
        loop {
            match self.next()? {
                b'"' => return Ok(escapes),
                b'\\' => {
                    self.escape()?;
                    escapes = true;
                }
                _ => return Err(Fault::Syntax),
            }
            self.at += plain_bytes(self.input.as_bytes().get(self.at..).unwrap_or_default());
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let escape_from = self.at - 1;
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.hex4()? {
                0 => {
                    self.keep_up_to(escape_from);
                    self.keep("\u{fffd}");
                    self.kept_from = self.at;
                    Ok(())
                }
                0xd800..=0xdbff => {
                    if self.next()? != b'\\' || self.next()? != b'u' || !(0xdc00..=0xdfff).contains(&self.hex4()?) {
                        return Err(Fault::LoneSurrogate);
                    }
                    Ok(())
                }
                0xdc00..=0xdfff => Err(Fault::LoneSurrogate),
                _ => Ok(()),
            },
            _ => Err(Fault::Syntax),
        }
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(Fault::Syntax)?;
            value = value * 16 + digit;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let integer_digits = self.digits()?;
        if leading_zero && integer_digits > 1 {
            return Err(Fault::Syntax);
        }
        let mut fraction_digits = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction_digits = self.digits()?;
        }
        let mut exponent = 0;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let negative = self.peek() == Some(b'-');
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let from = self.at;
            self.digits()?;
            let magnitude: i64 =
                self.input.get(from..self.at).and_then(|digits| digits.parse().ok()).unwrap_or(i64::MAX);
            if magnitude > EXPONENT_MAX {
                return Err(Fault::Number);
            }
            exponent = if negative { -magnitude } else { magnitude };
        }
        if integer_digits + exponent > INTEGER_DIGITS_MAX || fraction_digits - exponent > FRACTION_DIGITS_MAX {
            return Err(Fault::Number);
        }
        Ok(())
    }

    /// Skips one or more digits and returns their number.
    fn digits(&mut self) -> Result<i64, Fault> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            return Err(Fault::Syntax);
        }
        Ok(i64::try_from(self.at - from).unwrap_or(i64::MAX))
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        let rest = self.input.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Fault::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        // Most texts have no white space between their tokens.
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.remove_space();
        }
    }

    fn remove_space(&mut self) {
        let from = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at > from {
            self.keep_up_to(from);
            self.kept_from = self.at;
        }
    }

    fn keep_up_to(&mut self, to: usize) {
        self.keep(self.input.get(self.kept_from..to).unwrap_or_default());
        self.kept_from = to;
    }

    fn keep(&mut self, output: &str) {
        self.overflowed |= self.changed.len() + output.len() > KEPT_BYTES_MAX;
        if !self.overflowed {
            self.changed.push_str(output);
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.next()? == byte { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::Syntax)?;
        self.at += 1;
        Ok(byte)
    }
}

/// A name that two members have. Names are compared by value: with escapes, the same name can be written in many ways.
fn name_given_twice<'a>(names: &[&'a str], escapes: bool) -> Option<Cow<'a, str>> {
    if !escapes && names.len() <= NAMES_IN_PAIRS_MAX {
        let mut rest = names;
        while let [name, others @ ..] = rest {
            if others.contains(name) {
                return Some(unescaped(name));
            }
            rest = others;
        }
        return None;
    }
    let mut values: Vec<Cow<'a, str>> = names.iter().map(|name| stored(unescaped(name))).collect();
    values.sort_unstable();
    values.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().cloned())
}

/// A name as stores have it: U+0000 is replaced.
fn stored(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.contains('\0') { Cow::Owned(name.replace('\0', "\u{fffd}")) } else { name }
}
