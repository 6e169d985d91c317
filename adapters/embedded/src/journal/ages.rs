//! Receipt times of a log's entries, oldest first, in little memory.
//!
//! Constraints and invariants:
//! * At most [`MARKS_MAX`] marks, whatever the number of entries: the more entries, the coarser the marks.
//! * The reported oldest time is never later than that of the oldest unreleased entry, and is exact while the log has few
//!   batches.

use std::collections::VecDeque;

use domain::timestamp::Timestamp;

const MARKS_MAX: usize = 1_024;

/// Receipt times of a log's entries.
pub(super) struct Ages {
    marks: VecDeque<Mark>,
    /// Additions to a mark before the next one begins, and additions to the last mark.
    additions_max: u64,
    additions: u64,
    /// Next number after the last entry.
    next: u64,
}

/// The entries from a number up to that of the next mark.
#[derive(Clone, Copy)]
struct Mark {
    first: u64,
    oldest: Timestamp,
}

impl Mark {
    fn and(self, following: Self) -> Self {
        Self { first: self.first, oldest: self.oldest.min(following.oldest) }
    }
}

impl Default for Ages {
    fn default() -> Self {
        Self { marks: VecDeque::new(), additions_max: 1, additions: 0, next: 0 }
    }
}

impl Ages {
    /// Adds the entries numbered `first..next`, the oldest of which was received at `oldest`.
    pub fn add(&mut self, first: u64, next: u64, oldest: Timestamp) {
        let mark = Mark { first, oldest };
        self.next = next;
        if let Some(last) = self.marks.back_mut()
            && self.additions < self.additions_max
        {
            *last = last.and(mark);
            self.additions += 1;
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            self.additions_max *= 2;
            let pairs = self.marks.make_contiguous().chunks(2);
            self.marks = pairs.filter_map(|pair| pair.iter().copied().reduce(Mark::and)).collect();
        }
        self.marks.push_back(mark);
        self.additions = 1;
    }

    /// The oldest receipt time of the entries numbered from `released` on.
    pub fn oldest(&mut self, released: u64) -> Option<Timestamp> {
        while self.marks.get(1).map_or(self.next, |second| second.first) <= released {
            self.marks.pop_front();
            if self.marks.is_empty() {
                *self = Self { next: self.next, ..Self::default() };
                return None;
            }
        }
        self.marks.iter().map(|mark| mark.oldest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_unix_micros(i64::try_from(micros).expect("in range")).expect("in range")
    }

    #[test]
    fn the_oldest_of_a_few_batches_is_known_exactly() {
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(0), None);
        ages.add(5, 8, at(30));
        ages.add(8, 9, at(10));
        ages.add(20, 22, at(20));
        assert_eq!(ages.oldest(0), Some(at(10)));
        assert_eq!(ages.oldest(8), Some(at(10)));
        // Number 9 was skipped: the time of the batch before it applies.
        assert_eq!(ages.oldest(20), Some(at(20)));
        assert_eq!(ages.oldest(21), Some(at(20)));
        assert_eq!(ages.oldest(22), None);
        ages.add(22, 23, at(5));
        assert_eq!(ages.oldest(22), Some(at(5)));
    }

    #[test]
    fn the_oldest_of_many_is_never_too_late_and_takes_little_memory() {
        const BATCHES: u64 = 20_000;
        let mut ages = Ages::default();
        for number in 0..BATCHES {
            ages.add(number, number + 1, at(number));
        }
        assert!(ages.marks.len() <= MARKS_MAX);
        let step = at(BATCHES / 100);
        for number in 0..BATCHES {
            let oldest = ages.oldest(number).expect("there are entries");
            assert!(oldest <= at(number) && at(number).since(oldest) <= step.since(at(0)), "{number}: {oldest}");
        }
        assert_eq!(ages.oldest(BATCHES), None);
    }
}
