//! What the filters of a block contain: the words, the values of metadata, and all three neighbouring bytes of the texts
//! that a search looks into.
//!
//! Constraints and invariants:
//! * Texts are folded by [`domain::folding`] first, as the rule of a search does. What a pattern requires ([`Required`]) is
//!   then contained in every text that contains the pattern.
//! * A word is a run of letters, digits, `_` and bytes beyond ASCII. Only a word between two other characters counts: a
//!   pattern says of no other word that it is whole.
//! * Three neighbouring bytes say nothing of numbers and hexadecimal ids: all combinations are in every block. Of five
//!   neighbouring parts of six such bytes each, the one with the least hash counts (winnowing: Schleimer, Wilkerson and Aiken,
//!   "Winnowing: Local Algorithms for Document Fingerprinting", 2003). So every ten bytes of an id have a key, in a text as in
//!   a pattern, for a third of a key a byte. Earlier versions wrote the least of each three, among which is the least of each five.
//! * Metadata is walked as [`domain::filter::any_value`] understands names.

use std::borrow::Cow;

use domain::filter::Pattern;
use domain::folding::fold_into;
use domain::metadata::{JsonKind, JsonValue};

use crate::key::{self, Hash, Kind, NameKeys};
use crate::key_set::KeySet;

/// Shorter words are too frequent to be worth a key.
const WORD_BYTES_MIN: usize = 3;
/// Maximum words, and three neighbouring bytes, that are looked up of one pattern: more say little more.
const REQUIRED_MAX: usize = 64;
/// Bytes of a part of an id.
const ID_PART_BYTES: usize = 6;
/// Neighbouring parts of which one counts.
const ID_PARTS: usize = 5;
/// Numbers of 24 bits, in bits of 64-bit words.
const GRAM_WORDS: usize = 1 << 18;
/// Names of metadata whose keys are kept.
const NAMES_MAX: usize = 64;

/// What a byte of folded text is.
const IN_WORD: u8 = 1;
const IN_ID: u8 = 2;
const DECIMAL: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let (mut rest, mut byte): (&mut [u8], u8) = (&mut classes, 0);
    while let [class, others @ ..] = rest {
        *class = class_of(byte);
        byte = byte.wrapping_add(1);
        rest = others;
    }
    classes
}

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => IN_WORD | IN_ID | DECIMAL,
        b'a'..=b'f' => IN_WORD | IN_ID,
        b'g'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => IN_WORD,
        _ => 0,
    }
}

/// Calls `see` with the keys of the words between two other characters; and with those of numbers and hexadecimal ids: for
/// each [`ID_PARTS`] neighbouring parts, of which each has a decimal digit, one of them.
#[inline]
fn each_key(folded: &[u8], mut see: impl FnMut(u64)) {
    let begun = Hash::of(Kind::Word);
    // No word is whole before the first other character.
    let (mut word, mut word_from) = (begun, None);
    // Where the digits began, and where a part ends that begins with the last decimal one.
    let (mut id_from, mut decimal_until) = (0, 0);
    // How many parts there are without a gap, their last hashes, and the last key.
    let (mut parts, mut hashes, mut last) = (0_usize, [0; ID_PARTS], None);
    for (at, byte) in folded.iter().enumerate() {
        let class = CLASSES.get(usize::from(*byte)).copied().unwrap_or_default();
        if class & IN_WORD == 0 {
            if word_from.is_some_and(|from| at - from >= WORD_BYTES_MIN) {
                see(word.key());
            }
            (word, word_from, id_from) = (begun, Some(at + 1), at + 1);
            continue;
        }
        word = word.byte(*byte);
        if class & IN_ID == 0 {
            id_from = at + 1;
            continue;
        }
        if class & DECIMAL != 0 {
            decimal_until = at + ID_PART_BYTES;
        }
        let digits = at + 1 - id_from;
        if digits < ID_PART_BYTES {
            continue;
        }
        let part = folded.get(at + 1 - ID_PART_BYTES..).and_then(<[u8]>::first_chunk::<ID_PART_BYTES>);
        let (Some(part), true) = (part, at < decimal_until) else {
            parts = 0;
            continue;
        };
        parts = if digits == ID_PART_BYTES { 1 } else { parts + 1 };
        hashes.rotate_left(1);
        hashes[ID_PARTS - 1] = key::id_part(part);
        let key = hashes.into_iter().min();
        // Neighbours often choose the same part.
        if parts >= ID_PARTS && last != key {
            last = key;
            key.into_iter().for_each(&mut see);
        }
    }
}

