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
    let mut firsts: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
    for (_, claim, received_at) in claimed() {
        firsts.entry(claim).or_insert(received_at);
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

/// Locks the rows of ids, inserting missing ones. Returns, for existing ids, the receipt times stored before.
async fn claim(
    connection: &mut PgConnection,
    firsts: &BTreeMap<Uuid, Timestamp>,
) -> Result<HashMap<Uuid, Vec<Timestamp>>, sqlx::Error> {
    let ids: Vec<sqlx::types::Uuid> = firsts.keys().copied().collect();
    let times: Vec<PgTime> = firsts.values().copied().map(PgTime).collect();
    let rows = sqlx::query(
        "INSERT INTO event_ids AS claimed (event_id, kept, latest) \
         SELECT id, ARRAY[at], at FROM unnest($1::uuid[], $2::timestamptz[]) AS claim (id, at) ORDER BY id \
         ON CONFLICT (event_id) DO UPDATE SET latest = claimed.latest \
         RETURNING event_id, kept, xmax = 0 AS is_new",
    )
    .bind(ids)
    .bind(times)
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
