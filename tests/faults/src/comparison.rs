//! Compares accepted with stored events.
//!
//! Constraints and invariants:
//! * Pure: it uses an [`Ledger`] and rows, without I/O.
//! * An event counts once, by its last answer: refused and then accepted counts as accepted.
//! * In a batch with different promises, missing events are attributed to the less durable ones first; only those in
//!   excess of these break a promise.
//! * Order is that of the first copies of one source and lane within a partition, by offset and, within a packed
//!   record, by the order of storage. Events without a defined
//!   order are left out: those in doubt, those refused alone and sent again, and those of different producers.

use std::time::Duration;

use domain::partition::murmur2;

use crate::ledger::{ClientAccount, Lane, Ledger, Outcome, SOURCES, number, place};

/// A row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number in its message.
    pub number: u64,
    /// [`source_hash`] of its source, because there are millions of rows.
    pub source_hash: u32,
    /// [`domain::level::Level::number`].
    pub level: u8,
    /// Partition of the topic.
    pub partition: u32,
    /// Offset in the partition; events of one packed record have the same one.
    pub offset: u64,
    /// Order of storage: that of the events of one packed record.
    pub sequence: u64,
}

/// Hash that distinguishes sources.
#[must_use]
pub fn source_hash(source: &str) -> u32 {
    murmur2(source.as_bytes())
}

/// Which events keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// One producer at a time has all events: all keep their order.
    OneProducer,
    /// Several producers have them: an event keeps its order only after events acknowledged before it was sent.
    SeveralProducers,
}

/// Counts of one lane, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Numbers sent.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Journaled.
    pub journaled: u64,
    /// Buffered.
    pub buffered: u64,
    /// Reported as not kept.
    pub refused: u64,
    /// Outcome unknown.
    pub in_doubt: u64,
    /// Numbers stored.
    pub stored: u64,
    /// Acknowledged or journaled, but not stored.
    pub lost_promised: u64,
    /// Buffered, but not stored.
    pub lost_buffered: u64,
    /// Rows beyond the first of a number.
    pub duplicated: u64,
    /// First copies after a later one of the same source.
    pub reordered: u64,
    /// First copies whose order was compared.
    pub compared: u64,
    /// Stored although reported as not kept.
    pub refused_but_stored: u64,
}

impl Counts {
    /// Accepted events.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.acknowledged + self.journaled + self.buffered
    }

    /// Accepted but not stored.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_promised + self.lost_buffered
    }
}

/// Result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// For each of [`Lane::ALL`].
    pub lanes: [Counts; 2],
    /// Rows that were never sent, or whose source or level differs from what was sent.
    pub strangers: u64,
    /// Answer times of requests with lost buffered events, since the start of the load.
    pub lost_buffered_answered: Vec<Duration>,
    /// Number of an event that is lost, and when it was sent, since the start of the load: a trace for who looks for the cause.
    pub lost_example: Option<(u64, Duration)>,
}

impl Comparison {
    /// Both lanes together.
    #[must_use]
    pub fn total(&self) -> Counts {
        let [a, b] = self.lanes;
        Counts {
            sent: a.sent + b.sent,
            acknowledged: a.acknowledged + b.acknowledged,
            journaled: a.journaled + b.journaled,
            buffered: a.buffered + b.buffered,
            refused: a.refused + b.refused,
            in_doubt: a.in_doubt + b.in_doubt,
            stored: a.stored + b.stored,
            lost_promised: a.lost_promised + b.lost_promised,
            lost_buffered: a.lost_buffered + b.lost_buffered,
            duplicated: a.duplicated + b.duplicated,
            reordered: a.reordered + b.reordered,
            compared: a.compared + b.compared,
            refused_but_stored: a.refused_but_stored + b.refused_but_stored,
        }
    }
}

/// What is known about an event.
#[derive(Clone, Copy, Default)]
struct Event {
    flags: u8,
    generation: u16,
}

const SENT: u8 = 1;
const PRIORITY: u8 = 2;
const ACCEPTED: u8 = 4;
const DOUBT: u8 = 8;
/// Every event of its request was acknowledged.
const ACKNOWLEDGED: u8 = 16;
/// Its order is not compared.
const UNORDERED: u8 = 32;
const STORED: u8 = 64;

impl Event {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn lane(self) -> usize {
        usize::from(!self.has(PRIORITY))
    }
}

