//! Tests of packed records on mocks of the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use domain::event::LogEvent;
use domain::ports::{Appended, DeadLetter, MockLogStore, MockRecordSource, MockTelemetry, StoreError};
use domain::record::{Chunk, Record};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use proptest::prelude::*;
use tokio::sync::watch;

use super::Persist;
use super::store_chunk::Halt;
use super::tests::{POISON, group_partition, persist, store_chunk};
use crate::codec;

/// The event with this message. An empty message stands for an element that cannot be decoded.
fn event(message: &str) -> String {
    format!(
        r#"{{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","receivedAt":"2024-01-15T10:30:00Z","source":"s","level":"INFO","message":"{message}"}}"#
    )
}

fn trace() -> Option<TraceParent> {
    TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

/// A chunk with one record for each list of messages: a pack, or a single event if there is one message.
fn chunk(first: u64, records: &[Vec<&str>]) -> Chunk {
    let mut chunk = Chunk::default();
    for (offset, messages) in (first..).zip(records) {
        let events: Vec<String> = messages.iter().map(|message| event(message)).collect();
        let value = if events.len() == 1 { events.concat() } else { format!("[{}]", events.join("\n,")) };
        let record = Record { key: b"s", value: value.as_bytes(), timestamp: Timestamp::MIN, client_id: false };
        chunk.push(offset, record, trace());
    }
    chunk
}

/// What a store took: messages with their offsets, and letters with their places.
#[derive(Default)]
struct Taken {
    position: Option<u64>,
    events: Vec<(u64, String)>,
    letters: Vec<(u64, u32, u32)>,
    appends: Vec<u64>,
    probes: usize,
    /// Values of letters, which must be single events.
    values: Vec<Vec<u8>>,
}

type Kept = Arc<Mutex<Taken>>;

/// A store that keeps a position and refuses what `refuses` says.
fn store(refuses: impl Fn(&[(u64, LogEvent<'_>)]) -> bool + Clone + Send + Sync + 'static) -> (MockLogStore, Kept) {
    let kept = Kept::default();
    let mut store = MockLogStore::new();
    let (taken, refused) = (Arc::clone(&kept), refuses.clone());
    store.expect_append().returning(move |append| {
        let mut taken = taken.lock().expect("lock");
        if taken.position != append.expected {
            return Err(StoreError::Conflict { actual: taken.position });
        }
        if refused(append.events) {
            return Err(StoreError::Rejected("refused".into()));
        }
        let offsets = append.events.iter().map(|(offset, _)| *offset);
        let below = offsets.chain(append.dead_letters.iter().map(|letter| letter.offset)).all(|at| at < append.next);
        assert!(below, "an append ends within a record");
        taken.position = Some(append.next);
        taken.appends.push(append.next);
        taken.events.extend(append.events.iter().map(|(offset, event)| (*offset, event.message.clone().into_owned())));
        taken.letters.extend(
            append
                .dead_letters
                .iter()
                .map(|DeadLetter { offset, record_index, attempts, .. }| (*offset, *record_index, *attempts)),
        );
        assert!(append.dead_letters.iter().all(|letter| letter.trace_parent == trace()));
        taken.values.extend(append.dead_letters.iter().map(|letter| letter.value.to_vec()));
        Ok(Appended { stored: append.events.len(), deduplicated: 0, dead_lettered: append.dead_letters.len() })
    });
    let taken = Arc::clone(&kept);
    store.expect_probe().returning(move |append| {
        let mut taken = taken.lock().expect("lock");
        taken.probes += 1;
        if taken.position != append.expected {
            return Err(StoreError::Conflict { actual: taken.position });
        }
        if refuses(append.events) { Err(StoreError::Rejected("refused alone".into())) } else { Ok(()) }
    });
    (store, kept)
}

fn has_poison(events: &[(u64, LogEvent<'_>)]) -> bool {
    events.iter().any(|(_, event)| event.message == POISON)
}

#[tokio::test]
async fn packs_and_singles_are_stored_in_one_append() {
    let (store, kept) = store(has_poison);
    store_chunk(store, None, &chunk(10, &[vec!["a", "b"], vec!["c"], vec!["d", "", "e"]])).await.expect("stored");
    let kept = kept.lock().expect("lock");
    let events =
        [(10, "a"), (10, "b"), (11, "c"), (12, "d"), (12, "e")].map(|(offset, text)| (offset, text.to_owned()));
    assert_eq!((kept.events.as_slice(), kept.appends.as_slice(), kept.probes), (&events[..], &[13][..], 0));
    assert_eq!(kept.letters, [(12, 1, 0)]);
}

/// What a consumer of a version before packed records does: it decodes a value as one event, and keeps what it cannot
/// decode as a dead letter. Redriven, the letter is a packed record for this version.
#[tokio::test]
async fn a_pack_is_undecodable_as_one_event_and_stored_once_it_is_redriven() {
    for messages in [vec!["a", "b"], vec!["a", "b", "c"], vec!["a"; 11], vec!["a"; 12]] {
        let packed = chunk(10, std::slice::from_ref(&messages));
        let letter = packed.records.get(0).expect("a record");
        assert!(codec::decode(letter).is_err());
        let mut redriven = Chunk::default();
        redriven.push(77, Record { client_id: true, ..letter }, trace());
        let (store, kept) = store(has_poison);
        store_chunk(store, None, &redriven).await.expect("stored");
        let stored: Vec<String> = kept.lock().expect("lock").events.iter().map(|(_, text)| text.clone()).collect();
        assert_eq!(stored, messages);
    }
}

#[tokio::test]
async fn a_refused_event_of_a_pack_becomes_a_letter_and_its_neighbours_are_stored_with_it() {
    let (store, kept) = store(has_poison);
    let records = [vec!["a", "b"], vec!["c", POISON, "", "d", POISON, "e"], vec!["f"]];
    store_chunk(store, None, &chunk(10, &records)).await.expect("stored");
    let kept = kept.lock().expect("lock");
    assert_eq!(kept.appends, [11, 12, 13], "one append for each record");
    let events = [(10, "a"), (10, "b"), (11, "c"), (11, "d"), (11, "e"), (12, "f")];
    assert_eq!(kept.events, events.map(|(offset, text)| (offset, text.to_owned())));
    // Refused with: all records; the last two records; their record; then halves of its five events, [c, x] and [d, x, e].
    assert_eq!(kept.letters, [(11, 1, 5), (11, 2, 0), (11, 4, 6)]);
    for value in [&kept.values[0], &kept.values[2]] {
        let record = Record { key: b"s", value, timestamp: Timestamp::MIN, client_id: true };
        assert_eq!(codec::decode(record).expect("a single event").message, POISON);
    }
}

#[tokio::test]
async fn events_that_are_refused_only_together_become_letters() {
    let (store, kept) = store(|events| events.len() > 2);
    store_chunk(store, None, &chunk(10, &[vec!["a", "b", "c", "d"], vec!["e"]])).await.expect("stored");
    let kept = kept.lock().expect("lock");
    assert_eq!(kept.events, [(11, "e".to_owned())]);
    assert_eq!(
        kept.letters.iter().map(|(offset, index, _)| (*offset, *index)).collect::<Vec<_>>(),
        [(10, 0), (10, 1), (10, 2), (10, 3)]
    );
    assert_eq!(kept.appends, [11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_during_a_probe_makes_no_event_a_letter() {
    for away_at in 0..8 {
        let mut store = MockLogStore::new();
        let (mut calls, letters) = (0, Arc::<Mutex<Vec<u32>>>::default());
        let calls_left = Arc::new(Mutex::new(move || {
            calls += 1;
            calls == away_at + 1
        }));
        let (is_away, kept) = (Arc::clone(&calls_left), Arc::clone(&letters));
        store.expect_append().returning(move |append| {
            if (*is_away.lock().expect("lock"))() {
                return Err(StoreError::Unavailable("away".into()));
            }
            if has_poison(append.events) {
                return Err(StoreError::Rejected("refused".into()));
            }
            kept.lock().expect("lock").extend(append.dead_letters.iter().map(|letter| letter.record_index));
            Ok(Appended { stored: append.events.len(), deduplicated: 0, dead_lettered: append.dead_letters.len() })
        });
        let is_away = calls_left;
        store.expect_probe().returning(move |append| {
            if (*is_away.lock().expect("lock"))() {
                return Err(StoreError::Unavailable("away".into()));
            }
            if has_poison(append.events) { Err(StoreError::Rejected("refused".into())) } else { Ok(()) }
        });
        store_chunk(store, None, &chunk(0, &[vec!["a", "b", POISON, "c"]])).await.expect("stored");
        assert_eq!(*letters.lock().expect("lock"), [2], "unavailable at call {away_at}");
    }
}

#[tokio::test]
async fn a_consumer_that_was_replaced_within_a_refused_pack_stores_nothing_of_it() {
    let mut store = MockLogStore::new();
    store.expect_append().times(1).returning(|_| Err(StoreError::Rejected("refused".into())));
    // The other consumer has stored the record, the same one, with its letters.
    store.expect_probe().times(1).returning(|_| Err(StoreError::Conflict { actual: Some(11) }));
    let stored = store_chunk(store, Some(10), &chunk(10, &[vec!["a", POISON]])).await;
    assert!(matches!(stored, Err(Halt::Moved(Some(11)))), "{stored:?}");
}

#[tokio::test]
async fn the_unit_of_what_is_fetched_and_given_up_is_the_event() {
    let mut store = MockLogStore::new();
    store.expect_append().returning(|append| {
        if append.events.len() > 3 {
            return Err(StoreError::TooBroad);
        }
        if append.next == 11 {
            return Ok(Appended {
                stored: append.events.len(),
                deduplicated: 0,
                dead_lettered: append.dead_letters.len(),
            });
        }
        Err(StoreError::Conflict { actual: Some(20) })
    });
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_fetched().withf(|events| *events == 7).times(1).return_const(());
    telemetry.expect_appended().times(1).return_const(());
    telemetry.expect_given_up().withf(|events| *events == 4).times(1).return_const(());
    let persist = Persist { telemetry: Arc::new(telemetry), ..persist(MockRecordSource::new(), store) };
    let (_stop, stopped) = watch::channel(false);
    let chunk = chunk(10, &[vec!["a", "", "b"], vec!["c", "d", "e", ""]]);
    let stored = persist.store_chunk(&group_partition(), &mut Some(10), &chunk, &stopped).await;
    assert!(matches!(stored, Err(Halt::Moved(Some(20)))));
}

proptest! {
    #[test]
    fn every_event_is_stored_or_a_letter_once_and_in_order(
        records in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["ok", "ok", POISON, ""]), 1..9), 1..9),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (store, kept) = store(has_poison);
        runtime.block_on(store_chunk(store, None, &chunk(5, &records))).expect("stored");
        let kept = kept.lock().expect("lock");
        let mut expected = (Vec::new(), BTreeSet::new());
        for (offset, messages) in (5..).zip(&records) {
            for (index, message) in (0..).zip(messages) {
                match *message {
                    "ok" => expected.0.push((offset, "ok".to_owned())),
                    _ => {
                        expected.1.insert((offset, index));
                    }
                }
            }
        }
        prop_assert_eq!(&kept.events, &expected.0);
        let letters: Vec<(u64, u32)> = kept.letters.iter().map(|(offset, index, _)| (*offset, *index)).collect();
        prop_assert_eq!(letters, expected.1.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(kept.position, Some(5 + records.len() as u64));
    }
}
