//! Bodies that are lines.

use application::ingest::{AgentEntry, AgentStop, Lines};
use domain::timestamp::Timestamp;

/// Reads the lines of a body: a stack trace joins the event before it. Stops at the first entry that is not taken.
///
/// # Errors
/// What `add` says.
pub fn add_lines(
    body: &str,
    now: Timestamp,
    mut add: impl FnMut(AgentEntry<'static>) -> Result<(), AgentStop>,
) -> Result<(), AgentStop> {
    let (mut lines, mut complete) = (Lines::new(now), Vec::new());
    for line in body.lines() {
        lines.line(line, |entry| complete.push(entry));
        complete.drain(..).try_for_each(&mut add)?;
    }
    lines.finish(|entry| complete.push(entry));
    complete.into_iter().try_for_each(add)
}
