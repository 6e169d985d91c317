//! Text of events on a terminal.
//!
//! * No text of an event or of a server reaches a terminal with a control character, a bidirectional control or an
//!   invisible character: it could move the cursor, change the title, or hide a part of a line. For text this holds for
//!   pipes too, because their reader may be a terminal; JSON, CSV and raw messages are exact in a pipe.
//! * Each is replaced by a visible escape such as `\x1b` or `\u{202e}`.

use std::borrow::Cow;
use std::fmt::Write;

/// Maximum characters of a text from a server in a message.
const PRINTABLE_CHARS_MAX: usize = 1_000;
/// Spaces that stand for a tab in a stack trace.
const TAB: &str = "    ";

/// Whether a terminal may interpret the character, or does not show it: C0, DEL, C1, the controls and marks of bidirectional
/// text, zero-width spaces and the byte order mark. The joiners U+200C and U+200D are parts of words and of emoji.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
            | '\u{200b}' | '\u{2060}' | '\u{feff}'
        )
}

/// The text on one line, with unsafe characters escaped.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    text.chars().for_each(|character| push(&mut safe, character));
    Cow::Owned(safe)
}

/// A line of a stack trace: as [`escaped`], but tabs, which indent, become spaces.
#[must_use]
pub fn escaped_trace_line(line: &str) -> String {
    escaped(&line.replace('\t', TAB)).into_owned()
}

/// A text from the server for a message: on one line, and of limited length.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::new();
    text.chars().take(PRINTABLE_CHARS_MAX).for_each(|character| push(&mut safe, character));
    safe
}

/// JSON for a terminal: the same value on one line, with unsafe characters as escapes of JSON. Outside strings, JSON
/// contains no unsafe character but whitespace.
#[must_use]
pub fn safe_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        // Writing into memory does not fail.
        let _ = match character {
            '\n' | '\r' | '\t' => safe.write_char(' '),
            unsafe_one if is_unsafe(unsafe_one) => write!(safe, "\\u{:04x}", u32::from(unsafe_one)),
            other => safe.write_char(other),
        };
    }
    Cow::Owned(safe)
}

fn push(safe: &mut String, character: char) {
    // Writing into memory does not fail.
    let _ = match character {
        '\n' => safe.write_str("\\n"),
        '\r' => safe.write_str("\\r"),
        '\t' => safe.write_str("\\t"),
        '\0'..='\u{7f}' if character.is_control() => write!(safe, "\\x{:02x}", u32::from(character)),
        _ if is_unsafe(character) => write!(safe, "\\u{{{:x}}}", u32::from(character)),
        _ => safe.write_char(character),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_become_visible() {
        for (text, expected) in [
            ("plain: äöü 漢字 😀 \\", "plain: äöü 漢字 😀 \\"),
            ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
            ("\u{7f}\u{9b}2J\u{85}", r"\x7f\u{9b}2J\u{85}"),
            ("\u{202e}gpj\u{2066}\u{2069}", r"\u{202e}gpj\u{2066}\u{2069}"),
            ("a\u{200b}b\u{2060}\u{feff}\u{200f}", r"a\u{200b}b\u{2060}\u{feff}\u{200f}"),
            ("\u{1f469}\u{200d}\u{1f680}", "\u{1f469}\u{200d}\u{1f680}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
        assert_eq!(escaped_trace_line("\tat a.B\r\x1b"), r"    at a.B\r\x1b");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            prop_assert!(!escaped(&text).contains(is_unsafe));
            prop_assert!(!escaped_trace_line(&text).contains(is_unsafe));
            prop_assert!(!printable(&text).contains(is_unsafe));
        }

        #[test]
        fn safe_json_is_the_same_value(text in any::<String>()) {
            let json = serde_json::json!({ "message": format!("{text}\u{9b}\u{7f}\u{202e}") });
            for json_text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
                let safe = safe_json(&json_text);
                prop_assert!(!safe.contains(is_unsafe));
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), json.clone());
            }
        }
    }
}
