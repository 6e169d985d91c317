use proptest::prelude::*;

use domain::filter::{Comparison, Condition, Literal, ValueTest};
use domain::level::Level;

use super::super::written_name;
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
        (" -a", !a.clone()),
        ("( -a)", !a.clone()),
        ("\u{feff}-a", !a.clone()),
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
        (r#""C:\Windows\System32\\""#, r"C:\Windows\System32\"),
        (r#""\d a\*b \ü""#, r"\d a\*b \ü"),
        (r"C:\Windows\System32", r"C:\Windows\System32"),
        (r"DOMAIN\user", r"DOMAIN\user"),
        (r"\\server\share", r"\server\share"),
        ("C:/Temp", "C:/Temp"),
        ("fe80::1", "fe80::1"),
        ("fe80:0:0:1::2", "fe80:0:0:1::2"),
        ("fe80:0:0:0:202:b3ff:fe1e:8329", "fe80:0:0:0:202:b3ff:fe1e:8329"),
        ("2001:db8::2", "2001:db8::2"),
        ("::1", "::1"),
        ("aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff"),
        ("std::vector<int>", "std::vector<int>"),
        ("a|b", "a|b"),
        ("|ERROR|", "|ERROR|"),
        ("/hel+o/", "/hel+o/"),
        ("PROGRA~1", "PROGRA~1"),
        ("+49301234", "+49301234"),
        ("{\u{a0}", "{"),
        ("\u{feff}boot\u{200b}", "boot"),
        ("\"zero\u{200b}width\"", "zero\u{200b}width"),
        (r"a\:b", "a:b"),
        (r"\ü\_", "ü_"),
        (r"x\|\~\ y", "x|~ y"),
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
        ("x:(1 -2)", all([equals("x", "1", false), equals("x", "-2", false)])),
        (
            "x:(\"or\" OR \"a,b\" OR a\\|b)",
            any([equals("x", "or", true), equals("x", "a,b", true), equals("x", "a|b", false)]),
        ),
        ("x:or", equals("x", "or", false)),
        ("x:a,b", equals("x", "a,b", false)),
        ("x:a|b", equals("x", "a|b", false)),
        ("file.c:12", equals("file.c", "12", false)),
        ("host:8080", equals("host", "8080", false)),
        ("ab:cd", equals("ab", "cd", false)),
        (r"path:C:\Temp", equals("path", r"C:\Temp", false)),
        (r"n:\*", equals("n", "*", false)),
        ("\"C\":/x", equals("C", "/x", false)),
        ("path:/api/", equals("path", "/api/", false)),
        ("trace_id:x", equals("trace_id", "x", false)),
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
}

#[test]
fn times_are_compared_in_all_of_their_forms() {
    let at = |time: &str| Timestamp::parse(time).expect("a time");
    for (text, comparison, time) in [
        ("expires<2024-01-15T10:30:00Z", Comparison::Less, "2024-01-15T10:30:00Z"),
        ("expires>=2024-01-16", Comparison::AtLeast, "2024-01-16T00:00:00Z"),
        ("expires > -1d", Comparison::Greater, "2024-01-14T10:30:00Z"),
        ("expires:<=now", Comparison::AtMost, "2024-01-15T10:30:00Z"),
    ] {
        let test = ValueTest::Time(comparison, at(time));
        assert_eq!(parse(text), Condition::Metadata { name: "expires".to_owned(), test }.into(), "{text}");
    }
    let number =
        |text: &str| ValueTest::Number(Comparison::Greater, domain::filter::Decimal::parse(text).expect("a number"));
    assert_eq!(parse("x>-1"), Condition::Metadata { name: "x".to_owned(), test: number("-1") }.into());
    let between = |first: &str, last: &str| {
        EventFilter::from(Condition::Time(domain::filter::TimeField::Timestamp, at(first)..=at(last)))
    };
    assert_eq!(parse("timestamp:2024-03-10"), between("2024-03-10T00:00:00Z", "2024-03-10T23:59:59.999999Z"));
    assert_eq!(parse("timestamp:9999-12-31"), between("9999-12-31T00:00:00Z", "9999-12-31T23:59:59.999999Z"));
    assert_eq!(parse("timestamp:1705314600"), between("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"));
    assert_eq!(parse("timestamp<=2024-03-10"), parse("timestamp<=2024-03-10T00:00:00Z"));
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
        ("due<soon", 5, "a number, or a time such as 2024-01-15T10:30:00Z, 2024-01-15 or -1h; to look for the text"),
        ("due<2024-05-02T10:00:00", 5, "a time with its zone"),
        ("timestamp>=2024-05-02T10:00", 12, "a time with its zone"),
        ("traceId>4bf9", 9, "`traceId:` and an id, since traceId has no order"),
        ("traceId:abc", 9, "32 hexadecimal digits, or a part of it with *"),
        ("eventId:1", 9, "a UUID"),
        ("timestamp:yesterday", 11, "a time such as"),
        ("a:=5", 3, "`a:` and a value, without `=`"),
        ("source:=\"own\"", 8, "`source:` and a value, without `=`"),
        ("n<>1", 2, "NOT before the condition, as in NOT n:1"),
        ("n:=>1", 3, ">= instead of =>"),
        ("n>>1", 2, "<, <=, > or >="),
        ("n>", 3, "a value behind `>`"),
        ("n:>=", 5, "a value behind `>=`"),
        ("n > (1)", 5, "a value behind `>`, without parentheses"),
        ("a\\", 3, "a character behind the backslash"),
        ("x:(1 OR", 8, "a value of `x`"),
        ("source:()", 9, "a value of `source`"),
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
        ("a = b", 3, "`:` directly behind the name of a field"),
        ("source : a", 8, "the name of a field directly before `:`"),
        ("http.status:[200 TO 300]", 13, "a value; a range is http.status>=200 http.status<=300, and"),
        ("n:{1 TO *]", 3, "a value; a range is n>1, and"),
        ("\"user id\":[* TO 9}", 11, "a value; a range is \"user id\"<9, and"),
        ("n:[1, 9]", 3, "a value; a range is n>=1 n<=9, and"),
        ("timestamp:[a", 11, "a value; a range is timestamp>=2024-01-15 timestamp<2024-01-16"),
        ("level:[* TO *]", 7, "a value; a range is level>=INFO"),
    ] {
        let error = parse_query(text, now()).expect_err(text);
        assert!(error.position == position && error.expected.starts_with(part), "{text}: {error}");
    }
}

