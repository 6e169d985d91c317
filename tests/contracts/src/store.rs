//! Contract of [`LogStore`].

mod rollups;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use domain::Uuid;
use domain::access::TenantId;
use domain::dead_letter::{DeadLetterFilter, DeadLetterQuery, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent, SOURCE_BYTES_MAX, TEXT_BYTES_MAX};
use domain::filter::{Condition, EventFilter, IdField};
use domain::level::Level;
use domain::metadata::Metadata;
use domain::partition::Partition;
use domain::ports::{Append, Appended, DeadLetter, GroupPartition, LogStore, StoreError};
use domain::query::{
    Direction, LogQuery, Order, PAGE_BYTES_MAX, PAGE_EVENTS_MAX, Page, PageKey, StoredEvent, TAIL_BYTES_MAX, TailPage,
    TailQuery, Ties,
};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;

pub use self::rollups::{
    counts_are_exact_whatever_they_are_read_from, counts_are_exact_with_more_sources_than_rollups_keep_apart,
    counts_of_partitions_that_append_at_once_are_exact,
};
use crate::search::{any_filter, exact_filters, searchable_events};
use crate::variety::{EPOCH, PIECES, SOURCES, Seed, TRACES, event, message, time, varied_events};
use crate::{in_time, run};

/// An implementation of the store under test. Queries must have enough time to answer.
pub trait StoreSubject: Sync {
    /// Where a store keeps its content, such as a directory or a database; dropped at the end of a check.
    type Place;

    /// An empty place.
    fn place(&self) -> impl Future<Output = Self::Place>;

    /// Opens the store in `place`, for the first time or again.
    fn open(&self, place: &Self::Place) -> impl Future<Output = Arc<dyn LogStore>>;

    /// The dedup window with which the stores are opened; at least a second.
    fn dedup_window(&self) -> Duration;

    /// Granularity of expiry: events received less than this before the oldest time may stay. Zero for a store that
    /// removes single events.
    fn expiry_unit(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether `kept` is an acceptable form of the metadata `given`. A store that keeps values instead of text may
    /// reorder members or write numbers differently; any other keeps the text.
    fn same_metadata(&self, given: &str, kept: &str) -> bool {
        given == kept
    }

    /// Number of filters that [`any_filter_finds_what_its_rule_says`] tries. Fewer suffice if the suite also runs for a store that
    /// differs only in how it writes.
    fn filters(&self) -> usize {
        1_500
    }
}

/// Runs the whole suite.
pub async fn all(subject: &impl StoreSubject) {
    run!(
        subject,
        the_position_is_absent_before_the_first_append_and_then_where_the_last_one_ended,
        an_append_without_events_moves_the_position,
        events_and_dead_letters_and_the_position_are_stored_together,
        an_append_that_expects_another_position_is_a_conflict_and_changes_nothing,
        of_two_appends_from_one_position_exactly_one_wins,
        a_position_belongs_to_one_group_one_topic_and_one_partition,
        repeats_within_the_window_count_once_wherever_they_come_from,
        an_event_is_a_repeat_of_one_of_the_same_tenant_only,
        splitting_records_into_appends_does_not_change_what_is_kept,
        an_append_may_have_any_number_of_events,
        every_field_is_returned_exactly,
        each_filter_alone_selects_what_its_rule_says,
        each_exact_filter_selects_what_its_rule_says,
        a_search_for_text_finds_it_in_any_case_and_treats_no_character_as_a_wildcard,
        filters_together_select_what_their_rules_say_together,
        any_filter_finds_what_its_rule_says,
        an_earliest_timestamp_is_included_and_a_latest_is_not,
        a_query_returns_at_most_its_limit,
        pages_follow_each_other_without_a_gap_or_a_repeat,
        pages_stay_whole_while_events_arrive,
        an_event_is_found_by_its_id_and_an_unknown_id_is_not,
        of_several_events_with_one_id_the_one_received_last_is_found,
        expiry_removes_only_events_received_before,
        expiry_reaches_old_events_that_arrived_behind_newer_ones,
        a_dead_letter_may_be_repeated,
        another_dead_letter_at_the_same_place_replaces_the_first,
        dead_letters_of_one_record_are_kept_apart,
        a_probe_answers_as_an_append_and_changes_nothing,
        events_of_one_record_are_all_on_pages,
        dead_letters_are_returned_unchanged_in_the_order_in_which_they_were_found,
        a_redriven_dead_letter_has_the_time,
        a_copied_dead_letter_is_not_copied_again_and_the_others_are,
        expiry_removes_dead_letters_that_were_found_before,
        counts_are_those_of_the_bucket_and_level,
        counts_are_exact_whatever_they_are_read_from,
        counts_are_exact_with_more_sources_than_rollups_keep_apart,
        counts_of_partitions_that_append_at_once_are_exact,
        a_tail_shows_every_event_once_in_the_order_of_storage,
        a_tail_follows_its_filter_and_reports_how_far_it_read,
        a_sequence_number_is_never_assigned_twice,
        pages_of_large_events_are_bounded_and_complete,
        pages_of_large_dead_letters_are_bounded_and_complete,
        everything_exists_after_reopening,
    );
}

/// Polls a future until it has been pending more than `waits` times, then drops it. Returns its output if it completes
/// first. For properties that must hold wherever a caller drops a call.
pub async fn drop_after<T>(waits: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = waits;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

const MICROSECOND: Duration = Duration::from_micros(1);

fn group_partition(partition: Partition) -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    time(at.unix_micros() + i64::try_from(by.as_micros()).expect("a window that fits between two years"))
}

/// The only consumer of a group_partition.
struct Consumer<'a> {
    store: &'a dyn LogStore,
    group_partition: GroupPartition,
    position: Option<u64>,
    /// Everything that was appended, as it should be returned.
    appended: Vec<StoredEvent>,
}

impl<'a> Consumer<'a> {
    fn of(store: &'a dyn LogStore, group_partition: GroupPartition) -> Self {
        Self { store, group_partition, position: None, appended: Vec::new() }
    }

    async fn append(&mut self, events: impl IntoIterator<Item = LogEvent<'static>>) -> Appended {
        self.append_packed(1, events).await
    }

    /// Appends events in records of `per_record` events each.
    async fn append_packed(
        &mut self,
        per_record: usize,
        events: impl IntoIterator<Item = LogEvent<'static>>,
    ) -> Appended {
        let from = self.position.unwrap_or(0);
        let offsets = (from..).flat_map(|offset| std::iter::repeat_n(offset, per_record));
        let events: Vec<_> = offsets.zip(events).collect();
        let next = events.last().map_or(from, |(offset, _)| offset + 1);
        let append = Append {
            group_partition: &self.group_partition,
            expected: self.position,
            next,
            events: &events,
            dead_letters: &[],
        };
        let appended = in_time("append", self.store.append(&append)).await.expect("the append is in order");
        assert_eq!(appended.stored + appended.deduplicated, events.len(), "each event is stored or deduplicated");
        assert_eq!(appended.dead_lettered, 0, "no dead letters were appended");
        self.position = Some(next);
        self.appended.extend(events.into_iter().map(|(offset, event)| StoredEvent {
            event,
            topic: self.group_partition.topic.clone(),
            partition: self.group_partition.partition,
            offset,
        }));
        appended
    }
}

fn everything() -> LogQuery {
    only(EventFilter::default())
}

fn only(filter: EventFilter) -> LogQuery {
    LogQuery::newest(filter, PAGE_EVENTS_MAX)
}

async fn query(store: &dyn LogStore, query: &LogQuery) -> Vec<StoredEvent> {
    page(store, query).await.items
}

async fn page(store: &dyn LogStore, query: &LogQuery) -> Page<StoredEvent> {
    match in_time("query", store.query(query)).await {
        Ok(page) => page,
        Err(error) => panic!("{query:?} fails with {error:?}"),
    }
}

async fn position(store: &dyn LogStore, group_partition: &GroupPartition) -> Option<u64> {
    in_time("position", store.position(group_partition)).await.expect("the store answers")
}

async fn find(store: &dyn LogStore, id: Uuid) -> Option<StoredEvent> {
    in_time("find", store.find(id)).await.expect("the store answers")
}

fn key(stored: &StoredEvent) -> PageKey {
    PageKey::from(stored)
}

/// The answer to a query over `events` by the rules of the domain.
fn answer(events: &[StoredEvent], query: &LogQuery) -> Vec<StoredEvent> {
    let mut found: Vec<StoredEvent> = events
        .iter()
        .filter(|stored| query.filter.matches(&stored.event))
        .filter(|stored| query.after.is_none_or(|after| query.order.compare(&after, &key(stored)).is_lt()))
        .cloned()
        .collect();
    found.sort_by(|one, other| query.order.compare(&key(one), &key(other)));
    found.truncate(query.limit as usize);
    found
}

fn without_metadata(events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let strip = |stored: StoredEvent| StoredEvent { event: LogEvent { metadata: None, ..stored.event }, ..stored };
    events.into_iter().map(strip).collect()
}

