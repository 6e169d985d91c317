//! Texts with wildcards, compared in any case.

use crate::folding::fold;

/// A text to look for, in any case (see [`crate::folding`]); `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The folded texts between the wildcards, in order; none is empty.
    parts: Vec<String>,
    /// Whether a text may begin before the first part.
    open_start: bool,
    /// Whether a text may go on behind the last part.
    open_end: bool,
}

impl Pattern {
    /// Matches every text.
    pub const ANY: Self = Self { parts: Vec::new(), open_start: true, open_end: true };

    /// A pattern from the texts between its wildcards: `a*b` is `["a", "b"]`, `*a` is `["", "a"]`.
    #[must_use]
    pub fn new<T: AsRef<str>>(between_wildcards: &[T]) -> Self {
        let is_empty = |text: Option<&T>| text.is_some_and(|text| text.as_ref().is_empty());
        let wildcards = between_wildcards.len() > 1;
        Self {
            parts: between_wildcards.iter().map(|text| fold(text.as_ref())).filter(|part| !part.is_empty()).collect(),
            open_start: wildcards && is_empty(between_wildcards.first()),
            open_end: wildcards && is_empty(between_wildcards.last()),
        }
    }

    /// Matches texts that are equal to this one.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(&[text])
    }

    /// Matches what contains a match of this pattern.
    #[must_use]
    pub fn contained(mut self) -> Self {
        (self.open_start, self.open_end) = (true, true);
        self
    }

    /// The folded texts that every match contains, in this order.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The folded text that every match begins with; `None` if a match may begin with anything.
    #[must_use]
    pub fn begin(&self) -> Option<&str> {
        (!self.open_start).then(|| self.parts.first().map_or("", String::as_str))
    }

    /// Whether it matches every text.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.parts.is_empty() && (self.open_start || self.open_end)
    }

    /// Whether it has no wildcard.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.parts.len() <= 1 && !self.open_start && !self.open_end
    }

    /// The first place, from byte `from` on, at which a text has the longest part of this pattern: an ASCII text that matches has
    /// it. `None` also for a pattern without parts, which matches every text.
    #[must_use]
    pub fn place_of_a_part(&self, text: &str, from: usize) -> Option<usize> {
        let longest = self.parts.iter().max_by_key(|part| part.len())?;
        place_of(text.as_bytes().get(from..)?, longest.as_bytes()).map(|at| from + at)
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_between(text, self.open_start, self.open_end)
    }

    /// Whether the text contains a match: as [`Pattern::contained`], but nothing is copied for each text.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.matches_between(text, true, true)
    }

    fn matches_between(&self, text: &str, open_start: bool, open_end: bool) -> bool {
        if self.parts.is_empty() && (open_start || open_end) {
            return true;
        }
        // Most texts are ASCII alone, and then nothing is copied.
        if text.is_ascii() {
            self.parts_are_in(text.as_bytes(), open_start, open_end)
        } else {
            self.parts_are_in(fold(text).as_bytes(), open_start, open_end)
        }
    }

    /// Whether the parts are in a text, in this order, without looking at the case of ASCII letters.
    fn parts_are_in(&self, text: &[u8], open_start: bool, open_end: bool) -> bool {
        let mut rest = text;
        let mut parts = self.parts.as_slice();
        if !open_start {
            let Some((first, others)) = parts.split_first() else { return rest.is_empty() };
            let Some((begin, behind)) = rest.split_at_checked(first.len()) else { return false };
            if !begin.eq_ignore_ascii_case(first.as_bytes()) {
                return false;
            }
            (rest, parts) = (behind, others);
            if parts.is_empty() && !open_end {
                return rest.is_empty();
            }
        }
        if !open_end && let Some((last, others)) = parts.split_last() {
            let before = rest.len().checked_sub(last.len());
            let Some((before, end)) = before.and_then(|before| rest.split_at_checked(before)) else { return false };
            if !end.eq_ignore_ascii_case(last.as_bytes()) {
                return false;
            }
            (rest, parts) = (before, others);
        }
        // The earliest place of each part leaves the most room for the others.
        parts.iter().all(|part| {
            let behind = place_of(rest, part.as_bytes()).and_then(|at| rest.get(at + part.len()..));
            rest = behind.unwrap_or_default();
            behind.is_some()
        })
    }
}

