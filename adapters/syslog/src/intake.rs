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

    /// Takes in messages of a client, all or none.
    ///
    /// # Errors
    /// There is no room for all of them now.
    pub async fn take<'m>(
        &self,
        client: Client,
        messages: impl Iterator<Item = &'m [u8]> + Send,
    ) -> Result<(), RefusalReason> {
        let mut intake = self.ingest.agent_intake(PROTOCOL, None);
        let mut bytes = 0;
        for message in messages {
            bytes += message.len();
            match add(message, &mut intake) {
                Ok(()) => {}
                Err(AgentStop::NoRoom(reason)) => return Err(reason),
                // A read is too short for that.
                Err(AgentStop::TooLarge) => break,
            }
        }
        let messages = intake.entries();
        match intake.deliver(PROMISE_TIMEOUT).await {
            // The messages are on their way: taken in again, they would be there twice.
            Ok(_) | Err(RefusalReason::OutcomeUnknown) => {
                self.limiter.charge(client, messages, bytes);
                Ok(())
            }
            Err(reason) => Err(reason),
        }
    }
}

fn add(message: &[u8], intake: &mut AgentIntake<'_>) -> Result<(), AgentStop> {
    let text = text_of(message);
    let entry = entry(&text, intake.received_at());
    intake.add(entry, None).map(drop)
}
