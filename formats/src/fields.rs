//! The members of a draft's metadata, until they become a JSON object.
//!
//! Invariant: what [`Fields::into_metadata`] returns is accepted by [`Metadata::parse`]; no name is there twice.

use std::borrow::Cow;
use std::collections::HashMap;

use domain::metadata::{JsonValue, Metadata, MetadataError, is_plain};
use serde_json::value::RawValue;

/// Members in their order: names, and values as JSON text.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    members: Vec<(String, String)>,
}

/// The members do not fit into the metadata of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Fields {
    /// Adds a member whose value is JSON text.
    pub fn push_json(&mut self, name: &str, json: &str) {
        self.members.push((name.to_owned(), json.to_owned()));
    }

    /// Adds a member whose value is a text.
    pub fn push_text(&mut self, name: &str, text: &str) {
        self.members.push((name.to_owned(), quoted(text)));
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
    pub fn add_to(self, metadata: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
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
        all.into_metadata().unwrap_or(Some(metadata))
    }

    /// The names and the values.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, JsonValue<'_>)> {
        self.members.iter().map(|(name, json)| (Cow::Borrowed(name.as_str()), JsonValue::new(json)))
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
    pub fn into_metadata(self) -> Result<Option<Box<RawValue>>, TooLarge> {
        if self.members.is_empty() {
            return Ok(None);
        }
        // A name is rarely there twice, and the domain notices it.
        let json = self.json(str::to_owned);
        let checked = match Metadata::parse(&json) {
            Ok(checked) => checked.into_owned(),
            Err(MetadataError::DuplicateName(_)) => {
                Metadata::parse(&self.into_json()).map_err(|_| TooLarge)?.into_owned()
            }
            Err(_) => return Err(TooLarge),
        };
        RawValue::from_string(checked.as_json().to_owned()).map(Some).map_err(|_| TooLarge)
    }

    /// The members as the text of a JSON object, each name once.
    pub fn into_json(self) -> String {
        let mut names = Names::default();
        self.json(|name| names.unique(name.to_owned()))
    }

    fn json(&self, mut name_of: impl FnMut(&str) -> String) -> String {
        let bytes: usize = self.members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut json = String::with_capacity(bytes + 2);
        json.push('{');
        for (name, value) in &self.members {
            if json.len() > 1 {
                json.push(',');
            }
            push_quoted(&mut json, &name_of(name));
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
pub fn of(metadata: &RawValue) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in JsonValue::new(metadata.get()).members() {
        fields.push_json(&name, value.json());
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
        assert_eq!(json.get(), expected);
    }

    #[test]
    fn what_the_domain_refuses_is_too_large() {
        let mut fields = Fields::default();
        fields.push_text("a", &"x".repeat(70_000));
        assert!(fields.into_metadata().is_err());
    }
}
