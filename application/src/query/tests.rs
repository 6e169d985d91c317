use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::MockLogStore;
use testkit::FixedClock;

use super::*;
use crate::search::Parameters;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds * 1_000_000).expect("in range")
}

fn query(store: MockLogStore, now: i64) -> Query {
    Query::new(Arc::new(store), Arc::new(FixedClock(at(now))))
}

fn everything() -> Search {
    Search::of(EventFilter::default())
}

fn request(from: Option<i64>, to: Option<i64>, interval: Option<Duration>) -> StatsRequest {
    let time = |seconds: i64| at(seconds).text().as_str().to_owned();
    let parameters = Parameters { from: from.map(time), to: to.map(time), ..Parameters::default() };
    let search = parameters.search(at(0)).expect("valid");
    StatsRequest { search, interval, by: GroupBy::Level, sparse: false }
}

/// Statistics of a store that has one ERROR and two INFO events in the bucket of each of these seconds.
fn stats(now: i64, seconds: &'static [i64]) -> Query {
    let mut store = MockLogStore::new();
    store.expect_stats().returning(move |query| {
        let mut counts = Counts::default();
        for second in seconds {
            counts.add_events(query.bucket_of(at(*second)), Level::Info.name(), 2);
            counts.add_events(query.bucket_of(at(*second)), Level::Error.name(), 1);
        }
        Ok(counts)
    });
    query(store, now)
}

#[tokio::test]
async fn statistics_have_every_bucket_of_the_range_unless_they_are_sparse() {
    let query = stats(0, &[-1, 121]);
    let mut request = request(Some(-61), Some(180), Some(Duration::from_secs(60)));
    let stats = query.stats(&request).await.expect("counts");
    let starts: Vec<i64> = stats.buckets.keys().map(|start| start.unix_micros() / 1_000_000).collect();
    assert_eq!(starts, [-120, -60, 0, 60, 120]);
    let counted = BTreeMap::from([("ERROR".to_owned(), 1), ("INFO".to_owned(), 2)]);
    for (start, bucket) in &stats.buckets {
        let expected = if [at(-60), at(120)].contains(start) { counted.clone() } else { BTreeMap::new() };
        assert_eq!((&bucket.values, bucket.other), (&expected, 0));
    }
    request.sparse = true;
    let sparse = query.stats(&request).await.expect("counts");
    assert_eq!(sparse.buckets.keys().copied().collect::<Vec<_>>(), [at(-60), at(120)]);
}

#[tokio::test]
async fn statistics_cover_the_last_hour_by_default_and_choose_a_suitable_interval() {
    let stats = stats(10_000, &[]);
    let hour = stats.stats(&request(None, None, None)).await.expect("counts");
    assert_eq!((hour.from, hour.to), (at(6_400), at(10_000)));
    assert_eq!((hour.interval, hour.buckets.len()), (Duration::from_secs(60), 61));
    for (from, interval, buckets) in [(9_990, 1, 10), (9_000, 10, 100), (-10_000_000, 24 * 3_600, 117)] {
        let counted = stats.stats(&request(Some(from), None, None)).await.expect("counts");
        assert_eq!((counted.interval.as_secs(), counted.buckets.len()), (interval, buckets), "{from}");
    }
    let (first, last) = (Timestamp::MIN.unix_micros() / 1_000_000, Timestamp::MAX.unix_micros() / 1_000_000);
    let all = stats.stats(&request(Some(first), Some(last), None)).await.expect("counts");
    assert!(all.buckets.len() <= 121, "{}", all.buckets.len());
}

#[tokio::test]
async fn statistics_may_begin_with_the_first_matching_event() {
    let since_first = |events: &'static [i64]| {
        let mut store = MockLogStore::new();
        store.expect_query().returning(move |query| {
            assert_eq!((query.order.direction, query.limit), (Direction::OldestFirst, 1));
            let event = |second: &i64| {
                let mut stored = stored(1, None);
                stored.event.timestamp = at(*second);
                stored
            };
            let items: Vec<_> =
                events.iter().map(event).filter(|stored| query.filter.matches(&stored.event)).take(1).collect();
            Ok(Page { items, more: true })
        });
        store.expect_stats().returning(|_| Ok(Counts::default()));
        query(store, 10_000)
    };
    let search = |to: Option<&str>, source: &str| {
        let (from, to) = (Some("first".to_owned()), to.map(str::to_owned));
        let parameters = Parameters { from, to, sources: vec![source.to_owned()], ..Parameters::default() };
        parameters.search(at(10_000)).expect("valid")
    };
    let stats = |search| StatsRequest { search, interval: None, by: GroupBy::Level, sparse: false };
    let query = since_first(&[-20_000_000, 4_000]);
    let all = query.stats(&stats(search(None, "shop"))).await.expect("counts");
    assert_eq!((all.from, all.to), (at(-20_000_000), at(10_000)));
    assert!(all.buckets.len() <= 121, "{}", all.buckets.len());
    let values = query.values(&search(None, "shop"), GroupBy::Source, None).await.expect("values");
    assert_eq!((values.from, values.to), (at(-20_000_000), at(10_000)));
    // No event matches, or the first one is not before the end.
    let half = at(1_000).checked_add(Duration::from_millis(500)).expect("in range");
    for (to, source, end) in [(None, "other", at(10_000)), (Some("1970-01-01T00:16:40.500Z"), "shop", half)] {
        let query = since_first(&[4_000]);
        let none = query.stats(&stats(search(to, source))).await.expect("counts");
        assert_eq!((none.from, none.to, none.buckets.len()), (end, end, 0), "{to:?}");
        let values = query.values(&search(to, source), GroupBy::Source, None).await.expect("values");
        assert_eq!((values.from, values.to, values.values, values.other), (end, end, Vec::new(), 0), "{to:?}");
    }
}

