//! Alerts as lines of the process's own log, with the target `alert`.
//!
//! Invariant: an alert is one line, whatever its texts contain.

use std::fmt;

use domain::alert::{Alert, AlertState, Severity};
use domain::ports::Alerter;

/// Logs alerts: critical firing ones as errors, all others as warnings.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAlerter;

impl Alerter for LogAlerter {
    fn alert(&self, alert: Alert) {
        let (name, state) = (alert.kind.name(), alert.state.name());
        let (severity, details) = (alert.kind.severity(), Details(&alert.details));
        // The level of a log statement is fixed at compile time.
        match (severity, alert.state) {
            (Severity::Critical, AlertState::Firing) => {
                tracing::error!(target: "alert", name, state, severity = severity.name(), %details, "{}", alert.summary());
            }
            (Severity::Warning, _) | (_, AlertState::Resolved) => {
                tracing::warn!(target: "alert", name, state, severity = severity.name(), %details, "{}", alert.summary());
            }
        }
    }
}

/// Details as `name="value"`, with line breaks escaped.
struct Details<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(alert: Alert) -> String {
        let lines = Lines::default();
        let kept = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::WARN)
            .finish();
        tracing::subscriber::with_default(subscriber, || LogAlerter.alert(alert));
        String::from_utf8(kept.0.lock().expect("lock").clone()).expect("text")
    }

    #[test]
    fn an_alert_is_one_line_with_all_details() {
        let alert = Alert::journal_unwritable(AlertState::Firing, "no space\nleft \"here\"");
        let expected = concat!(
            "ERROR alert: the journal cannot be written, so an outage of the bus would refuse events: check the disk under ",
            "DATA_DIR name=\"journal_unwritable\" state=\"firing\" severity=\"critical\" ",
            "details=runbook=\"docs/runbooks/journal_unwritable.md\" reason=\"no space\\nleft \\\"here\\\"\"\n",
        );
        assert_eq!(logged(alert), expected);
    }

    #[test]
    fn only_critical_firing_alerts_are_errors() {
        for (alert, level) in [
            (Alert::breaker_open(AlertState::Firing, "away"), " WARN alert: "),
            (Alert::breaker_open(AlertState::Resolved, "away"), " WARN alert: "),
            (Alert::journal_unwritable(AlertState::Firing, "full"), "ERROR alert: "),
            (Alert::journal_unwritable(AlertState::Resolved, "full"), " WARN alert: "),
        ] {
            let line = logged(alert);
            assert!(line.starts_with(level), "{line}");
        }
    }
}
