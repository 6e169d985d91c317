//! The bytes of a JSON string that stand for themselves: all but quotation marks, backslashes and control characters.
//!
//! Constraint: nearly every byte of an event passes through here, so bytes are compared eight at a time.

const WORD_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;
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
    let (words, rest) = text.as_chunks();
    let mut plain = 0;
    for word in words {
        match first_special(word) {
            Some(at) => return plain + at,
            None => plain += WORD_BYTES,
        }
    }
    plain + plain_bytes_one_by_one(rest)
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
    if let Some(last) = text.last_chunk() {
        let (blocks, _) = text.as_chunks();
        // Without a branch for each block.
        return blocks.iter().fold(is_plain_block(last), |plain, block| plain & is_plain_block(block));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return first_special(first).is_none() && first_special(last).is_none();
    }
    plain_bytes_one_by_one(text) == text.len()
}

fn plain_bytes_one_by_one(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_plain_byte(**byte)).count()
}

#[inline]
fn is_plain_byte(byte: u8) -> bool {
    !matches!(byte, 0..=0x1f | b'"' | b'\\')
}

#[inline]
fn is_plain_block(block: &[u8; BLOCK_BYTES]) -> bool {
    // In this form the compiler compares all bytes of a block at once.
    let special = block.map(|byte| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\'));
    u128::from_ne_bytes(special) == 0
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
    let equal = |bytes: u64| (word ^ bytes).wrapping_sub(LOWEST) & !(word ^ bytes);
    let below_space = word.wrapping_sub(SPACES) & !word;
    (equal(QUOTES) | equal(BACKSLASHES) | below_space) & HIGHEST
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