/// Compares without metadata, which has a separate check.
async fn assert_answers(store: &dyn LogStore, events: &[StoredEvent], ask: &LogQuery) {
    let found = without_metadata(query(store, ask).await);
    let expected = without_metadata(answer(events, ask));
    if found != expected {
        let missing: Vec<_> = expected.iter().filter(|stored| !found.contains(stored)).take(3).collect();
        let wrong: Vec<_> = found.iter().filter(|stored| !expected.contains(stored)).take(3).collect();
        panic!(
            "{ask:?}\nanswers {} events instead of {}, or in another order\nmissing: {missing:#?}\nwrong: {wrong:#?}",
            found.len(),
            expected.len(),
        );
    }
}

/// [`LogStore::position`]: `None` before the first append, then the last `next`.
pub async fn the_position_is_absent_before_the_first_append_and_then_where_the_last_one_ended(
    subject: &impl StoreSubject,
) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    assert_eq!(position(&*store, &group_partition(0)).await, None);
    let mut seed = Seed::new(1);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    for end in [1, 2, 5] {
        let events: Vec<_> = (consumer.position.unwrap_or(0)..end).map(|_| event(seed.id(), time(EPOCH))).collect();
        consumer.append(events).await;
        assert_eq!(position(&*store, &group_partition(0)).await, Some(end));
    }
}

/// An append without a single event still counts its records as read, however large their offsets are.
pub async fn an_append_without_events_moves_the_position(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut expected = None;
    // Including numbers that a floating-point number or 32 bits could not hold.
    for next in [0, 7, u64::from(u32::MAX) + 1, (1 << 53) + 1, i64::MAX.unsigned_abs()] {
        let append = Append { group_partition: &group_partition(0), expected, next, events: &[], dead_letters: &[] };
        let appended = in_time("append", store.append(&append)).await.expect("the append is in order");
        assert_eq!(appended, Appended::default());
        expected = position(&*store, &group_partition(0)).await;
        assert_eq!(expected, Some(next));
    }
}

const TRACE_PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn dead_letter(offset: u64) -> DeadLetter<'static> {
    DeadLetter {
        offset,
        record_index: 0,
        key: b"\xffkey",
        value: b"\0not an event",
        trace_parent: None,
        reason: "no JSON: é'".to_owned(),
        attempts: 0,
        at: time(EPOCH),
    }
}

/// One append is one unit of work; the result counts what it did.
pub async fn events_and_dead_letters_and_the_position_are_stored_together(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(2);
    let events: Vec<_> = [3, 5].into_iter().zip(varied_events(&mut seed, 2)).collect();
    let append = Append {
        group_partition: &group_partition(1),
        expected: None,
        next: 8,
        events: &events,
        dead_letters: &[dead_letter(4), dead_letter(6), dead_letter(7)],
    };
    let appended = in_time("append", store.append(&append)).await.expect("the append is in order");
    assert_eq!(appended, Appended { stored: 2, deduplicated: 0, dead_lettered: 3 });
    assert_eq!(position(&*store, &group_partition(1)).await, Some(8));
    let mut offsets: Vec<_> =
        query(&*store, &everything()).await.iter().map(|stored| (stored.partition, stored.offset)).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [(1, 3), (1, 5)]);
}

/// [`Append::expected`] fences off every consumer that does not know the position.
pub async fn an_append_that_expects_another_position_is_a_conflict_and_changes_nothing(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(3);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let mut actual = None;
    for wrong in [Some(0), Some(5), None, Some(9), Some(11), Some(20)] {
        if wrong.is_none() {
            consumer.append((0..10).map(|_| event(seed.id(), time(EPOCH)))).await;
            actual = Some(10);
        }
        let id = seed.id();
        let events = [(20, event(id, time(EPOCH)))];
        let append = Append {
            group_partition: &group_partition(0),
            expected: wrong,
            next: 21,
            events: &events,
            dead_letters: &[dead_letter(20)],
        };
        match in_time("append", store.append(&append)).await {
            Err(StoreError::Conflict { actual: told }) => assert_eq!(told, actual, "the conflict reports the position"),
            other => panic!("an append at {wrong:?} instead of {actual:?} returns {other:?}"),
        }
        assert_eq!(position(&*store, &group_partition(0)).await, actual, "a conflict moves nothing");
        assert_eq!(find(&*store, id).await, None, "a conflict stores nothing");
    }
    assert_answers(&*store, &consumer.appended, &everything()).await;
}

/// Two consumers, each with its own connection to the store, that both believe they own a group_partition do not both store its
/// records.
pub async fn of_two_appends_from_one_position_exactly_one_wins(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let (store, other_store) = (subject.open(&place).await, subject.open(&place).await);
    let group_partition = group_partition(0);
    let mut expected = None;
    for round in 1..=20_u64 {
        let (one, other) = (round * 100 + 1, round * 100 + 2);
        let events = |next: u64| [(next - 1, event(Uuid::from_u128(next.into()), time(EPOCH)))];
        let (one_events, other_events) = (events(one), events(other));
        let append =
            |next, events| Append { group_partition: &group_partition, expected, next, events, dead_letters: &[] };
        let (one_append, other_append) = (append(one, &one_events), append(other, &other_events));
        let outcomes = in_time("two appends", async {
            tokio::join!(store.append(&one_append), other_store.append(&other_append))
        })
        .await;
        let (winner, loser) = match outcomes {
            (Ok(_), Err(StoreError::Conflict { actual })) if actual == Some(one) => (one, other),
            (Err(StoreError::Conflict { actual }), Ok(_)) if actual == Some(other) => (other, one),
            outcomes => panic!("two appends from {expected:?} return {outcomes:?}"),
        };
        expected = Some(winner);
        assert_eq!(position(&*store, &group_partition).await, expected);
        assert!(find(&*store, Uuid::from_u128(winner.into())).await.is_some(), "the winner's events are stored");
        assert!(find(&*store, Uuid::from_u128(loser.into())).await.is_none(), "the loser's are not");
    }
}

/// Feeds that differ in any part are independent.
pub async fn a_position_belongs_to_one_group_one_topic_and_one_partition(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let group_partitions = [
        group_partition(0),
        group_partition(1),
        GroupPartition { group: "audit".to_owned(), ..group_partition(0) },
        GroupPartition { group: "Log-Processor".to_owned(), ..group_partition(0) },
        GroupPartition { topic: "logs2".to_owned(), ..group_partition(0) },
    ];
    for (next, of) in (10..).zip(&group_partitions) {
        let append = Append { group_partition: of, expected: None, next, events: &[], dead_letters: &[] };
        in_time("append", store.append(&append)).await.expect("each group_partition begins without a position");
    }
    for (next, of) in (10..).zip(&group_partitions) {
        assert_eq!(position(&*store, of).await, Some(next), "{of:?}");
    }
}

/// Of events with one id, received within the dedup window of each other, the first one appended is kept: whether the
/// repeat is in the same append, in a later one, or from another partition, topic or group, and whether it was received
/// before or after. Events further apart are distinct.
pub async fn repeats_within_the_window_count_once_wherever_they_come_from(subject: &impl StoreSubject) {
    #[derive(Clone, Copy, Debug)]
    enum Way {
        SameAppend,
        LaterAppend,
        From(u8),
    }
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let window = subject.dedup_window();
    let first_received = later(time(EPOCH), window * 2);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let mut others = [
        group_partition(1),
        GroupPartition { topic: "logs2".to_owned(), ..group_partition(0) },
        GroupPartition { group: "audit".to_owned(), ..group_partition(0) },
    ]
    .map(|of| Consumer::of(&*store, of));
    let ways = [Way::SameAppend, Way::LaterAppend, Way::From(0), Way::From(1), Way::From(2)];
    let mut seed = Seed::new(4);
    for way in ways {
        for gap in [Duration::ZERO, MICROSECOND, window - MICROSECOND, window, window + MICROSECOND] {
            for backwards in [false, true] {
                let id = seed.id();
                let repeat_received =
                    if backwards { first_received.saturating_sub(gap) } else { later(first_received, gap) };
                let first = LogEvent { message: "first".into(), ..event(id, first_received) };
                let repeat = LogEvent { message: "repeat".into(), received_at: repeat_received, ..first.clone() };
                let deduplicated = match way {
                    Way::SameAppend => consumer.append([first, repeat]).await.deduplicated,
                    Way::LaterAppend => {
                        assert_eq!(consumer.append([first]).await.deduplicated, 0);
                        consumer.append([repeat]).await.deduplicated
                    }
                    Way::From(other) => {
                        assert_eq!(consumer.append([first]).await.deduplicated, 0);
                        others[usize::from(other)].append([repeat]).await.deduplicated
                    }
                };
                let case = format!("{way:?}, {gap:?} apart of {window:?}, backwards: {backwards}");
                assert_eq!(deduplicated == 1, gap <= window, "{case}");
                let kept = query(&*store, &everything()).await;
                let mut kept: Vec<&str> = kept
                    .iter()
                    .filter(|stored| stored.event.event_id == id)
                    .map(|stored| &*stored.event.message)
                    .collect();
                kept.sort_unstable();
                assert_eq!(kept, if gap <= window { &["first"][..] } else { &["first", "repeat"] }, "{case}");
            }
        }
    }
}

