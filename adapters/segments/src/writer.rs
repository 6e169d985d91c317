//! Writing a segment.
//!
//! Constraints and invariants:
//! * Bounds: [`SEGMENT_ROWS_MAX`], [`SEGMENT_BYTES_MAX`] (checked after each row group), one day of receipt (UTC), row groups
//!   as `columns.rs` says. At most two row groups are in memory: that of usual events, and that of events whose timestamp is
//!   more than [`TIMESTAMP_DISTANCE_MAX`] from their receipt. One timestamp of the year 9999 would otherwise open its row
//!   group for every search.
//! * The file is complete and synced, with its directory, before [`SegmentWriter::finish`] returns. Names are never used
//!   twice, so the file has its name from the beginning: what is not in the list of segments is not a segment.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use domain::rollup::MINUTE_MICROS;
use domain::timestamp::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use storage::Storage;

use crate::columns::{
    BLOCK_ROWS, Column, FORMAT_VERSION, FrequentPath, GROUP_BYTES_MAX, GROUP_ROWS_MAX, arrow_schema, parquet_schema,
    writer_properties,
};
use crate::error::{Named, SegmentError};
use crate::fuse::{FilterBuilder, Precision};
use crate::index::{Block, Group, Index, LevelSet, Region, SegmentSummary, TimeSpan};
use crate::key;
use crate::key_set::KeySet;
use crate::paths::{ExactColumns, PathColumns, frequent};
use crate::rows::{GroupRows, Row, Rows};
use crate::sink::Sink;
use crate::texts::BlockTexts;

/// Maximum rows of a segment that is sealed.
pub const SEGMENT_ROWS_MAX: u64 = 500_000;
/// A segment that is sealed takes no further rows once its file has this many bytes.
pub const SEGMENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Maximum distance of a timestamp from the receipt of a usual event.
pub const TIMESTAMP_DISTANCE_MAX: Duration = Duration::from_secs(60 * 60);
/// Names of the entries in the footer of Parquet.
pub(crate) const VERSION_ENTRY: &str = "spillway.segment.version";
pub(crate) const EXACT_ENTRY: &str = "spillway.segment.exact";
pub(crate) const INDEX_ENTRY: &str = "spillway.segment.index";

const DAY_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

/// Ends of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentBounds {
    /// Maximum rows.
    pub rows_max: u64,
    /// No further rows once the file has this many bytes.
    pub file_bytes_max: u64,
    /// Maximum rows of a row group.
    pub group_rows_max: usize,
    /// A row group takes no further rows once its texts have this many bytes.
    pub group_bytes_max: usize,
    /// Rows of a block.
    pub block_rows: usize,
}

impl Default for SegmentBounds {
    fn default() -> Self {
        Self {
            rows_max: SEGMENT_ROWS_MAX,
            file_bytes_max: SEGMENT_BYTES_MAX,
            group_rows_max: GROUP_ROWS_MAX,
            group_bytes_max: GROUP_BYTES_MAX,
            block_rows: BLOCK_ROWS,
        }
    }
}

/// Writes one segment.
pub struct SegmentWriter {
    storage: Arc<dyn Storage>,
    name: String,
    bounds: SegmentBounds,
    output: Output,
    usual: GroupRows,
    unusual: GroupRows,
    groups: Vec<Group>,
    filters: Filters,
    totals: Option<Totals>,
}

/// Memory for building filters.
struct Filters {
    texts: BlockTexts,
    ids: KeySet,
    builder: FilterBuilder,
}

/// The file. Its columns are chosen when its first row group is written.
enum Output {
    Empty(Box<Sink>),
    Begun(Box<Begun>),
    /// A write failed.
    Failed,
}

struct Begun {
    writer: ArrowWriter<Sink>,
    schema: SchemaRef,
    /// The names of metadata that have columns.
    paths: Vec<String>,
    exact: ExactColumns,
}

