//! From messages to the delivery: what TCP and UDP have in common.

use std::net::IpAddr;
use std::sync::Arc;

use application::ingest::{AgentIntake, AgentStop, Ingest, PROMISE_TIMEOUT, RefusalReason, text_of};
use domain::ports::{AgentLimiter, Client, RequestClass, Telemetry};

use crate::allowed::AllowedSenders;
use crate::message::entry;

const PROTOCOL: &str = "syslog";
/// Why messages of a client over its limit are refused, in metrics.
const OVER_LIMIT: &str = "rate_limited";

/// Takes messages in.
#[derive(Clone)]
pub struct Intake {
    ingest: Arc<Ingest>,
    limiter: Arc<dyn AgentLimiter>,
    telemetry: Arc<dyn Telemetry>,
    allowed: AllowedSenders,
}

impl Intake {
    pub fn new(
        ingest: Arc<Ingest>,
        limiter: Arc<dyn AgentLimiter>,
        telemetry: Arc<dyn Telemetry>,
        allowed: AllowedSenders,
    ) -> Self {
        Self { ingest, limiter, telemetry, allowed }
    }

    /// Whether a sender is heard.
    pub fn allows(&self, sender: IpAddr) -> bool {
        self.allowed.allows(sender)
    }

    /// Whether a client may send now.
    pub fn may_send(&self, client: Client) -> bool {
        self.limiter.wait(client).is_none()
    }

    /// Counts messages that were dropped because their client sends too much.
    pub fn dropped_over_limit(&self, messages: usize) {
        self.telemetry.rate_limited(RequestClass::Agent);
        self.telemetry.refused(OVER_LIMIT, messages);
    }

    /// Counts messages that were dropped for this reason.
    pub fn dropped(&self, reason: &RefusalReason, messages: usize) {
        self.telemetry.refused(reason.code(), messages);
    }

    /// Takes in messages of a client.
    ///
    /// # Errors
    /// [`NotTaken`]: some of them do not fit now. All others are on their way.
    pub async fn take<'m>(
        &self,
        client: Client,
        messages: impl Iterator<Item = &'m [u8]> + Clone + Send,
    ) -> Result<(), NotTaken> {
        let mut intake = self.ingest.agent_intake(PROTOCOL, None);
        for message in messages.clone() {
            match add(message, &mut intake) {
                Ok(()) => {}
                Err(AgentStop::NoRoom(reason)) => {
                    return Err(NotTaken { reason, places: (0..messages.count()).collect() });
                }
                // A read is too short for that.
                Err(AgentStop::TooLarge) => break,
            }
        }
        let refusals = intake.deliver_each(PROMISE_TIMEOUT).await.refusals;
        // Messages with an unknown outcome are on their way: taken in again, they would be there twice.
        let left = refusals
            .into_iter()
            .filter(|refusal| refusal.reason.is_retryable() && refusal.reason != RefusalReason::OutcomeUnknown);
        let (mut reason, mut places) = (None, Vec::new());
        for refusal in left {
            reason.get_or_insert(refusal.reason);
            places.push(refusal.index);
        }
        let mut left = places.iter().peekable();
        let taken = messages.enumerate().filter(|(place, _)| left.next_if_eq(&place).is_none());
        let (count, bytes) = taken.fold((0, 0), |(count, bytes), (_, message)| (count + 1, bytes + message.len()));
        if count > 0 {
            self.limiter.charge(client, count, bytes);
        }
        reason.map_or(Ok(()), |reason| Err(NotTaken { reason, places }))
    }
}

/// Messages that do not fit now.
#[derive(Debug)]
pub struct NotTaken {
    /// Why the first of them was not taken.
    pub reason: RefusalReason,
    /// Their places among the messages, ascending.
    pub places: Vec<usize>,
}

fn add(message: &[u8], intake: &mut AgentIntake<'_>) -> Result<(), AgentStop> {
    let text = text_of(message);
    let entry = entry(&text, intake.received_at());
    intake.add(entry, None).map(drop)
}
