//! The reading of agents' JSON against `serde_json`: generated values, many of them damaged, are read by both.

use std::borrow::Cow;
use std::fmt;

use domain::metadata::{Extents, JsonKind, JsonValue, Metadata};
use domain::timestamp::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ingest::agents::fields::document_of;
use crate::ingest::agents::json_values::{First, Reader, first, is_json_text};

/// The members of an object in their order, as JSON texts.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// All values within a value, each with its name.
type Walk = Vec<(Option<String>, String)>;

fn walk_by_serde(name: Option<String>, json: &str, found: &mut Walk) {
    found.push((name, json.to_owned()));
    if let Ok(Members(members)) = serde_json::from_str(json) {
        for (name, value) in members {
            // A name with half of a surrogate pair counts as empty.
            walk_by_serde(Some(serde_json::from_str(name.get()).unwrap_or_default()), value.get(), found);
        }
    } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        elements.into_iter().for_each(|value| walk_by_serde(None, value.get(), found));
    }
}

fn walk<'a>(name: Option<Cow<'a, str>>, value: JsonValue<'a>, extents: &Extents<'a>, found: &mut Walk) {
    // What stands for half of a surrogate pair.
    let is_whole = name.as_ref().is_none_or(|name| !name.contains('\u{fffd}'));
    found.push((name.map(|name| if is_whole { name.into_owned() } else { String::new() }), value.json().to_owned()));
    value.members_with(extents).for_each(|(name, value)| walk(Some(name), value, extents, found));
    value.elements_with(extents).for_each(|value| walk(None, value, extents, found));
    assert!(value.members().eq(value.members_with(extents)) && value.elements().eq(value.elements_with(extents)));
}

/// An object without white space, each of its names as `serde_json` writes it.
fn compact(object: &str) -> Option<String> {
    let Members(members) = serde_json::from_str(object).ok()?;
    let member = |(name, value): (&RawValue, &RawValue)| {
        let name: String = serde_json::from_str(name.get()).ok()?;
        Some(format!("{}:{}", serde_json::to_string(&name).ok()?, without_space(value.get())))
    };
    let members: Vec<String> = members.into_iter().map(member).collect::<Option<_>>()?;
    Some(format!("{{{}}}", members.join(",")))
}

fn without_space(json: &str) -> String {
    let (mut in_string, mut is_escape) = (false, false);
    let is_kept = |char: &char| {
        in_string ^= *char == '"' && !is_escape;
        is_escape = *char == '\\' && !is_escape;
        in_string || !char.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\"[a-z é€😀{}\\[\\],:]{0,20}\"",
        2 => concat!(
            "\"([a-z]{0,4}(\\\\[\"\\\\/bfnrt]|\\\\u[1-9a-c][0-9a-f]{3}|\\\\ud83d\\\\ude00|",
            "\\\\ud8[0-9a-f]{2})){1,3}[a-z]{0,9}\""
        ),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?",
        1 => "-?[1-9][0-9]{30,60}",
        1 => "[-+0-9.eE]{1,6}",
    ]
}

/// Values, most of them JSON: scalars stand directly before brackets, commas and white space.
fn value() -> impl Strategy<Value = String> {
    let literal = select(vec!["null", "true", "false", "nul", "nullx"]).prop_map(str::to_owned);
    let leaf = prop_oneof![4 => string(), 4 => number(), 1 => literal, 1 => deep()];
    let space = || select(vec!["", "", "", " ", "\n", "\r\n\t"]);
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space()).prop_map(|(elements, space)| format!(
                "[{space}{}{space}]",
                elements.join(&format!("{space},{space}"))
            )),
            object_of(inner),
        ]
    })
}

/// Values that are nested deeper than metadata may be, or than anything that is not read again.
fn deep() -> impl Strategy<Value = String> {
    (1_usize..24).prop_map(|depth| format!("{}1{}", "[{\"a\":".repeat(depth), "}]".repeat(depth)))
}

