use super::*;

fn now() -> Timestamp {
    Timestamp::parse("2024-01-15T10:30:00Z").expect("a time")
}

fn search(parameters: &Parameters) -> Result<Search, String> {
    parameters.search(now()).map_err(|error| error.to_string())
}

#[test]
fn parameters_hold_together_and_the_order_of_lists_means_nothing() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let one = Parameters {
        query: Some("userId:1".to_owned()),
        q: Some("failed".to_owned()),
        sources: texts(&["b", "a*"]),
        levels: texts(&["error, Warn"]),
        from: Some("-1h".to_owned()),
        to: Some("now".to_owned()),
        trace_id: Some("AB".repeat(16)),
    };
    let other = Parameters {
        sources: texts(&["a*", "b", "b"]),
        levels: texts(&["WARN", "ERROR"]),
        trace_id: Some("ab".repeat(16)),
        ..one.clone()
    };
    let (one, other) = (search(&one).expect("valid"), search(&other).expect("valid"));
    assert_eq!((one.key(), one.filter()), (other.key(), other.filter()));
    let EventFilter::All(all) = one.filter() else { panic!("{one:?}") };
    assert_eq!(all.len(), 6);
    assert_eq!(one.from(), Timestamp::parse("2024-01-15T09:30:00Z").ok());
    assert_eq!(search(&Parameters::default()).expect("valid").filter(), EventFilter::default());
    let above = Parameters { levels: texts(&["WARN+"]), ..Parameters::default() };
    let named = Parameters { levels: texts(&["FATAL,ERROR", "WARNING"]), ..Parameters::default() };
    let unescaped = Parameters { levels: texts(&["INFO,WARN "]), ..Parameters::default() };
    let escaped = Parameters { levels: texts(&["INFO, WARN+"]), ..Parameters::default() };
    assert_eq!(search(&above), search(&named));
    assert_eq!(search(&unescaped), search(&escaped));
}

#[test]
fn a_search_may_begin_with_the_first_event_and_not_end_with_it() {
    let first = || Some("first".to_owned());
    let from_first = search(&Parameters { from: first(), ..Parameters::default() }).expect("valid");
    let everything = search(&Parameters::default()).expect("valid");
    assert!(from_first.since_first && !everything.since_first);
    assert_eq!(from_first.filter(), everything.filter());
    assert_ne!(from_first.key(), everything.key(), "statistics of both differ");
    let refused = search(&Parameters { to: first(), ..Parameters::default() }).expect_err("no end");
    assert!(refused.starts_with("to must be a time"), "{refused}");
}

#[test]
fn a_plus_sign_of_a_time_may_have_become_a_space() {
    let from =
        |text: &str| search(&Parameters { from: Some(text.to_owned()), ..Parameters::default() }).expect(text).from();
    assert_eq!(from("2024-03-10T13:00:30 01:00"), Timestamp::parse("2024-03-10T12:00:30Z").ok());
    assert_eq!(from("now 1h"), Timestamp::parse("2024-01-15T11:30:00Z").ok());
}

#[test]
fn a_source_has_wildcards_unless_a_backslash_is_before_them() {
    let only = |source: &str| {
        let parameters = Parameters { sources: vec![source.to_owned()], ..Parameters::default() };
        search(&parameters).expect("valid").conditions
    };
    let all = |filter: EventFilter| EventFilter::All(vec![filter]);
    for exact in ["shop", r"DOMAIN\host", r"a\\b\", ""] {
        assert_eq!(only(exact), all(EventFilter::source(exact)), "{exact}");
    }
    assert_eq!(only(r"a\*b"), all(EventFilter::source("a*b")));
    for (source, parts) in [("a*", &["a", ""][..]), (r"a\*b*", &["a*b", ""]), (r"D\h*\*", &[r"D\h", "*"])] {
        assert_eq!(only(source), all(Condition::Source(Pattern::new(parts)).into()), "{source}");
    }
}

#[test]
fn a_wrong_parameter_is_named_with_its_rule() {
    let text = |text: &str| Some(text.to_owned());
    let none = Parameters::default;
    for (parameters, error) in [
        (Parameters { q: text(""), ..none() }, "q must have 1 to 1024 bytes"),
        (Parameters { q: text(&"x".repeat(1_025)), ..none() }, "q must have"),
        (Parameters { levels: vec!["LOUD".to_owned()], ..none() }, "level must be TRACE"),
        (Parameters { levels: vec![String::new()], ..none() }, "level must be TRACE"),
        (Parameters { from: text("yesterday"), ..none() }, "from must be a time such as 2024-01-15T10:30:00Z"),
        (Parameters { from: text("2024-01-15 10:30"), ..none() }, "from must be a time with its zone"),
        (Parameters { to: text("-99999999w"), ..none() }, "to must be a time"),
        (Parameters { from: text("now"), to: text("-1h"), ..none() }, "from must not be after to"),
        (Parameters { trace_id: text("abc"), ..none() }, "traceId must have 32 hexadecimal digits"),
        (Parameters { sources: vec!["a".to_owned(); 101], ..none() }, "source must not be given more than 100 times"),
        (Parameters { query: text("a:"), ..none() }, "query at character 3: expected a value directly behind `a:`"),
    ] {
        let refused = search(&parameters).expect_err(error);
        assert!(refused.starts_with(error), "{refused}");
    }
}
