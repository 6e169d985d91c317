//! All matching events as one stream.
//!
//! Constraints and invariants:
//! * The stream is read page by page, each from where the one before it ended. Between two pages nothing is held in the store,
//!   and a page is read only after the connection has taken the one before it.
//! * While a page takes long, empty lines are sent: an export whose client is gone must not keep its place.
//! * A stream that cannot be completed is broken off, so that the client sees that it is not whole.

use std::io;
use std::sync::Arc;

use application::export::{Export, TooManyExports};
use domain::event::to_hex;
use domain::metadata::Metadata;
use domain::ports::BoxFuture;
use domain::query::{Order, StoredEvent};
use http_body_util::combinators::BoxBody;
use poem::http::header;
use poem::web::Data;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::{Enum, OpenApi};

use crate::access::admitted::end_of_right;
use crate::error::ApiError;
use crate::openapi::payload::{Answer, Documented};
use crate::openapi::schemas::Tag;
use crate::query::blocks::{BlockSender, Blocks, blocks};
use crate::query::dependencies::ConsumerDependencies;
use crate::query::logs::SortOrder;
use crate::query::search::search;
use crate::query::stored_event::write_stored_event;

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
/// The columns of CSV.
const COLUMNS: [&str; 13] = [
    "timestamp",
    "level",
    "source",
    "message",
    "eventId",
    "receivedAt",
    "traceId",
    "spanId",
    "stackTrace",
    "metadata",
    "topic",
    "partition",
    "offset",
];

/// How an export answers.
pub struct Exporting;

impl Documented for Exporting {
    const SUCCESS: (u16, &'static str) = (200, "All matching events; an export that cannot be completed is broken off");
    const OTHER_MEDIA_TYPES: &'static [&'static str] = &[CSV];
    const FAILURES: &'static [(u16, &'static str)] = &[
        (400, "A parameter is unknown or out of range"),
        (503, "This instance has as many exports as it may have (`too_many_exports`)"),
    ];
}

/// How exported events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Format {
    /// One event a line, as JSON.
    Ndjson,
    /// One event a record, after a record of the names of the columns (RFC 4180).
    Csv,
}

/// Exporting events.
pub struct ExportApi;

#[OpenApi(prefix_path = "/api")]
impl ExportApi {
    /// Export events
    ///
    /// All matching events, at most 10,000,000, as one stream. At most two exports run at a time. Events that are stored while
    /// it runs may or may not be in it.
    #[oai(path = "/logs/export", method = "get", operation_id = "exportLogs", tag = "Tag::Query")]
    async fn export(
        &self,
        dependencies: Data<&Arc<ConsumerDependencies>>,
        request: &Request,
        /// NDJSON unless given.
        format: Query<Option<Format>>,
        /// Which end comes first; the newest event unless given.
        order: Query<Option<SortOrder>>,
    ) -> Answer<ExportStream, Exporting> {
        let begin = || {
            let filter = search(request, &["format", "order"], dependencies.query.now())?.filter();
            let order = Order { direction: order.0.map(Into::into).unwrap_or_default(), ..Order::default() };
            let export =
                dependencies.exports.begin(filter, order).map_err(|TooManyExports| ApiError::TooManyExports)?;
            let (draining, ended) = (dependencies.health.draining(), end_of_right(request));
            let stopping = Box::pin(async move {
                tokio::select! {
                    () = draining => "this instance stops",
                    () = ended => "the access key has ended",
                }
            });
            Ok::<_, ApiError>(ExportStream::of(export, format.0.unwrap_or(Format::Ndjson), stopping))
        };
        begin().into()
    }
}

/// A stream of events.
pub struct ExportStream {
    blocks: Blocks,
    format: Format,
}

impl ExportStream {
    /// Begins to send the events of an export, until `stopping` says why there will be no more.
    fn of(export: Export, format: Format, stopping: BoxFuture<&'static str>) -> Self {
        let (sender, blocks) = blocks(if format == Format::Csv { "\r\n" } else { "\n" });
        tokio::spawn(async move {
            let sent = tokio::select! {
                reason = stopping => Err(reason.to_owned()),
                sent = send(export, format, &sender) => sent,
            };
            if let Err(reason) = sent {
                tracing::warn!(reason, "an export was broken off");
                // A client that is gone needs no error.
                let _ = sender.send(Err(io::Error::other(reason))).await;
            }
        });
        Self { blocks, format }
    }
}

/// Sends one block a page, until the client is gone. The error says why there will be no more.
async fn send(mut export: Export, format: Format, blocks: &BlockSender) -> Result<(), String> {
    if format == Format::Csv {
        let header = format!("{}\r\n", COLUMNS.join(","));
        if blocks.send(Ok(header.into())).await.is_none() {
            return Ok(());
        }
    }
    while let Some(page) = blocks.wait_for(export.next()).await {
        let Some(events) = page.map_err(|error| format!("{error:?}"))? else { return Ok(()) };
        let block = write(format, &events).map_err(|error| error.to_string())?;
        // A slow client keeps the block, and not also what it was written from.
        drop(events);
        if blocks.send(Ok(block.into())).await.is_none() {
            return Ok(());
        }
    }
    Ok(())
}

fn write(format: Format, events: &[StoredEvent]) -> Result<Vec<u8>, csv::Error> {
    if format == Format::Ndjson {
        let mut block = Vec::new();
        for event in events {
            write_stored_event(event, &mut block);
            block.push(b'\n');
        }
        return Ok(block);
    }
    let mut records = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for StoredEvent { event, topic, partition, offset } in events {
        let (timestamp, received_at) = (event.timestamp.text(), event.received_at.text());
        let hex = |id: Option<&[u8]>| id.map(to_hex).unwrap_or_default();
        let record: [&str; COLUMNS.len()] = [
            timestamp.as_str(),
            event.level.name(),
            &event.source,
            &event.message,
            &event.event_id.to_string(),
            received_at.as_str(),
            &hex(event.trace_id.as_ref().map(<[u8; 16]>::as_slice)),
            &hex(event.span_id.as_ref().map(<[u8; 8]>::as_slice)),
            event.stack_trace.as_deref().unwrap_or_default(),
            event.metadata.as_ref().map(Metadata::as_json).unwrap_or_default(),
            topic,
            &partition.to_string(),
            &offset.to_string(),
        ];
        records.write_record(record)?;
    }
    records.into_inner().map_err(|error| error.into_error().into())
}

impl Payload for ExportStream {
    const CONTENT_TYPE: &'static str = NDJSON;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("One StoredEvent a line."),
            ..MetaSchema::new("string")
        }))
    }
}

impl IntoResponse for ExportStream {
    fn into_response(self) -> Response {
        let media_type = if self.format == Format::Csv { CSV } else { NDJSON };
        Response::builder()
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CACHE_CONTROL, "no-store")
            .body(Body::from(BoxBody::new(self.blocks)))
    }
}
