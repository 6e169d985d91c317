//! From the drafts of a request to the promise of its delivery.
//!
//! An [`Intake`] validates and encodes each event as it is added, into one batch per lane and partition, in request
//! order; an [`AgentIntake`] does so with what agents say, in which nothing is invalid. [`Ingest::deliver`] passes the
//! batches to their delivery queues ([`crate::delivery`]) and waits for the strictest promise of each. A client that
//! disconnects cancels neither the delivery nor its counts.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use domain::admission::admits;
use domain::delivery::{DeliveryPolicy, Guarantee};
use domain::level::Level;
use domain::partition::Partitioner;
use domain::ports::{Clock, IdSource, Telemetry};
use domain::record::RecordBatch;
use domain::trace_parent::TraceParent;
use tokio::time::{Instant, timeout_at};

use self::lane::{Lane, partition_of};
use crate::delivery::{Delivery, Promise};

mod decoding;
mod entry;
mod intake;
mod lane;
mod line;
mod members;
mod outcome;
mod state;
#[cfg(test)]
mod tenant_tests;
#[cfg(test)]
mod tests;

pub use self::entry::{AgentEntry, UNKNOWN_SOURCE, level_of, text_of};
pub use self::intake::Intake;
pub use self::intake::agents::{AGENT_RECORD_BYTES_MAX, AgentIntake, AgentStop, Identity};
pub use self::line::{Lines, OBJECT_BYTES_MAX, line, object};
pub use self::members::{JsonText, Members};
pub use self::outcome::{Accepted, Outcome, REQUEST_EVENTS_MAX, Refusal, RefusalReason, TooManyEvents, Verdict};
pub use self::state::state;

/// Maximum wait for a promise; after that the outcome is unknown.
pub const PROMISE_TIMEOUT: Duration = Duration::from_secs(30);

/// The use case that takes events into the delivery queues.
pub struct Ingest {
    delivery: Arc<Delivery>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    policy: DeliveryPolicy,
    partitioner: Partitioner,
    telemetry: Arc<dyn Telemetry>,
    /// Whether entries of agents get ids that are the same when they are sent again.
    derives_ids: bool,
    /// Bytes of records of agents' requests that are being decoded.
    decoding_bytes: AtomicUsize,
}

/// How the batches of a request are published.
#[derive(Clone, Copy)]
struct Publish {
    /// When to stop waiting for promises; after that the outcome is unknown.
    deadline: Instant,
    /// Whether to publish no further batch after one that was not taken.
    all_or_nothing: bool,
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
        let decoding_bytes = AtomicUsize::new(0);
        Self { delivery, clock, ids, policy, partitioner, telemetry, derives_ids: true, decoding_bytes }
    }

    /// Whether entries of agents without an id get one that is the same when they are sent again
    /// ([`domain::resend_id`]); without it they do.
    #[must_use]
    pub fn deriving_ids(self, derives_ids: bool) -> Self {
        Self { derives_ids, ..self }
    }

    /// Whether every partition has room for an event of this level now, as far as is known before the event is.
    #[must_use]
    pub fn has_room_for(&self, level: Level) -> bool {
        let mut partitions = 0..self.delivery.partition_count().get();
        self.delivery.accepts() && partitions.all(|partition| admits(level, self.delivery.usage(partition)))
    }

    /// The delivery queues that the events go to.
    #[must_use]
    pub fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// Delivers batches, and returns what was promised in time.
    async fn deliver(
        &self,
        lanes: Vec<Option<Lane>>,
        trace_parent: Option<TraceParent>,
        publish: Publish,
        accepted: &mut Accepted,
        refusals: &mut Vec<Refusal>,
    ) {
        let mut promises = Vec::with_capacity(lanes.len());
        for (slot, lane) in lanes.into_iter().enumerate() {
            let Some(Lane { records, indexes, guarantees, .. }) = lane.filter(|lane| !lane.records.is_empty()) else {
                continue;
            };
            let guarantee = guarantees.iter().copied().max().unwrap_or(Guarantee::AtMostOnce);
            let batch = RecordBatch { partition: partition_of(slot), guarantee, records, trace_parent };
            match self.delivery.deliver(batch, guarantees) {
                Ok(promise) => promises.push((promise, indexes)),
                Err(error) => {
                    refuse_all(refusals, &indexes, &RefusalReason::from(&error));
                    if publish.all_or_nothing {
                        break;
                    }
                }
            }
        }
        for (promise, indexes) in promises {
            match timeout_at(publish.deadline, promise).await {
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

fn refuse_all(refusals: &mut Vec<Refusal>, indexes: &[usize], reason: &RefusalReason) {
    refusals.extend(indexes.iter().map(|index| Refusal { index: *index, reason: reason.clone() }));
}
