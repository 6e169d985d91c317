//! Finding the rows of a block that match a filter.
//!
//! Constraints and invariants:
//! * A group or block is left out only if its [`Need`] is impossible; [`EventFilter::matches`] decides of each row.
//! * Columns of the filter are read first, the small ones before the texts, and each only in the rows that are left.
//! * Time is an argument: `time_is_up` is asked before each block.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use domain::filter::EventFilter;

use crate::columns::ColumnSet;
use crate::error::SegmentError;
use crate::index::{Group, LevelSet, Region, TimeSpan};
use crate::needs::{Answers, FilterKind, Need, Stage, stages};
use crate::reader::{GroupReader, Segment};
use crate::rows::Rows;

/// Row groups whose column chunks stay in memory. Segments that overlap in time take turns.
const READERS_MAX: usize = 4;

/// A block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub segment: usize,
    pub group: usize,
    pub block: usize,
    pub timestamps: TimeSpan,
}

/// Reads the blocks of some segments for one question.
pub(crate) struct Scan<'s> {
    segments: &'s [Arc<Segment>],
    need: Need,
    stages: Vec<Stage>,
    /// Whether a row of a group is possible, for the groups that were looked at.
    possible: HashMap<(usize, usize), bool>,
    /// The readers in use, the latest one last.
    readers: Vec<(usize, GroupReader<'s>)>,
    time_is_up: &'s dyn Fn() -> bool,
}

impl<'s> Scan<'s> {
    /// A scan for the events that match a filter and satisfy a need.
    pub fn new(
        segments: &'s [Arc<Segment>],
        filter: &EventFilter,
        further: Need,
        time_is_up: &'s dyn Fn() -> bool,
    ) -> Self {
        let need = Need::All(vec![further, Need::of(filter)]);
        Self { segments, need, stages: stages(filter), possible: HashMap::new(), readers: Vec::new(), time_is_up }
    }

    /// The blocks that may have matching rows, by what is known without reading.
    pub fn units(&self) -> Result<Vec<Unit>, SegmentError> {
        let mut units = Vec::new();
        for (segment, open) in self.segments.iter().enumerate() {
            let summary = open.summary();
            let mut whole =
                Known { timestamps: summary.timestamps, received: summary.received, levels: LevelSet(u8::MAX) };
            if !self.need.is_possible(&mut whole)? {
                continue;
            }
            for (number, group) in open.groups().iter().enumerate() {
                for (block, of_block) in group.blocks.iter().enumerate() {
                    let (timestamps, levels) = (of_block.timestamps, of_block.levels);
                    let mut known = Known { timestamps, received: group.received, levels };
                    if self.need.is_possible(&mut known)? {
                        units.push(Unit { segment, group: number, block, timestamps });
                    }
                }
            }
        }
        Ok(units)
    }

    /// The matching rows of a block, ascending; `None` if there are none.
    ///
    /// # Errors
    /// Those of reading, or [`SegmentError::TooBroad`].
    pub fn matching(&mut self, unit: Unit) -> Result<Option<(Vec<usize>, &mut GroupReader<'s>)>, SegmentError> {
        self.matching_among(unit, |_, rows| Ok(rows))
    }