/// Compares. Sorts the rows into the order of the topic.
#[must_use]
pub fn compare(ledger: &Ledger, rows: &mut [Row], ordering: Ordering) -> Comparison {
    let mut comparison = Comparison::default();
    let clients = ledger.clients.iter().map(|client| usize::from(client.client) + 1).max().unwrap_or(0);
    let mut events: Vec<Vec<Event>> = vec![Vec::new(); clients];
    for client in &ledger.clients {
        events[usize::from(client.client)] = events_of(client);
    }
    rows.sort_unstable_by_key(|row| (row.partition, row.offset, row.sequence));
    look_at_rows(ledger, rows, ordering, &mut events, &mut comparison);
    for client in &ledger.clients {
        let events = &events[usize::from(client.client)];
        for event in events.iter().filter(|event| event.has(SENT)) {
            let counts = &mut comparison.lanes[event.lane()];
            counts.sent += 1;
            let (accepted, doubt, stored) = (event.has(ACCEPTED), event.has(DOUBT), event.has(STORED));
            counts.refused += u64::from(!accepted && !doubt);
            counts.in_doubt += u64::from(!accepted && doubt);
            counts.stored += u64::from(stored);
            counts.refused_but_stored += u64::from(stored && !accepted && !doubt);
        }
        count_lost(client, events, &mut comparison);
    }
    comparison
}

/// What the answers say about each event of a client.
fn events_of(client: &ClientAccount) -> Vec<Event> {
    let length = client.requests.iter().map(|request| request.first + request.events).max().unwrap_or(0);
    let mut events = vec![Event::default(); length as usize];
    for request in &client.requests {
        let of_request = &mut events[request.first as usize..(request.first + request.events) as usize];
        for event in of_request.iter_mut() {
            let was = event.flags;
            event.generation = request.generations.0;
            event.flags |= SENT | if request.lane == Lane::Priority { PRIORITY } else { 0 };
            // A first copy may arrive late, or during the generation of another producer.
            if was & DOUBT != 0 || request.generations.0 != request.generations.1 {
                event.flags |= UNORDERED;
            }
        }
        match &request.outcome {
            Outcome::Accepted { acknowledged, refused, unknown, .. } => {
                let whole = *acknowledged == request.events;
                for event in of_request.iter_mut() {
                    event.flags |= ACCEPTED | if whole { ACKNOWLEDGED } else { 0 };
                }
                for index in refused {
                    of_request[*index as usize].flags &= !ACCEPTED;
                    of_request[*index as usize].flags |= UNORDERED;
                }
                for index in unknown {
                    of_request[*index as usize].flags &= !ACCEPTED;
                    of_request[*index as usize].flags |= DOUBT | UNORDERED;
                }
            }
            Outcome::Refused => {}
            Outcome::Unknown => of_request.iter_mut().for_each(|event| event.flags |= DOUBT | UNORDERED),
        }
    }
    events
}

/// Marks stored events; counts extra rows, and rows out of order.
fn look_at_rows(
    ledger: &Ledger,
    rows: &[Row],
    ordering: Ordering,
    events: &mut [Vec<Event>],
    comparison: &mut Comparison,
) {
    /// The last event seen of a source and lane, by producer.
    type Last = std::collections::HashMap<(u16, u32, usize, u16), u32>;
    let sources: std::collections::HashMap<(u16, u32), u32> = ledger
        .clients
        .iter()
        .flat_map(|client| (0..).zip(&client.sources).map(|(n, source)| ((client.client, n), source_hash(source))))
        .collect();
    let (mut partition, mut last) = (None, Last::new());
    for row in rows {
        if partition != Some(row.partition) {
            partition = Some(row.partition);
            last.clear();
        }
        let (client, sequence) = place(row.number);
        let known = events.get_mut(usize::from(client)).and_then(|events| events.get_mut(sequence as usize));
        let Some(event) = known.filter(|event| event.has(SENT)) else {
            comparison.strangers += 1;
            continue;
        };
        let lane = event.lane();
        let source = sources.get(&(client, sequence % SOURCES));
        let as_sent = source == Some(&row.source_hash) && Lane::ALL[lane].level(sequence).number() == row.level;
        comparison.strangers += u64::from(!as_sent);
        let counts = &mut comparison.lanes[lane];
        if event.has(STORED) {
            counts.duplicated += 1;
            continue;
        }
        event.flags |= STORED;
        if event.has(UNORDERED) || (ordering == Ordering::SeveralProducers && !event.has(ACKNOWLEDGED)) {
            continue;
        }
        counts.compared += 1;
        let generation = if ordering == Ordering::OneProducer { event.generation } else { 0 };
        let last = last.entry((client, sequence % SOURCES, lane, generation)).or_insert(sequence);
        counts.reordered += u64::from(sequence < *last);
        *last = sequence.max(*last);
    }
}

