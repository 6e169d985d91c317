//! The columns of a segment, and how Parquet stores them.
//!
//! Constraints and invariants:
//! * Names are those of the API. A column that is added later may be absent in older files.
//! * Only what every Parquet reader knows is used: data pages of version 1, zstd, and encodings of Parquet 2.

use std::sync::Arc;

use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, SchemaDescriptor, Type};

/// The format version that this program writes.
pub const FORMAT_VERSION: u32 = 1;
/// Maximum rows of a row group.
pub const GROUP_ROWS_MAX: usize = 32_000;
/// A row group takes no further rows once its texts have this many bytes.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows of a block, which is a page of each column and has filters of its own.
pub const BLOCK_ROWS: usize = 8_000;
/// Pages end at the rows of a block, not at a size: a row group has less than this.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The level of zstd: higher ones take several times as long for a few percent.
const ZSTD_LEVEL: i32 = 1;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Column {
    EventId,
    Timestamp,
    ReceivedAt,
    Source,
    Level,
    Message,
    StackTrace,
    TraceId,
    SpanId,
    Metadata,
    Topic,
    Partition,
    Offset,
    Sequence,
    ClientId,
    Tenant,
}

impl Column {
    /// In the order in which they are in the file.
    pub const ALL: [Self; 16] = [
        Self::EventId,
        Self::Timestamp,
        Self::ReceivedAt,
        Self::Source,
        Self::Level,
        Self::Message,
        Self::StackTrace,
        Self::TraceId,
        Self::SpanId,
        Self::Metadata,
        Self::Topic,
        Self::Partition,
        Self::Offset,
        Self::Sequence,
        Self::ClientId,
        Self::Tenant,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::EventId => "eventId",
            Self::Timestamp => "timestamp",
            Self::ReceivedAt => "receivedAt",
            Self::Source => "source",
            Self::Level => "level",
            Self::Message => "message",
            Self::StackTrace => "stackTrace",
            Self::TraceId => "traceId",
            Self::SpanId => "spanId",
            Self::Metadata => "metadata",
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Sequence => "sequence",
            Self::ClientId => "clientId",
            Self::Tenant => "tenant",
        }
    }

    /// Its type in the language of Parquet's schemas.
    fn parquet(self) -> &'static str {
        match self {
            Self::EventId => "required fixed_len_byte_array(16) eventId (UUID)",
            Self::Timestamp => "required int64 timestamp (TIMESTAMP(MICROS,true))",
            Self::ReceivedAt => "required int64 receivedAt (TIMESTAMP(MICROS,true))",
            Self::Source => "required binary source (STRING)",
            Self::Level => "required binary level (STRING)",
            Self::Message => "required binary message (STRING)",
            Self::StackTrace => "optional binary stackTrace (STRING)",
            Self::TraceId => "optional fixed_len_byte_array(16) traceId",
            Self::SpanId => "optional fixed_len_byte_array(8) spanId",
            Self::Metadata => "optional binary metadata (JSON)",
            Self::Topic => "required binary topic (STRING)",
            Self::Partition => "required int32 partition (INTEGER(32,false))",
            Self::Offset => "required int64 offset (INTEGER(64,false))",
            Self::Sequence => "required int64 sequence (INTEGER(64,false))",
            Self::ClientId => "required boolean clientId",
            Self::Tenant => "optional fixed_len_byte_array(16) tenant",
        }
    }

    /// The place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A set of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnSet(u32);

impl ColumnSet {
    pub const ALL: Self = Self((1 << Column::ALL.len()) - 1);

    pub fn of(columns: &[Column]) -> Self {
        columns.iter().fold(Self::default(), |set, column| set.with(*column))
    }

    #[must_use]
    pub fn with(self, column: Column) -> Self {
        Self(self.0 | 1 << column.index())
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn contains(self, column: Column) -> bool {
        self.0 & (1 << column.index()) != 0
    }

    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn columns(self) -> impl Iterator<Item = Column> {
        Column::ALL.into_iter().filter(move |column| self.contains(*column))
    }
}

/// A name in metadata that gets a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrequentPath {
    pub path: String,
    /// Whether its values are worth a dictionary.
    pub repeats: bool,
}

