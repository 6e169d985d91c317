//! The members of a draft's metadata, until they become a JSON object.
//!
//! Invariant: what [`Fields::into_metadata`] returns is accepted by [`Metadata::parse`]; no name is there twice.

use std::borrow::Cow;
use std::collections::HashMap;

use domain::metadata::{JsonValue, Metadata, MetadataError, is_plain};

/// Members in their order: names, and values as JSON text.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Up to this many names are compared pair by pair, which needs no memory.
const NAMES_IN_PAIRS_MAX: usize = 16;

/// The members do not fit into the metadata of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl<'a> Fields<'a> {
    /// Adds a member whose value is JSON text.
    pub fn push_json(&mut self, name: &str, json: &str) {
        self.members.push((Cow::Owned(name.to_owned()), Cow::Owned(json.to_owned())));
    }

    /// The same without a copy.
    pub fn push_borrowed(&mut self, name: Cow<'a, str>, json: &'a str) {
        self.members.push((name, Cow::Borrowed(json)));
    }

    /// Adds a member whose value is a text.
    pub fn push_text(&mut self, name: &str, text: &str) {
        self.members.push((Cow::Owned(name.to_owned()), Cow::Owned(quoted(text))));
    }

    /// Adds a member whose value is a number if the text is one as JSON writes it, digit for digit, and otherwise a
    /// text.
    pub fn push_number_or_text(&mut self, name: &str, text: &str) {
        if is_plain_number(text) { self.push_json(name, text) } else { self.push_text(name, text) }
    }

    /// Adds the members of `others` behind these.
    pub fn append(&mut self, others: Self) {
        self.members.extend(others.members);
    }

    /// Adds those members to metadata that it does not have. Metadata that has no room for them stays as it is.
    pub fn add_to(self, metadata: Option<Metadata<'static>>) -> Option<Metadata<'static>> {
        if self.members.is_empty() {
            return metadata;
        }
        let Some(metadata) = metadata else { return self.into_metadata().ok().flatten() };
        let mut all = of(&metadata);
        let known = all.members.len();
        for (name, value) in self.members {
            let names = all.members.get(..known).unwrap_or_default();
            if !names.iter().any(|(known, _)| *known == name) {
                all.members.push((name, value));
            }
        }
        match all.into_metadata() {
            Ok(all) => all,
            Err(TooLarge) => Some(metadata),
        }
    }

    /// The names and the values.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, JsonValue<'_>)> {
        self.members.iter().map(|(name, json)| (Cow::Borrowed(name.as_ref()), JsonValue::new(json)))
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The metadata; `None` if there are no members.
    ///
    /// # Errors
    /// The metadata would break a limit of the domain.
    pub fn into_metadata(self) -> Result<Option<Metadata<'static>>, TooLarge> {
        if self.members.is_empty() {
            return Ok(None);
        }
        // A name is rarely there twice, and the domain notices it.
        let json = self.json(None);
        let changed = match Metadata::parse(&json) {
            // What was written is compact already.
            Ok(checked) if checked.as_json().len() == json.len() => None,
            Ok(checked) => Some(checked.into_owned()),
            Err(MetadataError::DuplicateName(_)) => {
                Some(Metadata::parse(&self.into_json()).map_err(|_| TooLarge)?.into_owned())
            }
            Err(_) => return Err(TooLarge),
        };
        Ok(Some(changed.unwrap_or_else(|| Metadata::from_checked(Cow::Owned(json)))))
    }

    /// The members as the text of a JSON object, each name once.
    pub fn into_json(self) -> String {
        let names = if self.has_unique_names() { None } else { Some(Names::default()) };
        self.json(names)
    }

    /// Whether each name is there once and needs no change, as far as that is seen without memory.
    fn has_unique_names(&self) -> bool {
        let mut rest = self.members.as_slice();
        if rest.len() > NAMES_IN_PAIRS_MAX {
            return false;
        }
        while let [(name, _), others @ ..] = rest {
            if name.contains('\0') || others.iter().any(|(other, _)| other == name) {
                return false;
            }
            rest = others;
        }
        true
    }

    /// The text of a JSON object; if there are `names`, each of its names is one of them once.
    fn json(&self, mut names: Option<Names>) -> String {
        let bytes: usize = self.members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut json = String::with_capacity(bytes + 2);
        json.push('{');
        for (name, value) in &self.members {
            if json.len() > 1 {
                json.push(',');
            }
            match &mut names {
                Some(names) => push_quoted(&mut json, &names.unique(name.clone().into_owned())),
                None => push_quoted(&mut json, name),
            }
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

/// Gives each name of an object once: the second `a` becomes `a_2`.
#[derive(Default)]
pub struct Names {
    used: HashMap<String, u32>,
}

impl Names {
    pub fn unique(&mut self, name: String) -> String {
        let name = if name.contains('\0') { name.replace('\0', "\u{fffd}") } else { name };
        let Some(count) = self.used.get_mut(&name) else {
            self.used.insert(name.clone(), 1);
            return name;
        };
        *count += 1;
        let numbered = format!("{name}_{count}");
        // `a_2` may be a name of its own: then `a_2_2`, which is longer each time, so this ends.
        self.unique(numbered)
    }
}

/// The members of metadata.
fn of<'m>(metadata: &'m Metadata<'_>) -> Fields<'m> {
    let mut fields = Fields::default();
    for (name, value) in JsonValue::new(metadata.as_json()).members() {
        fields.push_borrowed(name, value.json());
    }
    fields
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_quoted(&mut json, text);
    json
}

fn push_quoted(json: &mut String, text: &str) {
    if !is_plain(text.as_bytes()) {
        json.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    json.push('"');
    json.push_str(text);
    json.push('"');
}

fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 30 && all_digits(whole) && all_digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_numbers_stay_as_written() {
        let mut fields = Fields::default();
        for name in ["a", "a_2", "a", "a", "b\0"] {
            fields.push_number_or_text(name, "1.50");
        }
        fields.push_number_or_text("c", "007");
        let json = fields.into_metadata().unwrap().unwrap();
        let expected = "{\"a\":1.50,\"a_2\":1.50,\"a_2_2\":1.50,\"a_3\":1.50,\"b\u{fffd}\":1.50,\"c\":\"007\"}";
        assert_eq!(json.as_json(), expected);
    }

    #[test]
    fn what_the_domain_refuses_is_too_large() {
        let mut fields = Fields::default();
        fields.push_text("a", &"x".repeat(70_000));
        assert!(fields.into_metadata().is_err());
    }
}
