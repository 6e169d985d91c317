//! Removes the escape sequences of terminals (ECMA-48): colours are not text.

use std::borrow::Cow;

const ESCAPE: char = '\u{1b}';

/// The text without escape sequences. A sequence that does not end is removed up to the end of the line.
pub fn removed(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(ESCAPE) {
        kept.push_str(before);
        rest = behind_sequence(behind);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// What follows the sequence, of which the escape character is read.
fn behind_sequence(text: &str) -> &str {
    match text.chars().next() {
        // Control sequence: parameters, then a final byte.
        Some('[') => {
            let text = text.get(1..).unwrap_or_default();
            let end = text.find(|char: char| !matches!(char, ' '..='?'));
            match end {
                Some(end)
                    if text.get(end..).is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_graphic())) =>
                {
                    text.get(end + 1..).unwrap_or_default()
                }
                Some(end) => text.get(end..).unwrap_or_default(),
                None => "",
            }
        }
        // Operating system command, such as a link or a title: up to BEL or ESC \.
        Some(']' | 'P' | '^' | '_' | 'X') => match text.find(['\u{7}', ESCAPE]) {
            Some(end) if text.get(end..).is_some_and(|rest| rest.starts_with('\u{7}')) => {
                text.get(end + 1..).unwrap_or_default()
            }
            Some(end) => text.get(end + 1..).map_or("", |rest| rest.strip_prefix('\\').unwrap_or(rest)),
            None => "",
        },
        Some(char @ ('(' | ')' | '#' | '%')) => text
            .get(char.len_utf8()..)
            .map_or("", |rest| rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default()),
        Some('@'..='~' | '0'..='?') => text.get(1..).unwrap_or_default(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_removed_and_text_stays() {
        for (text, expected) in [
            ("plain", "plain"),
            ("\u{1b}[31mERROR\u{1b}[0m x", "ERROR x"),
            ("\u{1b}[38;5;196;1mx\u{1b}[39m", "x"),
            ("\u{1b}]8;;http://a\u{1b}\\link\u{1b}]8;;\u{7}", "link"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}[", "xy"),
            ("ä\u{1b}ä\u{1b}[ö", "ääö"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(removed(text), expected, "{text:?}");
        }
    }
}
