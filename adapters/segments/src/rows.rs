//! Events as rows of Arrow's batches, and back.
//!
//! Constraint: a batch that was read may have some of the columns only. What an event has in others is left empty, so the
//! caller reads the columns that it looks at.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeBinaryBuilder, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::take::{take, take_record_batch};
use domain::Uuid;
use domain::access::TenantId;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::metadata::Metadata;
use domain::partition::Partition;
use domain::query::{PageKey, StoredEvent};
use domain::timestamp::Timestamp;

use crate::columns::{Column, ColumnSet};

/// An event to be written.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The number that tails follow.
    pub sequence: u64,
    /// The event.
    pub event: &'a LogEvent<'a>,
    /// Topic that the event was read from.
    pub topic: &'a str,
    /// Partition that the event was read from.
    pub partition: Partition,
    /// Offset in the partition.
    pub offset: u64,
}

impl Row<'_> {
    /// Bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let event = self.event;
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_json().len());
        event.source.len() + event.message.len() + event.stack_trace.as_ref().map_or(0, |text| text.len()) + metadata
    }
}

/// Collects the rows of a row group.
pub(crate) struct GroupRows {
    schema: SchemaRef,
    /// What the rows are sorted by, in the order of arrival.
    keys: Vec<(Timestamp, Uuid)>,
    text_bytes: usize,
    event_id: FixedSizeBinaryBuilder,
    timestamp: TimestampMicrosecondBuilder,
    received_at: TimestampMicrosecondBuilder,
    source: StringBuilder,
    level: StringBuilder,
    message: StringBuilder,
    stack_trace: StringBuilder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    metadata: StringBuilder,
    topic: StringBuilder,
    partition: UInt32Builder,
    offset: UInt64Builder,
    sequence: UInt64Builder,
    client_id: BooleanBuilder,
    tenant: FixedSizeBinaryBuilder,
}

impl GroupRows {
    pub fn new(schema: SchemaRef) -> Self {
        let time = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
        Self {
            schema,
            keys: Vec::new(),
            text_bytes: 0,
            event_id: FixedSizeBinaryBuilder::new(16),
            timestamp: time(),
            received_at: time(),
            source: StringBuilder::new(),
            level: StringBuilder::new(),
            message: StringBuilder::new(),
            stack_trace: StringBuilder::new(),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            metadata: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: UInt32Builder::new(),
            offset: UInt64Builder::new(),
            sequence: UInt64Builder::new(),
            client_id: BooleanBuilder::new(),
            tenant: FixedSizeBinaryBuilder::new(16),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of the texts.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub fn push(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        let event = row.event;
        self.keys.push((event.timestamp, event.event_id));
        self.text_bytes += row.text_bytes();
        self.event_id.append_value(event.event_id.as_bytes())?;
        self.timestamp.append_value(event.timestamp.unix_micros());
        self.received_at.append_value(event.received_at.unix_micros());
        self.source.append_value(&event.source);
        self.level.append_value(event.level.name());
        self.message.append_value(&event.message);
        self.stack_trace.append_option(event.stack_trace.as_deref());
        append_id(&mut self.trace_id, event.trace_id.as_ref().map(<[u8; 16]>::as_slice))?;
        append_id(&mut self.span_id, event.span_id.as_ref().map(<[u8; 8]>::as_slice))?;
        self.metadata.append_option(event.metadata.as_ref().map(Metadata::as_json));
        self.topic.append_value(row.topic);
        self.partition.append_value(row.partition);
        self.offset.append_value(row.offset);
        self.sequence.append_value(row.sequence);
        self.client_id.append_value(event.id_origin.is_client());
        let tenant = event.id_origin.tenant();
        append_id(&mut self.tenant, tenant.as_ref().map(|tenant| tenant.as_bytes().as_slice()))
    }

    /// The rows in the order of timestamp and event id; afterwards it is empty.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let keys = std::mem::take(&mut self.keys);
        self.text_bytes = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.event_id.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.received_at.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.level.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.stack_trace.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.metadata.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.sequence.finish()),
            Arc::new(self.client_id.finish()),
            Arc::new(self.tenant.finish()),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if keys.is_sorted() {
            return Ok(batch);
        }
        let mut order: Vec<u32> = (0..u32::try_from(keys.len()).unwrap_or(u32::MAX)).collect();
        order.sort_by_key(|row| keys.get(*row as usize));
        take_record_batch(&batch, &UInt32Array::from(order))
    }
}

fn append_id(builder: &mut FixedSizeBinaryBuilder, id: Option<&[u8]>) -> Result<(), ArrowError> {
    match id {
        Some(id) => builder.append_value(id),
        None => {
            builder.append_null();
            Ok(())
        }
    }
}

/// Rows with some of the columns. `None` from a method means that the batch does not hold what a segment holds.
pub(crate) struct Rows {
    rows: usize,
    columns: [Option<ArrayRef>; Column::ALL.len()],
}

impl Rows {
    pub fn new(batch: &RecordBatch) -> Self {
        let columns = Column::ALL.map(|column| batch.column_by_name(column.name()).cloned());
        Self { rows: batch.num_rows(), columns }
    }

    /// Rows without columns.
    pub fn without_columns(rows: usize) -> Self {
        Self { rows, columns: [const { None }; Column::ALL.len()] }
    }

    /// The columns that these rows have.
    pub fn columns(&self) -> ColumnSet {
        let present = Column::ALL.into_iter().filter(|column| self.array(*column).is_some());
        present.fold(ColumnSet::default(), ColumnSet::with)
    }

