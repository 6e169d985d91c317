//! Filters: sets of keys that answer "not in it" for certain, and "in it" with a small chance of error.
//!
//! Constraints and invariants:
//! * These are binary fuse filters (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters", 2022): about
//!   9 bits a key for an error of 1 in 256, and 18 bits for 1 in 65,536. A Bloom filter needs 11.5 and 23 bits for that, and
//!   those of Parquet are rounded up to a power of two.
//! * A filter never says "not in it" of a key that it was built from.
//! * The bytes are checked before they are used: no length in them leads to a read outside of them.

use crate::key::mix;

/// Bytes before the fingerprints: kind, segment length as a power of two, segments, seed.
const HEADER_BYTES: usize = 1 + 1 + 4 + 8;
/// One attempt fails with a chance of a few percent; so many never do, unless two keys are equal.
const ATTEMPTS_MAX: u64 = 100;
const SEGMENT_LENGTH_LOG_MAX: u8 = 18;

/// How often a filter errs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// 1 in 256.
    Byte,
    /// 1 in 65,536.
    TwoBytes,
}

impl Precision {
    fn fingerprint_bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::TwoBytes => 2,
        }
    }

    fn fingerprint(self, hash: u64) -> u16 {
        let bits = hash ^ (hash >> 32);
        match self {
            Self::Byte => u16::from(bits.to_le_bytes()[0]),
            Self::TwoBytes => u16::from_le_bytes([bits.to_le_bytes()[0], bits.to_le_bytes()[1]]),
        }
    }
}

/// Where the fingerprints of keys are.
#[derive(Clone, Copy, Debug)]
struct Shape {
    segment_length_log: u8,
    /// Places where a key can begin, in segments; the array has two more.
    segments: u32,
    seed: u64,
}

impl Shape {
    fn slots(self) -> usize {
        (self.segments as usize + 2) << self.segment_length_log
    }

    fn hash(self, key: u64) -> u64 {
        mix(key.wrapping_add(self.seed))
    }

    /// The three slots of a hash, in three neighbouring segments.
    #[inline]
    fn slots_of(self, hash: u64) -> [usize; 3] {
        let length = 1_u64 << self.segment_length_log;
        let begin = ((u128::from(hash) * (u128::from(self.segments) << self.segment_length_log)) >> 64) as u64;
        let mask = length - 1;
        let second = (begin + length) ^ ((hash >> 18) & mask);
        let third = (begin + 2 * length) ^ (hash & mask);
        [begin as usize, second as usize, third as usize]
    }
}

/// What is known of a slot while the keys are ordered.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The hashes of its keys, combined by exclusive or: of a single key, its hash.
    sum: u64,
    /// Number of keys.
    count: u32,
}

/// Builds the bytes of filters. Keeps its memory for the next one.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    slots: Vec<Slot>,
    /// Slots that had a single key.
    alone: Vec<u32>,
    /// Hashes, and the slot of each that no later one uses.
    order: Vec<(u64, u32)>,
    fingerprints: Vec<u16>,
}

impl FilterBuilder {
    /// The bytes of the filter. If keys are repeated, sorts them and removes repeats. `None` if no attempt succeeded, which is
    /// not to be expected: then the caller stores no filter, and every question is answered with "perhaps".
    pub fn build(&mut self, precision: Precision, keys: &mut Vec<u64>) -> Option<Vec<u8>> {
        (0..ATTEMPTS_MAX).find_map(|attempt| {
            // No attempt succeeds with repeats.
            if attempt == 1 {
                keys.sort_unstable();
                keys.dedup();
            }
            let (segment_length_log, segments) = size(keys.len());
            let seed = mix(attempt.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let shape = Shape { segment_length_log, segments, seed };
            self.order_keys(keys, shape)?;
            self.assign_fingerprints(precision, shape)?;
            Some(self.encode(precision, shape))
        })
    }

    /// Finds an order of the keys in which each has a slot that no later one uses.
    fn order_keys(&mut self, keys: &[u64], shape: Shape) -> Option<()> {
        let Self { slots, alone, order, .. } = self;
        slots.clear();
        slots.resize(shape.slots(), Slot::default());
        for key in keys {
            let hash = shape.hash(*key);
            for slot in shape.slots_of(hash) {
                let slot = slots.get_mut(slot)?;
                slot.count += 1;
                slot.sum ^= hash;
            }
        }
        alone.clear();
        order.clear();
        alone.extend((0..).zip(slots.iter()).filter(|(_, slot)| slot.count == 1).map(|(at, _)| at));
        while let Some(at) = alone.pop() {
            let slot = slots.get(at as usize)?;
            if slot.count != 1 {
                continue;
            }
            let hash = slot.sum;
            order.push((hash, at));
            for other in shape.slots_of(hash) {
                let slot = slots.get_mut(other)?;
                slot.count = slot.count.checked_sub(1)?;
                slot.sum ^= hash;
                if slot.count == 1 {
                    alone.push(other as u32);
                }
            }
        }
        (order.len() == keys.len()).then_some(())
    }

    /// Assigns the fingerprints, backwards.
    fn assign_fingerprints(&mut self, precision: Precision, shape: Shape) -> Option<()> {
        let Self { order, fingerprints, .. } = self;
        fingerprints.clear();
        fingerprints.resize(shape.slots(), 0);
        for (hash, slot) in order.iter().rev() {
            // The slot itself is zero still.
            let mut fingerprint = precision.fingerprint(*hash);
            for other in shape.slots_of(*hash) {
                fingerprint ^= *fingerprints.get(other)?;
            }
            *fingerprints.get_mut(*slot as usize)? = fingerprint;
        }
        Some(())
    }

    fn encode(&self, precision: Precision, shape: Shape) -> Vec<u8> {
        let width = precision.fingerprint_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.fingerprints.len() * width);
        bytes.push(u8::try_from(width).unwrap_or_default());
        bytes.push(shape.segment_length_log);
        bytes.extend_from_slice(&shape.segments.to_le_bytes());
        bytes.extend_from_slice(&shape.seed.to_le_bytes());
        match precision {
            Precision::Byte => bytes.extend(self.fingerprints.iter().map(|fingerprint| *fingerprint as u8)),
            Precision::TwoBytes => bytes.extend(self.fingerprints.iter().flat_map(|it| it.to_le_bytes())),
        }
        bytes
    }
}

