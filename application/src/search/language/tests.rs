use proptest::prelude::*;

use domain::filter::{Comparison, Condition, Literal, ValueTest};
use domain::level::Level;

use super::*;

fn now() -> Timestamp {
    Timestamp::parse("2024-01-15T10:30:00Z").expect("a time")
}

fn parse(text: &str) -> EventFilter {
    parse_query(text, now()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn word(text: &str) -> EventFilter {
    Condition::Anywhere(Pattern::text(text)).into()
}

fn equals(name: &str, text: &str, text_only: bool) -> EventFilter {
    let test = ValueTest::Equals(Literal { pattern: Pattern::text(text), text_only });
    Condition::Metadata { name: name.to_owned(), test }.into()
}

fn all<const N: usize>(filters: [EventFilter; N]) -> EventFilter {
    EventFilter::All(filters.into())
}

fn any<const N: usize>(filters: [EventFilter; N]) -> EventFilter {
    EventFilter::Any(filters.into())
}

#[test]
fn a_name_is_written_as_the_language_reads_it() {
    for (name, written) in [
        ("userId", "userId"),
        ("http.status-code/x_1", "http.status-code/x_1"),
        ("größe", "größe"),
        ("NOT", "\"NOT\""),
        ("user id", "\"user id\""),
        ("7up", "\"7up\""),
        ("-x", "\"-x\""),
        ("a:b", "\"a:b\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
    ] {
        assert_eq!(written_name(name), written);
        assert_eq!(parse(&format!("{written}:x")), equals(name, "x", false), "{written}");
    }
    assert_eq!(written_name(""), "\"\"");
}

#[test]
fn and_binds_tighter_than_or_and_neighbours_are_and() {
    let [a, b, c] = ["a", "b", "c"].map(word);
    for (text, filter) in [
        ("a", a.clone()),
        (" ( a ) ", a.clone()),
        ("a b", all([a.clone(), b.clone()])),
        ("a AND b c", all([a.clone(), b.clone(), c.clone()])),
        ("a OR b c", any([a.clone(), all([b.clone(), c.clone()])])),
        ("(a OR b)c", all([any([a.clone(), b.clone()]), c.clone()])),
        ("NOT a b", all([!a.clone(), b.clone()])),
        ("-a OR NOT (b c)", any([!a.clone(), !all([b.clone(), c.clone()])])),
        ("NOT NOT a", !!a.clone()),
        ("a-b", word("a-b")),
        ("- a", all([word("-"), a.clone()])),
        ("--a", word("--a")),
        ("\"or\" border nothing", all([word("or"), word("border"), word("nothing")])),
        ("ORDER", word("order")),
        ("\"AND\"", word("and")),
    ] {
        assert_eq!(parse(text), filter, "{text}");
    }
}

#[test]
fn words_may_be_addresses_and_times_and_phrases_are_taken_as_they_are() {
    for (text, expected) in [
        ("http://x/y?z=1", "http://x/y?z=1"),
        ("12:30:05", "12:30:05"),
        ("\"payment failed: (no) *\"", "payment failed: (no) *"),
        (r#""say \"hi\" \\ x""#, "say \"hi\" \\ x"),
        (r"a\:b", "a:b"),
        (r"\*", "*"),
        ("?a=b", "?a=b"),
        ("12=b", "12=b"),
        ("\"a=b\"", "a=b"),
        ("\"{a=b}\"", "{a=b}"),
        ("{a}", "{a}"),
        (r"a\=b", "a=b"),
        ("naïve", "naïve"),
    ] {
        assert_eq!(parse(text), word(expected), "{text}");
    }
    assert_eq!(parse("time*out"), Condition::Anywhere(Pattern::new(&["time", "out"])).into());
}

#[test]
fn conditions_on_fields_have_the_type_of_the_field() {
    let levels = |levels: &[Level]| EventFilter::from(Condition::Levels(levels.iter().copied().collect()));
    let warn_and_above = levels(&[Level::Warn, Level::Error, Level::Fatal]);
    let number = |comparison, text: &str| {
        let test = ValueTest::Number(comparison, domain::filter::Decimal::parse(text).expect("a number"));
        EventFilter::from(Condition::Metadata { name: "http.status".to_owned(), test })
    };
    let named = |name: &str, test| EventFilter::from(Condition::Metadata { name: name.to_owned(), test });
    for (text, filter) in [
        ("level:error", levels(&[Level::Error])),
        ("level>=WARN", warn_and_above.clone()),
        ("level >= warning", warn_and_above.clone()),
        ("level:>=WARN", warn_and_above.clone()),
        ("level:WARN+", warn_and_above),
        ("level<DEBUG", levels(&[Level::Trace])),
        ("level:(ERROR OR FATAL)", any([levels(&[Level::Error]), levels(&[Level::Fatal])])),
        ("source:checkout-*", Condition::Source(Pattern::new(&["checkout-", ""])).into()),
        ("message:\"card declined\"", Condition::Message(Pattern::text("card declined").contained()).into()),
        ("userId:12345", equals("userId", "12345", false)),
        ("userId:\"12345\"", equals("userId", "12345", true)),
        ("metadata.level:x", equals("level", "x", false)),
        ("\"user id\":x", equals("user id", "x", false)),
        ("k8s.io/name:x", equals("k8s.io/name", "x", false)),
        ("userId:*", named("userId", ValueTest::Exists)),
        ("userId:\"*\"", equals("userId", "*", true)),
        ("http.status:>=500", number(Comparison::AtLeast, "500")),
        ("http.status < 500", number(Comparison::Less, "500")),
        ("x:(1 OR NOT 2)", any([equals("x", "1", false), !equals("x", "2", false)])),
        ("x:(1 2)", all([equals("x", "1", false), equals("x", "2", false)])),
        ("traceId:*", Condition::Id(domain::filter::IdField::Trace, Pattern::ANY).into()),
        (
            "timestamp>=now-15m",
            Condition::Time(
                domain::filter::TimeField::Timestamp,
                Timestamp::parse("2024-01-15T10:15:00Z").expect("a time")..=Timestamp::MAX,
            )
            .into(),
        ),
    ] {
        assert_eq!(parse(text), filter, "{text}");
    }
    let expires = parse("expires<2024-01-15T10:30:00Z");
    assert_eq!(expires, named("expires", ValueTest::Time(Comparison::Less, now())));
}

#[test]
fn an_error_says_where_it_is_and_what_would_be_right() {
    for (text, position, part) in [
        ("", 1, "a word"),
        ("   ", 4, "a word"),
        ("a AND", 6, "a word"),
        ("AND a", 1, "a condition before AND"),
        ("a OR OR b", 6, "a condition before AND or OR"),
        ("(a", 3, "`)`"),
        ("a)", 2, "no `)`"),
        ("()", 2, "a word"),
        ("é \"abc", 3, "a second quote"),
        ("userId:", 8, "a value directly behind `userId:`"),
        ("error: timeout", 7, "a value directly behind `error:`"),
        ("level:LOUD", 7, "TRACE, DEBUG"),
        ("level>5", 7, "TRACE, DEBUG"),
        ("status>high", 8, "a number, or a time"),
        ("source>a", 8, "`source:` and a text"),
        ("traceId:abc", 9, "32 hexadecimal digits, or a part of it with *"),
        ("eventId:1", 9, "a UUID"),
        ("timestamp:yesterday", 11, "a time such as"),
        ("a:=5", 4, "<, <=, > or >="),
        ("a\\", 3, "a character behind the backslash"),
        ("x:(1 OR", 8, "a value directly behind `x:`"),
        ("ok:NOT true", 4, "a value directly behind `ok:`"),
        ("a level=ERROR", 8, "`:` behind the name of a field"),
        ("userId==1", 7, "`:` behind the name of a field"),
        ("http.status!=200", 12, "`:` behind the name of a field"),
        ("level!~\"ERR\"", 6, "`:` behind the name of a field"),
        ("{source=\"checkout-eu\"}", 1, "`source:` and a value, without the braces"),
        ("{level!=\"ERROR\"}", 1, "`level:` and a value, without the braces"),
        ("a {app=~\"shop.*\", level=\"ERROR\"}", 3, "`app:` and a value, without the braces"),
        ("{ source=\"a\" }", 9, "`:` behind the name of a field"),
        ("source:a |= \"timeout\"", 10, "the text that an event contains"),
        ("a && b", 3, "AND; to look for the text"),
        ("a || b", 3, "OR; to look for the text"),
        ("a or b", 3, "OR in capitals"),
        ("a Not b", 3, "NOT in capitals"),
        ("!a", 1, "NOT before a condition"),
        ("a = b", 3, "the name of a field directly before `:`"),
        ("source : a", 8, "the name of a field directly before `:`"),
        ("http.status:[200 TO 300]", 13, "a value; a range is http.status>=1"),
    ] {
        let error = parse_query(text, now()).expect_err(text);
        assert!(error.position == position && error.expected.starts_with(part), "{text}: {error}");
    }
}

#[test]
fn queries_are_bounded() {
    let error = |text: &str| parse_query(text, now()).expect_err("too much").expected;
    assert!(parse_query(&"x".repeat(QUERY_BYTES_MAX), now()).is_ok());
    assert!(error(&"x".repeat(QUERY_BYTES_MAX + 1)).contains("8192 bytes"));
    assert!(parse_query(&"x ".repeat(CONDITIONS_MAX), now()).is_ok());
    assert!(error(&"x ".repeat(CONDITIONS_MAX + 1)).contains("64 conditions"));
    let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse_query(&nested(DEPTH_MAX), now()).is_ok());
    assert!(error(&nested(DEPTH_MAX + 1)).contains("16 levels"));
    assert!(error(&format!("{}x", "NOT ".repeat(DEPTH_MAX + 1))).contains("16 levels"));
    assert!(parse_query(&format!("{}x", "NOT ".repeat(DEPTH_MAX)), now()).is_ok());
    assert!(error(&format!("a:{}x", "(".repeat(4_000))).contains("16 levels"));
    assert!(error(&format!("{}:x", "a.".repeat(20))).contains("16 parts"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_understood_or_refused_within_it(text in "([ab:()<>=\"\\\\*. -]|AND|OR|NOT|level|é){0,24}") {
        if let Err(error) = parse_query(&text, now()) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error);
        }
    }

    #[test]
    fn any_phrase_in_quotes_is_a_word(text in "\\PC{1,30}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        prop_assert_eq!(parse(&quoted), word(&text));
    }
}
