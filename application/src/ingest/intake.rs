//! The events of one request, from drafts to encoded batches.

use domain::Uuid;
use domain::access::Tenant;
use domain::admission::admits;
use domain::delivery::Guarantee;
use domain::event::{EventDraft, EventError, IdOrigin, LogEvent};
use domain::idempotency::DerivedIds;
use domain::record::{RECORD_BYTES_MAX, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use tokio::time::Instant;

use super::lane::{Lane, partition_of};
use super::outcome::{Accepted, Outcome, REQUEST_EVENTS_MAX, Refusal, RefusalReason, TooManyEvents};
use super::{Ingest, PROMISE_TIMEOUT, Publish};
use crate::codec::Encoder;

pub(super) mod agents;

/// Most bytes to set aside for records before there are any.
const RESERVED_BYTES_MAX: usize = 256 * 1024;
/// What a record has beside the members of its event: its key, an id and a time.
const RECORD_BYTES_BESIDE: usize = 256;

/// The events of one request, validated and encoded.
pub struct Intake<'a> {
    ingest: &'a Ingest,
    received_at: Timestamp,
    encoder: Encoder,
    derived_ids: Option<DerivedIds>,
    trace_parent: Option<TraceParent>,
    tenant: Option<Tenant>,
    /// The priority lane, then the other lane of each partition, up to the last one with events.
    lanes: Vec<Option<Lane>>,
    /// Bytes to set aside for the records of the next lane.
    reserved_bytes: usize,
    refusals: Vec<Refusal>,
    events: usize,
    last_id: Option<Uuid>,
}

impl Ingest {
    /// Begins the intake of a request that was just received. Events without an id get one of `derived_ids`, if there
    /// are any, otherwise a new one. The trace of the request is kept with them.
    #[must_use]
    pub fn intake(&self, derived_ids: Option<DerivedIds>, trace_parent: Option<TraceParent>) -> Intake<'_> {
        let received_at = self.clock.now();
        Intake {
            ingest: self,
            received_at,
            encoder: Encoder::new(received_at),
            derived_ids,
            trace_parent,
            tenant: None,
            lanes: Vec::new(),
            reserved_bytes: 0,
            refusals: Vec::new(),
            events: 0,
            last_id: None,
        }
    }
}

