//! What an edit of the file has changed, for the audit.

use domain::access::{Key, KeyId, Keys};

/// The keys that differ between two readings of the file, each in the order of the ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// They are new.
    pub added: Vec<KeyId>,
    /// They are revoked now.
    pub revoked: Vec<KeyId>,
    /// Their end, roles, sources or limits differ, or their revocation was taken back.
    pub changed: Vec<KeyId>,
    /// The file lacks them now.
    pub removed: Vec<KeyId>,
}

impl KeyChanges {
    /// What changed from the keys before, if there were any, to those now.
    pub(crate) fn between(before: Option<&Keys>, now: &Keys) -> Self {
        let mut changes = Self::default();
        let old = |id| before.and_then(|keys| keys.get(id));
        for key in now.iter() {
            match old(key.id) {
                None => changes.added.push(key.id),
                Some(old) if old.revoked.is_none() && key.revoked.is_some() => changes.revoked.push(key.id),
                Some(old) if !is_same(old, key) => changes.changed.push(key.id),
                Some(_) => {}
            }
        }
        let gone = before.into_iter().flat_map(Keys::iter).filter(|key| now.get(key.id).is_none());
        changes.removed.extend(gone.map(|key| key.id));
        for ids in [&mut changes.added, &mut changes.revoked, &mut changes.changed, &mut changes.removed] {
            ids.sort_unstable();
        }
        changes
    }
}

fn is_same(one: &Key, other: &Key) -> bool {
    one.name == other.name
        && one.hash.equals(&other.hash)
        && one.roles == other.roles
        && one.sources == other.sources
        && (one.expires, one.revoked, one.limits) == (other.expires, other.revoked, other.limits)
}
