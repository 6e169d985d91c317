//! Filters of every kind, and events for them to find.

use std::borrow::Cow;

use domain::access::SourcePattern;
use domain::event::LogEvent;
use domain::filter::{Comparison, Condition, Decimal, EventFilter, IdField, Literal, Pattern, TimeField, ValueTest};
use domain::level::Level;
use domain::metadata::Metadata;

use crate::variety::{EPOCH, PIECES, SOURCES, Seed, TRACES, time, varied_events};

/// Varied events with metadata of every kind, and any trees of conditions on them, from a seed: for tests of adapters that
/// answer only a part of a port.
#[must_use]
pub fn events_and_filters(seed: u64, events: usize, filters: usize) -> (Vec<LogEvent<'static>>, Vec<EventFilter>) {
    let mut seed = Seed::new(seed);
    let events = searchable_events(&mut seed, events);
    let filters = (0..filters).map(|_| any_filter(&mut seed, 3)).collect();
    (events, filters)
}

/// Names in metadata; dots and quotes must not confuse anyone.
const NAMES: [&str; 9] = ["userId", "http.status", "http", "tags", "a.b", "a", "naïve", "q\"uote", "back\\slash"];
/// JSON values: several forms of one number, numbers that floating point confuses, text that looks like a number.
const VALUES: [&str; 36] = [
    "12345",
    "12345.0",
    "1.2345e4",
    "0.12345e5",
    "500",
    "5e2",
    "50.0e+1",
    "5e-2",
    "0.050",
    "-0.05",
    "-5e-2",
    "-0.5E-1",
    "123450E-1",
    "\"12345\"",
    "\"012345\"",
    "9007199254740992",
    "9007199254740993",
    "\"9007199254740993\"",
    "503",
    "\"503\"",
    "-7.5",
    "0",
    "-0.0",
    "1e400",
    "true",
    "false",
    "null",
    "\"null\"",
    "\"\"",
    "\"100%\"",
    "\"a_b\"",
    "\"back\\\\slash\"",
    "\"say \\\"hi\\\"\"",
    "\"\\u0041bc\"",
    "\"2024-01-15T10:30:00Z\"",
    "\"\\t\"",
];
const NUMBERS: [&str; 11] =
    ["12345", "503", "500", "0.05", "-0.05", "0", "9007199254740992", "9007199254740993", "-7.5", "1e399", "12345.5"];

fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t"))
}

fn json_value(seed: &mut Seed, depth: usize) -> String {
    match seed.below(if depth == 0 { 8 } else { 11 }) {
        0..=5 => (*seed.pick(&VALUES)).to_owned(),
        6 | 7 => json_text(PIECES[seed.below(PIECES.len())]),
        8 => {
            let elements: Vec<String> = (0..seed.below(4)).map(|_| json_value(seed, depth - 1)).collect();
            format!("[{}]", elements.join(","))
        }
        _ => json_object(seed, depth - 1),
    }
}

fn json_object(seed: &mut Seed, depth: usize) -> String {
    let mut names: Vec<&str> = Vec::new();
    for _ in 0..seed.below(4) {
        let name = if seed.one_in(4) { "status" } else { *seed.pick(&NAMES) };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let members: Vec<String> =
        names.iter().map(|name| format!("{}:{}", json_text(name), json_value(seed, depth))).collect();
    format!("{{{}}}", members.join(","))
}

/// Varied events with metadata of every kind.
pub(crate) fn searchable_events(seed: &mut Seed, count: usize) -> Vec<LogEvent<'static>> {
    let mut events = varied_events(seed, count);
    for event in &mut events {
        let json = json_object(seed, 3);
        let metadata = Metadata::parse(&json).unwrap_or_else(|error| panic!("{json}: {error}")).into_owned();
        event.metadata = (!seed.one_in(8)).then_some(metadata);
        event.stack_trace = seed.one_in(4).then(|| Cow::Borrowed(*seed.pick(&PIECES)));
    }
    events
}