/// No tenant can make an event of another one, or of a client that is restricted to no sources, count as a repeat by
/// sending its id first, not even in the same microsecond. Within a tenant, repeats count once.
pub async fn an_event_is_a_repeat_of_one_of_the_same_tenant_only(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let received = later(time(EPOCH), subject.dedup_window() * 2);
    let of = |name| IdOrigin::Tenant(TenantId::of_name(name));
    let derived = IdOrigin::Derived(Some(TenantId::of_name("agent")));
    let origins = [of("thief"), of("victim"), IdOrigin::Client, of("other"), derived];
    let mut seed = Seed::new(5);
    for same_append in [true, false] {
        let mut consumer = Consumer::of(&*store, group_partition(u32::from(same_append)));
        let id = seed.id();
        let one_each = |micros: u32| {
            let at = later(received, MICROSECOND * micros);
            origins.into_iter().map(move |id_origin| LogEvent { id_origin, ..event(id, at) })
        };
        let (mut stored, mut repeats) = (0, 0);
        if same_append {
            let appended = consumer.append(one_each(0).chain(one_each(10))).await;
            (stored, repeats) = (appended.stored, appended.deduplicated);
        } else {
            for event in one_each(0).chain(one_each(10)) {
                let appended = consumer.append([event]).await;
                (stored, repeats) = (stored + appended.stored, repeats + appended.deduplicated);
            }
        }
        assert_eq!((stored, repeats), (origins.len(), origins.len()), "in one append: {same_append}");
        let by_id = EventFilter::from(Condition::IdIs(IdField::Event, id.as_bytes().to_vec()));
        let found = store.query(&LogQuery::newest(by_id, 100)).await.expect("the store answers");
        assert_eq!(found.items.len(), origins.len(), "all of them are found");
    }
}

/// An event is a repeat of one that was kept, not of one that was itself a repeat. So the same records yield the same
/// events, whether they arrive one by one or all at once.
pub async fn splitting_records_into_appends_does_not_change_what_is_kept(subject: &impl StoreSubject) {
    let window = subject.dedup_window();
    let mut seed = Seed::new(5);
    let ids: Vec<Uuid> = (0..20).map(|_| seed.id()).collect();
    let events: Vec<LogEvent<'static>> = (0..200)
        .map(|_| event(*seed.pick(&ids), later(time(EPOCH), window / 2 * u32::try_from(seed.below(10)).unwrap_or(0))))
        .collect();
    let mut kept: Vec<&LogEvent<'static>> = Vec::new();
    for event in &events {
        let micros = |event: &LogEvent<'_>| event.received_at.unix_micros();
        let repeat = kept.iter().any(|other| {
            other.event_id == event.event_id && u128::from(micros(other).abs_diff(micros(event))) <= window.as_micros()
        });
        if !repeat {
            kept.push(event);
        }
    }
    let place_of = |event: &LogEvent<'_>| (event.timestamp, event.event_id, event.received_at);
    let mut kept: Vec<_> = kept.into_iter().map(place_of).collect();
    kept.sort_unstable_by(|one, other| other.cmp(one));
    for records in [1, 5, 20, 50, 100, events.len()] {
        let place = subject.place().await;
        let store = subject.open(&place).await;
        let mut consumer = Consumer::of(&*store, group_partition(0));
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(1 + seed.below(records)));
            consumer.append(part.iter().cloned()).await;
            rest = others;
        }
        let found: Vec<_> = query(&*store, &everything()).await.iter().map(|stored| place_of(&stored.event)).collect();
        assert_eq!(found, kept, "up to {records} records an append");
    }
}

/// However a store splits its statements, no event is lost or stored twice.
pub async fn an_append_may_have_any_number_of_events(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(6);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let known = event(seed.id(), time(EPOCH));
    let mut stored = consumer.append([known.clone()]).await.stored;
    for count in [1, 2, 3, 64, 127, 255, 256, 257, 500, 777, 1023] {
        let from = consumer.appended.len();
        // A repeat in the middle, so that the new events are not consecutive.
        let mut events = varied_events(&mut seed, count);
        events.insert(count / 2, known.clone());
        let appended = consumer.append(events).await;
        assert_eq!(appended, Appended { stored: count, deduplicated: 1, dead_lettered: 0 });
        stored += count;
        for appended in &consumer.appended[from..] {
            let found = find(&*store, appended.event.event_id).await.map(|found| key(&found));
            let offset = if appended.event.event_id == known.event_id { 0 } else { appended.offset };
            assert_eq!(found, Some(PageKey { offset, ..key(appended) }), "of {count} events");
        }
    }
    let mut listed = 0;
    let mut ask = everything();
    loop {
        let page = query(&*store, &ask).await;
        let Some(last) = page.last() else { break };
        ask.after = Some(key(last));
        listed += page.len();
        assert!(listed <= stored, "more than the {stored} events that were stored");
    }
    assert_eq!(listed, stored);
}

