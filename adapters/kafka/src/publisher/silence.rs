//! When a client that gets no answers is replaced.
//!
//! librdkafka forgets its brokers when an answer lists none of them, as that of a lone broker does which the controller has just
//! fenced, and may then never connect again, though Kafka is back. A new client begins with the configured addresses.
//!
//! Constraints and invariants:
//! * The first client of an outage is replaced after [`REPLACE_AFTER`]; each further one lives twice as long, up to
//!   [`REPLACE_AFTER_MAX`].
//! * A client with records in flight is kept for at least [`KEEP_IN_FLIGHT`]: what it has sent without a report, its successor sends
//!   again.

use std::time::{Duration, Instant};

/// How long the first client of an outage is waited for.
const REPLACE_AFTER: Duration = Duration::from_secs(30);
/// How long the later ones are waited for, at most.
const REPLACE_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long a client with records in flight is waited for, at least: the time that the client of Apache Kafka gives a delivery.
const KEEP_IN_FLIGHT: Duration = Duration::from_secs(120);

/// How long Kafka has not answered a client.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    replace_after: Duration,
}

impl Silence {
    /// Begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, replace_after: REPLACE_AFTER }
    }

    /// Kafka has answered.
    pub(super) fn end(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Kafka has not answered. Returns how long for, if the client is to be replaced.
    pub(super) fn go_on(&mut self, now: Instant, has_in_flight: bool) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.since);
        let enough = if has_in_flight { self.replace_after.max(KEEP_IN_FLIGHT) } else { self.replace_after };
        if silent < enough {
            return None;
        }
        self.since = now;
        self.replace_after = (self.replace_after * 2).min(REPLACE_AFTER_MAX);
        Some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds, of the first half hour, at which clients are replaced.
    fn replaced(has_in_flight: bool, answers_at: Option<u64>) -> Vec<u64> {
        let began = Instant::now();
        let mut silence = Silence::new(began);
        let mut replaced = Vec::new();
        for second in 0..1_800 {
            let now = began + Duration::from_secs(second);
            if answers_at == Some(second) {
                silence.end(now);
            } else if silence.go_on(now, has_in_flight).is_some() {
                replaced.push(second);
            }
        }
        replaced
    }

    #[test]
    fn clients_without_answers_are_replaced_ever_less_often() {
        assert_eq!(replaced(false, None), [30, 90, 210, 450, 750, 1_050, 1_350, 1_650]);
        assert_eq!(replaced(false, Some(29)).first(), Some(&59), "an answer begins anew");
        assert_eq!(replaced(false, Some(100)).get(..4), Some(&[30, 90, 130, 190][..]));
    }

    #[test]
    fn a_client_with_records_in_flight_is_kept_longer() {
        assert_eq!(replaced(true, None).get(..4), Some(&[120, 240, 360, 600][..]));
    }
}
