//! Storing events, dead letters and a position in one transaction.
//!
//! Constraints and invariants:
//! * An event is a repeat of one that was kept: in the hot part or before it in the append (their ids are in memory), or in a
//!   segment (`dedup.rs`, and claims).
//! * Ids are given in the order of the append, to new events only.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use domain::Uuid;
use domain::access::TenantId;
use domain::event::LogEvent;
use domain::ports::{Append, Appended, StoreError};
use domain::rollup::Rollups;
use domain::trace_parent::TraceParent;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::hot::{Change, HotId, Ids, NewChunk, Numbered, Version, pack_all};
use super::{SqliteStore, position, rollups, store_error};

/// Ids for which one statement looks up claims, smallest first: few statements are ever prepared.
const CLAIMS_AT_ONCE: [usize; 3] = [4, 32, 256];

impl SqliteStore {
    /// Does the work of an append in a transaction. Returns also the version of the chunks after it, if it changes them.
    pub(super) async fn append_on(
        &self,
        writer: &mut SqliteConnection,
        append: &Append<'_>,
    ) -> Result<(Appended, Option<Version>), StoreError> {
        let group_partition = append.group_partition;
        let actual = position(&mut *writer, group_partition).await.map_err(store_error)?;
        if actual != append.expected {
            return Err(StoreError::Conflict { actual });
        }
        let (stored, version) = self.append_events(&mut *writer, append).await?;
        insert_dead_letters(&mut *writer, append).await.map_err(store_error)?;
        sqlx::query(
            "INSERT INTO positions (consumer_group, topic, partition, next) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET next = excluded.next",
        )
        .bind(group_partition.group.as_str())
        .bind(group_partition.topic.as_str())
        .bind(i64::from(group_partition.partition))
        .bind(append.next.cast_signed())
        .execute(&mut *writer)
        .await
        .map_err(store_error)?;
        let appended = Appended {
            stored,
            deduplicated: append.events.len().saturating_sub(stored),
            dead_lettered: append.dead_letters.len(),
        };
        Ok((appended, version))
    }

    /// Stores the events that are new. Returns how many.
    async fn append_events(
        &self,
        writer: &mut SqliteConnection,
        append: &Append<'_>,
    ) -> Result<(usize, Option<Version>), StoreError> {
        if append.events.is_empty() {
            return Ok((0, None));
        }
        let window = self.window_micros().unsigned_abs();
        let mut repeats = self.sealed_repeats(&mut *writer, append.events).await?;
        repeats.extend(claimed(&mut *writer, append.events, window).await?);
        let events = append.events.iter().enumerate().filter(|(at, _)| !repeats.contains(at)).map(|(_, event)| event);
        let seen = self.hot.seen_by_writer(&mut *writer, |state| {
            let mut own = Ids::default();
            let new = events.filter(|(_, event)| {
                let id = HotId::of(event);
                let is_new = !state.ids().repeats(id, window) && !own.repeats(id, window);
                if is_new {
                    own.insert(id);
                }
                is_new
            });
            (new.collect::<Vec<_>>(), state.next_id())
        });
        let (new, next_id) = seen.await?;
        if new.is_empty() {
            return Ok((0, None));
        }
        let numbered = (next_id..).zip(&new).map(|(id, (offset, event))| Numbered { id, offset: *offset, event });
        let group_partition = append.group_partition;
        let chunks = NewChunk::of(&group_partition.topic, group_partition.partition, numbered);
        let mut change = Change { ids: new.len() as u64, ..Change::default() };
        for chunk in pack_all(chunks).await? {
            change.added.push(chunk.insert(&mut *writer).await?);
        }
        self.roll_up(&mut *writer, &new).await.map_err(store_error)?;
        let version = self.hot.change(writer, change).await?;
        Ok((new.len(), Some(version)))
    }

