//! Values that completions suggest for an option, beside any other that is valid.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

/// Names of levels.
pub const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
/// Conditions on the level.
pub const LEVEL_CONDITIONS: [&str; 10] =
    ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "DEBUG+", "INFO+", "WARN+", "ERROR+"];
/// Fields by which events are counted.
pub const COUNTED_FIELDS: [&str; 3] = ["level", "source", "traceId"];
/// Times until which events are selected, and from or until which dead letters are.
pub const TIMES: [&str; 8] = ["15m", "1h", "6h", "1d", "1w", "now", "today", "yesterday"];
/// Times from which events are selected.
pub const SINCE_TIMES: [&str; 9] = ["15m", "1h", "6h", "1d", "1w", "now", "today", "yesterday", "first"];
/// Lengths of a bucket.
pub const INTERVALS: [&str; 7] = ["10s", "1m", "5m", "15m", "1h", "6h", "1d"];

/// Parses values with another parser, and suggests some.
#[derive(Clone)]
pub struct Suggested<P> {
    parser: P,
    values: &'static [&'static str],
}

/// The parser of an option with suggestions. Set `hide_possible_values` too: the help would call them the only ones.
#[must_use]
pub fn suggested<P: TypedValueParser>(parser: P, values: &'static [&'static str]) -> Suggested<P> {
    Suggested { parser, values }
}

impl<P: TypedValueParser> TypedValueParser for Suggested<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, option: Option<&Arg>, value: &OsStr) -> Result<P::Value, clap::Error> {
        self.parser.parse_ref(command, option, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().map(|value| PossibleValue::new(*value))))
    }
}

#[cfg(test)]
mod tests {
    use clap::builder::StringValueParser;
    use domain::level::Level;

    use super::*;

    #[test]
    fn other_values_are_valid_too() {
        let level =
            Arg::new("level").long("level").value_parser(suggested(StringValueParser::new(), &LEVEL_CONDITIONS));
        let command = Command::new("x").arg(level);
        let matches = command.try_get_matches_from(["x", "--level", "ERROR,FATAL"]).unwrap();
        assert_eq!(matches.get_one::<String>("level").map(String::as_str), Some("ERROR,FATAL"));
    }

    #[test]
    fn the_levels_are_those_of_events() {
        assert_eq!(LEVELS, Level::ALL.map(Level::name));
    }
}