impl Begun {
    fn new(sink: Sink, block_rows: usize, frequent: Vec<FrequentPath>) -> Result<Self, ParquetError> {
        let properties = writer_properties(block_rows, &frequent)?;
        let paths: Vec<String> = frequent.into_iter().map(|frequent| frequent.path).collect();
        let parquet = parquet_schema(&paths)?;
        let schema = arrow_schema(&parquet)?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true)
            .with_parquet_schema(parquet);
        let writer = ArrowWriter::try_new_with_options(sink, Arc::clone(&schema), options)?;
        let exact = ExactColumns::of(paths.iter().map(|_| true));
        Ok(Self { writer, schema, paths, exact })
    }
}

/// What is known of the rows so far.
#[derive(Clone, Copy)]
pub(crate) struct Totals {
    rows: u64,
    text_bytes: u64,
    timestamps: TimeSpan,
    pub received: TimeSpan,
    sequences: (u64, u64),
}

impl Totals {
    /// Those of a row.
    fn of_row(row: &Row<'_>) -> Self {
        Self {
            rows: 1,
            text_bytes: row.text_bytes() as u64,
            timestamps: TimeSpan::of(row.event.timestamp),
            received: TimeSpan::of(row.event.received_at),
            sequences: (row.sequence, row.sequence),
        }
    }

    /// Those of a segment.
    pub fn of(summary: &SegmentSummary) -> Self {
        let SegmentSummary { rows, text_bytes, timestamps, received, sequences, .. } = *summary;
        Self { rows, text_bytes, timestamps, received, sequences }
    }

    /// Those of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            text_bytes: self.text_bytes + other.text_bytes,
            timestamps: self.timestamps.and(other.timestamps),
            received: self.received.and(other.received),
            sequences: (self.sequences.0.min(other.sequences.0), self.sequences.1.max(other.sequences.1)),
        }
    }

    /// Whether an event was received on the day of the first one.
    pub fn is_of_day(&self, received_at: Timestamp) -> bool {
        let day = |time: Timestamp| time.unix_micros().div_euclid(DAY_MICROS);
        day(self.received.from) == day(received_at)
    }
}

impl SegmentWriter {
    /// Creates the file of a segment.
    ///
    /// # Errors
    /// [`SegmentError::Io`], also if the file exists.
    pub fn create(storage: Arc<dyn Storage>, name: &str, bounds: SegmentBounds) -> Result<Self, SegmentError> {
        let named = Named(name);
        let bounds = SegmentBounds { block_rows: bounds.block_rows.max(1), ..bounds };
        let file = storage.create(name).map_err(|error| named.io(error))?;
        let schema = parquet_schema(&[]).and_then(|parquet| arrow_schema(&parquet));
        let schema = schema.map_err(|error| named.writing(error))?;
        Ok(Self {
            storage,
            name: name.to_owned(),
            bounds,
            output: Output::Empty(Box::new(Sink::new(file))),
            usual: GroupRows::new(Arc::clone(&schema)),
            unusual: GroupRows::new(schema),
            groups: Vec::new(),
            filters: Filters { texts: BlockTexts::new(), ids: KeySet::new(), builder: FilterBuilder::default() },
            totals: None,
        })
    }

