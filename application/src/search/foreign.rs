//! What is very probably an operator of another language, or one in the wrong place: as text it would silently find nothing, or
//! something else. Each function says what to write instead.

use super::words::{
    KEYWORDS, begins_name, begins_with_keyword, continues_name, ends_word, find_unescaped, is_address, is_space,
    split_name, written_name,
};

/// Bytes from the beginning of a word to what is wrong in it, and what would be right there.
pub(super) type Misplaced = (usize, String);

/// Quotes that word processors make of straight ones.
const CURLY_QUOTES: [char; 3] = ['\u{201c}', '\u{201d}', '\u{201e}'];
const NO_SPACE_BEFORE_QUOTE: &str = "a space before the quote; a quote within a text is written `\\\"`";

/// What would be right, for a place in which it may also be text.
pub(super) fn or_quotes(right: &str) -> String {
    format!("{right}; to look for the text, write it in quotes")
}

/// Such an operator in a word to look for anywhere, as it is written; `behind` is what follows.
pub(super) fn in_text(word: &str, behind: &str) -> Option<Misplaced> {
    if word.starts_with('"') {
        return behind_phrase(word, behind);
    }
    let found = as_word(word, behind).map(|right| (0, or_quotes(right)));
    let found = found.or_else(|| at_beginning(word, behind).map(|right| (0, or_quotes(&right))));
    let found = found.or_else(|| in_name(word).map(|(at, right)| (at, or_quotes(right))));
    found.or_else(|| behind.starts_with('"').then(|| (word.len(), NO_SPACE_BEFORE_QUOTE.to_owned())))
}

/// A word that is an operator.
fn as_word(word: &str, behind: &str) -> Option<&'static str> {
    let is_before_list = || behind.trim_start_matches(is_space).starts_with('(');
    match word {
        "&&" => Some("AND"),
        "||" => Some("OR"),
        "|" => Some("a condition: pipes, limits and counts are not part of a query, and conditions stand side by side"),
        "|=" | "|~" => Some("the text that an event contains, alone"),
        "IN" if is_before_list() => Some("`:` behind the name of a field, such as status:(500 OR 503)"),
        _ => other_case(word),
    }
}

/// A keyword that is not in capitals.
fn other_case(word: &str) -> Option<&'static str> {
    if KEYWORDS.contains(&word) {
        return None;
    }
    let capitals = ["AND in capitals", "OR in capitals", "NOT in capitals"];
    KEYWORDS.into_iter().zip(capitals).find(|(keyword, _)| word.eq_ignore_ascii_case(keyword)).map(|(_, right)| right)
}

/// A word that begins with an operator.
fn at_beginning(word: &str, behind: &str) -> Option<String> {
    if word.starts_with('!') {
        return Some("NOT before a condition".to_owned());
    }
    if word.starts_with('=') {
        return Some("`:` directly behind the name of a field, such as level:ERROR".to_owned());
    }
    if word.starts_with(':') && !word.starts_with("::") {
        return Some("the name of a field directly before `:`".to_owned());
    }
    if word.starts_with(CURLY_QUOTES) {
        return Some("straight quotes around a phrase".to_owned());
    }
    if let Some(required) = word.strip_prefix('+') {
        let is_phrase_or_group = required.is_empty() && behind.starts_with(['"', '(']);
        return (is_phrase_or_group || is_condition(required))
            .then(|| "the condition without `+`, since all conditions must hold".to_owned());
    }
    let inside = word.strip_prefix('{')?;
    if inside.is_empty() && behind.starts_with('"') {
        return Some("conditions such as level:ERROR, without the braces of JSON".to_owned());
    }
    equated_name(inside).map(|name| {
        format!(
            "`{name}:` and a value, without the braces of LogQL; several conditions stand side by side, such as source:shop \
             level:ERROR"
        )
    })
}

/// Whether a text begins with a name and an operator of this language.
fn is_condition(text: &str) -> bool {
    split_name(text).is_some_and(|(name, behind)| behind.starts_with([':', '<', '>']) && !is_address(name, behind))
}

/// The name that a text begins with, if an operator of another language follows that compares its value.
fn equated_name(text: &str) -> Option<&str> {
    let (name, behind) = split_name(text)?;
    ["=", "!=", "!~"].iter().any(|operator| behind.starts_with(operator)).then_some(name)
}

