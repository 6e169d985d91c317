//! The limits of texts.
//!
//! A record on the bus is JSON text with a limit of its own, and escapes lengthen it: control characters count as six
//! bytes here, so that no draft becomes a record that is too large.

use domain::event::TEXT_BYTES_MAX;
use domain::metadata::is_plain;

/// What stands where a text was cut.
pub const CUT_NOTE: &str = " … [cut]";
/// Most bytes of a text as JSON, so that message, stack trace and metadata fit into a record.
const ESCAPED_BYTES_MAX: usize = 400_000;

/// The text if it is within the limits; otherwise its beginning, and a note that it was cut. U+0000 becomes U+FFFD.
/// Says whether it was cut.
pub fn bounded(text: &str) -> (String, bool) {
    let text = storable(text);
    if is_within_limits(&text) {
        return (text, false);
    }
    let kept = prefix_bytes(text.bytes(), TEXT_BYTES_MAX - CUT_NOTE.len(), ESCAPED_BYTES_MAX);
    let kept = text.floor_char_boundary(kept);
    (format!("{}{CUT_NOTE}", text.get(..kept).unwrap_or_default()), true)
}

/// As [`bounded`], but a text that is too long keeps its beginning and its end: the cause stands at the end of a stack
/// trace.
pub fn bounded_in_the_middle(text: &str) -> (String, bool) {
    let text = storable(text);
    if is_within_limits(&text) {
        return (text, false);
    }
    let half = (TEXT_BYTES_MAX - CUT_NOTE.len() - 2) / 2;
    let head = text.floor_char_boundary(prefix_bytes(text.bytes(), half, ESCAPED_BYTES_MAX / 2));
    let tail = prefix_bytes(text.bytes().rev(), half, ESCAPED_BYTES_MAX / 2);
    let tail = text.ceil_char_boundary(text.len() - tail);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    // Whole lines, unless that leaves little.
    let whole = |part: &str, lines: &str| lines.len() >= part.len() / 2;
    let head = head.rsplit_once('\n').map(|(lines, _)| lines).filter(|lines| whole(head, lines)).unwrap_or(head);
    let tail = tail.split_once('\n').map(|(_, lines)| lines).filter(|lines| whole(tail, lines)).unwrap_or(tail);
    (format!("{head}\n{CUT_NOTE}\n{tail}"), true)
}

fn storable(text: &str) -> String {
    // Most texts are plain, and that is seen faster.
    if is_plain(text.as_bytes()) || !text.contains('\0') {
        return text.to_owned();
    }
    text.replace('\0', "\u{fffd}")
}

fn is_within_limits(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
        && (text.len() * 6 <= ESCAPED_BYTES_MAX
            || prefix_bytes(text.bytes(), TEXT_BYTES_MAX, ESCAPED_BYTES_MAX) == text.len())
}

/// How many of these bytes are within both limits.
fn prefix_bytes(bytes: impl Iterator<Item = u8>, bytes_max: usize, escaped_bytes_max: usize) -> usize {
    let mut escaped = 0;
    let fits = |byte: &u8| {
        escaped += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..=0x1f => 6,
            _ => 1,
        };
        escaped <= escaped_bytes_max
    };
    bytes.take(bytes_max).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_say_so() {
        assert_eq!(bounded("a\0b"), ("a\u{fffd}b".to_owned(), false));
        let longest = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(bounded(&longest), (longest.clone(), false));
        assert_eq!(bounded_in_the_middle(&longest), (longest.clone(), false));
        for text in [longest + "y", "ä".repeat(TEXT_BYTES_MAX), "\u{1}".repeat(TEXT_BYTES_MAX)] {
            let (cut, is_cut) = bounded(&text);
            assert!(is_cut && cut.ends_with(CUT_NOTE) && cut.len() <= TEXT_BYTES_MAX);
            let (middle, is_cut) = bounded_in_the_middle(&text);
            assert!(is_cut && middle.contains(CUT_NOTE) && middle.len() <= TEXT_BYTES_MAX);
            assert!(cut.len() > 60_000 && middle.len() > 60_000, "{} {}", cut.len(), middle.len());
        }
    }

    #[test]
    fn the_end_of_a_stack_trace_is_kept() {
        let lines: Vec<_> = (0..40_000).map(|number| format!("\tat a.B.c(B.java:{number})")).collect();
        let (cut, is_cut) = bounded_in_the_middle(&format!("a.B: x\n{}\nCaused by: y", lines.join("\n")));
        assert!(is_cut && cut.starts_with("a.B: x\n\tat a.B.c(B.java:0)\n") && cut.ends_with(")\nCaused by: y"));
        assert!(cut.lines().all(|line| line.ends_with([')', 'x', 'y']) || line == CUT_NOTE));
    }
}
