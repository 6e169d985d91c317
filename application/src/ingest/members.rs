//! The JSON text of an event's metadata, written member by member by a protocol whose entries are not JSON.
//!
//! Invariant: at most [`MEMBERS_BYTES_MAX`] are written, whatever is added. What comes then is left out, and the text
//! knows that it was cut.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use domain::metadata::{JsonValue, METADATA_BYTES_MAX, Metadata, is_plain};

/// Maximum bytes to write, without the closing brace.
const MEMBERS_BYTES_MAX: usize = METADATA_BYTES_MAX;

/// Up to this many names are compared with all names of another object: more take memory instead.
const NAMES_COMPARED_MAX: usize = 4;

/// Longest object in which a name is looked for only to be certain.
const SEARCHED_BYTES_MAX: usize = 1_024;

/// Memory for the first members: most objects need no more.
const USUAL_BYTES: usize = 256;

/// JSON text up to a number of bytes.
#[derive(Clone, Debug)]
pub struct JsonText {
    text: String,
    bytes_max: usize,
    is_cut: bool,
}

impl JsonText {
    /// No text yet; at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, is_cut: false }
    }

    /// Appends text that is JSON, or part of it. Text that is too long is cut.
    #[inline]
    pub fn push(&mut self, json: &str) {
        if self.text.len() + json.len() <= self.bytes_max {
            self.text.push_str(json);
        } else {
            self.push_cut(json);
        }
    }

    fn push_cut(&mut self, json: &str) {
        let room = self.bytes_max.saturating_sub(self.text.len());
        let fits = json.get(..json.floor_char_boundary(room)).unwrap_or_default();
        self.text.push_str(fits);
        self.is_cut |= fits.len() < json.len();
    }

    /// Appends a text as a JSON string.
    pub fn push_text(&mut self, text: &str) {
        self.push_string(text);
    }

    /// The same. Says whether it has no escapes.
    fn push_string(&mut self, text: &str) -> bool {
        let room = self.bytes_max.saturating_sub(self.text.len());
        if text.len() + 2 <= room && is_plain(text.as_bytes()) {
            self.text.reserve(text.len() + 2);
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
            return true;
        }
        // An escape is never shorter than what it stands for, so that the rest would be cut anyway.
        let (bytes, text) = (text.len(), text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        self.is_cut |= text.len() < bytes;
        let is_plain = is_plain(text.as_bytes());
        if is_plain {
            ["\"", text, "\""].into_iter().for_each(|part| self.push(part));
        } else {
            self.push(&serde_json::to_string(text).unwrap_or_default());
        }
        is_plain
    }

    /// Whether something did not fit.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }
}

/// A JSON object under construction. It may turn out to be no metadata: what is added is not read to find that out.
#[derive(Clone)]
pub struct Members {
    json: JsonText,
    /// A bit for each name, so that most names that are absent are known to be.
    name_bits: u64,
    certainty: Certainty,
}

/// What is certain about the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// Nothing.
    None,
    /// They are metadata but for its size.
    Metadata,
    /// They are, and none of them is an array or an object.
    Scalars,
}

impl fmt::Debug for Members {
    /// Shows what was written, and not what is known of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Members").field(&self.json).finish()
    }
}

impl Default for Members {
    fn default() -> Self {
        Self { json: JsonText::new(MEMBERS_BYTES_MAX), name_bits: 0, certainty: Certainty::Scalars }
    }
}

impl From<Metadata<'_>> for Members {
    fn from(metadata: Metadata<'_>) -> Self {
        Self { certainty: Certainty::Metadata, ..Self::of_object(metadata.into_json()) }
    }
}

impl Members {
    /// Those of a JSON object, given as its text without white space around it.
    #[must_use]
    pub fn of_object(mut json: String) -> Self {
        let mut members = Self::default();
        json.pop();
        members.json.is_cut = json.len() > MEMBERS_BYTES_MAX;
        json.truncate(json.floor_char_boundary(MEMBERS_BYTES_MAX));
        if json.len() > 1 {
            members.json.text = json;
            (members.name_bits, members.certainty) = (u64::MAX, Certainty::None);
        }
        members
    }

