//! Whether Redis answers, as observed by its callers. Time is an argument.
//!
//! Constraints and invariants:
//! * Failures form one outage, however many calls fail and whatever else succeeds in the meantime: it ends when no call
//!   has failed for [`CALM`] and one has succeeded.
//! * A silent Redis delays callers for a limited time only; then most calls are skipped.

use std::time::Duration;

use tokio::time::Instant;

/// How long no call must have failed before an outage can end.
const CALM: Duration = Duration::from_secs(5);

/// The current outage, if there is one.
#[derive(Debug)]
pub struct Outage {
    silence_max: Duration,
    last: Option<(Instant, String)>,
    silent_since: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Outage {
    /// No outage so far. Once no call has been answered for `silence_max`, calls are paused for twice as long,
    /// repeatedly.
    pub fn new(silence_max: Duration) -> Self {
        Self { silence_max, last: None, silent_since: None, paused_until: None }
    }

    /// Whether calls are paused.
    pub fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// A call was not answered in time.
    pub fn timed_out(&mut self, now: Instant) {
        let since = *self.silent_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.silence_max {
            self.paused_until = Some(now + self.silence_max * 2);
        }
    }

    /// A call failed or was skipped. Returns whether this begins an outage.
    pub fn failed(&mut self, error: &dyn std::error::Error, now: Instant) -> bool {
        self.last.replace((now, error.to_string())).is_none()
    }

    /// A call succeeded. Returns whether this ends an outage.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        (self.silent_since, self.paused_until) = (None, None);
        self.last.take_if(|(failed, _)| now.saturating_duration_since(*failed) >= CALM).is_some()
    }

    /// The last error, unless it is too old to describe the current state of Redis.
    pub fn error(&self, now: Instant) -> Option<&str> {
        let recent = self.last.as_ref().filter(|(failed, _)| now.saturating_duration_since(*failed) < CALM);
        recent.map(|(_, error)| error.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE_MAX: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_reported_once_and_ends_when_nothing_has_failed_for_some_time() {
        let began = Instant::now();
        let error = |text: &str| std::io::Error::other(text.to_owned());
        let mut outage = Outage::new(SILENCE_MAX);
        assert!(!outage.succeeded(began));
        assert!(outage.failed(&error("first"), began));
        assert!(!outage.failed(&error("second"), began + CALM * 2));
        assert!(!outage.succeeded(began + CALM * 2), "only one kind of call succeeds");
        assert_eq!(outage.error(began + CALM * 2), Some("second"));
        assert_eq!(outage.error(began + CALM * 3), None, "no calls since");
        assert!(outage.succeeded(began + CALM * 3));
        assert!(!outage.succeeded(began + CALM * 3));
        assert!(outage.failed(&error("third"), began + CALM * 3));
    }

    #[test]
    fn calls_are_paused_after_a_silence_without_any_answer() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut outage = Outage::new(SILENCE_MAX);
        for millis in [0, 500, 999] {
            outage.timed_out(at(millis));
            assert!(!outage.is_paused(at(millis)), "{millis}");
        }
        outage.succeeded(at(999));
        outage.timed_out(at(1_000));
        assert!(!outage.is_paused(at(1_000)), "an answer came in between");
        for again in [2_000, 4_000] {
            outage.timed_out(at(again));
            assert!(outage.is_paused(at(again + 1_999)) && !outage.is_paused(at(again + 2_000)), "{again}");
        }
        outage.timed_out(at(6_000));
        outage.succeeded(at(6_001));
        assert!(!outage.is_paused(at(6_001)));
    }
}
