//! The free-form part of an event: a JSON object that every store can hold.
//!
//! Valid JSON is not enough: PostgreSQL's `jsonb` refuses U+0000, lone surrogates and numbers beyond `numeric`, and an
//! event that was answered 202 must be storable. So every byte is checked once, here, and the result is compact text
//! that needs no second check.

use std::borrow::Cow;
use std::collections::BTreeSet;

use self::name::{shown, unescaped};
use self::scanner::{KEPT_BYTES_MAX, Scanner};

mod error;
mod extents;
mod name;
mod plain;
mod plain_object;
mod reader;
mod scanner;
#[cfg(test)]
mod tests;
mod usual_object;
mod value;

pub use self::error::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX, MetadataError};
pub use self::extents::Extents;
pub use self::name::UNKNOWN_MEMBERS_MAX;
pub use self::plain::{is_plain, plain_bytes};
pub use self::reader::MetadataReader;
pub use self::usual_object::{UsualMember, UsualReader};
pub use self::value::{JsonKind, JsonValue};

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
        if UsualReader::default().members(json).is_some_and(|(_, bytes)| bytes == json.len()) {
            return Self::within_bounds(Cow::Borrowed(json));
        }
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
    #[inline]
    pub fn with_unknown(known: Option<Self>, unknown: &[UnknownMember<'_>]) -> Result<Option<Self>, MetadataError> {
        if unknown.is_empty() { Ok(known) } else { Self::merged(known, unknown).map(Some) }
    }

    fn merged(known: Option<Self>, unknown: &[UnknownMember<'_>]) -> Result<Self, MetadataError> {
        let known = known.as_ref().map_or("{}", Metadata::as_json);
        let known_names: BTreeSet<Cow<'_, str>> = Scanner::names_of(known).into_iter().map(unescaped).collect();
        let mut names: BTreeSet<Cow<'_, str>> = BTreeSet::new();
        let mut joined = known.strip_suffix('}').unwrap_or("{").to_owned();
        for (key, value) in unknown {
            let key = Scanner::new(key, 1).document()?;
            if key.len() <= KEPT_BYTES_MAX {
                let name = match &key {
                    Cow::Borrowed(key) => unescaped(key),
                    Cow::Owned(key) => Cow::Owned(unescaped(key).into_owned()),
                };
                if known_names.contains(&name) {
                    return Err(MetadataError::Clash(shown(&name)));
                }
                if names.contains(&name) {
                    return Err(MetadataError::DuplicateField(shown(&name)));
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
        Self::within_bounds(Cow::Owned(joined))
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

    /// The compact JSON text, as a text of its own.
    #[must_use]
    pub fn into_json(self) -> String {
        self.0.into_owned()
    }

    /// The same metadata, independent of the input.
    #[must_use]
    pub fn into_owned(self) -> Metadata<'static> {
        Metadata(Cow::Owned(self.0.into_owned()))
    }

    fn within_bounds(compact: Cow<'a, str>) -> Result<Self, MetadataError> {
        if compact.len() > METADATA_BYTES_MAX { Err(MetadataError::Size) } else { Ok(Self(compact)) }
    }
}
