//! From the drafts of a request to the promise of its delivery.
//!
//! An [`Intake`] validates and encodes each event as it is added, into one batch per lane and partition, in request
//! order. [`Ingest::deliver`] passes the batches to their delivery lines ([`crate::deliver`]) and waits for the
//! strictest promise of each. A client that disconnects cancels neither the delivery nor its counts.

use std::sync::Arc;
use std::time::Duration;

use domain::Uuid;
use domain::admission::{Usage, admits};
use domain::delivery::{DeliveryPolicy, Durability, Guarantee};
use domain::event::{EventDraft, EventError, IdOrigin};
use domain::idempotency::DerivedIds;
use domain::level::Level;
use domain::partition::{PRIORITY_PARTITION, Partition, Partitioner};
use domain::ports::{Clock, IdSource, PublishError, Telemetry};
use domain::record::{RECORD_BYTES_MAX, RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use tokio::time::{Instant, timeout_at};

use crate::codec;
use crate::deliver::{Delivery, Promise};

/// Maximum events per request.
pub const REQUEST_EVENTS_MAX: usize = 10_000;
/// Maximum wait for a promise; after that the outcome is unknown.
pub const PROMISE_TIMEOUT: Duration = Duration::from_secs(30);

/// The use case that takes events into the delivery lines.
pub struct Ingest {
    delivery: Arc<Delivery>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    policy: DeliveryPolicy,
    partitioner: Partitioner,
    telemetry: Arc<dyn Telemetry>,
}

/// The events of one request, validated and encoded.
pub struct Intake<'a> {
    ingest: &'a Ingest,
    received_at: Timestamp,
    derived_ids: Option<DerivedIds>,
    trace_parent: Option<TraceParent>,
    /// The priority lane, then the other lane of each partition, up to the last one with events.
    lanes: Vec<Option<Lane>>,
    refusals: Vec<Refusal>,
    events: usize,
    last_id: Option<Uuid>,
}

/// The batch of one lane of one partition.
struct Lane {
    /// How full the bus was when the lane was created.
    usage: Usage,
    records: Records,
    indexes: Vec<usize>,
    guarantees: Vec<Guarantee>,
}

/// An event that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Position in the request, from 0.
    pub index: usize,
    /// The reason.
    pub reason: RefusalReason,
}

/// Why an event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// It breaks a rule of the event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It could not be parsed as an event.
    #[error("{detail}")]
    Malformed {
        /// Stable code of the adapter that parsed it.
        code: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// There is currently no capacity for it.
    #[error("no capacity at the moment, this event was not kept: retry later")]
    NoCapacity,
    /// The remaining capacity is reserved for more severe events.
    #[error("the remaining capacity is reserved for levels above {0}, this event was not kept: retry later")]
    LoadShed(Level),
    /// The bus does not work and no journal can take the event.
    #[error("the bus is unavailable, this event was not kept: retry later")]
    BusUnavailable,
    /// The bus permanently rejects it.
    #[error("the bus permanently rejects this event: {0}")]
    RefusedByBus(String),
    /// This instance is stopping.
    #[error("this instance is stopping, this event was not kept: retry")]
    Draining,
    /// It is not known yet whether it was kept.
    #[error("it is not known whether this event was kept: retry with the same eventId")]
    OutcomeUnknown,
}

impl RefusalReason {
    /// Stable code for clients.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Event(error) => error.code(),
            Self::Malformed { code, .. } => code,
            Self::NoCapacity => "no_capacity",
            Self::LoadShed(_) => "load_shed",
            Self::BusUnavailable => "bus_unavailable",
            Self::RefusedByBus(_) => "refused_by_bus",
            Self::Draining => "draining",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }

    /// Whether the same event may be accepted later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Event(_) | Self::Malformed { .. } | Self::RefusedByBus(_) => false,
            Self::NoCapacity | Self::LoadShed(_) | Self::BusUnavailable | Self::Draining | Self::OutcomeUnknown => true,
        }
    }
}

