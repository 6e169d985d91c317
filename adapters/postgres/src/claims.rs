//! Finds out which events with a client-chosen id are new.
//!
//! Each claim, which is the id, or the id within a tenant ([`LogEvent::claim`]), has a row shared by all consumers and
//! days. Reading the row locks it, in the order of the ids, so that transactions with the same ids wait for each other
//! without deadlocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use domain::Uuid;
use domain::event::LogEvent;
use domain::timestamp::Timestamp;
use sqlx::{PgConnection, Row};

use crate::time::PgTime;

/// Positions in `events` of the repeats: events received within `window` of a stored event with the same id.
pub async fn repeats(
    connection: &mut PgConnection,
    events: &[(u64, LogEvent<'_>)],
    window: Duration,
) -> Result<HashSet<usize>, sqlx::Error> {
    let claimed =
        || events.iter().enumerate().filter_map(|(index, (_, event))| Some((index, event.claim()?, event.received_at)));
    let mut firsts: BTreeMap<Uuid, First> = BTreeMap::new();
    for (_, event) in events {
        if let Some(claim) = event.claim() {
            let first = First { received_at: event.received_at, is_derived: event.id_origin.is_derived() };
            firsts.entry(claim).or_insert(first);
        }
    }
    if firsts.is_empty() {
        return Ok(HashSet::new());
    }
    let before = claim(connection, &firsts).await?;
    let mut kept = before.clone();
    let mut repeats = HashSet::new();
    for (index, claim, received_at) in claimed() {
        let times = kept.entry(claim).or_default();
        let within =
            |time: &Timestamp| u128::from(time.unix_micros().abs_diff(received_at.unix_micros())) <= window.as_micros();
        if times.iter().any(within) {
            repeats.insert(index);
        } else {
            times.push(received_at);
        }
    }
    for (id, times) in kept {
        // An id claimed for the first time is already recorded, unless the same id occurred twice, far apart.
        let noted = before.get(&id).map_or(1, Vec::len);
        if times.len() > noted {
            note(connection, id, &times).await?;
        }
    }
    Ok(repeats)
}

/// The first event of an append with an id.
struct First {
    received_at: Timestamp,
    /// Whether the row of the id is dropped early: see `resend_window` in the options of the store.
    is_derived: bool,
}

/// Locks the rows of ids, inserting missing ones. Returns, for existing ids, the receipt times stored before.
async fn claim(
    connection: &mut PgConnection,
    firsts: &BTreeMap<Uuid, First>,
) -> Result<HashMap<Uuid, Vec<Timestamp>>, sqlx::Error> {
    let ids: Vec<sqlx::types::Uuid> = firsts.keys().copied().collect();
    let times: Vec<PgTime> = firsts.values().map(|first| PgTime(first.received_at)).collect();
    let derived: Vec<bool> = firsts.values().map(|first| first.is_derived).collect();
    let rows = sqlx::query(
        "INSERT INTO event_ids AS claimed (event_id, kept, latest, derived_at) \
         SELECT id, ARRAY[at], at, CASE WHEN derived THEN now() END \
         FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[]) AS claim (id, at, derived) ORDER BY id \
         ON CONFLICT (event_id) DO UPDATE SET latest = claimed.latest \
         RETURNING event_id, kept, xmax = 0 AS is_new",
    )
    .bind(ids)
    .bind(times)
    .bind(derived)
    .fetch_all(connection)
    .await?;
    let mut kept = HashMap::new();
    for row in rows {
        if !row.try_get::<bool, _>("is_new")? {
            let times: Vec<PgTime> = row.try_get("kept")?;
            kept.insert(row.try_get("event_id")?, times.into_iter().map(|PgTime(time)| time).collect());
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
