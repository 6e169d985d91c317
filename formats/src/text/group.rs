//! Groups in brackets at the head of a line.

use domain::level::Level;

use super::word::Word;
use crate::levels;
use crate::times::{self, Clock};

/// Longest group that is passed over.
const GROUP_BYTES_MAX: usize = 256;
/// Usual words that are levels within brackets, in exactly this spelling.
const LEVELS_IN_BRACKETS: [&str; 16] = [
    "Note", "System", "NOTE", "SYSTEM", "FINE", "FINER", "FAIL", "fail", "dbug", "trce", "SUCCESS", "success",
    "CONFIG", "Success", "FAILURE", "LOG",
];

/// What is within the bracket at `from`, if it is closed.
pub fn content(text: &str, from: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let open = *bytes.get(from)?;
    let close = match open {
        b'[' => b']',
        b'(' => b')',
        b'<' => b'>',
        _ => b'}',
    };
    let mut depth = 0_u32;
    for (index, byte) in bytes.iter().enumerate().skip(from).take(GROUP_BYTES_MAX) {
        if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return text.get(from + 1..index);
            }
        }
    }
    None
}

/// The level that a group is: a name in any case, a letter, or a name beside another word (`core:error`,
/// `Server thread/WARN`).
pub fn level(content: &str, open: u8) -> Option<Level> {
    let name = content.trim();
    if let Some(level) = levels::named(name) {
        return Some(level);
    }
    if LEVELS_IN_BRACKETS.contains(&name) || (open == b'<' && name.len() > 3) {
        return levels::named_in_place(name);
    }
    if open == b'[' && matches!(name, "E" | "W" | "I" | "D" | "T" | "F" | "V" | "C") {
        return levels::letter(name);
    }
    if let Some(level) = Word::at(name, 0).field_level() {
        return Some(level);
    }
    let mut parts = name.split(['/', ':', '|', ',']);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(one), Some(other), None) => {
            let beside = |part: &str, beside: &str| if beside.is_empty() { None } else { levels::named(part.trim()) };
            beside(one, other).or_else(|| beside(other, one))
        }
        _ => None,
    }
}

/// Whether what is inside is read on its own: it begins with a time, a level in capitals, or a letter before a time.
pub fn is_entered(content: &str, open: u8, clock: Clock<'_>) -> bool {
    if open == b'(' {
        return times::at(content, 0, clock).is_some_and(|time| time.end == content.len());
    }
    let content = content.trim_start();
    let first = content.split_whitespace().next().unwrap_or_default();
    times::at(content, 0, clock).is_some()
        || (first.bytes().all(|byte| byte.is_ascii_uppercase()) && levels::named(first).is_some())
        || letter_before_time(content).is_some()
}

/// The letter in `[E 240115 10:30:00 …]`, as Tornado writes it.
pub fn letter_before_time(content: &str) -> Option<Level> {
    let (letter, rest) = content.split_at_checked(1)?;
    let follows = rest.strip_prefix(' ')?.starts_with(|first: char| first.is_ascii_digit());
    levels::letter(letter).filter(|_| follows)
}
