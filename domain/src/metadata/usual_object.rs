//! Objects as most programs write them, split into their members in one look at each byte.
//!
//! Invariant: what is found here is a compact object that metadata can hold, but for its size; the scanner
//! ([`super::scanner`]) would leave it as it is.

use super::name::NAMES_IN_PAIRS_MAX;
use super::plain_object::{plain_member, plain_string};
use super::scanner::Scanner;
use super::value::JsonValue;

/// A member: its name, which has no escapes, and its value.
pub type UsualMember<'a> = (&'a str, JsonValue<'a>);

/// Reads such objects out of one text. It keeps its memory from one object to the next.
#[derive(Debug, Default)]
pub struct UsualReader<'a> {
    members: Vec<UsualMember<'a>>,
    names: Vec<&'a str>,
}

impl<'a> UsualReader<'a> {
    /// The members of the object that `text` begins with, and its length in bytes there, if it is compact, metadata can hold it but
    /// for its size, and it has a few members whose names have no escapes. `None` says nothing of the object.
    pub fn members(&mut self, text: &'a str) -> Option<(&[UsualMember<'a>], usize)> {
        let bytes = usual_object(text, &mut self.members, &mut self.names)?;
        Some((&self.members, bytes))
    }
}

/// The length of the object that a text begins with, if it has one to [`NAMES_IN_PAIRS_MAX`] members whose names differ and
/// have no escapes. `members` gets them, in their order; `names` is memory for it.
fn usual_object<'a>(json: &'a str, members: &mut Vec<UsualMember<'a>>, names: &mut Vec<&'a str>) -> Option<usize> {
    members.clear();
    members.reserve(NAMES_IN_PAIRS_MAX);
    let mut at = json.strip_prefix('{').map(|_| 1)?;
    loop {
        let rest = json.get(at..)?;
        let (name_to, value_to) = match plain_member(rest.as_bytes()) {
            Some(plain) => plain,
            None => other_member(rest, names)?,
        };
        let name = rest.get(1..name_to - 1)?;
        if members.len() == NAMES_IN_PAIRS_MAX || members.iter().any(|(known, _)| *known == name) {
            return None;
        }
        members.push((name, JsonValue::of_checked(rest.get(name_to + 1..value_to)?)));
        at += value_to;
        match json.as_bytes().get(at)? {
            b',' => at += 1,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The lengths of the name and of all of the member that a text begins with, whatever its value is.
fn other_member<'a>(rest: &'a str, names: &mut Vec<&'a str>) -> Option<(usize, usize)> {
    let name_to = plain_string(rest.as_bytes())?;
    let value = rest.get(name_to..)?.strip_prefix(':')?;
    let (compact, bytes) = Scanner::first(value, 2, names).ok()?;
    // A change makes it shorter.
    (compact.len() == bytes).then_some((name_to, name_to + 1 + bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::{METADATA_BYTES_MAX, Metadata};

    fn found(json: &str) -> Option<(usize, Vec<UsualMember<'_>>)> {
        let mut members = Vec::new();
        usual_object(json, &mut members, &mut Vec::new()).map(|bytes| (bytes, members))
    }

    #[test]
    fn members_are_found_and_unusual_objects_are_refused() {
        let json = r#"{"a":1,"b":"x\"}","c":{"d":[1.5,{}]},"é":null}"#;
        let text = format!("{json},");
        let (bytes, members) = found(&text).expect("usual");
        let members: Vec<_> = members.into_iter().map(|(name, value)| (name, value.json())).collect();
        assert_eq!(bytes, json.len());
        assert_eq!(members, [("a", "1"), ("b", r#""x\"}""#), ("c", r#"{"d":[1.5,{}]}"#), ("é", "null")]);
        let many = |members: usize| {
            format!("{{{}}}", (0..members).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","))
        };
        assert!(found(&many(NAMES_IN_PAIRS_MAX)).is_some());
        for other in [
            "",
            "{}",
            "[1]",
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":1]"#,
            r#"{"a" :1}"#,
            r#"{"a": 1}"#,
            r#"{"a":[1, 2]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":01}"#,
            &many(NAMES_IN_PAIRS_MAX + 1),
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\"[ -~]{0,12}\"",
            "\"[a-zé€\"\\\\u0n]{0,12}\"",
            "[0-9]{0,20}",
            "[-0-9.e{}\\[\\],: ]{0,8}",
            "\\{\"[ab]\":[0-9]{1,3}[, ]?\\}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_found_is_metadata_with_these_members(
            members in prop::collection::vec(("\"[a-cé\\\\]{0,2}\"", "[:]|[: ]{0,2}", value()), 1..5),
            end in "[}]|[},\\]]{0,3}",
        ) {
            let members: Vec<String> = members.iter().map(|(name, colon, value)| format!("{name}{colon}{value}")).collect();
            let json = format!("{{{}{end}", members.join(","));
            if let Some((bytes, members)) = found(&json) {
                let object = &json[..bytes];
                prop_assert!(object.len() <= METADATA_BYTES_MAX);
                let metadata = Metadata::parse(object);
                prop_assert_eq!(metadata.as_ref().map(Metadata::as_json), Ok(object));
                let expected: Vec<_> = JsonValue::new(object).members().collect();
                let found: Vec<_> = members.into_iter().map(|(name, value)| (name.into(), value)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
