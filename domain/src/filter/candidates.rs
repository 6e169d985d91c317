//! What a store can check in its own language.
//!
//! Invariant: every event that matches the filter satisfies the clause. If the clause is exact, no other event does.
//! A store only needs to find texts in columns, byte for byte, after folding the case of ASCII letters.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Condition, EventFilter, IdField, Pattern, TimeField, ValueTest};
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
    /// The text of a column contains this text, which is ASCII and in lower case, after its ASCII letters are mapped to
    /// lower case.
    Contains(TextColumn, String),
    /// The text of a column contains exactly this text.
    ContainsExactly(TextColumn, String),
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

/// The column contains each part of the pattern. Folded text that is not ASCII is not contained in ASCII text.
fn text(column: TextColumn, pattern: &Pattern) -> Clause<'static> {
    if pattern.parts().iter().all(|part| part.is_ascii()) {
        Clause::Any(vec![parts(column, pattern), Clause::BeyondAscii(column)])
    } else {
        Clause::BeyondAscii(column)
    }
}

fn parts(column: TextColumn, pattern: &Pattern) -> Clause<'static> {
    only(longest(pattern).into_iter().map(|part| Clause::Contains(column, part.clone())).collect(), Clause::All)
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

/// Metadata that has a member whose name ends as the name does, and the text of the value.
fn metadata(name: &str, test: &ValueTest) -> Clause<'static> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let member = Clause::ContainsExactly(TextColumn::Metadata, format!("{last}\":"));
    let value = match test {
        ValueTest::Exists | ValueTest::Number(..) | ValueTest::Time(..) => TRUE,
        ValueTest::Equals(literal) => {
            let mut forms = vec![text(TextColumn::Metadata, &literal.pattern)];
            if let Some(number) = literal.number() {
                if number.digits().len() > NUMBER_DIGITS_MAX {
                    forms.push(TRUE);
                }
                forms.extend(number_texts(number.digits()).map(|form| Clause::Contains(TextColumn::Metadata, form)));
            }
            Clause::Any(forms)
        }
    };
    Clause::Any(vec![Clause::All(vec![member, value]), escaped()])
}

/// The texts of which one is in every JSON text of a number with these digits.
fn number_texts(digits: &str) -> impl Iterator<Item = String> {
    // Zero has no digits.
    let whole = if digits.is_empty() { "0" } else { digits };
    let points = (1..whole.len().min(NUMBER_DIGITS_MAX)).filter_map(move |at| whole.split_at_checked(at));
    std::iter::once(whole.to_owned()).chain(points.map(|(before, behind)| format!("{before}.{behind}")))
}
