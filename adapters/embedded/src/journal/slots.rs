//! What is in a slot: its partitions, and what a process that ended has left there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use domain::delivery::GuaranteeCounts;
use domain::partition::Partition;
use domain::ports::BacklogPartition;
use storage::{Slot, Storage, number_of};

use crate::partition_log::SEGMENT_BYTES_MAX;
use crate::segmented_log::{LogError, Recovered, SegmentedLog, has_entries};

/// Makes sure that a slot contains no partition files; returns false if a partition has entries. Adds to `damaged` what was
/// removed because nothing of it could be read.
pub(super) fn make_empty(slot: &dyn Slot, damaged: &mut Vec<BacklogPartition>) -> Result<bool, LogError> {
    let partitions = partitions_in(slot)?;
    for partition in &partitions {
        if has_entries(slot.storage(&partition.to_string()).as_ref())? {
            return Ok(false);
        }
    }
    for partition in partitions {
        let name = partition.to_string();
        damaged.extend(remove_remains(partition, slot.storage(&name), &slot.path(&name))?);
    }
    Ok(true)
}

/// Removes the files of a log without entries: a process was killed while it wrote or removed them. If it has more than
/// a torn write, returns the damage.
pub(super) fn remove_remains(
    partition: Partition,
    storage: Arc<dyn Storage>,
    path: &Path,
) -> Result<Option<BacklogPartition>, LogError> {
    // Also syncs removals that have already happened: unless they are on disk, a power cut brings the files back, among
    // those of another log.
    storage.sync_directory()?;
    if storage.list()?.is_empty() {
        return Ok(None);
    }
    let (mut log, recovered) = SegmentedLog::open(storage, SEGMENT_BYTES_MAX, 0)?;
    tell_of_recovery(path, &recovered);
    let bytes = log.bytes();
    log.clear()?;
    if bytes == 0 {
        return Ok(None);
    }
    let damaged_bytes = bytes + recovered.torn_bytes;
    tracing::error!(directory = %path.display(), bytes = damaged_bytes, "a journal has no intact entry: events are lost");
    let records = GuaranteeCounts::default();
    Ok(Some(BacklogPartition { partition, first: 0, next: 0, records, oldest: None, damaged_bytes }))
}

/// Partitions that may have entries in a slot, ascending.
pub(crate) fn partitions_in(slot: &dyn Slot) -> io::Result<Vec<Partition>> {
    let mut partitions: Vec<Partition> = slot.names()?.iter().filter_map(|name| number_of(name)).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

pub(super) fn tell_of_recovery(directory: &Path, recovered: &Recovered) {
    let directory = directory.display();
    if recovered.torn_bytes > 0 {
        let bytes = recovered.torn_bytes;
        tracing::info!(%directory, bytes, "cut off a torn write at the end of a journal");
    }
}
