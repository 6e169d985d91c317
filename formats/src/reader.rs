//! Reads the lines of one input.

use domain::timestamp::Timestamp;

use crate::draft::{Draft, Event, Origin};
use crate::format::Options;

/// Reads the lines of one input: a file, a pipe, a stream.
#[derive(Debug)]
pub struct Reader<O: Origin> {
    options: Options,
    held: Option<Event<O>>,
}

impl<O: Origin> Reader<O> {
    /// A reader that holds no event.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, held: None }
    }

    /// Reads one line, without its line feed, of any bytes. `now` decides the year of times without one. Events that are
    /// complete are passed to `complete`, in the order of their first lines.
    pub fn line(&mut self, line: &[u8], origin: O, now: Timestamp, complete: &mut impl FnMut(Event<O>)) {
        if !line.trim_ascii().is_empty() {
            complete(Event { draft: draft(line, &self.options, now), origin });
        }
    }

    /// Passes on every event that is held, because the input ended or no line came for a while.
    pub fn flush(&mut self, complete: &mut impl FnMut(Event<O>)) {
        self.held.take().into_iter().for_each(complete);
    }

    /// Whether an event is held, because further lines may join it.
    #[must_use]
    pub fn holds_events(&self) -> bool {
        self.held.is_some()
    }
}

/// Reads one line alone: nothing joins. For protocols that carry lines.
#[must_use]
pub fn draft(line: &[u8], options: &Options, now: Timestamp) -> Draft {
    let _ = (options, now);
    Draft { message: String::from_utf8_lossy(line).into_owned(), ..Draft::default() }
}
