//! A slow but simple JSON reader, to compare with the results of the fast parsers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value, with names in their order and numbers as written.
#[derive(Debug, PartialEq, Eq)]
pub enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Text(String),
    /// A number, `true`, `false` or `null`.
    Literal(String),
}

impl Json {
    /// Reads a value whose nesting fits on the stack.
    ///
    /// # Errors
    /// It is not JSON, or contains a lone surrogate.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let text = text.trim_ascii();
        match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text)?;
                members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::read(value.get())?)))
                    .collect::<Result<_, _>>()
                    .map(Self::Object)
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text)?;
                elements.into_iter().map(|value| Self::read(value.get())).collect::<Result<_, _>>().map(Self::Array)
            }
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            _ => serde_json::from_str::<&RawValue>(text).map(|literal| Self::Literal(literal.get().to_owned())),
        }
    }

    /// The same value with U+FFFD in place of U+0000.
    pub fn without_nul(self) -> Self {
        let replaced = |text: String| text.replace('\0', "\u{fffd}");
        match self {
            Self::Object(members) => {
                Self::Object(members.into_iter().map(|(name, value)| (replaced(name), value.without_nul())).collect())
            }
            Self::Array(elements) => Self::Array(elements.into_iter().map(Self::without_nul).collect()),
            Self::Text(text) => Self::Text(replaced(text)),
            Self::Literal(literal) => Self::Literal(literal),
        }
    }

    /// Nesting depth of objects and arrays; 0 for a plain value.
    pub fn depth(&self) -> usize {
        let within = match self {
            Self::Object(members) => members.iter().map(|(_, value)| value.depth()).max(),
            Self::Array(elements) => elements.iter().map(Self::depth).max(),
            Self::Text(_) | Self::Literal(_) => return 0,
        };
        1 + within.unwrap_or(0)
    }

    /// Visits every text, including names, and every number.
    pub fn each(&self, text: &mut impl FnMut(&str), number: &mut impl FnMut(&str)) {
        match self {
            Self::Object(members) => {
                for (name, value) in members {
                    text(name);
                    value.each(text, number);
                }
            }
            Self::Array(elements) => elements.iter().for_each(|value| value.each(text, number)),
            Self::Text(content) => text(content),
            Self::Literal(literal) => {
                if !matches!(literal.as_str(), "true" | "false" | "null") {
                    number(literal);
                }
            }
        }
    }
}

/// The members of an object in order, including repeats.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
