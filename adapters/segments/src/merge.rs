//! Merging segments of one day into one.
//!
//! Constraints and invariants:
//! * The merged segment has exactly the rows of the others. The caller replaces them in the list in one transaction.
//! * Memory: one block and the column chunks of at most [`GROUPS_OPEN_MAX`] row groups, and what a [`SegmentWriter`] holds.
//! * Rows are read in the order of their timestamps as far as that bound allows. The order of row groups is for speed only.

use std::sync::Arc;

use domain::Uuid;
use domain::timestamp::Timestamp;
use storage::Storage;

use crate::columns::ColumnSet;
use crate::error::{Named, SegmentError};
use crate::index::SegmentSummary;
use crate::reader::{GroupReader, Segment};
use crate::rows::{Row, Rows};
use crate::writer::{SegmentBounds, SegmentWriter};

/// Maximum segments that are merged at once.
pub const MERGE_SEGMENTS_MAX: usize = 8;
/// Maximum bytes of the files that are merged at once.
pub const MERGE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Maximum row groups that are read at once.
const GROUPS_OPEN_MAX: usize = 16;

/// A row group that is being read.
struct OpenGroup<'s> {
    reader: GroupReader<'s>,
    block: usize,
    rows: Rows,
    at: usize,
    /// Sorts the row at `at`.
    key: (Timestamp, Uuid),
}

impl<'s> OpenGroup<'s> {
    /// `None` if the group has no rows.
    fn open(segment: &'s Segment, group: usize) -> Result<Option<Self>, SegmentError> {
        let Some(mut reader) = GroupReader::new(segment, group) else { return Ok(None) };
        let Some(rows) = read_block(&mut reader, 0)? else { return Ok(None) };
        let mut open = Self { reader, block: 0, rows, at: 0, key: (Timestamp::MIN, Uuid::nil()) };
        open.update_key()?;
        Ok(Some(open))
    }

    fn damaged(&self) -> SegmentError {
        self.reader.segment().named().damaged("a row is not an event")
    }

    fn update_key(&mut self) -> Result<(), SegmentError> {
        let key = self.rows.timestamp(self.at).zip(self.rows.event_id(self.at));
        self.key = key.ok_or_else(|| self.damaged())?;
        Ok(())
    }

    /// Writes the row.
    fn write(&self, writer: &mut SegmentWriter) -> Result<(), SegmentError> {
        let sequence = self.rows.sequence(self.at).ok_or_else(|| self.damaged())?;
        let stored = self.rows.stored_event(self.at).ok_or_else(|| self.damaged())?;
        let (event, topic) = (&stored.event, stored.topic.as_str());
        writer.push(&Row { sequence, event, topic, partition: stored.partition, offset: stored.offset })
    }

    /// Goes to the next row; false behind the last one.
    fn advance(&mut self) -> Result<bool, SegmentError> {
        self.at += 1;
        if self.at >= self.rows.len() {
            self.block += 1;
            let Some(rows) = read_block(&mut self.reader, self.block)? else { return Ok(false) };
            (self.rows, self.at) = (rows, 0);
        }
        self.update_key()?;
        Ok(true)
    }
}

fn read_block(reader: &mut GroupReader<'_>, block: usize) -> Result<Option<Rows>, SegmentError> {
    let rows = reader.rows_of(block);
    if rows.is_empty() { Ok(None) } else { reader.read(ColumnSet::ALL, vec![rows]).map(Some) }
}

/// Writes the rows of segments into a new one. After an error the caller removes the file `name`, if it is there.
///
/// # Errors
/// [`SegmentError::Refused`] if they are more than [`MERGE_SEGMENTS_MAX`], have more than [`MERGE_BYTES_MAX`] or are of
/// several days; [`SegmentError::TooBroad`] once `time_is_up`; otherwise those of reading and writing.
pub fn merge(
    segments: &[Arc<Segment>],
    storage: Arc<dyn Storage>,
    name: &str,
    bounds: SegmentBounds,
    time_is_up: &dyn Fn() -> bool,
) -> Result<Option<SegmentSummary>, SegmentError> {
    let file_bytes: u64 = segments.iter().map(|segment| segment.summary().file_bytes).sum();
    if segments.len() > MERGE_SEGMENTS_MAX || file_bytes > MERGE_BYTES_MAX {
        return Err(Named(name).refused("the segments to merge are too many or too large"));
    }
    let rows_max = segments.iter().map(|segment| segment.summary().rows).sum();
    let mut writer =
        SegmentWriter::create(storage, name, SegmentBounds { rows_max, file_bytes_max: u64::MAX, ..bounds })?;
    let mut waiting: Vec<(Timestamp, &Segment, usize)> = Vec::new();
    for segment in segments {
        let groups = segment.groups().iter().enumerate();
        waiting.extend(groups.map(|(number, group)| (group.timestamps.from, segment.as_ref(), number)));
    }
    // The earliest one is taken from the end.
    waiting.sort_by_key(|(from, ..)| std::cmp::Reverse(*from));
    let mut open: Vec<OpenGroup<'_>> = Vec::new();
    loop {
        while let Some((from, segment, number)) = waiting.last().copied()
            && open.len() < GROUPS_OPEN_MAX
            && open.iter().map(|group| group.key.0).min().is_none_or(|first| from <= first)
        {
            waiting.pop();
            open.extend(OpenGroup::open(segment, number)?);
        }
        let Some((at, group)) = open.iter_mut().enumerate().min_by_key(|(_, group)| group.key) else { break };
        if time_is_up() {
            return Err(SegmentError::TooBroad);
        }
        group.write(&mut writer)?;
        if !group.advance()? {
            open.swap_remove(at);
        }
    }
    writer.finish()
}