    /// Adds a member with a text.
    pub fn text(&mut self, name: &str, value: &str) {
        let is_new = self.lacks(name);
        self.add_text(name, value, is_new);
    }

    /// Adds a member with a text, unless there is one with this name.
    pub fn text_if_absent(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.add_text(name, value, true);
        }
    }

    fn add_text(&mut self, name: &str, value: &str, is_new: bool) {
        self.name(name, Certainty::Scalars, is_new);
        if !self.json.push_string(value) {
            self.certainty = Certainty::None;
        }
    }

    /// Adds a member whose value is JSON text.
    pub fn json(&mut self, name: &str, value: &str) {
        self.value(name, |json| json.push(value));
    }

    /// Adds a member whose value is JSON text that metadata keeps as it is, and no array or object.
    pub fn scalar(&mut self, name: &str, value: &str) {
        self.name(name, Certainty::Scalars, self.lacks(name));
        self.json.push(value);
    }

    /// Adds a member whose value `write` appends as JSON text.
    pub fn value(&mut self, name: &str, write: impl FnOnce(&mut JsonText)) {
        self.name(name, Certainty::None, false);
        write(&mut self.json);
    }

    /// Adds the members of another object that was written here as one member of this name, if it has any.
    pub fn within(&mut self, name: &str, others: Self) {
        let (certainty, is_cut) = (others.certainty, others.is_cut());
        if let Some(others) = others.into_json() {
            // Deeper ones could be too deep here.
            let of_object = if certainty == Certainty::Scalars { Certainty::Metadata } else { Certainty::None };
            self.name(name, of_object, self.lacks(name));
            self.json.push(&others);
            self.json.is_cut |= is_cut;
        }
    }

    /// Adds the members of another object that was written here; as one member of the name `within` if a name would be there
    /// twice.
    pub fn all_or_within(&mut self, within: &str, others: Self) {
        if !self.shares_a_name(&others) {
            self.add_all(&others, true);
        } else if others.is_empty() {
            self.json(within, "{}");
        } else {
            self.within(within, others);
        }
    }

    /// Adds the members of another object that was written here.
    pub fn all(&mut self, others: &Self) {
        self.add_all(others, self.name_bits & others.name_bits == 0);
    }

    fn add_all(&mut self, others: &Self, are_new: bool) {
        if let Some(members) = others.as_str().get(1..).filter(|members| !members.is_empty()) {
            if self.is_empty() {
                self.json.text.reserve(members.len() + USUAL_BYTES);
            }
            self.json.push(if self.is_empty() { "{" } else { "," });
            self.json.push(members);
            self.json.is_cut |= others.is_cut();
            self.name_bits |= others.name_bits;
            self.certainty = self.certainty.min(if are_new { others.certainty } else { Certainty::None });
        }
    }

    /// Whether there is a member with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.name_bits & name_bit(name) != 0 && self.may_have(name) && self.names().any(|of| of == name)
    }

    /// Whether it is certain that no member has this name. A large object is not searched: adding many members would take
    /// quadratic time.
    fn lacks(&self, name: &str) -> bool {
        let is_small = self.as_str().len() <= SEARCHED_BYTES_MAX && self.certainty > Certainty::None;
        self.name_bits & name_bit(name) == 0 || (is_small && !self.has(name))
    }

    /// Without escapes, names stand in the text as they are.
    fn may_have(&self, name: &str) -> bool {
        self.as_str().contains(name) || self.as_str().contains('\\')
    }

    /// Whether there is a member with the name of a member of another object.
    #[must_use]
    pub fn shares_a_name(&self, others: &Self) -> bool {
        if self.name_bits & others.name_bits == 0 {
            return false;
        }
        for (number, name) in self.names().enumerate() {
            if number == NAMES_COMPARED_MAX {
                let names: BTreeSet<Cow<'_, str>> = self.names().collect();
                return others.names().any(|name| names.contains(&name));
            }
            if others.may_have(&name) && others.names().any(|other| other == name) {
                return true;
            }
        }
        false
    }

    fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let inner = self.as_str().get(1..).unwrap_or_default();
        JsonValue::members_in(inner).map(|(name, _)| name)
    }

    /// What was written so far: the object without its closing brace.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.json.as_str()
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    /// Whether something did not fit: the object is not complete, and may not be JSON.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.json.is_cut()
    }

    /// Whether the object is metadata for certain.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        // The closing brace comes to it.
        self.certainty > Certainty::None && !self.is_cut() && self.as_str().len() < METADATA_BYTES_MAX
    }

    /// The object, if it has members.
    #[must_use]
    pub fn into_json(mut self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        self.json.bytes_max += 1;
        self.json.push("}");
        Some(self.json.into_string())
    }

    /// Writes a name. `is_new`: it is certain that no other member has it.
    fn name(&mut self, name: &str, of_value: Certainty, is_new: bool) {
        if self.is_empty() {
            self.json.text.reserve(USUAL_BYTES);
        }
        self.json.push(if self.is_empty() { "{" } else { "," });
        let is_plain = self.json.push_string(name);
        self.json.push(":");
        self.name_bits |= name_bit(name);
        self.certainty = self.certainty.min(if is_plain && is_new { of_value } else { Certainty::None });
    }
}

