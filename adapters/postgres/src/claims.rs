//! Finds out which events with an id of a client are new.
//!
//! Constraints and invariants:
//! * An id that a client chose has a row, its claim, shared by all consumers and days: the id, or the id within a tenant
//!   ([`LogEvent::claim`]). Reading the row locks it, in the order of the ids, so that transactions with the same ids wait
//!   for each other without deadlocks.
//! * An id that Spillway derived has none. Equal ids have equal sources and levels, so their records are in one partition, which one
//!   consumer reads in order: the stored events answer. Only after partitions were added can two consumers store a record and its
//!   repeat in the same moment, and then both stay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use domain::Uuid;
use domain::event::LogEvent;
use domain::timestamp::Timestamp;
use sqlx::{PgConnection, Row};

use crate::copy::tenant_of;
use crate::time::PgTime;

/// Within which distance of receipts an event is a repeat.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// For ids that clients chose.
    pub chosen: Duration,
    /// For ids that Spillway derived.
    pub derived: Duration,
}

impl Windows {
    fn of(self, event: &LogEvent<'_>) -> Duration {
        if event.id_origin.is_derived() { self.derived } else { self.chosen }
    }
}

/// Receipt times of the events with an id, by claim.
type Kept = HashMap<Uuid, Vec<Timestamp>>;

/// Positions in `events` of the repeats: events received within a window of a stored event with the same id.
pub async fn repeats(
    connection: &mut PgConnection,
    events: &[(u64, LogEvent<'_>)],
    windows: Windows,
) -> Result<HashSet<usize>, sqlx::Error> {
    let (mut chosen, mut derived) = (BTreeMap::new(), Vec::new());
    for (_, event) in events {
        let Some(claim) = event.claim() else { continue };
        if event.id_origin.is_derived() {
            derived.push(event);
        } else {
            chosen.entry(claim).or_insert(event.received_at);
        }
    }
    let claimed = claim(connection, &chosen).await?;
    let mut kept = stored(connection, &derived, windows.derived).await?;
    for (claim, times) in &claimed {
        kept.entry(*claim).or_default().extend(times);
    }
    let mut repeats = HashSet::new();
    for (index, (_, event)) in events.iter().enumerate() {
        let Some(claim) = event.claim() else { continue };
        let (times, window) = (kept.entry(claim).or_default(), windows.of(event).as_micros());
        let within =
            |time: &Timestamp| u128::from(time.unix_micros().abs_diff(event.received_at.unix_micros())) <= window;
        if times.iter().any(within) {
            repeats.insert(index);
        } else {
            times.push(event.received_at);
        }
    }
    for id in chosen.into_keys() {
        let times = kept.remove(&id).unwrap_or_default();
        // An id claimed for the first time is already recorded, unless the same id occurred twice, far apart.
        let noted = claimed.get(&id).map_or(1, Vec::len);
        if times.len() > noted {
            note(connection, id, &times).await?;
        }
    }
    Ok(repeats)
}

/// Locks the rows of ids that clients chose, inserting missing ones with these times of receipt. Returns, for existing ids, the
/// receipt times stored before.
async fn claim(connection: &mut PgConnection, firsts: &BTreeMap<Uuid, Timestamp>) -> Result<Kept, sqlx::Error> {
    if firsts.is_empty() {
        return Ok(Kept::new());
    }
    let ids: Vec<sqlx::types::Uuid> = firsts.keys().copied().collect();
    let times: Vec<PgTime> = firsts.values().map(|received_at| PgTime(*received_at)).collect();
    let rows = sqlx::query(
        "INSERT INTO event_ids AS claimed (event_id, kept, latest) SELECT id, ARRAY[at], at \
         FROM unnest($1::uuid[], $2::timestamptz[]) AS claim (id, at) ORDER BY id \
         ON CONFLICT (event_id) DO UPDATE SET latest = claimed.latest \
         RETURNING event_id, kept, xmax = 0 AS is_new",
    )
    .bind(ids)
    .bind(times)
    .fetch_all(connection)
    .await?;
    let mut kept = Kept::new();
    for row in rows {
        if !row.try_get::<bool, _>("is_new")? {
            let times: Vec<PgTime> = row.try_get("kept")?;
            kept.insert(row.try_get("event_id")?, times.into_iter().map(|PgTime(time)| time).collect());
        }
    }
    Ok(kept)
}

/// Looks for stored events with the ids of these events, received within `window` of one of them.
async fn stored(
    connection: &mut PgConnection,
    events: &[&LogEvent<'_>],
    window: Duration,
) -> Result<Kept, sqlx::Error> {
    let received = || events.iter().map(|event| event.received_at);
    let (Some(first), Some(last)) = (received().min(), received().max()) else { return Ok(Kept::new()) };
    let claims: HashMap<(Uuid, Vec<u8>), Uuid> =
        events.iter().filter_map(|event| Some(((event.event_id, tenant_of(event)), event.claim()?))).collect();
    let ids: Vec<sqlx::types::Uuid> = events.iter().map(|event| event.event_id).collect();
    // Each id is one search in the key of the one or two days that the window reaches.
    let rows = sqlx::query(
        "SELECT event_id, received_at, tenant FROM events \
         WHERE event_id = ANY($1) AND received_at BETWEEN $2 AND $3",
    )
    .bind(ids)
    .bind(PgTime(first.saturating_sub(window)))
    .bind(PgTime(last.checked_add(window).unwrap_or(Timestamp::MAX)))
    .fetch_all(connection)
    .await?;
    let mut kept = Kept::new();
    for row in rows {
        let PgTime(received_at) = row.try_get("received_at")?;
        if let Some(claim) = claims.get(&(row.try_get("event_id")?, row.try_get("tenant")?)) {
            kept.entry(*claim).or_default().push(received_at);
        }
    }
    Ok(kept)
}

async fn note(connection: &mut PgConnection, id: Uuid, times: &[Timestamp]) -> Result<(), sqlx::Error> {
    let latest = times.iter().max().copied().unwrap_or(Timestamp::MIN);
    let times: Vec<PgTime> = times.iter().copied().map(PgTime).collect();
    sqlx::query("UPDATE event_ids SET kept = $2, latest = $3 WHERE event_id = $1")
        .bind(id)
        .bind(times)
        .bind(PgTime(latest))
        .execute(connection)
        .await
        .map(drop)
}