/// A store keeps every field exactly, to the last bit, and where the event came from.
pub async fn every_field_is_returned_exactly(subject: &impl StoreSubject) {
    let json = |text: &'static str| Some(Metadata::from_checked(Cow::Borrowed(text)));
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(7);
    let mut plain = || event(seed.id(), time(EPOCH));
    let long = |text: &str, bytes: usize| Cow::Owned(text.repeat(bytes / text.len()));
    let mut events = vec![
        plain(),
        LogEvent { id_origin: IdOrigin::Generated, ..plain() },
        LogEvent { timestamp: Timestamp::MIN, ..plain() },
        LogEvent { timestamp: Timestamp::MAX, ..plain() },
        LogEvent { timestamp: time(-1), received_at: time(EPOCH + 1), ..plain() },
        LogEvent { received_at: Timestamp::MIN, ..plain() },
        LogEvent { received_at: Timestamp::MAX, ..plain() },
        LogEvent { event_id: Uuid::nil(), ..plain() },
        LogEvent { event_id: Uuid::max(), ..plain() },
        LogEvent { source: long("s", SOURCE_BYTES_MAX), ..plain() },
        LogEvent { source: "数据库 ' \\ % \u{fffd}".into(), ..plain() },
        LogEvent { message: long("é", TEXT_BYTES_MAX), stack_trace: Some(long("\n", TEXT_BYTES_MAX)), ..plain() },
        LogEvent { message: "\u{fffd}".into(), stack_trace: Some("\u{fffd}\u{feff}\u{1}\r\n".into()), ..plain() },
        LogEvent { message: " ".into(), stack_trace: Some("".into()), ..plain() },
        LogEvent { trace_id: Some([0; 16]), span_id: Some([0; 8]), ..plain() },
        LogEvent { trace_id: Some([0xff; 16]), span_id: Some([0xff; 8]), ..plain() },
        LogEvent { trace_id: Some(*b"'; DROP TABLE --"), ..plain() },
        LogEvent { span_id: Some(*b"\0\x01\x02\x7f\x80\xfe\xff'"), ..plain() },
        LogEvent { metadata: json("{}"), ..plain() },
        LogEvent {
            metadata: json(r#"{"z":1,"a":[1.50,-0,1e3,{"n":null}],"ключ":"\u0001\"\\ \ufffd 😀","":true}"#),
            ..plain()
        },
        LogEvent {
            metadata: json(r#"{"large":123456789012345678901234567890.000000000000000000000000000001}"#),
            ..plain()
        },
    ];
    events.extend(Level::ALL.map(|level| LogEvent { level, ..plain() }));
    events.extend(PIECES.map(|piece| LogEvent { message: piece.into(), ..plain() }));
    // The largest numbers that Kafka supports.
    let group_partition = GroupPartition {
        group: "g".to_owned(),
        topic: "it's.a-topic_%".to_owned(),
        partition: i32::MAX.unsigned_abs(),
    };
    let from = i64::MAX.unsigned_abs() - events.len() as u64;
    let events: Vec<_> = (from..).zip(events).collect();
    let append = Append {
        group_partition: &group_partition,
        expected: None,
        next: i64::MAX.unsigned_abs(),
        events: &events,
        dead_letters: &[],
    };
    let appended = in_time("append", store.append(&append)).await.expect("the store accepts every valid event");
    assert_eq!(appended.stored, events.len());

    let listed = query(&*store, &everything()).await;
    assert_eq!(listed.len(), events.len());
    for (offset, event) in events {
        let found = find(&*store, event.event_id).await.expect("an event that was stored is found");
        assert!(listed.contains(&found), "found by id and listed are the same: {found:?}");
        let kept = found.event.metadata.as_ref().map(Metadata::as_json);
        match (event.metadata.as_ref().map(Metadata::as_json), kept) {
            (None, None) => {}
            (Some(given), Some(kept)) => assert!(subject.same_metadata(given, kept), "{given} became {kept}"),
            (given, kept) => panic!("metadata {given:?} became {kept:?}"),
        }
        let expected = StoredEvent {
            event: LogEvent { metadata: found.event.metadata.clone(), ..event },
            topic: group_partition.topic.clone(),
            partition: group_partition.partition,
            offset,
        };
        assert_eq!(found, expected);
    }
}

/// A few hundred varied events from two partitions.
async fn varied(store: &dyn LogStore) -> Vec<StoredEvent> {
    let mut seed = Seed::new(8);
    let mut appended = Vec::new();
    for partition in 0..2 {
        let mut consumer = Consumer::of(store, group_partition(partition));
        for _ in 0..2 {
            consumer.append(varied_events(&mut seed, 100)).await;
        }
        appended.append(&mut consumer.appended);
    }
    appended
}

/// Source, level, times and trace id, each alone, by [`EventFilter::matches`].
pub async fn each_filter_alone_selects_what_its_rule_says(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let events = varied(&*store).await;
    assert_answers(&*store, &events, &everything()).await;
    for source in SOURCES.iter().chain(&["", "sho", "SHOP", "shopp", "sh"]) {
        assert_answers(&*store, &events, &only(EventFilter::source(source))).await;
    }
    // Every set of levels.
    for set in 0..1 << Level::ALL.len() {
        let levels = Level::ALL.into_iter().filter(|level| set >> level.number() & 1 == 1);
        assert_answers(&*store, &events, &only(EventFilter::levels(levels))).await;
    }
    for trace_id in TRACES.into_iter().chain([[9; 16]]) {
        assert_answers(&*store, &events, &only(EventFilter::trace(trace_id))).await;
    }
    let times = events.iter().step_by(7).map(|stored| stored.event.timestamp);
    for at in times.chain([Timestamp::MIN, Timestamp::MAX]) {
        assert_answers(&*store, &events, &only(EventFilter::between(Some(at), None))).await;
        assert_answers(&*store, &events, &only(EventFilter::between(None, Some(at)))).await;
    }
}

/// Conditions on ids, times of receipt and the existence of a field, each alone and negated. The store decides these alone.
pub async fn each_exact_filter_selects_what_its_rule_says(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let events = varied(&*store).await;
    let contents: Vec<LogEvent<'static>> = events.iter().map(|stored| stored.event.clone()).collect();
    let (mut some, mut all) = (0, 0);
    for filter in exact_filters(&contents) {
        let matching = contents.iter().filter(|event| filter.matches(event)).count();
        some += usize::from(0 < matching && matching < contents.len());
        all += usize::from(matching == contents.len());
        assert_answers(&*store, &events, &only(filter)).await;
    }
    assert!(some > 100 && all > 4, "{some} filters select some events, {all} all: the check has lost its variety");
}

/// The rule is [`domain::folding`], whatever the store's own case rules are, and no character is special.
pub async fn a_search_for_text_finds_it_in_any_case_and_treats_no_character_as_a_wildcard(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut events = varied(&*store).await;
    let mut seed = Seed::new(9);
    let mut consumer = Consumer::of(&*store, group_partition(2));
    let long = format!("{}needle", "hay ".repeat(10_000));
    consumer
        .append(
            PIECES
                .map(str::to_owned)
                .into_iter()
                .chain([long])
                .map(|message| LogEvent { message: message.into(), ..event(seed.id(), time(EPOCH)) }),
        )
        .await;
    events.append(&mut consumer.appended);

    let chosen = [
        "",
        " ",
        "k",
        "K",
        "\u{212a}",
        "s",
        "ss",
        "SS",
        "ß",
        "ẞ",
        "ſ",
        "σ",
        "e",
        "é",
        "\u{301}",
        "i",
        "I",
        "ı",
        "İ",
        "i\u{307}",
        "fi",
        "ﬁ",
        "ǆ",
        "😀",
        "👩",
        "\u{200d}",
        "0%",
        "%%",
        "a_b",
        "A_B",
        "__",
        "'s",
        "\\",
        "\\\\",
        "\\s",
        "?",
        "*",
        "[a]",
        "\"",
        "\n",
        "\t",
        "NEEDLE",
        "needles",
        "zebra",
        "zébra",
        "\u{fffd}",
        "\u{1f601}",
    ];
    for text in chosen.iter().chain(&PIECES) {
        for text in [(*text).to_owned(), text.to_uppercase(), text.to_lowercase()] {
            assert_answers(&*store, &events, &only(EventFilter::message(&text))).await;
        }
    }
    // The store agreed with the rule; these are the cases that motivate it.
    for (text, expected) in
        [("strasse", "straße"), ("straße", "STRASSE"), ("σας", "ΣΑΣ"), ("KELVIN", "\u{212a}elvin"), ("File", "ﬁle")]
    {
        let found = query(&*store, &only(EventFilter::message(text))).await;
        assert!(found.iter().any(|stored| stored.event.message == expected), "{text} finds {expected}");
    }
    // Any part of any message.
    for stored in events.iter().step_by(5) {
        let characters: Vec<char> = stored.event.message.chars().take(60).collect();
        let from = seed.below(characters.len());
        let to = from + 1 + seed.below(characters.len() - from);
        assert_answers(&*store, &events, &only(EventFilter::message(&characters[from..to].iter().collect::<String>())))
            .await;
    }
}

fn some_filter(seed: &mut Seed, events: &[StoredEvent]) -> EventFilter {
    let part = |seed: &mut Seed| {
        let message = message(seed);
        let characters: Vec<char> = message.chars().collect();
        let from = seed.below(characters.len());
        characters[from..].iter().take(1 + seed.below(3)).collect::<String>()
    };
    let (from, to) = (seed.one_in(3), seed.one_in(3));
    let time = |seed: &mut Seed, given: bool| given.then(|| seed.pick(events).event.timestamp);
    let mut filter = EventFilter::between(time(seed, from), time(seed, to));
    if seed.one_in(3) {
        filter = filter.and(EventFilter::source(SOURCES[seed.below(SOURCES.len())]));
    }
    if seed.one_in(2) {
        filter = filter.and(EventFilter::levels((0..=seed.below(4)).map(|_| *seed.pick(&Level::ALL))));
    }
    if seed.one_in(2) {
        filter = filter.and(EventFilter::message(&part(seed)));
    }
    if seed.one_in(4) {
        filter = filter.and(EventFilter::trace(*seed.pick(&TRACES)));
    }
    filter
}

/// All conditions apply together, also with a page key and a limit.
pub async fn filters_together_select_what_their_rules_say_together(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let events = varied(&*store).await;
    let mut seed = Seed::new(10);
    let mut answered = 0;
    for _ in 0..500 {
        let ask = LogQuery {
            filter: some_filter(&mut seed, &events),
            after: seed.one_in(3).then(|| key(seed.pick(&events))),
            limit: if seed.one_in(2) { PAGE_EVENTS_MAX } else { 1 + u32::try_from(seed.below(10)).unwrap_or(0) },
            ..everything()
        };
        assert_answers(&*store, &events, &ask).await;
        answered += usize::from(!answer(&events, &ask).is_empty());
    }
    assert!(answered > 200, "only {answered} queries had an answer: the check has lost its variety");
}

/// `from` is inclusive and `to` exclusive, to the microsecond.
pub async fn an_earliest_timestamp_is_included_and_a_latest_is_not(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(11);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    consumer.append((0..5).map(|n| event(seed.id(), time(EPOCH + n)))).await;
    let between = |from, to| only(EventFilter::between(Some(time(EPOCH + from)), Some(time(EPOCH + to))));
    for (from, to, expected) in
        [(1, 3, vec![2, 1]), (2, 3, vec![2]), (2, 2, vec![]), (3, 1, vec![]), (-5, 9, vec![4, 3, 2, 1, 0])]
    {
        let found: Vec<i64> = query(&*store, &between(from, to))
            .await
            .iter()
            .map(|stored| stored.event.timestamp.unix_micros() - EPOCH)
            .collect();
        assert_eq!(found, expected, "from {from} to {to}");
    }
}

/// [`LogQuery::limit`], with conditions that a store can and cannot evaluate itself.
pub async fn a_query_returns_at_most_its_limit(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let events = varied(&*store).await;
    for limit in [0, 1, 2, 10, 399, 400, 401, PAGE_EVENTS_MAX] {
        for filter in
            [EventFilter::default(), EventFilter::message("s"), EventFilter::message("ß"), EventFilter::message("")]
        {
            assert_answers(&*store, &events, &LogQuery { filter, limit, ..everything() }).await;
        }
    }
}

/// Three timestamps for all events, some ids twice (received further apart than the window), so that every part of
/// [`PageKey`] matters somewhere.
fn crowded(seed: &mut Seed, window: Duration, count: usize) -> Vec<LogEvent<'static>> {
    (0..count)
        .flat_map(|_| {
            let at = time(EPOCH + i64::try_from(seed.below(3)).unwrap_or(0));
            let message = message(seed);
            let one = LogEvent { message: message.into(), ..event(seed.id(), at) };
            let received_again = later(one.received_at, window + MICROSECOND);
            let again = seed.one_in(3).then(|| LogEvent { received_at: received_again, ..one.clone() });
            std::iter::once(one).chain(again)
        })
        .collect()
}

/// Every order of pages.
const ORDERS: [Order; 4] = {
    use Direction::{NewestFirst, OldestFirst};
    [
        Order { direction: NewestFirst, ties: Ties::EventId },
        Order { direction: OldestFirst, ties: Ties::EventId },
        Order { direction: NewestFirst, ties: Ties::Arrival },
        Order { direction: OldestFirst, ties: Ties::Arrival },
    ]
};

/// Pages are continued by the key of the last event, also among events with one timestamp and one id.
pub async fn pages_follow_each_other_without_a_gap_or_a_repeat(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let events = crowded(&mut Seed::new(12), subject.dedup_window(), 150);
    assert_eq!(consumer.append(events).await.deduplicated, 0);
    let filters = [EventFilter::default(), EventFilter::message("S"), EventFilter::levels([Level::Info])];
    for (filter, order) in filters.iter().flat_map(|filter| ORDERS.map(|order| (filter, order))) {
        let all = answer(&consumer.appended, &LogQuery { order, ..only(filter.clone()) });
        for limit in [1, 7, 50] {
            let mut ask = LogQuery { order, limit, ..only(filter.clone()) };
            let mut seen = Vec::new();
            loop {
                let page = page(&*store, &ask).await;
                ask.after = page.items.last().map(key);
                seen.extend(page.items.iter().map(key));
                assert!(seen.len() <= all.len(), "pages of {limit} have too many events: {filter:?}");
                assert_eq!(page.more, seen.len() < all.len(), "a page knows whether there are more");
                if !page.more {
                    break;
                }
            }
            let expected: Vec<_> = all.iter().map(key).collect();
            assert_eq!(seen, expected, "pages of {limit} for {filter:?} in {order:?}");
        }
    }
}

/// Paging through a store during writes returns each event that existed at the beginning exactly once.
pub async fn pages_stay_whole_while_events_arrive(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(13);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    consumer.append(crowded(&mut seed, subject.dedup_window(), 100)).await;
    let before: Vec<PageKey> = answer(&consumer.appended, &everything()).iter().map(key).collect();
    let mut ask = LogQuery { limit: 10, ..everything() };
    let mut seen: Vec<PageKey> = Vec::new();
    loop {
        let page = query(&*store, &ask).await;
        assert_eq!(
            page.iter().map(key).collect::<Vec<_>>(),
            answer(&consumer.appended, &ask).iter().map(key).collect::<Vec<_>>(),
            "a page shows the current events"
        );
        let Some(last) = page.last() else { break };
        ask.after = Some(key(last));
        seen.extend(page.iter().map(key));
        assert!(seen.len() <= consumer.appended.len(), "too many events");
        if consumer.appended.len() < 600 {
            // Before and after the current position in the order, and newer than all others.
            let newest = event(seed.id(), time(EPOCH + 60_000_000));
            consumer.append(crowded(&mut seed, subject.dedup_window(), 5).into_iter().chain([newest])).await;
        }
    }
    assert!(seen.is_sorted_by(|one, other| one > other), "in order and without a repeat");
    let seen: BTreeSet<PageKey> = seen.into_iter().collect();
    assert!(before.iter().all(|key| seen.contains(key)), "without a gap");
}

/// [`LogStore::find`] by id alone.
pub async fn an_event_is_found_by_its_id_and_an_unknown_id_is_not(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    assert_eq!(find(&*store, Uuid::nil()).await, None);
    let events = varied(&*store).await;
    for stored in &events {
        let found = find(&*store, stored.event.event_id).await.expect("an event that was stored is found");
        assert_eq!(key(&found), key(stored));
    }
    let mut seed = Seed::new(14);
    for stored in events.iter().step_by(40) {
        // A neighbour in every index.
        let unknown = Uuid::from_u128(stored.event.event_id.as_u128() ^ 1);
        assert_eq!(find(&*store, unknown).await, None);
        assert_eq!(find(&*store, seed.id()).await, None);
    }
}

/// An id repeated outside of the window refers to the newer event, whichever was appended first.
pub async fn of_several_events_with_one_id_the_one_received_last_is_found(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let window = subject.dedup_window();
    let mut seed = Seed::new(15);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let id = seed.id();
        for windows in order {
            let received_at = later(time(EPOCH), (window + MICROSECOND) * windows);
            // The newest by receipt is the oldest by its own timestamp.
            let timestamp = time(EPOCH - i64::from(windows));
            consumer.append([LogEvent { received_at, timestamp, ..event(id, received_at) }]).await;
        }
        let found = find(&*store, id).await.expect("an event that was stored is found");
        assert_eq!(found.event.timestamp, time(EPOCH - 2), "appended in the order {order:?}");
    }
}

