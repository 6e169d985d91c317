//! Events that wait to be sent, and where they were read.

use std::fmt;
use std::sync::Arc;

use formats::Origin;

use super::event_id::EventId;

/// Where an event was read.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the file.
    pub file: Arc<str>,
    /// Number of the line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The lines of an event.
#[derive(Clone, Debug)]
pub struct EventLines {
    /// The identifier of the event.
    pub id: EventId,
    /// The place of the first line.
    pub place: Place,
    /// Number of lines.
    pub number: u64,
}

impl Origin for EventLines {
    fn extend(&mut self, next: Self) {
        self.id.extend(next.id);
        self.number += next.number;
    }
}

/// An event to be sent.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The event as one line of JSON.
    pub json: String,
    /// Where it was read.
    pub place: Place,
    /// Whether the outcome of a request with it is unknown.
    pub in_doubt: bool,
}
