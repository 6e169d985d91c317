//! What a store can check in its own language.
//!
//! Invariant: every event that matches the filter satisfies the clause. If the clause is exact, no other event does.
//! A store only needs to find texts in columns, byte for byte, after folding the case of ASCII letters.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Condition, Decimal, EventFilter, IdField, Pattern, TimeField, ValueTest};
use crate::access::SourceRestriction;
use crate::level::Level;
use crate::timestamp::Timestamp;

/// The translation of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates<'f> {
    /// What candidates satisfy.
    pub clause: Clause<'f>,
    /// Whether all of them match. Otherwise [`EventFilter::matches`] decides.
    pub exact: bool,
}

/// A clause of a store's language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause<'f> {
    /// All of these hold; without any it is true.
    All(Vec<Self>),
    /// One of these holds; without any it is false.
    Any(Vec<Self>),
    /// A condition, or its negation. Of an absent field the condition is false, and so the negation true.
    Exact {
        /// The condition.
        condition: ExactCondition<'f>,
        /// Whether it must not hold.
        negated: bool,
    },
    /// The text of a column contains this text, whose ASCII letters are in lower case, after those of the column are mapped
    /// to lower case.
    Contains(TextColumn, String),
    /// The text of a column contains exactly this text.
    ContainsExactly(TextColumn, String),
    /// The text of a column has a digit, then `e` or `E`, then a digit or a sign.
    Exponent(TextColumn),
    /// The text of a column has a character beyond ASCII: its case must be folded by the domain.
    BeyondAscii(TextColumn),
}

/// A condition that every store can check exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExactCondition<'f> {
    /// The source is exactly this.
    SourceIs(&'f str),
    /// The level is one of these.
    Levels(&'f BTreeSet<Level>),
    /// A time is in this range.
    Time(TimeField, &'f RangeInclusive<Timestamp>),
    /// An id has these bytes.
    IdIs(IdField, &'f [u8]),
    /// The column has a value.
    Present(Column),
}

/// Columns that an event may have no value in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The stack trace.
    StackTrace,
    /// The trace id.
    TraceId,
    /// The span id.
    SpanId,
}

/// Columns with text. Metadata is compact JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextColumn {
    /// The source.
    Source,
    /// The message.
    Message,
    /// The stack trace.
    StackTrace,
    /// The metadata.
    Metadata,
    /// The event id as 32 hexadecimal digits.
    EventId,
    /// The trace id as hexadecimal digits.
    TraceId,
    /// The span id as hexadecimal digits.
    SpanId,
}

impl EventFilter {
    /// What a store can check of this filter in its own language.
    #[must_use]
    pub fn candidates(&self) -> Candidates<'_> {
        self.translate(false)
    }

    /// The negation is carried to the conditions, since the negation of an inexact clause says nothing.
    fn translate(&self, negated: bool) -> Candidates<'_> {
        match (self, negated) {
            (Self::All(filters), false) | (Self::Any(filters), true) => all(filters, negated),
            (Self::Any(filters), false) | (Self::All(filters), true) => any(filters, negated),
            (Self::Not(filter), _) => filter.translate(!negated),
            (Self::Condition(condition), _) => translate(condition, negated),
        }
    }

    /// The timestamps that it selects, if it says nothing else.
    #[must_use]
    pub fn only_time_range(&self) -> Option<RangeInclusive<Timestamp>> {
        let says_only_that =
            |filter: &Self| matches!(filter, Self::Condition(Condition::Time(TimeField::Timestamp, _)));
        match self {
            Self::All(filters) if filters.iter().all(says_only_that) => Some(self.time_range()),
            filter if says_only_that(filter) => Some(self.time_range()),
            _ => None,
        }
    }

    /// The timestamps that events can have at most, as the conditions that must all hold say.
    #[must_use]
    pub fn time_range(&self) -> RangeInclusive<Timestamp> {
        let whole = Timestamp::MIN..=Timestamp::MAX;
        match self {
            Self::All(filters) => filters
                .iter()
                .map(Self::time_range)
                .fold(whole, |one, other| *one.start().max(other.start())..=*one.end().min(other.end())),
            Self::Condition(Condition::Time(TimeField::Timestamp, range)) => range.clone(),
            Self::Any(_) | Self::Not(_) | Self::Condition(_) => whole,
        }
    }
}

const TRUE: Clause<'static> = Clause::All(Vec::new());
/// Maximum parts of a pattern, and digits of a number, that a clause names: a statement has a limit of size and of depth
/// (1,000 in SQLite), and a query may have thousands.
const PARTS_MAX: usize = 8;
const NUMBER_DIGITS_MAX: usize = 24;

