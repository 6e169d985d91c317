//! Counting events of segments.
//!
//! Invariant: the counts are those of [`Counts::add`] over all matching events.

use std::sync::Arc;

use domain::stats::{Counts, GroupBy, StatsQuery};

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::needs::Need;
use crate::reader::Segment;
use crate::scan::{Scan, read_rows};

/// Adds the matching events of segments to counts.
///
/// # Errors
/// Those of reading, or [`SegmentError::TooBroad`] once `time_is_up`.
pub fn count(
    segments: &[Arc<Segment>],
    query: &StatsQuery,
    counts: &mut Counts,
    time_is_up: &dyn Fn() -> bool,
) -> Result<(), SegmentError> {
    let columns = ColumnSet::of(&[Column::Timestamp]).with(match query.by {
        GroupBy::Level => Column::Level,
        GroupBy::Source => Column::Source,
        GroupBy::TraceId => Column::TraceId,
        GroupBy::Metadata(_) => Column::Metadata,
    });
    let mut scan = Scan::new(segments, &query.filter, Need::All(Vec::new()), time_is_up);
    for unit in scan.units()? {
        let Some((rows, reader)) = scan.matching(unit)? else { continue };
        let read = read_rows(reader, columns, &rows)?;
        for at in 0..read.len() {
            let event = read.event(at);
            counts.add(query, &event.ok_or_else(|| reader.segment().named().damaged("a row is not an event"))?);
        }
    }
    Ok(())
}
