//! Rows in the binary format of `COPY` (PostgreSQL manual, "COPY", file formats).

use domain::event::LogEvent;
use domain::metadata::Metadata;
use domain::ports::GroupPartition;

use crate::time::PgTime;

/// The columns of an event, in the order in which they are written and read. When written, `tenant` is behind them: it is
/// part of the key, and no answer shows it.
pub const COLUMNS: &str = "event_id, client_id, source, level, message, \"timestamp\", received_at, stack_trace, \
                           trace_id, span_id, metadata, topic, partition, \"offset\"";
/// [`COLUMNS`] and the tenant.
const COLUMN_COUNT: i16 = 15;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The tenant of an event in its row: empty if it has none.
pub fn tenant_of(event: &LogEvent<'_>) -> Vec<u8> {
    event.id_origin.tenant().map_or_else(Vec::new, |tenant| tenant.as_bytes().to_vec())
}

/// Rows being written.
#[derive(Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    count: u64,
}

impl Default for Rows {
    /// No rows yet.
    fn default() -> Self {
        Self { bytes: SIGNATURE.to_vec(), count: 0 }
    }
}

impl Rows {
    /// Appends an event.
    pub fn push(&mut self, group_partition: &GroupPartition, offset: u64, event: &LogEvent<'_>) {
        self.count += 1;
        self.bytes.extend_from_slice(&COLUMN_COUNT.to_be_bytes());
        self.field(event.event_id.as_bytes());
        self.field(&[u8::from(event.id_origin.is_client())]);
        self.field(event.source.as_bytes());
        self.field(&i16::from(event.level.number()).to_be_bytes());
        self.field(event.message.as_bytes());
        self.field(&PgTime(event.timestamp).to_wire());
        self.field(&PgTime(event.received_at).to_wire());
        self.optional(event.stack_trace.as_deref().map(str::as_bytes));
        self.optional(event.trace_id.as_ref().map(<[u8; 16]>::as_slice));
        self.optional(event.span_id.as_ref().map(<[u8; 8]>::as_slice));
        self.optional(event.metadata.as_ref().map(|metadata: &Metadata<'_>| metadata.as_json().as_bytes()));
        self.field(group_partition.topic.as_bytes());
        self.field(&group_partition.partition.cast_signed().to_be_bytes());
        self.field(&offset.cast_signed().to_be_bytes());
        self.field(&tenant_of(event));
    }

    /// Number of rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All rows, with the trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }

    fn field(&mut self, bytes: &[u8]) {
        // Every text of an event is far below 2 GiB.
        self.bytes.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.field(bytes),
            None => self.bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}