fn all(filters: &[EventFilter], negated: bool) -> Candidates<'_> {
    let translated = filters.iter().map(|filter| filter.translate(negated));
    let (mut clauses, mut exact) = (Vec::new(), true);
    for Candidates { clause, exact: one_exact } in translated {
        exact &= one_exact;
        if clause != TRUE {
            clauses.push(clause);
        }
    }
    Candidates { clause: only(clauses, Clause::All), exact }
}

fn any(filters: &[EventFilter], negated: bool) -> Candidates<'_> {
    let translated: Vec<_> = filters.iter().map(|filter| filter.translate(negated)).collect();
    let exact = translated.iter().all(|one| one.exact);
    if translated.iter().any(|one| one.clause == TRUE) {
        return Candidates { clause: TRUE, exact };
    }
    Candidates { clause: only(translated.into_iter().map(|one| one.clause).collect(), Clause::Any), exact }
}

fn only<'f>(mut clauses: Vec<Clause<'f>>, join: fn(Vec<Clause<'f>>) -> Clause<'f>) -> Clause<'f> {
    match (clauses.len(), clauses.pop()) {
        (1, Some(clause)) => clause,
        (_, last) => join(clauses.into_iter().chain(last).collect()),
    }
}

fn translate(condition: &Condition, negated: bool) -> Candidates<'_> {
    let exact = |condition| Candidates { clause: Clause::Exact { condition, negated }, exact: true };
    let always = || Candidates { clause: if negated { Clause::Any(Vec::new()) } else { TRUE }, exact: true };
    let inexact = |clause| Candidates { clause: if negated { TRUE } else { clause }, exact: false };
    match condition {
        Condition::SourceIs(source) => exact(ExactCondition::SourceIs(source)),
        Condition::Levels(levels) => exact(ExactCondition::Levels(levels)),
        Condition::Time(field, range) => exact(ExactCondition::Time(*field, range)),
        Condition::IdIs(field, bytes) => exact(ExactCondition::IdIs(*field, bytes)),
        Condition::Source(pattern) if pattern.matches_all() => always(),
        Condition::Message(pattern) if pattern.parts().is_empty() => always(),
        Condition::Anywhere(pattern) if pattern.parts().is_empty() => always(),
        Condition::StackTrace(pattern) if pattern.parts().is_empty() => {
            exact(ExactCondition::Present(Column::StackTrace))
        }
        Condition::Id(field, pattern) if pattern.matches_all() => match field {
            IdField::Event => always(),
            IdField::Trace => exact(ExactCondition::Present(Column::TraceId)),
            IdField::Span => exact(ExactCondition::Present(Column::SpanId)),
        },
        Condition::Source(pattern) => inexact(text(TextColumn::Source, pattern)),
        Condition::SourceWithin(sources) => within(sources, negated),
        Condition::Message(pattern) => inexact(text(TextColumn::Message, pattern)),
        Condition::StackTrace(pattern) => inexact(text(TextColumn::StackTrace, pattern)),
        Condition::Anywhere(pattern) => inexact(Clause::Any(vec![
            text(TextColumn::Message, pattern),
            text(TextColumn::StackTrace, pattern),
            metadata_text(pattern),
        ])),
        Condition::Id(field, pattern) => inexact(id_text(*field, pattern)),
        Condition::Metadata { name, test } => inexact(metadata(name, test)),
    }
}

/// The source is one of those that have no wildcard, or contains a part of one that has.
fn within(sources: &SourceRestriction, negated: bool) -> Candidates<'_> {
    if negated {
        // No search negates a restriction, so this need not be fast.
        return Candidates { clause: TRUE, exact: false };
    }
    let exact = sources.patterns().iter().all(|pattern| pattern.exact().is_some());
    let clauses = sources.patterns().iter().map(|pattern| match (pattern.exact(), pattern.longest_part()) {
        (Some(source), _) => Clause::Exact { condition: ExactCondition::SourceIs(source), negated: false },
        (None, "") => TRUE,
        (None, part) => Clause::ContainsExactly(TextColumn::Source, part.to_owned()),
    });
    Candidates { clause: only(clauses.collect(), Clause::Any), exact }
}

