//! What a filter says of a group or block without reading its rows.
//!
//! Invariant: every event that matches the filter satisfies its [`Need`]. A group or block in which no event can satisfy it
//! is left out; of all others, [`EventFilter::matches`] decides row by row.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use domain::event::LogEvent;
use domain::filter::{Condition, EventFilter, IdField, Literal, Pattern, TimeField, ValueTest};
use domain::level::Level;
use domain::timestamp::Timestamp;

use crate::columns::{Column, ColumnSet};
use crate::index::{LevelSet, TimeSpan};
use crate::key;
use crate::texts::Required;

/// A condition on a group or block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of these hold; without any it is true.
    All(Vec<Self>),
    /// One of these holds; without any it is false.
    Any(Vec<Self>),
    /// A timestamp is in this range.
    Timestamp(RangeInclusive<Timestamp>),
    /// A time of receipt is in this range.
    ReceivedAt(RangeInclusive<Timestamp>),
    /// One of these levels is there.
    Levels(BTreeSet<Level>),
    /// A key is in a filter.
    Key(FilterKind, u64),
}

/// The filters of a group or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FilterKind {
    EventIds,
    TraceIds,
    Sources,
    Tokens,
    Grams,
}

const TRUE: Need = Need::All(Vec::new());

/// What a group or block answers. It answers true if it does not know.
pub(crate) trait Answers {
    type Error;

    fn timestamps(&self) -> TimeSpan;
    fn received(&self) -> Option<TimeSpan>;
    fn levels(&self) -> LevelSet;
    fn may_contain(&mut self, filter: FilterKind, key: u64) -> Result<bool, Self::Error>;
}

impl Need {
    /// What a filter needs.
    pub fn of(filter: &EventFilter) -> Self {
        translate(filter, false)
    }