/// Calls until nothing is left to expire.
async fn expire_all(store: &dyn LogStore, oldest: Timestamp) -> u64 {
    let mut removed = 0;
    for _ in 0..10_000 {
        match in_time("expire", store.expire(oldest)).await.expect("the store answers") {
            0 => return removed,
            some => removed += some,
        }
    }
    panic!("expiry has removed {removed} events and does not end");
}

/// The receipt time decides, and an event received exactly at the limit stays.
pub async fn expiry_removes_only_events_received_before(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(16);
    // Times differ by the store's granularity, and the oldest time is a multiple of it.
    let step = i64::try_from(subject.expiry_unit().max(MICROSECOND).as_micros()).expect("a short unit");
    let start = EPOCH.div_euclid(step) * step;
    let oldest = time(start);
    assert_eq!(expire_all(&*store, oldest).await, 0);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let events: Vec<_> = (0..600)
        .map(|n| {
            let received_at = time(start + (n % 6 - 3) * step);
            // The client's timestamp must not cause removal.
            let timestamp = time(EPOCH - 300 + n);
            LogEvent { received_at, timestamp, ..event(seed.id(), received_at) }
        })
        .collect();
    consumer.append(events).await;
    let left: Vec<_> = consumer.appended.iter().filter(|stored| stored.event.received_at >= oldest).cloned().collect();
    assert_eq!(left.len(), 300);

    assert_eq!(expire_all(&*store, time(start - 3 * step)).await, 0, "no event is that old");
    assert_eq!(expire_all(&*store, oldest).await, 300);
    assert_answers(&*store, &left, &everything()).await;
    assert_eq!(expire_all(&*store, oldest).await, 0);
    assert_eq!(position(&*store, &group_partition(0)).await, consumer.position, "positions do not expire");
    for stored in &consumer.appended {
        let found = find(&*store, stored.event.event_id).await;
        assert_eq!(found.is_some(), left.contains(stored), "{:?}", stored.event);
    }
    assert_eq!(expire_all(&*store, Timestamp::MAX).await, 300);
    assert_eq!(query(&*store, &everything()).await, []);
}

/// A result of 0 is reliable, even if a partition lagged, or if a clock was wrong and its events will not be old for
/// years.
pub async fn expiry_reaches_old_events_that_arrived_behind_newer_ones(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(17);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let old = time(EPOCH - 1).saturating_sub(subject.expiry_unit());
    for (received_at, count) in [(Timestamp::MAX, 5_000), (old, 5)] {
        let events: Vec<_> = (0..count).map(|_| event(seed.id(), received_at)).collect();
        consumer.append(events).await;
    }
    assert_eq!(expire_all(&*store, time(EPOCH)).await, 5);
}

/// A consumer that takes over may append the same dead letter again, and each group_partition has its own.
pub async fn a_dead_letter_may_be_repeated(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let group_partitions = [
        group_partition(0),
        group_partition(1),
        GroupPartition { topic: "logs2".to_owned(), ..group_partition(0) },
        GroupPartition { group: "audit".to_owned(), ..group_partition(0) },
    ];
    for of in &group_partitions {
        let letters = [dead_letter(0), dead_letter(i64::MAX.unsigned_abs())];
        let append = Append { group_partition: of, expected: None, next: 1, events: &[], dead_letters: &letters };
        let appended =
            in_time("append", store.append(&append)).await.expect("each group_partition has its own dead letters");
        assert_eq!(appended, Appended { dead_lettered: 2, ..Appended::default() });
    }
    let again = Append {
        group_partition: &group_partition(0),
        expected: Some(1),
        next: 2,
        events: &[],
        dead_letters: &[dead_letter(0)],
    };
    in_time("append", store.append(&again)).await.expect("a repeated dead letter is accepted");
    assert_eq!(position(&*store, &group_partition(0)).await, Some(2));
}

