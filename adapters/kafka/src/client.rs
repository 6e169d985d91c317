//! What a client of librdkafka tells about itself.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use domain::ports::BusState;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::lock;

/// How often the log is told that something else is wrong.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What a client complained about, to explain why it does not work.
///
/// A wrong password or certificate brings other complaints along, and the same thing is said at greater and lesser length:
/// the one that explains most is kept until the client works again.
#[derive(Debug, Default)]
pub struct Complaint {
    best: Mutex<Option<Explanation>>,
}

#[derive(Debug)]
struct Explanation {
    /// Whether it says why we are not let in.
    decisive: bool,
    code: Option<RDKafkaErrorCode>,
    text: String,
}

impl Complaint {
    /// Notes an error of the client.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client complains");
        // That all brokers are down is what remains to be said when each was complained about.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let code = error.rdkafka_error_code();
        let decisive = matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL));
        let new = Explanation { decisive, code, text: plain(reason) };
        let mut best = self.best();
        let better = match &*best {
            Some(old) if old.decisive != new.decisive => new.decisive,
            Some(old) if old.code == new.code => new.text.len() >= old.text.len(),
            Some(_) | None => true,
        };
        if better {
            *best = Some(new);
        }
    }

    /// What is wrong, for a person.
    pub fn explain(&self, otherwise: &str) -> String {
        self.best().as_ref().map_or(otherwise, |best| &best.text).to_owned()
    }

    /// Nothing is wrong any more.
    pub fn clear(&self) {
        self.best().take();
    }

    fn best(&self) -> MutexGuard<'_, Option<Explanation>> {
        lock(&self.best)
    }
}

/// Without the times that make the same complaint look new each time.
fn plain(reason: &str) -> String {
    let end = [" (after ", " (in state "].iter().filter_map(|mark| reason.find(mark)).min().unwrap_or(reason.len());
    reason.get(..end).unwrap_or(reason).to_owned()
}

/// Whether Kafka can be reached, as it was found last.
#[derive(Debug)]
pub struct Reachability {
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    state: BusState,
    /// When the log was last told of trouble.
    told: Option<Instant>,
}

impl Reachability {
    /// Not looked at yet.
    pub fn unknown() -> Self {
        let state = BusState::Down("Kafka has not answered yet".to_owned());
        Self { found: Mutex::new(Found { state, told: None }) }
    }

    /// How it was found last.
    pub fn state(&self) -> BusState {
        self.found().state.clone()
    }

    /// Notes how it is found now, and tells the log when that changes.
    pub fn find(&self, state: BusState) {
        let mut found = self.found();
        match &state {
            BusState::Up if found.state != BusState::Up => tracing::info!("Kafka answers"),
            BusState::Down(reason) if found.state != state => {
                // Brokers that fail in turn would fill the log.
                let lately = found.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL);
                if found.state == BusState::Up || !lately {
                    tracing::warn!(reason, "Kafka cannot be reached, trying again");
                    found.told = Some(Instant::now());
                }
            }
            BusState::Up | BusState::Down(_) => {}
        }
        found.state = state;
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }
}

/// A line of the client's own log.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    // Its errors come as errors, too; whoever looks for more sets the level of this crate.
    tracing::debug!(?level, facility, line, "librdkafka");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_that_explains_most_is_kept_and_the_same_one_looks_the_same() {
        let complaint = Complaint::default();
        assert_eq!(complaint.explain("no answer"), "no answer");
        let error = KafkaError::Global(RDKafkaErrorCode::Authentication);
        complaint.note(
            &error,
            "sasl_ssl://b:1/1: SASL authentication error: wrong (after 12ms in state AUTH_REQ, 3 identical)",
        );
        complaint.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(complaint.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        let transport = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        complaint
            .note(&transport, "sasl_ssl://b:1/1: Disconnected while requesting a version, after all that was said");
        assert_eq!(complaint.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        complaint.note(&KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong");
        assert_eq!(complaint.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        complaint.clear();
        assert_eq!(complaint.explain("no answer"), "no answer");
        complaint.note(&transport, "refused");
        assert_eq!(complaint.explain("no answer"), "refused");
    }
}
