//! A bounded map of what was used last.
//!
//! Invariant: no more than its bound, at constant cost. Entries are kept in two generations of half the bound each; when
//! the younger is full it becomes the older, and the older is forgotten: those go that were not used for longest.

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
    /// An empty map that keeps at most `entries_max` entries, and at least half as many that were used last.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), entries_max }
    }

    /// The value of a key, or the default if it is not there, or not any more.
    pub fn entry(&mut self, key: K) -> &mut V {
        if !self.young.contains_key(&key) && self.young.len() >= self.entries_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let old = self.old.remove(&key).unwrap_or_default();
        self.young.entry(key).or_insert(old)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten_first_and_the_bound_is_kept() {
        let mut recent: Recent<u32, u32> = Recent::new(1_000);
        for key in 0..10_000 {
            *recent.entry(key) += 1;
            // Key 0 is used all the time, and never forgotten.
            *recent.entry(0) += 1;
            assert_eq!(*recent.entry(0), key + 2, "{key}");
            assert!(recent.len() <= 1_000);
        }
        assert_eq!(*recent.entry(9_999), 1);
        assert_eq!(*recent.entry(1), 0);
    }
}