/// The offsets of a topic that was created again begin anew. What is the same letter keeps what was done with it.
pub async fn another_dead_letter_at_the_same_place_replaces_the_first(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let other = || DeadLetter { value: b"other bytes", ..dead_letter(4) };
    let (first, second) = ((4, dead_letter(4).value), (4, other().value));
    let third = (5, dead_letter(5).value);
    for (expected, appended, kept) in [
        (None, [dead_letter(4), dead_letter(5)], [first, third]),
        (Some(1), [dead_letter(4), dead_letter(5)], [first, third]),
        (Some(2), [other(), dead_letter(5)], [third, second]),
        (Some(3), [other(), dead_letter(5)], [third, second]),
    ] {
        let next = expected.unwrap_or(0) + 1;
        let append =
            Append { group_partition: &group_partition(0), expected, next, events: &[], dead_letters: &appended };
        in_time("append", store.append(&append)).await.expect("the store accepts it");
        let found = letters(&*store, &all_letters(DeadLetterFilter::default())).await;
        let places: Vec<_> = found.iter().map(|letter| (letter.offset, letter.value.as_slice())).collect();
        assert_eq!(places, kept, "after the append at {expected:?}");
        let redriven: Vec<_> = found.iter().map(|letter| letter.redriven_at.is_some()).collect();
        let expected = match next {
            1 => [false, false],
            2 | 4 => [true, true],
            _ => [true, false],
        };
        assert_eq!(redriven, expected, "after the append to {next}");
        let ids: Vec<u64> = found.iter().map(|letter| letter.id).collect();
        in_time("mark", store.mark_redriven(&ids, time(EPOCH))).await.expect("the store answers");
    }
}

/// Several events of one packed record may be dead letters. Each is kept once.
pub async fn dead_letters_of_one_record_are_kept_apart(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let of = |record_index| DeadLetter { record_index, ..dead_letter(4) };
    for (expected, next, indexes) in [(None, 5, [0, 1, 999].as_slice()), (Some(5), 6, &[1, 2])] {
        let letters: Vec<_> = indexes.iter().map(|index| of(*index)).collect();
        let append =
            Append { group_partition: &group_partition(0), expected, next, events: &[], dead_letters: &letters };
        in_time("append", store.append(&append)).await.expect("the append is in order");
    }
    let kept = letters(&*store, &all_letters(DeadLetterFilter::default())).await;
    let places: Vec<_> = kept.iter().map(|letter| (letter.offset, letter.record_index)).collect();
    assert_eq!(places, [(4, 0), (4, 1), (4, 999), (4, 2)]);
}

/// [`LogStore::probe`]: the same fence, and nothing is left: no event, no letter, no position, no known id.
pub async fn a_probe_answers_as_an_append_and_changes_nothing(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(23);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    for _ in 0..3 {
        let from = consumer.position.unwrap_or(0);
        // Ids of clients: those are what a store remembers.
        let event = |id| LogEvent { id_origin: IdOrigin::Client, ..event(id, time(EPOCH)) };
        let events: Vec<_> = (from..from + 3).map(|offset| (offset, event(seed.id()))).collect();
        let probe = Append {
            group_partition: &group_partition(0),
            expected: consumer.position,
            next: from + 4,
            events: &events,
            dead_letters: &[dead_letter(from + 3)],
        };
        for _ in 0..2 {
            in_time("probe", store.probe(&probe)).await.expect("an append would succeed");
            assert_eq!(position(&*store, &group_partition(0)).await, consumer.position, "a probe moves nothing");
            assert_answers(&*store, &consumer.appended, &everything()).await;
            assert_eq!(letters(&*store, &all_letters(DeadLetterFilter::default())).await, []);
        }
        let elsewhere = Append { expected: Some(from + 1), ..probe.clone() };
        match in_time("probe", store.probe(&elsewhere)).await {
            Err(StoreError::Conflict { actual }) => assert_eq!(actual, consumer.position),
            other => panic!("a probe at another position returns {other:?}"),
        }
        let events = events.into_iter().map(|(_, event)| event);
        assert_eq!(consumer.append(events).await.stored, 3, "a probe makes no id known");
    }
    assert_answers(&*store, &consumer.appended, &everything()).await;
}

/// Events of one packed record have one offset, and often one time: pages in any order have each of them.
pub async fn events_of_one_record_are_all_on_pages(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(24);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    let events: Vec<_> = (0..120).map(|_| event(seed.id(), time(EPOCH))).collect();
    assert_eq!(consumer.append_packed(50, events).await.stored, 120);
    assert_eq!(position(&*store, &group_partition(0)).await, Some(3));
    for (order, limit) in ORDERS.into_iter().flat_map(|order| [1, 7, 49].map(|limit| (order, limit))) {
        let expected: Vec<_> =
            answer(&consumer.appended, &LogQuery { order, ..everything() }).iter().map(key).collect();
        let mut ask = LogQuery { order, limit, ..everything() };
        let mut seen = Vec::new();
        loop {
            let page = page(&*store, &ask).await;
            ask.after = page.next();
            seen.extend(page.items.iter().map(key));
            assert!(seen.len() <= expected.len(), "pages of {limit} have too many events in {order:?}");
            if ask.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "pages of {limit} in {order:?}");
    }
}

async fn letters(store: &dyn LogStore, query: &DeadLetterQuery) -> Vec<StoredDeadLetter> {
    in_time("dead letters", store.dead_letters(query)).await.expect("the store answers").items
}

fn all_letters(filter: DeadLetterFilter) -> DeadLetterQuery {
    DeadLetterQuery { filter, after: None, limit: 100 }
}

/// Stores letters at offsets 0 to 5 of partition 0 and then of partition 1, a second apart.
async fn twelve_letters(store: &dyn LogStore) -> Vec<StoredDeadLetter> {
    let mut expected = Vec::new();
    for (group_partition, partition) in [(group_partition(0), 0), (group_partition(1), 1)] {
        let found = |offset: u64| later(time(EPOCH), Duration::from_secs(partition * 6 + offset));
        let letters: Vec<_> = (0..6)
            .map(|offset| DeadLetter {
                at: found(offset),
                attempts: 7 * offset as u32,
                record_index: 199 * offset as u32,
                trace_parent: TraceParent::parse(TRACE_PARENT).filter(|_| offset % 2 == 1),
                ..dead_letter(offset)
            })
            .collect();
        let append =
            Append { group_partition: &group_partition, expected: None, next: 6, events: &[], dead_letters: &letters };
        let appended = in_time("append", store.append(&append)).await.expect("the append is in order");
        assert_eq!(appended.dead_lettered, 6);
        expected.extend(letters.into_iter().map(|letter| StoredDeadLetter {
            id: 0,
            group_partition: group_partition.clone(),
            offset: letter.offset,
            record_index: letter.record_index,
            key: letter.key.to_vec(),
            value: letter.value.to_vec(),
            trace_parent: letter.trace_parent,
            reason: letter.reason,
            attempts: letter.attempts,
            at: letter.at,
            redriven_at: None,
        }));
    }
    expected
}

/// Letters are returned byte for byte, by filter and page by page.
pub async fn dead_letters_are_returned_unchanged_in_the_order_in_which_they_were_found(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let expected = twelve_letters(store.as_ref()).await;
    let found = letters(store.as_ref(), &all_letters(DeadLetterFilter::default())).await;
    assert!(found.is_sorted_by(|a, b| a.id < b.id), "ids ascend");
    let without_id: Vec<_> = found.iter().map(|letter| StoredDeadLetter { id: 0, ..letter.clone() }).collect();
    assert_eq!(without_id, expected);

    for (filter, indexes) in [
        (DeadLetterFilter { id: Some(found[7].id), ..DeadLetterFilter::default() }, vec![7]),
        (DeadLetterFilter { partition: Some(1), ..DeadLetterFilter::default() }, (6..12).collect()),
        (DeadLetterFilter { topic: Some("logs".to_owned()), ..DeadLetterFilter::default() }, (0..12).collect()),
        (DeadLetterFilter { topic: Some("other".to_owned()), ..DeadLetterFilter::default() }, vec![]),
        (DeadLetterFilter { from: Some(found[10].at), ..DeadLetterFilter::default() }, vec![10, 11]),
        (DeadLetterFilter { to: Some(found[2].at), ..DeadLetterFilter::default() }, vec![0, 1]),
        (DeadLetterFilter { redriven: Some(true), ..DeadLetterFilter::default() }, vec![]),
        (DeadLetterFilter { redriven: Some(false), ..DeadLetterFilter::default() }, (0..12).collect()),
    ] {
        let selected = letters(store.as_ref(), &all_letters(filter.clone())).await;
        let wanted: Vec<_> = indexes.iter().map(|index: &usize| found[*index].clone()).collect();
        assert_eq!(selected, wanted, "{filter:?}");
        for max in [0, 1, 6, 100] {
            let counted = in_time("count", store.count_dead_letters(&filter, max)).await.expect("the store answers");
            assert_eq!(counted, max.min(wanted.len() as u64), "up to {max}: {filter:?}");
        }
    }
    let page = DeadLetterQuery { after: Some(found[3].id), limit: 2, ..DeadLetterQuery::default() };
    assert_eq!(letters(store.as_ref(), &page).await, found[4..6]);
}

