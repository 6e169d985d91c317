//! Metadata within a longer text, such as the body of a request or the value of a record: checked, and made compact,
//! where it stands, so that its end need not be found before.

use super::error::MetadataError;
use super::scanner::Scanner;
use super::{METADATA_BYTES_MAX, Metadata};

/// The metadata object that `text` begins with, and its length in bytes there. Both are as if the object was found first
/// and given to [`Metadata::parse`]. What is refused may be JSON too.
///
/// # Errors
/// One [`MetadataError`] per rule.
#[inline]
pub fn first_metadata(text: &str) -> Result<(Metadata<'_>, usize), MetadataError> {
    if !text.starts_with('{') {
        return Err(MetadataError::NotObject);
    }
    let (compact, bytes) = Scanner::first(text, 1)?;
    if compact.len() > METADATA_BYTES_MAX { Err(MetadataError::Size) } else { Ok((Metadata(compact), bytes)) }
}

/// The length in bytes of the JSON value that `text` begins with, if it can be the value of an unknown member of an event,
/// which [`Metadata::with_unknown`] merges into the metadata. What is refused may be JSON too.
///
/// # Errors
/// One [`MetadataError`] per rule. The size is not checked.
pub fn first_unknown_value(text: &str) -> Result<usize, MetadataError> {
    Scanner::first(text, 2).map(|(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_follows_is_left() {
        for (text, json, bytes) in [
            ("{}", "{}", 2),
            ("{\"a\" : [1, {}] } ,\"b\":2", "{\"a\":[1,{}]}", 16),
            ("{\"a\":\"\\u0000\"}{", "{\"a\":\"\u{fffd}\"}", 14),
        ] {
            let (metadata, read) = first_metadata(text).expect("metadata");
            assert_eq!((metadata.as_json(), read), (json, bytes));
        }
        for (text, bytes) in [("1,", 1), ("-0.5e1 }", 6), ("null}", 4), ("\"}\\\"\"}", 5), ("[[{\"a\":1}]]]", 11)] {
            assert_eq!(first_unknown_value(text), Ok(bytes), "{text}");
        }
        assert_eq!(first_metadata("[]"), Err(MetadataError::NotObject));
        assert_eq!(first_metadata(" {}"), Err(MetadataError::NotObject));
        assert_eq!(first_metadata("{\"a\":1"), Err(MetadataError::Syntax));
        assert_eq!(first_unknown_value(""), Err(MetadataError::Syntax));
    }

    #[test]
    fn limits_are_those_of_metadata() {
        let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        let (fits, long) = (sized(METADATA_BYTES_MAX), sized(METADATA_BYTES_MAX + 1));
        assert!(first_metadata(&fits).is_ok());
        assert_eq!(first_metadata(&long), Err(MetadataError::Size));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let (deep, too_deep) = (nested(15), nested(16));
        assert_eq!(first_unknown_value(&deep), Ok(30));
        assert_eq!(first_unknown_value(&too_deep), Err(MetadataError::Depth));
    }

    proptest! {
        /// The other way: the object alone.
        #[test]
        fn an_object_is_the_same_within_a_longer_text(
            objects in prop::collection::vec("\\{[\"\\\\:,\\[\\]{}au0-9 -]{0,30}\\}", 1..4),
            rest in "[,\\]} ]",
        ) {
            let texts: Vec<String> = objects.iter().map(|object| format!("{object}{rest}")).collect();
                for (object, text) in objects.iter().zip(&texts) {
                if let Ok((metadata, bytes)) = first_metadata(text) {
                    // The text may close the object earlier, or later.
                    prop_assert_eq!(Metadata::parse(&text[..bytes]), Ok(metadata));
                } else {
                    prop_assert!(Metadata::parse(object).is_err());
                }
            }
        }
    }
}
