//! How long the client pauses between attempts, and when it gives up.
//!
//! No clock is read here: time passes in [`Waiting`].

use std::time::Duration;

/// First pause before another attempt; each further one is twice as long.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Maximum pause that the client chooses.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Why sending stopped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// A pause before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The pause that the server requests; otherwise it depends on the number of failed attempts.
    pub duration: Option<Duration>,
    /// The reason, for display.
    pub reason: String,
    /// Whether the server cannot be reached.
    pub away: bool,
}

/// How time passes: really, or simulated in tests.
pub trait Waiting {
    /// Time since an arbitrary moment; monotonic.
    fn now(&self) -> Duration;
    /// Waits for `duration`, and may display the reason.
    fn wait(&mut self, duration: Duration, pause: &Pause) -> impl Future<Output = ()>;
}

/// How long to continue without any settled event, and how long to pause in between.
pub(super) struct Patience {
    /// `None` means without limit.
    give_up_after: Option<Duration>,
    /// When the last event was settled.
    since: Duration,
    backoff: Duration,
}

impl Patience {
    pub(super) fn new(give_up_after: Option<Duration>, now: Duration) -> Self {
        Self { give_up_after, since: now, backoff: BACKOFF_MIN }
    }

    pub(super) fn renew(&mut self, now: Duration) {
        *self = Self::new(self.give_up_after, now);
    }

    /// Pauses, but not beyond the time to give up: then one last attempt is made.
    pub(super) async fn pause(&mut self, pause: Pause, waiting: &mut impl Waiting) -> Result<(), Stopped> {
        let mut duration = pause.duration.unwrap_or(self.backoff);
        if let Some(give_up_after) = self.give_up_after {
            let left = give_up_after.saturating_sub(waiting.now().saturating_sub(self.since));
            if left.is_zero() {
                let seconds = give_up_after.as_secs_f64();
                let advice = if pause.away { "; start it, or name another one with --url" } else { "" };
                return Err(Stopped(format!("no progress for {seconds} s: {}{advice}", pause.reason)));
            }
            duration = duration.min(left);
        }
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        waiting.wait(duration, &pause).await;
        Ok(())
    }
}
