//! What the translation of a filter excludes, and where it is exact. The rule would find the same events without that, but a
//! store would read every row.

use super::*;

fn is_candidate(filter: &EventFilter, event: &LogEvent<'_>) -> bool {
    holds(&filter.candidates().clause, event)
}

fn test(name: &str, test: ValueTest) -> Condition {
    Condition::Metadata { name: name.to_owned(), test }
}

#[test]
fn events_without_what_a_condition_names_are_no_candidates() {
    let other = event("all is well", r#"{"a":"x","b":"yes","n":7}"#);
    let conditions = vec![
        Condition::Message(pattern("timeout")),
        Condition::Message(pattern("time*out")),
        Condition::Message(pattern("12345")),
        Condition::Message(pattern("Σ")),
        Condition::StackTrace(pattern("timeout")),
        Condition::Anywhere(pattern("timeout")),
        Condition::Anywhere(pattern("12345")),
        Condition::Source(pattern("search-*")),
        Condition::Id(IdField::Event, pattern("ffff*")),
        Condition::Id(IdField::Event, pattern("*-ffff-*")),
        Condition::Id(IdField::Event, pattern("é*")),
        Condition::Id(IdField::Trace, pattern("0a*")),
        Condition::Id(IdField::Span, pattern("0a*")),
        equals("a", "yes", false),
        equals("a", "*zzz", true),
        equals("a", "Σ", false),
        equals("c", "x", false),
        equals("c", "*x", true),
        equals("n", "8", false),
        equals("n", "7.5", false),
        equals("n", "0", false),
        equals("n", &"1".repeat(30), false),
        equals("c", "7", false),
        number("c", Comparison::Less, "5"),
        test("c", ValueTest::Exists),
        test("c", ValueTest::Time(Comparison::Less, at(5))),
    ];
    for condition in conditions {
        let filter = EventFilter::from(condition);
        assert!(!is_candidate(&filter, &other), "{filter:?}");
        // Conditions that say nothing do not hide those that do, and neither do others that exclude the event.
        let nothing = !EventFilter::message("x");
        let more = EventFilter::All(vec![nothing.clone(), filter.clone(), EventFilter::levels(Level::ALL)]);
        assert!(!is_candidate(&more, &other), "{more:?}");
        let either = EventFilter::Any(vec![filter.clone(), EventFilter::source("search")]);
        assert!(!is_candidate(&either, &other), "{either:?}");
        assert!(is_candidate(&EventFilter::Any(vec![filter, nothing]), &other));
    }
}

#[test]
fn a_text_without_letters_and_a_whole_value_exclude_more() {
    let beyond_ascii = event("é", r#"{"a":"é"}"#);
    assert!(!is_candidate(&Condition::Message(pattern("12345")).into(), &beyond_ascii));
    assert!(is_candidate(&Condition::Message(pattern("kelvin")).into(), &beyond_ascii));
    assert!(!is_candidate(&equals("a", "12345", true).into(), &beyond_ascii));
    let longer = event("m", r#"{"a":"xy"}"#);
    assert!(!is_candidate(&equals("a", "x", true).into(), &longer));
    assert!(is_candidate(&equals("a", "x*", true).into(), &longer));
}

#[test]
fn what_a_store_can_check_is_exact_in_every_combination() {
    let exact: Vec<EventFilter> = vec![
        EventFilter::default(),
        EventFilter::Any(Vec::new()),
        EventFilter::source("shop"),
        EventFilter::levels([Level::Warn]),
        EventFilter::between(Some(at(1)), Some(at(5))),
        Condition::Time(TimeField::ReceivedAt, at(1)..=at(5)).into(),
        EventFilter::trace([1; 16]),
        Condition::IdIs(IdField::Span, vec![1; 8]).into(),
        Condition::Message(pattern("")).into(),
        Condition::Anywhere(pattern("*")).into(),
        Condition::StackTrace(Pattern::ANY).into(),
        Condition::Source(Pattern::ANY).into(),
        Condition::Id(IdField::Event, Pattern::ANY).into(),
        Condition::Id(IdField::Trace, Pattern::ANY).into(),
        Condition::Id(IdField::Span, Pattern::ANY).into(),
    ];
    for filter in &exact {
        assert!(filter.candidates().exact, "{filter:?}");
        assert!((!filter.clone()).candidates().exact, "not {filter:?}");
    }
    assert!(EventFilter::All(exact.clone()).candidates().exact && EventFilter::Any(exact.clone()).candidates().exact);
    assert!((!EventFilter::All(exact.clone())).candidates().exact);
    let patterns: Vec<SourcePattern> = ["shop", "cart"].iter().map(|text| text.parse().expect("a pattern")).collect();
    assert!(EventFilter::within(&patterns.into()).candidates().exact);
    for condition in [
        Condition::Message(pattern("x")),
        Condition::Anywhere(pattern("x")),
        Condition::StackTrace(pattern("x")),
        Condition::Source(pattern("x*")),
        Condition::Id(IdField::Trace, pattern("0*")),
        test("a", ValueTest::Exists),
    ] {
        let inexact = EventFilter::from(condition);
        assert!(!inexact.candidates().exact && !(!inexact.clone()).candidates().exact, "{inexact:?}");
        let all: Vec<EventFilter> = [inexact].into_iter().chain(exact.clone()).collect();
        assert!(!EventFilter::All(all.clone()).candidates().exact && !EventFilter::Any(all).candidates().exact);
    }
}

#[test]
fn a_filter_may_say_nothing_but_a_range_of_time() {
    let (early, late) = (EventFilter::between(Some(at(5)), None), EventFilter::between(None, Some(at(9))));
    assert_eq!(early.only_time_range(), Some(at(5)..=Timestamp::MAX));
    assert_eq!(early.clone().and(late.clone()).only_time_range(), Some(at(5)..=at(8)));
    assert_eq!(EventFilter::default().only_time_range(), Some(Timestamp::MIN..=Timestamp::MAX));
    for more in [
        early.clone().and(EventFilter::source("shop")),
        EventFilter::Any(vec![early.clone(), late]),
        !early,
        Condition::Time(TimeField::ReceivedAt, at(1)..=at(2)).into(),
    ] {
        assert_eq!(more.only_time_range(), None, "{more:?}");
    }
}

#[test]
fn a_text_that_is_a_whole_id_has_its_bytes() {
    let id = Uuid::from_u128(7);
    assert_eq!(IdField::Event.parse(&id.to_string()), Some(id.as_bytes().to_vec()));
    assert_eq!(IdField::Trace.parse(&"0A".repeat(16)), Some(vec![10; 16]));
    assert_eq!(IdField::Span.parse(&"0a".repeat(8)), Some(vec![10; 8]));
    for field in [IdField::Event, IdField::Trace, IdField::Span] {
        assert_eq!(field.parse("0a0a"), None);
    }
}
