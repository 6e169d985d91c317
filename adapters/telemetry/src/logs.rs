//! The process's own log, to standard error: one line an event, fields behind the message.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The filter is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log filter, such as \"info\" or \"info,adapter_http=debug\"")]
pub struct InvalidFilter(String);

/// Starts logging what passes `filter`. Only the first call in a process has an effect.
///
/// # Errors
/// The filter cannot be parsed.
pub fn init_logs(filter: &str) -> Result<(), InvalidFilter> {
    let filter = parse(filter)?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    // Fails only if something in this process logs already.
    drop(started);
    Ok(())
}

/// A word alone is a level here. The library takes any other for the name of a module, and then logs nothing else.
fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let understood = |directive: &str| directive.contains('=') || directive.trim().parse::<LevelFilter>().is_ok();
    let invalid = || InvalidFilter(filter.to_owned());
    if !filter.split(',').all(understood) {
        return Err(invalid());
    }
    EnvFilter::try_new(filter).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for filter in ["info", "WARN", "off", "warn,bootstrap=info", "info,adapter_http=debug"] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        for filter in ["loud", "info,loud", "a=loud"] {
            assert_eq!(parse(filter).map(drop), Err(InvalidFilter(filter.to_owned())), "{filter}");
        }
    }
}
