//! What a line says about an event.
//!
//! Invariant: texts and metadata are within the limits of the domain, and `message` is never empty.

use domain::Uuid;
use domain::event::SOURCE_BYTES_MAX;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::timestamp::Timestamp;

use crate::limits::{bounded, bounded_in_the_middle};

/// Where a line comes from. An event of several lines has one origin, which covers them all.
pub trait Origin {
    /// Extends this origin by that of a line that joins the event.
    fn extend(&mut self, next: Self);
}

impl Origin for () {
    fn extend(&mut self, (): Self) {}
}

/// An event as the line states it. What is absent was not stated, and the sender or the server decides.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The level, if the line states one.
    pub level: Option<Level>,
    /// The time, if the line states one that can be known.
    pub time: Option<Timestamp>,
    /// The service that wrote the line: 1 to [`domain::event::SOURCE_BYTES_MAX`] bytes without control characters.
    pub source: Option<String>,
    /// What happened: 1 to [`domain::event::TEXT_BYTES_MAX`] bytes.
    pub message: String,
    /// The stack trace: at most [`domain::event::TEXT_BYTES_MAX`] bytes.
    pub stack_trace: Option<String>,
    /// 32 hexadecimal digits in lower case.
    pub trace_id: Option<String>,
    /// 16 hexadecimal digits in lower case.
    pub span_id: Option<String>,
    /// The identity of the event, if the line has one.
    pub event_id: Option<Uuid>,
    /// All other fields. Numbers are as the line writes them.
    pub metadata: Option<Metadata<'static>>,
    /// Whether the message or the stack trace was too long and is not complete: a note stands where text is missing.
    pub cut: bool,
}

impl Draft {
    /// A draft that has this message, and nothing else.
    pub(crate) fn of_message(message: &str) -> Self {
        let mut draft = Self::default();
        draft.set_message(message);
        draft
    }

    /// Sets the message: its beginning, if it is too long.
    pub(crate) fn set_message(&mut self, message: &str) {
        let (message, is_cut) = bounded(message);
        self.message = message;
        self.cut |= is_cut;
    }

    /// Sets the stack trace: its beginning and its end, if it is too long.
    pub(crate) fn set_stack_trace(&mut self, stack_trace: &str) {
        let (stack_trace, is_cut) = bounded_in_the_middle(stack_trace);
        self.stack_trace = Some(stack_trace);
        self.cut |= is_cut;
    }
}

/// A complete event.
#[derive(Clone, Debug)]
pub struct Event<O> {
    /// What its lines say.
    pub draft: Draft,
    /// Where its lines come from.
    pub origin: O,
}

/// Whether an event may have `name` as its source.
pub(crate) fn is_source(name: &str) -> bool {
    let is_text = || !name.chars().any(char::is_control) && !name.trim().is_empty();
    (1..=SOURCE_BYTES_MAX).contains(&name.len()) && (name.bytes().all(|byte| byte.is_ascii_graphic()) || is_text())
}

/// The text in lower case, if it has exactly this many hexadecimal digits and not only zeros, which say that there is
/// no trace (W3C Trace Context, 3.2.2.3).
pub(crate) fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    let is_id = text.len() == digits
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0');
    is_id.then(|| text.to_ascii_lowercase())
}
