//! The limits of texts.
//!
//! A record on the bus is JSON text with a limit of its own, and escapes lengthen it: control characters count as six
//! bytes here, so that no draft becomes a record that is too large.

use domain::event::TEXT_BYTES_MAX;

/// What a text that was cut ends with.
pub const CUT_NOTE: &str = " … [cut]";
/// Most bytes of a text as JSON, so that message, stack trace and metadata fit into a record.
const ESCAPED_BYTES_MAX: usize = 400_000;

/// The text if it is within the limits; otherwise its beginning, and a note that it was cut. U+0000 becomes U+FFFD.
pub fn bounded(text: &str) -> String {
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() };
    if text.len() <= TEXT_BYTES_MAX && text.len() * 6 <= ESCAPED_BYTES_MAX {
        return text;
    }
    let kept = bytes_within_limits(&text);
    if kept == text.len() {
        return text;
    }
    let kept = text.floor_char_boundary(kept.saturating_sub(CUT_NOTE.len()));
    format!("{}{CUT_NOTE}", text.get(..kept).unwrap_or_default())
}

/// How many bytes of the text are within both limits.
fn bytes_within_limits(text: &str) -> usize {
    let mut escaped = 0;
    let too_many = |byte: u8| {
        escaped += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..=0x1f => 6,
            _ => 1,
        };
        escaped > ESCAPED_BYTES_MAX
    };
    let kept = text.bytes().take(TEXT_BYTES_MAX).position(too_many);
    kept.unwrap_or(text.len().min(TEXT_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_say_so() {
        assert_eq!(bounded("a\0b"), "a\u{fffd}b");
        let longest = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(bounded(&longest), longest);
        for text in [longest + "y", "ä".repeat(TEXT_BYTES_MAX), "\u{1}".repeat(TEXT_BYTES_MAX)] {
            let cut = bounded(&text);
            assert!(cut.ends_with(CUT_NOTE) && cut.len() <= TEXT_BYTES_MAX);
            assert!(cut.len() > 60_000, "{}", cut.len());
        }
    }
}
