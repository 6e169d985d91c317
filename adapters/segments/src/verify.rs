//! Checking a segment as a whole.

use domain::timestamp::Timestamp;
use ring::digest;
use storage::Storage;

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::fuse::Filter;
use crate::index::{Region, SegmentSummary};
use crate::key;
use crate::reader::{GroupReader, Segment};
use crate::rows::Rows;
use crate::texts::BlockTexts;

/// Bytes that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Compares the file with its SHA-256, reads every part of it, and compares what the index and the filters say with the
/// rows.
///
/// # Errors
/// [`SegmentError::Damaged`] with the first difference; otherwise those of reading.
pub fn verify(storage: &dyn Storage, summary: &SegmentSummary) -> Result<(), SegmentError> {
    let segment = Segment::open(storage, summary)?;
    check_sha256(&segment)?;
    let mut texts = BlockTexts::new();
    for number in 0..segment.groups().len() {
        check_group(&segment, number, &mut texts)?;
    }
    Ok(())
}

fn check_sha256(segment: &Segment) -> Result<(), SegmentError> {
    let summary = segment.summary();
    let mut digest = digest::Context::new(&digest::SHA256);
    let (mut offset, mut buffer) = (0, vec![0; READ_BYTES]);
    loop {
        let read = segment.file().read_at(&mut buffer, offset).map_err(|error| segment.named().io(error))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
        offset += read as u64;
    }
    let matches = offset == summary.file_bytes && digest.finish().as_ref() == summary.sha256;
    if matches { Ok(()) } else { Err(segment.named().damaged("its SHA-256 does not match")) }
}

fn check_group(segment: &Segment, number: usize, texts: &mut BlockTexts) -> Result<(), SegmentError> {
    let named = segment.named();
    let Some(mut reader) = GroupReader::new(segment, number) else { return Ok(()) };
    let group = reader.group();
    for filter in [group.event_ids, group.trace_ids, group.sources].into_iter().flatten() {
        segment.read(filter)?;
    }
    let mut before = None;
    for (block, known) in group.blocks.iter().enumerate() {
        let range = reader.rows_of(block);
        let rows = reader.read(ColumnSet::ALL, vec![range])?;
        texts.clear();
        let mut ids = Keys::default();
        for row in 0..rows.len() {
            let checked = check_row(&rows, row, texts, &mut ids);
            let (timestamp, event_id) = checked.ok_or_else(|| named.damaged("a row is not an event"))?;
            let level = rows.level(row).map_or(0, |level| 1 << level.number());
            let in_span = (known.timestamps.from..=known.timestamps.to).contains(&timestamp);
            let received =
                rows.received_at(row).is_some_and(|at| (group.received.from..=group.received.to).contains(&at));
            if !in_span || !received || known.levels.0 & level == 0 || before > Some((timestamp, event_id)) {
                return Err(named.damaged("a row is not where its index says"));
            }
            before = Some((timestamp, event_id));
        }
        let tokens = &*texts.tokens.keys();
        for (filter, keys) in [
            (known.tokens, tokens),
            (known.grams, &texts.grams),
            (group.event_ids, &ids.events),
            (group.trace_ids, &ids.traces),
            (group.sources, &ids.sources),
        ] {
            check_filter(segment, filter, keys)?;
        }
    }
    Ok(())
}

/// The keys of the rows of a block in the filters of its group.
#[derive(Default)]
struct Keys {
    events: Vec<u64>,
    traces: Vec<u64>,
    sources: Vec<u64>,
}

/// Collects the keys of a row. Returns what rows are sorted by; `None` if the row is not an event.
fn check_row(rows: &Rows, row: usize, texts: &mut BlockTexts, ids: &mut Keys) -> Option<(Timestamp, domain::Uuid)> {
    let event = rows.event(row)?;
    texts.add_text(&event.message);
    if let Some(text) = &event.stack_trace {
        texts.add_text(text);
    }
    if let Some(json) = rows.text(Column::Metadata, row)? {
        texts.add_metadata(json, |_| ());
    }
    ids.events.push(key::event_id(event.event_id.as_bytes()));
    ids.traces.extend(event.trace_id.map(|id| key::trace_id(&id)));
    ids.sources.push(key::source(&event.source));
    rows.stored_event(row)?;
    Some((event.timestamp, event.event_id))
}

fn check_filter(segment: &Segment, filter: Option<Region>, keys: &[u64]) -> Result<(), SegmentError> {
    let Some(region) = filter else { return Ok(()) };
    let bytes = segment.read(region)?;
    let filter = Filter::parse(&bytes).ok_or_else(|| segment.named().damaged("a filter is not one"))?;
    let complete = keys.iter().all(|key| filter.may_contain(*key));
    if complete { Ok(()) } else { Err(segment.named().damaged("a filter lacks what is in the rows")) }
}
