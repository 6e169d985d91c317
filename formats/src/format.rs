//! How lines are to be read.

use std::str::FromStr;

use domain::level::Level;

use crate::pattern::Pattern;
use crate::zone::Zone;

/// How lines are to be read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The level of events that state none. It is for the caller: [`crate::Draft::level`] is what is stated.
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
    /// One format; a line that does not have it is text.
    Named(Name),
    /// A pattern of the user; a line that it does not match is read as with `Auto`.
    Pattern(Pattern),
}

/// A format that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Text with a level and a time at its head.
    Text,
    /// JSON objects.
    Json,
    /// Pairs.
    Logfmt,
    /// Syslog.
    Syslog,
    /// Access logs.
    Access,
}

/// The text is neither the name of a format nor a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFormat {
    /// No name, and without a named group no pattern.
    #[error(
        "not a format: use {}, or a regular expression with named groups such as \
         (?P<time>…) (?P<level>…) (?P<message>…)", Format::NAMES.join(", ")
    )]
    Unknown,
    /// A regular expression with an error, or one that is too large.
    #[error("not a regular expression: {0}")]
    Regex(String),
}

impl Format {
    /// The names that [`Format::from_str`] accepts.
    pub const NAMES: &[&str] = &["auto", "text", "json", "logfmt", "syslog", "access"];
}

impl FromStr for Format {
    type Err = InvalidFormat;

    /// Parses a name of [`Format::NAMES`], or a regular expression with at least one named group.
    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        Ok(match text {
            "auto" => Self::Auto,
            "text" => Self::Named(Name::Text),
            "json" => Self::Named(Name::Json),
            "logfmt" => Self::Named(Name::Logfmt),
            "syslog" => Self::Named(Name::Syslog),
            "access" => Self::Named(Name::Access),
            pattern => Self::Pattern(Pattern::new(pattern)?),
        })
    }
}
