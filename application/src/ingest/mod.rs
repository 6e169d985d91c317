//! From the drafts of a request to the promise of its delivery.
//!
//! An [`Intake`] validates and encodes each event as it is added, into one batch per lane and partition, in request
//! order. [`Ingest::deliver`] passes the batches to their delivery queues ([`crate::deliver`]) and waits for the
//! strictest promise of each. A client that disconnects cancels neither the delivery nor its counts.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{DeliveryPolicy, Guarantee};
use domain::partition::Partitioner;
use domain::ports::{Clock, IdSource, Telemetry};
use domain::record::RecordBatch;
use domain::trace_parent::TraceParent;
use tokio::time::{Instant, timeout_at};

use self::lane::{Lane, partition_of};
use crate::deliver::{Delivery, Promise};

mod intake;
mod lane;
mod outcome;
#[cfg(test)]
mod tests;

pub use self::intake::Intake;
pub use self::outcome::{Accepted, Outcome, REQUEST_EVENTS_MAX, Refusal, RefusalReason, TooManyEvents, Verdict};

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

    /// The delivery queues that the events go to.
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

fn refuse_all(refusals: &mut Vec<Refusal>, indexes: &[usize], reason: &RefusalReason) {
    refusals.extend(indexes.iter().map(|index| Refusal { index: *index, reason: reason.clone() }));
}
