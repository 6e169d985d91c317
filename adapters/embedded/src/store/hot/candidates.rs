//! Which events of a body a filter can match, without reading each of them.
//!
//! Invariant: every event that matches is a candidate. A text in ASCII without escapes is in the texts of the body as it is, so they
//! are searched as a whole; events with other texts stay candidates.

use domain::filter::{Condition, EventFilter, IdField, Pattern, ValueTest};

use super::body::Body;

/// Events of a body: those with true; `None` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Option<Vec<bool>>);

impl Candidates {
    const ALL: Self = Self(None);

    /// The events that a filter can match.
    pub fn of(filter: &EventFilter, body: &Body) -> Self {
        match filter {
            EventFilter::All(filters) => filters
                .iter()
                .fold(Self::ALL, |all, filter| if all.are_none() { all } else { all.and(Self::of(filter, body)) }),
            EventFilter::Any(filters) => {
                let none = Self(Some(vec![false; body.count()]));
                filters.iter().fold(none, |any, filter| any.or(|| Self::of(filter, body)))
            }
            EventFilter::Not(_) => Self::ALL,
            EventFilter::Condition(condition) => Self::of_condition(condition, body),
        }
    }

    fn of_condition(condition: &Condition, body: &Body) -> Self {
        match condition {
            Condition::Message(pattern) | Condition::StackTrace(pattern) => Self::with_text(pattern, false, body),
            Condition::Anywhere(pattern) => Self::with_text(pattern, true, body),
            // A number has several forms.
            Condition::Metadata { test: ValueTest::Equals(literal), .. } if literal.number().is_none() => {
                Self::with_text(&literal.pattern, true, body)
            }
            Condition::IdIs(field, id) => {
                Self(Some((0..body.count()).map(|event| may_have_id(body, event, *field, id)).collect()))
            }
            _ => Self::ALL,
        }
    }

    /// The events whose texts, or texts of JSON with escapes, may contain a match.
    fn with_text(pattern: &Pattern, may_be_escaped: bool, body: &Body) -> Self {
        if pattern.parts().is_empty() {
            return Self::ALL;
        }
        let (texts, mut events) = (body.texts(), vec![false; body.count()]);
        mark(body, &mut events, |from| pattern.place_of_a_part(texts, from));
        if may_be_escaped {
            mark(body, &mut events, |from| Some(from + texts.get(from..)?.find('\\')?));
        }
        if !texts.is_ascii() {
            let other = |from| texts.as_bytes().get(from..)?.iter().position(|byte| !byte.is_ascii());
            mark(body, &mut events, |from| Some(from + other(from)?));
        }
        Self(Some(events))
    }

    fn and(self, other: Self) -> Self {
        match (self.0, other.0) {
            (None, events) | (events, None) => Self(events),
            (Some(one), Some(other)) => {
                Self(Some(one.into_iter().zip(other).map(|(one, other)| one && other).collect()))
            }
        }
    }

    fn or(self, other: impl FnOnce() -> Self) -> Self {
        let Some(one) = self.0 else { return Self::ALL };
        let Some(other) = other().0 else { return Self::ALL };
        Self(Some(one.into_iter().zip(other).map(|(one, other)| one || other).collect()))
    }

    /// Whether no event can match.
    pub fn are_none(&self) -> bool {
        self.0.as_ref().is_some_and(|events| !events.contains(&true))
    }

    /// Whether an event can match.
    pub fn contain(&self, event: usize) -> bool {
        self.0.as_ref().is_none_or(|events| events.get(event).is_none_or(|is_candidate| *is_candidate))
    }
}

/// Marks the events with the places in the texts that `next` finds from a place on.
fn mark(body: &Body, events: &mut [bool], next: impl Fn(usize) -> Option<usize>) {
    let mut from = 0;
    while let Some((event, end)) = next(from).and_then(|at| body.event_with_text(at)) {
        if let Some(event) = events.get_mut(event) {
            *event = true;
        }
        from = end;
    }
}

/// True also of an event that cannot be read: reading it as a whole tells the error.
fn may_have_id(body: &Body, event: usize, field: IdField, id: &[u8]) -> bool {
    match field {
        IdField::Event => body.event_id(event).is_none_or(|own| own.as_bytes().as_slice() == id),
        IdField::Trace => {
            body.trace_and_span_id(event).is_none_or(|(own, _)| own.is_some_and(|own| own.as_slice() == id))
        }
        IdField::Span => {
            body.trace_and_span_id(event).is_none_or(|(_, own)| own.is_some_and(|own| own.as_slice() == id))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use contracts::search::events_and_filters;
    use domain::filter::Literal;
    use domain::metadata::Metadata;

    use super::*;
    use crate::store::hot::body::{Numbered, encode};

    #[test]
    fn texts_with_escapes_or_beyond_ascii_are_read() {
        let mut event = events_and_filters(4, 1, 0).0.remove(0);
        let text = |text| Pattern::text(text);
        let note = Literal { pattern: text("say \"hello\""), text_only: true };
        let note = Condition::Metadata { name: "note".to_owned(), test: ValueTest::Equals(note) };
        let (escaped, ascii) = (r#"{"note":"say \"hello\""}"#, r#"{"note":"hello"}"#);
        for (message, metadata, condition, expected) in [
            ("am STRA\u{1e9e}ENRAND", ascii, Condition::Message(text("strasse")), true),
            ("am STRA\u{1e9e}ENRAND", ascii, Condition::Anywhere(text("strasse")), true),
            ("am Rand", escaped, Condition::Anywhere(text("y \"h")), true),
            ("am Rand", escaped, note.clone(), true),
            ("am Rand", ascii, Condition::Message(text("RAND")), true),
            ("am Rand", ascii, Condition::Message(text("strasse")), false),
            ("am Rand", ascii, note, false),
        ] {
            event.message = Cow::Borrowed(message);
            event.metadata = Metadata::parse(metadata).ok();
            let body = Body::decode(encode(&[Numbered { id: 1, offset: 1, event: &event }])).expect("a body");
            let filter = EventFilter::from(condition);
            let (matches, is_candidate) = (filter.matches(&event), Candidates::of(&filter, &body).contain(0));
            assert_eq!((matches, is_candidate), (expected, expected), "{filter:?}");
        }
    }

    #[test]
    fn every_event_that_matches_is_a_candidate() {
        let (events, filters) = events_and_filters(3, 300, 600);
        let numbered: Vec<Numbered<'_>> =
            (1..).zip(&events).map(|(id, event)| Numbered { id, offset: id, event }).collect();
        let body = Body::decode(encode(&numbered)).expect("a body");
        let (mut matching, mut left_out) = (0, 0);
        for filter in &filters {
            let candidates = Candidates::of(filter, &body);
            for (n, event) in events.iter().enumerate() {
                let matches = filter.matches(event);
                assert!(!matches || candidates.contain(n), "{filter:?} {event:?}");
                matching += usize::from(matches);
                left_out += usize::from(!candidates.contain(n));
            }
        }
        assert!(matching > 1_000 && left_out > 1_000, "{matching} {left_out}");
    }
}
