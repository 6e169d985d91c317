//! Tests of the rule, and of its translation for stores.

mod exclusion;

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::access::SourcePattern;
use crate::event::IdOrigin;
use crate::metadata::Metadata;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn event(message: &str, metadata: &str) -> LogEvent<'static> {
    LogEvent {
        event_id: Uuid::from_u128(0x1234_5678_9abc),
        id_origin: IdOrigin::Client,
        source: Cow::Borrowed("Checkout-1"),
        level: Level::Warn,
        message: Cow::Owned(message.to_owned()),
        timestamp: at(1_000),
        received_at: at(2_000),
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: (!metadata.is_empty()).then(|| Metadata::parse(metadata).expect("valid metadata").into_owned()),
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(&text.split('*').collect::<Vec<_>>())
}

fn equals(name: &str, text: &str, text_only: bool) -> Condition {
    let test = ValueTest::Equals(Literal { pattern: pattern(text), text_only });
    Condition::Metadata { name: name.to_owned(), test }
}

fn number(name: &str, comparison: Comparison, text: &str) -> Condition {
    let test = ValueTest::Number(comparison, Decimal::parse(text).expect("a number"));
    Condition::Metadata { name: name.to_owned(), test }
}

#[test]
fn a_literal_matches_numbers_and_text_unless_it_is_text_only() {
    for (json, text, text_only, expected) in [
        ("12345", "12345", false, true),
        ("\"12345\"", "12345", false, true),
        ("12345", "12345", true, false),
        ("\"12345\"", "12345", true, true),
        ("1.2345e4", "12345", false, true),
        ("\"1.2345e4\"", "12345", false, false),
        ("9007199254740993", "9007199254740992", false, false),
        ("9007199254740993", "9007199254740993.0", false, true),
        ("\"Straße\"", "STRASSE", true, true),
        ("true", "TRUE", false, true),
        ("true", "true", true, false),
        ("null", "null", false, true),
        ("null", "null", true, false),
        ("null", "n*", false, false),
        ("503", "5*", false, true),
        ("503", "5*", true, false),
        ("0.5e1", "5*", false, false),
        ("\"50x\"", "5*", true, true),
        ("[1,[2,3]]", "3", false, true),
        ("[]", "3", false, false),
        ("{\"b\":1}", "1", false, false),
        ("{}", "*", false, false),
    ] {
        let event = event("m", &format!("{{\"a\":{json}}}"));
        assert_eq!(equals("a", text, text_only).matches(&event), expected, "{json} {text} {text_only}");
    }
}

#[test]
fn comparisons_work_on_numbers_and_numeric_text_and_times() {
    use Comparison::{AtLeast, AtMost, Greater, Less};
    let time = |comparison, time: &str| Condition::Metadata {
        name: "a".to_owned(),
        test: ValueTest::Time(comparison, Timestamp::parse(time).expect("a time")),
    };
    for (json, condition, expected) in [
        ("500", number("a", AtLeast, "500"), true),
        ("499.9", number("a", AtLeast, "500"), false),
        ("\"0501\"", number("a", Greater, "500"), true),
        ("\"many\"", number("a", Less, "500"), false),
        ("true", number("a", Less, "500"), false),
        ("-1e300", number("a", Less, "-1"), true),
        ("9007199254740993", number("a", AtMost, "9007199254740992"), false),
        ("[1,900]", number("a", Greater, "500"), true),
        ("\"2024-01-15T10:30:00Z\"", time(AtMost, "2024-01-15T11:30:00+01:00"), true),
        ("\"2024-01-15T10:30:00Z\"", time(Less, "2024-01-15T11:30:00+01:00"), false),
        ("\"2024\"", time(Less, "2024-01-15T11:30:00+01:00"), false),
        ("\"2024-01-15\"", time(Less, "2024-01-15T00:00:01Z"), true),
        ("\"2024-01-15\"", time(AtLeast, "2024-01-15T00:00:00Z"), true),
        ("\"2024-01-15\"", time(Greater, "2024-01-15T00:00:00Z"), false),
        ("\"2024-01-32\"", time(Greater, "2024-01-15T00:00:00Z"), false),
    ] {
        assert_eq!(condition.matches(&event("m", &format!("{{\"a\":{json}}}"))), expected, "{json} {condition:?}");
    }
}

