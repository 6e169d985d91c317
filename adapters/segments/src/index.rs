//! The index of a segment: where its parts are, their checksums, and what is known of each without reading it.
//!
//! Constraints and invariants:
//! * The index is in the tail of the file, whose checksum is in the [`SegmentSummary`]. The index has the checksums of
//!   everything before the tail. So a reader checks every byte that it uses.
//! * Ranges and levels are those of the rows. A group or block is left out of a search only if none of its rows can match.

use domain::level::Level;
use domain::timestamp::Timestamp;

use crate::encoding::{Input, put_number, put_signed};

/// A range of microseconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan {
    /// The least.
    pub from: Timestamp,
    /// The greatest.
    pub to: Timestamp,
}

impl TimeSpan {
    /// The span of one time.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self { from: time, to: time }
    }

    /// The span of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    /// The span of both, or the other one without a first.
    #[must_use]
    pub fn joined(one: Option<Self>, other: Self) -> Self {
        one.map_or(other, |one| one.and(other))
    }

    fn put(self, bytes: &mut Vec<u8>) {
        put_signed(bytes, self.from.unix_micros());
        put_signed(bytes, self.to.unix_micros().saturating_sub(self.from.unix_micros()));
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let from = input.signed()?;
        let to = from.checked_add(input.signed()?)?;
        Some(Self { from: Timestamp::from_unix_micros(from).ok()?, to: Timestamp::from_unix_micros(to).ok()? })
    }
}

/// What is known of a segment outside of it. The list of segments keeps this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Name of the file.
    pub name: String,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Where the tail begins: the index and the footer of Parquet.
    pub tail_offset: u64,
    /// CRC32C of the tail.
    pub tail_crc: u32,
    /// Number of events.
    pub rows: u64,
    /// Bytes of the texts of all events, uncompressed.
    pub text_bytes: u64,
    /// The timestamps of its events.
    pub timestamps: TimeSpan,
    /// The times of receipt of its events. They are of one day (UTC).
    pub received: TimeSpan,
    /// The least and the greatest sequence number of its events.
    pub sequences: (u64, u64),
}

/// Levels as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LevelSet(pub u8);

impl LevelSet {
    pub fn add(&mut self, level: Level) {
        self.0 |= 1 << level.number();
    }

    pub fn meets(self, levels: &std::collections::BTreeSet<Level>) -> bool {
        levels.iter().any(|level| self.0 & (1 << level.number()) != 0)
    }
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub offset: u64,
    pub bytes: u32,
    /// CRC32C.
    pub crc: u32,
}

impl Region {
    /// Least bytes of a region in the index.
    const BYTES_MIN: usize = 3;

    fn put(self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.offset);
        put_number(bytes, u64::from(self.bytes));
        put_number(bytes, u64::from(self.crc));
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { offset: input.number()?, bytes: input.u32()?, crc: input.u32()? })
    }

    /// A region of no bytes stands for none: a filter has a header.
    fn put_optional(region: Option<Self>, bytes: &mut Vec<u8>) {
        region.unwrap_or(Self { offset: 0, bytes: 0, crc: 0 }).put(bytes);
    }

    fn read_optional(input: &mut Input<'_>) -> Option<Option<Self>> {
        Self::read(input).map(|region| Some(region).filter(|region| region.bytes > 0))
    }
}

/// Neighbouring rows of a row group, one page of each column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub rows: u32,
    pub timestamps: TimeSpan,
    pub levels: LevelSet,
    /// Filter of words, names and values; without one they are perhaps there.
    pub tokens: Option<Region>,
    /// Filter of three neighbouring bytes.
    pub grams: Option<Region>,
}

/// A row group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub timestamps: TimeSpan,
    pub received: TimeSpan,
    pub levels: LevelSet,
    /// The column chunks, in the order of the columns.
    pub columns: Vec<Region>,
    /// Filters of event ids, trace ids and sources.
    pub event_ids: Option<Region>,
    pub trace_ids: Option<Region>,
    pub sources: Option<Region>,
    pub blocks: Vec<Block>,
}

impl Group {
    pub fn rows(&self) -> usize {
        self.blocks.iter().map(|block| block.rows as usize).sum()
    }
}

/// The index of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub groups: Vec<Group>,
}

impl Index {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, self.groups.len() as u64);
        for group in &self.groups {
            group.timestamps.put(&mut bytes);
            group.received.put(&mut bytes);
            bytes.push(group.levels.0);
            put_number(&mut bytes, group.columns.len() as u64);
            group.columns.iter().for_each(|column| column.put(&mut bytes));
            for filter in [group.event_ids, group.trace_ids, group.sources] {
                Region::put_optional(filter, &mut bytes);
            }
            put_number(&mut bytes, group.blocks.len() as u64);
            for block in &group.blocks {
                put_number(&mut bytes, u64::from(block.rows));
                block.timestamps.put(&mut bytes);
                bytes.push(block.levels.0);
                Region::put_optional(block.tokens, &mut bytes);
                Region::put_optional(block.grams, &mut bytes);
            }
        }
        bytes
    }

    /// The index in these bytes; `None` if they are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let groups = (0..input.count(9)?).map(|_| read_group(&mut input)).collect::<Option<Vec<_>>>()?;
        input.0.is_empty().then_some(Self { groups })
    }
}

fn read_group(input: &mut Input<'_>) -> Option<Group> {
    let (timestamps, received) = (TimeSpan::read(input)?, TimeSpan::read(input)?);
    let levels = LevelSet(input.byte()?);
    let columns = (0..input.count(Region::BYTES_MIN)?).map(|_| Region::read(input)).collect::<Option<Vec<_>>>()?;
    let event_ids = Region::read_optional(input)?;
    let trace_ids = Region::read_optional(input)?;
    let sources = Region::read_optional(input)?;
    let blocks = (0..input.count(4 + 2 * Region::BYTES_MIN)?).map(|_| read_block(input)).collect::<Option<Vec<_>>>()?;
    Some(Group { timestamps, received, levels, columns, event_ids, trace_ids, sources, blocks })
}

fn read_block(input: &mut Input<'_>) -> Option<Block> {
    Some(Block {
        rows: input.u32()?,
        timestamps: TimeSpan::read(input)?,
        levels: LevelSet(input.byte()?),
        tokens: Region::read_optional(input)?,
        grams: Region::read_optional(input)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_is_read_as_it_was_written() {
        let time = |micros| Timestamp::from_unix_micros(micros).expect("in range");
        let region = |offset| Region { offset, bytes: 70_000, crc: u32::MAX };
        let span = TimeSpan { from: Timestamp::MIN, to: Timestamp::MAX };
        let block = Block {
            rows: 8_000,
            timestamps: TimeSpan::of(time(-5)),
            levels: LevelSet(0x3f),
            tokens: Some(region(9)),
            grams: None,
        };
        let group = Group {
            timestamps: span,
            received: span.and(TimeSpan::of(time(7))),
            levels: LevelSet(1),
            columns: vec![region(4), region(u64::MAX)],
            event_ids: None,
            trace_ids: Some(region(1)),
            sources: None,
            blocks: vec![block.clone(), block],
        };
        assert_eq!(group.rows(), 16_000);
        let index = Index { groups: vec![group.clone(), group] };
        assert_eq!(Index::decode(&index.encode()), Some(index));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_index_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Index::decode(&bytes);
        }
    }
}
