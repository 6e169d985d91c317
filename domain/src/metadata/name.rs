//! The names of members.

use std::borrow::Cow;

use super::error::METADATA_BYTES_MAX;
use super::plain::is_plain;

/// Maximum number of unknown members to collect: the shortest member has five bytes (`"":1` and a comma), so this many
/// exceed [`METADATA_BYTES_MAX`], and [`super::Metadata::with_unknown`] reads no further member.
pub const UNKNOWN_MEMBERS_MAX: usize = METADATA_BYTES_MAX / 5 + 1;
/// Maximum bytes of a name that an error repeats.
pub(super) const SHOWN_NAME_BYTES_MAX: usize = 64;
/// Up to this many names need no memory.
const FEW_NAMES: usize = 8;
/// Up to this many names of an object are compared pair by pair, which needs no memory either.
const NAMES_IN_PAIRS_MAX: usize = 16;

/// The names of the objects that are open in a scan, as they are written, with quotes.
pub(super) struct Names<'a> {
    few: [&'a [u8]; FEW_NAMES],
    /// All of them, once they are more.
    many: Vec<&'a [u8]>,
    len: usize,
}

impl<'a> Names<'a> {
    pub(super) const NONE: Self = Self { few: [&[]; FEW_NAMES], many: Vec::new(), len: 0 };

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, name: &'a [u8]) {
        match self.few.get_mut(self.len) {
            Some(place) if self.many.is_empty() => *place = name,
            _ => self.push_to_many(name),
        }
        self.len += 1;
    }

    /// The names from this one on.
    #[inline]
    pub(super) fn since(&self, first: usize) -> &[&'a [u8]] {
        let names = if self.many.is_empty() { self.few.as_slice() } else { &self.many };
        names.get(first..self.len).unwrap_or_default()
    }

    /// Forgets the names from this one on.
    #[inline]
    pub(super) fn truncate(&mut self, first: usize) {
        self.many.truncate(first);
        self.len = first;
    }

    #[inline(never)]
    fn push_to_many(&mut self, name: &'a [u8]) {
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few);
        }
        self.many.push(name);
    }
}

/// A name that two members have. Names are compared by value: with escapes, the same name can be written in many ways.
#[inline]
pub(super) fn given_twice<'a>(names: &[&'a [u8]], escapes: bool) -> Option<Cow<'a, str>> {
    if escapes || names.len() > NAMES_IN_PAIRS_MAX {
        return given_twice_by_value(names);
    }
    let mut rest = names;
    while let [name, others @ ..] = rest {
        if others.contains(name) {
            return Some(unescaped(text_of(name)));
        }
        rest = others;
    }
    None
}

#[inline(never)]
fn given_twice_by_value<'a>(names: &[&'a [u8]]) -> Option<Cow<'a, str>> {
    let mut values: Vec<Cow<'a, str>> = names.iter().map(|name| stored(unescaped(text_of(name)))).collect();
    values.sort_unstable();
    values.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().cloned())
}

/// The text of a name, which is a part of a text.
pub(super) fn text_of(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// A name as stores have it: U+0000 is replaced.
fn stored(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.contains('\0') { Cow::Owned(name.replace('\0', "\u{fffd}")) } else { name }
}

/// A name as shown in an error.
pub(super) fn shown(name: &str) -> String {
    if name.len() <= SHOWN_NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (begin, _) = name.split_at(name.floor_char_boundary(SHOWN_NAME_BYTES_MAX));
    format!("{begin}…")
}

/// The value of a checked JSON string: the same name can be written in many ways.
pub(super) fn unescaped(string: &str) -> Cow<'_, str> {
    let bare = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(string);
    if is_plain(bare.as_bytes()) || !bare.contains('\\') {
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