#[test]
fn a_condition_on_an_absent_field_is_false_and_its_negation_true() {
    let bare = event("m", "");
    for condition in [
        Condition::StackTrace(Pattern::ANY),
        Condition::Id(IdField::Trace, Pattern::ANY),
        Condition::IdIs(IdField::Span, vec![0; 8]),
        equals("userId", "1", false),
        Condition::Metadata { name: "userId".to_owned(), test: ValueTest::Exists },
    ] {
        let filter = EventFilter::from(condition);
        assert!(!filter.matches(&bare) && (!filter.clone()).matches(&bare), "{filter:?}");
    }
    let exists = |json: &str| {
        let test = Condition::Metadata { name: "a".to_owned(), test: ValueTest::Exists };
        test.matches(&event("m", json))
    };
    assert!(exists(r#"{"a":0}"#) && exists(r#"{"a":{}}"#) && exists(r#"{"a":[null,""]}"#));
    assert!(!exists(r#"{"a":null}"#) && !exists(r#"{"a":[]}"#) && !exists("{}"));
}

#[test]
fn words_are_found_in_the_message_the_stack_trace_and_every_value() {
    let mut one = event("Payment FAILED", r#"{"user":{"ids":[12345,"ab\"c"],"ok":true,"none":null}}"#);
    one.stack_trace = Some(Cow::Borrowed("at Main.java"));
    for (text, expected) in [
        ("payment failed", true),
        ("main.java", true),
        ("234", true),
        ("b\"c", true),
        ("rue", true),
        ("null", false),
        ("user", false),
        ("pay*ed", true),
        ("ids\":[12", false),
        ("Checkout", false),
    ] {
        assert_eq!(Condition::Anywhere(pattern(text)).matches(&one), expected, "{text}");
    }
    assert!(Condition::Source(pattern("checkout-*")).matches(&one));
    assert!(!Condition::SourceIs("checkout-1".to_owned()).matches(&one));
    assert!(Condition::Id(IdField::Event, pattern("00000000-0000-*9ABC")).matches(&one));
}

#[test]
fn a_filter_of_one_condition_selects_what_it_names_and_nothing_else() {
    let one = LogEvent { trace_id: Some([1; 16]), span_id: Some([2; 8]), ..event("m", "") };
    let within = |text: &str| EventFilter::within(&vec![text.parse::<SourcePattern>().expect("a pattern")].into());
    let id = |field, bytes: &[u8]| EventFilter::from(Condition::IdIs(field, bytes.to_vec()));
    for (selecting, other) in [
        (EventFilter::message("M"), EventFilter::message("x")),
        (EventFilter::source("Checkout-1"), EventFilter::source("checkout-1")),
        (within("Check*"), within("check*")),
        (EventFilter::levels([Level::Warn]), EventFilter::levels([Level::Info])),
        (EventFilter::trace([1; 16]), EventFilter::trace([2; 16])),
        (id(IdField::Span, &[2; 8]), id(IdField::Span, &[1; 8])),
        (id(IdField::Event, one.event_id.as_bytes()), id(IdField::Event, &[0; 16])),
    ] {
        assert!(selecting.matches(&one) && !other.matches(&one), "{selecting:?}");
        assert!(!selecting.clone().and(other.clone()).matches(&one), "{other:?}");
    }
}

/// The clauses of a clause, and how deep they are.
fn size(clause: &Clause<'_>) -> (usize, usize) {
    match clause {
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.iter().map(size).fold((1, 1), |(count, depth), of| (count + of.0, depth.max(of.1 + 1)))
        }
        _ => (1, 1),
    }
}

#[test]
fn clauses_are_small_however_large_a_condition_is() {
    let many = Pattern::new(&vec!["ab"; 3_000]);
    let digits = "123456789".repeat(800);
    for condition in [
        Condition::Anywhere(many.clone()),
        Condition::Source(many.clone()),
        Condition::Id(IdField::Trace, many.clone()),
        equals("a", &digits, false),
        Condition::Metadata {
            name: "a".to_owned(),
            test: ValueTest::Equals(Literal { pattern: many, text_only: false }),
        },
    ] {
        let filter = EventFilter::from(condition);
        let (clauses, depth) = size(&filter.candidates().clause);
        assert!(clauses <= 50 && depth <= 6, "{clauses} clauses, {depth} deep");
    }
    let number = event("m", &format!("{{\"a\":{digits}.0}}"));
    let filter = EventFilter::from(equals("a", &digits, false));
    assert!(filter.matches(&number) && holds(&filter.candidates().clause, &number));
}

#[test]
fn times_are_a_half_open_range() {
    let one = event("m", "");
    for (from, to, expected) in [
        (None, None, true),
        (Some(1_000), None, true),
        (Some(1_001), None, false),
        (None, Some(1_000), false),
        (None, Some(1_001), true),
        (Some(1_000), Some(1_000), false),
    ] {
        let filter = EventFilter::between(from.map(at), to.map(at));
        assert_eq!(filter.matches(&one), expected, "{from:?} {to:?}");
        assert_eq!(filter.time_range().contains(&at(1_000)), expected);
    }
    assert!(!EventFilter::between(None, Some(Timestamp::MIN)).matches(&one));
    let nested = EventFilter::between(Some(at(5)), None).and(EventFilter::between(None, Some(at(9))));
    assert_eq!(nested.time_range(), at(5)..=at(8));
}

const TEXTS: [&str; 16] = [
    "timeout",
    "Time Out",
    "STRASSE",
    "straße",
    "İ",
    "i\u{307}",
    "ΣΑΣ",
    "σας",
    "100%",
    "a_b",
    "back\\slash",
    "\"q\"",
    "12345",
    "1.2345e4",
    "503",
    "",
];
const NAMES: [&str; 6] = ["userId", "http.status", "a", "a.b", "naïve", "q\"uote"];

fn some_pattern() -> impl Strategy<Value = Pattern> {
    vec(select(&TEXTS[..]), 1..3).prop_map(|parts| Pattern::new(&parts))
}

fn some_json() -> impl Strategy<Value = String> {
    let text = select(&TEXTS[..]).prop_map(|text| {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    });
    let numbers = select(
        &[
            "12345",
            "1.2345e4",
            "12345.0",
            "0.12345E5",
            "503",
            "5.03e+2",
            "500",
            "5e2",
            "0.05",
            "5e-2",
            "-0.05",
            "-5e-2",
            "-0.5E-1",
            "0",
            "-0.0",
            "0e3",
            "9007199254740993",
            "true",
            "null",
        ][..],
    );
    let leaf = prop_oneof![text, numbers.prop_map(str::to_owned)];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let members = vec((select(&NAMES[..]), inner.clone()), 0..3).prop_map(|members| {
            let mut names = BTreeSet::new();
            let members = members.into_iter().filter(|(name, _)| names.insert(*name));
            let member = |(name, value): (&str, String)| format!("\"{}\":{value}", name.replace('"', "\\\""));
            format!("{{{}}}", members.map(member).collect::<Vec<_>>().join(","))
        });
        prop_oneof![vec(inner, 0..3).prop_map(|elements| format!("[{}]", elements.join(","))), members]
    })
}

prop_compose! {
    fn some_event()(
        message in select(&TEXTS[..14]),
        source in select(&["shop", "Shop", "straße", "checkout-1"][..]),
        level in select(&Level::ALL[..]),
        times in (0_i64..5, 0_i64..5),
        stack_trace in option::of(select(&TEXTS[..])),
        trace_id in option::of(0_u8..3),
        member in option::of((select(&NAMES[..]), some_json())),
    ) -> LogEvent<'static> {
        let metadata = member.map(|(name, value)| format!("{{\"{}\":{value}}}", name.replace('"', "\\\"")));
        LogEvent {
            level,
            source: Cow::Borrowed(source),
            timestamp: at(times.0),
            received_at: at(times.1),
            stack_trace: stack_trace.map(Cow::Borrowed),
            trace_id: trace_id.map(|byte| [byte; 16]),
            ..event(message, &metadata.unwrap_or_default())
        }
    }
}

fn some_condition() -> impl Strategy<Value = Condition> {
    let id = || select(&[IdField::Event, IdField::Trace, IdField::Span][..]);
    let id_pattern = select(&["", "01", "12", "0000-0000", "é"][..]);
    let comparison = select(&[Comparison::Less, Comparison::AtMost, Comparison::Greater, Comparison::AtLeast][..]);
    let numbers = || select(&["12345", "503", "500", "0", "0.05", "-0.05", "9007199254740992"][..]);
    prop_oneof![
        some_pattern().prop_map(Condition::Anywhere),
        some_pattern().prop_map(Condition::Message),
        some_pattern().prop_map(Condition::StackTrace),
        select(&["shop", "Shop"][..]).prop_map(|source| Condition::SourceIs(source.to_owned())),
        select(&["shop", "STRASSE", "check*", "*", "s*"][..]).prop_map(|text| Condition::Source(pattern(text))),
        subsequence(&["shop", "Shop", "sh*", "S*p", "*", "%"][..], 0..3).prop_map(|patterns| {
            let patterns: Vec<SourcePattern> = patterns.iter().map(|text| text.parse().expect("a pattern")).collect();
            Condition::SourceWithin(patterns.into())
        }),
        subsequence(&Level::ALL[..], 0..4).prop_map(|levels| Condition::Levels(levels.into_iter().collect())),
        (0_i64..5, 0_i64..5, any::<bool>()).prop_map(|(from, to, received)| {
            let field = if received { TimeField::ReceivedAt } else { TimeField::Timestamp };
            Condition::Time(field, at(from)..=at(to))
        }),
        (id(), 0_u8..3).prop_map(|(field, byte)| Condition::IdIs(field, vec![byte; 16])),
        (id(), id_pattern).prop_map(|(field, text)| Condition::Id(field, pattern(text).contained())),
        (select(&NAMES[..]), some_pattern(), any::<bool>()).prop_map(|(name, pattern, text_only)| {
            let test = ValueTest::Equals(Literal { pattern, text_only });
            Condition::Metadata { name: name.to_owned(), test }
        }),
        (select(&NAMES[..]), numbers()).prop_map(|(name, text)| equals(name, text, false)),
        (select(&NAMES[..]), comparison, numbers()).prop_map(|(name, how, text)| number(name, how, text)),
        select(&NAMES[..]).prop_map(|name| Condition::Metadata { name: name.to_owned(), test: ValueTest::Exists }),
    ]
}

fn some_filter() -> impl Strategy<Value = EventFilter> {
    some_condition().prop_map(EventFilter::from).prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(EventFilter::All),
            vec(inner.clone(), 0..4).prop_map(EventFilter::Any),
            inner.prop_map(|filter| !filter),
        ]
    })
}

