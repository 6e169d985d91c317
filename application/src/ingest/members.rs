//! The JSON text of an event's metadata, written member by member by a protocol whose entries are not JSON.
//!
//! Invariant: at most [`MEMBERS_BYTES_MAX`] are written, whatever is added. What comes then is left out, and the text
//! knows that it was cut.

use std::borrow::Cow;
use std::collections::BTreeSet;

use domain::metadata::{JsonValue, METADATA_BYTES_MAX, Metadata, is_plain};

/// Maximum bytes to write, without the closing brace.
const MEMBERS_BYTES_MAX: usize = METADATA_BYTES_MAX;

/// Up to this many names are compared with all names of another object: more take memory instead.
const NAMES_COMPARED_MAX: usize = 4;

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
        let room = self.bytes_max.saturating_sub(self.text.len());
        // An escape is never shorter than what it stands for, so that the rest would be cut anyway.
        let fits = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        self.is_cut |= fits.len() < text.len();
        let text = fits;
        if !is_plain(text.as_bytes()) {
            self.push(&serde_json::to_string(text).unwrap_or_default());
            return;
        }
        self.push("\"");
        self.push(text);
        self.push("\"");
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

/// A JSON object under construction. It may turn out to be no metadata; nothing is checked here.
#[derive(Clone, Debug)]
pub struct Members {
    json: JsonText,
    /// Whether these are the members of metadata, and nothing was added.
    are_checked: bool,
}

impl Default for Members {
    fn default() -> Self {
        Self { json: JsonText::new(MEMBERS_BYTES_MAX), are_checked: false }
    }
}

impl From<Metadata<'_>> for Members {
    fn from(metadata: Metadata<'_>) -> Self {
        let members = Self::of_object(metadata.into_json());
        Self { are_checked: !members.is_empty(), ..members }
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
        }
        members
    }

    /// Adds a member with a text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.json.push_text(value);
    }

    /// Adds a member whose value is JSON text.
    pub fn json(&mut self, name: &str, value: &str) {
        self.name(name);
        self.json.push(value);
    }

    /// Adds a member whose value `write` appends as JSON text.
    pub fn value(&mut self, name: &str, write: impl FnOnce(&mut JsonText)) {
        self.name(name);
        write(&mut self.json);
    }

    /// Adds the members of another object that was written here; as one member of the name `within` if a name would be there
    /// twice.
    pub fn all_or_within(&mut self, within: &str, others: Self) {
        if self.shares_a_name(&others) {
            let others = others.into_json().unwrap_or_else(|| "{}".to_owned());
            self.json(within, &others);
        } else {
            self.all(&others);
        }
    }

    /// Adds the members of another object that was written here.
    pub fn all(&mut self, others: &Self) {
        if let Some(members) = others.as_str().get(1..).filter(|members| !members.is_empty()) {
            if self.is_empty() {
                self.json.text.reserve(members.len() + USUAL_BYTES);
            }
            self.begin_member();
            self.json.push(members);
            self.json.is_cut |= others.is_cut();
        }
    }

    /// Whether there is a member with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|of| of == name)
    }

    /// Whether there is a member with the name of a member of another object.
    #[must_use]
    pub fn shares_a_name(&self, others: &Self) -> bool {
        if self.is_empty() || others.is_empty() {
            return false;
        }
        if self.names().nth(NAMES_COMPARED_MAX).is_none() {
            // Without escapes, names stand in the text as they are.
            let may_have = |name: &str| others.as_str().contains('\\') || others.as_str().contains(name);
            return self.names().any(|name| may_have(&name) && others.names().any(|other| other == name));
        }
        let names: BTreeSet<Cow<'_, str>> = self.names().collect();
        others.names().any(|name| names.contains(&name))
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

    /// Whether they are members of metadata for certain.
    #[must_use]
    pub fn are_checked(&self) -> bool {
        self.are_checked
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

    fn name(&mut self, name: &str) {
        if self.is_empty() {
            self.json.text.reserve(USUAL_BYTES);
        }
        self.begin_member();
        self.json.push_text(name);
        self.json.push(":");
    }

    fn begin_member(&mut self) {
        self.json.push(if self.is_empty() { "{" } else { "," });
        self.are_checked = false;
    }
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
    fn only_the_members_of_metadata_are_checked() {
        let metadata = |json| Metadata::parse(json).expect("metadata");
        let mut members = Members::from(metadata(r#"{"a":1}"#));
        assert!(members.are_checked() && members.has("a"));
        assert!(!Members::from(metadata("{}")).are_checked() && Members::from(metadata("{}")).into_json().is_none());
        assert!(!Members::of_object("{\"a\":1}".to_owned()).are_checked());
        let mut others = Members::default();
        others.all(&members);
        members.text("b", "");
        assert!(!members.are_checked() && !others.are_checked());
        let escaped = Members::of_object(r#"{"\u0061":1}"#.to_owned());
        assert!(members.shares_a_name(&escaped) && escaped.shares_a_name(&members));
        assert_eq!(members.into_json().as_deref(), Some(r#"{"a":1,"b":""}"#));
    }

    proptest! {
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
    }
}
