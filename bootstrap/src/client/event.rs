//! A stored event, as the API describes it.
//!
//! * Its JSON is kept as it arrived: numbers and the order of metadata are shown unchanged.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The members of a JSON object, as JSON.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// An event.
pub struct Event<'a>(Members<'a>);

impl<'a> Event<'a> {
    /// The event in this JSON; without members if it is not an object.
    #[must_use]
    pub fn of(json: &'a RawValue) -> Self {
        Self(members(json).unwrap_or_default())
    }

    /// The value of a field as text: a field of the event, or of its metadata, where `a.b` is also `b` within `a`.
    /// Strings are decoded, other values are JSON.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        if let Some(value) = self.0.get(name) {
            return text_of(value);
        }
        let metadata = self.0.get("metadata").copied()?;
        let within = name.strip_prefix("metadata.").and_then(|name| member(metadata, name));
        within.or_else(|| member(metadata, name)).and_then(text_of)
    }

    /// The same, empty if it is absent.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.field(name).unwrap_or_default()
    }
}

fn members(json: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(json.get()).ok()
}

/// The member at this path, as a search understands it: at each object the longest name that leads to a member.
fn member<'a>(json: &'a RawValue, path: &str) -> Option<&'a RawValue> {
    let members = members(json)?;
    if let Some(value) = members.get(path).copied() {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (outer, inner) = path.split_at_checked(dot)?;
        member(members.get(outer).copied()?, inner.strip_prefix('.')?)
    })
}

/// `None` for null. A string that cannot be decoded, such as one with half of a surrogate pair, stays JSON.
fn text_of(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        json if json.starts_with('"') => Some(serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())),
        json => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_the_event_and_in_its_metadata() {
        let json = r#"{"eventId":"e","message":"a\"\u001b","stackTrace":null,"partition":2,
            "metadata":{"userId":"12345","n":1.50,"a.b":"dotted","user":{"name":"x","roles":["r"],"b.c":{"d":true}},"level":"inner",
                "x":{"y.z":"short"},"x.y":{"z":"long"}},
            "level":"ERROR"}"#;
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        let event = Event::of(&raw);
        for (name, value) in [
            ("message", Some("a\"\u{1b}")),
            ("stackTrace", None),
            ("partition", Some("2")),
            ("level", Some("ERROR")),
            ("metadata.level", Some("inner")),
            ("userId", Some("12345")),
            ("n", Some("1.50")),
            ("a.b", Some("dotted")),
            ("user.name", Some("x")),
            ("user.roles", Some(r#"["r"]"#)),
            ("user.b.c.d", Some("true")),
            ("metadata.user.name", Some("x")),
            ("x.y.z", Some("long")),
            ("user.name.x", None),
            ("none", None),
            (".", None),
        ] {
            assert_eq!(event.field(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn what_is_not_an_event_has_no_fields() {
        for json in ["1", "[]", r#"{"message":"\ud800"}"#] {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert!(Event::of(&raw).field("message").is_none_or(|text| text == r#""\ud800""#), "{json}");
        }
    }
}
