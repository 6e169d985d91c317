//! Merging small segments of a day into larger ones.
//!
//! Constraints and invariants:
//! * Segments are merged in tiers, so that an event is copied at most [`REWRITES_MAX`] times. Segments of which few fit into one
//!   stay as they are.
//! * The merged segment replaces the others in one transaction, which fails if one of them is gone, or the intent.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ports::StoreError;
use domain::rollup::MINUTE_MICROS;
use segments::{MERGE_BYTES_MAX, MERGE_SEGMENTS_MAX, Segment, merge};

use super::segment_list::{self, ListedSegment, SegmentList, file_name};
use super::{SqliteStore, rollups, store_error};

/// How often an event is copied at most.
const REWRITES_MAX: i64 = 2;
const DAY_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

impl SqliteStore {
    /// Merges the oldest segments that are due. Returns whether there were any.
    pub(super) async fn merge_segments(&self, list: &SegmentList) -> Result<bool, StoreError> {
        let whole = list.segments.iter().filter(|listed| !self.segments.has_fault(&listed.summary.name));
        let Some((rewrites, group)) = next_merge(whole) else { return Ok(false) };
        let numbers: Vec<i64> = group.iter().map(|listed| listed.number).collect();
        let summaries: Vec<_> = group.into_iter().map(|listed| listed.summary.clone()).collect();
        self.segments.want_sweep();
        let number = self.writer.write(async |writer| segment_list::intend(writer).await).await?;
        let name = file_name(number);
        let merged = self.segments.read(None, move |files, is_over| {
            let open: Vec<Arc<Segment>> =
                summaries.iter().map(|summary| files.open(summary)).collect::<Result<_, _>>()?;
            Ok(merge(&open, files.storage.as_ref(), &name, is_over)?)
        });
        let Some(summary) = merged.await? else { return Ok(false) };
        self.writer
            .write(async |writer| {
                segment_list::add(writer, number, rewrites + 1, &summary).await?;
                rollups::merge(writer, &numbers, number).await.map_err(store_error)?;
                segment_list::remove(writer, &numbers).await?;
                segment_list::next_generation(writer).await
            })
            .await?;
        let events = summary.rows;
        tracing::debug!(segment = summary.name, segments = numbers.len(), events, "segments are merged");
        Ok(true)
    }
}

/// The segments to merge next, and how often their events were merged.
fn next_merge<'l>(segments: impl Iterator<Item = &'l ListedSegment>) -> Option<(i64, Vec<&'l ListedSegment>)> {
    let mut tiers: BTreeMap<(i64, i64), Vec<&ListedSegment>> = BTreeMap::new();
    for listed in segments.filter(|listed| listed.rewrites < REWRITES_MAX) {
        let day = listed.summary.received.from.unix_micros().div_euclid(DAY_MICROS);
        tiers.entry((listed.rewrites, day)).or_default().push(listed);
    }
    tiers.into_iter().find_map(|((rewrites, _), mut tier)| {
        if tier.len() < MERGE_SEGMENTS_MAX {
            return None;
        }
        tier.sort_by_key(|listed| listed.summary.sequences);
        tier.truncate(MERGE_SEGMENTS_MAX);
        let mut bytes = 0;
        let fits = |listed: &&&ListedSegment| {
            bytes += listed.summary.file_bytes;
            bytes <= MERGE_BYTES_MAX
        };
        let fitting = tier.iter().take_while(fits).count();
        tier.truncate(fitting);
        (fitting >= MERGE_SEGMENTS_MAX / 2).then_some((rewrites, tier))
    })
}

#[cfg(test)]
mod tests {
    use domain::timestamp::Timestamp;
    use segments::{SegmentSummary, TimeSpan};

    use super::*;

    fn listed(number: i64, rewrites: i64, day: i64, file_bytes: u64) -> ListedSegment {
        let received = TimeSpan::of(Timestamp::from_unix_micros(day * DAY_MICROS + number).expect("in range"));
        let sequence = number.unsigned_abs();
        let summary = SegmentSummary {
            name: file_name(number),
            file_bytes,
            sha256: [0; 32],
            tail_offset: 0,
            tail_crc: 0,
            rows: 1,
            text_bytes: 1,
            timestamps: received,
            received,
            sequences: (sequence, sequence),
        };
        ListedSegment { number, rewrites, summary }
    }

    fn merged(segments: &[ListedSegment]) -> Option<(i64, Vec<i64>)> {
        let (rewrites, group) = next_merge(segments.iter())?;
        Some((rewrites, group.into_iter().map(|listed| listed.number).collect()))
    }

    #[test]
    fn eight_segments_of_one_day_and_tier_are_merged() {
        let day = |day, count| (0..count).map(move |n| listed(100 * day + n, 0, day, 10));
        assert_eq!(merged(&day(1, 7).chain(day(2, 7)).collect::<Vec<_>>()), None, "too few of each day");
        let two_days: Vec<_> = day(1, 7).chain(day(2, 9)).collect();
        assert_eq!(merged(&two_days), Some((0, (200..208).collect())));
        let of_tier = |rewrites| (0..8).map(|n| listed(n, rewrites, 1, 10)).collect::<Vec<_>>();
        assert_eq!(merged(&of_tier(1)), Some((1, (0..8).collect())));
        assert_eq!(merged(&of_tier(REWRITES_MAX)), None, "nothing is rewritten more often");
    }

    #[test]
    fn a_merged_segment_is_bounded() {
        let of_bytes = |bytes| (0..8).map(|n| listed(n, 1, 1, bytes)).collect::<Vec<_>>();
        assert_eq!(merged(&of_bytes(MERGE_BYTES_MAX / 4)), Some((1, vec![0, 1, 2, 3])));
        for too_large in [MERGE_BYTES_MAX / 3, MERGE_BYTES_MAX] {
            assert_eq!(merged(&of_bytes(too_large)), None);
        }
    }
}