/// The bit of a name, which others may share.
fn name_bit(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or_default());
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    1 << ((byte(0) + 5 * byte(bytes.len() / 2) + 17 * byte(bytes.len().wrapping_sub(1)) + 3 * length) % u64::BITS)
}

#[cfg(test)]
mod tests {
    use domain::metadata::MetadataError;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_written_in_their_order() {
        assert_eq!(Members::default().into_json(), None);
        let mut shared = Members::default();
        shared.json("n", "1");
        let mut members = Members::default();
        members.all(&Members::default());
        members.text("a\"", "line\n");
        members.all(&shared);
        members.value("v", |json| json.push("[true]"));
        assert!(members.has("a\"") && members.has("n") && !members.has("x") && members.shares_a_name(&shared));
        assert!(!members.shares_a_name(&Members::default()));
        let mut many = Members::default();
        (0..2 * NAMES_COMPARED_MAX).for_each(|number| many.json(&number.to_string(), "{\"n\":[]}"));
        assert!(!many.shares_a_name(&members) && !members.shares_a_name(&many));
        many.json("n", "2");
        assert!(many.shares_a_name(&members) && members.shares_a_name(&many));
        assert_eq!(members.into_json().as_deref(), Some("{\"a\\\"\":\"line\\n\",\"n\":1,\"v\":[true]}"));
    }

    #[test]
    fn what_is_too_long_is_cut_and_known_to_be() {
        for (name, value) in [("a", "x".repeat(METADATA_BYTES_MAX)), (&*"é".repeat(METADATA_BYTES_MAX), String::new())]
        {
            let mut members = Members::default();
            members.text(name, &value);
            members.text("b", &value);
            assert!(members.is_cut());
            let mut others = Members::default();
            others.all(&members);
            assert!(others.is_cut());
            let json = members.into_json().expect("members");
            assert!(json.len() <= MEMBERS_BYTES_MAX + 1, "{}", json.len());
            let object = format!("{{\"{name}\":\"{value}\",\"b\":\"{value}\"}}");
            let of_object = Members::of_object(object);
            assert!(of_object.is_cut() && of_object.as_str().len() > MEMBERS_BYTES_MAX - 2);
        }
    }