/// Collects the keys of the texts of a block.
pub(crate) struct BlockTexts {
    /// Words, parts of ids, names and values.
    pub tokens: KeySet,
    /// Three neighbouring bytes each.
    pub grams: Vec<u64>,
    /// One bit for each number of 24 bits.
    seen: Box<[u64; GRAM_WORDS]>,
    /// Memory for a text and for a name.
    folded: String,
    name: String,
    names: Names,
    /// Whether a name of the present metadata has a dot.
    has_dot: bool,
}

/// A value to which objects alone lead.
pub(crate) struct Named<'v, 'j> {
    /// The names that lead to it, with dots between them.
    pub name: &'v str,
    /// Whether it is one name, of the outermost object.
    pub is_one: bool,
    /// The value: a text, a number or a truth value.
    pub value: Cow<'j, str>,
}

/// Keys of the last names, in the order of the metadata before: that of most events has the names of the one before.
#[derive(Default)]
struct Names {
    known: Vec<(String, NameKeys)>,
    next: usize,
}

impl Names {
    fn keys(&mut self, name: &str) -> NameKeys {
        let is_it = |known: &&(String, NameKeys)| known.0 == name;
        if let Some((_, keys)) = self.known.get(self.next).filter(is_it) {
            self.next += 1;
            return *keys;
        }
        if let Some(at) = self.known.iter().position(|known| is_it(&known)) {
            self.next = at + 1;
            return self.known.get(at).map_or_else(|| NameKeys::of(name), |(_, keys)| *keys);
        }
        let keys = NameKeys::of(name);
        if self.known.len() < NAMES_MAX {
            self.known.push((name.to_owned(), keys));
            self.next = self.known.len();
        }
        keys
    }
}

impl BlockTexts {
    pub fn new() -> Self {
        Self {
            tokens: KeySet::new(),
            grams: Vec::new(),
            seen: Box::new([0; GRAM_WORDS]),
            folded: String::new(),
            name: String::new(),
            names: Names::default(),
            has_dot: false,
        }
    }

