//! The delivery at one moment, for metrics, health and alerts.

use std::time::Duration;

use domain::admission::Usage;
use domain::delivery::breaker::BreakerState;
use domain::delivery::{Deliveries, Guarantee};
use domain::partition::Partition;
use domain::ports::BusState;
use domain::timestamp::Timestamp;

use super::ledger::SendTotals;
use super::queues::lock;
use super::shared::Shared;

/// The state of all delivery queues of a process, of the bus and of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryStatus {
    /// The accounts of all accepted events, for each of [`Guarantee::ALL`].
    pub deliveries: [Deliveries; Guarantee::ALL.len()],
    /// For each guarantee, how many events are counted too often (positive) or are missing (negative): anything but zero is
    /// a defect in the delivery.
    pub imbalances: [(Guarantee, i128); Guarantee::ALL.len()],
    /// How long the oldest event that is only in memory has been there; zero if there is none.
    pub oldest_buffered: Duration,
    /// Send results so far.
    pub totals: SendTotals,
    /// Partition and reason of the accepted events that were last lost.
    pub last_loss: Option<(Partition, String)>,
    /// Partition and reason of the accepted events that were last permanently rejected.
    pub last_rejection: Option<(Partition, String)>,
    /// How much of the memory for unsettled records is in use.
    pub buffer: Usage,
    /// The state of the bus.
    pub bus: BusState,
    /// The state of the breaker. Without a journal, and so without a breaker: closed while the bus accepts records.
    pub breaker: BreakerState,
    /// How often the breaker entered each of [`BreakerState::ALL`].
    pub breaker_entered: [u64; BreakerState::ALL.len()],
    /// It takes no more batches because the process ends.
    pub is_closed: bool,
    /// At least an ERROR is accepted now, by the bus or by the journal.
    pub accepts: bool,
    /// The journal, if there is one.
    pub journal: Option<JournalStatus>,
}

/// The state of a journal, including those of other processes that it adopted.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalStatus {
    /// How much of its space is in use.
    pub usage: Usage,
    /// What is wrong with its disk, if anything.
    pub fault: Option<String>,
    /// Time of receipt of its oldest event.
    pub oldest: Option<Timestamp>,
    /// Damage found in adopted journals: the partition of the last one, and the total number of bytes.
    pub damage: (Partition, u64),
    /// Bytes of permanently rejected records that cannot be kept, and why, if so.
    pub unkept: Option<(String, u64)>,
    /// A partition with events in the journal that the topic does not have, and the number of partitions that the topic
    /// has: the events wait until the partition exists.
    pub stranded: Option<(Partition, u32)>,
}

impl Shared {
    pub(super) fn status(&self) -> DeliveryStatus {
        let bus = self.bus.publisher.state();
        let oldest = self.queues.own().into_iter().filter_map(|queue| queue.lock().queue.buffered_since()).min();
        let (deliveries, imbalances) = self.queues.accounts();
        let counts = self.ledger.counts();
        let entered = self.bus.breaker.as_ref().map(|breaker| lock(breaker).entered());
        DeliveryStatus {
            deliveries,
            imbalances,
            oldest_buffered: oldest.map(|since| self.bus.now().saturating_sub(since)).unwrap_or_default(),
            totals: counts.totals(),
            buffer: self.buffer(),
            breaker: self.bus.breaker_state(),
            breaker_entered: entered.unwrap_or_default(),
            accepts: self.accepts(),
            journal: self.journal.as_ref().map(|journal| JournalStatus {
                usage: journal.usage(),
                fault: journal.fault(),
                oldest: journal.oldest(),
                damage: counts.damage,
                unkept: self.unkept(),
                stranded: self.stranded(&bus),
            }),
            last_loss: counts.last_loss,
            last_rejection: counts.last_rejection,
            bus,
            // Read after the state of the bus: a bus that is down because it was closed is then seen as closed.
            is_closed: self.is_closed(),
        }
    }

    fn unkept(&self) -> Option<(String, u64)> {
        let unkept = lock(&self.bus.unkept);
        unkept.fault.clone().map(|fault| (fault, unkept.bytes))
    }

    fn stranded(&self, bus: &BusState) -> Option<(Partition, u32)> {
        let partitions = self.bus.publisher.partition_count().get();
        let queues = self.queues.with_backlog();
        let stranded = queues.iter().map(|queue| queue.partition).find(|partition| *partition >= partitions);
        stranded.filter(|_| *bus == BusState::Up).map(|partition| (partition, partitions))
    }
}
