//! Merging segments of one day into one.
//!
//! Constraints and invariants:
//! * The merged segment has exactly the rows of the others. The caller replaces them in the list in one transaction.
//! * Row groups and their filters are copied byte for byte, after their checksums are compared. Nothing is decoded.
//! * Memory: one column chunk or filter, and what a [`Sink`] keeps of one row group.
//! * Of the columns for names of metadata, those stay that all segments have.

use std::sync::Arc;

use domain::timestamp::Timestamp;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use storage::Storage;

use crate::columns::{BLOCK_ROWS, Column, parquet_schema, path_of_column, writer_properties};
use crate::error::{Named, SegmentError};
use crate::index::{Group, Region, SegmentSummary};
use crate::paths::ExactColumns;
use crate::reader::Segment;
use crate::scan::TimeIsUp;
use crate::sink::Sink;
use crate::writer::{Totals, complete};

/// Maximum segments that are merged at once.
pub const MERGE_SEGMENTS_MAX: usize = 8;
/// Maximum bytes of the files that are merged at once.
pub const MERGE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Writes the row groups of segments into a new one, those with the earliest timestamps first. After an error the caller removes
/// the file `name`, if it is there.
///
/// # Errors
/// [`SegmentError::Refused`] if they are more than [`MERGE_SEGMENTS_MAX`], have more than [`MERGE_BYTES_MAX`] or are of
/// several days; [`SegmentError::TooBroad`] once `time_is_up`; otherwise those of reading and writing.
pub fn merge(
    segments: &[Arc<Segment>],
    storage: &dyn Storage,
    name: &str,
    time_is_up: TimeIsUp<'_>,
) -> Result<Option<SegmentSummary>, SegmentError> {
    let named = Named(name);
    let file_bytes: u64 = segments.iter().map(|segment| segment.summary().file_bytes).sum();
    if segments.len() > MERGE_SEGMENTS_MAX || file_bytes > MERGE_BYTES_MAX {
        return Err(named.refused("the segments to merge are too many or too large"));
    }
    let totals = segments.iter().map(|segment| Totals::of(segment.summary())).reduce(Totals::and);
    let Some(totals) = totals else { return Ok(None) };
    if !totals.is_of_day(totals.received.to) {
        return Err(named.refused("the segments to merge are of several days"));
    }
    let mut waiting: Vec<(Timestamp, &Segment, usize)> = Vec::new();
    for segment in segments {
        let groups = segment.groups().iter().enumerate();
        waiting.extend(groups.map(|(number, group)| (group.timestamps.from, segment.as_ref(), number)));
    }
    waiting.sort_by_key(|(from, ..)| *from);
    let columns = columns_of_all(segments);
    let file = storage.create(name).map_err(|error| named.io(error))?;
    let mut writer = begin(Sink::new(file), &columns).map_err(|error| named.writing(error))?;
    let mut groups = Vec::with_capacity(waiting.len());
    for (_, segment, number) in waiting {
        if time_is_up() {
            return Err(SegmentError::TooBroad);
        }
        groups.push(copy_group(&mut writer, segment, number, &columns, &named)?);
        let written = writer.flush().and_then(|()| writer.inner_mut().write_pending());
        written.map_err(|error| named.io(error))?;
    }
    let paths = columns.iter().skip(Column::ALL.len());
    let exact = ExactColumns::of(paths.map(|name| segments.iter().all(|segment| segment.is_exact(name))));
    complete(storage, name, writer, groups, &exact, totals).map(Some)
}

/// The names of the columns that all segments have, in their order.
fn columns_of_all(segments: &[Arc<Segment>]) -> Vec<String> {
    let has = |segment: &Arc<Segment>, name: &str| segment.path_columns().contains(&name);
    let paths = segments.first().map(|segment| segment.path_columns()).unwrap_or_default();
    let paths = paths.into_iter().filter(|name| segments.iter().all(|segment| has(segment, name)));
    Column::ALL.iter().map(|column| column.name()).chain(paths).map(str::to_owned).collect()
}

fn begin(sink: Sink, columns: &[String]) -> Result<SerializedFileWriter<Sink>, ParquetError> {
    let paths: Vec<String> =
        columns.iter().skip(Column::ALL.len()).filter_map(|name| path_of_column(name)).map(str::to_owned).collect();
    let schema = parquet_schema(&paths)?.root_schema_ptr();
    SerializedFileWriter::new(sink, schema, Arc::new(writer_properties(BLOCK_ROWS, &[])?))
}

/// Copies the columns with these names of a row group, and its filters.
fn copy_group(
    writer: &mut SerializedFileWriter<Sink>,
    segment: &Segment,
    number: usize,
    columns: &[String],
    named: &Named<'_>,
) -> Result<Group, SegmentError> {
    let damaged = || segment.named().damaged("a column is missing");
    let mut group = segment.groups().get(number).ok_or_else(damaged)?.clone();
    let regions = std::mem::take(&mut group.columns);
    let mut rows = writer.next_row_group().map_err(|error| named.writing(error))?;
    for name in columns {
        let column = segment.column_chunk(number, name).ok_or_else(damaged)?;
        let region = *regions.get(column.place).ok_or_else(damaged)?;
        let written = ColumnCloseResult {
            bytes_written: u64::from(region.bytes),
            rows_written: group.rows() as u64,
            metadata: column.metadata.clone(),
            bloom_filter: None,
            column_index: None,
            offset_index: Some(column.pages.clone()),
        };
        let appended = rows.append_column(&segment.part(region)?, written);
        appended.map_err(|error| named.writing(error))?;
        group.columns.push(region);
    }
    let written = rows.close().map_err(|error| named.writing(error))?;
    for (region, column) in group.columns.iter_mut().zip(written.columns()) {
        let (offset, bytes) = column.byte_range();
        if bytes != u64::from(region.bytes) {
            return Err(named.damaged("a column was copied in part"));
        }
        region.offset = offset;
    }
    let of_blocks = group.blocks.iter_mut().flat_map(|block| [&mut block.tokens, &mut block.grams]);
    let of_group = [&mut group.event_ids, &mut group.trace_ids, &mut group.sources];
    for filter in of_blocks.chain(of_group) {
        *filter = filter.map(|region| copy_filter(writer, segment, region, named)).transpose()?;
    }
    Ok(group)
}

fn copy_filter(
    writer: &mut SerializedFileWriter<Sink>,
    segment: &Segment,
    region: Region,
    named: &Named<'_>,
) -> Result<Region, SegmentError> {
    let bytes = segment.read(region)?;
    let offset = writer.bytes_written() as u64;
    writer.write_all(&bytes).map_err(|error| named.io(error))?;
    Ok(Region { offset, ..region })
}