impl Intake<'_> {
    /// The same for a request of this tenant, if there is one: events of other sources are refused, and ids are claimed
    /// for the tenant only.
    #[must_use]
    pub fn of_tenant(self, tenant: Option<Tenant>) -> Self {
        Self { tenant, ..self }
    }

    /// Sets memory aside for the records of a body with so many bytes: for one lane, since most requests have one source.
    pub fn reserve(&mut self, body_bytes: usize) {
        // Records have more members than events, and most requests are far below the bound.
        self.reserved_bytes = (body_bytes + body_bytes / 2 + RECORD_BYTES_BESIDE).min(RESERVED_BYTES_MAX);
    }

    /// Adds the next event of the request.
    ///
    /// # Errors
    /// The request has more than [`REQUEST_EVENTS_MAX`] events.
    pub fn add(&mut self, draft: EventDraft<'_>) -> Result<(), TooManyEvents> {
        let index = self.next_index()?;
        if let Err(reason) = self.encode(index, draft) {
            self.refusals.push(Refusal { index, reason });
        }
        Ok(())
    }

    /// Adds the next event of the request as refused, because it could not be parsed.
    ///
    /// # Errors
    /// The request has more than [`REQUEST_EVENTS_MAX`] events.
    pub fn refuse(&mut self, reason: RefusalReason) -> Result<(), TooManyEvents> {
        let index = self.next_index()?;
        self.refusals.push(Refusal { index, reason });
        Ok(())
    }

    /// Forgets all events so far: the body is read again from its beginning.
    pub fn restart(&mut self) {
        self.lanes.clear();
        self.refusals.clear();
        self.events = 0;
        self.last_id = None;
    }

    /// Number of events so far.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// Number of events refused so far.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refusals.len()
    }

    /// Delivers the events added. The future may be dropped: published events are delivered nevertheless.
    pub async fn deliver(self) -> Outcome {
        let Self { ingest, received_at, trace_parent, lanes, mut refusals, last_id, .. } = self;
        let mut accepted = Accepted::default();
        let publish = Publish { deadline: Instant::now() + PROMISE_TIMEOUT, all_or_nothing: false };
        ingest.deliver(lanes, trace_parent, publish, &mut accepted, &mut refusals).await;
        refusals.sort_by_key(|refusal| refusal.index);
        for (code, events) in count_codes(&refusals) {
            ingest.telemetry.refused(code, events);
        }
        Outcome { received_at, accepted, refusals, event_id: last_id }
    }

    /// Whether events of this source may be written: without a tenant, of any.
    fn allows(&self, source: &str) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| tenant.sources.allows(source))
    }

    /// Makes an event one of the tenant's, if there is one.
    fn assign(&self, event: &mut LogEvent<'_>) {
        event.id_origin = event.id_origin.in_request_of(self.tenant.as_ref().map(|tenant| tenant.id));
    }

    fn next_index(&mut self) -> Result<usize, TooManyEvents> {
        let index = self.events;
        if index == REQUEST_EVENTS_MAX {
            return Err(TooManyEvents);
        }
        self.events += 1;
        Ok(index)
    }

    fn encode(&mut self, index: usize, draft: EventDraft<'_>) -> Result<(), RefusalReason> {
        let ingest = self.ingest;
        let mut event = draft.validate(self.received_at, || match &self.derived_ids {
            Some(ids) => (ids.id(index), IdOrigin::Client),
            None => (ingest.ids.new_id(self.received_at), IdOrigin::Generated),
        })?;
        if !self.allows(&event.source) {
            return Err(RefusalReason::forbidden(&event.source));
        }
        self.assign(&mut event);
        let guarantee = ingest.policy.guarantee(event.level);
        if guarantee == Guarantee::ExactlyOnce && event.id_origin == IdOrigin::Generated {
            return Err(EventError::EventIdRequired.into());
        }
        self.push(index, &event, guarantee).map(drop)
    }

    /// Adds a valid event to its lane, if that has room for its level. Returns the bytes of its record.
    fn push(&mut self, index: usize, event: &LogEvent<'_>, guarantee: Guarantee) -> Result<usize, RefusalReason> {
        let (ingest, encoder) = (self.ingest, self.encoder);
        let partition = ingest.partitioner.partition(&event.source, event.level, ingest.delivery.partition_count());
        let lane = self.lane(if event.level.is_priority() { 0 } else { 1 + partition as usize });
        if !admits(event.level, lane.usage.with(lane.records.bytes() as u64)) {
            return Err(RefusalReason::LoadShed(event.level));
        }
        let before = lane.records.bytes();
        encoder
            .encode(event, &mut lane.records)
            .map_err(|_| EventError::RecordTooLarge { limit_bytes: RECORD_BYTES_MAX })?;
        lane.indexes.push(index);
        lane.guarantees.push(guarantee);
        let bytes = lane.records.bytes() - before;
        self.last_id = Some(event.event_id);
        Ok(bytes)
    }

    #[expect(clippy::indexing_slicing, reason = "the vector was just made long enough")]
    fn lane(&mut self, slot: usize) -> &mut Lane {
        if self.lanes.len() <= slot {
            self.lanes.resize_with(slot + 1, || None);
        }
        let reserved_bytes = &mut self.reserved_bytes;
        self.lanes[slot].get_or_insert_with(|| Lane {
            usage: self.ingest.delivery.usage(partition_of(slot)),
            records: Records::with_capacity(0, std::mem::take(reserved_bytes)),
            indexes: Vec::new(),
            guarantees: Vec::new(),
        })
    }
}

fn count_codes(refusals: &[Refusal]) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for refusal in refusals {
        let code = refusal.reason.code();
        match counts.iter_mut().find(|(of, _)| *of == code) {
            Some((_, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
    }
    counts
}