/// What a store does with a clause.
fn holds(clause: &Clause<'_>, event: &LogEvent<'_>) -> bool {
    let text = |column: TextColumn| -> Option<String> {
        match column {
            TextColumn::Source => Some(event.source.to_string()),
            TextColumn::Message => Some(event.message.to_string()),
            TextColumn::StackTrace => event.stack_trace.as_ref().map(ToString::to_string),
            TextColumn::Metadata => event.metadata.as_ref().map(|metadata| metadata.as_json().to_owned()),
            TextColumn::EventId => Some(to_hex(event.event_id.as_bytes())),
            TextColumn::TraceId => event.trace_id.as_ref().map(|id| to_hex(id)),
            TextColumn::SpanId => event.span_id.as_ref().map(|id| to_hex(id)),
        }
    };
    match clause {
        Clause::All(clauses) => clauses.iter().all(|clause| holds(clause, event)),
        Clause::Any(clauses) => clauses.iter().any(|clause| holds(clause, event)),
        Clause::Contains(column, part) => {
            assert!(*part == part.to_ascii_lowercase(), "{part}");
            text(*column).is_some_and(|text| text.to_ascii_lowercase().contains(part))
        }
        Clause::ContainsExactly(column, part) => text(*column).is_some_and(|text| text.contains(part)),
        Clause::Exponent(column) => text(*column).is_some_and(|text| {
            let sign_or_digit = |byte: u8| byte.is_ascii_digit() || b"+-".contains(&byte);
            let bytes = text.as_bytes();
            bytes.windows(3).any(|of| of[0].is_ascii_digit() && b"eE".contains(&of[1]) && sign_or_digit(of[2]))
        }),
        Clause::BeyondAscii(column) => text(*column).is_some_and(|text| !text.is_ascii()),
        Clause::Exact { condition, negated } => {
            *negated
                != match condition {
                    ExactCondition::SourceIs(source) => event.source == *source,
                    ExactCondition::Levels(levels) => levels.contains(&event.level),
                    ExactCondition::Time(TimeField::Timestamp, range) => range.contains(&event.timestamp),
                    ExactCondition::Time(TimeField::ReceivedAt, range) => range.contains(&event.received_at),
                    ExactCondition::IdIs(field, bytes) => field.bytes(event) == Some(*bytes),
                    ExactCondition::Present(Column::StackTrace) => event.stack_trace.is_some(),
                    ExactCondition::Present(Column::TraceId) => event.trace_id.is_some(),
                    ExactCondition::Present(Column::SpanId) => event.span_id.is_some(),
                }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_match_is_a_candidate_and_exact_candidates_match(filter in some_filter(), event in some_event()) {
        let candidates = filter.candidates();
        let candidate = holds(&candidates.clause, &event);
        prop_assert!(candidate || !filter.matches(&event), "{:?}", candidates);
        prop_assert!(!candidates.exact || candidate == filter.matches(&event), "{:?}", candidates);
        prop_assert!(!filter.matches(&event) || filter.time_range().contains(&event.timestamp));
    }

    #[test]
    fn not_is_the_opposite_and_lists_are_all_and_any(filters in vec(some_filter(), 0..3), event in some_event()) {
        let each: Vec<bool> = filters.iter().map(|filter| filter.matches(&event)).collect();
        prop_assert_eq!(EventFilter::All(filters.clone()).matches(&event), each.iter().all(|one| *one));
        prop_assert_eq!(EventFilter::Any(filters.clone()).matches(&event), each.iter().any(|one| *one));
        for (filter, matches) in filters.into_iter().zip(each) {
            prop_assert_eq!((!filter.clone()).matches(&event), !matches);
            prop_assert_eq!(filter.clone().and(EventFilter::default()).matches(&event), matches);
        }
    }
}
