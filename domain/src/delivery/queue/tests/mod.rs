//! Random histories of one queue, compared with a model of the bus, the journal and each record.
//!
//! The model knows what happened outside the queue: what the bus took and reported, what is on disk, what a client was told.
//! After each event it checks order, the prefix on disk, promises, release, memory and all terms of the accounts. At the end
//! bus and journal work again, and everything must be settled. A history may be cut by a crash: another queue adopts what
//! is on disk.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::world::World;

mod steps;
mod world;

/// Histories with fixed seeds, whose transitions are counted.
const SEEDED_HISTORIES: usize = 2_000;
/// Steps of a history, at most.
const STEPS_MAX: usize = 150;

/// A step: what happens, to which batch, and how many records are meant.
type Step = (u8, usize, u64);

fn history(has_journal: bool, steps: &[Step]) -> BTreeMap<(&'static str, &'static str), u64> {
    let mut world = World::new(has_journal);
    steps.iter().for_each(|step| world.step(*step));
    world.end();
    world.seen
}

fn histories() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let steps = prop::collection::vec((0_u8..30, 0_usize..5, 1_u64..4), 1..STEPS_MAX);
    (prop::bool::weighted(0.9), steps)
}

proptest! {
    #[test]
    fn whatever_happens_each_record_is_sent_once_in_order_and_accounted_for((has_journal, steps) in histories()) {
        history(has_journal, &steps);
    }
}

#[test]
fn accounts_that_do_not_balance_are_noticed() {
    let mut queue = super::Queue::<u64>::new(true);
    assert_eq!(queue.imbalances(), [0; 3]);
    queue.accounts[1].accepted += 1;
    assert_eq!(queue.imbalances().map(|imbalance| imbalance == 0), [true, false, true]);
    // Now the accounts balance, but the queue has no such event.
    queue.accounts[1].buffered += 1;
    assert_ne!(queue.imbalances(), [0; 3]);
}

/// The transitions of `docs/delivery.md`.
const TRANSITIONS: [(&str, &str); 31] = [
    ("taken", "WithBus"),
    ("taken", "Writing"),
    ("refused", "Offered"),
    ("promised as buffered", "WithBus"),
    ("promised as buffered", "WithBusWriting"),
    ("silent", "WithBus"),
    ("silent", "WithBusWriting"),
    ("silent", "WithBusOnDisk"),
    ("appended", "WithBus"),
    ("synced", "WithBusWriting"),
    ("synced", "Keeping"),
    ("synced", "Writing"),
    ("synced", "SettledWriting"),
    ("sync failed", "WithBusWriting"),
    ("sync failed", "Writing"),
    ("sync failed", "SettledWriting"),
    ("acknowledged", "WithBus"),
    ("acknowledged", "WithBusWriting"),
    ("acknowledged", "WithBusOnDisk"),
    ("rejected", "WithBus"),
    ("rejected", "WithBusWriting"),
    ("rejected, to be kept", "WithBus"),
    ("rejected, to be kept", "WithBusWriting"),
    ("rejected, to be kept", "WithBusOnDisk"),
    ("kept", "Keeping"),
    ("failed", "WithBus"),
    ("failed", "WithBusOnDisk"),
    ("sent", "Writing"),
    ("sent", "OnDisk"),
    ("lost", "OnDisk"),
    ("adopted", "OnDisk"),
];

#[test]
fn the_histories_cover_every_transition() {
    let (mut runner, strategy) = (TestRunner::deterministic(), histories());
    let mut seen: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for _ in 0..SEEDED_HISTORIES {
        let (has_journal, steps) = strategy.new_tree(&mut runner).expect("a history").current();
        for (transition, times) in history(has_journal, &steps) {
            *seen.entry(transition).or_default() += times;
        }
    }
    println!("histories={SEEDED_HISTORIES} transitions={} times={}", seen.len(), seen.values().sum::<u64>());
    seen.iter().for_each(|((event, state), times)| println!("{times:>8}  {event}: {state}"));
    let missing: Vec<_> = TRANSITIONS.iter().filter(|transition| !seen.contains_key(transition)).collect();
    assert!(missing.is_empty(), "not covered: {missing:?}");
}