/// Places that are compared at once.
const AT_ONCE: usize = 32;

/// The first place of a text in another one, without looking at the case of ASCII letters. The text has at least one byte.
fn place_of(text: &[u8], part: &[u8]) -> Option<usize> {
    let (first, last) = (part.first()?, part.last()?);
    let places = (text.len() + 1).checked_sub(part.len())?;
    let is_at = |at: usize| text.get(at..at + part.len()).is_some_and(|it| it.eq_ignore_ascii_case(part));
    let (begins, ends) = (text.get(..places)?, text.get(part.len() - 1..)?);
    let (begins, begins_left) = begins.as_chunks::<AT_ONCE>();
    let (ends, _) = ends.as_chunks::<AT_ONCE>();
    for (n, (begins, ends)) in begins.iter().zip(ends).enumerate() {
        if may_match(begins, *first, ends, *last)
            && let Some(at) = (n * AT_ONCE..(n + 1) * AT_ONCE).find(|at| is_at(*at))
        {
            return Some(at);
        }
    }
    (places - begins_left.len()..places).find(|at| is_at(*at))
}

/// Whether one of these places may have a text with this first and last byte: in this form the compiler compares all of them
/// at once. The bit that tells the case of a letter is set in all bytes.
fn may_match(begins: &[u8; AT_ONCE], first: u8, ends: &[u8; AT_ONCE], last: u8) -> bool {
    let any_case = |byte: u8| byte | 0x20;
    let (first, last) = (any_case(first), any_case(last));
    let pairs = begins.iter().zip(ends);
    let matches = pairs.map(|(begin, end)| u8::from(any_case(*begin) == first) & u8::from(any_case(*end) == last));
    matches.fold(0, |any, matches| any | matches) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(&text.split('*').collect::<Vec<_>>())
    }

    #[test]
    fn wildcards_stand_for_any_characters() {
        for (of, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a", true),
            ("**", "a", true),
            ("abc", "ABC", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("*b*", "abc", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("straße", "STRASSE", true),
            ("*ς", "ΣΑΣ", true),
        ] {
            assert_eq!(pattern(of).matches(text), expected, "{of} {text}");
        }
        for length in 1..100 {
            let text: String = (0..length).map(|n| char::from(b'a' + n % 23)).collect();
            let found = |part: &str| (pattern(part).is_in(&text), pattern(&part.to_uppercase()).is_in(&text));
            for (begin, end) in (0..text.len()).flat_map(|begin| (begin + 1..=text.len()).map(move |end| (begin, end)))
            {
                let part = &text[begin..end];
                assert_eq!(found(part), (true, true), "{text} {part}");
                assert_eq!(place_of(text.as_bytes(), part.as_bytes()), text.find(part), "{text} {part}");
            }
            assert_eq!((found("az"), found("z")), ((false, false), (false, false)), "{text}");
        }
        assert!(pattern("b").contained().matches("abc") && pattern("a*c").contained().matches("xabcx"));
        assert!(pattern("b").is_text() && !pattern("b*").is_text() && !pattern("b").contained().is_text());
        assert!(pattern("").contained().matches_all() && Pattern::ANY.matches_all());
    }

    #[test]
    fn a_pattern_says_how_its_matches_begin() {
        for (of, begin) in [("ABC", Some("abc")), ("a*b", Some("a")), ("", Some("")), ("*a", None), ("*", None)] {
            assert_eq!(pattern(of).begin(), begin, "{of}");
        }
        assert_eq!(pattern("a").contained().begin(), None);
        assert_eq!(pattern("*a**B*").parts(), ["a", "b"]);
    }

    /// The same rule, by trying every place.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| reference(rest, &text[skipped..])),
            Some((char, rest)) => text.first() == Some(char) && reference(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_reference_matches(of in "[ab*]{0,8}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(pattern(&of).matches(&text), reference(&chars(&of), &chars(&text)));
            prop_assert_eq!(pattern(&of).is_in(&text), pattern(&of).contained().matches(&text));
        }
    }
}
