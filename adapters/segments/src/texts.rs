//! What the filters of a block contain: the words, the values of metadata, and all three neighbouring bytes of the texts
//! that a search looks into.
//!
//! Constraints and invariants:
//! * Texts are folded by [`domain::folding`] first, as the rule of a search does. What a pattern requires ([`Required`]) is
//!   then contained in every text that contains the pattern.
//! * A word is a run of letters, digits, `_` and bytes beyond ASCII. Only a word between two other characters counts: a
//!   pattern says of no other word that it is whole.
//! * Three neighbouring bytes say nothing of numbers and hexadecimal ids: all combinations are in every block. Of three
//!   neighbouring parts of six such bytes each, the one with the least hash counts (winnowing: Schleimer, Wilkerson and Aiken,
//!   "Winnowing: Local Algorithms for Document Fingerprinting", 2003). So every eight bytes of an id have a key, in a text as in
//!   a pattern, for half a key a byte.
//! * Metadata is walked as [`domain::filter::any_value`] understands names.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use domain::filter::{Decimal, Pattern};
use domain::folding::fold;
use domain::metadata::{JsonKind, JsonValue};

use crate::key;

/// Shorter words are too frequent to be worth a key.
const WORD_BYTES_MIN: usize = 3;
/// Maximum words, and three neighbouring bytes, that are looked up of one pattern: more say little more.
const REQUIRED_MAX: usize = 64;

/// Whether a byte of folded text belongs to a word.
fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Calls `see` with each word between two other characters.
fn each_word<'t>(folded: &'t [u8], mut see: impl FnMut(&'t [u8])) {
    let mut begin = None;
    for (at, byte) in folded.iter().enumerate() {
        if in_word(*byte) {
            continue;
        }
        if let Some(word) = begin.and_then(|begin| folded.get(begin..at))
            && word.len() >= WORD_BYTES_MIN
        {
            see(word);
        }
        begin = Some(at + 1);
    }
}

/// Bytes of a part of an id.
const ID_PART_BYTES: usize = 6;

/// Calls `see` with the keys of numbers and hexadecimal ids: for each three neighbouring parts, of which each has a digit,
/// one of them.
fn each_id_key(folded: &[u8], mut see: impl FnMut(u64)) {
    // Digits so far, the last six of them, how long ago the last decimal one was, and the hashes of the last parts.
    let (mut digits, mut bytes, mut without_decimal) = (0_usize, 0_u64, ID_PART_BYTES);
    let (mut parts, mut hashes) = (0_usize, [0_u64; 3]);
    for byte in folded {
        if !matches!(byte, b'0'..=b'9' | b'a'..=b'f') {
            (digits, parts) = (0, 0);
            continue;
        }
        digits += 1;
        bytes = bytes << 8 | u64::from(*byte);
        without_decimal = if byte.is_ascii_digit() { 0 } else { without_decimal + 1 };
        if digits < ID_PART_BYTES || without_decimal >= ID_PART_BYTES {
            parts = 0;
            continue;
        }
        parts += 1;
        let [_, one, two] = hashes;
        let three = key::id_part(bytes);
        hashes = [one, two, three];
        if parts >= 3 {
            see(one.min(two).min(three));
        }
    }
}

/// Keys are hashes already.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A set of keys.
pub(crate) type Keys = HashSet<u64, BuildHasherDefault<AsItIs>>;

/// Collects the keys of the texts of a block.
pub(crate) struct BlockTexts {
    /// Words, parts of ids, names and values.
    pub tokens: Keys,
    /// Three neighbouring bytes each.
    pub grams: Vec<u64>,
    /// One bit for each number of 24 bits.
    seen: Vec<u64>,
    folded: Vec<u8>,
}

impl BlockTexts {
    pub fn new() -> Self {
        Self { tokens: Keys::default(), grams: Vec::new(), seen: vec![0; 1 << 18], folded: Vec::new() }
    }

    /// Forgets everything, for the next block.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.grams.clear();
        self.seen.fill(0);
    }

    /// Adds a text that a search looks into.
    pub fn add_text(&mut self, text: &str) {
        let mut folded = std::mem::take(&mut self.folded);
        folded.clear();
        if text.is_ascii() {
            folded.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
        } else {
            folded.extend_from_slice(fold(text).as_bytes());
        }
        self.add_folded(&folded);
        self.folded = folded;
    }

    fn add_folded(&mut self, folded: &[u8]) {
        let tokens = &mut self.tokens;
        each_word(folded, |word| {
            tokens.insert(key::word(word));
        });
        each_id_key(folded, |key| {
            tokens.insert(key);
        });
        let mut gram = 0_u32;
        for (at, byte) in folded.iter().enumerate() {
            gram = (gram << 8 | u32::from(*byte)) & 0xff_ff_ff;
            if at < 2 {
                continue;
            }
            let bit = 1_u64 << (gram & 63);
            if let Some(bits) = self.seen.get_mut((gram >> 6) as usize)
                && *bits & bit == 0
            {
                *bits |= bit;
                self.grams.push(key::gram(gram));
            }
        }
    }

    /// Adds metadata: all of its texts, numbers and truth values, and its names with their values.
    pub fn add_metadata(&mut self, json: &str) {
        self.add_members(JsonValue::new(json), &mut String::new(), true);
    }

    fn add_members(&mut self, object: JsonValue<'_>, name: &mut String, outermost: bool) {
        for (member, value) in object.members() {
            let outer = name.len();
            if !outermost {
                name.push('.');
            }
            name.push_str(&member);
            self.add_value(value, name);
            name.truncate(outer);
        }
    }

    fn add_value(&mut self, value: JsonValue<'_>, name: &mut String) {
        match value.kind() {
            JsonKind::Object => {
                self.tokens.insert(key::name(name));
                self.add_members(value, name, false);
            }
            JsonKind::Array => value.elements().for_each(|element| self.add_value(element, name)),
            JsonKind::Null => {
                self.tokens.insert(key::text(name, "null"));
            }
            kind => {
                let plain = value.plain();
                self.add_text(&plain);
                self.tokens.insert(key::name(name));
                let number = if kind == JsonKind::Number { Decimal::parse(value.json()) } else { None };
                self.tokens.insert(match number {
                    Some(number) => key::number(name, &number),
                    None => key::text(name, &fold(&plain)),
                });
            }
        }
    }
}