    /// Whether it takes no further rows.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows() >= self.bounds.rows_max || self.file_bytes() >= self.bounds.file_bytes_max
    }

    /// Bytes of the row groups so far.
    fn file_bytes(&self) -> u64 {
        match &self.output {
            Output::Begun(begun) => begun.writer.bytes_written() as u64,
            Output::Empty(_) | Output::Failed => 0,
        }
    }

    /// Number of rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.totals.map_or(0, |totals| totals.rows)
    }

    /// Whether an event was received on the day of the others.
    #[must_use]
    pub fn is_of_day(&self, received_at: Timestamp) -> bool {
        self.totals.is_none_or(|totals| totals.is_of_day(received_at))
    }

    /// Adds a row. Rows may come in any order; searches are fastest if they come nearly in the order of their timestamps.
    ///
    /// # Errors
    /// [`SegmentError::Refused`] if the segment is full or of another day, and nothing changed; [`SegmentError::Io`], and
    /// then the segment must be discarded.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), SegmentError> {
        let event = row.event;
        if self.is_full() {
            return Err(Named(&self.name).refused("it is full"));
        }
        if !self.is_of_day(event.received_at) {
            return Err(Named(&self.name).refused("the event was received on another day"));
        }
        let one = Totals::of_row(row);
        self.totals = Some(self.totals.map_or(one, |totals| totals.and(one)));
        let distance = event.timestamp.since(event.received_at).max(event.received_at.since(event.timestamp));
        let rows = if distance > TIMESTAMP_DISTANCE_MAX { &mut self.unusual } else { &mut self.usual };
        rows.push(row).map_err(|error| Named(&self.name).writing(ParquetError::from(error)))?;
        if rows.len() < self.bounds.group_rows_max && rows.text_bytes() < self.bounds.group_bytes_max {
            return Ok(());
        }
        let batch = rows.take().map_err(|error| Named(&self.name).writing(ParquetError::from(error)))?;
        self.write_group(&batch)
    }

    /// Completes the file and syncs it and its directory. Without rows, removes the file and returns `None`.
    ///
    /// # Errors
    /// [`SegmentError::Io`]; the caller removes the file.
    pub fn finish(mut self) -> Result<Option<SegmentSummary>, SegmentError> {
        let Some(totals) = self.totals else {
            self.discard()?;
            return Ok(None);
        };
        for unusual in [false, true] {
            let rows = if unusual { &mut self.unusual } else { &mut self.usual };
            if !rows.is_empty() {
                let batch = rows.take().map_err(|error| Named(&self.name).writing(ParquetError::from(error)))?;
                self.write_group(&batch)?;
            }
        }
        let Self { storage, name, output, groups, .. } = self;
        let named = Named(&name);
        let Output::Begun(begun) = output else { return Err(named.refused("a write failed")) };
        let (writer, _) = begun.writer.into_serialized_writer().map_err(|error| named.writing(error))?;
        complete(storage.as_ref(), &name, writer, groups, &begun.exact, totals).map(Some)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub fn discard(self) -> Result<(), SegmentError> {
        let Self { storage, name, output, .. } = self;
        drop(output);
        storage.remove(&name).map_err(|error| Named(&name).io(error))
    }

    fn write_group(&mut self, batch: &RecordBatch) -> Result<(), SegmentError> {
        let named = Named(&self.name);
        let rows = Rows::new(batch);
        let mut begun = match std::mem::replace(&mut self.output, Output::Failed) {
            Output::Begun(begun) => begun,
            Output::Empty(sink) => {
                let begun = Begun::new(*sink, self.bounds.block_rows, frequent(&rows));
                Box::new(begun.map_err(|error| named.writing(error))?)
            }
            Output::Failed => return Err(named.refused("a write failed")),
        };
        let mut paths = PathColumns::new(&begun.paths, &mut begun.exact);
        let built = self.filters.build(&rows, self.bounds.block_rows, &mut paths);
        let built = built.ok_or_else(|| named.damaged("a row is not an event"))?;
        let columns = batch.columns().iter().cloned().chain(paths.finish()).collect();
        let whole = RecordBatch::try_new(Arc::clone(&begun.schema), columns);
        let whole = whole.map_err(|error| named.writing(ParquetError::from(error)))?;
        let writer = &mut begun.writer;
        let mut group = write_columns(writer, &whole, self.bounds.block_rows, &self.name)?;
        write_filters(writer, built, &mut group, &named)?;
        let written = writer.sync().and_then(|()| writer.inner_mut().write_pending());
        written.map_err(|error| named.io(error))?;
        self.groups.push(group);
        self.output = Output::Begun(begun);
        Ok(())
    }
}

