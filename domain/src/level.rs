//! Severity of an event.

use std::fmt;

/// Severity, least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Finest detail.
    Trace,
    /// Detail for developers.
    Debug,
    /// Normal operation.
    Info,
    /// Unexpected, but handled.
    Warn,
    /// An operation failed.
    Error,
    /// The process or the system cannot continue.
    Fatal,
}

/// The text is not the name of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a level: use TRACE, DEBUG, INFO, WARN, ERROR or FATAL")]
pub struct UnknownLevel;

impl Level {
    /// All levels, least severe first.
    pub const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    const NAMES: [(&'static str, Self); 10] = [
        ("INFO", Self::Info),
        ("DEBUG", Self::Debug),
        ("WARN", Self::Warn),
        ("ERROR", Self::Error),
        ("TRACE", Self::Trace),
        ("FATAL", Self::Fatal),
        ("WARNING", Self::Warn),
        ("CRITICAL", Self::Fatal),
        ("ALERT", Self::Fatal),
        ("EMERGENCY", Self::Fatal),
    ];

    /// Parses a level in either case, with the aliases of syslog and of common logging libraries: WARNING is WARN;
    /// CRITICAL, ALERT and EMERGENCY are FATAL.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, UnknownLevel> {
        Self::NAMES
            .iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name))
            .map(|(_, level)| *level)
            .ok_or(UnknownLevel)
    }

    /// The canonical, upper-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// Whether events of this level use the priority lane (see [`crate::partition`]).
    #[must_use]
    pub fn is_priority(self) -> bool {
        match self {
            Self::Error | Self::Fatal => true,
            Self::Trace | Self::Debug | Self::Info | Self::Warn => false,
        }
    }

    /// 0 (TRACE) to 5 (FATAL): the number that stores use for the level.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The level with this [`Level::number`].
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_map_back_to_their_level() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.name()), Ok(level));
            assert_eq!(Level::parse(&level.name().to_lowercase()), Ok(level));
            assert_eq!(Level::from_number(i64::from(level.number())), Some(level));
        }
        assert_eq!(Level::from_number(6), None);
        assert_eq!(Level::from_number(-1), None);
    }

    #[test]
    fn aliases_match_the_contract() {
        for (alias, level) in
            [("warning", Level::Warn), ("Critical", Level::Fatal), ("ALERT", Level::Fatal), ("emergency", Level::Fatal)]
        {
            assert_eq!(Level::parse(alias), Ok(level), "{alias}");
        }
        for text in ["", "INF", "NOTICE", " INFO", "INFO "] {
            assert_eq!(Level::parse(text), Err(UnknownLevel), "{text:?}");
        }
    }
}