impl From<&PublishError> for RefusalReason {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Full => Self::NoCapacity,
            PublishError::Unavailable(_) => Self::BusUnavailable,
            PublishError::Refused(_) => Self::RefusedByBus(error.to_string()),
            PublishError::Closed => Self::Draining,
        }
    }
}

/// More events in one request than [`REQUEST_EVENTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has at most {REQUEST_EVENTS_MAX} events")]
pub struct TooManyEvents;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was received.
    pub received_at: Timestamp,
    /// Accepted events by durability.
    pub accepted: Accepted,
    /// All other events, by index.
    pub refusals: Vec<Refusal>,
    /// The id of the last valid event; for a request with a single event, its id.
    pub event_id: Option<Uuid>,
}

/// Accepted events by durability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// On the bus.
    pub acknowledged: usize,
    /// Fsynced in the journal.
    pub journaled: usize,
    /// In memory or in the operating system's buffers.
    pub buffered: usize,
}

impl Accepted {
    /// All accepted events.
    #[must_use]
    pub fn total(&self) -> usize {
        self.acknowledged + self.journaled + self.buffered
    }

    fn add(&mut self, durability: Durability, events: usize) {
        match durability {
            Durability::Acknowledged => self.acknowledged += events,
            Durability::Journaled => self.journaled += events,
            Durability::Buffered => self.buffered += events,
        }
    }

    /// The durability of a request with a single event.
    #[must_use]
    pub fn durability(&self) -> Durability {
        if self.acknowledged > 0 {
            Durability::Acknowledged
        } else if self.journaled > 0 {
            Durability::Journaled
        } else {
            Durability::Buffered
        }
    }
}

/// The overall result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one event was accepted.
    Accepted,
    /// No event was valid, or the request was empty.
    Invalid,
    /// Every event exceeds the record limit.
    TooLarge,
    /// Nothing was accepted, and at least one event only due to lack of capacity.
    NoCapacity,
    /// No event is known to be accepted, and at least one may have been.
    Unknown,
}

impl Outcome {
    /// Implements the contract's table of answers.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reasons = || self.refusals.iter().map(|refusal| &refusal.reason);
        if self.accepted.total() > 0 {
            Verdict::Accepted
        } else if reasons().any(|reason| *reason == RefusalReason::OutcomeUnknown) {
            Verdict::Unknown
        } else if reasons().any(RefusalReason::is_retryable) {
            Verdict::NoCapacity
        } else if !self.refusals.is_empty()
            && reasons().all(|reason| matches!(reason, RefusalReason::Event(EventError::RecordTooLarge { .. })))
        {
            Verdict::TooLarge
        } else {
            Verdict::Invalid
        }
    }
}

impl Ingest {
    /// A use case that delivers by `policy` to the partitions that `partitioner` chooses.
    #[must_use]
    pub fn new(
        delivery: Arc<Delivery>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        telemetry: Arc<dyn Telemetry>,
        policy: DeliveryPolicy,
        partitioner: Partitioner,
    ) -> Self {
        Self { delivery, clock, ids, policy, partitioner, telemetry }
    }

