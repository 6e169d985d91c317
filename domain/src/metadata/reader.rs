//! Metadata within a longer text, such as the body of a request or the value of a record: checked, and made compact,
//! where it stands, so that its end need not be found before.

use std::borrow::Cow;

use super::error::MetadataError;
use super::plain_object::plain_object;
use super::scanner::Scanner;
use super::{METADATA_BYTES_MAX, Metadata};

/// Reads metadata out of one text. It keeps its memory from one object to the next.
///
/// Whatever it reads is JSON. What it refuses may be JSON too.
#[derive(Debug, Default)]
pub struct MetadataReader<'a> {
    names: Vec<&'a str>,
    plain_names: Vec<&'a [u8]>,
}

impl<'a> MetadataReader<'a> {
    /// The metadata object that `text` begins with, and its length in bytes there. Both are as if the object was found
    /// first and given to [`Metadata::parse`].
    ///
    /// # Errors
    /// One [`MetadataError`] per rule.
    pub fn metadata(&mut self, text: &'a str) -> Result<(Metadata<'a>, usize), MetadataError> {
        if !text.starts_with('{') {
            return Err(MetadataError::NotObject);
        }
        let (compact, bytes) = match plain_object(text.as_bytes(), &mut self.plain_names) {
            Some(bytes) => (Cow::Borrowed(text.get(..bytes).unwrap_or_default()), bytes),
            None => Scanner::first(text, 1, &mut self.names)?,
        };
        if compact.len() > METADATA_BYTES_MAX { Err(MetadataError::Size) } else { Ok((Metadata(compact), bytes)) }
    }

    /// The length in bytes of the JSON value that `text` begins with, if it can be the value of an unknown member of an
    /// event, which [`Metadata::with_unknown`] merges into the metadata.
    ///
    /// # Errors
    /// One [`MetadataError`] per rule. The size is not checked.
    pub fn unknown_value(&mut self, text: &'a str) -> Result<usize, MetadataError> {
        Scanner::first(text, 2, &mut self.names).map(|(_, bytes)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_follows_is_left() {
        let mut reader = MetadataReader::default();
        for (text, json, bytes) in [
            ("{}", "{}", 2),
            ("{\"a\" : [1, {}] } ,\"b\":2", "{\"a\":[1,{}]}", 16),
            ("{\"a\":\"\\u0000\"}{", "{\"a\":\"\u{fffd}\"}", 14),
        ] {
            let (metadata, read) = reader.metadata(text).expect("metadata");
            assert_eq!((metadata.as_json(), read), (json, bytes));
        }
        for (text, bytes) in [("1,", 1), ("-0.5e1 }", 6), ("null}", 4), ("\"}\\\"\"}", 5), ("[[{\"a\":1}]]]", 11)] {
            assert_eq!(reader.unknown_value(text), Ok(bytes), "{text}");
        }
        assert_eq!(reader.metadata("[]"), Err(MetadataError::NotObject));
        assert_eq!(reader.metadata(" {}"), Err(MetadataError::NotObject));
        assert_eq!(reader.metadata("{\"a\":1"), Err(MetadataError::Syntax));
        assert_eq!(reader.unknown_value(""), Err(MetadataError::Syntax));
        // A failed read leaves nothing behind.
        assert_eq!(reader.metadata("{\"a\":{\"b\":?"), Err(MetadataError::Syntax));
        assert!(reader.metadata("{\"b\":1,\"a\":1}").is_ok());
    }

    #[test]
    fn limits_are_those_of_metadata() {
        let mut reader = MetadataReader::default();
        let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        let (fits, long) = (sized(METADATA_BYTES_MAX), sized(METADATA_BYTES_MAX + 1));
        assert!(reader.metadata(&fits).is_ok());
        assert_eq!(MetadataReader::default().metadata(&long), Err(MetadataError::Size));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let (deep, too_deep) = (nested(15), nested(16));
        assert_eq!(MetadataReader::default().unknown_value(&deep), Ok(30));
        assert_eq!(MetadataReader::default().unknown_value(&too_deep), Err(MetadataError::Depth));
    }

    proptest! {
        /// The other way: the object alone.
        #[test]
        fn an_object_is_the_same_within_a_longer_text(
            objects in prop::collection::vec("\\{[\"\\\\:,\\[\\]{}au0-9 -]{0,30}\\}", 1..4),
            rest in "[,\\]} ]",
        ) {
            let texts: Vec<String> = objects.iter().map(|object| format!("{object}{rest}")).collect();
            let mut reader = MetadataReader::default();
            for (object, text) in objects.iter().zip(&texts) {
                if let Ok((metadata, bytes)) = reader.metadata(text) {
                    // The text may close the object earlier, or later.
                    prop_assert_eq!(Metadata::parse(&text[..bytes]), Ok(metadata));
                } else {
                    prop_assert!(Metadata::parse(object).is_err());
                }
            }
        }
    }
}
