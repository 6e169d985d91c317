//! The process's own log, to standard error: one line an event, fields behind the message.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The filter is none.
#[derive(Debug, thiserror::Error)]
#[error("not a log filter, such as \"info\" or \"info,adapter_http=debug\": {0}")]
pub struct InvalidFilter(#[from] tracing_subscriber::filter::ParseError);

/// Starts logging what passes `filter`. Only the first call in a process has an effect.
///
/// # Errors
/// The filter cannot be parsed.
pub fn init_logs(filter: &str) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(filter)?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    // Fails only if something in this process logs already.
    drop(started);
    Ok(())
}
