//! Which events a search finds: one rule for every store.
//!
//! Constraints and invariants:
//! * [`EventFilter::matches`] is the rule. A store translates a filter into its own language only to find candidates
//!   ([`EventFilter::candidates`]), and lets the rule decide wherever that translation is not exact.
//! * A condition is true or false, never unknown: of a field that an event does not have it is false, so `NOT` of it
//!   matches the event.
//! * Text is compared in any case by the rule of [`crate::folding`]; numbers are compared exactly, at any size.

mod candidates;
mod decimal;
mod lookup;
mod pattern;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use uuid::Uuid;

pub use self::candidates::{Candidates, Clause, Column, ExactCondition, TextColumn};
pub use self::decimal::Decimal;
pub use self::lookup::{NAME_PARTS_MAX, any_value, each_name};
pub use self::pattern::Pattern;
use crate::access::SourceRestriction;
use crate::event::{LogEvent, to_hex};
use crate::level::Level;
use crate::metadata::{JsonKind, JsonValue};
use crate::timestamp::Timestamp;

/// Selects events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    /// All of these hold; without any, every event matches.
    All(Vec<Self>),
    /// One of these holds; without any, no event matches.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// A condition on one field.
    Condition(Condition),
}

/// A condition on one field, or on all texts of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The message, the stack trace, or a text, number or truth value in metadata contains a match.
    Anywhere(Pattern),
    /// The message contains a match.
    Message(Pattern),
    /// The stack trace contains a match.
    StackTrace(Pattern),
    /// The source is exactly this.
    SourceIs(String),
    /// The whole source matches.
    Source(Pattern),
    /// The source is within a restriction: compared byte for byte, unlike all other texts.
    SourceWithin(SourceRestriction),
    /// The level is one of these.
    Levels(BTreeSet<Level>),
    /// A time is in this range.
    Time(TimeField, RangeInclusive<Timestamp>),
    /// An id has these bytes.
    IdIs(IdField, Vec<u8>),
    /// An id exists, and its whole text matches.
    Id(IdField, Pattern),
    /// A value of metadata passes a test.
    Metadata {
        /// The name of the value, see [`any_value`].
        name: String,
        /// The test that one of its values passes.
        test: ValueTest,
    },
}

/// The times of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// When it happened.
    Timestamp,
    /// When a producer received it.
    ReceivedAt,
}

/// The ids of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdField {
    /// Its identity; its text has hyphens.
    Event,
    /// The trace that it belongs to.
    Trace,
    /// The span that it belongs to.
    Span,
}

/// A test of a value in metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTest {
    /// It is not null.
    Exists,
    /// It equals a literal.
    Equals(Literal),
    /// It is a number, or text that is one, and compares to this one so.
    Number(Comparison, Decimal),
    /// It is text that is a time (RFC 3339) or a date (its beginning in UTC), and compares to this one so.
    Time(Comparison, Timestamp),
}

/// What a value is compared to for equality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Matches the whole text of the value.
    pub pattern: Pattern,
    /// Whether it can be text only. Otherwise it also means a number, a truth value or null: `12345` matches `12345`,
    /// `"12345"` and `1.2345e4`.
    pub text_only: bool,
}

/// How a value compares to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Whether a value that is in this order to the other one compares so.
    #[must_use]
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Default for EventFilter {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl From<Condition> for EventFilter {
    fn from(condition: Condition) -> Self {
        Self::Condition(condition)
    }
}

impl std::ops::Not for EventFilter {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl EventFilter {
    /// Events with a timestamp in `from..to`.
    #[must_use]
    pub fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Self {
        let last = match to.map(Timestamp::unix_micros) {
            None => Some(Timestamp::MAX),
            Some(to) => Timestamp::from_unix_micros(to - 1).ok(),
        };
        match (from, last) {
            (None, Some(Timestamp::MAX)) => Self::default(),
            (from, Some(last)) => Condition::Time(TimeField::Timestamp, from.unwrap_or(Timestamp::MIN)..=last).into(),
            (_, None) => Self::Any(Vec::new()),
        }
    }

    /// Events whose message contains a text.
    #[must_use]
    pub fn message(text: &str) -> Self {
        Condition::Message(Pattern::text(text).contained()).into()
    }

    /// Events of exactly this source.
    #[must_use]
    pub fn source(source: &str) -> Self {
        Condition::SourceIs(source.to_owned()).into()
    }

    /// Events of sources within a restriction.
    #[must_use]
    pub fn within(sources: &SourceRestriction) -> Self {
        Condition::SourceWithin(sources.clone()).into()
    }

    /// Events of one of these levels.
    #[must_use]
    pub fn levels(levels: impl IntoIterator<Item = Level>) -> Self {
        Condition::Levels(levels.into_iter().collect()).into()
    }

    /// Events of a trace.
    #[must_use]
    pub fn trace(trace_id: [u8; 16]) -> Self {
        Condition::IdIs(IdField::Trace, trace_id.to_vec()).into()
    }

    /// Both filters hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(mut all), Self::All(others)) => {
                all.extend(others);
                Self::All(all)
            }
            (Self::All(mut all), other) | (other, Self::All(mut all)) => {
                all.push(other);
                Self::All(all)
            }
            (one, other) => Self::All(vec![one, other]),
        }
    }

    /// Whether an event matches.
    #[must_use]
    pub fn matches(&self, event: &LogEvent<'_>) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.matches(event)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
            Self::Not(filter) => !filter.matches(event),
            Self::Condition(condition) => condition.matches(event),
        }
    }
}