/// A word that looks like a condition, with a name that this language does not have without quotes.
fn in_name(word: &str) -> Option<(usize, &'static str)> {
    if let Some(name) = equated_name(word) {
        return Some((name.len(), "`:` behind the name of a field, or NOT before it"));
    }
    if word == "*:*" {
        return Some((0, "`*` alone, which finds all events"));
    }
    let (name, behind) = word.split_at_checked(find_unescaped(word, |char| char == ':')?)?;
    let is_escaped_space = |pair: (char, char)| pair.0 == '\\' && is_space(pair.1);
    if name.chars().zip(name.chars().skip(1)).any(is_escaped_space) {
        return Some((0, "the name of a field in quotes, such as \"user id\":7"));
    }
    let begins = |char: char| char == '*' || begins_name(char);
    let has_wildcard = name.contains('*') && name.chars().all(|char| char == '*' || continues_name(char));
    (has_wildcard && name.starts_with(begins) && !behind.starts_with("://"))
        .then_some((0, "the whole name of a field before `:`, without `*`"))
}

/// What directly follows a phrase.
fn behind_phrase(phrase: &str, behind: &str) -> Option<Misplaced> {
    let next = behind.chars().next()?;
    if is_space(next) || "()".contains(next) || KEYWORDS.iter().any(|keyword| begins_with_keyword(behind, keyword)) {
        return None;
    }
    let right = match next {
        '~' | '^' => "a space behind the phrase: the language has neither distances (~) nor weights (^)",
        '=' | '!' => "`:` behind the name of a field, or NOT before it",
        _ => "a space behind the phrase; a quote within it is written `\\\"`",
    };
    Some((phrase.len(), right.to_owned()))
}

/// Such an operator in a value of a field, as it is written; `behind` is what follows.
pub(super) fn in_value(name: &str, value: &str, behind: &str, in_list: bool) -> Option<Misplaced> {
    if value.starts_with('"') {
        return behind_phrase(value, behind);
    }
    if in_list && let Some((at, right)) = between_values(value) {
        return Some((at, or_quotes(right)));
    }
    if value.starts_with('!') {
        return Some((0, or_quotes(if in_list { "NOT before a value" } else { "NOT before the condition" })));
    }
    if value.starts_with('\'') || value.starts_with(CURLY_QUOTES) {
        return Some((0, or_quotes("straight double quotes around a value")));
    }
    if value == "~" && behind.starts_with('"') {
        return Some((0, "a value, without regular expressions; `*` stands for any characters".to_owned()));
    }
    if behind.starts_with('(') {
        let name = written_name(name);
        return Some((value.len(), format!("a space before `(`; several values are {name}:(a OR b)")));
    }
    behind.starts_with('"').then(|| (value.len(), NO_SPACE_BEFORE_QUOTE.to_owned()))
}

/// What does not stand between the values of a list in this language.
fn between_values(value: &str) -> Option<(usize, &'static str)> {
    if let Some(right) = other_case(value) {
        return Some((0, right));
    }
    if value == "&&" {
        return Some((0, "AND between values"));
    }
    find_unescaped(value, |char| char == ',' || char == '|').map(|at| (at, "OR between values"))
}

/// What to write instead of an operator behind a name, or behind its colon.
pub(super) fn instead_of_operator(name: &str, operator: &str) -> String {
    let name = written_name(name);
    match operator {
        "=" | "==" => format!("`{name}:` and a value, without `=`"),
        "<>" => format!("NOT before the condition, as in NOT {name}:1"),
        "=<" => "<= instead of =<".to_owned(),
        "=>" => ">= instead of =>".to_owned(),
        _ => "<, <=, > or >= before a value".to_owned(),
    }
}

/// What to write instead of the bracket with which a text behind the colon of a name begins.
pub(super) fn instead_of_bracket(name: &str, text: &str) -> String {
    let name = written_name(name);
    let range = range(&name, text).unwrap_or_else(|| match &*name {
        "level" => "level>=INFO level<=ERROR".to_owned(),
        "timestamp" | "receivedAt" => format!("{name}>=2024-01-15 {name}<2024-01-16"),
        _ => format!("{name}>=1 {name}<=9"),
    });
    format!("a value; a range is {range}, and a bracket is written in quotes")
}

/// A range such as `[1 TO 9}` in this language.
fn range(name: &str, text: &str) -> Option<String> {
    let (first, rest) = text.get(1..)?.split_once(" TO ")?;
    let (last, end) = rest.split_at_checked(rest.find([']', '}'])?)?;
    let is_bound = |bound: &str| !bound.is_empty() && !bound.contains(ends_word);
    if !is_bound(first) || !is_bound(last) {
        return None;
    }
    let from = if text.starts_with('[') { ">=" } else { ">" };
    let to = if end.starts_with(']') { "<=" } else { "<" };
    let bounds = [(from, first), (to, last)].into_iter().filter(|(_, bound)| *bound != "*");
    let conditions: Vec<String> = bounds.map(|(operator, bound)| format!("{name}{operator}{bound}")).collect();
    (!conditions.is_empty()).then(|| conditions.join(" "))
}
