//! The query language: text to a filter. `docs/search.md` describes it.
//!
//! Constraints and invariants:
//! * A query has at most [`QUERY_BYTES_MAX`] bytes, [`CONDITIONS_MAX`] conditions and a depth of [`DEPTH_MAX`], so neither its
//!   filter nor the stack can grow further.
//! * An error says where it is and what would be right there.

use std::borrow::Cow;

use domain::filter::{EventFilter, Pattern};
use domain::timestamp::Timestamp;
use winnow::Parser;
use winnow::combinator::opt;
use winnow::error::ParserError;
use winnow::stream::{LocatingSlice, Location, Stateful, Stream};
use winnow::token::{any, literal, take_while};

use super::condition::{Operator, Word, condition};

/// Maximum bytes of a query.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Maximum conditions of a query.
pub const CONDITIONS_MAX: usize = 64;
/// Maximum depth of parentheses and negations.
pub const DEPTH_MAX: usize = 16;

/// A query cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: expected {expected}")]
pub struct InvalidQuery {
    /// Where, as a number of characters from 1.
    pub position: usize,
    /// What would be right there.
    pub expected: String,
}

type Input<'q> = Stateful<LocatingSlice<&'q str>, State>;
type Parsed<T> = Result<T, Fault>;

/// What a parser must remember, beside its place.
#[derive(Clone, Copy, Debug)]
struct State {
    now: Timestamp,
    conditions: usize,
    depth: usize,
}

/// A fault at a number of bytes from the start.
#[derive(Debug)]
struct Fault {
    at: usize,
    expected: String,
}

impl ParserError<Input<'_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        expected(input, "something else")
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

fn expected(input: &Input<'_>, what: impl Into<String>) -> Fault {
    Fault { at: input.current_token_start(), expected: what.into() }
}

/// The filter that a query means. Relative times are counted from `now`.
///
/// # Errors
/// The query is empty, too long, or not understood.
pub fn parse_query(text: &str, now: Timestamp) -> Result<EventFilter, InvalidQuery> {
    if text.len() > QUERY_BYTES_MAX {
        let position = text.get(..text.floor_char_boundary(QUERY_BYTES_MAX)).unwrap_or_default().chars().count() + 1;
        return Err(InvalidQuery {
            position,
            expected: format!("the end: a query has at most {QUERY_BYTES_MAX} bytes"),
        });
    }
    let state = State { now, conditions: 0, depth: 0 };
    let mut input = Input { input: LocatingSlice::new(text), state };
    let parsed = any_of(&mut input).and_then(|filter| {
        spaces(&mut input)?;
        if rest(&input).is_empty() { Ok(filter) } else { Err(expected(&input, "no `)`, which closes nothing here")) }
    });
    parsed.map_err(|Fault { at, expected }| {
        let position = text.get(..at).unwrap_or(text).chars().count() + 1;
        InvalidQuery { position, expected }
    })
}

fn rest<'q>(input: &Input<'q>) -> &'q str {
    input.input.peek_finish()
}

fn spaces(input: &mut Input<'_>) -> Parsed<()> {
    take_while(0.., char::is_whitespace).void().parse_next(input)
}

/// Whether a keyword comes next: in capitals, and not the beginning of a longer word.
fn is_keyword(input: &Input<'_>, keyword: &str) -> bool {
    let behind = rest(input).strip_prefix(keyword);
    behind.is_some_and(|behind| behind.chars().next().is_none_or(|next| next.is_whitespace() || "()\"".contains(next)))
}

fn skip_keyword(input: &mut Input<'_>, keyword: &str) -> Parsed<bool> {
    spaces(input)?;
    let is_next = is_keyword(input, keyword);
    if is_next {
        literal(keyword).void().parse_next(input)?;
        spaces(input)?;
    }
    Ok(is_next)
}

/// `a OR b`
fn any_of(input: &mut Input<'_>) -> Parsed<EventFilter> {
    list(input, &mut |input| {
        let mut filters = vec![all_of(input)?];
        while skip_keyword(input, "OR")? {
            filters.push(all_of(input)?);
        }
        Ok(only(filters, EventFilter::Any))
    })
}

/// `a AND b` or `a b`
fn all_of(input: &mut Input<'_>) -> Parsed<EventFilter> {
    let mut filters = vec![one(input)?];
    loop {
        if skip_keyword(input, "AND")? {
            filters.push(one(input)?);
        } else if rest(input).is_empty() || rest(input).starts_with(')') || is_keyword(input, "OR") {
            return Ok(only(filters, EventFilter::All));
        } else {
            filters.push(one(input)?);
        }
    }
}

fn only(mut filters: Vec<EventFilter>, join: fn(Vec<EventFilter>) -> EventFilter) -> EventFilter {
    match (filters.len(), filters.pop()) {
        (1, Some(filter)) => filter,
        (_, last) => join(filters.into_iter().chain(last).collect()),
    }
}

