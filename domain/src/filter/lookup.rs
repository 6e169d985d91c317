//! The values that a name means in metadata.

use crate::metadata::{JsonKind, JsonValue};

/// Maximum parts of a name, separated by dots: metadata is not nested deeper.
pub const NAME_PARTS_MAX: usize = crate::metadata::METADATA_DEPTH_MAX as usize;

/// Calls `test` with each value of a name until it returns true; returns whether it did. `http.status` means the member
/// `http.status` or, without one, the member `status` of `http`: at each object the longest name that leads to a value.
/// A name goes through arrays, and the values of an array are its elements.
pub fn any_value<'a>(object: JsonValue<'a>, name: &str, test: &mut dyn FnMut(JsonValue<'a>) -> bool) -> bool {
    matches!(look_up(object, name, test), Some(true))
}

/// `None` without a value of this name.
fn look_up<'a>(value: JsonValue<'a>, name: &str, test: &mut dyn FnMut(JsonValue<'a>) -> bool) -> Option<bool> {
    match value.kind() {
        JsonKind::Array => {
            let mut found = None;
            for element in value.elements() {
                match look_up(element, name, test) {
                    Some(true) => return Some(true),
                    other => found = found.or(other),
                }
            }
            found
        }
        JsonKind::Object => {
            let ends = std::iter::once(name.len()).chain(name.rmatch_indices('.').map(|(at, _)| at));
            ends.filter_map(|end| name.split_at_checked(end)).find_map(|(first, rest)| {
                let (_, member) = value.members().find(|(name, _)| name == first)?;
                match rest.strip_prefix('.') {
                    Some(rest) => look_up(member, rest, test),
                    None => Some(any_element(member, test)),
                }
            })
        }
        _ => None,
    }
}

/// Whether the test holds for a value, or for any element of an array.
fn any_element<'a>(value: JsonValue<'a>, test: &mut dyn FnMut(JsonValue<'a>) -> bool) -> bool {
    match value.kind() {
        JsonKind::Array => value.elements().any(|element| any_element(element, test)),
        _ => test(value),
    }
}

/// Calls `test` with each value that is neither an object nor an array, at any depth, until it returns true.
pub fn any_scalar<'a>(value: JsonValue<'a>, test: &mut dyn FnMut(JsonValue<'a>) -> bool) -> bool {
    match value.kind() {
        JsonKind::Object => value.members().any(|(_, member)| any_scalar(member, test)),
        JsonKind::Array => value.elements().any(|element| any_scalar(element, test)),
        _ => test(value),
    }
}

/// Calls `see` with the name of each value that is not an object, as [`any_value`] understands it, and the value.
pub fn each_name<'a>(object: JsonValue<'a>, see: &mut dyn FnMut(&str, JsonValue<'a>)) {
    let mut name = String::new();
    each_name_below(object, &mut name, see);
}

fn each_name_below<'a>(value: JsonValue<'a>, name: &mut String, see: &mut dyn FnMut(&str, JsonValue<'a>)) {
    match value.kind() {
        JsonKind::Object => {
            for (member, value) in value.members() {
                let outer = name.len();
                if outer > 0 {
                    name.push('.');
                }
                name.push_str(&member);
                each_name_below(value, name, see);
                name.truncate(outer);
            }
        }
        JsonKind::Array => value.elements().for_each(|element| each_name_below(element, name, see)),
        _ => see(name, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(json: &str, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        any_value(JsonValue::new(json), name, &mut |value| {
            values.push(value.json().to_owned());
            false
        });
        values
    }

    #[test]
    fn a_name_means_the_longest_member_that_leads_to_a_value() {
        for (json, name, expected) in [
            (r#"{"a":1}"#, "a", &["1"][..]),
            (r#"{"a":1}"#, "b", &[]),
            (r#"{"a.b":1,"a":{"b":2}}"#, "a.b", &["1"]),
            (r#"{"a":{"b":2}}"#, "a.b", &["2"]),
            (r#"{"a.b":{"x":1},"a":{"b.c":2}}"#, "a.b.c", &["2"]),
            (r#"{"a.b":{"c":1},"a":{"b.c":2}}"#, "a.b.c", &["1"]),
            (r#"{"a":[1,[2,"3"],null]}"#, "a", &["1", "2", "\"3\"", "null"]),
            (r#"{"a":[{"b":1},{"c":2},{"b":[3]}]}"#, "a.b", &["1", "3"]),
            (r#"{"a":[]}"#, "a", &[]),
            (r#"{"a":{"b":1}}"#, "a", &[r#"{"b":1}"#]),
            (r#"{"A":1}"#, "a", &[]),
            (r#"{"\u0061":1,"a.":2}"#, "a.", &["2"]),
        ] {
            assert_eq!(values(json, name), expected, "{json} {name}");
        }
    }

    #[test]
    fn all_names_and_all_scalars_are_seen() {
        let json = r#"{"a":{"b":[1,{"c":"x"}],"d":{}},"e":null}"#;
        let mut seen = Vec::new();
        each_name(JsonValue::new(json), &mut |name, value| seen.push(format!("{name}={}", value.json())));
        assert_eq!(seen, ["a.b=1", "a.b.c=\"x\"", "e=null"]);
        let mut scalars = Vec::new();
        any_scalar(JsonValue::new(json), &mut |value| {
            scalars.push(value.json().to_owned());
            false
        });
        assert_eq!(scalars, ["1", "\"x\"", "null"]);
    }
}