/// Counts accepted events, and those of them that are missing.
fn count_lost(client: &ClientAccount, events: &[Event], comparison: &mut Comparison) {
    for request in &client.requests {
        let Outcome::Accepted { acknowledged, journaled, buffered, .. } = &request.outcome else { continue };
        let of_request = &events[request.first as usize..(request.first + request.events) as usize];
        let is_lost = |event: &Event| event.has(ACCEPTED) && !event.has(STORED);
        let missing = of_request.iter().filter(|event| is_lost(event)).count() as u64;
        if let Some(at) = (0..).zip(of_request).find_map(|(at, event)| is_lost(event).then_some(at)) {
            comparison.lost_example = Some((number(client.client, request.first + at), request.sent));
        }
        let counts = &mut comparison.lanes[usize::from(request.lane != Lane::Priority)];
        counts.acknowledged += u64::from(*acknowledged);
        counts.journaled += u64::from(*journaled);
        counts.buffered += u64::from(*buffered);
        let of_buffered = missing.min(u64::from(*buffered));
        counts.lost_buffered += of_buffered;
        counts.lost_promised += missing - of_buffered;
        if of_buffered > 0 {
            comparison.lost_buffered_answered.push(request.sent + request.took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Request;

    const SOURCE_NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn accepted(acknowledged: u32, journaled: u32, buffered: u32) -> Outcome {
        Outcome::Accepted { acknowledged, journaled, buffered, refused: Vec::new(), unknown: Vec::new() }
    }

    fn request(first: u32, events: u32, outcome: Outcome) -> Request {
        let (sent, took) = (Duration::from_millis(first.into()), Duration::from_millis(1));
        Request { first, events, lane: Lane::Rest, generations: (0, 0), sent, took, outcome }
    }

    fn ledger(requests: Vec<Request>) -> Ledger {
        let sources = SOURCE_NAMES.map(str::to_owned).to_vec();
        Ledger { clients: vec![ClientAccount { client: 0, sources, requests }], ..Ledger::default() }
    }

    fn row(lane: Lane, sequence: u32, offset: u64) -> Row {
        Row {
            number: number(0, sequence),
            source_hash: source_hash(SOURCE_NAMES[(sequence % SOURCES) as usize]),
            level: lane.level(sequence).number(),
            partition: 1,
            offset,
            sequence: offset,
        }
    }

    fn rows(sequences: impl IntoIterator<Item = u32>) -> Vec<Row> {
        sequences.into_iter().enumerate().map(|(offset, n)| row(Lane::Rest, n, offset as u64)).collect()
    }

    fn rest(ledger: &Ledger, mut rows: Vec<Row>) -> Counts {
        let comparison = compare(ledger, &mut rows, Ordering::OneProducer);
        assert_eq!((comparison.strangers, comparison.lanes[0]), (0, Counts::default()));
        comparison.lanes[1]
    }

    #[test]
    fn all_is_well() {
        let ledger = ledger(vec![request(0, 8, accepted(0, 0, 8)), request(8, 8, accepted(0, 8, 0))]);
        let counts = rest(&ledger, rows(0..16));
        assert_eq!((counts.sent, counts.journaled, counts.buffered, counts.stored), (16, 8, 8, 16));
        assert_eq!((counts.lost(), counts.duplicated, counts.reordered, counts.compared), (0, 0, 0, 16));
    }

    #[test]
    fn missing_events_are_lost_according_to_their_promise() {
        let ledger = ledger(vec![
            request(0, 4, accepted(0, 4, 0)),
            request(4, 4, accepted(0, 0, 4)),
            // At most two of them were buffered.
            request(8, 4, accepted(1, 1, 2)),
            request(12, 4, Outcome::Refused),
            request(16, 4, Outcome::Unknown),
        ]);
        let counts = rest(&ledger, rows([0, 1, 2, 4, 5, 8, 16]));
        assert_eq!((counts.lost_promised, counts.lost_buffered), (1 + 1, 2 + 2));
        assert_eq!((counts.refused, counts.in_doubt, counts.refused_but_stored), (4, 4, 0));
        assert_eq!(rest(&ledger, rows(0..16)).refused_but_stored, 4);
        let comparison = compare(&ledger, &mut rows([0, 1, 2, 3, 4]), Ordering::OneProducer);
        assert_eq!(comparison.lost_buffered_answered, [5, 9].map(Duration::from_millis));
    }

    #[test]
    fn events_of_a_batch_are_refused_and_doubted_one_by_one() {
        let outcome =
            Outcome::Accepted { acknowledged: 0, journaled: 0, buffered: 2, refused: vec![1], unknown: vec![3] };
        let counts = rest(&ledger(vec![request(0, 4, outcome)]), rows([0, 3]));
        assert_eq!((counts.buffered, counts.refused, counts.in_doubt), (2, 1, 1));
        assert_eq!((counts.lost_buffered, counts.refused_but_stored, counts.stored), (1, 0, 2));
    }

    #[test]
    fn events_sent_again_count_by_their_last_answer() {
        let requests = vec![
            request(0, 4, Outcome::Refused),
            request(0, 4, Outcome::Unknown),
            request(0, 4, accepted(4, 0, 0)),
            request(4, 4, accepted(4, 0, 0)),
        ];
        // The first four arrive late; the attempt that they belong to is unknown.
        let counts = rest(&ledger(requests), rows([4, 5, 6, 7, 0, 1, 2, 3]));
        assert_eq!((counts.sent, counts.acknowledged, counts.in_doubt), (8, 8, 0));
        assert_eq!((counts.lost(), counts.reordered, counts.compared), (0, 0, 4));
    }

    #[test]
    fn rows_beyond_the_first_are_duplicates() {
        let counts = rest(&ledger(vec![request(0, 4, accepted(4, 0, 0))]), rows([0, 1, 0, 2, 3, 0]));
        assert_eq!((counts.stored, counts.duplicated, counts.reordered), (4, 2, 0));
    }

    #[test]
    fn order_is_that_of_one_source_in_one_partition() {
        let ledger = ledger(vec![request(0, 12, accepted(12, 0, 0))]);
        // Other sources may overtake; of source a, 4 is after 8.
        let counts = rest(&ledger, rows([3, 2, 1, 0, 8, 4, 5, 6, 7, 9, 10, 11]));
        assert_eq!(counts.reordered, 1);
        let mut elsewhere = rows(0..12);
        elsewhere[8].partition = 0;
        assert_eq!(rest(&ledger, elsewhere).reordered, 0);
    }

    #[test]
    fn lanes_and_lives_have_an_order_each() {
        let mut requests = vec![request(0, 4, accepted(4, 0, 0)), request(4, 4, accepted(4, 0, 0))];
        requests[0].lane = Lane::Priority;
        let account_of_lanes = ledger(requests.clone());
        let both = |first: u32| (0..8).map(move |n| (n + first) % 8);
        let lane_of = |n| if n < 4 { Lane::Priority } else { Lane::Rest };
        let mut rows: Vec<Row> = both(4).enumerate().map(|(at, n)| row(lane_of(n), n, at as u64)).collect();
        let comparison = compare(&account_of_lanes, &mut rows, Ordering::OneProducer);
        assert_eq!((comparison.strangers, comparison.total().reordered), (0, 0));
        // Sequentially in one lane, by two producers.
        requests[0].lane = Lane::Rest;
        assert_eq!(rest(&ledger(requests.clone()), self::rows(both(4))).reordered, 4);
        requests[1].generations = (1, 1);
        assert_eq!(rest(&ledger(requests.clone()), self::rows(both(4))).reordered, 0);
        // It is unknown which of them had it.
        requests[0].generations = (0, 1);
        requests[1].generations = (0, 0);
        assert_eq!(rest(&ledger(requests), self::rows(both(4))).compared, 4);
    }

    #[test]
    fn several_producers_keep_the_order_of_acknowledged_events() {
        let compared = |outcome: Outcome| {
            let ledger = ledger(vec![request(0, 4, outcome.clone()), request(4, 4, outcome)]);
            let counts = compare(&ledger, &mut rows([4, 5, 6, 7, 0, 1, 2, 3]), Ordering::SeveralProducers).lanes[1];
            (counts.compared, counts.reordered)
        };
        assert_eq!(compared(accepted(4, 0, 0)), (8, 4));
        assert_eq!(compared(accepted(0, 0, 4)), (0, 0));
        assert_eq!(compared(accepted(0, 4, 0)), (0, 0));
    }

    #[test]
    fn rows_that_were_never_sent_are_strangers() {
        let ledger = ledger(vec![request(0, 4, accepted(4, 0, 0))]);
        let mut rows = rows(0..5);
        rows[1].source_hash = source_hash("b2");
        rows[2].level += 1;
        assert_eq!(compare(&ledger, &mut rows, Ordering::OneProducer).strangers, 3);
    }
}