/// Parses something one level deeper.
fn list<T>(input: &mut Input<'_>, parse: &mut dyn FnMut(&mut Input<'_>) -> Parsed<T>) -> Parsed<T> {
    // The whole query is a list too, but no level of parentheses.
    if input.state.depth > DEPTH_MAX {
        return Err(expected(input, format!("at most {DEPTH_MAX} levels of parentheses and NOT")));
    }
    input.state.depth += 1;
    let parsed = parse(input)?;
    input.state.depth -= 1;
    Ok(parsed)
}

/// A term, perhaps negated.
fn one(input: &mut Input<'_>) -> Parsed<EventFilter> {
    let minus = rest(input).strip_prefix('-');
    let is_minus =
        minus.is_some_and(|behind| behind.chars().next().is_some_and(|next| next != '-' && !next.is_whitespace()));
    if is_minus {
        any.void().parse_next(input)?;
    }
    if is_minus || skip_keyword(input, "NOT")? {
        return list(input, &mut |input| Ok(!one(input)?));
    }
    if opt('(').parse_next(input)?.is_some() {
        let filter = any_of(input)?;
        close(input)?;
        return Ok(filter);
    }
    if ["AND", "OR"].iter().any(|keyword| is_keyword(input, keyword)) {
        return Err(expected(input, "a condition before AND or OR; write \"AND\" in quotes to look for the word"));
    }
    let begin = input.checkpoint();
    if let Some(name) = field_name(input)? {
        return field_condition(input, &name);
    }
    input.reset(&begin);
    let (at, text) = (input.current_token_start(), rest(input));
    let word = word(input, "a word, a phrase in quotes, or a condition such as level:ERROR")?;
    if let Some((behind, expected)) = foreign_operator(text.get(..input.current_token_start() - at).unwrap_or(text)) {
        return Err(Fault { at: at + behind, expected });
    }
    count(input)?;
    Ok(domain::filter::Condition::Anywhere(word.pattern()).into())
}

/// An operator of another language that a word, as it is written, contains: where, and what to write instead. As text to look
/// for it would silently find nothing, or something else.
fn foreign_operator(word: &str) -> Option<(usize, String)> {
    let instead = |right: &str| format!("{right}; to look for the text, write it in quotes");
    let keyword = ["AND", "OR", "NOT"].into_iter().find(|keyword| word.eq_ignore_ascii_case(keyword));
    if let Some(keyword) = keyword.filter(|keyword| *keyword != word) {
        return Some((0, instead(&format!("{keyword} in capitals"))));
    }
    match word {
        "&&" => return Some((0, instead("AND"))),
        "||" => return Some((0, instead("OR"))),
        "|=" | "|~" => return Some((0, instead("the text that an event contains, alone"))),
        _ => {}
    }
    if word.starts_with('!') {
        return Some((0, instead("NOT before a condition")));
    }
    if word.starts_with([':', '=']) {
        return Some((0, instead("the name of a field directly before `:`")));
    }
    if let Some(name) = word.strip_prefix('{').and_then(equated_name) {
        let right = format!(
            "`{name}:` and a value, without the braces of LogQL; several conditions stand side by side, such as source:shop \
             level:ERROR"
        );
        return Some((0, instead(&right)));
    }
    equated_name(word).map(|name| (name.len(), instead("`:` behind the name of a field, or NOT before it")))
}

/// The name that a text begins with, if an operator of another language follows that compares its value.
fn equated_name(text: &str) -> Option<&str> {
    let name_bytes = text.find(|char| !continues_name(char)).filter(|_| text.starts_with(begins_name))?;
    let (name, behind) = text.split_at_checked(name_bytes)?;
    ["=", "!=", "!~"].iter().any(|operator| behind.starts_with(operator)).then_some(name)
}

fn begins_name(char: char) -> bool {
    char.is_alphabetic() || matches!(char, '_' | '@' | '$')
}

fn continues_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '@' | '$' | '.' | '-' | '/')
}

/// A name of a field as a query writes it: in quotes, unless it is a word of such characters and no operator.
#[must_use]
pub fn written_name(name: &str) -> Cow<'_, str> {
    let is_word = name.starts_with(begins_name) && name.chars().all(continues_name);
    if is_word && !["AND", "OR", "NOT"].contains(&name) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn close(input: &mut Input<'_>) -> Parsed<()> {
    spaces(input)?;
    match opt(')').parse_next(input)? {
        Some(_) => Ok(()),
        None => Err(expected(input, "`)`")),
    }
}

fn count(input: &mut Input<'_>) -> Parsed<()> {
    input.state.conditions += 1;
    if input.state.conditions > CONDITIONS_MAX {
        return Err(expected(input, format!("the end: a query has at most {CONDITIONS_MAX} conditions")));
    }
    Ok(())
}