/// Writes the tail behind the row groups, and syncs the file and its directory.
pub(crate) fn complete(
    storage: &dyn Storage,
    name: &str,
    mut writer: SerializedFileWriter<Sink>,
    groups: Vec<Group>,
    exact: &ExactColumns,
    totals: Totals,
) -> Result<SegmentSummary, SegmentError> {
    let named = Named(name);
    let tail_offset = writer.bytes_written() as u64;
    let index = Index { groups }.encode();
    let crc = crc32c::crc32c(&index);
    writer.write_all(&index).map_err(|error| named.io(error))?;
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    writer.append_key_value_metadata(entry(VERSION_ENTRY, FORMAT_VERSION.to_string()));
    writer.append_key_value_metadata(entry(EXACT_ENTRY, exact.text()));
    writer.append_key_value_metadata(entry(INDEX_ENTRY, format!("{tail_offset} {} {crc}", index.len())));
    let sink = writer.into_inner().map_err(|error| named.writing(error))?;
    let tail = sink.region(tail_offset, sink.end() - tail_offset);
    let tail_crc = tail.ok_or_else(|| named.damaged("its tail is not in memory"))?.crc;
    let (file_bytes, sha256) = sink.finish().map_err(|error| named.io(error))?;
    storage.sync_directory().map_err(|error| named.io(error))?;
    let Totals { rows, text_bytes, timestamps, received, sequences } = totals;
    let name = name.to_owned();
    Ok(SegmentSummary {
        name,
        file_bytes,
        sha256,
        tail_offset,
        tail_crc,
        rows,
        text_bytes,
        timestamps,
        received,
        sequences,
    })
}

/// Writes a row group. Its blocks have no filters yet.
fn write_columns(
    writer: &mut ArrowWriter<Sink>,
    batch: &RecordBatch,
    block_rows: usize,
    name: &str,
) -> Result<Group, SegmentError> {
    let named = Named(name);
    writer.write(batch).and_then(|()| writer.flush()).map_err(|error| named.writing(error))?;
    writer.sync().map_err(|error| named.io(error))?;
    let written = writer.flushed_row_groups().last().ok_or_else(|| named.damaged("it has no row group"))?;
    let ranges: Vec<(u64, u64)> = written.columns().iter().map(|column| column.byte_range()).collect();
    let columns = ranges.into_iter().map(|(offset, bytes)| writer.inner().region(offset, bytes)).collect();
    let columns: Option<Vec<Region>> = columns;
    let rows = Rows::new(batch);
    let blocks = (0..batch.num_rows()).step_by(block_rows).map(|begin| {
        let end = batch.num_rows().min(begin + block_rows);
        let mut levels = LevelSet::default();
        (begin..end).filter_map(|row| rows.level(row)).for_each(|level| levels.add(level));
        let timestamps = span(begin..end, |row| rows.timestamp(row))?;
        let rows = u32::try_from(end - begin).ok()?;
        Some(Block { rows, timestamps, levels, tokens: None, grams: None })
    });
    let group = || {
        let blocks: Vec<Block> = blocks.collect::<Option<_>>()?;
        let timestamps = blocks.iter().map(|block| block.timestamps).reduce(TimeSpan::and)?;
        let levels = LevelSet(blocks.iter().fold(0, |levels, block| levels | block.levels.0));
        let received = span(0..batch.num_rows(), |row| rows.received_at(row))?;
        let (event_ids, trace_ids, sources) = (None, None, None);
        Some(Group { timestamps, received, levels, columns: columns?, event_ids, trace_ids, sources, blocks })
    };
    group().ok_or_else(|| named.damaged("the row group that was written is incomplete"))
}

fn span(rows: std::ops::Range<usize>, time: impl Fn(usize) -> Option<Timestamp>) -> Option<TimeSpan> {
    rows.map(|row| time(row).map(TimeSpan::of)).reduce(|one, other| Some(one?.and(other?)))?
}

