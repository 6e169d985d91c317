//! Reading checked metadata: values as JSON text, without a tree in memory.
//!
//! Constraint: the text was checked when it was created. Of text that is not JSON, some values are missing; nothing panics.

use std::borrow::Cow;

use super::extents::Extents;
use super::name::unescaped;
use super::plain::text_bytes;

/// A JSON value in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonValue<'a>(&'a str);

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    Text,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl<'a> JsonValue<'a> {
    /// The value that a text begins with.
    #[must_use]
    pub fn new(json: &'a str) -> Self {
        Self(json.trim_ascii())
    }

    /// The value that is all of a text, which has no white space around it.
    pub(super) fn of_checked(json: &'a str) -> Self {
        Self(json)
    }

    /// The value that a text begins with, and what follows it. A value without an end takes all of the text.
    #[must_use]
    pub fn first(text: &'a str) -> (Self, &'a str) {
        let text = text.trim_ascii_start();
        let (value, rest) = text.split_at_checked(value_bytes(text.as_bytes())).unwrap_or((text, ""));
        (Self(value), rest)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(self) -> JsonKind {
        match self.0.as_bytes().first() {
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b'"') => JsonKind::Text,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'-' | b'0'..=b'9') => JsonKind::Number,
            _ => JsonKind::Null,
        }
    }

    /// Its JSON text.
    #[must_use]
    pub fn json(self) -> &'a str {
        self.0
    }

    /// A text without quotes and escapes; any other value as its JSON text.
    #[must_use]
    pub fn plain(self) -> Cow<'a, str> {
        if self.kind() == JsonKind::Text { unescaped(self.0) } else { Cow::Borrowed(self.0) }
    }

    /// The members of an object, in their order; nothing for other values.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        Self::members_in(self.inside(JsonKind::Object))
    }

    /// The members in the text between the braces of an object.
    pub fn members_in(text: &'a str) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        Rest::<'a, 'a> { text, extents: None }.members()
    }

    /// The members of an object within a text whose extents are known.
    pub fn members_with(self, extents: &Extents<'a>) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        Rest { text: self.inside(JsonKind::Object), extents: Some(extents) }.members()
    }

    /// The elements of an array, in their order; nothing for other values.
    pub fn elements(self) -> impl Iterator<Item = Self> {
        Rest::<'a, 'a> { text: self.inside(JsonKind::Array), extents: None }.elements()
    }

    /// The elements of an array within a text whose extents are known.
    pub fn elements_with(self, extents: &Extents<'a>) -> impl Iterator<Item = Self> {
        Rest { text: self.inside(JsonKind::Array), extents: Some(extents) }.elements()
    }

    /// What is between the brackets; nothing for values of another kind.
    fn inside(self, kind: JsonKind) -> &'a str {
        let inner = self.0.get(1..self.0.len().saturating_sub(1));
        if self.kind() == kind { inner.unwrap_or_default() } else { "" }
    }
}

/// The items of an object or an array that were not read yet.
struct Rest<'a, 'e> {
    text: &'a str,
    extents: Option<&'e Extents<'a>>,
}

impl<'a> Rest<'a, '_> {
    fn members(mut self) -> impl Iterator<Item = (Cow<'a, str>, JsonValue<'a>)> {
        std::iter::from_fn(move || {
            let name = self.value()?;
            self.skip(b':')?;
            Some((unescaped(name.0), self.value()?))
        })
    }

    fn elements(mut self) -> impl Iterator<Item = JsonValue<'a>> {
        std::iter::from_fn(move || self.value())
    }

    /// The next value, behind a comma if there is one.
    fn value(&mut self) -> Option<JsonValue<'a>> {
        let _ = self.skip(b',');
        self.skip_space();
        let known = self.extents.and_then(|extents| extents.bytes(self.text));
        let bytes = known.unwrap_or_else(|| value_bytes(self.text.as_bytes()));
        let (value, rest) = self.text.split_at_checked(bytes)?;
        self.text = rest;
        (!value.is_empty()).then_some(JsonValue(value))
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        let is_it = self.text.as_bytes().first() == Some(&byte);
        self.text = self.text.get(usize::from(is_it)..)?;
        is_it.then_some(())
    }

    fn skip_space(&mut self) {
        // Metadata has none.
        if self.text.as_bytes().first().is_some_and(|byte| *byte <= b' ') {
            self.text = self.text.trim_ascii_start();
        }
    }
}

