use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use segments::SegmentBounds;

use super::*;

const DAY_MICROS: i64 = 86_400_000_000;

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn event(n: u64, received: i64, bytes: usize) -> LogEvent<'static> {
    LogEvent {
        event_id: Uuid::from_u128(n.into()),
        id_origin: IdOrigin::Generated,
        source: "shop".into(),
        level: Level::Info,
        message: "m".repeat(bytes).into(),
        timestamp: time(received),
        received_at: time(received),
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    }
}

/// Adds chunks with so many events each, which were received at these times.
fn state(chunks: &[(u64, i64)], bytes: usize) -> State {
    let mut state = State::new(Version { number: 0, writer: 0 }, 1);
    for (events, received) in chunks {
        let ids = state.next_id..state.next_id + events;
        let events: Vec<_> = ids.map(|id| (id, event(id, *received, bytes))).collect();
        let numbered = events.iter().map(|(id, event)| Numbered { id: *id, offset: 0, event });
        for new in NewChunk::of("logs", 0, numbered) {
            state.next_id += new.events();
            state.add(new.in_memory().expect("a body"));
        }
    }
    state
}

fn first_ids(chunks: &[HotChunk]) -> Vec<u64> {
    chunks.iter().map(|hot| hot.chunk.first_id).collect()
}

fn options(hot_events: u64, events_min: u64, rows_max: u64) -> SealOptions {
    let bounds = SegmentBounds { rows_max, ..SegmentBounds::default() };
    SealOptions { hot_events, events_min, bounds, ..SealOptions::default() }
}

#[test]
fn whole_chunks_of_one_day_are_sealed_and_the_newest_events_stay() {
    // First ids 1, 11, 21, 31, 36.
    let state = state(&[(10, 0), (10, DAY_MICROS), (10, 1), (5, 2), (5, 3)], 1);
    for (hot_events, events_min, rows_max, sealed) in [
        (0, 1, 100, vec![1, 21, 31, 36]),
        (1, 1, 100, vec![1, 21, 31]),
        (5, 1, 100, vec![1, 21, 31]),
        (6, 1, 100, vec![1, 21]),
        (5, 35, 100, vec![1, 21, 31]),
        (5, 36, 100, vec![]),
        (0, 1, 25, vec![1, 21, 31]),
        (0, 1, 24, vec![1, 21]),
        (0, 1, 5, vec![1]),
        (40, 0, 100, vec![]),
        (1_000, 0, 100, vec![]),
    ] {
        let chunks = state.to_seal(&options(hot_events, events_min, rows_max));
        assert_eq!(first_ids(&chunks), sealed, "{hot_events} {events_min} {rows_max}");
    }
}

#[test]
fn a_segment_takes_chunks_up_to_its_bytes_and_at_least_one() {
    let state = state(&[(1, 0), (1, 0), (1, 0)], 1_000_000);
    for (file_bytes_max, sealed) in [(1, vec![1]), (2_100_000, vec![1, 2]), (u64::MAX, vec![1, 2, 3])] {
        let options = options(0, 1, 100);
        let bounds = SegmentBounds { file_bytes_max, ..options.bounds };
        assert_eq!(first_ids(&state.to_seal(&SealOptions { bounds, ..options })), sealed, "{file_bytes_max}");
    }
}

#[test]
fn what_was_received_first_expires_first() {
    let state = state(&[(10, 50), (10, 10), (10, 30), (10, 40)], 1);
    for (oldest, events_max, expired) in
        [(10, 100, vec![]), (11, 100, vec![11]), (41, 100, vec![11, 21, 31]), (41, 20, vec![11, 21]), (41, 5, vec![11])]
    {
        assert_eq!(first_ids(&state.received_before(time(oldest), events_max)), expired, "{oldest} {events_max}");
    }
}

#[test]
fn only_the_newest_bodies_stay_in_memory() {
    let chunks = [(1, 0); 24];
    let mut state = state(&chunks, 4_000_000);
    let cached = |state: &State| state.chunks.values().filter(|hot| hot.body.is_some()).count();
    let kept = cached(&state);
    assert!((15..18).contains(&kept), "{kept}");
    assert!(state.cached_bytes <= CACHED_BYTES_MAX);
    assert!(state.chunks.values().rev().take(kept).all(|hot| hot.body.is_some()));
    // An old chunk that was written again is not kept, and the newest one is not counted after it is gone.
    let again = event(1, 0, 10);
    let again = NewChunk::of("logs", 0, [Numbered { id: 1, offset: 0, event: &again }]);
    let added = again.into_iter().map(|new| new.in_memory().expect("a body")).collect();
    let removed = state.chunks(|hot| [1, 24].contains(&hot.chunk.first_id));
    let (before, after) = (state.version, Version { number: 1, writer: 0 });
    let change = Change { removed, added, ..Change::default() };
    state.apply(Pending { before, after, change });
    assert_eq!((cached(&state), state.chunks.len()), (kept - 1, 23));
    assert_eq!(state.cached_bytes, state.chunks.values().map(HotChunk::memory_bytes).sum::<usize>());
}