/// Only the marked letters are redriven.
pub async fn a_redriven_dead_letter_has_the_time(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    twelve_letters(store.as_ref()).await;
    let found = letters(store.as_ref(), &all_letters(DeadLetterFilter::default())).await;
    let (first, second) = (later(time(EPOCH), Duration::from_secs(60)), later(time(EPOCH), Duration::from_secs(61)));
    in_time("mark", store.mark_redriven(&[found[1].id, found[9].id], first)).await.expect("the store answers");
    in_time("mark", store.mark_redriven(&[found[9].id], second)).await.expect("the store answers");
    let redriven = DeadLetterFilter { redriven: Some(true), ..DeadLetterFilter::default() };
    let marked = letters(store.as_ref(), &all_letters(redriven)).await;
    let seen: Vec<_> = marked.iter().map(|letter| (letter.id, letter.redriven_at)).collect();
    assert_eq!(seen, [(found[1].id, Some(first)), (found[9].id, Some(second))]);
    let others = DeadLetterFilter { redriven: Some(false), ..DeadLetterFilter::default() };
    assert_eq!(letters(store.as_ref(), &all_letters(others.clone())).await.len(), 10);
    assert_eq!(in_time("count", store.count_dead_letters(&others, 100)).await.expect("the store answers"), 10);
}

/// Letters that were not marked remain to be copied, across reopening, whatever else is done with a letter.
pub async fn a_copied_dead_letter_is_not_copied_again_and_the_others_are(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let uncopied = || all_letters(DeadLetterFilter { copied: Some(false), ..DeadLetterFilter::default() });
    let copied = || all_letters(DeadLetterFilter { copied: Some(true), ..DeadLetterFilter::default() });
    assert!(letters(store.as_ref(), &uncopied()).await.is_empty());
    twelve_letters(store.as_ref()).await;
    let mut found = letters(store.as_ref(), &uncopied()).await;
    assert_eq!(found.len(), 12, "none was copied yet");
    assert_eq!(letters(store.as_ref(), &DeadLetterQuery { limit: 5, ..uncopied() }).await, found[..5]);

    let at = later(time(EPOCH), Duration::from_secs(60));
    in_time("mark", store.mark_copied(&[found[0].id, found[5].id], at)).await.expect("the store answers");
    in_time("mark", store.mark_copied(&[found[5].id], at)).await.expect("marking a letter twice is accepted");
    in_time("mark", store.mark_copied(&[], at)).await.expect("an empty list is accepted");
    in_time("mark", store.mark_redriven(&[found[1].id], at)).await.expect("the store answers");
    found[1].redriven_at = Some(at);
    assert_eq!(letters(store.as_ref(), &copied()).await, [found[0].clone(), found[5].clone()]);
    drop(store);
    let store = subject.open(&place).await;
    let rest = [&found[1..5], &found[6..]].concat();
    assert_eq!(letters(store.as_ref(), &uncopied()).await, rest);
    // A repeated letter counts as copied.
    let again = Append {
        group_partition: &group_partition(0),
        expected: Some(6),
        next: 7,
        events: &[],
        dead_letters: &[dead_letter(0)],
    };
    in_time("append", store.append(&again)).await.expect("the append is in order");
    assert_eq!(letters(store.as_ref(), &uncopied()).await, rest);
}

/// Letters expire by age like events.
pub async fn expiry_removes_dead_letters_that_were_found_before(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let expected = twelve_letters(store.as_ref()).await;
    assert_eq!(expire_all(store.as_ref(), expected[5].at).await, 5);
    let left = letters(store.as_ref(), &all_letters(DeadLetterFilter::default())).await;
    assert_eq!(
        left.iter().map(|letter| letter.at).collect::<Vec<_>>(),
        expected[5..].iter().map(|l| l.at).collect::<Vec<_>>()
    );
}

/// Events with distinct ids, a microsecond apart.
fn numbered(n: u32) -> LogEvent<'static> {
    event(Uuid::from_u128(n.into()), time(EPOCH + i64::from(n)))
}

/// Counts agree with query results, for events before and after 1970 and for every kind of range.
pub async fn counts_are_those_of_the_bucket_and_level(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut consumer = Consumer::of(store.as_ref(), group_partition(0));
    let times = [-7_200_000_000, -3_600_000_001, -3_600_000_000, -1, 0, 1, 3_599_999_999, 3_600_000_000, 9_000_000_000];
    let events: Vec<_> = times
        .iter()
        .flat_map(|micros| Level::ALL.map(|level| (*micros, level)))
        .zip(1..)
        .filter(|(_, n)| n % 5 != 0)
        .map(|((micros, level), n)| LogEvent { timestamp: time(micros), level, ..numbered(n) })
        .collect();
    consumer.append(events.clone()).await;
    for (from, to, seconds) in [
        (Timestamp::MIN, Timestamp::MAX, 3_600),
        (Timestamp::MIN, Timestamp::MAX, 86_400 * 365),
        (time(-3_600_000_000), time(3_600_000_000), 3_600),
        (time(-3_600_000_001), time(3_600_000_001), 7),
        (time(1), time(2), 1),
        (time(10), time(11), 1),
    ] {
        let query = StatsQuery {
            filter: EventFilter::between(Some(from), Some(to)),
            interval: Duration::from_secs(seconds),
            by: GroupBy::Level,
            time_max: None,
        };
        let expected = counts(&events, &query);
        let counted = in_time("stats", store.stats(&query)).await.expect("the store answers");
        assert_eq!(counted, expected, "{query:?}");
    }
}

/// The answer to a request for counts over `events` by the rules of the domain.
fn counts<'e>(events: impl IntoIterator<Item = &'e LogEvent<'static>>, query: &StatsQuery) -> Counts {
    let mut counts = Counts::default();
    events.into_iter().filter(|event| query.filter.matches(event)).for_each(|event| counts.add(query, event));
    counts
}

