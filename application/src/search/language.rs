//! The query language: text to a filter. `docs/search.md` describes it.
//!
//! Constraints and invariants:
//! * A query has at most [`QUERY_BYTES_MAX`] bytes, [`CONDITIONS_MAX`] conditions and a depth of [`DEPTH_MAX`], so neither its
//!   filter nor the stack can grow further.
//! * An error says where it is and what would be right there.

use domain::filter::{EventFilter, Pattern};
use domain::timestamp::Timestamp;
use winnow::Parser;
use winnow::combinator::opt;
use winnow::error::ParserError;
use winnow::stream::{LocatingSlice, Location, Stateful, Stream};
use winnow::token::{any, literal, take_while};

use super::condition::{Operator, Word, condition};
use super::foreign::{self, Misplaced};
use super::words::{KEYWORDS, begins_name, begins_with_keyword, continues_name, ends_word, is_address, is_space};

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
    take_while(0.., is_space).void().parse_next(input)
}

/// Whether a keyword comes next.
fn is_keyword(input: &Input<'_>, keyword: &str) -> bool {
    begins_with_keyword(rest(input), keyword)
}

/// Refuses what is wrong in a word that begins at this byte.
fn refuse(at: usize, found: Option<Misplaced>) -> Parsed<()> {
    found.map_or(Ok(()), |(behind, expected)| Err(Fault { at: at + behind, expected }))
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
    spaces(input)?;
    let minus = rest(input).strip_prefix('-');
    let is_minus = minus.is_some_and(|behind| behind.chars().next().is_some_and(|next| next != '-' && !is_space(next)));
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
    let at = input.current_token_start();
    let (word, written) = word(input, "a word, a phrase in quotes, or a condition such as level:ERROR")?;
    refuse(at, foreign::in_text(written, rest(input)))?;
    count(input)?;
    Ok(domain::filter::Condition::Anywhere(word.pattern()).into())
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
    let in_quotes = rest(input).starts_with('"');
    let name = if in_quotes {
        quoted(input)?
    } else {
        if !rest(input).starts_with(begins_name) {
            return Ok(None);
        }
        take_while(1.., continues_name).parse_next(input)?.to_owned()
    };
    let behind = rest(input);
    let has_operator = if behind.starts_with(':') {
        in_quotes || !is_address(&name, behind)
    } else {
        behind.trim_start_matches(is_space).starts_with(['<', '>'])
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
    value(input, name, false)
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
            None => value(input, name, true)?,
        };
        all.push(if negated { !filter } else { filter });
        if !skip_keyword(input, "AND")?
            && (rest(input).is_empty() || rest(input).starts_with(')') || is_keyword(input, "OR"))
        {
            return Ok(only(all, EventFilter::All));
        }
    }
}

/// A value behind a field, or in a list behind it; perhaps with a comparison before it.
fn value(input: &mut Input<'_>, name: &str, in_list: bool) -> Parsed<EventFilter> {
    let at = input.current_token_start();
    let written = opt(take_while(1..=2, ['<', '>', '='])).parse_next(input)?.unwrap_or_default();
    let Some(operator) = Operator::parse(written) else {
        return Err(Fault { at, expected: foreign::instead_of_operator(name, written) });
    };
    if operator != Operator::Equals {
        spaces(input)?;
    }
    let missing = match operator {
        Operator::Equals if in_list => format!("a value of `{name}`"),
        Operator::Equals => format!("a value directly behind `{name}:`; to look for the text, write it in quotes"),
        Operator::Compares(_) if rest(input).starts_with('(') => {
            format!("a value behind `{written}`, without parentheses")
        }
        Operator::Compares(_) => format!("a value behind `{written}`"),
    };
    if KEYWORDS.iter().any(|keyword| is_keyword(input, keyword)) {
        return Err(expected(input, missing));
    }
    if rest(input).starts_with(['[', '{']) {
        return Err(expected(input, foreign::instead_of_bracket(name, rest(input))));
    }
    let at = input.current_token_start();
    let (word, written) = word(input, &missing)?;
    refuse(at, foreign::in_value(name, written, rest(input), in_list))?;
    count(input)?;
    condition(name, operator, &word, input.state.now).map_err(|expected| Fault { at, expected })
}

/// A word or a phrase in quotes, and how it is written.
fn word<'q>(input: &mut Input<'q>, missing: &str) -> Parsed<(Word, &'q str)> {
    let (at, text) = (input.current_token_start(), rest(input));
    let word = if text.starts_with('"') {
        Word { between_wildcards: vec![quoted(input)?], quoted: true }
    } else {
        Word { between_wildcards: unquoted(input)?, quoted: false }
    };
    let written = text.get(..input.current_token_start() - at).unwrap_or(text);
    if written.is_empty() { Err(expected(input, missing)) } else { Ok((word, written)) }
}

/// The texts between the wildcards of a word.
fn unquoted(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    let mut parts = vec![String::new()];
    while let Some(char) = rest(input).chars().next().filter(|char| !ends_word(*char)) {
        any.void().parse_next(input)?;
        let char = match char {
            '*' => {
                parts.push(String::new());
                continue;
            }
            // A path such as C:\Temp needs no second backslash.
            '\\' if !rest(input).starts_with(|next: char| next.is_ascii_alphanumeric()) => escaped(input)?,
            char => char,
        };
        if let Some(last) = parts.last_mut() {
            last.push(char);
        }
    }
    Ok(parts)
}

/// The character behind a backslash.
fn escaped(input: &mut Input<'_>) -> Parsed<char> {
    let missing = "a character behind the backslash; a backslash at the end is written `\\\\`";
    opt(any).parse_next(input)?.ok_or_else(|| expected(input, missing))
}

/// The text of a phrase: a backslash has a meaning before a quote and before another backslash.
fn quoted(input: &mut Input<'_>) -> Parsed<String> {
    let opened = input.current_token_start();
    any.void().parse_next(input)?;
    let mut text = String::new();
    loop {
        let (char, next) = (opt(any).parse_next(input)?, rest(input).chars().next());
        match (char, next) {
            (Some('"'), _) => return Ok(text),
            (Some('\\'), Some(escaped @ ('"' | '\\'))) => {
                any.void().parse_next(input)?;
                text.push(escaped);
            }
            (Some(char), _) => text.push(char),
            (None, _) => break,
        }
    }
    let mut expected = "a second quote that ends this phrase".to_owned();
    if text.contains('"') {
        expected.push_str("; `\\\"` is a quote within it, and a backslash at its end is written `\\\\`");
    }
    Err(Fault { at: opened, expected })
}

impl Word {
    /// What it matches.
    pub(super) fn pattern(&self) -> Pattern {
        Pattern::new(&self.between_wildcards)
    }
}

#[cfg(test)]
mod tests;