    /// Whether an event of the group or block can satisfy it.
    pub fn is_possible<A: Answers>(&self, answers: &mut A) -> Result<bool, A::Error> {
        let meets =
            |range: &RangeInclusive<Timestamp>, span: TimeSpan| *range.start() <= span.to && span.from <= *range.end();
        match self {
            Self::All(needs) => {
                for need in needs {
                    if !need.is_possible(answers)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(needs) => {
                for need in needs {
                    if need.is_possible(answers)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Timestamp(range) => Ok(meets(range, answers.timestamps())),
            Self::ReceivedAt(range) => Ok(answers.received().is_none_or(|span| meets(range, span))),
            Self::Levels(levels) => Ok(answers.levels().meets(levels)),
            Self::Key(filter, key) => answers.may_contain(*filter, *key),
        }
    }
}

fn translate(filter: &EventFilter, negated: bool) -> Need {
    match (filter, negated) {
        (EventFilter::All(filters), false) | (EventFilter::Any(filters), true) => {
            Need::All(filters.iter().map(|filter| translate(filter, negated)).filter(|need| *need != TRUE).collect())
        }
        (EventFilter::Any(filters), false) | (EventFilter::All(filters), true) => {
            let needs: Vec<Need> = filters.iter().map(|filter| translate(filter, negated)).collect();
            if needs.contains(&TRUE) { TRUE } else { Need::Any(needs) }
        }
        (EventFilter::Not(filter), _) => translate(filter, !negated),
        (EventFilter::Condition(Condition::Levels(levels)), true) => {
            Need::Levels(Level::ALL.into_iter().filter(|level| !levels.contains(level)).collect())
        }
        (EventFilter::Condition(_), true) => TRUE,
        (EventFilter::Condition(condition), false) => of_condition(condition),
    }
}

fn of_condition(condition: &Condition) -> Need {
    match condition {
        Condition::Anywhere(pattern) | Condition::Message(pattern) | Condition::StackTrace(pattern) => {
            contained(pattern)
        }
        Condition::SourceIs(source) => Need::Key(FilterKind::Sources, key::source(source)),
        Condition::SourceWithin(sources) => {
            let needs: Vec<Need> = sources
                .patterns()
                .iter()
                .map(|pattern| {
                    pattern.exact().map_or(TRUE, |source| Need::Key(FilterKind::Sources, key::source(source)))
                })
                .collect();
            if needs.contains(&TRUE) { TRUE } else { Need::Any(needs) }
        }
        Condition::Source(_) => TRUE,
        Condition::Levels(levels) => Need::Levels(levels.clone()),
        Condition::Time(TimeField::Timestamp, range) => Need::Timestamp(range.clone()),
        Condition::Time(TimeField::ReceivedAt, range) => Need::ReceivedAt(range.clone()),
        Condition::IdIs(field, bytes) => id(*field, bytes),
        Condition::Id(field, pattern) => {
            let text = pattern.is_text().then(|| pattern.parts().first()).flatten();
            text.and_then(|text| field.parse(text)).map_or(TRUE, |bytes| id(*field, &bytes))
        }
        Condition::Metadata { name, test } => match test {
            ValueTest::Exists | ValueTest::Number(..) | ValueTest::Time(..) => {
                Need::Key(FilterKind::Tokens, key::name(name))
            }
            ValueTest::Equals(literal) => equals(name, literal),
        },
    }
}

fn id(field: IdField, bytes: &[u8]) -> Need {
    match field {
        IdField::Event => Need::Key(FilterKind::EventIds, key::event_id(bytes)),
        IdField::Trace => Need::Key(FilterKind::TraceIds, key::trace_id(bytes)),
        IdField::Span => TRUE,
    }
}

/// The texts contain what the pattern requires.
fn contained(pattern: &Pattern) -> Need {
    let Required { words, grams } = Required::of(pattern);
    // Words first: their filter is smaller, and says more.
    let words = words.into_iter().map(|word| Need::Key(FilterKind::Tokens, word));
    Need::All(words.chain(grams.into_iter().map(|gram| Need::Key(FilterKind::Grams, gram))).collect())
}

/// The name has the value as text or, unless the literal can be text only, as a number.
fn equals(name: &str, literal: &Literal) -> Need {
    if !literal.pattern.is_text() {
        return Need::All(vec![Need::Key(FilterKind::Tokens, key::name(name)), contained(&literal.pattern)]);
    }
    let text = literal.pattern.parts().first().map_or("", String::as_str);
    let text = Need::Key(FilterKind::Tokens, key::text(name, text));
    match literal.number() {
        Some(number) => Need::Any(vec![Need::Key(FilterKind::Tokens, key::number(name, &number)), text]),
        None => text,
    }
}

/// The columns that a filter looks at.
pub(crate) fn columns_of(filter: &EventFilter) -> ColumnSet {
    match filter {
        EventFilter::All(filters) | EventFilter::Any(filters) => {
            filters.iter().map(columns_of).fold(ColumnSet::default(), ColumnSet::and)
        }
        EventFilter::Not(filter) => columns_of(filter),
        EventFilter::Condition(condition) => ColumnSet::of(match condition {
            Condition::Anywhere(_) => &[Column::Message, Column::StackTrace, Column::Metadata],
            Condition::Message(_) => &[Column::Message],
            Condition::StackTrace(_) => &[Column::StackTrace],
            Condition::SourceIs(_) | Condition::Source(_) | Condition::SourceWithin(_) => &[Column::Source],
            Condition::Levels(_) => &[Column::Level],
            Condition::Time(TimeField::Timestamp, _) => &[Column::Timestamp],
            Condition::Time(TimeField::ReceivedAt, _) => &[Column::ReceivedAt],
            Condition::IdIs(field, _) | Condition::Id(field, _) => match field {
                IdField::Event => &[Column::EventId],
                IdField::Trace => &[Column::TraceId],
                IdField::Span => &[Column::SpanId],
            },
            Condition::Metadata { .. } => &[Column::Metadata],
        }),
    }
}

/// A part of a filter and the columns that it looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub filter: EventFilter,
    pub columns: ColumnSet,
    /// Names of metadata that must equal a literal, whatever else must hold.
    pub equalities: Vec<(String, Literal)>,
}

impl Stage {
    /// Whether an event with at least these columns matches.
    pub fn matches(&self, event: &LogEvent<'_>) -> bool {
        self.filter.matches(event)
    }
}

/// The parts of a filter, all of which must hold: those that read small columns first.
pub(crate) fn stages(filter: &EventFilter) -> Vec<Stage> {
    let small = ColumnSet::of(&[
        Column::EventId,
        Column::Timestamp,
        Column::ReceivedAt,
        Column::Source,
        Column::Level,
        Column::TraceId,
        Column::SpanId,
    ]);
    let mut parts = Vec::new();
    conjuncts(filter, &mut parts);
    let (first, second): (Vec<&EventFilter>, Vec<&EventFilter>) =
        parts.into_iter().partition(|part| columns_of(part).is_within(small));
    let stage = |parts: Vec<&EventFilter>| {
        let columns = parts.iter().map(|part| columns_of(part)).fold(ColumnSet::default(), ColumnSet::and);
        let equalities = parts.iter().filter_map(|part| match part {
            EventFilter::Condition(Condition::Metadata { name, test: ValueTest::Equals(literal) }) => {
                Some((name.clone(), literal.clone()))
            }
            _ => None,
        });
        let equalities = equalities.collect();
        (!parts.is_empty()).then(|| Stage {
            filter: EventFilter::All(parts.into_iter().cloned().collect()),
            columns,
            equalities,
        })
    };
    [first, second].into_iter().filter_map(stage).collect()
}

fn conjuncts<'f>(filter: &'f EventFilter, parts: &mut Vec<&'f EventFilter>) {
    match filter {
        EventFilter::All(filters) => filters.iter().for_each(|filter| conjuncts(filter, parts)),
        other => parts.push(other),
    }
}
