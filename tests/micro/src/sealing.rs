//! The step that writes a sealed segment.

use std::borrow::Cow;
use std::sync::Arc;

use domain::event::{IdOrigin, LogEvent};
use domain::metadata::Metadata;
use domain::timestamp::Timestamp;
use segments::{BLOCK_ROWS, Row, SegmentBounds, SegmentWriter};
use testkit::service_logs::{level, message, metadata, mixed, trace_id};

use crate::{Nowhere, Step};

/// Time between two events.
const DISTANCE_MICROS: i64 = 500;
const SOURCES: usize = 50;

/// Writes one row group of one block: its columns, and its filters.
pub fn step() -> Step {
    let events: Vec<LogEvent<'static>> = (0..).take(BLOCK_ROWS).map(event).collect();
    let run = move || {
        let mut writer = SegmentWriter::create(Arc::new(Nowhere), "segment", SegmentBounds::default()).expect("a file");
        for (offset, event) in (0..).zip(&events) {
            let row = Row { sequence: offset, event, topic: "logs", partition: 0, offset };
            writer.push(&row).expect("a row");
        }
        assert_eq!(writer.finish().expect("a segment").expect("rows").rows, BLOCK_ROWS as u64);
    };
    Step { name: "seal", events: BLOCK_ROWS, run: Box::new(run) }
}

fn event(n: u64) -> LogEvent<'static> {
    let micros = 1_767_268_800_000_000 + DISTANCE_MICROS * i64::try_from(n).expect("few");
    let timestamp = Timestamp::from_unix_micros(micros).expect("in range");
    let mut random = [0; 10];
    random.iter_mut().zip(mixed(n, 6).to_be_bytes()).for_each(|(byte, of)| *byte = of);
    LogEvent {
        event_id: uuid::Builder::from_unix_timestamp_millis(micros.unsigned_abs() / 1_000, &random).into_uuid(),
        id_origin: IdOrigin::Generated,
        source: Cow::Owned(format!("source-{}", n as usize % SOURCES)),
        level: level(n),
        message: Cow::Owned(message(n)),
        timestamp,
        received_at: timestamp,
        stack_trace: None,
        trace_id: trace_id(n),
        span_id: None,
        metadata: Some(Metadata::from_checked(Cow::Owned(metadata(n)))),
    }
}
