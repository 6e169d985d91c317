//! Reading a segment: its tail when it is opened, and then the parts that a question needs.
//!
//! Constraints and invariants:
//! * Every part is compared with its checksum before it is used, each time it is read. A difference, or a file that ends too
//!   early, is [`SegmentError::Damaged`], and never fewer rows.
//! * Memory: the tail (about 50 KB for 500,000 rows) while the segment is open, and for each question the column chunks of
//!   one row group, of the columns that it looks at, and one block of them decoded.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use storage::{Storage, StorageFile};

use crate::columns::{Column, ColumnSet, FORMAT_VERSION, path_of_column};
use crate::error::{Named, SegmentError};
use crate::fuse::Filter;
use crate::index::{Group, Index, Region, SegmentSummary};
use crate::paths::ExactColumns;
use crate::rows::Rows;
use crate::writer::{EXACT_ENTRY, INDEX_ENTRY, VERSION_ENTRY};

/// Maximum bytes of a tail.
const TAIL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An open segment.
pub struct Segment {
    summary: SegmentSummary,
    file: Arc<dyn StorageFile>,
    index: Index,
    exact: ExactColumns,
    parquet: ArrowReaderMetadata,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl Segment {
    /// Opens a segment: checks its length and its tail.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file is missing or cannot be read, [`SegmentError::Damaged`], or
    /// [`SegmentError::Version`].
    pub fn open(storage: &dyn Storage, summary: &SegmentSummary) -> Result<Self, SegmentError> {
        let named = Named(&summary.name);
        let file = storage.open(&summary.name).map_err(|error| named.io(error))?;
        let length = file.len().map_err(|error| named.io(error))?;
        if length != summary.file_bytes {
            return Err(named.damaged(format_args!("it has {length} bytes and not {}", summary.file_bytes)));
        }
        let tail_bytes = summary.file_bytes.checked_sub(summary.tail_offset).filter(|bytes| *bytes <= TAIL_BYTES_MAX);
        let bytes = tail_bytes.and_then(|bytes| u32::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| named.damaged("its tail has an impossible length"))?;
        let region = Region { offset: summary.tail_offset, bytes, crc: summary.tail_crc };
        let tail = Parts {
            length,
            parts: BTreeMap::from([(summary.tail_offset, read_region(file.as_ref(), region, &named)?)]),
        };
        let footer = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Required);
        let footer = footer.parse_and_finish(&tail).map_err(|error| named.damaged(error))?;
        let entry = |key: &str| {
            let entries = footer.file_metadata().key_value_metadata()?;
            entries.iter().find(|entry| entry.key == key)?.value.clone()
        };
        let version = entry(VERSION_ENTRY).unwrap_or_default();
        if version != FORMAT_VERSION.to_string() {
            let segment = summary.name.clone();
            return Err(SegmentError::Version { segment, version, newest: FORMAT_VERSION });
        }
        let index = entry(INDEX_ENTRY).and_then(|place| index_at(&place, &tail));
        let index = index.ok_or_else(|| named.damaged("it has no index"))?;
        // Segments of earlier versions do not say it.
        let exact = ExactColumns::parse(&entry(EXACT_ENTRY).unwrap_or_default());
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let parquet = ArrowReaderMetadata::try_new(Arc::new(footer), options).map_err(|error| named.damaged(error))?;
        let segment = Self { summary: summary.clone(), file, index, exact, parquet };
        segment.check_index()?;
        Ok(segment)
    }

    /// The index and the footer must tell the same of rows and columns.
    fn check_index(&self) -> Result<(), SegmentError> {
        let named = self.named();
        let footer = self.parquet.metadata();
        let groups = &self.index.groups;
        let rows: u64 = groups.iter().map(|group| group.rows() as u64).sum();
        let agrees = groups.len() == footer.num_row_groups()
            && rows == self.summary.rows
            && groups.iter().zip(footer.row_groups()).all(|(group, written)| {
                i64::try_from(group.rows()).is_ok_and(|rows| rows == written.num_rows())
                    && group.columns.len() == written.num_columns()
                    && group
                        .columns
                        .iter()
                        .zip(written.columns())
                        .all(|(region, column)| column.byte_range() == (region.offset, u64::from(region.bytes)))
            });
        if agrees { Ok(()) } else { Err(named.damaged("its index and its footer differ")) }
    }

