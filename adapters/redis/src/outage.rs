//! Whether Redis answers, as far as its callers have seen. Time is an argument.
//!
//! Invariant: an outage is one, however many calls fail in it and whatever else succeeds meanwhile: it is over when no call
//! has failed for [`CALM`] and one has succeeded.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing must have failed.
const CALM: Duration = Duration::from_secs(5);

/// The outage that is going on, if there is one.
#[derive(Debug, Default)]
pub struct Outage {
    last: Option<(Instant, String)>,
}

impl Outage {
    /// A call failed. Returns whether that is news.
    pub fn failed(&mut self, error: &dyn std::error::Error, now: Instant) -> bool {
        self.last.replace((now, error.to_string())).is_none()
    }

    /// A call succeeded. Returns whether that ends an outage.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        self.last.take_if(|(failed, _)| now.saturating_duration_since(*failed) >= CALM).is_some()
    }

    /// What went wrong last, unless it was too long ago to tell how Redis is now.
    pub fn error(&self, now: Instant) -> Option<&str> {
        let recent = self.last.as_ref().filter(|(failed, _)| now.saturating_duration_since(*failed) < CALM);
        recent.map(|(_, error)| error.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_news_once_and_ends_when_nothing_has_failed_for_a_while() {
        let began = Instant::now();
        let error = |text: &str| std::io::Error::other(text.to_owned());
        let mut outage = Outage::default();
        assert!(!outage.succeeded(began));
        assert!(outage.failed(&error("first"), began));
        assert!(!outage.failed(&error("second"), began + CALM * 2));
        assert!(!outage.succeeded(began + CALM * 2), "one of many kinds of calls succeeds");
        assert_eq!(outage.error(began + CALM * 2), Some("second"));
        assert_eq!(outage.error(began + CALM * 3), None, "nobody has asked since");
        assert!(outage.succeeded(began + CALM * 3));
        assert!(!outage.succeeded(began + CALM * 3));
        assert!(outage.failed(&error("third"), began + CALM * 3));
    }
}
