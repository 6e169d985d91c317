//! The careful path of [`crate::ingest::native`]: an element on its own, which may be anything, as a draft or with the first rule
//! that it breaks. Members are looked at one by one and not collected, and of a text no more is copied than a field holds.

use std::borrow::Cow;
use std::fmt;

use application::ingest::RefusalReason;
use domain::event::{EventDraft, TEXT_BYTES_MAX};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::ingest::native::event_reader::{Field, Seen};

/// Longest JSON text, without quotes, of a text that a field holds: an escape takes at most six bytes for one.
const TEXT_JSON_BYTES_MAX: usize = 6 * TEXT_BYTES_MAX;

/// Reads an element as an event.
///
/// # Errors
/// The first rule that it breaks of those that make it an event at all.
pub fn examine(element: &RawValue) -> Result<EventDraft<'_>, RefusalReason> {
    let json = element.get();
    if json.starts_with('[') {
        let detail = "an event must be a JSON object: send several to /api/logs/batch".to_owned();
        return Err(malformed("event_not_object", detail));
    }
    if !json.starts_with('{') {
        return Err(malformed("event_not_object", "an event must be a JSON object".to_owned()));
    }
    Deserializer::from_str(json)
        .deserialize_map(Members)
        .unwrap_or_else(|error| Err(malformed("event_invalid", format!("the event cannot be read: {error}"))))
}

fn malformed(code: &'static str, detail: String) -> RefusalReason {
    RefusalReason::Malformed { code, detail }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Result<EventDraft<'de>, RefusalReason>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut draft = EventDraft::default();
        let mut seen = Seen::default();
        let mut broken = None;
        while let Some((key, value)) = members.next_entry::<&'de RawValue, &'de RawValue>()? {
            if broken.is_none() {
                broken = take_member(&mut draft, &mut seen, key.get(), value.get()).err();
            }
        }
        Ok(broken.map_or(Ok(draft), Err))
    }
}

fn take_member<'a>(
    draft: &mut EventDraft<'a>,
    seen: &mut Seen,
    key: &'a str,
    value: &'a str,
) -> Result<(), RefusalReason> {
    let Some(field) = Field::of_key(key) else {
        draft.add_unknown(key, value);
        return Ok(());
    };
    if seen.again(field) {
        return Err(malformed("duplicate_field", format!("{} is given more than once", field.name())));
    }
    let given = Some(value).filter(|json| *json != "null");
    if field == Field::Metadata {
        draft.metadata = given.map(Into::into);
    } else {
        field.set(draft, given.map(|json| text(field, json)).transpose()?);
    }
    Ok(())
}

/// The text of a field from its JSON. Of one that no field holds it gives the JSON, which is longer still and so breaks the
/// same rule.
fn text(field: Field, json: &str) -> Result<Cow<'_, str>, RefusalReason> {
    let Some(bare) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err(malformed("field_type", format!("{} must be a string", field.name())));
    };
    if !bare.contains('\\') || bare.len() > TEXT_JSON_BYTES_MAX {
        return Ok(Cow::Borrowed(bare));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) if text.len() > TEXT_BYTES_MAX => Ok(Cow::Borrowed(bare)),
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => {
            let name = field.name();
            let detail = format!("{name} has a \\u escape that is half of a surrogate pair, which is not a character");
            Err(malformed("invalid_text", detail))
        }
    }
}
