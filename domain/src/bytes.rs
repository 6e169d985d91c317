//! Rules that every byte of a text must keep, in texts of the length that those of events have.

/// Bytes that the compiler compares at once.
const BLOCK_BYTES: usize = 16;
const HALF_BLOCK_BYTES: usize = 8;

/// Whether every byte keeps a rule.
#[must_use]
#[inline]
pub fn every(text: &[u8], rule: impl Fn(u8) -> bool + Copy) -> bool {
    // The last bytes are looked at as a block that overlaps the one before, and not one by one.
    if let Some(last) = text.last_chunk::<BLOCK_BYTES>() {
        let (blocks, _) = text.as_chunks();
        return blocks.iter().all(|block: &[u8; BLOCK_BYTES]| every_of(block, rule)) && every_of(last, rule);
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<HALF_BLOCK_BYTES>(), text.last_chunk::<HALF_BLOCK_BYTES>()) {
        return every_of(first, rule) & every_of(last, rule);
    }
    text.iter().all(|byte| rule(*byte))
}

/// Whether every byte of a block keeps a rule.
#[inline]
pub(crate) fn every_of<const N: usize>(block: &[u8; N], rule: impl Fn(u8) -> bool) -> bool {
    // Looks at all of them instead of stopping early, which is what can be done at once.
    block.iter().fold(true, |all, byte| all & rule(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_counts_at_each_place() {
        for len in 0..70 {
            let mut text = vec![b'x'; len];
            assert!(every(&text, |byte| byte == b'x'));
            for at in 0..len {
                text[at] = b'y';
                assert!(!every(&text, |byte| byte == b'x'), "{at} of {len}");
                text[at] = b'x';
            }
        }
    }
}
