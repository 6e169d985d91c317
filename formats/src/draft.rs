//! What a line says about an event.
//!
//! Invariant: texts and metadata are within the limits of the domain, and `message` is never empty.

use domain::Uuid;
use domain::level::Level;
use domain::timestamp::Timestamp;
use serde_json::value::RawValue;

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
    /// A JSON object that [`domain::metadata::Metadata::parse`] accepts. Numbers are as the line writes them.
    pub metadata: Option<Box<RawValue>>,
}

/// A complete event.
#[derive(Clone, Debug)]
pub struct Event<O> {
    /// What its lines say.
    pub draft: Draft,
    /// Where its lines come from.
    pub origin: O,
}