    /// What the list of segments has of it.
    #[must_use]
    pub fn summary(&self) -> &SegmentSummary {
        &self.summary
    }

    /// The columns for names of metadata.
    #[must_use]
    pub fn path_columns(&self) -> Vec<&str> {
        let columns = self.parquet.parquet_schema().columns().iter().map(|column| column.name());
        columns.skip(Column::ALL.len()).collect()
    }

    /// Whether a column for a name of metadata is exact.
    pub(crate) fn is_exact(&self, column: &str) -> bool {
        let place = self.path_columns().into_iter().position(|name| name == column);
        place.is_some_and(|place| self.exact.contains(place))
    }

    /// The number of the column for a name of metadata, if that is exact.
    fn exact_column(&self, name: &str) -> Option<usize> {
        let columns = self.parquet.parquet_schema().columns().iter().skip(Column::ALL.len());
        let place = columns.map(|column| path_of_column(column.name())).position(|path| path == Some(name));
        place.filter(|place| self.exact.contains(*place)).map(|place| place + Column::ALL.len())
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.index.groups
    }

    pub(crate) fn named(&self) -> Named<'_> {
        Named(&self.summary.name)
    }

    pub(crate) fn file(&self) -> &dyn StorageFile {
        self.file.as_ref()
    }

    /// The bytes of a part, checked.
    pub(crate) fn read(&self, region: Region) -> Result<Bytes, SegmentError> {
        let end = region.offset.checked_add(u64::from(region.bytes));
        if end.is_none_or(|end| end > self.summary.file_bytes) {
            return Err(self.named().damaged("a part of it lies beyond its end"));
        }
        read_region(self.file.as_ref(), region, &self.named())
    }

    /// A part of the file, checked, for the Parquet library.
    pub(crate) fn part(&self, region: Region) -> Result<Parts, SegmentError> {
        let parts = BTreeMap::from([(region.offset, self.read(region)?)]);
        Ok(Parts { length: self.summary.file_bytes, parts })
    }

    /// What the footer says of a column of a row group.
    pub(crate) fn column_chunk(&self, group: usize, name: &str) -> Option<ColumnChunk<'_>> {
        let footer = self.parquet.metadata();
        let columns = footer.row_groups().get(group)?.columns();
        let place = columns.iter().position(|column| column.column_descr().name() == name)?;
        let pages = footer.offset_index()?.get(group)?.get(place)?;
        Some(ColumnChunk { place, metadata: columns.get(place)?, pages })
    }

    /// Whether a key may be in a filter; true without a filter.
    pub(crate) fn may_contain(&self, bytes: &Bytes, key: u64) -> Result<bool, SegmentError> {
        let filter = Filter::parse(bytes).ok_or_else(|| self.named().damaged("a filter is not one"))?;
        Ok(filter.may_contain(key))
    }
}

/// What the footer says of a column of a row group.
pub(crate) struct ColumnChunk<'s> {
    /// The number of the column.
    pub place: usize,
    pub metadata: &'s ColumnChunkMetaData,
    pub pages: &'s OffsetIndexMetaData,
}

/// The index that an entry of the footer tells the place of.
fn index_at(place: &str, tail: &Parts) -> Option<Index> {
    let mut numbers = place.split(' ').map(|number| number.parse::<u64>().ok());
    let (offset, length, crc) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let bytes = tail.slice(offset, usize::try_from(length).ok()?)?;
    if u64::from(crc32c::crc32c(&bytes)) != crc {
        return None;
    }
    Index::decode(&bytes)
}

/// Reads a part of a file and compares its checksum. The caller has checked that the file is that long.
fn read_region(file: &dyn StorageFile, region: Region, named: &Named<'_>) -> Result<Bytes, SegmentError> {
    let mut bytes = vec![0; region.bytes as usize];
    let read = file.read_at(&mut bytes, region.offset).map_err(|error| named.io(error))?;
    let matches = read == bytes.len() && crc32c::crc32c(&bytes) == region.crc;
    if !matches {
        let (from, to) = (region.offset, region.offset + u64::from(region.bytes));
        return Err(named.damaged(format_args!("the checksum of its bytes {from} to {to} does not match")));
    }
    Ok(Bytes::from(bytes))
}

