//! The ids of the events of the hot part.
//!
//! Constraint: memory for each event of the hot part is an entry of 32 bytes in a hash table, which has 1.1 to 2.3 places for each;
//! for further events with one id, also that of a list.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use domain::Uuid;
use domain::access::TenantId;
use domain::event::LogEvent;
use domain::timestamp::Timestamp;
use foldhash::fast::RandomState;

/// What decides whether an event is a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotId {
    /// Its id.
    pub event_id: Uuid,
    /// The tenant whose claim of the id it is.
    pub tenant: Option<TenantId>,
    /// Its time of receipt.
    pub received_at: Timestamp,
}

impl HotId {
    /// That of an event.
    pub fn of(event: &LogEvent<'_>) -> Self {
        Self { event_id: event.event_id, tenant: event.id_origin.tenant(), received_at: event.received_at }
    }
}

/// An event with some id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    received_at: Timestamp,
    /// Of [`Ids::tenants`].
    tenant: u32,
}

/// The events with one id, almost always one.
#[derive(Debug)]
enum Events {
    /// The fields of a [`Known`], which are smaller here.
    One { received_at: Timestamp, tenant: u32 },
    #[expect(clippy::box_collection, reason = "smaller than a vector: each id has an entry of this size")]
    Several(Box<Vec<Known>>),
}

impl Events {
    fn all(&self) -> impl Iterator<Item = Known> {
        let (one, several) = match self {
            Self::One { received_at, tenant } => {
                (Some(Known { received_at: *received_at, tenant: *tenant }), <&[Known]>::default())
            }
            Self::Several(several) => (None, several.as_slice()),
        };
        one.into_iter().chain(several.iter().copied())
    }
}

/// The ids of some events.
#[derive(Debug, Default)]
pub struct Ids {
    events: HashMap<Uuid, Events, RandomState>,
    /// Numbers in place of tenants. Tenants are few; they are never removed.
    tenants: HashMap<TenantId, u32>,
}

impl Ids {
    /// Adds an event.
    pub fn insert(&mut self, id: HotId) {
        let next = u32::try_from(self.tenants.len() + 1).unwrap_or(u32::MAX);
        let tenant = id.tenant.map_or(0, |tenant| *self.tenants.entry(tenant).or_insert(next));
        let known = Known { received_at: id.received_at, tenant };
        match self.events.entry(id.event_id) {
            Entry::Vacant(vacant) => {
                let Known { received_at, tenant } = known;
                vacant.insert(Events::One { received_at, tenant });
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Events::Several(several) => several.push(known),
                Events::One { received_at, tenant } => {
                    let one = Known { received_at: *received_at, tenant: *tenant };
                    occupied.insert(Events::Several(Box::new(vec![one, known])));
                }
            },
        }
    }

    /// Removes one event that was added with this id.
    pub fn remove(&mut self, id: HotId) {
        let Some(tenant) = self.number_of(id.tenant) else { return };
        let known = Known { received_at: id.received_at, tenant };
        let Entry::Occupied(mut occupied) = self.events.entry(id.event_id) else { return };
        let is_last = match occupied.get_mut() {
            Events::One { received_at, tenant } => (*received_at, *tenant) == (known.received_at, known.tenant),
            Events::Several(several) => {
                if let Some(at) = several.iter().position(|other| *other == known) {
                    several.swap_remove(at);
                }
                several.is_empty()
            }
        };
        if is_last {
            occupied.remove();
        }
    }

    /// Whether an event is a repeat of one of these: it has the same id, of the same tenant, and was received at most so many
    /// microseconds before or after it.
    pub fn repeats(&self, id: HotId, window_micros: u64) -> bool {
        let Some(events) = self.events.get(&id.event_id) else { return false };
        let Some(tenant) = self.number_of(id.tenant) else { return false };
        let received = id.received_at.unix_micros();
        events
            .all()
            .any(|known| known.tenant == tenant && received.abs_diff(known.received_at.unix_micros()) <= window_micros)
    }

    /// The last time at which an event with this id was received.
    pub fn last_received(&self, event_id: Uuid) -> Option<Timestamp> {
        self.events.get(&event_id)?.all().map(|known| known.received_at).max()
    }

    /// The number of a tenant, or of none; `None` if no event is of this tenant.
    fn number_of(&self, tenant: Option<TenantId>) -> Option<u32> {
        match tenant {
            None => Some(0),
            Some(tenant) => self.tenants.get(&tenant).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128, tenant: Option<&str>, micros: i64) -> HotId {
        let received_at = Timestamp::from_unix_micros(micros).expect("in range");
        HotId { event_id: Uuid::from_u128(n), tenant: tenant.map(TenantId::of_name), received_at }
    }

    #[test]
    fn an_entry_has_32_bytes() {
        assert_eq!(size_of::<(Uuid, Events)>(), 32);
    }

    #[test]
    fn an_id_repeats_within_the_window_and_of_one_tenant_until_it_is_removed() {
        let mut ids = Ids::default();
        for known in [id(1, None, 100), id(1, None, 300), id(1, Some("a"), 500), id(2, Some("b"), 0)] {
            ids.insert(known);
        }
        for (asked, repeats) in [
            (id(1, None, 90), true),
            (id(1, None, 89), false),
            (id(1, None, 310), true),
            (id(1, None, 500), false),
            (id(1, Some("a"), 500), true),
            (id(1, Some("b"), 500), false),
            (id(1, Some("c"), 500), false),
            (id(3, None, 100), false),
        ] {
            assert_eq!(ids.repeats(asked, 10), repeats, "{asked:?}");
        }
        assert_eq!(ids.last_received(Uuid::from_u128(1)).map(Timestamp::unix_micros), Some(500));
        for gone in [id(1, None, 100), id(1, None, 100), id(1, None, 101), id(2, None, 0), id(1, Some("a"), 500)] {
            ids.remove(gone);
        }
        assert!(!ids.repeats(id(1, None, 100), 10) && ids.repeats(id(1, None, 300), 0));
        assert_eq!(ids.last_received(Uuid::from_u128(1)).map(Timestamp::unix_micros), Some(300));
        ids.remove(id(1, None, 300));
        ids.remove(id(2, Some("b"), 0));
        assert!(ids.events.is_empty());
    }
}