/// The name of a field, if an operator follows it.
fn field_name(input: &mut Input<'_>) -> Parsed<Option<String>> {
    let name = if rest(input).starts_with('"') {
        quoted(input)?
    } else {
        if !rest(input).starts_with(begins_name) {
            return Ok(None);
        }
        take_while(1.., continues_name).parse_next(input)?.to_owned()
    };
    let behind = rest(input);
    let has_operator = if behind.starts_with(':') {
        // An address such as http://host is text.
        !behind.starts_with("://")
    } else {
        behind.trim_start().starts_with(['<', '>'])
    };
    Ok(has_operator.then_some(name))
}

fn field_condition(input: &mut Input<'_>, name: &str) -> Parsed<EventFilter> {
    let colon = opt(':').parse_next(input)?.is_some();
    if !colon {
        spaces(input)?;
    }
    if colon && opt('(').parse_next(input)?.is_some() {
        let filter = values(input, name)?;
        close(input)?;
        return Ok(filter);
    }
    value(input, name)
}

/// `(a OR b)` behind a field.
fn values(input: &mut Input<'_>, name: &str) -> Parsed<EventFilter> {
    list(input, &mut |input| {
        let mut any = vec![all_values(input, name)?];
        while skip_keyword(input, "OR")? {
            any.push(all_values(input, name)?);
        }
        Ok(only(any, EventFilter::Any))
    })
}

fn all_values(input: &mut Input<'_>, name: &str) -> Parsed<EventFilter> {
    let mut all = Vec::new();
    loop {
        let negated = skip_keyword(input, "NOT")?;
        let filter = match opt('(').parse_next(input)? {
            Some(_) => {
                let filter = values(input, name)?;
                close(input)?;
                filter
            }
            None => value(input, name)?,
        };
        all.push(if negated { !filter } else { filter });
        if !skip_keyword(input, "AND")?
            && (rest(input).is_empty() || rest(input).starts_with(')') || is_keyword(input, "OR"))
        {
            return Ok(only(all, EventFilter::All));
        }
    }
}

/// A value behind a field, perhaps with a comparison before it.
fn value(input: &mut Input<'_>, name: &str) -> Parsed<EventFilter> {
    let operator = opt(take_while(1..=2, ['<', '>', '='])).parse_next(input)?;
    let Some(operator) = Operator::parse(operator.unwrap_or_default()) else {
        return Err(expected(input, "<, <=, > or >= before a value"));
    };
    if operator != Operator::Equals {
        spaces(input)?;
    }
    let missing = format!("a value directly behind `{name}:`; to look for the text, write it in quotes");
    if ["AND", "OR", "NOT"].iter().any(|keyword| is_keyword(input, keyword)) {
        return Err(expected(input, missing));
    }
    if rest(input).starts_with(['[', '{']) {
        return Err(expected(
            input,
            format!("a value; a range is {name}>=1 {name}<=9, and a bracket is written in quotes"),
        ));
    }
    let at = input.current_token_start();
    let word = word(input, &missing)?;
    count(input)?;
    condition(name, operator, &word, input.state.now).map_err(|expected| Fault { at, expected })
}

/// A word or a phrase in quotes.
fn word(input: &mut Input<'_>, missing: &str) -> Parsed<Word> {
    if rest(input).starts_with('"') {
        return Ok(Word { between_wildcards: vec![quoted(input)?], quoted: true });
    }
    let mut parts = vec![String::new()];
    let begin = input.current_token_start();
    while let Some(char) = rest(input).chars().next().filter(|char| !char.is_whitespace() && !"()\"".contains(*char)) {
        any.void().parse_next(input)?;
        let char = match char {
            '*' => {
                parts.push(String::new());
                continue;
            }
            '\\' => escaped(input)?,
            char => char,
        };
        if let Some(last) = parts.last_mut() {
            last.push(char);
        }
    }
    if input.current_token_start() == begin {
        return Err(expected(input, missing));
    }
    Ok(Word { between_wildcards: parts, quoted: false })
}

fn quoted(input: &mut Input<'_>) -> Parsed<String> {
    let opened = input.current_token_start();
    any.void().parse_next(input)?;
    let mut text = String::new();
    loop {
        match opt(any).parse_next(input)? {
            Some('"') => return Ok(text),
            Some('\\') => text.push(escaped(input)?),
            Some(char) => text.push(char),
            None => return Err(Fault { at: opened, expected: "a second quote that ends this phrase".to_owned() }),
        }
    }
}

/// The character behind a backslash.
fn escaped(input: &mut Input<'_>) -> Parsed<char> {
    opt(any).parse_next(input)?.ok_or_else(|| expected(input, "a character behind the backslash"))
}

impl Word {
    /// What it matches.
    pub(super) fn pattern(&self) -> Pattern {
        Pattern::new(&self.between_wildcards)
    }
}

#[cfg(test)]
mod tests;
