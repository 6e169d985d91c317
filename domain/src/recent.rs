//! A bounded map of the most recently used entries.
//!
//! Invariant: never more entries than its bound, at constant cost. Entries are kept in two generations of half the
//! bound each; when the younger one is full it replaces the older one, which drops the least recently used entries.

use std::collections::HashMap;
use std::hash::Hash;

/// The map.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    entries_max: usize,
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    /// An empty map that keeps at most `entries_max` entries, and at least the half of them used most recently.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), entries_max }
    }

    /// The value of a key, or the default if the key is missing or has been dropped.
    pub fn entry(&mut self, key: K) -> &mut V {
        if !self.young.contains_key(&key) && self.young.len() >= self.entries_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let old = self.old.remove(&key).unwrap_or_default();
        self.young.entry(key).or_insert(old)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether the map is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entries_are_dropped_first_and_the_bound_is_kept() {
        let mut recent: Recent<u32, u32> = Recent::new(1_000);
        for key in 0..10_000 {
            *recent.entry(key) += 1;
            // Key 0 is used all the time and never dropped.
            *recent.entry(0) += 1;
            assert_eq!(*recent.entry(0), key + 2, "{key}");
            assert!(recent.len() <= 1_000);
        }
        assert_eq!(*recent.entry(9_999), 1);
        assert_eq!(*recent.entry(1), 0);
    }
}