    /// Adds new events to the rollups.
    async fn roll_up(&self, writer: &mut SqliteConnection, new: &[&(u64, LogEvent<'_>)]) -> Result<(), sqlx::Error> {
        let Some((_, first)) = new.first() else { return Ok(()) };
        let mut rollups = Rollups::of(new.iter().map(|(_, event)| event));
        let sources = &self.rollup_sources;
        rollups.limit_sources(first.received_at, &mut sources.lock().unwrap_or_else(PoisonError::into_inner));
        rollups::add(writer, &rollups).await
    }
}

async fn insert_dead_letters(writer: &mut SqliteConnection, append: &Append<'_>) -> Result<(), sqlx::Error> {
    let group_partition = append.group_partition;
    for letter in append.dead_letters {
        sqlx::query(
            "INSERT OR REPLACE INTO dead_letters (consumer_group, topic, partition, \"offset\", record_index, key, value, \
             trace_parent, reason, attempts, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
             WHERE NOT EXISTS (SELECT 1 FROM dead_letters WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3 \
             AND \"offset\" = ?4 AND record_index = ?5 AND key = ?6 AND value = ?7)",
        )
        .bind(group_partition.group.as_str())
        .bind(group_partition.topic.as_str())
        .bind(i64::from(group_partition.partition))
        .bind(letter.offset.cast_signed())
        .bind(letter.record_index)
        .bind(letter.key)
        .bind(letter.value)
        .bind(letter.trace_parent.as_ref().map(TraceParent::as_bytes))
        .bind(letter.reason.as_str())
        .bind(letter.attempts)
        .bind(letter.at.unix_micros())
        .execute(&mut *writer)
        .await?;
    }
    Ok(())
}

/// The places of the events of clients that repeat a claim.
async fn claimed(
    writer: &mut SqliteConnection,
    events: &[(u64, LogEvent<'_>)],
    window_micros: u64,
) -> Result<HashSet<usize>, StoreError> {
    let clients: Vec<(usize, HotId)> = events
        .iter()
        .enumerate()
        .filter(|(_, (_, event))| event.id_origin.is_client())
        .map(|(at, (_, event))| (at, HotId::of(event)))
        .collect();
    let mut found = HashSet::new();
    if clients.is_empty() || !has_claims(&mut *writer).await? {
        return Ok(found);
    }
    let [.., most] = CLAIMS_AT_ONCE;
    for part in clients.chunks(most) {
        let claims = claims_of(&mut *writer, part).await.map_err(store_error)?;
        let is_repeat = |(_, id): &&(usize, HotId)| {
            let received = id.received_at.unix_micros();
            let claims = claims.get(&id.event_id).into_iter().flatten();
            claims.into_iter().any(|(tenant, at)| *tenant == id.tenant && received.abs_diff(*at) <= window_micros)
        };
        found.extend(part.iter().filter(is_repeat).map(|(at, _)| *at));
    }
    Ok(found)
}

async fn has_claims(writer: &mut SqliteConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM claims)").fetch_one(writer).await.map_err(store_error)
}

/// The claims of some ids: tenant, and receipt in microseconds since 1970.
async fn claims_of(
    writer: &mut SqliteConnection,
    ids: &[(usize, HotId)],
) -> Result<HashMap<Uuid, Vec<(Option<TenantId>, i64)>>, sqlx::Error> {
    let mut claims: HashMap<Uuid, Vec<(Option<TenantId>, i64)>> = HashMap::new();
    let Some((_, first)) = ids.first() else { return Ok(claims) };
    let size = CLAIMS_AT_ONCE.into_iter().find(|size| *size >= ids.len()).unwrap_or(ids.len());
    let places = vec!["?"; size].join(", ");
    let select = format!("SELECT event_id, tenant, received_at FROM claims WHERE event_id IN ({places})");
    let mut select = sqlx::query(AssertSqlSafe(select));
    // The first one fills up.
    let filling = std::iter::repeat_n(first, size - ids.len());
    for id in ids.iter().map(|(_, id)| id).chain(filling) {
        select = select.bind(id.event_id.as_bytes().as_slice());
    }
    for row in select.fetch_all(writer).await? {
        let tenant: &[u8] = row.try_get(1)?;
        // Empty without a tenant.
        let tenant = tenant.try_into().ok().map(TenantId::from_bytes);
        let event_id = Uuid::from_slice(row.try_get(0)?).map_err(super::rows::decode_error)?;
        claims.entry(event_id).or_default().push((tenant, row.try_get(2)?));
    }
    Ok(claims)
}