/// Objects, some with a name more than once.
fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let names = select(vec!["\"a\"", "\"k\"", "\"x.y\"", "\"\"", "\"\\u006b\""]).prop_map(str::to_owned);
    // No name of a field.
    let other = string().prop_map(|name| name.replacen('"', "\"é", 1));
    let name = prop_oneof![3 => names, 2 => other];
    let space = select(vec!["", "", "", " ", "\n", "\r\n\t"]);
    (prop::collection::vec((name, value), 0..5), space).prop_map(|(members, space)| {
        let members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("{name}{space}:{space}{value}")).collect();
        format!("{{{space}{}{space}}}", members.join(&format!("{space},{space}")))
    })
}

/// A text with a byte that was changed, or without its end.
fn damaged(text: &str, at: Option<(Index, Option<char>)>) -> String {
    let Some((at, char)) = at else { return text.to_owned() };
    let (begin, rest) = text.split_at(text.floor_char_boundary(at.index(text.len() + 1)));
    let mut rest = rest.chars();
    rest.next();
    char.map_or_else(|| begin.to_owned(), |char| format!("{begin}{char}{}", rest.as_str()))
}

fn damage() -> impl Strategy<Value = Option<(Index, Option<char>)>> {
    let char = prop::option::weighted(0.7, select(vec!['"', '\\', '{', '}', '[', ']', ',', ':', ' ', '0', '\u{1}']));
    prop::option::weighted(0.4, (any::<Index>(), char))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_value_is_found_as_by_serde_json(
        text in prop_oneof![object_of(value()), value()],
        behind in select(vec!["", " ", "\n{}", ",1", "}", "]", "x"]),
        damage in damage(),
    ) {
        let text = format!("{}{behind}", damaged(&text, damage));
        if text.starts_with(['{', '[']) {
            let mut reader = Reader::default();
            let First { value, members, behind, is_json } = first(&text, &mut reader);
            if let Some(members) = members {
                let members: Vec<_> = members.iter().map(|(name, value)| (Cow::Borrowed(*name), *value)).collect();
                prop_assert_eq!(members, value.members().collect::<Vec<_>>());
            }
            prop_assert_eq!(format!("{}{behind}", value.json()), text.as_str());
            let by_serde = serde_json::Deserializer::from_str(&text).into_iter::<&RawValue>().next();
            let by_serde = by_serde.and_then(Result::ok).map(RawValue::get);
            prop_assert_eq!(Some(value.json()).filter(|_| is_json), by_serde);
        }
    }

    #[test]
    fn a_walk_finds_what_serde_json_finds(text in prop_oneof![object_of(value()), value()], long in 0_usize..3) {
        // Large enough that its extent is known.
        let text = format!("[{text},{{\"a\":[{text},\"{}\"]}}]", "x".repeat(600 * long));
        if is_json_text(&text) {
            let value = JsonValue::new(&text);
            let (mut found, mut expected) = (Walk::new(), Walk::new());
            walk(None, value, &Extents::of(value.json()), &mut found);
            walk_by_serde(None, &text, &mut expected);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_document_is_what_serde_json_takes_for_an_object(text in object_of(value()), damage in damage()) {
        let text = damaged(&text, damage);
        let is_object = text.starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok();
        let entry = document_of(&text, None, Timestamp::MIN);
        prop_assert_eq!(entry.is_some(), is_object);
        // Without a fault, each member is one of the metadata, and the text is the message. U+0000 would be replaced.
        let is_kept = Metadata::parse(&text).is_ok() && !text.contains("\\u0000");
        if let Some(entry) = entry.filter(|_| is_kept) {
            prop_assert_eq!(&*entry.message, text.trim());
            let expected = compact(&text).filter(|json| json != "{}");
            prop_assert_eq!(entry.metadata.into_json(), expected);
        }
    }

    #[test]
    fn kinds_are_told_by_the_first_byte(text in value()) {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            let kind = match value {
                serde_json::Value::Object(_) => JsonKind::Object,
                serde_json::Value::Array(_) => JsonKind::Array,
                serde_json::Value::String(_) => JsonKind::Text,
                serde_json::Value::Number(_) => JsonKind::Number,
                serde_json::Value::Bool(_) => JsonKind::Bool,
                serde_json::Value::Null => JsonKind::Null,
            };
            prop_assert_eq!(JsonValue::new(&text).kind(), kind);
        }
    }
}