    /// Begins the intake of a request that was just received. Events without an id get one of `derived_ids`, if there
    /// are any, otherwise a new one. The trace of the request is kept with them.
    #[must_use]
    pub fn intake(&self, derived_ids: Option<DerivedIds>, trace_parent: Option<TraceParent>) -> Intake<'_> {
        Intake {
            ingest: self,
            received_at: self.clock.now(),
            derived_ids,
            trace_parent,
            lanes: Vec::new(),
            refusals: Vec::new(),
            events: 0,
            last_id: None,
        }
    }

    /// The delivery lines that the events go to.
    #[must_use]
    pub fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// Delivers batches, and returns what was promised within [`PROMISE_TIMEOUT`].
    async fn deliver(
        &self,
        lanes: Vec<Option<Lane>>,
        trace_parent: Option<TraceParent>,
        accepted: &mut Accepted,
        refusals: &mut Vec<Refusal>,
    ) {
        let deadline = Instant::now() + PROMISE_TIMEOUT;
        let mut promises = Vec::with_capacity(lanes.len());
        for (slot, lane) in lanes.into_iter().enumerate() {
            let Some(Lane { records, indexes, guarantees, .. }) = lane.filter(|lane| !lane.records.is_empty()) else {
                continue;
            };
            let guarantee = guarantees.iter().copied().max().unwrap_or(Guarantee::AtMostOnce);
            let batch = RecordBatch { partition: partition_of(slot), guarantee, records, trace_parent };
            match self.delivery.deliver(batch, guarantees) {
                Ok(promise) => promises.push((promise, indexes)),
                Err(error) => refuse_all(refusals, &indexes, &RefusalReason::from(&error)),
            }
        }
        for (promise, indexes) in promises {
            match timeout_at(deadline, promise).await {
                Ok(Ok(Ok(Promise { durability, refused }))) => {
                    accepted.add(durability, indexes.len() - refused.len());
                    refusals.extend(refused.into_iter().filter_map(|record| {
                        let index = *indexes.get(record.position)?;
                        Some(Refusal { index, reason: RefusalReason::RefusedByBus(record.reason) })
                    }));
                }
                Ok(Ok(Err(error))) => refuse_all(refusals, &indexes, &RefusalReason::from(&error)),
                // Too late, or the runtime is shutting down.
                Err(_) | Ok(Err(_)) => refuse_all(refusals, &indexes, &RefusalReason::OutcomeUnknown),
            }
        }
    }
}

impl Intake<'_> {
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

    /// Number of events refused so far.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refusals.len()
    }

    /// Delivers the events added. The future may be dropped: published events are delivered nevertheless.
    pub async fn deliver(self) -> Outcome {
        let Self { ingest, received_at, trace_parent, lanes, mut refusals, last_id, .. } = self;
        let mut accepted = Accepted::default();
        ingest.deliver(lanes, trace_parent, &mut accepted, &mut refusals).await;
        refusals.sort_by_key(|refusal| refusal.index);
        for (code, events) in count_codes(&refusals) {
            ingest.telemetry.refused(code, events);
        }
        Outcome { received_at, accepted, refusals, event_id: last_id }
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
        let event = draft.validate(self.received_at, || match &self.derived_ids {
            Some(ids) => (ids.id(index), IdOrigin::Client),
            None => (ingest.ids.new_id(self.received_at), IdOrigin::Generated),
        })?;
        let guarantee = ingest.policy.guarantee(event.level);
        if guarantee == Guarantee::ExactlyOnce && event.id_origin == IdOrigin::Generated {
            return Err(EventError::EventIdRequired.into());
        }
        let partition = ingest.partitioner.partition(&event.source, event.level, ingest.delivery.partition_count());
        let lane = self.lane(if event.level.is_priority() { 0 } else { 1 + partition as usize });
        if !admits(event.level, lane.usage.with(lane.records.bytes() as u64)) {
            return Err(RefusalReason::LoadShed(event.level));
        }
        codec::encode(&event, &mut lane.records)
            .map_err(|_| EventError::RecordTooLarge { limit_bytes: RECORD_BYTES_MAX })?;
        lane.indexes.push(index);
        lane.guarantees.push(guarantee);
        self.last_id = Some(event.event_id);
        Ok(())
    }

    #[expect(clippy::indexing_slicing, reason = "the vector was just made long enough")]
    fn lane(&mut self, slot: usize) -> &mut Lane {
        if self.lanes.len() <= slot {
            self.lanes.resize_with(slot + 1, || None);
        }
        self.lanes[slot].get_or_insert_with(|| Lane {
            usage: self.ingest.delivery.usage(partition_of(slot)),
            records: Records::default(),
            indexes: Vec::new(),
            guarantees: Vec::new(),
        })
    }
}

/// The partition of a slot in [`Intake::lanes`].
fn partition_of(slot: usize) -> Partition {
    slot.checked_sub(1)
        .map_or(PRIORITY_PARTITION, |partition| Partition::try_from(partition).unwrap_or(PRIORITY_PARTITION))
}