#[tokio::test]
async fn invalid_statistics_and_too_many_buckets_are_refused() {
    let stats = stats(10_000, &[]);
    let seconds = Duration::from_secs;
    for (from, to, interval, at_fault) in [
        (5, 5, None, "from"),
        (0, 5, Some(Duration::from_millis(999)), "interval"),
        (0, 5, Some(Duration::MAX), "interval"),
        (0, 1_000, Some(seconds(1)), "interval"),
    ] {
        let refused = stats.stats(&request(Some(from), Some(to), interval)).await;
        assert!(matches!(refused, Err(QueryError::Invalid { parameter, .. }) if parameter == at_fault), "{from}");
    }
    let most = stats.stats(&request(Some(0), Some(999), Some(seconds(1)))).await.expect("counts");
    assert_eq!(most.buckets.len(), 999);
}

/// A store in which the value `n` was counted n times, in one of two buckets.
fn many_values() -> Query {
    let mut store = MockLogStore::new();
    store.expect_stats().returning(|query| {
        let mut counts = Counts::default();
        for n in 1..=100_u64 {
            counts.add_events(query.bucket_of(at(if n % 2 == 0 { 10 } else { 70 })), &format!("{n:03}"), n);
        }
        Ok(counts)
    });
    query(store, 100)
}

#[tokio::test]
async fn the_most_frequent_values_are_counted_and_the_rest_together() {
    let mut request = request(Some(0), Some(120), Some(Duration::from_secs(60)));
    request.by = GroupBy::Source;
    let stats = many_values().stats(&request).await.expect("counts");
    let counted: Vec<(usize, u64)> = stats.buckets.values().map(|of| (of.values.len(), of.other)).collect();
    // 81 to 100 are kept; the even ones up to 80 make 1,640, and the odd ones 1,600.
    assert_eq!(counted, [(10, 1_640), (10, 1_600)]);

    let values = many_values().values(&everything(), GroupBy::Source, Some(2)).await.expect("values");
    assert_eq!(values.values, [("100".to_owned(), 100), ("099".to_owned(), 99)]);
    assert_eq!((values.other, values.to), (5_050 - 199, at(100)));
    for limit in [0, VALUES_MAX + 1] {
        let refused = many_values().values(&everything(), GroupBy::Source, Some(limit)).await;
        assert!(matches!(refused, Err(QueryError::Invalid { parameter: "limit", .. })));
    }
}

#[tokio::test]
async fn rollups_answer_what_the_values_of_a_source_are() {
    let mut store = MockLogStore::new();
    store.expect_stats().times(1).returning(|query| {
        assert!(query.rollups().is_some(), "{query:?}");
        Ok(Counts::default())
    });
    let hour = request(Some(0), Some(3_600), None).search;
    let values = query(store, 3_600).values(&hour, GroupBy::Source, None).await.expect("values");
    assert_eq!((values.from, values.to), (at(0), at(3_600)));
}

#[tokio::test]
async fn a_narrow_range_has_more_time() {
    for (from, to, time_max_expected) in [
        (Some("-1h"), None, Some(NARROW_TIME_MAX)),
        (Some("-3h"), Some("-2h"), Some(NARROW_TIME_MAX)),
        (Some("-2h"), None, None),
        (Some("-2h"), Some("now+1d"), None),
        (None, None, None),
    ] {
        let mut store = MockLogStore::new();
        store
            .expect_query()
            .withf(move |query| query.time_max == time_max_expected)
            .times(1)
            .returning(|_| Ok(Page::default()));
        let parameters =
            Parameters { from: from.map(str::to_owned), to: to.map(str::to_owned), ..Parameters::default() };
        let search = parameters.search(at(10_000)).expect("valid");
        query(store, 10_000).page(&search, Order::default(), None, None).await.expect("a page");
    }
}

#[tokio::test]
async fn a_page_has_a_limit() {
    for limit in [0, PAGE_EVENTS_MAX + 1] {
        let page = query(MockLogStore::new(), 0).page(&everything(), Order::default(), None, Some(limit)).await;
        assert!(matches!(page, Err(QueryError::Invalid { parameter: "limit", .. })));
    }
}

