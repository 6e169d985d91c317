//! How lines are to be read.

use std::str::FromStr;

use domain::level::Level;
use regex::Regex;

use crate::zone::Zone;

/// How lines are to be read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The level of lines that state none. It decides which lines join; [`crate::Draft::level`] is what is stated.
    pub level: Level,
    /// The zone of times that state none.
    pub zone: Zone,
    /// The format of the lines.
    pub format: Format,
    /// Whether stack traces and other continuation lines join the event before them.
    pub join: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { level: Level::Info, zone: Zone::UTC, format: Format::Auto, join: true }
    }
}

/// The format of lines.
#[derive(Clone, Debug)]
pub enum Format {
    /// Each line is recognised by its form.
    Auto,
    /// A pattern of the user.
    Pattern(Pattern),
}

/// A regular expression with named groups.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The expression.
    pub(crate) regex: Regex,
}

/// The text is neither the name of a format nor a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a format: {0}")]
pub struct InvalidFormat(String);

impl Format {
    /// The names that [`Format::from_str`] accepts.
    pub const NAMES: &[&str] = &["auto"];
}

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let regex = Regex::new(text).map_err(|error| InvalidFormat(error.to_string()))?;
        Ok(Self::Pattern(Pattern { regex }))
    }
}
