//! The entries of a request of an agent, from what it says to a promise for all of them.
//!
//! Constraints and invariants:
//! * An agent takes an answer for the whole request, so nothing is promised unless all of it is. The first entry
//!   without room ends the intake, before anything is published.
//! * A request is bounded by the bytes of its records, not by a number of events: agents choose the size of their
//!   batches.

use std::time::Duration;

use domain::Uuid;
use domain::access::Tenant;
use domain::delivery::Guarantee;
use domain::event::{EventError, IdOrigin};
use domain::record::RECORD_BYTES_MAX;
use domain::resend_id::{ResendIds, Stream};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use tokio::time::Instant;

use super::{Intake, count_codes};
use crate::ingest::decoding::DecodingRoom;
use crate::ingest::entry::{AgentEntry, shortened, source};
use crate::ingest::outcome::{Accepted, Outcome, Refusal, RefusalReason};
use crate::ingest::{Ingest, Publish};

/// Maximum bytes of the records of one request, and of what its answer says about each: three times the largest body.
pub const AGENT_RECORD_BYTES_MAX: usize = 48 * 1024 * 1024;
/// What an entry counts at least, for its place in the lists of a request; and a group of entries, for the work.
const ENTRY_BYTES_MIN: usize = 256;

/// Why no further entry of a request is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentStop {
    /// The records of the request would be too large.
    #[error(
        "the events of a request have at most {AGENT_RECORD_BYTES_MAX} bytes as records; nothing was accepted, \
         send smaller batches"
    )]
    TooLarge,
    /// There is no room for the entry.
    #[error(transparent)]
    NoRoom(RefusalReason),
}

/// What tells an entry from all others, for an id that is the same when it is sent again.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Where it comes from.
    pub stream: &'a Stream,
    /// Its own time, in nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
}

/// The entries of one request of an agent.
pub struct AgentIntake<'a> {
    intake: Intake<'a>,
    protocol: &'static str,
    resend_ids: ResendIds,
    /// The weakest guarantee of any entry.
    guarantee: Guarantee,
    bytes: usize,
    room: DecodingRoom<'a>,
    as_text: usize,
}

impl Ingest {
    /// Begins the intake of a request of an agent that was just received, by the protocol of this name.
    #[must_use]
    pub fn agent_intake(&self, protocol: &'static str, trace_parent: Option<TraceParent>) -> AgentIntake<'_> {
        AgentIntake {
            intake: self.intake(None, trace_parent),
            protocol,
            resend_ids: ResendIds::default(),
            guarantee: Guarantee::AtMostOnce,
            bytes: 0,
            room: DecodingRoom::new(&self.decoding_bytes),
            as_text: 0,
        }
    }
}

impl AgentIntake<'_> {
    /// The same for a request of this tenant, if there is one: see [`Intake::of_tenant`]. Entries of other sources are left
    /// out, and the others accepted: they would not be accepted later either. The answer says so ([`Outcome::left_out`]).
    #[must_use]
    pub fn of_tenant(self, tenant: Option<Tenant>) -> Self {
        Self { intake: self.intake.of_tenant(tenant), ..self }
    }

