//! The bytes of a JSON string that stand for themselves: all but quotation marks, backslashes and control characters.
//!
//! Constraint: nearly every byte of an event passes through here, so bytes are compared eight or 16 at a time.

use crate::bytes::{every, every_of};

const WORD_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;
/// The lowest bit of each byte.
const LOWEST: u64 = u64::from_ne_bytes([0x01; WORD_BYTES]);
/// The highest bit of each byte.
const HIGHEST: u64 = u64::from_ne_bytes([0x80; WORD_BYTES]);
/// The bit that makes a quotation mark a space. It makes a space greater, and control characters stay below.
const QUOTE_TO_SPACE: u8 = b'"' ^ b' ';
const QUOTES_TO_SPACES: u64 = u64::from_ne_bytes([QUOTE_TO_SPACE; WORD_BYTES]);
const ABOVE_SPACES: u64 = u64::from_ne_bytes([b' ' + 1; WORD_BYTES]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; WORD_BYTES]);

/// The number of bytes before the first one that ends a JSON string, begins an escape, or must be an escape.
#[must_use]
#[inline]
pub fn plain_bytes(text: &[u8]) -> usize {
    // Most strings end within two words.
    let Some((words, rest)) = text.split_first_chunk::<BLOCK_BYTES>() else { return plain_bytes_in_words(text) };
    first_special_of_block(words).unwrap_or_else(|| BLOCK_BYTES + plain_bytes_in_blocks(rest))
}

/// The same for a long text.
#[inline(never)]
fn plain_bytes_in_blocks(text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks();
    let mut plain = 0;
    for block in blocks {
        if !is_plain_block(block) {
            return plain + first_special_of_block(block).unwrap_or_default();
        }
        plain += BLOCK_BYTES;
    }
    plain + plain_bytes_in_words(rest)
}

/// The same for a text that is shorter than a block.
#[inline(never)]
fn plain_bytes_in_words(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks();
    let mut plain = 0;
    for word in words {
        match first_special(word) {
            Some(at) => return plain + at,
            None => plain += WORD_BYTES,
        }
    }
    plain + rest.iter().take_while(|byte| !is_special(**byte)).count()
}

/// The length of the text, with both quotes, that the bytes begin with.
pub(super) fn text_bytes(json: &[u8]) -> usize {
    let mut at = 1;
    loop {
        at += plain_bytes(json.get(at..).unwrap_or_default());
        match json.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return json.len(),
        }
    }
}

/// Whether all bytes stand for themselves.
#[must_use]
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    every(text, |byte| !is_special(byte))
}

/// Whether a byte does not stand for itself.
#[inline]
fn is_special(byte: u8) -> bool {
    ((byte ^ QUOTE_TO_SPACE) <= b' ') | (byte == b'\\')
}

#[inline]
fn is_plain_block(block: &[u8; BLOCK_BYTES]) -> bool {
    every_of(block, |byte| !is_special(byte))
}

/// The place of the first byte of a block that does not stand for itself.
#[inline]
fn first_special_of_block(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    let (words, _) = block.as_chunks();
    let mut at = 0;
    for word in words {
        if let Some(special) = first_special(word) {
            return Some(at + special);
        }
        at += WORD_BYTES;
    }
    None
}

/// The place of the first byte that does not stand for itself.
#[inline]
fn first_special(word: &[u8; WORD_BYTES]) -> Option<usize> {
    let special = special(u64::from_le_bytes(*word));
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

/// The lowest bit that is set is the highest bit of the first byte that does not stand for itself. Bits above it mean
/// nothing, because a subtraction borrows from the bytes above.
#[inline]
fn special(word: u64) -> u64 {
    let up_to_space = (word ^ QUOTES_TO_SPACES).wrapping_sub(ABOVE_SPACES);
    let backslash = (word ^ BACKSLASHES).wrapping_sub(LOWEST);
    (up_to_space | backslash) & !word & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule, byte by byte.
    fn expected(text: &[u8]) -> usize {
        text.iter().take_while(|byte| !matches!(byte, 0..=0x1f | b'"' | b'\\')).count()
    }

    #[test]
    fn each_byte_is_found_at_each_place() {
        for byte in 0..=u8::MAX {
            for len in 1..42 {
                for at in 0..len {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    assert_eq!(plain_bytes(&text), expected(&text), "{text:?}");
                    assert_eq!(is_plain(&text), expected(&text) == len, "{text:?}");
                }
            }
        }
        assert_eq!((plain_bytes(b""), is_plain(b"")), (0, true));
    }

    proptest! {
        #[test]
        fn the_first_one_is_found(
            text in prop::collection::vec(prop_oneof![9 => b' '..=0xff_u8, 1 => 0..0x24_u8, 1 => Just(b'\\')], 0..70)
        ) {
            prop_assert_eq!(plain_bytes(&text), expected(&text));
        }
    }
}