    /// Adds the columns of the same rows that another batch has.
    pub fn add_columns(&mut self, other: Self) {
        for (column, added) in self.columns.iter_mut().zip(other.columns) {
            *column = added.or(column.take());
        }
    }

    /// Keeps the rows at some places, which ascend.
    pub fn keep(&mut self, places: &[usize]) -> Result<(), ArrowError> {
        if places.len() == self.rows {
            return Ok(());
        }
        let places: UInt32Array = places.iter().map(|place| u32::try_from(*place).ok()).collect();
        for column in self.columns.iter_mut().flatten() {
            *column = take(column, &places, None)?;
        }
        self.rows = places.len();
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// The array of a column, if the batch has it.
    fn array(&self, column: Column) -> Option<&ArrayRef> {
        self.columns.get(column.index()).and_then(Option::as_ref)
    }

    /// The text in a column; the inner `None` for no value.
    pub fn text(&self, column: Column, row: usize) -> Option<Option<&str>> {
        let Some(array) = self.array(column) else { return Some(None) };
        let array = array.as_string_opt::<i32>().filter(|array| row < array.len())?;
        Some((!array.is_null(row)).then(|| array.value(row)))
    }

    fn id<const N: usize>(&self, column: Column, row: usize) -> Option<Option<[u8; N]>> {
        let Some(array) = self.array(column) else { return Some(None) };
        let array = array.as_fixed_size_binary_opt().filter(|array| row < array.len())?;
        if array.is_null(row) {
            return Some(None);
        }
        array.value(row).try_into().ok().map(Some)
    }

    fn time(&self, column: Column, row: usize) -> Option<Timestamp> {
        let Some(array) = self.array(column) else { return Some(Timestamp::MIN) };
        let array = array.as_primitive_opt::<TimestampMicrosecondType>().filter(|array| row < array.len())?;
        Timestamp::from_unix_micros(array.value(row)).ok()
    }

    pub fn timestamp(&self, row: usize) -> Option<Timestamp> {
        self.time(Column::Timestamp, row)
    }

    pub fn received_at(&self, row: usize) -> Option<Timestamp> {
        self.time(Column::ReceivedAt, row)
    }

    pub fn event_id(&self, row: usize) -> Option<Uuid> {
        self.id(Column::EventId, row).map(|id| Uuid::from_bytes(id.unwrap_or_default()))
    }

    pub fn trace_id(&self, row: usize) -> Option<Option<[u8; 16]>> {
        self.id(Column::TraceId, row)
    }

    pub fn level(&self, row: usize) -> Option<Level> {
        self.text(Column::Level, row)?.map_or(Some(Level::Trace), |name| Level::parse(name).ok())
    }

    fn partition(&self, row: usize) -> Option<Partition> {
        let Some(array) = self.array(Column::Partition) else { return Some(0) };
        array.as_primitive_opt::<UInt32Type>().filter(|array| row < array.len()).map(|array| array.value(row))
    }

    fn number(&self, column: Column, row: usize) -> Option<u64> {
        let Some(array) = self.array(column) else { return Some(0) };
        array.as_primitive_opt::<UInt64Type>().filter(|array| row < array.len()).map(|array| array.value(row))
    }

    pub fn sequence(&self, row: usize) -> Option<u64> {
        self.number(Column::Sequence, row)
    }

    fn id_origin(&self, row: usize) -> Option<IdOrigin> {
        if let Some(tenant) = self.id::<16>(Column::Tenant, row)? {
            return Some(IdOrigin::Tenant(TenantId::from_bytes(tenant)));
        }
        let Some(array) = self.array(Column::ClientId) else { return Some(IdOrigin::Generated) };
        let array = array.as_boolean_opt().filter(|array| row < array.len())?;
        Some(if array.value(row) { IdOrigin::Client } else { IdOrigin::Generated })
    }

    /// The place of a row in the orders of pages.
    pub fn page_key(&self, row: usize) -> Option<PageKey> {
        Some(PageKey {
            timestamp: self.timestamp(row)?,
            event_id: self.event_id(row)?,
            received_at: self.received_at(row)?,
            partition: self.partition(row)?,
            offset: self.number(Column::Offset, row)?,
        })
    }

    /// The event in a row, as far as the columns are there.
    pub fn event(&self, row: usize) -> Option<LogEvent<'_>> {
        Some(LogEvent {
            event_id: self.event_id(row)?,
            id_origin: self.id_origin(row)?,
            source: Cow::Borrowed(self.text(Column::Source, row)?.unwrap_or_default()),
            level: self.level(row)?,
            message: Cow::Borrowed(self.text(Column::Message, row)?.unwrap_or_default()),
            timestamp: self.timestamp(row)?,
            received_at: self.received_at(row)?,
            stack_trace: self.text(Column::StackTrace, row)?.map(Cow::Borrowed),
            trace_id: self.trace_id(row)?,
            span_id: self.id(Column::SpanId, row)?,
            metadata: self.text(Column::Metadata, row)?.map(|json| Metadata::from_checked(Cow::Borrowed(json))),
        })
    }

    /// The event in a row with all columns.
    pub fn stored_event(&self, row: usize) -> Option<StoredEvent> {
        Some(StoredEvent {
            event: self.event(row)?.into_owned(),
            topic: self.text(Column::Topic, row)??.to_owned(),
            partition: self.partition(row)?,
            offset: self.number(Column::Offset, row)?,
        })
    }
}
