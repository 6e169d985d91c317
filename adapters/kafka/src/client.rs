//! State and errors reported by a librdkafka client.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use domain::ports::BusState;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::lock::lock;

/// Minimum interval between log messages about changed faults.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Duration of one poll of a producer for delivery reports.
///
/// `BaseProducer::poll` waits for whole milliseconds, rounded down, until the duration has passed. Of exactly 20 ms a
/// little has passed before the first wait, which is then one of 19 ms; the last millisecond is a loop of waits of 0 ms,
/// which uses a processor: 5 % of it in an idle process. The additional 20 µs make the first wait one of 20 ms.
pub const REPORTS_POLL: Duration = Duration::from_micros(20_020);

/// The last error reported by a client, to explain why it does not work.
///
/// A wrong password or certificate causes further errors, and the same error appears in longer and shorter forms: the one
/// that explains most is kept until the client works again.
#[derive(Debug, Default)]
pub struct ClientErrorLog {
    best: Mutex<Option<Explanation>>,
}

#[derive(Debug)]
struct Explanation {
    /// Whether it says why the client is denied access.
    decisive: bool,
    code: Option<RDKafkaErrorCode>,
    text: String,
}

impl ClientErrorLog {
    /// Records an error of the client.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client reports an error");
        // "All brokers are down" only follows an error for each broker, and explains less.
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

    /// What is wrong, for the operator.
    pub fn explain(&self, otherwise: &str) -> String {
        self.best().as_ref().map_or(otherwise, |best| &best.text).to_owned()
    }

    /// The client works again.
    pub fn clear(&self) {
        self.best().take();
    }

    fn best(&self) -> MutexGuard<'_, Option<Explanation>> {
        lock(&self.best)
    }
}

/// The message without durations that make the same error look new each time.
fn plain(reason: &str) -> String {
    let end = [" (after ", " (in state "].iter().filter_map(|mark| reason.find(mark)).min().unwrap_or(reason.len());
    reason.get(..end).unwrap_or(reason).to_owned()
}

/// Whether Kafka can be reached, as last determined.
#[derive(Debug)]
pub struct Reachability {
    found: Mutex<Found>,
}

#[derive(Debug)]
struct Found {
    state: BusState,
    /// When a fault was last logged.
    told: Option<Instant>,
}

impl Reachability {
    /// Not checked yet.
    pub fn unknown() -> Self {
        let state = BusState::Down("Kafka has not answered yet".to_owned());
        Self { found: Mutex::new(Found { state, told: None }) }
    }

    /// The last known state.
    pub fn state(&self) -> BusState {
        self.found().state.clone()
    }

    /// Records the current state, and logs changes.
    pub fn find(&self, state: BusState) {
        let mut found = self.found();
        match &state {
            BusState::Up if found.state != BusState::Up => tracing::info!("Kafka responds"),
            BusState::Down(reason) if found.state != state => {
                // Brokers that fail in turn would flood the log.
                let lately = found.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL);
                if found.state == BusState::Up || !lately {
                    tracing::warn!(reason, "cannot reach Kafka; retrying");
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

/// Logs a line of the client's own log.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    // Errors are reported separately; for more detail, operators raise the log level of this crate.
    tracing::debug!(?level, facility, line, "librdkafka");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_explains_most_is_kept_and_repeats_compare_equal() {
        let error_log = ClientErrorLog::default();
        assert_eq!(error_log.explain("no answer"), "no answer");
        let error = KafkaError::Global(RDKafkaErrorCode::Authentication);
        error_log.note(
            &error,
            "sasl_ssl://b:1/1: SASL authentication error: wrong (after 12ms in state AUTH_REQ, 3 identical)",
        );
        error_log.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(error_log.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        let transport = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        error_log
            .note(&transport, "sasl_ssl://b:1/1: Disconnected while requesting a version, after all that was said");
        assert_eq!(error_log.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        error_log.note(&KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong");
        assert_eq!(error_log.explain("no answer"), "sasl_ssl://b:1/1: SASL authentication error: wrong");
        error_log.clear();
        assert_eq!(error_log.explain("no answer"), "no answer");
        error_log.note(&transport, "refused");
        assert_eq!(error_log.explain("no answer"), "refused");
    }
}