/// The column contains each part of the pattern. Folded text that is not ASCII is not contained in ASCII text. Text beyond ASCII
/// folds to ASCII letters at most, so a part without letters is contained as it is.
fn text(column: TextColumn, pattern: &Pattern) -> Clause<'static> {
    let parts = longest(pattern);
    if !parts.iter().all(|part| part.is_ascii()) {
        return Clause::BeyondAscii(column);
    }
    let (lettered, others): (Vec<&String>, Vec<&String>) = parts.into_iter().partition(|part| has_letters(part));
    let mut all: Vec<Clause<'static>> =
        others.into_iter().map(|part| Clause::ContainsExactly(column, part.clone())).collect();
    if !lettered.is_empty() {
        let contained = lettered.into_iter().map(|part| Clause::Contains(column, part.clone())).collect();
        all.push(Clause::Any(vec![only(contained, Clause::All), Clause::BeyondAscii(column)]));
    }
    only(all, Clause::All)
}

fn has_letters(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// The parts that exclude the most texts.
fn longest(pattern: &Pattern) -> Vec<&String> {
    let mut parts: Vec<&String> = pattern.parts().iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.truncate(PARTS_MAX);
    parts
}

/// Metadata that contains the parts of the pattern, or that may have them in another form. With an escape, its text is not
/// that of its values.
fn metadata_text(pattern: &Pattern) -> Clause<'static> {
    Clause::Any(vec![text(TextColumn::Metadata, pattern), escaped()])
}

fn escaped() -> Clause<'static> {
    Clause::ContainsExactly(TextColumn::Metadata, "\\".to_owned())
}

/// The texts of ids are hexadecimal digits, without the hyphens of an event id.
fn id_text(field: IdField, pattern: &Pattern) -> Clause<'static> {
    let column = match field {
        IdField::Event => TextColumn::EventId,
        IdField::Trace => TextColumn::TraceId,
        IdField::Span => TextColumn::SpanId,
    };
    let digits = longest(pattern).into_iter().map(|part| part.replace('-', "")).filter(|part| !part.is_empty());
    // Ids have ASCII digits only.
    if pattern.parts().iter().any(|part| !part.is_ascii()) {
        return Clause::Any(Vec::new());
    }
    Clause::All(digits.map(|part| Clause::Contains(column, part)).collect())
}

/// Metadata that has a member whose name ends as the name does, and the text of the value behind it.
fn metadata(name: &str, test: &ValueTest) -> Clause<'static> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let with = |value: &str| Clause::ContainsExactly(TextColumn::Metadata, format!("{last}\":{value}"));
    let mut forms = vec![escaped()];
    match test {
        ValueTest::Exists | ValueTest::Number(..) | ValueTest::Time(..) => forms.push(with("")),
        ValueTest::Equals(literal) => {
            // Any element of an array.
            forms.push(with("["));
            forms.extend(value_texts(last, &literal.pattern, literal.text_only));
            if let Some(number) = literal.number() {
                forms.extend(number_texts(&number, with));
            }
        }
    }
    Clause::Any(forms)
}

/// Metadata in which a text, or any other value, that begins as the pattern does follows the name.
fn value_texts(name: &str, pattern: &Pattern, text_only: bool) -> Vec<Clause<'static>> {
    let column = TextColumn::Metadata;
    let Some(begin) = pattern.begin() else {
        let member = Clause::ContainsExactly(column, format!("{name}\":"));
        return vec![Clause::All(vec![member, text(column, pattern)])];
    };
    if !pattern.parts().iter().all(|part| part.is_ascii()) {
        return vec![Clause::BeyondAscii(column)];
    }
    let end = if pattern.is_text() { "\"" } else { "" };
    // A name keeps its case, but here the whole metadata is in lower case.
    let name = name.to_ascii_lowercase();
    let mut forms = vec![Clause::Contains(column, format!("{name}\":\"{begin}{end}"))];
    if pattern.parts().iter().any(|part| has_letters(part)) {
        forms.push(Clause::BeyondAscii(column));
    }
    if !text_only {
        forms.push(Clause::Contains(column, format!("{name}\":{begin}")));
    }
    forms
}

/// The JSON texts of a number: written out, perhaps with zeros behind it; or with an exponent, and then beginning with its
/// first digit, or with zero.
fn number_texts(number: &Decimal, with: impl Fn(&str) -> Clause<'static>) -> Vec<Clause<'static>> {
    let sign = if number.is_negative() { "-" } else { "" };
    let begins = match number.digits().chars().next() {
        None => return vec![with("0"), with("-0")],
        Some(first) => Clause::Any(vec![with(&format!("{sign}{first}")), with(&format!("{sign}0"))]),
    };
    match number.written_out(NUMBER_DIGITS_MAX) {
        Some(text) => vec![with(&text), Clause::All(vec![begins, Clause::Exponent(TextColumn::Metadata)])],
        None => vec![begins],
    }
}
