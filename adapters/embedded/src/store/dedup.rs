//! Repeats of events that are in sealed segments.
//!
//! Constraints and invariants:
//! * The claims of clients stay in SQLite when their events are sealed, back to some receipt (`claims_from` of the list). Appends
//!   compare with them.
//! * An event whose receipt lies in the range of a segment is looked up there. So is, in the segments of the dedup window, an
//!   event of a client for which a claim may be absent because it was received late. Almost no append looks anything up: what
//!   arrives was received after everything that is sealed.
//! * Ids that Spillway made come again with the same time of receipt only.

use std::collections::{HashMap, HashSet};

use domain::Uuid;
use domain::access::TenantId;
use domain::event::LogEvent;
use domain::ports::StoreError;
use segments::{SegmentError, SegmentSummary, TimeSpan, known};
use sqlx::SqliteConnection;

use super::SqliteStore;

/// What decides whether an event is a repeat.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    /// Its place in the append.
    at: usize,
    event_id: Uuid,
    tenant: Option<TenantId>,
    is_client: bool,
    /// Receipt in microseconds since 1970.
    received: i64,
}

/// Within which receipts events can be repeats, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Reach {
    window: i64,
    claims_from: i64,
}

impl Reach {
    /// Whether a segment with these receipts must be asked for an event.
    fn concerns(self, event: &Incoming, received: TimeSpan) -> bool {
        let (from, to) = (received.from.unix_micros(), received.to.unix_micros());
        let (earliest, latest) =
            (event.received.saturating_sub(self.window), event.received.saturating_add(self.window));
        let contains = from <= event.received && event.received <= to;
        let lacks_claim = from < self.claims_from && earliest < self.claims_from;
        contains || (event.is_client && lacks_claim && from <= latest && earliest <= to)
    }
}

impl SqliteStore {
    /// The places of the events that repeat events in segments. In a transaction that writes, so that no event is sealed
    /// meanwhile.
    pub(super) async fn sealed_repeats(
        &self,
        writer: &mut SqliteConnection,
        events: &[(u64, LogEvent<'_>)],
    ) -> Result<HashSet<usize>, StoreError> {
        let list = self.segments.list(writer).await?;
        let reach = Reach { window: self.window_micros(), claims_from: list.claims_from };
        let incoming = events.iter().enumerate().map(|(at, (_, event))| Incoming {
            at,
            event_id: event.event_id,
            tenant: event.id_origin.tenant(),
            is_client: event.id_origin.is_client(),
            received: event.received_at.unix_micros(),
        });
        // Most appends end here, after one comparison for each event.
        let all = list.segments.iter().map(|listed| listed.summary.received).reduce(TimeSpan::and);
        let incoming: Vec<Incoming> =
            incoming.filter(|event| all.is_some_and(|all| reach.concerns(event, all))).collect();
        if incoming.is_empty() {
            return Ok(HashSet::new());
        }
        let lookups = list.segments.iter().filter_map(|listed| {
            let concerned = incoming.iter().filter(|event| reach.concerns(event, listed.summary.received));
            let concerned: Vec<Incoming> = concerned.copied().collect();
            (!concerned.is_empty()).then(|| (listed.summary.clone(), concerned))
        });
        let lookups: Vec<(SegmentSummary, Vec<Incoming>)> = lookups.collect();
        let found = self.segments.read(None, move |files, is_over| {
            let mut repeats = HashSet::new();
            for (summary, events) in lookups {
                if is_over() {
                    return Err(SegmentError::TooBroad.into());
                }
                let mut by_id: HashMap<Uuid, Vec<Incoming>> = HashMap::new();
                events.into_iter().for_each(|event| by_id.entry(event.event_id).or_default().push(event));
                let ids: HashSet<Uuid> = by_id.keys().copied().collect();
                let segment = files.open(&summary)?;
                for kept in known(&segment, &ids)? {
                    let with_id = by_id.get(&kept.event_id).into_iter().flatten();
                    let is_repeat = |event: &&Incoming| {
                        let distance = event.received.abs_diff(kept.received_at.unix_micros());
                        event.tenant == kept.tenant && distance <= reach.window.unsigned_abs()
                    };
                    repeats.extend(with_id.filter(is_repeat).map(|event| event.at));
                }
            }
            Ok(repeats)
        });
        found.await
    }
}

#[cfg(test)]
mod tests {
    use domain::timestamp::Timestamp;

    use super::*;

    fn span(from: i64, to: i64) -> TimeSpan {
        let time = |micros| Timestamp::from_unix_micros(micros).expect("in range");
        TimeSpan { from: time(from), to: time(to) }
    }

    #[test]
    fn a_segment_is_asked_if_it_may_have_the_event_that_is_repeated() {
        let reach = Reach { window: 100, claims_from: 1_000 };
        // Receipt, whether the id is of a client, receipts of the segment, and whether it is asked.
        for (received, is_client, (from, to), asked) in [
            (500, false, (500, 500), true),
            (501, false, (400, 500), false),
            (5_000, false, (4_000, 5_000), true),
            (5_050, true, (4_000, 5_000), false),
            (1_100, true, (900, 1_050), false),
            (1_099, true, (900, 1_050), true),
            (1_099, true, (900, 998), false),
            (1_099, true, (900, 999), true),
            (700, true, (801, 999), false),
            (700, true, (800, 999), true),
            (1_050, true, (1_000, 1_040), false),
        ] {
            let event = Incoming { at: 0, event_id: Uuid::nil(), tenant: None, is_client, received };
            assert_eq!(reach.concerns(&event, span(from, to)), asked, "{received} {is_client} {from} {to}");
        }
    }
}
