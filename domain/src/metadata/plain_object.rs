//! The most common objects and members, in one look at each byte: texts without escapes and short integers, without white
//! space.
//!
//! Invariant: what is found here is JSON, and what the scanner ([`super::scanner`]) would leave as it is. The scanner decides
//! on everything else.

use super::name::NAMES_IN_PAIRS_MAX;
use super::plain::plain_bytes;

/// Digits of an integer that every store can hold.
const INTEGER_DIGITS_MAX: usize = 18;

/// The length of the object that a text begins with, if it has one to [`NAMES_IN_PAIRS_MAX`] plain members, no two of one
/// name. `names` is memory for it.
pub(super) fn plain_object<'a>(json: &'a [u8], names: &mut Vec<&'a [u8]>) -> Option<usize> {
    names.clear();
    let mut rest = json.strip_prefix(b"{")?;
    loop {
        let (name, member) = plain_member(rest)?;
        let name = rest.get(..name)?;
        if names.len() == NAMES_IN_PAIRS_MAX || names.contains(&name) {
            return None;
        }
        names.push(name);
        let (next, behind) = rest.get(member..)?.split_first()?;
        rest = behind;
        match next {
            b',' => {}
            b'}' => return Some(json.len() - rest.len()),
            _ => return None,
        }
    }
}

/// The lengths of the name and of all of the plain member that a text begins with. What follows it is not looked at.
// A call for each member would cost 3 % of `decode`.
#[inline(always)]
pub(super) fn plain_member(json: &[u8]) -> Option<(usize, usize)> {
    let name = plain_string(json)?;
    let (b':', value) = json.get(name..)?.split_first()? else { return None };
    let value = match value.first()? {
        b'"' => plain_string(value)?,
        b'1'..=b'9' => integer(value)?,
        _ => return None,
    };
    Some((name, name + 1 + value))
}

/// The length of the string that a text begins with, if it has no escapes.
#[inline(always)]
pub(super) fn plain_string(json: &[u8]) -> Option<usize> {
    let (b'"', text) = json.split_first()? else { return None };
    let plain = plain_bytes(text);
    (text.get(plain) == Some(&b'"')).then_some(plain + 2)
}

/// The number of digits that a text begins with, if the number ends behind them.
#[inline]
fn integer(json: &[u8]) -> Option<usize> {
    let digits = json.iter().take(INTEGER_DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    matches!(json.get(digits), Some(b',' | b'}')).then_some(digits)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::metadata::scanner::Scanner;

    fn length(json: &str) -> Option<usize> {
        plain_object(json.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn plain_objects_are_found_with_their_lengths() {
        for object in
            [r#"{"a":1}"#, r#"{"":""}"#, r#"{"requestId":"00000000000000ff","é":"ü €","n":123456789012345678}"#]
        {
            assert_eq!(length(object), Some(object.len()));
            assert_eq!(length(&format!("{object},")), Some(object.len()));
        }
        let members = |count: usize| (0..count).map(|n| format!("\"{n}\":{}", n + 1)).collect::<Vec<_>>().join(",");
        assert!(length(&format!("{{{}}}", members(NAMES_IN_PAIRS_MAX))).is_some());
        for other in [
            "",
            "{}",
            "[1]",
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":1]"#,
            r#"{"a" :1}"#,
            r#"{"a":0}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\"\t\"}",
            r#"{"a":1234567890123456789}"#,
            r#"{"a":{"b":1}}"#,
            &format!("{{{}}}", members(NAMES_IN_PAIRS_MAX + 1)),
        ] {
            assert_eq!(length(other), None, "{other}");
        }
    }

    fn string() -> impl Strategy<Value = String> {
        prop_oneof![4 => "\"[a-c]{0,2}\"", 1 => "\"[a-zé€\"\\\\u0\n]{0,20}\"", 1 => "\"[ -~]{0,40}\""]
    }

    proptest! {
        #[test]
        fn what_is_found_the_scanner_leaves_as_it_is(
            members in prop::collection::vec((string(), "[:]|[: ]{0,2}", prop_oneof![string(), "[0-9]{0,20}", "[-0-9.e{}]{0,4}"]), 1..5),
            end in "[}]|[},\\]]{0,3}",
        ) {
            let members: Vec<String> = members.iter().map(|(name, colon, value)| format!("{name}{colon}{value}")).collect();
            let json = format!("{{{}{end}", members.join(","));
            if let Some(bytes) = length(&json) {
                let scanned = Scanner::first(&json, 1, &mut Vec::new());
                prop_assert!(
                    matches!(&scanned, Ok((Cow::Borrowed(text), read)) if *text == &json[..bytes] && *read == bytes),
                    "{} {:?}", json, scanned
                );
            }
        }
    }
}