/// A file of which some parts are in memory, for the Parquet library.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    length: u64,
    /// By offset.
    parts: BTreeMap<u64, Bytes>,
}

impl Parts {
    /// Bytes that lie within one part.
    fn slice(&self, start: u64, length: usize) -> Option<Bytes> {
        let (offset, bytes) = self.parts.range(..=start).next_back()?;
        let begin = usize::try_from(start - offset).ok()?;
        let end = begin.checked_add(length)?;
        (end <= bytes.len()).then(|| bytes.slice(begin..end))
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Parts {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let (offset, bytes) =
            self.parts.range(..=start).next_back().ok_or_else(|| ParquetError::EOF("no such part".to_owned()))?;
        let begin = usize::try_from(start - offset).ok().filter(|begin| *begin <= bytes.len());
        let begin = begin.ok_or_else(|| ParquetError::EOF("no such part".to_owned()))?;
        Ok(bytes.slice(begin..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, length).ok_or_else(|| ParquetError::EOF(format!("no {length} bytes at {start}")))
    }
}

/// Reads rows of one row group. Keeps the column chunks that were read, so that the next block does not read them again.
pub(crate) struct GroupReader<'s> {
    segment: &'s Segment,
    number: usize,
    group: &'s Group,
    chunks: Parts,
}

impl<'s> GroupReader<'s> {
    /// `None` if the segment has no row group with this number.
    pub fn new(segment: &'s Segment, number: usize) -> Option<Self> {
        let group = segment.index.groups.get(number)?;
        let chunks = Parts { length: segment.summary.file_bytes, parts: BTreeMap::new() };
        Some(Self { segment, number, group, chunks })
    }

    pub fn segment(&self) -> &'s Segment {
        self.segment
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn group(&self) -> &'s Group {
        self.group
    }

    /// The rows of a block, as numbers in the group.
    pub fn rows_of(&self, block: usize) -> Range<usize> {
        let before: usize = self.group.blocks.iter().take(block).map(|block| block.rows as usize).sum();
        before..before + self.group.blocks.get(block).map_or(0, |block| block.rows as usize)
    }

    /// Some columns of the rows in these ranges, which ascend. The rows are those of one block at most.
    ///
    /// # Errors
    /// [`SegmentError::Io`] or [`SegmentError::Damaged`].
    pub fn read(&mut self, columns: ColumnSet, ranges: Vec<Range<usize>>) -> Result<Rows, SegmentError> {
        Ok(Rows::new(&self.read_places(columns.columns().map(Column::index).collect(), ranges)?))
    }

    /// The texts of a name of metadata in these rows, if it has an exact column (`paths.rs`). A row without a text may have values in
    /// its metadata.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub fn read_path(&mut self, name: &str, ranges: Vec<Range<usize>>) -> Result<Option<StringArray>, SegmentError> {
        let Some(place) = self.segment.exact_column(name) else { return Ok(None) };
        let batch = self.read_places(vec![place], ranges)?;
        let texts = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
        texts.cloned().map(Some).ok_or_else(|| self.segment.named().damaged("a column does not have texts"))
    }

    /// The columns at some places, which ascend.
    fn read_places(&mut self, places: Vec<usize>, ranges: Vec<Range<usize>>) -> Result<RecordBatch, SegmentError> {
        let rows: usize = ranges.iter().map(Range::len).sum();
        for place in &places {
            let region = self.group.columns.get(*place).copied();
            let region = region.ok_or_else(|| self.segment.named().damaged("a column is missing"))?;
            if !self.chunks.parts.contains_key(&region.offset) {
                self.chunks.parts.insert(region.offset, self.segment.read(region)?);
            }
        }
        let batch = self.decode(places, ranges, rows).map_err(|error| self.segment.named().damaged(error))?;
        if batch.num_rows() != rows {
            return Err(self.segment.named().damaged("a row group has fewer rows than its index says"));
        }
        Ok(batch)
    }

    fn decode(&self, places: Vec<usize>, ranges: Vec<Range<usize>>, rows: usize) -> Result<RecordBatch, ParquetError> {
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), self.segment.parquet.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), self.group.rows());
        let mut batches = builder
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(rows.max(1))
            .build()?;
        let batch = batches.next().ok_or_else(|| ParquetError::General("a row group has no rows".to_owned()))?;
        Ok(batch?)
    }
}
