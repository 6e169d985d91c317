//! Writes a segment of varied events, and the same events as lines of JSON, so that other programs can be compared:
//!
//! ```text
//! cargo run -p segments --example sample -- DIRECTORY
//! ```

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for tests")]

use std::path::Path;
use std::sync::Arc;

use contracts::search::events_and_filters;
use domain::event::to_hex;
use domain::metadata::Metadata;
use segments::{Row, SegmentBounds, SegmentWriter};
use serde_json::json;
use storage::{Directory, Storage};

const EVENTS: usize = 20_000;

fn main() {
    let Some(directory) = std::env::args().nth(1) else {
        println!("arguments: DIRECTORY");
        return;
    };
    let directory = Path::new(&directory);
    let storage: Arc<dyn Storage> = Arc::new(Directory::open(directory).expect("a directory"));
    let mut writer = SegmentWriter::create(storage, "sample.parquet", SegmentBounds::default()).expect("it is created");
    let mut lines = String::new();
    let (events, _) = events_and_filters(1, EVENTS, 0);
    for (sequence, event) in (1..).zip(&events) {
        let row = Row { sequence, event, topic: "logs", partition: 3, offset: u64::MAX - sequence };
        writer.push(&row).expect("it is written");
        let line = json!({
            "eventId": event.event_id.to_string(),
            "timestamp": event.timestamp.unix_micros(),
            "receivedAt": event.received_at.unix_micros(),
            "source": event.source,
            "level": event.level.name(),
            "message": event.message,
            "stackTrace": event.stack_trace,
            "traceId": event.trace_id.map(|id| to_hex(&id)),
            "spanId": event.span_id.map(|id| to_hex(&id)),
            "metadata": event.metadata.as_ref().map(Metadata::as_json),
            "topic": row.topic,
            "partition": row.partition,
            "offset": row.offset,
            "sequence": sequence,
            "clientId": event.id_origin.is_client(),
        });
        lines.push_str(&format!("{line}\n"));
    }
    let summary = writer.finish().expect("it is finished").expect("it has rows");
    std::fs::write(directory.join("expected.ndjson"), lines).expect("it is written");
    println!("{} rows, {} bytes", summary.rows, summary.file_bytes);
}
