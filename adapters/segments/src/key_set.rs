//! A set of keys that is filled for each block anew.
//!
//! Constraint: a text can be made so that its keys meet in one place of the table. So few places are tried, and a key that
//! finds none is kept without one, perhaps twice.

/// Places at the beginning.
const PLACES_MIN: usize = 1 << 12;
/// More places are given up when the set is emptied: a usual block needs 2^18.
const PLACES_KEPT_MAX: usize = 1 << 20;
/// Places that are tried for a key.
const TRIED_MAX: usize = 32;

/// Keys, of which each is there at least once, and hardly any twice.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// Keys at the place that their lowest bits tell, or a few places behind it; 0 is a free place.
    places: Vec<u64>,
    keys: Vec<u64>,
}

impl KeySet {
    pub fn new() -> Self {
        Self { places: vec![0; PLACES_MIN], keys: Vec::new() }
    }

    /// Forgets the keys, and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.keys.clear();
        if self.places.len() > PLACES_KEPT_MAX {
            *self = Self::new();
        } else {
            self.places.fill(0);
        }
    }

    /// Adds a key.
    #[inline]
    pub fn insert(&mut self, key: u64) {
        if place(&mut self.places, key) {
            self.keys.push(key);
            // Half of the places stay free.
            if self.keys.len() * 2 > self.places.len() {
                self.grow();
            }
        }
    }

    fn grow(&mut self) {
        self.places = vec![0; self.places.len() * 2];
        for key in &self.keys {
            place(&mut self.places, *key);
        }
    }

    /// The keys. Their order means nothing; the caller may change it.
    pub fn keys(&mut self) -> &mut Vec<u64> {
        &mut self.keys
    }
}

/// Puts a key into its place; false if it is there.
#[inline]
fn place(places: &mut [u64], key: u64) -> bool {
    let mask = places.len() - 1;
    for n in 0..TRIED_MAX {
        // Always there: the number of places is a power of two.
        let Some(place) = places.get_mut((key as usize).wrapping_add(n) & mask) else { return true };
        if *place == 0 {
            *place = key;
            return true;
        }
        if *place == key {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::key::mix;

    #[test]
    fn each_key_is_there_once() {
        let mut set = KeySet::new();
        for round in 1..4 {
            let keys: Vec<u64> = (1..20_000 * round).map(mix).collect();
            keys.iter().chain(&keys).for_each(|key| set.insert(*key));
            assert_eq!(set.keys().len(), keys.len());
            assert_eq!(set.keys().iter().copied().collect::<BTreeSet<_>>(), keys.into_iter().collect());
            set.clear();
            assert!(set.keys().is_empty());
        }
    }

    /// It may be there more often.
    #[test]
    fn keys_that_meet_in_one_place_are_all_there() {
        let mut set = KeySet::new();
        let keys: BTreeSet<u64> = (0..10_000).map(|n| n << 40).collect();
        keys.iter().for_each(|key| set.insert(*key));
        assert_eq!(set.keys().iter().copied().collect::<BTreeSet<_>>(), keys);
    }
}
