//! The process's own log, to standard error: one event per line.
//!
//! Invariant: whatever the filter is, the lines of the audit are written. A client that may change the filter cannot hide what
//! it does.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The filter is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log filter such as \"info\" or \"info,adapter_http=debug\"")]
pub struct InvalidFilter(String);

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, module, message, fields.
    Text,
    /// For programs: a JSON object.
    Json,
}

/// Lets the audit pass. Of two directives for one target, the last one counts.
const AUDIT: &str = "audit=info";

/// The filter of this process, once it logs.
static FILTER: OnceLock<Mutex<Filter>> = OnceLock::new();

struct Filter {
    text: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging everything that passes `filter`, and the audit. Only the first call in a process has an effect.
///
/// # Errors
/// The filter cannot be parsed.
pub fn init_logs(filter: &str, format: LogFormat) -> Result<(), InvalidFilter> {
    let (parsed, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails only if a logger is already installed.
    if tracing_subscriber::registry().with(parsed).with(lines).try_init().is_ok() {
        FILTER.get_or_init(|| Mutex::new(Filter { text: filter.to_owned(), handle }));
    }
    Ok(())
}

/// The current filter; empty if this process does not log.
#[must_use]
pub fn log_filter() -> String {
    current().map(|filter| filter.text.clone()).unwrap_or_default()
}

/// Replaces the filter. The audit passes nevertheless.
///
/// # Errors
/// The filter cannot be parsed.
pub fn set_log_filter(filter: &str) -> Result<(), InvalidFilter> {
    let parsed = parse(filter)?;
    if let Some(mut current) = current() {
        // Fails only if the logger no longer exists.
        if current.handle.reload(parsed).is_ok() {
            filter.clone_into(&mut current.text);
        }
    }
    Ok(())
}

fn current() -> Option<MutexGuard<'static, Filter>> {
    FILTER.get().map(|filter| filter.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A word without a module is a level here. The library would take any other word for a module name, and then log
/// nothing else.
fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let understood = |directive: &str| directive.contains('=') || directive.trim().parse::<LevelFilter>().is_ok();
    let invalid = || InvalidFilter(filter.to_owned());
    if !filter.split(',').all(understood) {
        return Err(invalid());
    }
    EnvFilter::try_new(format!("{filter},{AUDIT}")).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    /// What is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_audit_is_written_whatever_the_filter_is() {
        for (filter, others) in [
            ("info", true),
            ("off", false),
            ("error", false),
            ("info,audit=off", true),
            ("audit=off", false),
            ("audit=error,adapter_telemetry=info", true),
        ] {
            let lines = Lines::default();
            let writer = lines.clone();
            let layer = fmt::layer().with_writer(move || writer.clone());
            let subscriber = tracing_subscriber::registry().with(parse(filter).expect("a filter")).with(layer);
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "audit", "kept out");
                tracing::info!(target: "audit", "let in");
                tracing::info!("another line");
            });
            let text = String::from_utf8(lines.0.lock().expect("lock").clone()).expect("text");
            assert!(text.contains("kept out") && text.contains("let in"), "{filter}: {text}");
            assert_eq!(text.contains("another line"), others, "{filter}: {text}");
        }
    }

    #[test]
    fn a_word_that_is_not_a_level_is_not_a_filter() {
        for filter in ["info", "WARN", "off", "warn,bootstrap=info", "info,adapter_http=debug"] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
        for filter in ["loud", "info,loud", "a=loud"] {
            assert_eq!(parse(filter).map(drop), Err(InvalidFilter(filter.to_owned())), "{filter}");
        }
    }
}