    #[test]
    fn what_agents_write_is_metadata_for_certain() {
        let metadata = |json| Metadata::parse(json).expect("metadata");
        let mut members = Members::from(metadata(r#"{"a":{"b":[1]}}"#));
        let mut scalars = Members::default();
        scalars.text("service.name", "s");
        scalars.scalar("number", "1.50");
        members.within("resource", scalars.clone());
        members.text_if_absent("_index", "logs");
        assert!(members.is_metadata() && members.has("_index") && !scalars.has("_index"));
        // The names of what was read elsewhere are not known.
        members.all(&scalars);
        assert!(!members.is_metadata() && members.shares_a_name(&scalars));
        assert!(!Members::of_object(r#"{"a":1}"#.to_owned()).is_metadata());
    }

    #[test]
    fn many_members_take_linear_time() {
        let mut members = Members::default();
        members.text("escaped", "\\");
        let mut others = members.clone();
        for number in 0..300_000 {
            members.text(&number.to_string(), "");
            others.scalar(&number.to_string(), "1");
        }
        assert!(members.is_cut() && others.is_cut() && !members.is_metadata() && !others.is_metadata());
    }

    /// What is done to members.
    #[derive(Clone, Debug)]
    enum Change {
        Text(String, String),
        IfAbsent(String, String),
        Scalar(String, &'static str),
        Json(String, &'static str),
        Within(String, Vec<Self>),
        All(Vec<Self>),
        OrWithin(String, Vec<Self>),
        Metadata(&'static str),
    }

    fn written(changes: &[Change]) -> Members {
        let mut members = Members::default();
        for change in changes {
            match change {
                Change::Text(name, value) => members.text(name, value),
                Change::IfAbsent(name, value) => members.text_if_absent(name, value),
                Change::Scalar(name, value) => members.scalar(name, value),
                Change::Json(name, value) => members.json(name, value),
                Change::Within(name, others) => members.within(name, written(others)),
                Change::All(others) => members.all(&written(others)),
                Change::OrWithin(name, others) => members.all_or_within(name, written(others)),
                Change::Metadata(json) => {
                    members.all_or_within("metadata", Metadata::parse(json).expect("metadata").into());
                }
            }
        }
        members
    }

    fn change() -> impl Strategy<Value = Change> {
        let name =
            || prop::sample::select(vec!["a", "b", "c", "k", "aa", "", "\0", "é", "\"", "a.b"]).prop_map(str::to_owned);
        let value = || prop_oneof![4 => "[a-c]{0,2}", 1 => "[a-c\\\\\"\n]{0,3}"];
        let deep = "{\"a\":[[[[[[[[[[[[[[1]]]]]]]]]]]]]]}";
        let leaf = prop_oneof![
            (name(), value()).prop_map(|(name, value)| Change::Text(name, value)),
            (name(), value()).prop_map(|(name, value)| Change::IfAbsent(name, value)),
            (name(), prop::sample::select(vec!["1", "-1.50", "null", "\"x\""]))
                .prop_map(|(name, value)| Change::Scalar(name, value)),
            (name(), prop::sample::select(vec!["1e999", "{}", "[1, 2]", "\"\\ud800\""]))
                .prop_map(|(name, value)| Change::Json(name, value)),
            prop::sample::select(vec!["{}", "{\"a\":1}", "{\"b\":{},\"k\":[]}", "{\"\\u0061\":1}", deep])
                .prop_map(Change::Metadata),
        ];
        leaf.prop_recursive(2, 12, 4, move |inner| {
            let changes = || prop::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                (name(), changes()).prop_map(|(name, changes)| Change::Within(name, changes)),
                changes().prop_map(Change::All),
                (name(), changes()).prop_map(|(name, changes)| Change::OrWithin(name, changes)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_text_is_an_object_with_what_was_added(members in prop::collection::btree_map(".{0,9}", ".{0,20}", 1..5)) {
            let mut written = Members::default();
            members.iter().for_each(|(name, value)| written.text(name, value));
            prop_assert!(!written.is_cut());
            let json = written.into_json().expect("members");
            let read: std::collections::BTreeMap<String, String> = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(read, members);
            prop_assert!(!matches!(Metadata::parse(&json), Err(MetadataError::Syntax)));
        }

        #[test]
        fn what_is_metadata_for_certain_is_metadata(changes in prop::collection::vec(change(), 1..6)) {
            let members = written(&changes);
            let is_metadata = members.is_metadata();
            for name in ["a", "b", "k", "é", "\""] {
                prop_assert_eq!(members.has(name), members.names().any(|of| of == name), "{}", name);
            }
            if let Some(json) = members.into_json().filter(|_| is_metadata) {
                let read = Metadata::parse(&json);
                prop_assert_eq!(read.as_ref().map(Metadata::as_json), Ok(json.as_str()));
            }
        }

        #[test]
        fn a_shared_name_is_noticed(first in prop::collection::vec(change(), 0..4), second in prop::collection::vec(change(), 0..4)) {
            let (first, second) = (written(&first), written(&second));
            let shares = first.names().any(|name| second.names().any(|other| other == name));
            prop_assert_eq!((first.shares_a_name(&second), second.shares_a_name(&first)), (shares, shares));
        }
    }
}
