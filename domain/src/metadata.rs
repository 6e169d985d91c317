//! The free-form part of an event: a JSON object that every store can hold.
//!
//! Valid JSON is not enough: PostgreSQL's `jsonb` refuses U+0000, lone surrogates and numbers beyond `numeric`, and an
//! event that was answered 202 must be storable. So every byte is checked once, here, and the result is compact text
//! that needs no second check.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Maximum size of metadata, in bytes of compact JSON.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Maximum nesting; the metadata object itself is level 1.
pub const METADATA_DEPTH_MAX: u32 = 16;
/// Maximum number of unknown members to collect: the shortest member has five bytes (`"":1` and a comma), so this many
/// exceed [`METADATA_BYTES_MAX`], and [`Metadata::with_unknown`] reads no further member.
pub const UNKNOWN_MEMBERS_MAX: usize = METADATA_BYTES_MAX / 5 + 1;

/// Maximum bytes of output to keep for one value. A longer value exceeds [`METADATA_BYTES_MAX`], and a longer name
/// cannot equal that of another member: a name within [`METADATA_BYTES_MAX`] has at most six times as many bytes when
/// written in escapes.
const KEPT_BYTES_MAX: usize = 6 * METADATA_BYTES_MAX + 2;
/// Maximum bytes of a name that an error repeats.
const SHOWN_NAME_BYTES_MAX: usize = 64;

/// Maximum digits before and after the point in PostgreSQL's `numeric`.
const INTEGER_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;
/// Stores write numbers out in full, so a short exponent could produce a long text. Floating-point numbers end below
/// this bound anyway.
const EXPONENT_MAX: i64 = 400;

/// Why metadata is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not a JSON object.
    #[error("metadata must be a JSON object")]
    NotObject,
    /// Not valid JSON.
    #[error("metadata is not valid JSON")]
    Syntax,
    /// More than [`METADATA_BYTES_MAX`].
    #[error("metadata and unknown fields have more than {METADATA_BYTES_MAX} bytes as compact JSON")]
    Size,
    /// More than [`METADATA_DEPTH_MAX`].
    #[error("metadata is nested more than {METADATA_DEPTH_MAX} deep")]
    Depth,
    /// Half of a surrogate pair.
    #[error("a \\u escape is half of a surrogate pair, which is not a character")]
    LoneSurrogate,
    /// A number that no store can hold.
    #[error("a number in metadata has too many digits or an exponent beyond 400")]
    Number,
    /// An unknown field of the event has the same name as a member of its metadata.
    #[error("the unknown field \"{0}\" is also a member of metadata")]
    Clash(String),
}

/// A compact JSON object that every store can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a>(Cow<'a, str>);

/// A member of an event that the contract does not define: the JSON texts of its key and value.
pub type UnknownMember<'a> = (&'a str, &'a str);

impl<'a> Metadata<'a> {
    /// Checks the JSON text of a metadata object and makes it compact. U+0000 becomes U+FFFD.
    ///
    /// # Errors
    /// One [`MetadataError`] per rule.
    pub fn parse(json: &'a str) -> Result<Self, MetadataError> {
        if !json.trim_ascii_start().starts_with('{') {
            return Err(MetadataError::NotObject);
        }
        let compact = Scanner::new(json, 1).document()?;
        Self::within_bounds(compact)
    }

