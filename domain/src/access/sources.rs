//! The sources that a key is restricted to.
//!
//! Constraint: sources are compared byte for byte. A comparison in any case, or in the language of a store, could match
//! the source of another tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::event::SOURCE_BYTES_MAX;

/// Maximum number of patterns of one key.
pub const SOURCE_PATTERNS_MAX: usize = 100;

/// Sources by name: exactly, or with `*` for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePattern(String);

/// The text is not a pattern of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a source or a pattern such as shop-*: 1 to {SOURCE_BYTES_MAX} bytes without control characters")]
pub struct InvalidSourcePattern;

impl FromStr for SourcePattern {
    type Err = InvalidSourcePattern;

    fn from_str(text: &str) -> Result<Self, InvalidSourcePattern> {
        let valid = (1..=SOURCE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSourcePattern) }
    }
}

impl fmt::Display for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SourcePattern {
    /// The only source that it matches, if it has no wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// A text that every source that it matches contains; the longest one.
    #[must_use]
    pub fn longest_part(&self) -> &str {
        self.0.split('*').max_by_key(|part| part.len()).unwrap_or_default()
    }

    /// Whether it matches a source.
    #[must_use]
    pub fn matches(&self, source: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(last) = parts.next_back() else { return source == first };
        let Some(mut rest) = source.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
        // The earliest place of each part leaves the most room for the others.
        parts.all(|part| match rest.split_once(part) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    }
}

/// A restriction to the sources that one of some patterns matches. Without patterns there is no such source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRestriction(Arc<[SourcePattern]>);

impl From<Vec<SourcePattern>> for SourceRestriction {
    fn from(patterns: Vec<SourcePattern>) -> Self {
        Self(patterns.into())
    }
}

impl SourceRestriction {
    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[SourcePattern] {
        &self.0
    }

    /// Whether a source is within it.
    #[must_use]
    pub fn allows(&self, source: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(source))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> SourcePattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn sources_are_compared_byte_for_byte() {
        for (of, source, expected) in [
            ("shop", "shop", true),
            ("shop", "Shop", false),
            ("shop", "shop-1", false),
            ("shop-*", "shop-", true),
            ("shop-*", "shop-1", true),
            ("shop-*", "SHOP-1", false),
            ("shop-*", "shop", false),
            ("shop-*", "workshop-1", false),
            // `%` and `_` mean themselves.
            ("shop_*", "shop-1", false),
            ("%", "shop", false),
            ("*-eu", "shop-eu", true),
            ("*-eu", "shop-eu-1", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("*", "anything", true),
            ("straße*", "STRASSE-1", false),
            ("\u{e9}*", "e\u{301}-1", false),
        ] {
            assert_eq!(pattern(of).matches(source), expected, "{of} {source}");
        }
        for wrong in ["", "a\nb", "a\u{0}", &"x".repeat(256)] {
            assert_eq!(wrong.parse::<SourcePattern>(), Err(InvalidSourcePattern), "{wrong:?}");
        }
    }

    #[test]
    fn a_restriction_allows_what_one_of_its_patterns_matches_and_nothing_without_any() {
        let shop: SourceRestriction = vec![pattern("shop-*"), pattern("till")].into();
        assert!(shop.allows("shop-1") && shop.allows("till"));
        assert!(!shop.allows("till-1") && !shop.allows("other"));
        assert!(!SourceRestriction::from(Vec::new()).allows("shop-1"));
    }

    /// The same rule, by trying every place.
    fn reference(pattern: &[u8], source: &[u8]) -> bool {
        match pattern.split_first() {
            None => source.is_empty(),
            Some((b'*', rest)) => (0..=source.len()).any(|skipped| reference(rest, &source[skipped..])),
            Some((byte, rest)) => source.first() == Some(byte) && reference(rest, &source[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_reference_matches(of in "[aB*]{1,8}", source in "[abB]{1,8}") {
            let pattern = pattern(&of);
            let matches = pattern.matches(&source);
            prop_assert_eq!(matches, reference(of.as_bytes(), source.as_bytes()));
            prop_assert!(!matches || source.contains(pattern.longest_part()));
            prop_assert!(pattern.exact().is_none_or(|exact| matches == (exact == source)));
        }
    }
}
