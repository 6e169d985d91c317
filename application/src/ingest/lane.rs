//! The batches that the events of a request are collected in.

use domain::admission::Usage;
use domain::delivery::Guarantee;
use domain::partition::{PRIORITY_PARTITION, Partition};
use domain::record::Records;

/// The batch of one lane of one partition.
pub(super) struct Lane {
    /// How full the bus was when the lane was created.
    pub(super) usage: Usage,
    pub(super) records: Records,
    pub(super) indexes: Vec<usize>,
    pub(super) guarantees: Vec<Guarantee>,
}

/// The partition of a slot in the lanes of an intake.
pub(super) fn partition_of(slot: usize) -> Partition {
    slot.checked_sub(1)
        .map_or(PRIORITY_PARTITION, |partition| Partition::try_from(partition).unwrap_or(PRIORITY_PARTITION))
}
