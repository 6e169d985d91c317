//! Reading a segment for its list: which ids it knows, and which events it has.
//!
//! Constraint: memory for one block, except for what is returned.

use std::collections::HashSet;

use domain::Uuid;
use domain::access::TenantId;
use domain::query::StoredEvent;
use domain::timestamp::Timestamp;

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::fuse::Filter;
use crate::key;
use crate::reader::{GroupReader, Segment};
use crate::scan::Found;

/// An event that has one of the ids that were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownId {
    /// Its id.
    pub event_id: Uuid,
    /// The tenant whose claim of the id it is.
    pub tenant: Option<TenantId>,
    /// Its time of receipt.
    pub received_at: Timestamp,
}

/// The events that have one of these ids. Reads the ids of a row group only if its filter may have one of them.
///
/// # Errors
/// Those of reading.
pub fn known(segment: &Segment, event_ids: &HashSet<Uuid>) -> Result<Vec<KnownId>, SegmentError> {
    let mut found = Vec::new();
    for (number, group) in segment.groups().iter().enumerate() {
        if let Some(region) = group.event_ids {
            let bytes = segment.read(region)?;
            let filter = Filter::parse(&bytes).ok_or_else(|| segment.named().damaged("a filter is not one"))?;
            if !event_ids.iter().any(|id| filter.may_contain(key::event_id(id.as_bytes()))) {
                continue;
            }
        }
        let Some(mut reader) = GroupReader::new(segment, number) else { continue };
        for block in 0..group.blocks.len() {
            find_in_block(&mut reader, block, event_ids, &mut found)?;
        }
    }
    Ok(found)
}

fn find_in_block(
    reader: &mut GroupReader<'_>,
    block: usize,
    event_ids: &HashSet<Uuid>,
    found: &mut Vec<KnownId>,
) -> Result<(), SegmentError> {
    let mut rows = Found::all(reader, block);
    rows.read(ColumnSet::of(&[Column::EventId]))?;
    let mut wanted = Vec::new();
    for at in 0..rows.rows().len() {
        let id = rows.rows().event_id(at).ok_or_else(|| rows.not_an_event())?;
        if event_ids.contains(&id) {
            wanted.push(at);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    rows.keep(&wanted)?;
    rows.read(ColumnSet::of(&[Column::ReceivedAt, Column::Tenant]))?;
    for at in 0..rows.rows().len() {
        let event = rows.rows().event(at).ok_or_else(|| rows.not_an_event())?;
        let (event_id, received_at, tenant) = (event.event_id, event.received_at, event.id_origin.tenant());
        found.push(KnownId { event_id, tenant, received_at });
    }
    Ok(())
}

/// Calls `take` with each event and its sequence number, in the order in which they are in the file.
///
/// # Errors
/// Those of reading, and those of `take`.
pub fn for_each_event<E: From<SegmentError>>(
    segment: &Segment,
    mut take: impl FnMut(u64, StoredEvent) -> Result<(), E>,
) -> Result<(), E> {
    for (number, group) in segment.groups().iter().enumerate() {
        let Some(mut reader) = GroupReader::new(segment, number) else { continue };
        for block in 0..group.blocks.len() {
            let range = reader.rows_of(block);
            let rows = reader.read(ColumnSet::ALL, vec![range])?;
            for at in 0..rows.len() {
                let event = rows.sequence(at).zip(rows.stored_event(at));
                let (sequence, event) = event.ok_or_else(|| segment.named().damaged("a row is not an event"))?;
                take(sequence, event)?;
            }
        }
    }
    Ok(())
}
