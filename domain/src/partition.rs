//! Which partition an event goes to.
//!
//! There are two lanes: ERROR and FATAL always go to partition 0, so that one consumer reads them first; all other
//! events are spread by source, so that the events of one source stay in order. The hash is that of Kafka's Java client
//! (murmur2, seed 0x9747b28c), so that other producers that use the source as key choose the same partition.

use std::num::NonZeroU32;

use crate::level::Level;

/// Number of a partition of the topic, from 0.
pub type Partition = u32;

/// The partition of the priority lane.
pub const PRIORITY_PARTITION: Partition = 0;

/// Which partitions events outside of the priority lane may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriorityLane {
    /// All partitions, including 0: as any Java client would choose.
    #[default]
    Shared,
    /// All but partition 0. Needs at least two partitions.
    Exclusive,
}

/// The partitioning rule.
#[derive(Clone, Copy, Debug)]
pub struct Partitioner {
    lane: PriorityLane,
}

/// An exclusive priority lane needs a second partition for all other events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an exclusive priority lane needs at least 2 partitions")]
pub struct TooFewPartitions;

impl Partitioner {
    /// A rule for a topic that has `partitions` now; more may be added later.
    ///
    /// # Errors
    /// An exclusive lane on a single partition.
    pub fn new(lane: PriorityLane, partitions: NonZeroU32) -> Result<Self, TooFewPartitions> {
        match lane {
            PriorityLane::Exclusive if partitions.get() < 2 => Err(TooFewPartitions),
            PriorityLane::Exclusive | PriorityLane::Shared => Ok(Self { lane }),
        }
    }

    /// The partition for an event of `source` and `level` on a topic of `partitions`.
    #[must_use]
    pub fn partition(&self, source: &str, level: Level, partitions: NonZeroU32) -> Partition {
        if level.is_priority() {
            return PRIORITY_PARTITION;
        }
        let hash = murmur2(source.as_bytes()) & 0x7fff_ffff;
        match (self.lane, NonZeroU32::new(partitions.get() - 1)) {
            (PriorityLane::Exclusive, Some(others)) => 1 + hash % others,
            (PriorityLane::Exclusive, None) | (PriorityLane::Shared, _) => hash % partitions,
        }
    }
}

/// 32-bit MurmurHash2 as computed by Kafka's Java client (`Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's array length is an int; a Java client cannot have longer keys.
    #[expect(clippy::cast_possible_truncation, reason = "the algorithm mixes in the length modulo 2^32")]
    let mut hash = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (byte, shift) in rest.iter().zip([0, 8, 16]) {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

    #[test]
    fn murmur2_matches_the_java_client() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("abc", 479_470_107),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn an_exclusive_lane_on_one_partition_is_refused() {
        assert_eq!(Partitioner::new(PriorityLane::Exclusive, NonZeroU32::MIN).map(drop), Err(TooFewPartitions));
        assert!(Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).is_ok());
    }

    #[test]
    fn the_hash_is_made_positive_by_masking_and_not_by_negating() {
        let shared = Partitioner::new(PriorityLane::Shared, THREE).expect("valid");
        // murmur2("foobar") is negative: -790332482 & 0x7fffffff = 1357151166, which is divisible by 3.
        assert_eq!(shared.partition("foobar", Level::Info, THREE), 0);
        assert_eq!(shared.partition("abc", Level::Info, THREE), 479_470_107 % 3);
    }

    proptest! {
        #[test]
        fn every_choice_is_a_partition_of_the_topic_and_of_its_lane(
            source in ".{1,40}",
            partitions in 2_u32..200,
            level in prop::sample::select(Level::ALL.to_vec()),
        ) {
            let partitions = NonZeroU32::new(partitions).expect("not zero");
            for lane in [PriorityLane::Shared, PriorityLane::Exclusive] {
                let partitioner = Partitioner::new(lane, partitions).expect("valid");
                let partition = partitioner.partition(&source, level, partitions);
                prop_assert!(partition < partitions.get());
                if level.is_priority() {
                    prop_assert_eq!(partition, PRIORITY_PARTITION);
                } else {
                    prop_assert!(lane == PriorityLane::Shared || partition != PRIORITY_PARTITION);
                    prop_assert_eq!(partition, partitioner.partition(&source, Level::Trace, partitions));
                }
            }
        }
    }
}
