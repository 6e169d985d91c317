//! The options that all commands of this module share.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::failure::Failure;
use crate::credentials::Credentials;
use crate::secret_argument::secret_argument;
use crate::send::{Target, duration};

/// When text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always, for example for `less -R`
    Always,
    /// Never
    Never,
}

/// Where the server is, and what is shown beside the data.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Base URL of the Spillway, also with user:password@ [env: SPILLWAY_CLIENT__URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = secret_argument::<Target>(), help_heading = "Common options")]
    url: Option<Target>,
    #[command(flatten)]
    pub credentials: Credentials,
    /// How long to wait for one answer
    #[arg(long, value_name = "DURATION", default_value = "40s", value_parser = parse_timeout, help_heading = "Common options")]
    pub timeout: Duration,
    /// Print the data and errors only
    #[arg(short, long, help_heading = "Common options")]
    pub quiet: bool,
    /// When to use colours; `auto` honours NO_COLOR
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", help_heading = "Common options")]
    pub color: Color,
    /// Do not page the output on a terminal through $PAGER, or `less -FRX`
    #[arg(long, help_heading = "Common options")]
    pub no_pager: bool,
}

impl Connection {
    /// The server of the option, the environment or the default.
    ///
    /// # Errors
    /// The variable is not a base URL.
    pub fn target(&self) -> Result<Target, Failure> {
        Target::or_default(self.url.as_ref()).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Whether text has colours on this standard output.
    #[must_use]
    pub fn has_color(&self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let plain = set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        match self.color {
            Color::Auto => std::io::stdout().is_terminal() && !plain,
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// Parses a duration that is not zero, such as `40s` or `1m 30s`. A number alone counts seconds.
///
/// # Errors
/// Any other text.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        Some(_) => Err("must be longer than 0".to_owned()),
        None => Err("not a duration: write 500ms, 40s or 2m; a number alone counts seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_or_count_seconds_and_are_not_zero() {
        assert_eq!(parse_timeout("40s"), Ok(Duration::from_secs(40)));
        assert_eq!(parse_timeout("40"), Ok(Duration::from_secs(40)));
        for text in ["0s", "0", "", "soon"] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
    }
}