/// The bytes of the filters of a row group; none of those that could not be built.
struct BuiltFilters {
    /// Tokens and grams of each block.
    blocks: Vec<[Option<Vec<u8>>; 2]>,
    event_ids: Option<Vec<u8>>,
    trace_ids: Option<Vec<u8>>,
    sources: Option<Vec<u8>>,
}

impl Filters {
    /// Builds the filters of a row group, and collects the columns for names of metadata, so that metadata is read once. `None`
    /// if a row is not an event.
    fn build(&mut self, rows: &Rows, block_rows: usize, paths: &mut PathColumns<'_>) -> Option<BuiltFilters> {
        let mut blocks = Vec::new();
        for begin in (0..rows.len()).step_by(block_rows) {
            self.texts.clear();
            for row in begin..rows.len().min(begin + block_rows) {
                self.add_texts(rows, row, paths)?;
            }
            let tokens = self.builder.build(Precision::Byte, self.texts.tokens.keys());
            blocks.push([tokens, self.builder.build(Precision::Byte, &mut self.texts.grams)]);
        }
        // An append looks up each id of a client: one in 65,536 may be looked for without success.
        let event_id = |row| Some(Some(key::event_id(rows.event_id(row)?.as_bytes())));
        let event_ids = self.build_ids(Precision::TwoBytes, rows, event_id)?;
        let trace_id = |row| Some(rows.trace_id(row)?.map(|id| key::trace_id(&id)));
        let trace_ids = self.build_ids(Precision::Byte, rows, trace_id)?;
        let source = |row| Some(rows.text(Column::Source, row)?.map(key::source));
        let sources = self.build_ids(Precision::Byte, rows, source)?;
        Some(BuiltFilters { blocks, event_ids, trace_ids, sources })
    }

    fn add_texts(&mut self, rows: &Rows, row: usize, paths: &mut PathColumns<'_>) -> Option<()> {
        for column in [Column::Message, Column::StackTrace] {
            if let Some(text) = rows.text(column, row)? {
                self.texts.add_text(text);
            }
        }
        let json = rows.text(Column::Metadata, row)?;
        let has_dot = json.is_some_and(|json| self.texts.add_metadata(json, |named| paths.add(&named)));
        paths.end_row(has_dot);
        Some(())
    }

    /// The filter of one key of each row that has it; the outer `None` if `key` returns it.
    fn build_ids(
        &mut self,
        precision: Precision,
        rows: &Rows,
        key: impl Fn(usize) -> Option<Option<u64>>,
    ) -> Option<Option<Vec<u8>>> {
        self.ids.clear();
        for row in 0..rows.len() {
            if let Some(key) = key(row)? {
                self.ids.insert(key);
            }
        }
        Some(self.builder.build(precision, self.ids.keys()))
    }
}

/// Writes the filters of a row group and of its blocks behind it.
fn write_filters(
    writer: &mut ArrowWriter<Sink>,
    built: BuiltFilters,
    group: &mut Group,
    named: &Named<'_>,
) -> Result<(), SegmentError> {
    let mut write = |bytes: Option<Vec<u8>>| bytes.map(|bytes| write_region(writer, &bytes, named)).transpose();
    for (block, [tokens, grams]) in group.blocks.iter_mut().zip(built.blocks) {
        (block.tokens, block.grams) = (write(tokens)?, write(grams)?);
    }
    group.event_ids = write(built.event_ids)?;
    group.trace_ids = write(built.trace_ids)?;
    group.sources = write(built.sources)?;
    Ok(())
}

fn write_region(writer: &mut ArrowWriter<Sink>, bytes: &[u8], named: &Named<'_>) -> Result<Region, SegmentError> {
    let offset = writer.bytes_written() as u64;
    writer.write_all(bytes).map_err(|error| named.io(error))?;
    let length = u32::try_from(bytes.len()).map_err(|_| named.refused("a part has more than 4 GiB"))?;
    Ok(Region { offset, bytes: length, crc: crc32c::crc32c(bytes) })
}