fn refuse_all(refusals: &mut Vec<Refusal>, indexes: &[usize], reason: &RefusalReason) {
    refusals.extend(indexes.iter().map(|index| Refusal { index: *index, reason: reason.clone() }));
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Mutex;

    use domain::delivery::Deliveries;
    use domain::partition::{PriorityLane, murmur2};
    use domain::ports::{BoxFuture, MockIdSource, MockRecordPublisher, MockTelemetry, Receipt};
    use tokio::sync::oneshot;

    use super::*;

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_micros(1_705_314_600_000_000).expect("in range")
        }
    }

    const THREE: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

    fn telemetry() -> MockTelemetry {
        let mut telemetry = MockTelemetry::new();
        telemetry.expect_refused().return_const(());
        telemetry.expect_sent().return_const(());
        telemetry.expect_send_failed().return_const(());
        telemetry
    }

    fn ingest(publisher: MockRecordPublisher, policy: DeliveryPolicy) -> Ingest {
        let mut ids = MockIdSource::new();
        ids.expect_new_id().returning(|_| Uuid::from_u128(7));
        let partitioner = Partitioner::new(PriorityLane::Shared, THREE).expect("valid");
        let telemetry = Arc::new(telemetry());
        let delivery = Delivery::new(Arc::new(publisher), Arc::<MockTelemetry>::clone(&telemetry));
        Ingest::new(Arc::new(delivery), Arc::new(FixedClock), Arc::new(ids), telemetry, policy, partitioner)
    }

    fn ready<T: Send + 'static>(value: T) -> BoxFuture<T> {
        Box::pin(std::future::ready(value))
    }

    fn pending<T: Send + 'static>() -> BoxFuture<T> {
        Box::pin(std::future::pending())
    }

    /// A bus that keeps every promise at once and records the batches.
    fn publisher() -> (MockRecordPublisher, Arc<Mutex<Vec<Arc<RecordBatch>>>>) {
        let batches = Arc::new(Mutex::new(Vec::<Arc<RecordBatch>>::new()));
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_partition_count().return_const(THREE);
        publisher.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
        let published = Arc::clone(&batches);
        publisher.expect_publish().returning(move |batch| {
            let durability =
                if batch.guarantee == Guarantee::AtMostOnce { Durability::Buffered } else { Durability::Acknowledged };
            published.lock().expect("lock").push(batch);
            Ok(Receipt { promised: ready(Ok(durability)), settled: ready(Ok(())) })
        });
        (publisher, batches)
    }

    fn answering(answer: impl Fn() -> Result<Receipt, PublishError> + Send + 'static) -> MockRecordPublisher {
        filled(0, answer)
    }

    /// A bus with this answer and with this much of a million bytes in use.
    fn filled(
        used_bytes: u64,
        answer: impl Fn() -> Result<Receipt, PublishError> + Send + 'static,
    ) -> MockRecordPublisher {
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_partition_count().return_const(THREE);
        publisher.expect_usage().return_const(Usage { used_bytes, bytes_max: 1_000_000 });
        publisher.expect_publish().returning(move |_| answer());
        publisher
    }

    fn draft(source: &str, level: Level, message: &str) -> EventDraft<'static> {
        EventDraft {
            source: Some(source.to_owned().into()),
            level: Some(level.name().into()),
            message: Some(message.to_owned().into()),
            ..EventDraft::default()
        }
    }

    async fn deliver(ingest: &Ingest, drafts: impl IntoIterator<Item = EventDraft<'static>>) -> Outcome {
        let mut intake = ingest.intake(None, None);
        for draft in drafts {
            intake.add(draft).expect("few events");
        }
        intake.deliver().await
    }

    #[tokio::test]
    async fn each_lane_of_a_partition_gets_one_batch_in_request_order_and_the_answer_counts_by_durability() {
        let (publisher, batches) = publisher();
        let ingest = ingest(publisher, DeliveryPolicy::default());
        let source_of = |partition| {
            let belongs = |source: &String| (murmur2(source.as_bytes()) & 0x7fff_ffff) % 3 == partition;
            (0..).map(|n| format!("source-{n}")).find(belongs).expect("one of many")
        };
        // Both lanes of partition 0, and partition 2.
        let (zero, two) = (source_of(0), source_of(2));
        let outcome = deliver(
            &ingest,
            [
                draft(&two, Level::Info, "1"),
                draft(&two, Level::Error, "2"),
                draft(&zero, Level::Warn, "3"),
                EventDraft { level: Some("LOUD".into()), ..draft("x", Level::Info, "4") },
                draft(&two, Level::Debug, "5"),
                draft(&zero, Level::Fatal, "6"),
            ],
        )
        .await;
        assert_eq!(outcome.accepted, Accepted { acknowledged: 2, journaled: 0, buffered: 3 });
        assert_eq!(outcome.refusals, [Refusal { index: 3, reason: EventError::LevelUnknown.into() }]);
        assert_eq!(outcome.verdict(), Verdict::Accepted);

        let batches = batches.lock().expect("lock");
        let seen: Vec<(Partition, Guarantee, Vec<String>)> = batches
            .iter()
            .map(|batch| {
                let messages = batch.records.iter().map(|r| codec::decode(r).expect("an event").message.into_owned());
                (batch.partition, batch.guarantee, messages.collect())
            })
            .collect();
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let expected = [
            (0, Guarantee::AtLeastOnce, lines(&["2", "6"])),
            (0, Guarantee::AtMostOnce, lines(&["3"])),
            (2, Guarantee::AtMostOnce, lines(&["1", "5"])),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_batch_waits_for_the_strictest_guarantee_in_it() {
        let (publisher, batches) = publisher();
        let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Warn, Guarantee::AtLeastOnce));
        let outcome = deliver(&ingest, [draft("abc", Level::Info, "1"), draft("abc", Level::Warn, "2")]).await;
        assert_eq!(outcome.accepted, Accepted { acknowledged: 2, journaled: 0, buffered: 0 });
        assert_eq!(batches.lock().expect("lock").len(), 1);
    }

    #[tokio::test]
    async fn exactly_once_requires_an_id_from_the_client() {
        let (publisher, _) = publisher();
        let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Info, Guarantee::ExactlyOnce));
        let with_id =
            EventDraft { event_id: Some(Uuid::from_u128(1).to_string().into()), ..draft("s", Level::Info, "1") };
        let outcome = deliver(&ingest, [with_id, draft("s", Level::Info, "2")]).await;
        assert_eq!(outcome.accepted.total(), 1);
        assert_eq!(outcome.refusals, [Refusal { index: 1, reason: EventError::EventIdRequired.into() }]);
    }

    #[tokio::test]
    async fn with_an_idempotency_key_ids_come_from_the_key_and_satisfy_exactly_once() {
        let (publisher, batches) = publisher();
        let ingest = ingest(publisher, DeliveryPolicy::default().with(Level::Info, Guarantee::ExactlyOnce));
        let ids = DerivedIds::new(b"key", b"body").expect("valid");
        let mut intake = ingest.intake(Some(ids), None);
        let own = EventDraft { event_id: Some(Uuid::from_u128(1).to_string().into()), ..draft("s", Level::Info, "1") };
        for event in [own, EventDraft::default(), draft("s", Level::Info, "2")] {
            intake.add(event).expect("few events");
        }
        let outcome = intake.deliver().await;
        assert_eq!((outcome.accepted.total(), outcome.event_id), (2, Some(ids.id(2))));
        let batches = batches.lock().expect("lock");
        let seen: Vec<_> = batches[0].records.iter().map(|record| codec::decode(record).expect("an event")).collect();
        assert_eq!(seen.iter().map(|event| event.event_id).collect::<Vec<_>>(), [Uuid::from_u128(1), ids.id(2)]);
        assert!(seen.iter().all(|event| event.id_origin == IdOrigin::Client));
    }

    #[tokio::test]
    async fn as_the_bus_fills_levels_are_refused_per_event_including_the_space_of_the_request_itself() {
        let publisher =
            filled(860_000, || Ok(Receipt { promised: ready(Ok(Durability::Acknowledged)), settled: ready(Ok(())) }));
        let ingest = ingest(publisher, DeliveryPolicy::default());
        let text = "x".repeat(25_000);
        let outcome = deliver(
            &ingest,
            [
                draft("s", Level::Debug, &text),
                draft("s", Level::Warn, &text),
                draft("s", Level::Info, &text),
                draft("s", Level::Warn, &text),
                draft("s", Level::Warn, &text),
                draft("s", Level::Error, &text),
            ],
        )
        .await;
        let shed: Vec<_> = outcome.refusals.iter().map(|refusal| (refusal.index, refusal.reason.clone())).collect();
        let expected = [(0, Level::Debug), (2, Level::Info), (4, Level::Warn)];
        assert_eq!(shed, expected.map(|(index, level)| (index, RefusalReason::LoadShed(level))));
        assert_eq!(outcome.accepted.total(), 3);
    }

    #[tokio::test]
    async fn every_accepted_event_is_in_exactly_one_term_from_promise_to_end() {
        let (arrive, arrived) = oneshot::channel::<bool>();
        let arrived = Mutex::new(Some(arrived));
        let ingest = ingest(
            answering(move || {
                let arrived = arrived.lock().expect("lock").take().expect("one batch");
                let settled =
                    async { arrived.await.ok().filter(|arrived| *arrived).map(drop).ok_or(PublishError::Closed) };
                Ok(Receipt { promised: ready(Ok(Durability::Buffered)), settled: Box::pin(settled) })
            }),
            DeliveryPolicy::default(),
        );
        let term = |guarantee: Guarantee| ingest.delivery.snapshot().deliveries[guarantee as usize];
        deliver(&ingest, [draft("s", Level::Info, "1"), draft("s", Level::Info, "2")]).await;
        let on_their_way = Deliveries { accepted: 2, buffered: 2, ..Deliveries::default() };
        assert_eq!(term(Guarantee::AtMostOnce), on_their_way);
        assert_eq!(term(Guarantee::AtLeastOnce), Deliveries::default());
        arrive.send(false).expect("the delivery task listens");
        tokio::time::timeout(Duration::from_secs(1), async {
            while ingest.delivery.snapshot().deliveries[0].buffered > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("settled");
        assert_eq!(term(Guarantee::AtMostOnce), Deliveries { accepted: 2, dropped: [2, 0], ..Deliveries::default() });
        assert_eq!(ingest.delivery.snapshot().oldest_buffered, Duration::ZERO);
    }

    #[tokio::test]
    async fn events_that_the_bus_refuses_later_were_never_accepted() {
        let refused = || ready(Err(PublishError::Full));
        let answer = move || Ok(Receipt { promised: refused(), settled: ready(Err(PublishError::Full)) });
        let ingest = ingest(answering(answer), DeliveryPolicy::default());
        let outcome = deliver(&ingest, [draft("s", Level::Info, "1")]).await;
        assert_eq!(outcome.verdict(), Verdict::NoCapacity);
        tokio::time::timeout(Duration::from_secs(1), async {
            while ingest.delivery.totals().failed == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("counted as failed");
        assert_eq!(ingest.delivery.snapshot().deliveries, [Deliveries::default(); 3]);
    }

    #[tokio::test]
    async fn events_that_the_bus_does_not_take_are_refused_as_retryable_and_counted_as_failed() {
        for (answer, code) in [
            (PublishError::Full, "no_capacity"),
            (PublishError::Unavailable("no disk".into()), "bus_unavailable"),
            (PublishError::Closed, "draining"),
        ] {
            let answer = Mutex::new(Some(answer));
            let ingest = ingest(
                answering(move || Err(answer.lock().expect("lock").take().expect("asked once"))),
                DeliveryPolicy::default(),
            );
            let outcome = deliver(&ingest, [draft("s", Level::Error, "1"), draft("s", Level::Fatal, "2")]).await;
            assert_eq!(outcome.verdict(), Verdict::NoCapacity);
            assert!(outcome.refusals.iter().all(|r| r.reason.code() == code && r.reason.is_retryable()), "{code}");
            assert_eq!(ingest.delivery.totals().failed, 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_promise_within_thirty_seconds_the_outcome_is_unknown() {
        let ingest =
            ingest(answering(|| Ok(Receipt { promised: pending(), settled: pending() })), DeliveryPolicy::default());
        let began = Instant::now();
        let outcome = deliver(&ingest, [draft("s", Level::Error, "1")]).await;
        assert_eq!(outcome.verdict(), Verdict::Unknown);
        assert_eq!(began.elapsed(), PROMISE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_cancels_neither_the_delivery_nor_its_count() {
        let (promise, promised) = oneshot::channel::<()>();
        let promised = Mutex::new(Some(promised));
        let publisher = answering(move || {
            let promised = promised.lock().expect("lock").take().expect("one batch");
            let settled = async { promised.await.map_err(|_| PublishError::Closed) };
            Ok(Receipt { promised: pending(), settled: Box::pin(settled) })
        });
        let ingest = ingest(publisher, DeliveryPolicy::default());
        let hung_up =
            tokio::time::timeout(Duration::from_secs(1), deliver(&ingest, [draft("s", Level::Error, "1")])).await;
        assert!(hung_up.is_err());
        assert_eq!(ingest.delivery.totals().sent, 0);
        promise.send(()).expect("the delivery task still listens");
        tokio::time::timeout(Duration::from_secs(1), async {
            while ingest.delivery.totals().sent == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("counted");
    }

    #[tokio::test]
    async fn the_verdict_follows_the_table_of_the_contract() {
        let refused = |reasons: Vec<RefusalReason>| Outcome {
            received_at: Timestamp::MIN,
            accepted: Accepted::default(),
            refusals: reasons.into_iter().enumerate().map(|(index, reason)| Refusal { index, reason }).collect(),
            event_id: None,
        };
        let too_large = || RefusalReason::Event(EventError::RecordTooLarge { limit_bytes: 1 });
        let invalid = || RefusalReason::Event(EventError::SourceRequired);
        let malformed = || RefusalReason::Malformed { code: "event_not_object", detail: String::new() };
        for (reasons, verdict) in [
            (vec![], Verdict::Invalid),
            (vec![invalid(), malformed()], Verdict::Invalid),
            (vec![too_large(), too_large()], Verdict::TooLarge),
            (vec![too_large(), invalid()], Verdict::Invalid),
            (vec![invalid(), RefusalReason::NoCapacity], Verdict::NoCapacity),
            (vec![RefusalReason::BusUnavailable], Verdict::NoCapacity),
            (vec![RefusalReason::Draining], Verdict::NoCapacity),
            (vec![RefusalReason::NoCapacity, RefusalReason::OutcomeUnknown], Verdict::Unknown),
        ] {
            assert_eq!(refused(reasons.clone()).verdict(), verdict, "{reasons:?}");
        }
        let one = Outcome { accepted: Accepted { buffered: 1, ..Accepted::default() }, ..refused(vec![invalid()]) };
        assert_eq!(one.verdict(), Verdict::Accepted);
    }

    #[tokio::test]
    async fn the_limit_is_ten_thousand_events() {
        let (publisher, _) = publisher();
        let ingest = ingest(publisher, DeliveryPolicy::default());
        let mut intake = ingest.intake(None, None);
        for _ in 0..REQUEST_EVENTS_MAX - 1 {
            intake.add(draft("s", Level::Info, "m")).expect("within the limit");
        }
        intake.refuse(RefusalReason::Malformed { code: "x", detail: String::new() }).expect("within the limit");
        assert_eq!(intake.add(draft("s", Level::Info, "m")), Err(TooManyEvents));
        assert_eq!(intake.deliver().await.accepted.total(), REQUEST_EVENTS_MAX - 1);
    }
}