/// Any tree of conditions, on pages in every order, in counts by every kind of value, and in a tail, over events with every
/// kind of metadata.
pub async fn any_filter_finds_what_its_rule_says(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let start = tail(store.as_ref(), None, &EventFilter::default(), 1).await.end;
    let mut seed = Seed::new(14);
    let mut consumer = Consumer::of(&*store, group_partition(0));
    for _ in 0..3 {
        consumer.append(searchable_events(&mut seed, 100)).await;
    }
    let events = &consumer.appended;
    let groups = ["userId", "http.status", "tags", "a.b", "none"].map(|name| GroupBy::Metadata(name.to_owned()));
    let groups: Vec<GroupBy> = groups.into_iter().chain([GroupBy::Level, GroupBy::Source, GroupBy::TraceId]).collect();
    let (mut found, mut left_out) = (0, 0);
    let filters = subject.filters();
    for round in 0..filters {
        let filter = any_filter(&mut seed, 4);
        let ask = LogQuery {
            order: *seed.pick(&ORDERS),
            after: seed.one_in(3).then(|| key(seed.pick(events))),
            limit: if seed.one_in(2) { PAGE_EVENTS_MAX } else { 1 + u32::try_from(seed.below(20)).unwrap_or(0) },
            ..only(filter.clone())
        };
        assert_answers(&*store, events, &ask).await;
        let matching = events.iter().filter(|stored| filter.matches(&stored.event)).count();
        found += usize::from(matching > 0);
        left_out += usize::from(matching < events.len());
        let query = StatsQuery {
            filter: filter.clone().and(EventFilter::between(Some(time(EPOCH)), None)),
            interval: Duration::from_secs(1 + seed.below(10) as u64),
            by: seed.pick(&groups).clone(),
            time_max: None,
        };
        let counted = in_time("stats", store.stats(&query)).await.expect("the store answers");
        assert_eq!(counted, counts(events.iter().map(|stored| &stored.event), &query), "{query:?}");
        if round % 20 == 0 {
            let tailed = tail_all(store.as_ref(), start, &filter, 50).await;
            let expected: Vec<_> = events.iter().filter(|stored| filter.matches(&stored.event)).collect();
            assert_eq!(tailed.iter().map(|(_, event)| event).collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
    assert!(found > filters / 2 && left_out > filters / 2, "{found} found, {left_out} left out: no variety");
}

async fn tail(store: &dyn LogStore, after: Option<u64>, filter: &EventFilter, limit: u32) -> TailPage {
    let query = TailQuery { filter: filter.clone(), after, limit };
    in_time("tail", store.tail(&query)).await.expect("the store answers")
}

/// Reads to the end.
async fn tail_all(store: &dyn LogStore, mut after: u64, filter: &EventFilter, limit: u32) -> Vec<(u64, StoredEvent)> {
    let mut all = Vec::new();
    loop {
        let page = tail(store, Some(after), filter, limit).await;
        assert!(page.events.len() <= limit as usize);
        assert!(page.events.iter().all(|(sequence, _)| (after + 1..=page.scanned).contains(sequence)), "{page:?}");
        all.extend(page.events);
        if page.scanned == page.end {
            return all;
        }
        assert!(page.scanned > after, "a tail makes progress");
        after = page.scanned;
    }
}

/// From the start, from the end and from anywhere, in pages of any size.
pub async fn a_tail_shows_every_event_once_in_the_order_of_storage(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let nothing = tail(store.as_ref(), None, &EventFilter::default(), 10).await;
    assert_eq!((nothing.events.len(), nothing.scanned), (0, nothing.end));
    let start = nothing.end;
    let mut consumer = Consumer::of(store.as_ref(), group_partition(0));
    // Newer and older events alternate: the order is that of arrival.
    for part in 0..5_u32 {
        consumer.append((0..7).map(|n| numbered(100 * (part % 2) + 7 * part + n))).await;
    }
    let all = tail_all(store.as_ref(), start, &EventFilter::default(), 4).await;
    assert!(all.is_sorted_by(|(a, _), (b, _)| a < b));
    assert_eq!(all.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), consumer.appended);
    let now = tail(store.as_ref(), None, &EventFilter::default(), 10).await;
    assert_eq!((now.events.len(), now.scanned), (0, all[34].0));
    assert_eq!(tail_all(store.as_ref(), all[20].0, &EventFilter::default(), 100).await, all[21..]);
    consumer.append([numbered(999)]).await;
    let new = tail_all(store.as_ref(), now.scanned, &EventFilter::default(), 1).await;
    assert_eq!(new.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), consumer.appended[35..]);
}

/// A tail without matches still reaches the end.
pub async fn a_tail_follows_its_filter_and_reports_how_far_it_read(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let start = tail(store.as_ref(), None, &EventFilter::default(), 1).await.end;
    let events = varied(store.as_ref()).await;
    let mut seed = Seed::new(11);
    for _ in 0..60 {
        let filter = some_filter(&mut seed, &events);
        let found = tail_all(store.as_ref(), start, &filter, 50).await;
        let expected: Vec<_> = events.iter().filter(|stored| filter.matches(&stored.event)).collect();
        assert_eq!(found.iter().map(|(_, event)| event).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

/// Not after the newest events have expired, and not after reopening.
pub async fn a_sequence_number_is_never_assigned_twice(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut consumer = Consumer::of(store.as_ref(), group_partition(0));
    consumer.append((0..10).map(numbered)).await;
    let end = tail(store.as_ref(), None, &EventFilter::default(), 1).await.end;
    expire_all(store.as_ref(), Timestamp::MAX).await;
    let position = consumer.position;
    drop(store);
    let store = subject.open(&place).await;
    assert!(tail(store.as_ref(), None, &EventFilter::default(), 1).await.end >= end);
    let mut consumer = Consumer { position, ..Consumer::of(store.as_ref(), group_partition(0)) };
    consumer.append([numbered(50)]).await;
    let new = tail_all(store.as_ref(), end, &EventFilter::default(), 10).await;
    assert_eq!(new.len(), 1);
    assert!(new[0].0 > end);
}

/// Asserts that a page of items of these sizes ends where it should.
fn assert_page_ends(sizes: &[usize], limit: u32, bytes_max: usize, more: bool) {
    let limit = limit as usize;
    let bytes: usize = sizes.iter().sum();
    let before_last = bytes - sizes.last().copied().unwrap_or(0);
    assert!(sizes.len() <= limit, "{} items in a page of {limit}", sizes.len());
    assert!(before_last < bytes_max, "an item after {before_last} bytes in a page of {bytes_max}");
    assert!(!more || bytes >= bytes_max || sizes.len() == limit, "{} items of {bytes} bytes are too few", sizes.len());
}

/// About 30 MB of events with alternating large parts, and small ones among them; every seventh has a distinct text.
fn large_events(seed: &mut Seed) -> Vec<LogEvent<'static>> {
    (0..200)
        .map(|n| {
            // With non-ASCII characters, which a store may have to compare itself.
            let text = if n % 7 == 0 { "Ünique" } else { "ünlike" };
            let (mut message, mut stack_trace, mut metadata) = (text.to_owned(), None, None);
            match seed.below(10) {
                0 => message.push_str(&"ü".repeat(100_000)),
                1 => metadata = Some(format!("{{\"m\":\"{}\"}}", "m".repeat(60_000))),
                2 => {}
                _ => stack_trace = Some("at x\n".repeat(20_000 + seed.below(30_000)).into()),
            }
            LogEvent {
                message: message.into(),
                stack_trace,
                metadata: metadata.map(|json| Metadata::from_checked(json.into())),
                ..numbered(n)
            }
        })
        .collect()
}

fn sizes<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Vec<usize> {
    events.into_iter().map(StoredEvent::bytes).collect()
}

/// [`PAGE_BYTES_MAX`] and [`TAIL_BYTES_MAX`]: a page never exceeds what memory should hold, each page continues where the
/// previous one ended, and each is as full as allowed.
pub async fn pages_of_large_events_are_bounded_and_complete(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let start = tail(store.as_ref(), None, &EventFilter::default(), 1).await.end;
    let mut consumer = Consumer::of(store.as_ref(), group_partition(0));
    let events = large_events(&mut Seed::new(19));
    for events in events.chunks(20) {
        consumer.append(events.to_vec()).await;
    }
    let stored = &consumer.appended;
    for (limit, filter) in [
        (PAGE_EVENTS_MAX, EventFilter::default()),
        (7, EventFilter::default()),
        (PAGE_EVENTS_MAX, EventFilter::message("üNIQUE")),
        (3, EventFilter::message("üNIQUE")),
    ] {
        let mut ask = LogQuery { limit, ..only(filter.clone()) };
        let mut found = Vec::new();
        loop {
            let page = page(store.as_ref(), &ask).await;
            assert_page_ends(&sizes(&page.items), limit, PAGE_BYTES_MAX, page.more);
            ask.after = page.next();
            found.extend(page.items);
            if ask.after.is_none() {
                break;
            }
        }
        let all = LogQuery { limit: u32::MAX, ..only(filter.clone()) };
        // Too large to print.
        assert!(without_metadata(found) == without_metadata(answer(stored, &all)), "{limit} {filter:?}");

        let (mut after, mut found) = (start, Vec::new());
        loop {
            let page = tail(store.as_ref(), Some(after), &filter, limit).await;
            // With a text, rows examined without a match count as well.
            let more = page.scanned < page.end && filter.candidates().exact;
            assert_page_ends(&sizes(page.events.iter().map(|(_, event)| event)), limit, TAIL_BYTES_MAX, more);
            found.extend(page.events.into_iter().map(|(_, event)| event));
            if page.scanned == page.end {
                break;
            }
            assert!(page.scanned > after, "a tail makes progress");
            after = page.scanned;
        }
        let expected = stored.iter().filter(|stored| filter.matches(&stored.event)).cloned().collect();
        assert!(without_metadata(found) == without_metadata(expected), "{limit} {filter:?}");
    }
}

/// The same for dead letters.
pub async fn pages_of_large_dead_letters_are_bounded_and_complete(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let store = subject.open(&place).await;
    let mut seed = Seed::new(20);
    let values: Vec<_> = (0..200).map(|_| vec![0xff; *seed.pick(&[0, 100_000, 200_000, 999_000])]).collect();
    for (from, values) in (0..).step_by(20).zip(values.chunks(20)) {
        let letters: Vec<_> =
            (from..).zip(values).map(|(offset, value)| DeadLetter { value, ..dead_letter(offset) }).collect();
        let expected = Some(from).filter(|from| *from > 0);
        let append = Append {
            group_partition: &group_partition(0),
            expected,
            next: from + 20,
            events: &[],
            dead_letters: &letters,
        };
        in_time("append", store.append(&append)).await.expect("the append is in order");
    }
    for limit in [1_000, 7] {
        let mut ask = DeadLetterQuery { limit, ..DeadLetterQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = in_time("dead letters", store.dead_letters(&ask)).await.expect("the store answers");
            let sizes: Vec<_> = page.items.iter().map(StoredDeadLetter::bytes).collect();
            assert_page_ends(&sizes, limit, PAGE_BYTES_MAX, page.more);
            ask.after = page.next();
            found.extend(page.items.into_iter().map(|letter| (letter.offset, letter.value)));
            if ask.after.is_none() {
                break;
            }
        }
        assert!(found.into_iter().eq((0..).zip(values.iter().cloned())), "{limit}: each once and in order");
    }
}

/// Everything reported by an append survives, and appends continue at the same position.
pub async fn everything_exists_after_reopening(subject: &impl StoreSubject) {
    let place = subject.place().await;
    let mut events = Vec::new();
    let mut seed = Seed::new(18);
    let mut expected = None;
    for _ in 0..3 {
        let store = subject.open(&place).await;
        assert_eq!(position(&*store, &group_partition(0)).await, expected);
        assert_answers(&*store, &events, &everything()).await;
        let mut consumer = Consumer { position: expected, ..Consumer::of(&*store, group_partition(0)) };
        let repeats: Vec<_> = events.iter().map(|stored: &StoredEvent| stored.event.clone()).collect();
        let count = repeats.len();
        assert_eq!(consumer.append(repeats).await.deduplicated, count, "stored events are still known");
        consumer.appended.clear();
        assert_eq!(consumer.append(varied_events(&mut seed, 100)).await.stored, 100);
        events.append(&mut consumer.appended);
        expected = consumer.position;
        drop(store);
    }
    let store = subject.open(&place).await;
    assert_answers(&*store, &events, &everything()).await;
}