/// Keys that a text contains if it contains a match of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Required {
    /// Words and parts of ids.
    pub words: Vec<u64>,
    /// Three neighbouring bytes each.
    pub grams: Vec<u64>,
}

impl Required {
    /// What every text that contains a match of the pattern contains.
    pub fn of(pattern: &Pattern) -> Self {
        let mut required = Self::default();
        for part in pattern.parts() {
            each_word(part.as_bytes(), |word| {
                if required.words.len() < REQUIRED_MAX {
                    required.words.push(key::word(word));
                }
            });
            each_id_key(part.as_bytes(), |key| {
                if required.words.len() < REQUIRED_MAX {
                    required.words.push(key);
                }
            });
            for window in part.as_bytes().windows(3) {
                if let [one, two, three] = window
                    && required.grams.len() < REQUIRED_MAX
                {
                    required.grams.push(key::gram(u32::from_be_bytes([0, *one, *two, *three])));
                }
            }
        }
        required
    }
}

#[cfg(test)]
mod tests {
    use domain::filter::any_value;
    use proptest::prelude::*;

    use super::*;

    fn texts_of(text: &str) -> BlockTexts {
        let mut texts = BlockTexts::new();
        texts.add_text(text);
        texts
    }

    fn contains(texts: &BlockTexts, required: &Required) -> bool {
        required.words.iter().all(|word| texts.tokens.contains(word))
            && required.grams.iter().all(|gram| texts.grams.contains(gram))
    }

    #[test]
    fn only_words_between_other_characters_are_whole() {
        let mut words = Vec::new();
        each_word(b"abc def-ghi_1 x jkl", |word| words.push(word));
        assert_eq!(words, [&b"def"[..], b"ghi_1"]);
        let required = Required::of(&Pattern::text("order 12345 for").contained());
        assert_eq!((required.words, required.grams.len()), (vec![key::word(b"12345")], 13));
        assert!(!contains(&texts_of("order 12346 for"), &Required::of(&Pattern::text("order 12345 for"))));
    }

    #[test]
    fn every_eight_digits_of_an_id_have_a_key() {
        let keys = |text: &str| {
            let mut keys = Vec::new();
            each_id_key(text.as_bytes(), |key| keys.push(key));
            keys
        };
        for (text, count) in [
            ("1234567", 0),
            ("12345678", 1),
            ("1234-5678", 0),
            ("facade facadefacade", 0),
            ("0facadef", 0),
            ("fa0ade1b", 1),
            ("4bf92f3577b34da6a3ce929d0e0e4736", 25),
        ] {
            assert_eq!(keys(text).len(), count, "{text}");
        }
        // Fewer than one key a byte, since neighbours choose the same part.
        let distinct: Keys = keys("4bf92f3577b34da6a3ce929d0e0e4736").into_iter().collect();
        assert!((10..18).contains(&distinct.len()), "{}", distinct.len());
        let texts = texts_of("order 8473920176 placed");
        assert!(contains(&texts, &Required::of(&Pattern::text("73920176"))));
        assert!(!contains(&texts, &Required::of(&Pattern::text("84739202"))));
    }

    #[test]
    fn names_are_those_of_the_rule() {
        for (json, name) in [
            (r#"{"":{"a":1}}"#, ".a"),
            (r#"{"a":{"":1}}"#, "a."),
            (r#"{"a":[{"b":[1,[2]]}]}"#, "a.b"),
            (r#"{"a.b":{"c":1}}"#, "a.b.c"),
            (r#"{"a":{"b":1}}"#, "a"),
        ] {
            assert!(
                any_value(JsonValue::new(json), name, &mut |value| value.kind() != JsonKind::Null),
                "{json} {name}"
            );
            let mut texts = BlockTexts::new();
            texts.add_metadata(json);
            assert!(texts.tokens.contains(&key::name(name)), "{json} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_text_contains_the_keys_of_its_parts(text in "[0-9A-Fg.]{0,40}", from in 0_usize..40, bytes in 0_usize..20) {
            let part = text.get(from..).map_or("", |rest| &rest[..bytes.min(rest.len())]);
            prop_assert!(contains(&texts_of(&text), &Required::of(&Pattern::text(part).contained())), "{part}");
        }

        #[test]
        fn a_text_contains_what_a_pattern_that_it_matches_requires(
            before in "[a-cß_ .-]{0,6}", one in "[A-Cß_ .-]{0,8}", between in "[a-cǅ ]{0,4}", other in "[a-cA-C -]{0,8}",
            after in "[a-c \\-]{0,6}",
        ) {
            let text = format!("{before}{one}{between}{other}{after}");
            let pattern = Pattern::new(&[one.as_str(), other.as_str()]).contained();
            prop_assume!(pattern.matches(&text));
            prop_assert!(contains(&texts_of(&text), &Required::of(&pattern)), "{text}");
        }
    }
}
