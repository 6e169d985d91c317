//! Plain lines: what an agent read from a file or a terminal and sends as it is.
//!
//! [`line`] is the only place that reads one, so that the line formats of `spillway send` can be put here.

use application::ingest::AgentEntry;

/// An entry for a line. Its level, time and source may stand in the line; a protocol that states them overrides them.
pub fn line(text: &str) -> AgentEntry<'_> {
    AgentEntry { message: text.trim_end().into(), ..AgentEntry::default() }
}
