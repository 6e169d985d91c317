//! What a protocol states about a line beside the line.
//!
//! Invariant: what the protocol states counts. What the line says instead joins the metadata, unless that has the name.

use domain::event_input::LevelInput;
use domain::level::Level;
use domain::timestamp::Timestamp;

use super::entry::AgentEntry;

/// Gives an entry that was read from a line the time and the level that its protocol states. What the line says instead
/// is kept in the metadata, as `lineTimestamp` and `lineLevel`: the message no longer has it.
pub fn state(entry: &mut AgentEntry<'_>, time: Option<Timestamp>, level: Option<Level>) {
    if let Some(time) = time
        && let Some(of_line) = entry.timestamp.replace(time).filter(|of_line| *of_line != time)
    {
        keep(entry, "lineTimestamp", &of_line.to_string());
    }
    if let Some(level) = level {
        let of_line = entry.level.replace(LevelInput::Parsed(level)).and_then(|of_line| of_line.parse());
        if let Some(of_line) = of_line.filter(|of_line| *of_line != level) {
            keep(entry, "lineLevel", of_line.name());
        }
    }
}

fn keep(entry: &mut AgentEntry<'_>, name: &str, value: &str) {
    entry.metadata.text_if_absent(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_protocol_states_wins_and_the_rest_is_kept() {
        let (early, late) = (Timestamp::MIN, Timestamp::MAX);
        let entry = || AgentEntry {
            timestamp: Some(early),
            level: Some(LevelInput::Parsed(Level::Warn)),
            ..AgentEntry::default()
        };
        for (time, level, timestamp, metadata) in [
            (None, None, early, None),
            (Some(early), Some(Level::Warn), early, None),
            (Some(late), None, late, Some(format!(r#"{{"lineTimestamp":"{early}"}}"#))),
            (None, Some(Level::Error), early, Some(r#"{"lineLevel":"WARN"}"#.to_owned())),
        ] {
            let mut entry = entry();
            state(&mut entry, time, level);
            let found = entry.level.as_ref().and_then(LevelInput::parse);
            assert_eq!((entry.timestamp, found), (Some(timestamp), level.or(Some(Level::Warn))));
            assert_eq!(entry.metadata.into_json(), metadata);
        }
    }
}