/// What the names of columns for names of metadata begin with.
const PATH_COLUMN: &str = "metadata.";

/// The name of the column of a name in metadata.
fn path_column(path: &str) -> String {
    format!("{PATH_COLUMN}{path}")
}

/// The name in metadata that a column is for.
pub(crate) fn path_of_column(column: &str) -> Option<&str> {
    column.strip_prefix(PATH_COLUMN)
}

/// The schema in Parquet's form, with columns for names of metadata behind all others.
pub(crate) fn parquet_schema(paths: &[String]) -> Result<SchemaDescriptor, ParquetError> {
    let fields: String = Column::ALL.iter().map(|column| format!("{};", column.parquet())).collect();
    let mut fields = parse_message_type(&format!("message event {{ {fields} }}"))?.get_fields().to_vec();
    for path in paths {
        let name = path_column(path);
        let column = Type::primitive_type_builder(&name, PhysicalType::BYTE_ARRAY)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(LogicalType::String));
        fields.push(Arc::new(column.build()?));
    }
    let message = Type::group_type_builder("event").with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(message)))
}

/// The schema in the form of the batches that are written.
pub(crate) fn arrow_schema(parquet: &SchemaDescriptor) -> Result<arrow_schema::SchemaRef, ParquetError> {
    parquet_to_arrow_schema(parquet, None).map(Arc::new)
}

/// How the columns are encoded. A page has the rows of a block.
pub(crate) fn writer_properties(block_rows: usize, paths: &[FrequentPath]) -> Result<WriterProperties, ParquetError> {
    let path = |column: Column| ColumnPath::from(column.name());
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("spillway".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(block_rows)
        .set_write_batch_size(block_rows)
        .set_data_page_size_limit(PAGE_BYTES_MAX);
    for column in [Column::Source, Column::Level, Column::Topic, Column::Partition, Column::Tenant] {
        properties = properties.set_column_dictionary_enabled(path(column), true);
    }
    for FrequentPath { path, repeats } in paths {
        let column = ColumnPath::new(vec![path_column(path)]);
        properties = if *repeats {
            properties.set_column_dictionary_enabled(column, true)
        } else {
            properties.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
        };
    }
    for column in [Column::Timestamp, Column::ReceivedAt, Column::Offset, Column::Sequence] {
        properties = properties.set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED);
    }
    // zstd finds more in texts without their lengths between them.
    for column in [Column::Message, Column::StackTrace, Column::Metadata] {
        properties = properties.set_column_encoding(path(column), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    // In the order of time, ids of version 7 share their first bytes.
    properties = properties.set_column_encoding(path(Column::EventId), Encoding::DELTA_BYTE_ARRAY);
    // zstd gains nothing in these, and each column that has it costs a search two contexts of zstd for each block.
    for column in [Column::Topic, Column::SpanId, Column::Tenant] {
        properties = properties.set_column_compression(path(column), Compression::UNCOMPRESSED);
    }
    // For other programs: our own ranges are in the index.
    for column in [Column::Timestamp, Column::ReceivedAt, Column::Source, Column::Level] {
        properties = properties.set_column_statistics_enabled(path(column), EnabledStatistics::Chunk);
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_columns_in_their_order() {
        let schema = parquet_schema(&[]).expect("a schema");
        let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
        assert_eq!(names, Column::ALL.map(Column::name));
        assert!(Column::ALL.iter().enumerate().all(|(index, column)| column.index() == index));
        let set = ColumnSet::of(&[Column::Level, Column::Tenant]);
        assert!(set.is_within(ColumnSet::ALL) && !ColumnSet::ALL.is_within(set) && !set.contains(Column::EventId));
        assert_eq!(set.columns().collect::<Vec<_>>(), [Column::Level, Column::Tenant]);
    }
}