    /// When the request was received.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.intake.received_at
    }

    /// Entries so far.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.intake.events
    }

    /// From now on no entry is accepted with a weaker guarantee.
    pub fn require(&mut self, guarantee: Guarantee) {
        self.guarantee = guarantee;
    }

    /// Forgets all entries so far: the body is read again from its beginning. What was required stays so.
    pub fn restart(&mut self) {
        self.intake.restart();
        self.resend_ids = ResendIds::default();
        (self.bytes, self.as_text) = (0, 0);
    }

    /// Sets memory aside for the records of a body with so many bytes: see [`Intake::reserve`].
    pub fn reserve(&mut self, body_bytes: usize) {
        self.intake.reserve(body_bytes);
    }

    /// Counts bytes beside those of records: what the answer will say about an entry, or what was copied for several.
    ///
    /// # Errors
    /// The request is too large, or too many large ones are decoded now.
    pub fn note(&mut self, bytes: usize) -> Result<(), AgentStop> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > AGENT_RECORD_BYTES_MAX {
            return Err(AgentStop::TooLarge);
        }
        if self.room.covers(self.bytes) { Ok(()) } else { Err(AgentStop::NoRoom(RefusalReason::NoCapacity)) }
    }

    /// Counts a group of entries, such as a stream or a resource, which takes work though it may be empty.
    ///
    /// # Errors
    /// As of [`AgentIntake::note`].
    pub fn group(&mut self) -> Result<(), AgentStop> {
        self.note(ENTRY_BYTES_MIN)
    }

    /// Adds the next entry of the request, and returns the id of its event. An entry without an id gets one of its
    /// `identity` if that is fine enough, and otherwise a new one.
    ///
    /// # Errors
    /// The request is too large, or there is no room for the entry: nothing of the request may be delivered.
    pub fn add(&mut self, mut entry: AgentEntry<'_>, identity: Option<Identity<'_>>) -> Result<Uuid, AgentStop> {
        let (ingest, received_at) = (self.intake.ingest, self.intake.received_at);
        let index = self.intake.events;
        self.intake.events += 1;
        let source = source(entry.source.take());
        if !self.intake.allows(&source) {
            // It costs what was written for it. Anything else would be work for nothing.
            self.intake.refusals.push(Refusal { index, reason: RefusalReason::forbidden(&source) });
            self.note((entry.message.len() + entry.metadata.as_str().len()).max(ENTRY_BYTES_MIN))?;
            let own_id = entry.event_id.filter(|id| !id.is_nil());
            return Ok(own_id.unwrap_or_else(|| ingest.ids.new_id(received_at)));
        }
        let mut is_derived = false;
        if let Some(Identity { stream, unix_nanos }) =
            identity.filter(|_| entry.event_id.is_none() && ingest.derives_ids)
        {
            let metadata = entry.metadata.as_str().as_bytes();
            entry.event_id = self.resend_ids.id(stream, unix_nanos, &[entry.message.as_bytes(), metadata]);
            is_derived = entry.event_id.is_some();
        }
        let other_id = || (ingest.ids.new_id(received_at), IdOrigin::Generated);
        let kept = entry.into_event(source, self.protocol, received_at, other_id);
        let kept = kept.map_err(|error| AgentStop::NoRoom(error.into()))?;
        self.as_text += usize::from(kept.as_text);
        let mut event = kept.event;
        if is_derived {
            event.id_origin = IdOrigin::Derived(None);
        }
        let (id, level) = (event.event_id, event.level);
        self.intake.assign(&mut event);
        // An agent cannot give its events ids, so that a level that wants them is delivered at least once.
        let mut guarantee = ingest.policy.guarantee(level).max(self.guarantee);
        if guarantee == Guarantee::ExactlyOnce && event.id_origin == IdOrigin::Generated {
            guarantee = Guarantee::AtLeastOnce;
        }
        let mut added = self.intake.push(index, &event, guarantee);
        if added == Err(EventError::RecordTooLarge { limit_bytes: RECORD_BYTES_MAX }.into()) {
            event = shortened(event, self.protocol);
            self.as_text += usize::from(!kept.as_text);
            added = self.intake.push(index, &event, guarantee);
        }
        let bytes = added.map_err(AgentStop::NoRoom)?;
        self.note(bytes.max(ENTRY_BYTES_MIN))?;
        Ok(id)
    }

    /// Delivers the entries added, within `wait`. The future may be dropped: published events are delivered
    /// nevertheless.
    ///
    /// # Errors
    /// Not everything is known to be accepted, and what is not may be later: the agent has to send the request again. Or the
    /// tenant may write none of it.
    pub async fn deliver(self, wait: Duration) -> Result<Outcome, RefusalReason> {
        let (ingest, protocol, as_text) = (self.intake.ingest, self.protocol, self.as_text);
        let outcome = self.publish(wait, true).await;
        let Outcome { accepted, refusals, .. } = &outcome;
        let retryable = |refusal: &&Refusal| refusal.reason.is_retryable();
        // What may have been accepted comes first: an agent must not be told that nothing was.
        let unknown = refusals.iter().find(|refusal| refusal.reason == RefusalReason::OutcomeUnknown);
        if let Some(refusal) = unknown.or_else(|| refusals.iter().find(retryable)) {
            return Err(refusal.reason.clone());
        }
        if accepted.total() == 0
            && refusals.iter().all(|refusal| refusal.reason.is_forbidden())
            && let Some(first) = refusals.first()
        {
            return Err(first.reason.clone());
        }
        ingest.telemetry.agent_request(protocol, accepted.total(), as_text);
        Ok(outcome)
    }

    /// Delivers the entries added, within `wait`, and says what became of each: for a caller that keeps those that were not
    /// taken, and delivers them alone later. The future may be dropped: published events are delivered nevertheless.
    pub async fn deliver_each(self, wait: Duration) -> Outcome {
        let (ingest, protocol, as_text) = (self.intake.ingest, self.protocol, self.as_text);
        let outcome = self.publish(wait, false).await;
        let accepted = outcome.accepted.total();
        if accepted > 0 {
            ingest.telemetry.agent_request(protocol, accepted, as_text.min(accepted));
        }
        outcome
    }

    /// Publishes the batches and counts what was refused.
    async fn publish(self, wait: Duration, all_or_nothing: bool) -> Outcome {
        let Self { intake, room, .. } = self;
        // From here on the batches count in the delivery queues.
        drop(room);
        let Intake { ingest, received_at, trace_parent, lanes, mut refusals, last_id, .. } = intake;
        let mut accepted = Accepted::default();
        let publish = Publish { deadline: Instant::now() + wait, all_or_nothing };
        ingest.deliver(lanes, trace_parent, publish, &mut accepted, &mut refusals).await;
        refusals.sort_by_key(|refusal| refusal.index);
        for (code, events) in count_codes(&refusals) {
            ingest.telemetry.refused(code, events);
        }
        Outcome { received_at, accepted, refusals, event_id: last_id }
    }
}
