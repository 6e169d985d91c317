//! Values of an event as protocols have them: text to be parsed, or typed, so that a binary protocol does not print what would
//! be parsed again.

use std::borrow::Cow;

use crate::level::Level;
use crate::metadata::{Metadata, MetadataError};
use crate::timestamp::Timestamp;

/// A time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampInput<'a> {
    /// RFC 3339.
    Text(Cow<'a, str>),
    /// Nanoseconds since the Unix epoch; kept to the microsecond.
    UnixNanos(i64),
    /// A time that was parsed where it was read.
    Parsed(Timestamp),
}

impl TimestampInput<'_> {
    /// The time, if it is one that an event can have.
    #[must_use]
    pub fn parse(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => Timestamp::parse(text).ok(),
            Self::UnixNanos(nanos) => Timestamp::from_unix_micros(nanos.div_euclid(1_000)).ok(),
            Self::Parsed(time) => Some(*time),
        }
    }
}

/// A level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelInput<'a> {
    /// A name or an alias, in any case.
    Text(Cow<'a, str>),
    /// A level that the protocol has mapped.
    Parsed(Level),
}

impl LevelInput<'_> {
    /// The level, if the text names one.
    #[must_use]
    pub fn parse(&self) -> Option<Level> {
        match self {
            Self::Text(text) => Level::parse(text).ok(),
            Self::Parsed(level) => Some(*level),
        }
    }
}

/// An id of `N` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdInput<'a, const N: usize> {
    /// Hexadecimal digits; a UUID in any of its notations.
    Text(Cow<'a, str>),
    /// The bytes.
    Bytes([u8; N]),
}

impl<const N: usize> IdInput<'_, N> {
    /// Whether it is an empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// The bytes, if `parse` understands the text.
    #[must_use]
    pub fn bytes(&self, parse: impl FnOnce(&str) -> Option<[u8; N]>) -> Option<[u8; N]> {
        match self {
            Self::Text(text) => parse(text),
            Self::Bytes(bytes) => Some(*bytes),
        }
    }
}

/// Metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataInput<'a> {
    /// JSON text.
    Text(&'a str),
    /// Metadata that was checked where it was read.
    Checked(Metadata<'a>),
}

impl<'a> MetadataInput<'a> {
    /// The metadata.
    ///
    /// # Errors
    /// The text breaks a rule of [`Metadata::parse`].
    #[inline]
    pub fn check(self) -> Result<Metadata<'a>, MetadataError> {
        match self {
            Self::Text(json) => Metadata::parse(json),
            Self::Checked(metadata) => Ok(metadata),
        }
    }
}

impl<'a> From<&'a str> for MetadataInput<'a> {
    fn from(json: &'a str) -> Self {
        Self::Text(json)
    }
}

/// Texts become the variant `Text`.
macro_rules! from_text {
    ($([$($generics:tt)*] $input:ty),*) => {$(
        impl<'a $($generics)*> From<Cow<'a, str>> for $input {
            fn from(text: Cow<'a, str>) -> Self {
                Self::Text(text)
            }
        }

        impl<'a $($generics)*> From<&'a str> for $input {
            fn from(text: &'a str) -> Self {
                Self::Text(text.into())
            }
        }

        impl<'a $($generics)*> From<String> for $input {
            fn from(text: String) -> Self {
                Self::Text(text.into())
            }
        }
    )*};
}

from_text!([] TimestampInput<'a>, [] LevelInput<'a>, [, const N: usize] IdInput<'a, N>);