/// The length of the value that the bytes begin with. Ends at an ASCII byte, and so between two characters.
fn value_bytes(json: &[u8]) -> usize {
    if json.first() == Some(&b'"') {
        return text_bytes(json);
    }
    let in_scalar = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    let scalar = json.iter().take_while(in_scalar).count();
    match json.get(scalar) {
        None | Some(b',' | b' ' | b'\t' | b'\n' | b'\r') => scalar,
        Some(_) => nested_bytes(json),
    }
}

/// The same for objects and arrays, and for what is not JSON.
fn nested_bytes(json: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at += text_bytes(json.get(at..).unwrap_or_default()),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn members(json: &str) -> Vec<(String, String)> {
        JsonValue::new(json).members().map(|(name, value)| (name.into_owned(), value.json().to_owned())).collect()
    }

    #[test]
    fn members_and_elements_are_read_in_their_order() {
        let json = r#"{"a":1,"b\"}":"x,\"]}","c":[1,{"d":[]},"e"],"":{"é":null},"t":true}"#;
        let expected =
            [("a", "1"), ("b\"}", r#""x,\"]}""#), ("c", r#"[1,{"d":[]},"e"]"#), ("", r#"{"é":null}"#), ("t", "true")];
        assert_eq!(members(json), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let elements: Vec<_> =
            JsonValue::new(r#"[1,{"d":[]},"e",[[]],null]"#).elements().map(JsonValue::json).collect();
        assert_eq!(elements, ["1", r#"{"d":[]}"#, "\"e\"", "[[]]", "null"]);
        assert_eq!(JsonValue::new("[]").elements().count() + JsonValue::new("{}").members().count(), 0);
        assert_eq!(JsonValue::new("5").elements().count() + JsonValue::new("\"{}\"").members().count(), 0);
        assert_eq!(members(" { \"a\" : 1 , \"b\" : [ 1 ] } ").len(), 2);
        assert_eq!(JsonValue::new(r#""\u0041\n""#).plain(), "A\n");
        let first = |text| (JsonValue::first(text).0.json(), JsonValue::first(text).1);
        assert_eq!(first(" {\"a\":\"}\"}{} "), ("{\"a\":\"}\"}", "{} "));
        assert_eq!((first("[1,{"), first("12 x"), first(" ")), (("[1,{", ""), ("12", " x"), ("", "")));
        assert_eq!(JsonValue::new("-1.50").plain(), "-1.50");
    }

    proptest::proptest! {
        /// Writing out what was read gives the same text.
        #[test]
        fn everything_is_read(json in "\\{[\"\\\\:,\\[\\]{}a1 ]{0,40}\\}") {
            fn write(value: JsonValue<'_>) -> String {
                let list = |items: Vec<String>| items.join(",");
                match value.kind() {
                    JsonKind::Object => {
                        let member = |(name, value): (Cow<'_, str>, _)| format!("{name:?}:{}", write(value));
                        format!("{{{}}}", list(value.members().map(member).collect()))
                    }
                    JsonKind::Array => format!("[{}]", list(value.elements().map(write).collect())),
                    _ => value.json().to_owned(),
                }
            }
            // Not JSON: it must not panic.
            let written = write(JsonValue::new(&json));
            if let Ok(metadata) = Metadata::parse(&json) {
                proptest::prop_assert_eq!(written, metadata.as_json());
            }
        }
    }
}
