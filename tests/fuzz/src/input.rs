//! Interprets inputs.

use std::borrow::Cow;

/// Begins a repetition in text that [`expanded`] writes out. This byte does not occur in UTF-8.
const REPEAT: u8 = 0xf8;

/// Writes repetitions out, so that a few bytes reach limits of a megabyte. [`REPEAT`] followed by a byte `n` repeats the
/// `1 + n % 8` bytes before it: `m = n / 8` more times or, if `m` is above 23, `2^(m - 11)` times in all, so that most
/// inputs are short and fast. Ends at `bytes_max`.
pub fn expanded(input: &[u8], bytes_max: usize) -> Cow<'_, [u8]> {
    if !input.contains(&REPEAT) && input.len() <= bytes_max {
        return Cow::Borrowed(input);
    }
    let mut output = Vec::new();
    let mut bytes = input.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == REPEAT {
            let Some(n) = bytes.next() else { break };
            let unit = output[output.len().saturating_sub(1 + usize::from(n % 8))..].to_vec();
            let more = match n / 8 {
                m @ ..24 => usize::from(m),
                m => (1 << (m - 11)) - 1,
            };
            let room = bytes_max.saturating_sub(output.len());
            output.extend(unit.iter().cycle().take((more * unit.len()).min(room)));
        } else if output.len() < bytes_max {
            output.push(byte);
        }
    }
    Cow::Owned(output)
}

/// Numbers and bytes from an input, from its front. After its end everything is zero or empty.
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn two_bytes(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn eight_bytes(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.two_bytes()) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_repeats_preceding_bytes_up_to_the_limit() {
        assert_eq!(*expanded(b"plain", 10), *b"plain");
        assert_eq!(*expanded(b"-ab\xf8\x19.", 100), *b"-abababab.");
        assert_eq!(*expanded(b"a\xf8\x38b\xf8", 100), *b"aaaaaaaab");
        assert_eq!(*expanded(b"\xf8\x38b", 100), *b"b");
        assert_eq!(expanded(b"a\xf8\xc0b", 10_000).len(), 8_193);
        assert_eq!(expanded(b"a\xf8\xf8b", 10_000).len(), 10_000);
    }
}
