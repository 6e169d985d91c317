//! Tests of the rules of metadata.

use std::borrow::Cow;

use proptest::prelude::*;

use super::name::SHOWN_NAME_BYTES_MAX;
use super::scanner::KEPT_BYTES_MAX;
use super::{METADATA_BYTES_MAX, Metadata, MetadataError, UNKNOWN_MEMBERS_MAX};

fn parse(json: &str) -> Result<String, MetadataError> {
    Metadata::parse(json).map(|metadata| metadata.as_json().to_owned())
}

#[test]
fn compact_text_is_borrowed_and_white_space_outside_of_strings_is_removed() {
    let compact = r#"{"a":[1,-2.5e3,true,null],"b":{"c":"x y"}}"#;
    assert!(matches!(Metadata::parse(compact), Ok(Metadata(Cow::Borrowed(text))) if text == compact));
    assert_eq!(parse(" {\n \"a\" : [ 1 ,\t-2.5e3, true,null ] , \"b\":{ \"c\" : \"x y\" } } ").as_deref(), Ok(compact));
    assert_eq!(parse(" { } ").as_deref(), Ok("{}"));
}

#[test]
fn content_that_stores_refuse_is_refused_or_replaced() {
    assert_eq!(parse(r#"{"a\u0000":"\u0000b"}"#).as_deref(), Ok("{\"a\u{fffd}\":\"\u{fffd}b\"}"));
    assert_eq!(parse(r#"{"a":"\ud83d\ude00"}"#).as_deref(), Ok(r#"{"a":"\ud83d\ude00"}"#));
    for lone in [r#"{"a":"\ud83d"}"#, r#"{"a":"\ude00"}"#, r#"{"a":"\ud83d\u0041"}"#, r#"{"\ud83dx":1}"#] {
        assert_eq!(parse(lone), Err(MetadataError::LoneSurrogate), "{lone}");
    }
    for number in ["1e401", "1e-401", "-1E+99999999999999999999"] {
        assert_eq!(parse(&format!("{{\"a\":{number}}}")), Err(MetadataError::Number), "{number}");
    }
    assert!(parse(r#"{"a":123456789012345678901234567890.5e-300}"#).is_ok());
    let long_fraction = format!("{{\"a\":0.{}}}", "1".repeat(16_384));
    assert_eq!(parse(&long_fraction), Err(MetadataError::Number));
}

#[test]
fn anything_but_one_json_object_is_refused() {
    for json in ["", "[]", "1", "null", "\"{}\""] {
        assert_eq!(parse(json), Err(MetadataError::NotObject), "{json}");
    }
    for json in [
        "{",
        "{}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[1 2]}",
        "{\"a\":1e}",
    ] {
        assert_eq!(parse(json), Err(MetadataError::Syntax), "{json}");
    }
}

#[test]
fn the_limits_are_sixteen_levels_and_64_kib() {
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(parse(&nested(16)).is_ok());
    assert_eq!(parse(&nested(17)), Err(MetadataError::Depth));
    assert_eq!(parse(&format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))), Err(MetadataError::Depth));

    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(parse(&sized(METADATA_BYTES_MAX)).is_ok());
    assert_eq!(parse(&sized(METADATA_BYTES_MAX + 1)), Err(MetadataError::Size));
}

#[test]
fn unknown_members_join_metadata_under_their_own_names() {
    let known = Metadata::parse(r#"{"a":{"b":1}}"#).ok();
    let joined = Metadata::with_unknown(known.clone(), &[("\"host\"", " \"web-1\" "), ("\"n\"", "[ 1 ]")]);
    assert_eq!(
        joined.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(),
        Some(r#"{"a":{"b":1},"host":"web-1","n":[1]}"#)
    );
    let alone = Metadata::with_unknown(None, &[("\"host\"", "null")]);
    assert_eq!(alone.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(), Some(r#"{"host":null}"#));
    let empty = Metadata::with_unknown(Metadata::parse("{}").ok(), &[("\"x\"", "1")]);
    assert_eq!(empty.ok().flatten().map(|m| m.as_json().to_owned()).as_deref(), Some(r#"{"x":1}"#));
    assert_eq!(Metadata::with_unknown(known.clone(), &[("\"a\"", "1")]), Err(MetadataError::Clash("a".to_owned())));
    assert_eq!(
        Metadata::with_unknown(known.clone(), &[("\"x\"", "1"), ("\"x\"", "2")]),
        Err(MetadataError::DuplicateField("x".to_owned()))
    );
    // Names are compared by value, not by spelling.
    let escaped = Metadata::parse(r#"{"\u0061\/\n\ud83d\ude00":1}"#).ok();
    for name in [r#""a/\u000a😀""#, r#""a\u002F\n\uD83D\uDE00""#] {
        let clash = Metadata::with_unknown(escaped.clone(), &[(name, "1")]);
        assert_eq!(clash, Err(MetadataError::Clash("a/\n😀".to_owned())), "{name}");
    }
    let twice = [(r#""\u0078""#, "1"), (r#""\\u0078""#, "2"), ("\"x\"", "3")];
    assert!(Metadata::with_unknown(None, &twice[..2]).is_ok());
    assert_eq!(Metadata::with_unknown(None, &twice), Err(MetadataError::DuplicateField("x".to_owned())));
    // "b" is only a member of a nested object.
    assert!(Metadata::with_unknown(known, &[("\"b\"", "1")]).is_ok());
}

#[test]
fn two_members_of_one_name_are_refused_in_every_object() {
    let duplicate = |name: &str| Err(MetadataError::DuplicateName(name.to_owned()));
    for json in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"b":{"c":[{"a":1,"d":{"a":2},"a":3}]}}"#,
        r#"{"a":{"a":1},"a":2}"#,
        r#"{"b":{"x":1},"c":{"x":2},"a":1,"a":2}"#,
    ] {
        assert_eq!(parse(json), duplicate("a"), "{json}");
    }
    assert_eq!(parse(r#"{"\u0000":1,"\ufffd":2}"#), duplicate("\u{fffd}"));
    assert_eq!(parse(r#"{"":1,"":2}"#), duplicate(""));
    // One name in several objects, and names that differ, are fine.
    for json in [r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#, r#"{"a":1,"A":2,"a ":3,"\\u0061":4}"#] {
        assert_eq!(parse(json).as_deref(), Ok(json));
    }
    // The same in an unknown field.
    assert_eq!(
        Metadata::with_unknown(None, &[("\"u\"", r#"{"a":1,"a":2}"#)]),
        Err(MetadataError::DuplicateName("a".to_owned()))
    );
    // Many members, the last one like the first.
    let members = |count: usize| (0..count).map(|n| format!("\"{n:04}\":1")).collect::<Vec<_>>().join(",");
    assert!(parse(&format!("{{{}}}", members(6_000))).is_ok());
    assert_eq!(parse(&format!("{{{},\"0000\":1}}", members(6_000))), duplicate("0000"));
    // What is too large is refused for that.
    assert_eq!(parse(&format!("{{{},\"0000\":1}}", members(UNKNOWN_MEMBERS_MAX))), Err(MetadataError::Size));
}

#[test]
fn a_long_name_with_escapes_equals_the_same_name_without() {
    let name = "x".repeat(METADATA_BYTES_MAX - 8);
    let known = Metadata::parse(&format!("{{\"{name}\":1}}")).map(Metadata::into_owned).ok();
    let escaped = format!("\"{}\"", "\\u0078".repeat(name.len()));
    assert_eq!(
        Metadata::with_unknown(known.clone(), &[(&escaped, "1")]),
        Err(MetadataError::Clash(format!("{}…", "x".repeat(SHOWN_NAME_BYTES_MAX))))
    );
    let longer = format!("\"{}\"", "\\u0078".repeat(METADATA_BYTES_MAX + 1));
    assert_eq!(Metadata::with_unknown(known, &[(&longer, "1")]), Err(MetadataError::Size));
}

#[test]
fn output_that_is_not_kept_exceeds_the_limit() {
    let nul = "\\u0000".repeat(KEPT_BYTES_MAX);
    let space = " ".repeat(KEPT_BYTES_MAX + 1);
    let text = "x".repeat(KEPT_BYTES_MAX + 1);
    for value in [format!("\"{nul}\""), format!("[1,{space}\"{text}\",{space}2]"), format!("{space}\"{text}\"{space}")]
    {
        assert_eq!(parse(&format!("{{\"a\":{value}}}")), Err(MetadataError::Size));
        assert_eq!(Metadata::with_unknown(None, &[("\"a\"", &value)]), Err(MetadataError::Size));
    }
    assert_eq!(Metadata::with_unknown(None, &[(&format!("\"{nul}\""), "1")]), Err(MetadataError::Size));
    // White space does not count.
    assert_eq!(parse(&format!("{{{space}\"a\":{space}1}}")).as_deref(), Ok("{\"a\":1}"));
    // The remaining text is still checked.
    assert_eq!(parse(&format!("{{\"a\":[{space}\"{text}\",\"\\ud800\"]}}")), Err(MetadataError::LoneSurrogate));
}

#[test]
fn depth_and_size_limits_apply_to_the_merged_metadata() {
    let deep = format!("{}1{}", "[".repeat(15), "]".repeat(15));
    assert!(Metadata::with_unknown(None, &[("\"x\"", &deep)]).is_ok());
    let too_deep = format!("[{deep}]");
    assert_eq!(Metadata::with_unknown(None, &[("\"x\"", &too_deep)]), Err(MetadataError::Depth));
    let half = format!("\"{}\"", "x".repeat(METADATA_BYTES_MAX / 2));
    assert_eq!(Metadata::with_unknown(None, &[("\"x\"", &half), ("\"y\"", &half)]), Err(MetadataError::Size));
    // The remaining members are no longer checked.
    let and_more = [("\"x\"", half.as_str()), ("\"y\"", &half), ("\"x\"", "no JSON")];
    assert_eq!(Metadata::with_unknown(None, &and_more), Err(MetadataError::Size));
}

proptest! {
    /// The rule by another way: serde_json keeps one member of each name.
    #[test]
    fn duplicate_names_are_found_at_any_number(names in prop::collection::vec("[ab\u{0}é]{0,3}", 0..40), escaped in any::<u64>()) {
        let written = |(n, name): (usize, &String)| {
            let escape = |char: char| if escaped >> (n % 64) & 1 == 1 { format!("\\u{:04x}", u32::from(char)) } else { char.to_string() };
            let name: String = name.chars().map(|char| if char == '\0' { "\\u0000".to_owned() } else { escape(char) }).collect();
            format!("\"{name}\":{n}")
        };
        let json = format!("{{{}}}", names.iter().enumerate().map(written).collect::<Vec<_>>().join(","));
        let unique = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
        prop_assert_eq!(Metadata::parse(&json).is_ok(), unique, "{}", json);
    }

    #[test]
    fn any_text_is_kept_or_refused_and_a_second_pass_changes_nothing(json in "\\{[ -~\\n\\t\u{0}é]{0,60}\\}") {
        if let Ok(metadata) = Metadata::parse(&json) {
            let again = Metadata::parse(metadata.as_json());
            prop_assert_eq!(again.map(Metadata::into_owned), Ok(metadata.into_owned()));
        }
    }
}