    /// Merges the unknown members of the event into its metadata.
    ///
    /// # Errors
    /// One [`MetadataError`] per rule; the limits apply to the result.
    pub fn with_unknown(known: Option<Self>, unknown: &[UnknownMember<'_>]) -> Result<Option<Self>, MetadataError> {
        if unknown.is_empty() {
            return Ok(known);
        }
        let mut names: BTreeSet<Cow<'_, str>> = known.iter().flat_map(Self::names).map(unescaped).collect();
        let known = known.as_ref().map_or("{}", Metadata::as_json);
        let mut joined = known.strip_suffix('}').unwrap_or("{").to_owned();
        for (key, value) in unknown {
            let key = Scanner::new(key, 1).document()?;
            if key.len() <= KEPT_BYTES_MAX {
                let name = match &key {
                    Cow::Borrowed(key) => unescaped(key),
                    Cow::Owned(key) => Cow::Owned(unescaped(key).into_owned()),
                };
                if names.contains(&name) {
                    return Err(MetadataError::Clash(shown(&name)));
                }
                names.insert(name);
            }
            let value = Scanner::new(value, 2).document()?;
            let comma = usize::from(joined.len() > 1);
            // Checked before anything is copied: a body can contain millions of members, or very long ones.
            if joined.len() + comma + key.len() + 1 + value.len() > METADATA_BYTES_MAX {
                return Err(MetadataError::Size);
            }
            if comma > 0 {
                joined.push(',');
            }
            joined.push_str(&key);
            joined.push(':');
            joined.push_str(&value);
        }
        joined.push('}');
        Self::within_bounds(Cow::Owned(joined)).map(Some)
    }

    /// Wraps text that [`Metadata::as_json`] returned, as read back from a record or a store.
    #[must_use]
    pub fn from_checked(json: Cow<'a, str>) -> Self {
        Self(json)
    }

    /// The compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The same metadata, independent of the input.
    #[must_use]
    pub fn into_owned(self) -> Metadata<'static> {
        Metadata(Cow::Owned(self.0.into_owned()))
    }

    fn within_bounds(compact: Cow<'a, str>) -> Result<Self, MetadataError> {
        if compact.len() > METADATA_BYTES_MAX { Err(MetadataError::Size) } else { Ok(Self(compact)) }
    }

    /// The names of the members, as JSON text with quotes.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut scanner = Scanner::new(&self.0, 0);
        // The text was checked when it was created, so the scan cannot fail; if it did, no name would be known.
        if scanner.object(Some(&mut names)).is_err() {
            names.clear();
        }
        names.into_iter().filter_map(|(from, to)| self.0.get(from..to)).collect()
    }
}

/// A name as shown in an error.
fn shown(name: &str) -> String {
    if name.len() <= SHOWN_NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (begin, _) = name.split_at(name.floor_char_boundary(SHOWN_NAME_BYTES_MAX));
    format!("{begin}…")
}

/// The value of a checked JSON string: the same name can be written in many ways.
fn unescaped(string: &str) -> Cow<'_, str> {
    let bare = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(string);
    if !bare.contains('\\') {
        return Cow::Borrowed(bare);
    }
    let mut units = Vec::with_capacity(bare.len());
    let mut rest = bare.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
            continue;
        }
        let unit = match rest.next() {
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => 0x0a,
            Some('r') => 0x0d,
            Some('t') => 0x09,
            Some('u') => {
                rest.by_ref().take(4).filter_map(|digit| digit.to_digit(16)).fold(0, |unit, digit| unit * 16 + digit)
            }
            itself => itself.map_or(0, u32::from),
        };
        units.push(u16::try_from(unit).unwrap_or_default());
    }
    Cow::Owned(String::from_utf16_lossy(&units))
}

