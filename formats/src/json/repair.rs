//! Repairs an object that is valid JSON but cannot be metadata.

use std::borrow::Cow;

use domain::metadata::{JsonKind, JsonValue, METADATA_DEPTH_MAX};
use serde_json::value::RawValue;

use crate::fields::{Names, quoted};

/// Largest exponent that stores can hold.
const EXPONENT_MAX: u32 = 400;

/// The object with unique names, whole characters and numbers that stores can hold; unchanged if it is too deep.
pub fn repaired(object: &str) -> Option<Cow<'_, str>> {
    let _: &RawValue = serde_json::from_str(object).ok()?;
    let mut json = String::with_capacity(object.len());
    let fits = write(JsonValue::new(object), &mut json, 0);
    Some(if fits { Cow::Owned(json) } else { Cow::Borrowed(object) })
}

/// Writes a value; false if it is too deep.
fn write(value: JsonValue<'_>, json: &mut String, depth: u32) -> bool {
    match value.kind() {
        JsonKind::Object | JsonKind::Array if depth >= METADATA_DEPTH_MAX => return false,
        JsonKind::Object => {
            let mut names = Names::default();
            json.push('{');
            for (index, (name, value)) in value.members().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                json.push_str(&quoted(&names.unique(name.into_owned())));
                json.push(':');
                if !write(value, json, depth + 1) {
                    return false;
                }
            }
            json.push('}');
        }
        JsonKind::Array => {
            json.push('[');
            for (index, value) in value.elements().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                if !write(value, json, depth + 1) {
                    return false;
                }
            }
            json.push(']');
        }
        JsonKind::Text => json.push_str(&quoted(&value.plain())),
        JsonKind::Number if !is_storable(value.json()) => json.push_str(&quoted(value.json())),
        JsonKind::Number | JsonKind::Bool | JsonKind::Null => json.push_str(value.json()),
    }
    true
}

/// Whether stores can hold the number, digit for digit.
fn is_storable(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent = exponent.trim_start_matches(['+', '-']).parse::<u32>();
    mantissa.len() < 16_000 && exponent.is_ok_and(|exponent| exponent <= EXPONENT_MAX)
}