    /// The matching rows among those that `choose` leaves of a block, ascending; `None` if there are none.
    ///
    /// # Errors
    /// Those of reading and of `choose`, or [`SegmentError::TooBroad`].
    pub fn matching_among(
        &mut self,
        unit: Unit,
        choose: impl FnOnce(&mut GroupReader<'s>, Vec<usize>) -> Result<Vec<usize>, SegmentError>,
    ) -> Result<Option<(Vec<usize>, &mut GroupReader<'s>)>, SegmentError> {
        if (self.time_is_up)() {
            return Err(SegmentError::TooBroad);
        }
        if !self.is_possible(unit)? {
            return Ok(None);
        }
        let at = self.reader(unit)?;
        let Some((_, reader)) = self.readers.get_mut(at) else { return Ok(None) };
        let of_block = reader.rows_of(unit.block).collect();
        let mut rows = choose(reader, of_block)?;
        for stage in &self.stages {
            if rows.is_empty() {
                return Ok(None);
            }
            rows = rows_of_stage(stage, reader, &rows)?;
        }
        Ok((!rows.is_empty()).then_some((rows, reader)))
    }

    /// Whether the filters of a block and of its group leave a chance.
    fn is_possible(&mut self, unit: Unit) -> Result<bool, SegmentError> {
        let Some(segment) = self.segments.get(unit.segment) else { return Ok(false) };
        let Some(group) = segment.groups().get(unit.group) else { return Ok(false) };
        let of_group = match self.possible.get(&(unit.segment, unit.group)) {
            Some(possible) => *possible,
            None => {
                let possible = self.need.is_possible(&mut Filters::new(segment, group, None))?;
                self.possible.insert((unit.segment, unit.group), possible);
                possible
            }
        };
        Ok(of_group && self.need.is_possible(&mut Filters::new(segment, group, Some(unit.block)))?)
    }

    /// The place of the reader of a block's group.
    fn reader(&mut self, unit: Unit) -> Result<usize, SegmentError> {
        let is_of =
            |(segment, reader): &(usize, GroupReader<'_>)| (*segment, reader.number()) == (unit.segment, unit.group);
        if let Some(at) = self.readers.iter().position(is_of) {
            let used = self.readers.remove(at);
            self.readers.push(used);
        } else {
            if self.readers.len() >= READERS_MAX {
                self.readers.remove(0);
            }
            if let Some(reader) = self.segments.get(unit.segment).and_then(|it| GroupReader::new(it, unit.group)) {
                self.readers.push((unit.segment, reader));
            }
        }
        Ok(self.readers.len().saturating_sub(1))
    }
}

/// The rows among these that match a stage.
fn rows_of_stage(stage: &Stage, reader: &mut GroupReader<'_>, rows: &[usize]) -> Result<Vec<usize>, SegmentError> {
    if stage.columns.is_empty() {
        // A filter without a condition: it is true or false of every event.
        let nothing = Rows::nothing();
        let matches = nothing.event(0).is_some_and(|event| stage.matches(&event));
        return Ok(if matches { rows.to_vec() } else { Vec::new() });
    }
    let read = reader.read(stage.columns, ranges(rows))?;
    let mut matching = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let event = read.event(at).ok_or_else(|| reader.segment().named().damaged("a row is not an event"))?;
        if stage.matches(&event) {
            matching.push(*row);
        }
    }
    Ok(matching)
}

/// The ranges of ascending numbers.
pub(crate) fn ranges(rows: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(range) if range.end == *row => range.end += 1,
            _ => ranges.push(*row..row + 1),
        }
    }
    ranges
}

/// Reads some columns of rows of a group.
pub(crate) fn read_rows(
    reader: &mut GroupReader<'_>,
    columns: ColumnSet,
    rows: &[usize],
) -> Result<Rows, SegmentError> {
    reader.read(columns, ranges(rows))
}

/// What is known without reading a filter.
struct Known {
    timestamps: TimeSpan,
    received: TimeSpan,
    levels: LevelSet,
}

impl Answers for Known {
    type Error = SegmentError;

    fn timestamps(&self) -> TimeSpan {
        self.timestamps
    }

    fn received(&self) -> Option<TimeSpan> {
        Some(self.received)
    }

    fn levels(&self) -> LevelSet {
        self.levels
    }

    fn may_contain(&mut self, _: FilterKind, _: u64) -> Result<bool, SegmentError> {
        Ok(true)
    }
}

/// The filters of a group or, with the number of a block, those of the block. They are read once they are asked.
struct Filters<'s> {
    segment: &'s Segment,
    group: &'s Group,
    block: Option<usize>,
    read: BTreeMap<FilterKind, Bytes>,
}

impl<'s> Filters<'s> {
    fn new(segment: &'s Segment, group: &'s Group, block: Option<usize>) -> Self {
        Self { segment, group, block, read: BTreeMap::new() }
    }

    fn region(&self, filter: FilterKind) -> Option<Region> {
        let block = self.block.map(|block| self.group.blocks.get(block));
        match (filter, block) {
            (FilterKind::EventIds, None) => self.group.event_ids,
            (FilterKind::TraceIds, None) => self.group.trace_ids,
            (FilterKind::Sources, None) => self.group.sources,
            (FilterKind::Tokens, Some(block)) => block?.tokens,
            (FilterKind::Grams, Some(block)) => block?.grams,
            _ => None,
        }
    }
}

impl Answers for Filters<'_> {
    type Error = SegmentError;

    fn timestamps(&self) -> TimeSpan {
        let block = self.block.and_then(|block| self.group.blocks.get(block));
        block.map_or(self.group.timestamps, |block| block.timestamps)
    }

    fn received(&self) -> Option<TimeSpan> {
        Some(self.group.received)
    }

    fn levels(&self) -> LevelSet {
        let block = self.block.and_then(|block| self.group.blocks.get(block));
        block.map_or(self.group.levels, |block| block.levels)
    }

    fn may_contain(&mut self, filter: FilterKind, key: u64) -> Result<bool, SegmentError> {
        let Some(region) = self.region(filter) else { return Ok(true) };
        let bytes = match self.read.get(&filter) {
            Some(bytes) => bytes.clone(),
            None => {
                let bytes = self.segment.read(region)?;
                self.read.insert(filter, bytes.clone());
                bytes
            }
        };
        self.segment.may_contain(&bytes, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_rows_become_one_range() {
        assert_eq!(ranges(&[]), []);
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
    }
}
