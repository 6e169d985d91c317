//! The bytes of a JSON string that stand for themselves: all but quotation marks, backslashes and control characters.
//!
//! Constraint: nearly every byte of an event passes through here, so bytes are compared many at a time.

const BLOCK_BYTES: usize = 16;
const WORD_BYTES: usize = 8;
/// The lowest bit of each byte.
const LOWEST: u64 = u64::from_ne_bytes([0x01; WORD_BYTES]);
/// The highest bit of each byte.
const HIGHEST: u64 = u64::from_ne_bytes([0x80; WORD_BYTES]);
const QUOTES: u64 = u64::from_ne_bytes([b'"'; WORD_BYTES]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; WORD_BYTES]);
const SPACES: u64 = u64::from_ne_bytes([b' '; WORD_BYTES]);

/// The number of bytes before the first one that ends a JSON string, begins an escape, or must be an escape.
#[must_use]
#[inline]
pub fn plain_bytes(text: &[u8]) -> usize {
    // Most strings end in their first block.
    match text.first_chunk().map(plain_bytes_of_block) {
        Some(BLOCK_BYTES) => plain_bytes_of_long(text),
        Some(plain) => plain,
        None => plain_bytes_at_end(text),
    }
}

/// [`plain_bytes`] of more than a block.
#[inline(never)]
fn plain_bytes_of_long(text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks();
    let mut plain = 0;
    for block in blocks {
        let of_block = plain_bytes_of_block(block);
        plain += of_block;
        if of_block < BLOCK_BYTES {
            return plain;
        }
    }
    plain + plain_bytes_at_end(rest)
}

/// Whether all bytes stand for themselves.
#[must_use]
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    !any_word(text, special)
}

/// Whether a byte is zero.
#[inline]
pub(crate) fn has_nul(text: &[u8]) -> bool {
    any_word(text, |word| word.wrapping_sub(LOWEST) & !word & HIGHEST)
}

/// Whether all bytes are printable ASCII characters.
#[inline]
pub(crate) fn is_printable_ascii(text: &[u8]) -> bool {
    // Of an ASCII byte, one more has the highest bit set if it is DEL, and 32 less than 128 more if it is at least a space.
    !any_word(text, |word| (word | word.wrapping_add(LOWEST) | !(word | HIGHEST).wrapping_sub(SPACES)) & HIGHEST)
}

/// Whether `bits` returns anything but zero for a word of the text. It returns zero if all bytes are letters.
#[inline]
fn any_word(text: &[u8], bits: impl Fn(u64) -> u64) -> bool {
    let Some(last) = text.last_chunk() else {
        let mut word = [b'a'; WORD_BYTES];
        if let Some(begin) = word.get_mut(..text.len()) {
            begin.copy_from_slice(text);
        }
        return bits(u64::from_le_bytes(word)) != 0;
    };
    let (words, _) = text.as_chunks();
    // The last word overlaps the one before it. Without a branch for each word.
    words.iter().fold(bits(u64::from_le_bytes(*last)), |any, word| any | bits(u64::from_le_bytes(*word))) != 0
}

/// The lowest bit that is set is the highest bit of the first byte that does not stand for itself. Bits above it mean
/// nothing, because a subtraction borrows from the bytes above.
#[inline]
fn special(word: u64) -> u64 {
    let equal = |bytes: u64| (word ^ bytes).wrapping_sub(LOWEST) & !(word ^ bytes);
    let below_space = word.wrapping_sub(SPACES) & !word;
    (equal(QUOTES) | equal(BACKSLASHES) | below_space) & HIGHEST
}

/// [`plain_bytes`] of a block.
///
/// In this form the compiler compares all bytes of a block at once; before that, it takes the function for a large one.
#[inline(always)]
fn plain_bytes_of_block(block: &[u8; BLOCK_BYTES]) -> usize {
    let mut special = [0; BLOCK_BYTES];
    for (special, byte) in special.iter_mut().zip(block) {
        *special = if (*byte < b' ') | (*byte == b'"') | (*byte == b'\\') { u8::MAX } else { 0 };
    }
    let special = u128::from_le_bytes(special);
    let (low, high) = (special as u64, (special >> 64) as u64);
    let plain = |special: u64| special.trailing_zeros() as usize / 8;
    if low != 0 { plain(low) } else { WORD_BYTES + plain(high) }
}

/// [`plain_bytes`] of less than a block.
#[inline(never)]
fn plain_bytes_at_end(rest: &[u8]) -> usize {
    let (words, bytes) = rest.as_chunks();
    let mut plain = 0;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return plain + special.trailing_zeros() as usize / 8;
        }
        plain += WORD_BYTES;
    }
    plain + bytes.iter().take_while(|byte| !matches!(byte, 0..=0x1f | b'"' | b'\\')).count()
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
                    assert_eq!(has_nul(&text), byte == 0, "{text:?}");
                    assert_eq!(is_printable_ascii(&text), matches!(byte, b' '..=b'~'), "{text:?}");
                }
            }
        }
        assert_eq!((plain_bytes(b""), is_plain(b""), has_nul(b""), is_printable_ascii(b"")), (0, true, false, true));
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