/// Filters that a store must check by itself, since it counts and pages what they select without a look at the events; and their
/// negations, which select events without the field.
pub(crate) fn exact_filters(events: &[LogEvent<'_>]) -> Vec<EventFilter> {
    let mut conditions = vec![Condition::StackTrace(Pattern::ANY), Condition::IdIs(IdField::Span, vec![0; 8])];
    for field in [IdField::Event, IdField::Trace, IdField::Span] {
        conditions.push(Condition::Id(field, Pattern::ANY));
        // Of a length that no id has.
        conditions.push(Condition::IdIs(field, vec![1; 3]));
    }
    for event in events.iter().step_by(11) {
        conditions.push(Condition::IdIs(IdField::Event, event.event_id.as_bytes().to_vec()));
        conditions.extend(event.trace_id.map(|id| Condition::IdIs(IdField::Trace, id.to_vec())));
        conditions.extend(event.span_id.map(|id| Condition::IdIs(IdField::Span, id.to_vec())));
        let (first, last) = (event.received_at, time(event.received_at.unix_micros() + 3));
        conditions.push(Condition::Time(TimeField::ReceivedAt, first..=last));
        conditions.push(Condition::Time(TimeField::ReceivedAt, last..=first));
        conditions.push(Condition::Time(TimeField::Timestamp, event.timestamp..=event.timestamp));
    }
    let filters = conditions.into_iter().map(EventFilter::from);
    let filters: Vec<EventFilter> = filters.flat_map(|filter| [filter.clone(), !filter]).collect();
    assert!(
        filters.iter().all(|filter| filter.candidates().exact),
        "a filter is not exact: the check has lost its purpose"
    );
    filters
}

/// A text from an event, or a part of one, perhaps with a wildcard.
fn pattern(seed: &mut Seed) -> Pattern {
    let text = match seed.below(4) {
        0 => NUMBERS[seed.below(NUMBERS.len())],
        1 => seed.pick(&["null", "true", "a_b", "back\\slash", "say \"hi\"", "Abc", "2024-01-15T10:30:00Z", "", "\t"]),
        _ => seed.pick(&PIECES),
    };
    let text = if seed.one_in(3) { text.to_uppercase() } else { text.to_owned() };
    let characters: Vec<char> = text.chars().collect();
    let cut = seed.below(characters.len() + 1);
    let (begin, end): (String, String) = (characters[..cut].iter().collect(), characters[cut..].iter().collect());
    match seed.below(5) {
        0 => Pattern::new(&[begin, String::new()]),
        1 => Pattern::new(&[String::new(), end]),
        2 => Pattern::new(&[begin, end]),
        _ => Pattern::text(&text),
    }
}

fn value_test(seed: &mut Seed) -> ValueTest {
    let comparison = *seed.pick(&[Comparison::Less, Comparison::AtMost, Comparison::Greater, Comparison::AtLeast]);
    match seed.below(8) {
        0 => ValueTest::Exists,
        1 | 2 => ValueTest::Number(comparison, Decimal::parse(NUMBERS[seed.below(NUMBERS.len())]).expect("a number")),
        3 => ValueTest::Time(comparison, time(EPOCH + seed.below(3) as i64 - 1)),
        4 | 5 => {
            let pattern = Pattern::text(NUMBERS[seed.below(NUMBERS.len())]);
            ValueTest::Equals(Literal { pattern, text_only: seed.one_in(3) })
        }
        _ => ValueTest::Equals(Literal { pattern: pattern(seed), text_only: seed.one_in(2) }),
    }
}

fn condition(seed: &mut Seed) -> Condition {
    let id = |seed: &mut Seed| *seed.pick(&[IdField::Event, IdField::Trace, IdField::Span]);
    match seed.below(14) {
        0 => Condition::Anywhere(pattern(seed)),
        1 => Condition::Message(pattern(seed)),
        2 => Condition::StackTrace(pattern(seed)),
        3 => Condition::SourceIs((*seed.pick(&SOURCES)).to_owned()),
        4 => Condition::Source(Pattern::new(&[seed.pick(&["sh", "SHOP", "back\\", "shö", ""]), ""])),
        5 => Condition::Levels((0..seed.below(4)).map(|_| *seed.pick(&Level::ALL)).collect()),
        6 => {
            let (from, to) = (seed.below(20) as i64, seed.below(20) as i64);
            let field = *seed.pick(&[TimeField::Timestamp, TimeField::ReceivedAt]);
            let start = if field == TimeField::Timestamp { EPOCH } else { EPOCH + 60_000_000 };
            let unit = if field == TimeField::Timestamp { 1_000_000 } else { 10 };
            Condition::Time(field, time(start + from * unit)..=time(start + to * unit))
        }
        7 => Condition::IdIs(IdField::Trace, seed.pick(&TRACES).to_vec()),
        8 => {
            let digits = format!("{:02x}", seed.below(256));
            let text: &str = ["", "01020304", "f", "00-", &digits][seed.below(5)];
            let pattern = Pattern::text(text);
            Condition::Id(id(seed), pattern.contained())
        }
        9 => {
            let texts = ["shop", "SHOP*", "sh*", "*\u{f6}*", "back\\*", "*"];
            let patterns: Vec<SourcePattern> =
                (0..seed.below(3)).map(|_| seed.pick(&texts).parse().expect("a pattern")).collect();
            Condition::SourceWithin(patterns.into())
        }
        _ => {
            let name = if seed.one_in(6) { "status" } else { *seed.pick(&NAMES) };
            Condition::Metadata { name: name.to_owned(), test: value_test(seed) }
        }
    }
}

/// Any tree of conditions, at most `depth` deep.
pub(crate) fn any_filter(seed: &mut Seed, depth: usize) -> EventFilter {
    if depth == 0 || seed.one_in(3) {
        return condition(seed).into();
    }
    match seed.below(5) {
        0 | 1 => EventFilter::All((0..seed.below(4)).map(|_| any_filter(seed, depth - 1)).collect()),
        2 | 3 => EventFilter::Any((0..=seed.below(3)).map(|_| any_filter(seed, depth - 1)).collect()),
        _ => !any_filter(seed, depth - 1),
    }
}