#[test]
fn operators_of_other_languages_are_refused_with_what_to_write() {
    for (text, position, part) in [
        ("source:own | n > 3", 12, "a condition: pipes, limits and counts are not part of a query"),
        ("hello | limit 10", 7, "a condition: pipes"),
        ("source:(mail or health)", 14, "OR in capitals; to look for the text, write it in quotes"),
        ("source:(mail AND not health)", 18, "NOT in capitals"),
        ("level:(ERROR or FATAL)", 14, "OR in capitals"),
        ("source:(own, own2)", 12, "OR between values"),
        ("n:(1,2)", 5, "OR between values"),
        ("source:(mail|health)", 13, "OR between values"),
        ("n:(1 || 2)", 6, "OR between values"),
        ("n:(1 && 2)", 6, "AND between values"),
        ("n:(1 !2)", 6, "NOT before a value"),
        ("source:!own", 8, "NOT before the condition"),
        ("level:ERROR,FATAL", 7, "one level, or several as level:(ERROR OR FATAL)"),
        ("level:error|fatal", 7, "one level, or several as level:(ERROR OR FATAL)"),
        ("source:'own'", 8, "straight double quotes"),
        ("source:\u{201c}own\u{201d}", 8, "straight double quotes"),
        ("a \u{201c}b c\u{201d}", 3, "straight quotes around a phrase"),
        ("+message:hello", 1, "the condition without `+`"),
        ("a +\"b c\"", 3, "the condition without `+`"),
        ("+(a b)", 1, "the condition without `+`"),
        ("\"hello world\"~5", 14, "a space behind the phrase: the language has neither"),
        ("\"a\"b", 4, "a space behind the phrase; a quote within it"),
        ("\"user id\"=7", 10, "`:` behind the name of a field"),
        ("a\"b\"", 2, "a space before the quote"),
        ("x:a\"b\"", 4, "a space before the quote"),
        ("{\"level\":\"ERROR\"}", 1, "conditions such as level:ERROR, without the braces of JSON"),
        ("source:~\"own.*\"", 8, "a value, without regular expressions"),
        ("n:in(1,2)", 5, "a space before `(`; several values are n:(a OR b)"),
        ("n IN (1,2)", 3, "`:` behind the name of a field, such as status:(500 OR 503)"),
        ("_exists_:n", 10, "the name of a field and `:*` instead of `_exists_:`"),
        ("*:*", 1, "`*` alone"),
        ("*:x", 1, "the whole name of a field before `:`"),
        ("n*:14", 1, "the whole name of a field before `:`"),
        ("a.*:x", 1, "the whole name of a field before `:`"),
        ("user\\ id:7", 1, "the name of a field in quotes"),
        ("\"C:\\dir\\\" x", 1, "a second quote that ends this phrase; `\\\"` is a quote within it"),
    ] {
        let error = parse_query(text, now()).expect_err(text);
        assert!(error.position == position && error.expected.starts_with(part), "{text}: {error}");
    }
}

#[test]
fn words_that_may_be_operators_elsewhere_are_text_where_they_can_be() {
    for text in ["\"a\"OR \"b\"", "\"a\"(b)", "(\"a\")", "-\"a\"", "NOT\"a\"", "in (a)", "a* d8*http://x", "*", "~ ^"] {
        assert!(parse_query(text, now()).is_ok(), "{text}: {:?}", parse_query(text, now()));
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

    #[test]
    fn a_condition_has_the_name_and_the_value_that_are_written(
        name in "[abC:/ .*\"\\\\é]{1,8}", value in "\\PC{1,30}"
    ) {
        let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        prop_assert_eq!(parse(&format!("{}:{quoted}", written_name(&name))), equals(&name, &value, true));
        // Without quotes, all characters but letters and digits have a backslash.
        let mut escaped = String::new();
        for char in value.chars() {
            escaped.extend((!char.is_ascii_alphanumeric()).then_some('\\'));
            escaped.push(char);
        }
        prop_assume!(!KEYWORDS.contains(&value.as_str()));
        prop_assert_eq!(parse(&format!("{}:{escaped}", written_name(&name))), equals(&name, &value, false));
    }

    #[test]
    fn a_phrase_with_single_backslashes_needs_no_others(text in "[a-z:*?()\\\\]{0,12}[a-z]") {
        prop_assume!(!text.contains("\\\\"));
        prop_assert_eq!(parse(&format!("\"{text}\"")), word(&text));
    }
}