/// Scans JSON text once. White space is removed and U+0000 replaced; until something changes, the output is the input.
struct Scanner<'a> {
    input: &'a str,
    at: usize,
    /// Output so far, once it differs from the input; at most [`KEPT_BYTES_MAX`].
    changed: String,
    /// Whether the output exceeded that limit.
    overflowed: bool,
    /// Start of the input that is not yet in `changed`.
    kept_from: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// A scan of one value that will be at nesting level `depth` in the result.
    fn new(input: &'a str, depth: u32) -> Self {
        // `object` and `array` count themselves on entry.
        Self { input, at: 0, changed: String::new(), overflowed: false, kept_from: 0, depth: depth.saturating_sub(1) }
    }

    /// The value as compact text; if that exceeds [`KEPT_BYTES_MAX`], the input, which is longer still.
    fn document(mut self) -> Result<Cow<'a, str>, MetadataError> {
        self.skip_space();
        self.value()?;
        self.skip_space();
        if self.at != self.input.len() {
            return Err(MetadataError::Syntax);
        }
        if self.changed.is_empty() && !self.overflowed {
            return Ok(Cow::Borrowed(self.input.get(self.kept_from..).unwrap_or_default()));
        }
        self.keep_up_to(self.at);
        Ok(if self.overflowed { Cow::Borrowed(self.input) } else { Cow::Owned(self.changed) })
    }

    fn value(&mut self) -> Result<(), MetadataError> {
        match self.peek() {
            Some(b'{') => self.object(None),
            Some(b'[') => self.array(),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(MetadataError::Syntax),
        }
    }

    fn object(&mut self, mut names: Option<&mut Vec<(usize, usize)>>) -> Result<(), MetadataError> {
        self.enter()?;
        if !self.closes(b'}') {
            loop {
                let name_from = self.at;
                self.string()?;
                if let Some(names) = &mut names {
                    names.push((name_from, self.at));
                }
                self.skip_space();
                self.expect(b':')?;
                self.skip_space();
                self.value()?;
                if self.ends_list(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), MetadataError> {
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
    fn enter(&mut self) -> Result<(), MetadataError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > METADATA_DEPTH_MAX {
            return Err(MetadataError::Depth);
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

    fn ends_list(&mut self, bracket: u8) -> Result<bool, MetadataError> {
        self.skip_space();
        if self.closes(bracket) {
            return Ok(true);
        }
        self.expect(b',')?;
        self.skip_space();
        Ok(false)
    }

    fn string(&mut self) -> Result<(), MetadataError> {
        self.expect(b'"')?;
        loop {
            // Most bytes are copied unchanged.
            let rest = self.input.as_bytes().get(self.at..).unwrap_or_default();
            self.at += rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => return Err(MetadataError::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), MetadataError> {
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
                        return Err(MetadataError::LoneSurrogate);
                    }
                    Ok(())
                }
                0xdc00..=0xdfff => Err(MetadataError::LoneSurrogate),
                _ => Ok(()),
            },
            _ => Err(MetadataError::Syntax),
        }
    }

    fn hex4(&mut self) -> Result<u32, MetadataError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(MetadataError::Syntax)?;
            value = value * 16 + digit;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), MetadataError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let integer_digits = self.digits()?;
        if leading_zero && integer_digits > 1 {
            return Err(MetadataError::Syntax);
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
                return Err(MetadataError::Number);
            }
            exponent = if negative { -magnitude } else { magnitude };
        }
        if integer_digits + exponent > INTEGER_DIGITS_MAX || fraction_digits - exponent > FRACTION_DIGITS_MAX {
            return Err(MetadataError::Number);
        }
        Ok(())
    }

    /// Skips one or more digits and returns their number.
    fn digits(&mut self) -> Result<i64, MetadataError> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            return Err(MetadataError::Syntax);
        }
        Ok(i64::try_from(self.at - from).unwrap_or(i64::MAX))
    }

    fn literal(&mut self, word: &str) -> Result<(), MetadataError> {
        let rest = self.input.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(MetadataError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_space(&mut self) {
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

    fn expect(&mut self, byte: u8) -> Result<(), MetadataError> {
        if self.next()? == byte { Ok(()) } else { Err(MetadataError::Syntax) }
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, MetadataError> {
        let byte = self.peek().ok_or(MetadataError::Syntax)?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<String, MetadataError> {
        Metadata::parse(json).map(|metadata| metadata.as_json().to_owned())
    }

    #[test]
    fn compact_text_is_borrowed_and_white_space_outside_of_strings_is_removed() {
        let compact = r#"{"a":[1,-2.5e3,true,null],"b":{"c":"x y"}}"#;
        assert!(matches!(Metadata::parse(compact), Ok(Metadata(Cow::Borrowed(text))) if text == compact));
        assert_eq!(
            parse(" {\n \"a\" : [ 1 ,\t-2.5e3, true,null ] , \"b\":{ \"c\" : \"x y\" } } ").as_deref(),
            Ok(compact)
        );
        assert_eq!(parse(" { } ").as_deref(), Ok("{}"));
    }

    #[test]
    fn content_that_stores_refuse_is_refused_or_replaced() {
        assert_eq!(parse(r#"{"a\u0000":"\u0000b"}"#).as_deref(), Ok("{\"a\u{fffd}\":\"\u{fffd}b\"}"));
        assert_eq!(parse(r#"{"a":"\ud83d\ude00"}"#).as_deref(), Ok(r#"{"a":"\ud83d\ude00"}"#));
        for lone in [r#"{"a":"\ud83d"}"#, r#"{"a":"\ude00"}"#, r#"{"a":"\ud83d\u0041"}"#, r#"{"\ud83dx":1}"#] {
            assert_eq!(parse(lone), Err(MetadataError::LoneSurrogate), "{lone}");
        }
        for number in ["1e401", "1e-401", "-1E+99999999999999999999"] {
            assert_eq!(parse(&format!("{{\"a\":{number}}}")), Err(MetadataError::Number), "{number}");
        }
        assert!(parse(r#"{"a":123456789012345678901234567890.5e-300}"#).is_ok());
        let long_fraction = format!("{{\"a\":0.{}}}", "1".repeat(16_384));
        assert_eq!(parse(&long_fraction), Err(MetadataError::Number));
    }

    #[test]
    fn anything_but_one_json_object_is_refused() {
        for json in ["", "[]", "1", "null", "\"{}\""] {
            assert_eq!(parse(json), Err(MetadataError::NotObject), "{json}");
        }
        for json in [
            "{",
            "{}{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":NaN}",
            "{\"a\":tru}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":[1 2]}",
            "{\"a\":1e}",
        ] {
            assert_eq!(parse(json), Err(MetadataError::Syntax), "{json}");
        }
    }

    #[test]
    fn the_limits_are_sixteen_levels_and_64_kib() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(parse(&nested(16)).is_ok());
        assert_eq!(parse(&nested(17)), Err(MetadataError::Depth));
        assert_eq!(
            parse(&format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))),
            Err(MetadataError::Depth)
        );

        let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(parse(&sized(METADATA_BYTES_MAX)).is_ok());
        assert_eq!(parse(&sized(METADATA_BYTES_MAX + 1)), Err(MetadataError::Size));
    }

    #[test]
    fn unknown_members_join_metadata_under_their_own_names() {
        let known = Metadata::parse(r#"{"a":{"b":1}}"#).ok();
        let joined = Metadata::with_unknown(known.clone(), &[("\"host\"", " \"web-1\" "), ("\"n\"", "[ 1 ]")]);
        assert_eq!(
            joined.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(),
            Some(r#"{"a":{"b":1},"host":"web-1","n":[1]}"#)
        );
        let alone = Metadata::with_unknown(None, &[("\"host\"", "null")]);
        assert_eq!(alone.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(), Some(r#"{"host":null}"#));
        let empty = Metadata::with_unknown(Metadata::parse("{}").ok(), &[("\"x\"", "1")]);
        assert_eq!(empty.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(), Some(r#"{"x":1}"#));
        assert_eq!(Metadata::with_unknown(known.clone(), &[("\"a\"", "1")]), Err(MetadataError::Clash("a".to_owned())));
        assert_eq!(
            Metadata::with_unknown(known.clone(), &[("\"x\"", "1"), ("\"x\"", "2")]),
            Err(MetadataError::Clash("x".to_owned()))
        );
        // Names are compared by value, not by spelling.
        let escaped = Metadata::parse(r#"{"\u0061\/\n\ud83d\ude00":1}"#).ok();
        for name in [r#""a/\u000a😀""#, r#""a\u002F\n\uD83D\uDE00""#] {
            let clash = Metadata::with_unknown(escaped.clone(), &[(name, "1")]);
            assert_eq!(clash, Err(MetadataError::Clash("a/\n😀".to_owned())), "{name}");
        }
        let twice = [(r#""\u0078""#, "1"), (r#""\\u0078""#, "2"), ("\"x\"", "3")];
        assert!(Metadata::with_unknown(None, &twice[..2]).is_ok());
        assert_eq!(Metadata::with_unknown(None, &twice), Err(MetadataError::Clash("x".to_owned())));
        // "b" is only a member of a nested object.
        assert!(Metadata::with_unknown(known, &[("\"b\"", "1")]).is_ok());
    }

    #[test]
    fn a_long_name_with_escapes_equals_the_same_name_without() {
        let name = "x".repeat(METADATA_BYTES_MAX - 8);
        let known = Metadata::parse(&format!("{{\"{name}\":1}}")).map(Metadata::into_owned).ok();
        let escaped = format!("\"{}\"", "\\u0078".repeat(name.len()));
        assert_eq!(
            Metadata::with_unknown(known.clone(), &[(&escaped, "1")]),
            Err(MetadataError::Clash(format!("{}…", "x".repeat(SHOWN_NAME_BYTES_MAX))))
        );
        let longer = format!("\"{}\"", "\\u0078".repeat(METADATA_BYTES_MAX + 1));
        assert_eq!(Metadata::with_unknown(known, &[(&longer, "1")]), Err(MetadataError::Size));
    }

    #[test]
    fn output_that_is_not_kept_exceeds_the_limit() {
        let nul = "\\u0000".repeat(KEPT_BYTES_MAX);
        let space = " ".repeat(KEPT_BYTES_MAX + 1);
        let text = "x".repeat(KEPT_BYTES_MAX + 1);
        for value in
            [format!("\"{nul}\""), format!("[1,{space}\"{text}\",{space}2]"), format!("{space}\"{text}\"{space}")]
        {
            assert_eq!(parse(&format!("{{\"a\":{value}}}")), Err(MetadataError::Size));
            assert_eq!(Metadata::with_unknown(None, &[("\"a\"", &value)]), Err(MetadataError::Size));
        }
        assert_eq!(Metadata::with_unknown(None, &[(&format!("\"{nul}\""), "1")]), Err(MetadataError::Size));
        // White space does not count.
        assert_eq!(parse(&format!("{{{space}\"a\":{space}1}}")).as_deref(), Ok("{\"a\":1}"));
        // The remaining text is still checked.
        assert_eq!(parse(&format!("{{\"a\":[{space}\"{text}\",\"\\ud800\"]}}")), Err(MetadataError::LoneSurrogate));
    }

    #[test]
    fn depth_and_size_limits_apply_to_the_merged_metadata() {
        let deep = format!("{}1{}", "[".repeat(15), "]".repeat(15));
        assert!(Metadata::with_unknown(None, &[("\"x\"", &deep)]).is_ok());
        let too_deep = format!("[{deep}]");
        assert_eq!(Metadata::with_unknown(None, &[("\"x\"", &too_deep)]), Err(MetadataError::Depth));
        let half = format!("\"{}\"", "x".repeat(METADATA_BYTES_MAX / 2));
        assert_eq!(Metadata::with_unknown(None, &[("\"x\"", &half), ("\"y\"", &half)]), Err(MetadataError::Size));
        // The remaining members are no longer checked.
        let and_more = [("\"x\"", half.as_str()), ("\"y\"", &half), ("\"x\"", "no JSON")];
        assert_eq!(Metadata::with_unknown(None, &and_more), Err(MetadataError::Size));
    }

    proptest! {
        #[test]
        fn any_text_is_kept_or_refused_and_a_second_pass_changes_nothing(json in "\\{[ -~\\n\\t\u{0}é]{0,60}\\}") {
            if let Ok(metadata) = Metadata::parse(&json) {
                let again = Metadata::parse(metadata.as_json());
                prop_assert_eq!(again.map(Metadata::into_owned), Ok(metadata.into_owned()));
            }
        }
    }
}