    /// Forgets everything, for the next block.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.grams.clear();
        self.seen.fill(0);
        self.names.known.clear();
    }

    /// Adds a text that a search looks into.
    pub fn add_text(&mut self, text: &str) {
        self.folded.clear();
        fold_into(text, &mut self.folded);
        let Self { tokens, grams, seen, folded, .. } = self;
        let folded = folded.as_bytes();
        each_key(folded, |key| tokens.insert(key));
        let mut gram = 0_u32;
        for (at, byte) in folded.iter().enumerate() {
            gram = (gram << 8 | u32::from(*byte)) & 0xff_ff_ff;
            if at < 2 {
                continue;
            }
            let bit = 1_u64 << (gram & 63);
            if let Some(bits) = seen.get_mut((gram >> 6) as usize)
                && *bits & bit == 0
            {
                *bits |= bit;
                grams.push(key::gram(gram));
            }
        }
    }

    /// Adds metadata: all of its texts, numbers and truth values, and its names with their values. Calls `see` with each value to
    /// which objects alone lead. Returns whether a name has a dot.
    pub fn add_metadata<'j>(&mut self, json: &'j str, mut see: impl FnMut(Named<'_, 'j>)) -> bool {
        self.names.next = 0;
        self.has_dot = false;
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        self.add_members(JsonValue::new(json), &mut name, true, &mut see);
        self.name = name;
        self.has_dot
    }

    fn add_members<'j>(
        &mut self,
        object: JsonValue<'j>,
        name: &mut String,
        outermost: bool,
        see: &mut dyn FnMut(Named<'_, 'j>),
    ) {
        for (member, value) in object.members() {
            self.has_dot |= member.contains('.');
            let outer = name.len();
            if !outermost {
                name.push('.');
            }
            name.push_str(&member);
            if let Some(value) = self.add_value(value, name, see) {
                see(Named { name, is_one: outermost, value });
            }
            name.truncate(outer);
        }
    }

    /// Returns a text, a number or a truth value.
    fn add_value<'j>(
        &mut self,
        value: JsonValue<'j>,
        name: &mut String,
        see: &mut dyn FnMut(Named<'_, 'j>),
    ) -> Option<Cow<'j, str>> {
        match value.kind() {
            JsonKind::Object => {
                let keys = self.names.keys(name);
                self.tokens.insert(keys.name);
                self.add_members(value, name, false, see);
                None
            }
            JsonKind::Array => {
                // What is below an array has no single value in a row.
                for element in value.elements() {
                    self.add_value(element, name, &mut |_| ());
                }
                None
            }
            JsonKind::Null => {
                let keys = self.names.keys(name);
                self.tokens.insert(keys.text(b"null"));
                None
            }
            kind => {
                let plain = value.plain();
                self.add_text(&plain);
                let keys = self.names.keys(name);
                self.tokens.insert(keys.name);
                let number = if kind == JsonKind::Number { keys.number_in(value.json()) } else { None };
                // The text is still there in folded case.
                self.tokens.insert(number.unwrap_or_else(|| keys.text(self.folded.as_bytes())));
                Some(plain)
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
            each_key(part.as_bytes(), |key| {
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

    fn contains(texts: &mut BlockTexts, required: &Required) -> bool {
        required.words.iter().all(|word| texts.tokens.keys().contains(word))
            && required.grams.iter().all(|gram| texts.grams.contains(gram))
    }

    fn keys(text: &str) -> Vec<u64> {
        let mut keys = Vec::new();
        each_key(text.as_bytes(), |key| keys.push(key));
        keys
    }

    #[test]
    fn only_words_between_other_characters_are_whole() {
        assert_eq!(keys("abc def-ghi_1 x jkl"), [key::word(b"def"), key::word(b"ghi_1")]);
        let required = Required::of(&Pattern::text("order 12345 for").contained());
        assert_eq!((required.words, required.grams.len()), (vec![key::word(b"12345")], 13));
        assert!(!contains(&mut texts_of("order 12346 for"), &Required::of(&Pattern::text("order 12345 for"))));
    }

    #[test]
    fn every_ten_digits_of_an_id_have_a_key() {
        for (text, count) in [
            ("123456789", 0),
            ("1234567890", 1),
            ("12345-67890", 0),
            ("facade facadefacade", 0),
            ("0facadefac", 0),
            ("fa0ade1bfa", 1),
        ] {
            assert_eq!(keys(text).len(), count, "{text}");
        }
        // Fewer than one key a byte, since neighbours choose the same part.
        let of_id = keys("4bf92f3577b34da6a3ce929d0e0e4736");
        assert!((6..12).contains(&of_id.len()), "{}", of_id.len());
        let mut texts = texts_of("order 847392017655 placed");
        assert!(contains(&mut texts, &Required::of(&Pattern::text("7392017655"))));
        assert!(!contains(&mut texts, &Required::of(&Pattern::text("8473920277"))));
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
            texts.add_metadata(json, |_| ());
            assert!(texts.tokens.keys().contains(&key::name(name)), "{json} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_text_contains_the_keys_of_its_parts(text in "[0-9A-Fg.]{0,40}", from in 0_usize..40, bytes in 0_usize..20) {
            let part = text.get(from..).map_or("", |rest| &rest[..bytes.min(rest.len())]);
            prop_assert!(contains(&mut texts_of(&text), &Required::of(&Pattern::text(part).contained())), "{part}");
        }

        #[test]
        fn a_text_contains_what_a_pattern_that_it_matches_requires(
            before in "[a-cß_ .-]{0,6}", one in "[A-Cß_ .-]{0,8}", between in "[a-cǅ ]{0,4}", other in "[a-cA-C -]{0,8}",
            after in "[a-c \\-]{0,6}",
        ) {
            let text = format!("{before}{one}{between}{other}{after}");
            let pattern = Pattern::new(&[one.as_str(), other.as_str()]).contained();
            prop_assume!(pattern.matches(&text));
            prop_assert!(contains(&mut texts_of(&text), &Required::of(&pattern)), "{text}");
        }
    }
}
