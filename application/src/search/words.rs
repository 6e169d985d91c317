//! Words of a query as they are written: their ends, names of fields, keywords, and what is text although a colon is in it.

use std::borrow::Cow;

/// The operators that are words.
pub(super) const KEYWORDS: [&str; 3] = ["AND", "OR", "NOT"];

/// Whether a character separates words. A byte order mark and a space without width come with pasted text, and nobody sees them.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\u{200b}' | '\u{feff}')
}

/// Whether a word without quotes ends before a character.
pub(super) fn ends_word(char: char) -> bool {
    is_space(char) || matches!(char, '(' | ')' | '"')
}

/// Whether a text begins with a keyword: in capitals, and not the beginning of a longer word.
pub(super) fn begins_with_keyword(text: &str, keyword: &str) -> bool {
    text.strip_prefix(keyword).is_some_and(|behind| behind.chars().next().is_none_or(ends_word))
}

/// Whether a name without quotes may begin with a character.
pub(super) fn begins_name(char: char) -> bool {
    char.is_alphabetic() || matches!(char, '_' | '@' | '$')
}

/// Whether a name without quotes may continue with a character.
pub(super) fn continues_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '@' | '$' | '.' | '-' | '/')
}

/// A text divided behind the name that it begins with; `None` if it begins with none.
pub(super) fn split_name(text: &str) -> Option<(&str, &str)> {
    let name_bytes = text.find(|char| !continues_name(char)).unwrap_or(text.len());
    text.split_at_checked(name_bytes).filter(|(name, _)| name.starts_with(begins_name))
}

/// A name of a field as a query writes it: in quotes, unless it is a word of such characters and no operator.
#[must_use]
pub fn written_name(name: &str) -> Cow<'_, str> {
    let is_word = name.starts_with(begins_name) && name.chars().all(continues_name);
    if is_word && !KEYWORDS.contains(&name) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Whether a word is text although it begins with a name and a colon: an address, a path such as `C:\Temp`, or a qualified name
/// such as `std::vector`.
pub(super) fn is_address(name: &str, behind: &str) -> bool {
    let Some(behind_colon) = behind.strip_prefix(':') else { return false };
    if behind_colon.starts_with("//") || behind_colon.starts_with(':') {
        return true;
    }
    let is_letter = name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut path = behind_colon.chars();
    let begins_path = match path.next() {
        Some('/') => true,
        // Before another character, the backslash belongs to a value, such as in `n:\*`.
        Some('\\') => path.next().is_some_and(|next| next.is_ascii_alphanumeric()),
        _ => false,
    };
    (is_letter && begins_path) || is_numeric_address(name, behind)
}

/// An IPv6 address, or that of a network card: groups of hexadecimal digits.
fn is_numeric_address(name: &str, behind: &str) -> bool {
    let rest = behind.split(ends_word).next().unwrap_or_default();
    let is_group = |group: &str| group.len() <= 4 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = || std::iter::once(name).chain(rest.split(':').skip(1));
    let has_all_groups = matches!(groups().count(), 6 | 8) && groups().all(|group| !group.is_empty());
    groups().all(is_group) && (has_all_groups || rest.contains("::"))
}

/// The first byte of such a character that has no backslash before it.
pub(super) fn find_unescaped(text: &str, is_wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        if is_wanted(char) {
            return Some(at);
        }
        if char == '\\' {
            chars.next();
        }
    }
    None
}