/// The length of a segment as a power of two, and the number of segments. The constants are those of the paper.
fn size(keys: usize) -> (u8, u32) {
    let keys = keys.max(2) as f64;
    let log = (keys.ln() / 3.33_f64.ln() + 2.25).floor();
    let log = (log as u8).min(SEGMENT_LENGTH_LOG_MAX);
    let factor = (0.875 + 0.25 * 1_000_000_f64.ln() / keys.ln()).max(1.125);
    let capacity = (keys * factor).round() as u64;
    let segments = capacity.div_ceil(1 << log).saturating_sub(2).max(1);
    (log, u32::try_from(segments).unwrap_or(u32::MAX))
}

/// A filter in its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    shape: Shape,
    precision: Precision,
    fingerprints: &'a [u8],
}

impl<'a> Filter<'a> {
    /// Reads a filter; `None` if the bytes are not one.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, fingerprints) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [width, segment_length_log, rest @ ..] = header;
        let (segments, seed) = rest.split_first_chunk::<4>()?;
        let precision = match width {
            1 => Precision::Byte,
            2 => Precision::TwoBytes,
            _ => return None,
        };
        let shape = Shape {
            segment_length_log: *segment_length_log,
            segments: u32::from_le_bytes(*segments),
            seed: u64::from_le_bytes(seed.try_into().ok()?),
        };
        let plausible = shape.segment_length_log <= SEGMENT_LENGTH_LOG_MAX && (1..1 << 24).contains(&shape.segments);
        let whole = plausible && shape.slots() * precision.fingerprint_bytes() == fingerprints.len();
        whole.then_some(Self { shape, precision, fingerprints })
    }

    /// Whether a key may be in the set.
    pub fn may_contain(&self, key: u64) -> bool {
        let hash = self.shape.hash(key);
        let stored = self.shape.slots_of(hash).into_iter().fold(0, |sum, slot| sum ^ self.at(slot));
        stored == self.precision.fingerprint(hash)
    }

    fn at(&self, slot: usize) -> u16 {
        match self.precision {
            Precision::Byte => self.fingerprints.get(slot).copied().map_or(0, u16::from),
            Precision::TwoBytes => {
                let pair = self.fingerprints.get(2 * slot..).and_then(|rest| rest.first_chunk::<2>());
                pair.map_or(0, |pair| u16::from_le_bytes(*pair))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(precision: Precision, keys: impl IntoIterator<Item = u64>) -> Vec<u8> {
        FilterBuilder::default().build(precision, &mut keys.into_iter().collect()).expect("an attempt succeeds")
    }

    #[test]
    fn every_size_is_built_and_finds_its_keys() {
        for count in (0..200).chain([999, 5_000, 40_000, 300_000]) {
            for precision in [Precision::Byte, Precision::TwoBytes] {
                let keys: Vec<u64> = (0..count).map(|n| mix(n + 1)).collect();
                let bytes = build(precision, keys.iter().copied());
                let filter = Filter::parse(&bytes).expect("a filter");
                assert!(keys.iter().all(|key| filter.may_contain(*key)), "{count}");
            }
        }
    }

    #[test]
    fn other_keys_are_rarely_found_and_the_size_is_as_promised() {
        const KEYS: u64 = 30_000;
        for (precision, found_max, bits_max) in [(Precision::Byte, 600, 10.0), (Precision::TwoBytes, 10, 20.0)] {
            let bytes = build(precision, (0..KEYS).map(mix));
            let filter = Filter::parse(&bytes).expect("a filter");
            let found = (0..100_000).filter(|n| filter.may_contain(mix(KEYS + n))).count();
            assert!(found < found_max, "{found}");
            let bits = bytes.len() as f64 * 8.0 / KEYS as f64;
            assert!(bits < bits_max, "{bits}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_filter_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80), key: u64) {
            if let Some(filter) = Filter::parse(&bytes) {
                filter.may_contain(key);
            }
        }

        #[test]
        fn a_filter_contains_its_keys(keys in proptest::collection::vec(any::<u64>(), 0..300), repeats in 0_usize..5) {
            let repeated = keys.iter().take(repeats).chain(&keys).copied();
            let bytes = build(Precision::Byte, repeated);
            let filter = Filter::parse(&bytes).expect("a filter");
            prop_assert!(keys.iter().all(|key| filter.may_contain(*key)));
        }
    }
}
