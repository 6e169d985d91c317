//! The keys of filters: 64-bit hashes of what an event contains.
//!
//! Constraint: the hashes are part of the file format. They never change within a format version.

use domain::filter::Decimal;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// What a key stands for. Keys of different kinds differ, although the bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    EventId = 1,
    TraceId = 2,
    Source = 3,
    /// A word of a searchable text, in folded case.
    Word = 4,
    /// A name in metadata that has a value.
    Name = 5,
    /// A name in metadata and the folded text of its value.
    Text = 6,
    /// A name in metadata and its value, a number.
    Number = 7,
}

/// A hash in progress: FNV-1a, finished with the last step of MurmurHash3, which spreads the bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Hash {
    pub fn of(kind: Kind) -> Self {
        Self(OFFSET).byte(kind as u8)
    }

    #[must_use]
    #[inline]
    pub fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(PRIME))
    }

    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |hash, byte| hash.byte(*byte))
    }

    #[inline]
    pub fn key(self) -> u64 {
        mix(self.0)
    }
}

/// Spreads the bits of a number.
#[inline]
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

pub(crate) fn event_id(id: &[u8]) -> u64 {
    Hash::of(Kind::EventId).bytes(id).key()
}

pub(crate) fn trace_id(id: &[u8]) -> u64 {
    Hash::of(Kind::TraceId).bytes(id).key()
}

pub(crate) fn source(source: &str) -> u64 {
    Hash::of(Kind::Source).bytes(source.as_bytes()).key()
}

#[cfg(test)]
pub(crate) fn word(folded: &[u8]) -> u64 {
    Hash::of(Kind::Word).bytes(folded).key()
}

/// The key of a name that has a value.
pub(crate) fn name(name: &str) -> u64 {
    Hash::of(Kind::Name).bytes(name.as_bytes()).key()
}

/// The key of a name and the folded text of its value.
pub(crate) fn text(name: &str, folded: &str) -> u64 {
    NameKeys::of(name).text(folded.as_bytes())
}

/// The key of a name and a number: the same for `500` and `5e2`.
pub(crate) fn number(name: &str, number: &Decimal) -> u64 {
    NameKeys::of(name).number(number)
}

/// The keys of one name and its values, begun once for all of its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameKeys {
    /// The key of the name.
    pub name: u64,
    text: Hash,
    number: Hash,
}

impl NameKeys {
    /// Those of a name. A byte that UTF-8 does not have separates it from its values.
    pub fn of(name: &str) -> Self {
        let begun = |kind| Hash::of(kind).bytes(name.as_bytes()).byte(0xff);
        Self { name: self::name(name), text: begun(Kind::Text), number: begun(Kind::Number) }
    }

    /// The key of the name and the folded text of a value.
    pub fn text(&self, folded: &[u8]) -> u64 {
        self.text.bytes(folded).key()
    }

    /// The key of the name and a number.
    pub fn number(&self, number: &Decimal) -> u64 {
        self.number_of(number.is_negative(), number.power(), number.digits().as_bytes())
    }

    /// The key of the name and the number that a JSON text is; `None` if it is not one.
    pub fn number_in(&self, json: &str) -> Option<u64> {
        let digits = json.as_bytes();
        // Most numbers are positive integers, which need no memory.
        if matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit) {
            let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
            let (significant, _) = digits.split_at_checked(digits.len() - zeros)?;
            return Some(self.number_of(false, i64::try_from(digits.len()).ok()?, significant));
        }
        Decimal::parse(json).map(|number| self.number(&number))
    }

    fn number_of(&self, is_negative: bool, power: i64, digits: &[u8]) -> u64 {
        self.number.byte(u8::from(is_negative)).bytes(&power.to_le_bytes()).bytes(digits).key()
    }
}

/// The key of three bytes of a searchable text in folded case.
#[inline]
pub(crate) fn gram(bytes: u32) -> u64 {
    mix(u64::from(bytes) | 1 << 32)
}

/// The hash of six bytes of an id.
#[inline]
pub(crate) fn id_part([one, two, three, four, five, six]: &[u8; 6]) -> u64 {
    mix(u64::from_be_bytes([0, 2, *one, *two, *three, *four, *five, *six]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files have these numbers.
    #[test]
    fn keys_never_change() {
        assert_eq!(word(b"order"), 0x684e_1d33_3c9b_d609);
        assert_eq!(gram(0x61_62_63), 0x9a31_f7f3_afbf_31f3);
        let five_hundred = Decimal::parse("500").expect("a number");
        assert_eq!(text("http.status", "ok"), 0x681f_da50_d0a4_b111);
        assert_eq!(number("http.status", &five_hundred), 0xf3bf_72df_e812_8f2f);
        assert_eq!(id_part(b"012345"), 0x0bc5_c689_2c63_f847);
    }

    #[test]
    fn the_key_of_a_number_is_that_of_its_decimal() {
        let keys = NameKeys::of("a");
        for json in ["0", "1", "10", "1200", "-5", "5e2", "1.50", "184467440737095516150", "007", "0.5", "10e-1"] {
            let decimal = Decimal::parse(json).expect("a number");
            assert_eq!(keys.number_in(json), Some(number("a", &decimal)), "{json}");
        }
        assert_eq!((keys.number_in(""), keys.number_in("1x"), keys.number_in("-")), (None, None, None));
    }

    #[test]
    fn keys_of_different_kinds_differ() {
        let decimal = |text| Decimal::parse(text).expect("a number");
        assert_eq!(number("a", &decimal("500")), number("a", &decimal("5.0e2")));
        let keys = [
            event_id(b"abc"),
            trace_id(b"abc"),
            source("abc"),
            word(b"abc"),
            name("abc"),
            text("abc", ""),
            text("ab", "c"),
            number("abc", &decimal("0")),
            number("abc", &decimal("5")),
            number("abc", &decimal("-5")),
            number("abc", &decimal("50")),
        ];
        let distinct: std::collections::BTreeSet<u64> = keys.into_iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
