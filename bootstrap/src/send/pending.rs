//! Events that wait to be sent, and where they were read.

use std::fmt;
use std::sync::Arc;

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
