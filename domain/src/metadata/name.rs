//! The names of members.

use std::borrow::Cow;

use super::error::METADATA_BYTES_MAX;
use super::plain::is_plain;

/// Maximum number of unknown members to collect: the shortest member has five bytes (`"":1` and a comma), so this many
/// exceed [`METADATA_BYTES_MAX`], and [`super::Metadata::with_unknown`] reads no further member.
pub const UNKNOWN_MEMBERS_MAX: usize = METADATA_BYTES_MAX / 5 + 1;
/// Up to this many names are compared pair by pair, which needs no memory.
pub(super) const NAMES_IN_PAIRS_MAX: usize = 16;
/// Maximum bytes of a name that an error repeats.
pub(super) const SHOWN_NAME_BYTES_MAX: usize = 64;

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
    let bare = match string.as_bytes() {
        [b'"', .., b'"'] => string.get(1..string.len() - 1).unwrap_or(string),
        _ => string,
    };
    // Most strings are plain, and that is seen faster.
    if is_plain(bare.as_bytes()) || !bare.as_bytes().contains(&b'\\') {
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
