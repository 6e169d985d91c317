//! What may be meant instead by a search that finds nothing: names and forms of other languages that are understood here, but
//! as something else.
//!
//! Constraints and invariants:
//! * Hints depend on the filter alone, so equal searches have equal ones.
//! * A search is never changed by them: metadata may have any name, and a text any character.

use std::net::IpAddr;

use domain::filter::{Condition, Decimal, EventFilter, IdField, Literal, Pattern, ValueTest};

use super::condition::EVENT_FIELDS;
use super::words::{begins_name, continues_name, is_space, written_name};

/// Maximum hints of a search.
pub const HINTS_MAX: usize = 4;

/// Names of other systems for fields of an event, in lower case and without punctuation.
const ALIASES: [(&str, &str); 16] = [
    ("severity", "level"),
    ("severitytext", "level"),
    ("loglevel", "level"),
    ("levelname", "level"),
    ("detectedlevel", "level"),
    ("lvl", "level"),
    ("msg", "message"),
    ("body", "message"),
    ("time", "timestamp"),
    ("ts", "timestamp"),
    ("datetime", "timestamp"),
    ("service", "source"),
    ("servicename", "source"),
    ("exceptionstacktrace", "stackTrace"),
    ("errorstacktrace", "stackTrace"),
    ("ingestedat", "receivedAt"),
];

/// The hints for a filter, each once.
pub(super) fn of(filter: &EventFilter) -> Vec<String> {
    let mut hints = Vec::new();
    collect(filter, &mut hints);
    hints
}

fn collect(filter: &EventFilter, hints: &mut Vec<String>) {
    match filter {
        EventFilter::All(filters) | EventFilter::Any(filters) => {
            filters.iter().for_each(|filter| collect(filter, hints));
        }
        EventFilter::Not(filter) => collect(filter, hints),
        EventFilter::Condition(condition) => {
            let hint = of_condition(condition).filter(|hint| hints.len() < HINTS_MAX && !hints.contains(hint));
            hints.extend(hint);
        }
    }
}

fn of_condition(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Metadata { name, test } => of_name(name).or_else(|| match test {
            ValueTest::Equals(literal) => of_pattern(&literal.pattern).or_else(|| of_literal(name, literal)),
            ValueTest::Exists | ValueTest::Number(..) | ValueTest::Time(..) => None,
        }),
        Condition::Anywhere(pattern) => {
            of_id(pattern).or_else(|| of_pattern(pattern)).or_else(|| of_text(pattern).map(str::to_owned))
        }
        Condition::Message(pattern)
        | Condition::StackTrace(pattern)
        | Condition::Source(pattern)
        | Condition::Id(_, pattern) => of_pattern(pattern),
        Condition::SourceIs(source) => source
            .contains(',')
            .then(|| "`,` belongs to the source: for one of several, repeat the parameter".to_owned()),
        Condition::SourceWithin(_) | Condition::Levels(_) | Condition::Time(..) | Condition::IdIs(..) => None,
    }
}

/// A name in metadata that is nearly, or elsewhere, the name of a field of the event.
fn of_name(name: &str) -> Option<String> {
    // Only the prefix for metadata leads to it, so it is meant.
    if EVENT_FIELDS.contains(&name) {
        return None;
    }
    let without_suffix = name.strip_suffix(".keyword");
    let searched = letters(without_suffix.unwrap_or(name));
    let field = EVENT_FIELDS.into_iter().find(|field| letters(field) == searched);
    let alias = || ALIASES.into_iter().find(|(alias, _)| *alias == searched).map(|(_, field)| field);
    match field.or_else(alias) {
        Some(field) => Some(format!("`{name}` is a name in the metadata; the field of events is `{field}`")),
        None => without_suffix
            .map(|field| format!("`{name}` is a name in the metadata; write `{field}` without `.keyword`")),
    }
}

fn letters(name: &str) -> String {
    name.chars().filter(|char| char.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// A value that looks like a network, a range or a port.
fn of_literal(name: &str, literal: &Literal) -> Option<String> {
    let [text] = literal.pattern.parts() else { return None };
    if let Some((address, bits)) = text.split_once('/')
        && address.parse::<IpAddr>().is_ok()
        && bits.parse::<u8>().is_ok()
    {
        return Some("networks are compared as text; `*` finds addresses that begin alike, such as 10.1.*".to_owned());
    }
    if let Some((first, last)) = text.split_once("..")
        && [first, last].into_iter().all(|bound| Decimal::parse(bound).is_some())
    {
        return Some(format!("`..` is text; a range is {0}>={first} {0}<={last}", written_name(name)));
    }
    let may_be_port = !literal.text_only && text.bytes().all(|byte| byte.is_ascii_digit());
    may_be_port.then(|| format!("`{name}` is a name in the metadata; to look for a text with `:`, write it in quotes"))
}

/// A text that is an id.
fn of_id(pattern: &Pattern) -> Option<String> {
    let [text] = pattern.parts() else { return None };
    let condition = if IdField::Trace.parse(text).is_some() {
        format!("traceId:{text} or eventId:{text}")
    } else if IdField::Event.parse(text).is_some() {
        format!("eventId:{text}")
    } else if IdField::Span.parse(text).is_some() && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("spanId:{text}")
    } else {
        return None;
    };
    Some(format!("words are not looked for in the ids of events; to find an id, write {condition}"))
}

/// Operators of other languages in the parts of a pattern.
fn of_pattern(pattern: &Pattern) -> Option<String> {
    pattern.parts().iter().find_map(|part| of_part(part)).map(str::to_owned)
}

fn of_part(part: &str) -> Option<&'static str> {
    if part.contains('*') {
        return Some("`*` in quotes or behind a backslash is a star, and stands for no other characters");
    }
    let inside = part.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    if inside.is_some_and(|inside| inside.contains(['+', '.', '?', '[', '^', '$', '|', '\\'])) {
        return Some("`/…/` is text, since the language has no regular expressions; `*` stands for any characters");
    }
    let behind_question = part.split_once('?').and_then(|(_, behind)| behind.chars().next());
    if behind_question.is_some_and(char::is_alphanumeric) && !part.contains(['/', '=']) {
        return Some("`?` is text; only `*` stands for other characters");
    }
    let (before, behind) = part.rsplit_once(['~', '^'])?;
    let is_number = !behind.is_empty() && behind.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !before.is_empty()).then_some("`~` and `^` are text: the language has neither distances nor weights")
}