impl Condition {
    /// Whether an event matches.
    #[must_use]
    pub fn matches(&self, event: &LogEvent<'_>) -> bool {
        let metadata = || event.metadata.as_ref().map(|metadata| JsonValue::new(metadata.as_json()));
        match self {
            Self::Anywhere(pattern) => {
                pattern.is_in(&event.message)
                    || event.stack_trace.as_ref().is_some_and(|text| pattern.is_in(text))
                    || metadata().is_some_and(|metadata| {
                        // Values without escapes are in the JSON text as they are.
                        let json = metadata.json();
                        (pattern.is_in(json) || json.contains('\\'))
                            && lookup::any_scalar(metadata, &mut |value| {
                                value.kind() != JsonKind::Null && pattern.is_in(&value.plain())
                            })
                    })
            }
            Self::Message(pattern) => pattern.is_in(&event.message),
            Self::StackTrace(pattern) => event.stack_trace.as_ref().is_some_and(|text| pattern.is_in(text)),
            Self::SourceIs(source) => *source == event.source,
            Self::Source(pattern) => pattern.matches(&event.source),
            Self::SourceWithin(sources) => sources.allows(&event.source),
            Self::Levels(levels) => levels.contains(&event.level),
            Self::Time(field, range) => range.contains(&match field {
                TimeField::Timestamp => event.timestamp,
                TimeField::ReceivedAt => event.received_at,
            }),
            Self::IdIs(field, bytes) => field.bytes(event).is_some_and(|id| id == *bytes),
            Self::Id(field, pattern) => field.text(event).is_some_and(|text| pattern.matches(&text)),
            Self::Metadata { name, test } => {
                metadata().is_some_and(|metadata| any_value(metadata, name, &mut |value| test.passes(value)))
            }
        }
    }
}

impl IdField {
    fn bytes<'e>(self, event: &'e LogEvent<'_>) -> Option<&'e [u8]> {
        match self {
            Self::Event => Some(event.event_id.as_bytes()),
            Self::Trace => event.trace_id.as_ref().map(<[u8; 16]>::as_slice),
            Self::Span => event.span_id.as_ref().map(<[u8; 8]>::as_slice),
        }
    }

    fn text(self, event: &LogEvent<'_>) -> Option<String> {
        match self {
            Self::Event => Some(event.event_id.to_string()),
            Self::Trace | Self::Span => self.bytes(event).map(to_hex),
        }
    }

    /// The bytes that a text means, if it is a whole id.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Event => Uuid::parse_str(text).ok().map(|id| id.as_bytes().to_vec()),
            Self::Trace => crate::event::from_hex::<16>(text).map(|id| id.to_vec()),
            Self::Span => crate::event::from_hex::<8>(text).map(|id| id.to_vec()),
        }
    }
}

impl ValueTest {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: JsonValue<'_>) -> bool {
        let scalar = !matches!(value.kind(), JsonKind::Object | JsonKind::Array);
        match self {
            Self::Exists => value.kind() != JsonKind::Null,
            Self::Equals(literal) => scalar && literal.equals(value),
            Self::Number(comparison, number) => {
                matches!(value.kind(), JsonKind::Number | JsonKind::Text)
                    && Decimal::parse(&value.plain()).is_some_and(|value| comparison.holds(value.cmp(number)))
            }
            Self::Time(comparison, time) => {
                let is_so = |text: &str| {
                    let value = Timestamp::parse(text).or_else(|_| Timestamp::parse_date(text));
                    value.is_ok_and(|value| comparison.holds(value.cmp(time)))
                };
                value.kind() == JsonKind::Text && is_so(&value.plain())
            }
        }
    }
}

impl Literal {
    /// The number that it means, if it means one.
    #[must_use]
    pub fn number(&self) -> Option<Decimal> {
        match self.pattern.parts() {
            [text] if !self.text_only && self.pattern.is_text() => Decimal::parse(text),
            _ => None,
        }
    }

    /// Whether a text, number or truth value may equal it, given as text. Which of them it was is not known.
    #[must_use]
    pub fn may_equal(&self, text: &str) -> bool {
        self.pattern.matches(text) || (!self.text_only && self.equals_number(text))
    }

    fn equals(&self, value: JsonValue<'_>) -> bool {
        let same_text = || self.pattern.matches(&value.plain());
        match value.kind() {
            JsonKind::Text => same_text(),
            JsonKind::Null => !self.text_only && self.pattern.is_text() && same_text(),
            JsonKind::Number if !self.text_only => same_text() || self.equals_number(value.json()),
            JsonKind::Bool => !self.text_only && same_text(),
            JsonKind::Number | JsonKind::Object | JsonKind::Array => false,
        }
    }

    /// Whether it means the number of another text.
    fn equals_number(&self, other: &str) -> bool {
        let is_integer = |text: &str| {
            matches!(text.as_bytes().first(), Some(b'1'..=b'9')) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        // Integers in their usual form are equal if their texts are, which needs no memory.
        if let [text] = self.pattern.parts()
            && is_integer(text)
            && is_integer(other)
        {
            return text == other && self.pattern.is_text();
        }
        self.number().is_some_and(|number| Decimal::parse(other).is_some_and(|other| other == number))
    }
}