fn stored(n: u64, metadata: Option<&str>) -> StoredEvent {
    let event = LogEvent {
        event_id: Uuid::from_u128(n.into()),
        id_origin: domain::event::IdOrigin::Client,
        source: "shop".into(),
        level: Level::Info,
        message: "m".into(),
        timestamp: at(0),
        received_at: at(0),
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: metadata.map(|json| Metadata::parse(json).expect("valid").into_owned()),
    };
    StoredEvent { event, topic: "logs".to_owned(), partition: 0, offset: n }
}

#[tokio::test]
async fn fields_are_counted_once_an_event_and_a_page_is_said_to_be_one() {
    for more in [false, true] {
        let mut store = MockLogStore::new();
        store.expect_query().returning(move |_| {
            let items = vec![
                stored(1, Some(r#"{"user":{"id":1,"tags":["a","b"]},"none":null}"#)),
                stored(2, Some(r#"{"user":{"id":2},"level":"err"}"#)),
                stored(3, None),
            ];
            Ok(Page { items, more })
        });
        let fields = query(store, 0).fields(&everything()).await.expect("fields");
        let counted = [("user.id", 2), ("metadata.level", 1), ("user.tags", 1)];
        assert_eq!(fields.fields, counted.map(|(name, events)| (name.to_owned(), events)));
        assert_eq!((fields.events, fields.complete), (3, !more));
    }
}

#[tokio::test]
async fn the_context_of_an_event_is_in_the_order_of_time_and_says_whether_there_is_more() {
    let mut store = MockLogStore::new();
    store.expect_find().returning(|id| Ok((id == Uuid::from_u128(5)).then(|| stored(5, None))));
    // 3 and 4 before it, 6 to 9 after it.
    store.expect_query().returning(|query| {
        let all: Vec<u64> = if query.order == CONTEXT_BEFORE { vec![4, 3] } else { vec![6, 7, 8, 9] };
        let items: Vec<_> = all.iter().take(query.limit as usize).map(|n| stored(*n, None)).collect();
        Ok(Page { more: items.len() < all.len(), items })
    });
    let query = query(store, 0);
    let context = query.context(Uuid::from_u128(5), 2, 3, ContextScope::Source, None).await.expect("the store answers");
    let context = context.expect("there is one");
    let numbers = |events: &[StoredEvent]| events.iter().map(|event| event.offset).collect::<Vec<_>>();
    assert_eq!((numbers(&context.before), numbers(&context.after)), (vec![3, 4], vec![6, 7, 8]));
    assert_eq!((context.more_before, context.more_after.map(|key| key.offset)), (None, Some(8)));
    let alone = query.context(Uuid::from_u128(5), 0, 0, ContextScope::All, None).await.expect("the store answers");
    let alone = alone.expect("there is one");
    assert!(alone.before.is_empty() && alone.after.is_empty());
    assert_eq!((alone.more_before.map(|key| key.offset), alone.more_after.map(|key| key.offset)), (Some(5), Some(5)));
    assert_eq!(
        query.context(Uuid::from_u128(6), 1, 1, ContextScope::All, None).await.expect("the store answers"),
        None
    );
    for (before, after, scope, at_fault) in [
        (CONTEXT_EVENTS_MAX + 1, 0, ContextScope::All, "before"),
        (0, CONTEXT_EVENTS_MAX + 1, ContextScope::All, "after"),
        (1, 1, ContextScope::TraceId, "scope"),
    ] {
        let refused = query.context(Uuid::from_u128(5), before, after, scope, None).await;
        assert!(matches!(refused, Err(QueryError::Invalid { parameter, .. }) if parameter == at_fault));
    }
}

#[tokio::test]
async fn a_tenant_finds_its_own_events_only_and_the_store_is_asked_for_no_others() {
    let tenant = Tenant {
        id: domain::access::TenantId::of_name("shop"),
        sources: vec!["shop-*".parse().expect("a pattern")].into(),
    };
    let mut store = MockLogStore::new();
    store.expect_find().never();
    let sources = tenant.sources.clone();
    store.expect_query().returning(move |query| {
        let event = |source: &'static str| {
            let mut stored = stored(5, None);
            stored.event.source = source.into();
            stored
        };
        assert!(!query.filter.matches(&event("SHOP-1").event), "{:?}", query.filter);
        assert!(!query.filter.matches(&event("other").event), "{:?}", query.filter);
        let all = [event("other"), event("shop-1")];
        let items: Vec<_> = all.into_iter().filter(|stored| sources.allows(&stored.event.source)).collect();
        Ok(Page { more: false, items })
    });
    let query = query(store, 0);
    let found = query.find(Uuid::from_u128(5), Some(&tenant)).await.expect("the store answers");
    assert_eq!(found.map(|stored| stored.event.source.into_owned()), Some("shop-1".to_owned()));
    let context = query.context(Uuid::from_u128(5), 1, 1, ContextScope::All, Some(&tenant)).await;
    let context = context.expect("the store answers").expect("there is one");
    assert!(context.before.iter().chain(&context.after).all(|stored| stored.event.source == "shop-1"));
    assert_ne!(everything().of_tenant(Some(&tenant)).key(), everything().key(), "an answer is cached for one tenant");
}
