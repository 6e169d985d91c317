//! The free-form part of an event: a JSON object that every store can hold.
//!
//! Valid JSON is not enough: PostgreSQL's `jsonb` refuses U+0000, lone surrogates and numbers beyond `numeric`, and an
//! event that was answered 202 must be storable. So every byte is checked once, here, and the result is compact text
//! that needs no second check.

use std::borrow::Cow;
use std::collections::BTreeSet;

use self::scanner::{KEPT_BYTES_MAX, Scanner};

mod error;
mod scanner;
#[cfg(test)]
mod tests;

pub use self::error::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX, MetadataError};

/// Maximum number of unknown members to collect: the shortest member has five bytes (`"":1` and a comma), so this many
/// exceed [`METADATA_BYTES_MAX`], and [`Metadata::with_unknown`] reads no further member.
pub const UNKNOWN_MEMBERS_MAX: usize = METADATA_BYTES_MAX / 5 + 1;
/// Maximum bytes of a name that an error repeats.
const SHOWN_NAME_BYTES_MAX: usize = 64;

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