/// A text that may be meant as a condition.
fn of_text(pattern: &Pattern) -> Option<&'static str> {
    let text = pattern.parts().first()?;
    let behind_plus = text.strip_prefix('+').and_then(|behind| behind.chars().next());
    if behind_plus.is_some_and(char::is_alphabetic) {
        return Some("`+` is text: all conditions must hold without it");
    }
    let (name, value) = text.split_once(':')?;
    let is_name = name.starts_with(begins_name) && name.chars().all(continues_name);
    let is_number = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_sentence = name.contains(is_space) || value.starts_with(is_space);
    let is_address = value.starts_with("//") || value.is_empty();
    (!is_name && !is_number && !is_sentence && !is_address).then_some(
        "a word with `:` is text if it begins with no plain name; other names are written in quotes, such as \"user id\":7",
    )
}

#[cfg(test)]
mod tests {
    use domain::timestamp::Timestamp;

    use super::super::Parameters;
    use super::*;

    fn hints(query: &str) -> Vec<String> {
        let parameters = Parameters { query: Some(query.to_owned()), ..Parameters::default() };
        parameters.search(Timestamp::MIN).unwrap_or_else(|error| panic!("{query}: {error}")).hints()
    }

    #[test]
    fn a_name_or_form_of_another_language_has_a_hint() {
        for (query, part) in [
            ("LEVEL:ERROR", "the field of events is `level`"),
            ("Message:hello", "the field of events is `message`"),
            ("traceid:aabb*", "the field of events is `traceId`"),
            ("trace_id:aabb", "`trace_id` is a name in the metadata; the field of events is `traceId`"),
            ("severity>3", "the field of events is `level`"),
            ("_msg:hello", "the field of events is `message`"),
            ("_time:5m", "the field of events is `timestamp`"),
            ("@timestamp:*", "the field of events is `timestamp`"),
            ("message.keyword:hello", "the field of events is `message`"),
            ("user.keyword:hello", "write `user` without `.keyword`"),
            ("a OR NOT (b Level:x)", "the field of events is `level`"),
            ("host:8080", "`host` is a name in the metadata; to look for a text with `:`, write it in quotes"),
            ("ipv4:10.0.0.0/8", "networks are compared as text"),
            ("n:1..3", "a range is n>=1 n<=3"),
            ("message:/hel+o/", "`/…/` is text"),
            ("message:hel?o", "`?` is text"),
            ("source:\"checkout-*\"", "`*` in quotes"),
            ("hello~2", "`~` and `^` are text"),
            ("hello^2", "`~` and `^` are text"),
            ("+hello", "`+` is text"),
            ("1st:first", "a word with `:` is text"),
            ("arr[0]:1", "a word with `:` is text"),
            ("a+b:c*", "a word with `:` is text"),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", "write traceId:4bf92f3577b34da6a3ce929d0e0e4736 or eventId:4bf9"),
            ("0190a1b2-c3d4-7000-8000-000000000001", "write eventId:0190a1b2-c3d4-7000-8000-000000000001"),
            ("00f067aa0ba902b7", "write spanId:00f067aa0ba902b7"),
        ] {
            let hints = hints(query);
            assert!(hints.len() == 1 && hints[0].contains(part), "{query}: {hints:?}");
        }
        let parameters = Parameters { sources: vec!["own,own2".to_owned()], ..Parameters::default() };
        let found = parameters.search(Timestamp::MIN).expect("valid").hints();
        assert!(found.len() == 1 && found[0].contains("repeat the parameter"), "{found:?}");
    }

    #[test]
    fn a_search_in_the_terms_of_the_language_has_none() {
        for query in [
            "timeout \"card declined: no\" -debug",
            "level>=WARN source:checkout-* userId:abc userId:\"12345\" traceId:4bf9* http.status>=500",
            "metadata.level:deep message:\"what?\" path:/api/ \"user id\":x",
            "12:30:05 http://cache/items?id=7 fe80::1 C:\\Temp 2001:db8::2 aa:bb:cc:dd:ee:ff 1234567890123456",
        ] {
            assert_eq!(hints(query), Vec::<String>::new(), "{query}");
        }
    }

    #[test]
    fn hints_are_few_and_each_is_given_once() {
        assert_eq!(hints("Level:a LEVEL:b Level:c").len(), 2);
        assert_eq!(hints("Level:a Source:a Message:a TraceId:a SpanId:a").len(), HINTS_MAX);
    }
}
