//! Finding the rows of a block that match a filter.
//!
//! Constraints and invariants:
//! * A group or block is left out only if its [`Need`] is impossible; [`EventFilter::matches`] decides of each row.
//! * Columns of the filter are read first, the small ones before the texts, and each only in the rows that are left. A column for
//!   a name of metadata leaves out the rows whose text cannot equal what is looked for.
//! * Time is an argument: [`TimeIsUp`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::StringArray;
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

/// Whether a call has to end. It is asked before each block.
pub type TimeIsUp<'a> = &'a (dyn Fn() -> bool + Sync);

/// A block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub segment: usize,
    pub group: usize,
    pub block: usize,
    pub timestamps: TimeSpan,
}

/// What a question needs, and how its rows are found.
pub(crate) struct Plan {
    need: Need,
    stages: Vec<Stage>,
}

impl Plan {
    /// For the events that match a filter and satisfy a need.
    pub fn new(filter: &EventFilter, further: Need) -> Self {
        Self { need: Need::All(vec![further, Need::of(filter)]), stages: stages(filter) }
    }

    /// The blocks that may have matching rows, by what is known without reading.
    pub fn units(&self, segments: &[Arc<Segment>]) -> Result<Vec<Unit>, SegmentError> {
        let mut units = Vec::new();
        for (segment, open) in segments.iter().enumerate() {
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
}

/// Reads the blocks of some segments for one question, on one thread.
pub(crate) struct Scan<'s> {
    segments: &'s [Arc<Segment>],
    plan: &'s Plan,
    /// Whether a row of a group is possible, for the groups that were looked at.
    possible: HashMap<(usize, usize), bool>,
    /// The readers in use, the latest one last.
    readers: Vec<(usize, GroupReader<'s>)>,
    time_is_up: TimeIsUp<'s>,
}

impl<'s> Scan<'s> {
    /// Nothing is read yet.
    pub fn new(segments: &'s [Arc<Segment>], plan: &'s Plan, time_is_up: TimeIsUp<'s>) -> Self {
        Self { segments, plan, possible: HashMap::new(), readers: Vec::new(), time_is_up }
    }

    /// The matching rows of a block; `None` if there are none.
    ///
    /// # Errors
    /// Those of reading, or [`SegmentError::TooBroad`].
    pub fn matching(&mut self, unit: Unit) -> Result<Option<Found<'_, 's>>, SegmentError> {
        self.matching_among(unit, |_| Ok(()))
    }

    /// The matching rows among those that `choose` leaves of a block; `None` if there are none.
    ///
    /// # Errors
    /// Those of reading and of `choose`, or [`SegmentError::TooBroad`].
    pub fn matching_among(
        &mut self,
        unit: Unit,
        choose: impl FnOnce(&mut Found<'_, 's>) -> Result<(), SegmentError>,
    ) -> Result<Option<Found<'_, 's>>, SegmentError> {
        if (self.time_is_up)() {
            return Err(SegmentError::TooBroad);
        }
        if !self.is_possible(unit)? {
            return Ok(None);
        }
        let at = self.reader(unit)?;
        let Some((_, reader)) = self.readers.get_mut(at) else { return Ok(None) };
        let mut found = Found::all(reader, unit.block);
        choose(&mut found)?;
        for stage in &self.plan.stages {
            if found.numbers.is_empty() {
                return Ok(None);
            }
            found.keep_matching(stage)?;
        }
        Ok((!found.numbers.is_empty()).then_some(found))
    }

    /// Whether the filters of a block and of its group leave a chance.
    fn is_possible(&mut self, unit: Unit) -> Result<bool, SegmentError> {
        let Some(segment) = self.segments.get(unit.segment) else { return Ok(false) };
        let Some(group) = segment.groups().get(unit.group) else { return Ok(false) };
        let of_group = match self.possible.get(&(unit.segment, unit.group)) {
            Some(possible) => *possible,
            None => {
                let possible = self.plan.need.is_possible(&mut Filters::new(segment, group, None))?;
                self.possible.insert((unit.segment, unit.group), possible);
                possible
            }
        };
        Ok(of_group && self.plan.need.is_possible(&mut Filters::new(segment, group, Some(unit.block)))?)
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

/// Rows of a block, with the columns that were read of them: none is read twice.
pub(crate) struct Found<'f, 's> {
    reader: &'f mut GroupReader<'s>,
    /// Their numbers in the row group, ascending.
    numbers: Vec<usize>,
    read: Rows,
}

impl<'f, 's> Found<'f, 's> {
    /// All rows of a block.
    pub fn all(reader: &'f mut GroupReader<'s>, block: usize) -> Self {
        let numbers: Vec<usize> = reader.rows_of(block).collect();
        let read = Rows::without_columns(numbers.len());
        Self { reader, numbers, read }
    }

    /// Reads these columns.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self, columns: ColumnSet) -> Result<(), SegmentError> {
        let missing = columns.without(self.read.columns());
        if !missing.is_empty() {
            self.read.add_columns(self.reader.read(missing, ranges(&self.numbers))?);
        }
        Ok(())
    }

    /// The rows with the columns that were read.
    pub fn rows(&self) -> &Rows {
        &self.read
    }

    /// Keeps the rows at some places, which ascend.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`].
    pub fn keep(&mut self, places: &[usize]) -> Result<(), SegmentError> {
        self.read.keep(places).map_err(|error| self.reader.segment().named().damaged(error))?;
        self.numbers = places.iter().filter_map(|place| self.numbers.get(*place).copied()).collect();
        Ok(())
    }

    /// The texts of a name of metadata, as [`GroupReader::read_path`] has them.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_path(&mut self, name: &str) -> Result<Option<StringArray>, SegmentError> {
        self.reader.read_path(name, ranges(&self.numbers))
    }

    /// Keeps the rows that match a stage.
    fn keep_matching(&mut self, stage: &Stage) -> Result<(), SegmentError> {
        for (name, literal) in &stage.equalities {
            if let Some(texts) = self.read_path(name)? {
                let may_match = |(_, text): &(usize, Option<&str>)| text.is_none_or(|text| literal.may_equal(text));
                let places: Vec<usize> = texts.iter().enumerate().filter(may_match).map(|(at, _)| at).collect();
                self.keep(&places)?;
            }
            if self.numbers.is_empty() {
                return Ok(());
            }
        }
        self.read(stage.columns)?;
        let mut places = Vec::new();
        for at in 0..self.read.len() {
            let event = self.read.event(at).ok_or_else(|| self.not_an_event())?;
            if stage.matches(&event) {
                places.push(at);
            }
        }
        self.keep(&places)
    }

    /// The error for a row that lacks what an event has.
    pub fn not_an_event(&self) -> SegmentError {
        self.reader.segment().named().damaged("a row is not an event")
    }
}

/// The ranges of ascending numbers.
fn ranges(rows: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(range) if range.end == *row => range.end += 1,
            _ => ranges.push(*row..row + 1),
        }
    }
    ranges
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
