//! Counting events of segments.
//!
//! Invariant: the counts are those of [`Counts::add`] over all matching events.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use domain::stats::{Counts, GroupBy, StatsQuery};

use crate::columns::{Column, ColumnSet};
use crate::error::SegmentError;
use crate::needs::Need;
use crate::parallel::{each_block, lock};
use crate::reader::Segment;
use crate::scan::{Found, Plan, TimeIsUp};

/// Adds the matching events of segments to counts.
///
/// # Errors
/// Those of reading, or [`SegmentError::TooBroad`] once `time_is_up`.
pub fn count(
    segments: &[Arc<Segment>],
    query: &StatsQuery,
    counts: &mut Counts,
    time_is_up: TimeIsUp<'_>,
) -> Result<(), SegmentError> {
    let columns = ColumnSet::of(&[Column::Timestamp]).with(match query.by {
        GroupBy::Level => Column::Level,
        GroupBy::Source => Column::Source,
        GroupBy::TraceId => Column::TraceId,
        GroupBy::Metadata(_) => Column::Metadata,
    });
    let plan = Plan::new(&query.filter, Need::All(Vec::new()));
    let units = plan.units(segments)?;
    let counts = Mutex::new(counts);
    each_block(segments, &plan, &units, time_is_up, |scan, unit| {
        if let Some(mut found) = scan.matching(unit)? {
            if let GroupBy::Metadata(name) = &query.by
                && !count_by_column(&mut found, name, query, &counts)?
            {
                return Ok(ControlFlow::Continue(()));
            }
            found.read(columns)?;
            let mut counts = lock(&counts);
            for at in 0..found.rows().len() {
                counts.add(query, &found.rows().event(at).ok_or_else(|| found.not_an_event())?);
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Counts the rows whose value of a name is in the column for that name, and keeps the others. Returns whether there are any.
fn count_by_column(
    found: &mut Found<'_, '_>,
    name: &str,
    query: &StatsQuery,
    counts: &Mutex<&mut Counts>,
) -> Result<bool, SegmentError> {
    let Some(texts) = found.read_path(name)? else { return Ok(true) };
    found.read(ColumnSet::of(&[Column::Timestamp]))?;
    let mut others = Vec::new();
    {
        let mut counts = lock(counts);
        for (at, text) in texts.iter().enumerate() {
            match text {
                Some(text) => {
                    let timestamp = found.rows().timestamp(at).ok_or_else(|| found.not_an_event())?;
                    counts.add_events(query.bucket_of(timestamp), text, 1);
                }
                None => others.push(at),
            }
        }
    }
    found.keep(&others)?;
    Ok(!others.is_empty())
}
