//! The progress shown on a terminal while events are sent.
//!
//! * All output goes to standard error. If that is not a terminal, only three things are reported: that a server is
//!   unavailable, once, that it is available again, and which file cannot be read.
//! * Pauses of the client happen here, so that they can be shown.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::patience::{Pause, Waiting};
use super::summary::{grouped, rate};

/// How often the terminal is redrawn while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// The progress of one run.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// Whether the unavailable server was reported.
    away_reported: bool,
}

impl Progress {
    /// A bar over this many bytes, or a spinner if the number is unknown.
    #[must_use]
    pub fn new(bytes_total: Option<u64>) -> Self {
        let (template, plain) = match bytes_total {
            Some(_) => ("{prefix} [{bar:30}] {percent:>3}%  ETA {eta}  {msg}", ProgressStyle::default_bar()),
            None => ("{spinner} {prefix}  {msg}", ProgressStyle::default_spinner()),
        };
        let bar = ProgressBar::with_draw_target(bytes_total, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(template).unwrap_or(plain));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, started: Instant::now(), away_reported: false }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Another input begins.
    pub fn begin(&self, name: &str) {
        self.bar.set_prefix(name.to_owned());
    }

    /// This many events were settled, and this many bytes read.
    pub fn advance(&mut self, events: u64, bytes: u64) {
        if std::mem::take(&mut self.away_reported) {
            self.report("connected again");
        }
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{} events, {}", grouped(events), rate(events, self.elapsed())));
    }

    /// Prints a message that stays on the terminal.
    pub fn report(&self, message: &str) {
        // A failure to write to standard error cannot be reported.
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "spillway: {message}");
        });
    }

    /// Removes the bar from the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Waiting for Progress {
    fn now(&self) -> Duration {
        self.elapsed()
    }

    async fn wait(&mut self, duration: Duration, pause: &Pause) {
        let message = if pause.away {
            format!("{}; retrying", pause.reason)
        } else {
            format!("waiting {} s: {}", duration.as_secs_f64(), pause.reason)
        };
        if self.bar.is_hidden() && pause.away && !self.away_reported {
            self.report(&message);
            self.away_reported = true;
        }
        self.bar.set_message(message);
        tokio::time::sleep(duration).await;
    }
}
