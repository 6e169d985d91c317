//! Finds the level in a line.
//!
//! * A word in capitals is a level wherever a logger would write one. In lower or mixed case it is one only where
//!   nothing but a level is written: in brackets, after `level=`, at the very start before a colon, and directly after
//!   the time. Running text has no level: `an error, not a warning`.
//! * The first level counts.

use domain::level::Level;
use regex::Regex;

/// The patterns of levels.
#[derive(Debug)]
pub struct Levels {
    glog: Regex,
    start: Regex,
    behind_time: Regex,
    anywhere: Regex,
}

impl Levels {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// Never in practice: the patterns are constants.
    pub fn new() -> Result<Self, regex::Error> {
        // klog and glog: I0115 10:30:00, I20240115 10:30:00
        let glog = r"^([IWEF])(?:[0-9]{4}|[0-9]{8}) +[0-9]{2}:[0-9]{2}:[0-9]{2}[. ]";
        // Compilers and shells: error: x. Android: W/Tag: x, W/Tag( 123): x, but not I/O: x
        let start = r"^(?:([A-Za-z]{3,}):|([VDIWEFA])/[0-9A-Za-z_.$-]{2,} *(?:\( *[0-9]+\))?:)";
        let behind_time = r"^(?:[ \t|\]\[(:-]|\x1b\[[0-9;]*m)+([A-Za-z]{3,})(?:$|[ \t\[\])>|:,;\x1b])";
        let anywhere = [
            // logfmt, and JSON after other text: level=warn, "level":"warn"
            r#"(?:^|[^0-9A-Za-z_])(?:(?i-u:level|lvl|severity|loglevel|levelname)=|"(?i-u:level|severity)" ?: ?)"?([A-Za-z]+)"#,
            // nginx, Apache: [error], [core:error]
            r"\[ *(?:[0-9A-Za-z_]*:)?([A-Za-z]{2,}) *\]",
            // A single letter: [E], but not Option[E]
            r"(?-u:\b{start-half})\[([EWIDF])\]",
            // log4j, logback, Python: ERROR, but not /ERROR, ERRORS or error
            r#"(?:^|[ \t\[(<|:"'=-]|\x1b\[[0-9;]*m)([A-Z]{3,11})(?:$|[ \t\[\])>|:,;"'/\x1b-])"#,
        ]
        .join("|");
        let [glog, start] = [Regex::new(glog)?, Regex::new(start)?];
        Ok(Self { glog, start, behind_time: Regex::new(behind_time)?, anywhere: Regex::new(&anywhere)? })
    }

    /// The level in `text`, in which a time ends at `time_end`.
    #[must_use]
    pub fn find(&self, text: &str, time_end: Option<usize>) -> Option<Level> {
        let at_start =
            || self.glog.captures(text).or_else(|| self.start.captures(text)).and_then(|found| first(&found));
        level_of_priority(text).or_else(|| at_start().map(|(_, level)| level)).or_else(|| {
            let behind_time = time_end.and_then(|end| {
                let (start, level) = first(&self.behind_time.captures(text.get(end..)?)?)?;
                Some((end + start, level))
            });
            let anywhere = self.anywhere.captures_iter(text).find_map(|found| first(&found));
            behind_time.into_iter().chain(anywhere).min_by_key(|(start, _)| *start).map(|(_, level)| level)
        })
    }
}

/// The word that a pattern found and its position, if it is a level.
fn first(found: &regex::Captures<'_>) -> Option<(usize, Level)> {
    let word = found.iter().skip(1).flatten().next()?;
    Some((word.start(), level_named(word.as_str())?))
}

/// The level of this name or letter, in either case.
#[must_use]
pub fn level_named(word: &str) -> Option<Level> {
    Level::parse(word).ok().or_else(|| match word.to_ascii_uppercase().as_str() {
        "VERBOSE" | "V" => Some(Level::Trace),
        "D" => Some(Level::Debug),
        "NOTICE" | "INFORMATION" | "I" => Some(Level::Info),
        "W" => Some(Level::Warn),
        "ERR" | "SEVERE" | "E" => Some(Level::Error),
        "CRIT" | "EMERG" | "PANIC" | "DPANIC" | "F" | "A" => Some(Level::Fatal),
        _ => None,
    })
}

/// The severity in the priority that begins a syslog line (RFC 5424, section 6.2.1): `<34>`.
fn level_of_priority(text: &str) -> Option<Level> {
    let (number, _) = text.strip_prefix('<')?.split_once('>')?;
    let priority = number.parse::<u8>().ok().filter(|priority| *priority <= 191)?;
    Some(match priority % 8 {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_names_are_those_of_common_loggers_in_any_case() {
        for (names, level) in [
            ("trace verbose", Level::Trace),
            ("debug", Level::Debug),
            ("info notice information", Level::Info),
            ("warn warning", Level::Warn),
            ("error err severe", Level::Error),
            ("fatal critical crit alert emergency emerg panic dpanic", Level::Fatal),
        ] {
            for name in names.split(' ') {
                for word in [name.to_owned(), name.to_uppercase()] {
                    assert_eq!(level_named(&word), Some(level), "{word}");
                    assert_eq!(Levels::new().unwrap().find(&format!("{word}: x"), None), Some(level), "{word}");
                }
            }
        }
        assert_eq!(level_named("note"), None);
    }

    #[test]
    fn the_first_level_counts_wherever_the_time_stands() {
        let levels = Levels::new().unwrap();
        assert_eq!(levels.find("ERROR 10:30:00 info x", Some(14)), Some(Level::Error));
        assert_eq!(levels.find("10:30:00 info the ERROR is gone", Some(8)), Some(Level::Info));
        assert_eq!(levels.find("10:30:00 host info: x", Some(8)), None);
    }
}
