//! JSON text read in place, without a tree and without a table of types.
//!
//! Invariants:
//! * What a reader takes is JSON (RFC 8259) and was checked byte by byte. Texts with escapes are the exception: their
//!   ends are certain, and the code that replaces the escapes checks them.
//! * A reader may refuse what is JSON: names with escapes, and values that metadata cannot hold. It says neither what is
//!   wrong nor where. The caller gives such a text to `serde_json`, which decides.
//! * Beside its input it has the names of one metadata object in memory, whose number and bytes are bounded.

use std::borrow::Cow;

use domain::metadata::{Metadata, MetadataReader, plain_bytes};
use domain::timestamp::Timestamp;

/// Longest JSON text of a string with escapes that a reader copies, in bytes.
pub const ESCAPED_BYTES_MAX: usize = 256 * 1024;

/// Reads the tokens of one text, from its beginning to its end. `None` means that it refuses.
#[derive(Debug)]
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    metadata: MetadataReader<'a>,
}

/// The name of a member, which has no escapes.
#[derive(Clone, Copy, Debug)]
pub struct MemberName<'a> {
    text: &'a str,
    from: usize,
    to: usize,
}

impl<'a> MemberName<'a> {
    /// Its bytes. Two names are equal if these are.
    #[must_use]
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.text.as_bytes().get(self.from..self.to).unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.text.get(self.from..self.to).unwrap_or_default()
    }

    /// The JSON text, with quotation marks.
    #[must_use]
    pub fn json(self) -> &'a str {
        self.text.get(self.from - 1..=self.to).unwrap_or_default()
    }
}

impl<'a> JsonReader<'a> {
    /// A reader at the beginning of a text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, metadata: MetadataReader::default() }
    }

    /// Reads the members of an object. `member` reads the name of each, up to its value, and the value.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.skip_space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            member(self)?;
            if self.ends_list(b'}')? {
                return Some(());
            }
        }
    }

    /// Reads the name of a member, with the colon and white space before its value.
    #[inline]
    pub fn name(&mut self) -> Option<MemberName<'a>> {
        self.take(b'"')?;
        let from = self.at;
        self.skip_plain();
        let name = MemberName { text: self.text, from, to: self.at };
        self.take(b'"')?;
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        Some(name)
    }

    /// Reads exactly these bytes, if they follow.
    #[inline]
    pub fn literal(&mut self, bytes: &str) -> Option<()> {
        let follow = self.text.as_bytes().get(self.at..)?.starts_with(bytes.as_bytes());
        follow.then(|| self.at += bytes.len())
    }

    /// Reads so many bytes, whatever they are.
    #[inline]
    pub fn bytes(&mut self, bytes: usize) -> Option<&'a str> {
        let text = self.text.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(text)
    }

    /// Reads a time in the form of [`Timestamp::parse_beginning`].
    #[inline]
    pub fn time(&mut self) -> Option<Timestamp> {
        let (time, bytes) = Timestamp::parse_beginning(self.text.as_bytes().get(self.at..)?)?;
        self.at += bytes;
        Some(time)
    }

    /// Reads a string that is a time in that form, or nothing.
    #[inline]
    pub fn time_in_quotes(&mut self) -> Option<Timestamp> {
        let (b'"', text) = self.rest_bytes().split_first()? else { return None };
        let (time, bytes) = Timestamp::parse_beginning(text)?;
        (text.get(bytes) == Some(&b'"')).then(|| self.at += bytes + 2)?;
        Some(time)
    }

    /// Reads the elements of an array. `element` reads each.
    #[inline]
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let mut more = self.begins_array()?;
        while more {
            element(self)?;
            more = self.continues_array()?;
        }
        Some(())
    }

    /// Begins an array. Returns whether it has elements: the first one follows, if so.
    pub fn begins_array(&mut self) -> Option<bool> {
        self.take(b'[')?;
        self.skip_space();
        Some(self.take(b']').is_none())
    }

    /// Goes on after an element of an array. Returns whether another one follows.
    pub fn continues_array(&mut self) -> Option<bool> {
        self.ends_list(b']').map(|ends| !ends)
    }

    /// Reads a string.
    #[inline]
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at;
        self.take(b'"')?;
        self.skip_plain();
        if self.take(b'"').is_some() {
            return self.text.get(from + 1..self.at - 1).map(Cow::Borrowed);
        }
        self.string_with_escapes(from)
    }

    /// Reads a string or `null`, which is `Some(None)`.
    #[inline]
    pub fn string_or_null(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.peek() == Some(b'n') { self.null().map(|()| None) } else { self.string().map(Some) }
    }

    /// Reads a metadata object or `null`, which is `Some(None)`.
    #[inline]
    pub fn metadata_or_null(&mut self) -> Option<Option<Metadata<'a>>> {
        if self.peek() == Some(b'n') { self.null().map(|()| None) } else { self.metadata().map(Some) }
    }

    /// Reads a metadata object.
    #[inline]
    pub fn metadata(&mut self) -> Option<Metadata<'a>> {
        let rest = self.rest()?;
        let (metadata, bytes) = self.metadata.metadata(rest).ok()?;
        self.at += bytes;
        Some(metadata)
    }

    /// Reads any value that metadata can hold, and returns its JSON text.
    pub fn value(&mut self) -> Option<&'a str> {
        let rest = self.rest()?;
        // Most values are strings without escapes.
        if self.take(b'"').is_some() {
            let from = self.at - 1;
            self.skip_plain();
            if self.take(b'"').is_some() {
                return self.text.get(from..self.at);
            }
            self.at = from;
        }
        let bytes = self.metadata.unknown_value(rest).ok()?;
        self.at += bytes;
        rest.get(..bytes)
    }

    /// Goes on with another text, from its beginning.
    pub fn restart(&mut self, text: &'a str) {
        (self.text, self.at) = (text, 0);
    }

    /// How many bytes of the text are read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes on at this position of the text.
    pub fn go_to(&mut self, position: usize) {
        self.at = position;
    }

    /// Skips white space.
    #[inline]
    pub fn skip_space(&mut self) {
        // Most texts have no white space between their tokens.
        if self.peek().is_some_and(|byte| byte <= b' ') {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
        }
    }

    /// The text is read to its end, but for white space.
    pub fn end(&mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    /// What is not read yet.
    #[must_use]
    pub fn rest(&self) -> Option<&'a str> {
        self.text.get(self.at..)
    }

    #[inline(never)]
    fn string_with_escapes(&mut self, from: usize) -> Option<Cow<'a, str>> {
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    self.next()?;
                }
                _ => return None,
            }
            self.skip_plain();
        }
        let json = self.text.get(from..self.at).filter(|json| json.len() <= ESCAPED_BYTES_MAX)?;
        serde_json::from_str::<String>(json).ok().map(Cow::Owned)
    }

    fn null(&mut self) -> Option<()> {
        let is_null = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(b"null"));
        is_null.then(|| self.at += b"null".len())
    }

    #[inline]
    fn ends_list(&mut self, bracket: u8) -> Option<bool> {
        self.skip_space();
        let next = self.next()?;
        if next == b',' {
            self.skip_space();
            return Some(false);
        }
        (next == bracket).then_some(true)
    }

    #[inline]
    fn rest_bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn skip_plain(&mut self) {
        self.at += plain_bytes(self.rest_bytes());
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}
