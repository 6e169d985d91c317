//! The JSON values of a body: the elements of an array, or values one after another, with or without line breaks
//! between them and within them.
//!
//! Invariants:
//! * Everything of a body that is not white space is handed on, as a value or as text.
//! * Time is linear in the body. To find the end of a value that spans lines, at most twice the body is looked at in
//!   vain.

use std::borrow::Cow;

use application::ingest::AgentIntake;
use domain::event::TEXT_BYTES_MAX;
use domain::metadata::{JsonKind, JsonValue, MetadataReader, UsualMember, UsualReader};
use serde::de::IgnoredAny;

use crate::ingest::native::check_nesting;
use crate::ingest::protocol::DecodeError;

/// A part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a, 'm> {
    /// A JSON object, and its members if they are known.
    Object(JsonValue<'a>, Option<&'m [UsualMember<'a>]>),
    /// A line, or an element of an array, that is no JSON object.
    Text(&'a str),
}

/// Longest JSON text, without quotes, of a text that an event holds: an escape takes at most six bytes for one.
const TEXT_JSON_BYTES_MAX: usize = 6 * TEXT_BYTES_MAX;

/// The text that a value is, or its JSON. Of a text that is longer than an event holds, no more is copied than that.
pub fn plain(value: JsonValue<'_>) -> Cow<'_, str> {
    let json = value.json();
    if json.len() <= TEXT_JSON_BYTES_MAX || value.kind() != JsonKind::Text {
        return value.plain();
    }
    let cut = json.get(..json.floor_char_boundary(TEXT_JSON_BYTES_MAX + 2)).unwrap_or_default();
    Cow::Owned(JsonValue::new(&format!("{cut}\"")).plain().into_owned())
}

/// What was given instead of a value of another type, for the metadata: of a long text, its beginning.
pub fn shown(value: JsonValue<'_>) -> String {
    const SHOWN_BYTES_MAX: usize = 64;
    let text = plain(value);
    text.get(..text.floor_char_boundary(SHOWN_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// Whether a text is one JSON value.
pub fn is_json_text(text: &str) -> bool {
    check_nesting(text.as_bytes()).is_ok() && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Reads a body that has to be one JSON object.
///
/// # Errors
/// It is something else.
pub fn object(body: &str) -> Result<JsonValue<'_>, DecodeError> {
    let malformed = |error: serde_json::Error| {
        DecodeError::Malformed(format!("the body is not a JSON object, nothing was accepted: {error}"))
    };
    check_nesting(body.as_bytes()).map_err(malformed)?;
    serde_json::from_str::<IgnoredAny>(body).map_err(malformed)?;
    let value = JsonValue::new(body);
    if value.kind() == JsonKind::Object {
        return Ok(value);
    }
    Err(DecodeError::Malformed("the body is not a JSON object, nothing was accepted".to_owned()))
}

/// Hands on the parts of a body, in their order, with the intake for them. Returns how many of them are objects.
///
/// # Errors
/// What `take` says.
pub fn items<'a, 'b>(
    body: &'a str,
    intake: &mut AgentIntake<'b>,
    mut take: impl FnMut(Item<'a, '_>, &mut AgentIntake<'b>) -> Result<(), DecodeError>,
) -> Result<usize, DecodeError> {
    let mut reader = Reader::default();
    if let Some(objects) = usual_array(body, &mut reader.usual, &mut |item| take(item, intake)) {
        return objects;
    }
    intake.restart();
    any_items(body, &mut reader, &mut |item| take(item, intake))
}

/// What takes an item.
type Take<'t, 'a> = &'t mut dyn FnMut(Item<'a, '_>) -> Result<(), DecodeError>;

/// The same, however the body is arranged.
fn any_items<'a>(body: &'a str, reader: &mut Reader<'a>, take: Take<'_, 'a>) -> Result<usize, DecodeError> {
    let mut in_vain = 2 * body.len();
    let (mut rest, mut line_end) = (body, body);
    let mut objects = 0;
    loop {
        rest = rest.trim_start_matches(|char: char| char.is_ascii_whitespace() || char == ',');
        if rest.is_empty() {
            return Ok(objects);
        }
        // The line ends where it did unless the rest begins behind that.
        if line_end.len() >= rest.len() {
            line_end = rest.split_once('\n').map_or("", |(_, behind)| behind);
        }
        let line = rest.get(..rest.len() - line_end.len()).unwrap_or(rest);
        if rest.starts_with(['{', '[']) {
            let scope = if in_vain >= rest.len() { rest } else { line };
            let First { value, members, behind, is_json } = first(scope, reader);
            if is_json && ends(behind) {
                objects += hand_on(value, members, take)?;
                rest = rest.get(value.json().len()..).unwrap_or_default();
                continue;
            }
            in_vain = in_vain.saturating_sub(value.json().len());
        }
        take(Item::Text(line.trim_end()))?;
        rest = line_end;
    }
}

/// Hands on the objects of a body that is an array of objects as most programs write them, without white space between them.
/// `None` says nothing of the body, and some of its objects may have been handed on. At the first error of `take`, it stops and does not check the
/// rest of the body.
fn usual_array<'a>(
    body: &'a str,
    reader: &mut UsualReader<'a>,
    take: Take<'_, 'a>,
) -> Option<Result<usize, DecodeError>> {
    let mut rest = body.strip_prefix('[')?;
    let mut objects = 0;
    loop {
        let (members, bytes) = reader.members(rest)?;
        let (object, behind) = rest.split_at_checked(bytes)?;
        objects += 1;
        match take(Item::Object(JsonValue::new(object), Some(members))) {
            Ok(()) => {}
            Err(DecodeError::TooLarge(_)) => return None,
            Err(error) => return Some(Err(error)),
        }
        if let Some(next) = behind.strip_prefix(',') {
            rest = next;
        } else {
            return behind.strip_prefix(']').filter(|behind| behind.trim_ascii().is_empty()).map(|_| Ok(objects));
        }
    }
}

/// The object or the array that a text begins with.
pub struct First<'a, 'm> {
    /// The value; if it is not JSON, up to where it seems to end.
    pub value: JsonValue<'a>,
    /// Its members, if they are known.
    pub members: Option<&'m [UsualMember<'a>]>,
    /// What follows it.
    pub behind: &'a str,
    /// Whether it is JSON.
    pub is_json: bool,
}

/// Reads the values of one body. It keeps its memory from one value to the next.
#[derive(Default)]
pub struct Reader<'a> {
    usual: UsualReader<'a>,
    any: MetadataReader<'a>,
}

/// Looks for the end of the object or the array that a text begins with, and checks it.
pub fn first<'a, 'm>(text: &'a str, reader: &'m mut Reader<'a>) -> First<'a, 'm> {
    // Most values could be metadata: then their end is found as they are checked.
    let usual = reader.usual.members(text).map(|(members, bytes)| (Some(members), bytes));
    let checked = usual.or_else(|| Some((None, reader.any.unknown_value(text).ok()?)));
    if let Some((members, bytes)) = checked
        && let Some((json, behind)) = text.split_at_checked(bytes)
    {
        return First { value: JsonValue::new(json), members, behind, is_json: true };
    }
    let (value, behind) = JsonValue::first(text);
    First { value, members: None, behind, is_json: is_json_text(value.json()) }
}

/// Whether a value that this follows is whole: on a line of text, a bracket may stand for anything.
fn ends(behind: &str) -> bool {
    let behind = behind.trim_start_matches([' ', '\t', '\r']);
    behind.is_empty() || behind.starts_with(['\n', ',', '{', '['])
}

/// Hands on an object, or the elements of an array. Returns how many objects these are.
fn hand_on<'a>(
    value: JsonValue<'a>,
    members: Option<&[UsualMember<'a>]>,
    take: Take<'_, 'a>,
) -> Result<usize, DecodeError> {
    if value.kind() == JsonKind::Object {
        return take(Item::Object(value, members)).map(|()| 1);
    }
    let mut objects = 0;
    for element in value.elements() {
        if element.kind() == JsonKind::Object {
            objects += 1;
            take(Item::Object(element, None))?;
        } else {
            take(Item::Text(element.json()))?;
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Vec<String> {
        let shown = |item: Item<'_, '_>| match item {
            Item::Object(value, _) => value.json().to_owned(),
            Item::Text(text) => format!("text {text}"),
        };
        let (mut usual, mut read) = (Vec::new(), Vec::new());
        let mut reader = Reader::default();
        let objects = usual_array(body, &mut reader.usual, &mut |item| {
            usual.push(shown(item));
            Ok(())
        });
        let any = any_items(body, &mut reader, &mut |item| {
            read.push(shown(item));
            Ok(())
        });
        let any = any.expect("every item is taken");
        assert_eq!(any, read.iter().filter(|item| !item.starts_with("text ")).count(), "{body}");
        if let Some(objects) = objects {
            assert_eq!((objects, usual), (Ok(any), read.clone()), "{body}");
        }
        read
    }

    #[test]
    fn objects_are_found_however_they_are_arranged() {
        for body in [
            r#"[{"a":1},{"b":"}{"}]"#,
            "{\"a\":1}\n{\"b\":\"}{\"}\n",
            r#"{"a":1}{"b":"}{"}"#,
            r#"{"a":1}, {"b":"}{"}"#,
            "{\"a\":1}\r\n\r\n{\"b\":\"}{\"}",
            "[{\"a\":1}]\n[{\"b\":\"}{\"}]",
        ] {
            assert_eq!(read(body), [r#"{"a":1}"#, r#"{"b":"}{"}"#], "{body}");
        }
        assert_eq!(read("{\n \"a\": 1\n}\n{}"), ["{\n \"a\": 1\n}", "{}"]);
        assert_eq!(read(" \n"), [""; 0]);
    }

    proptest! {
        #[test]
        fn the_objects_of_an_array_are_found_whether_they_are_usual(
            objects in prop::collection::vec("\\{(\"[a-c]\":(1|\"[{},\\[\\]x]{0,3}\"|\\{\"d\": ?\\[\\]\\}))?\\}", 1..5),
            space in "[ \n]{0,2}",
        ) {
            let body = format!("[{}{space}]{space}", objects.join(","));
            prop_assert_eq!(read(&body), objects);
        }
    }

    #[test]
    fn what_is_no_object_is_text_and_its_neighbours_are_read() {
        assert_eq!(
            read("{\"a\":1}\nplain {text}\n{\"b\":\n{}"),
            ["{\"a\":1}", "text plain {text}", "text {\"b\":", "{}"]
        );
        assert_eq!(read("[1, \"x\", {}]"), ["text 1", "text \"x\"", "{}"]);
        assert_eq!(
            read("[INFO] started\n[1] done\n{} trailing"),
            ["text [INFO] started", "text [1] done", "text {} trailing"]
        );
    }

    #[test]
    fn many_open_braces_take_linear_time() {
        let body = "{\"a\":\n".repeat(100_000);
        assert_eq!(read(&body).len(), 100_000);
        let body = "{}".repeat(100_000);
        assert_eq!(read(&body).len(), 100_000);
    }

    #[test]
    fn of_a_long_text_no_more_is_copied_than_an_event_holds() {
        for (unit, bytes) in [("x", 1), (r"\n", 1), (r"\u00e9", 2)] {
            let json = format!("\"{}\"", unit.repeat(2 * TEXT_BYTES_MAX));
            let text = plain(JsonValue::new(&json));
            assert!(text.len() > TEXT_BYTES_MAX && text.len() <= 2 * TEXT_BYTES_MAX * bytes, "{unit}: {}", text.len());
        }
        assert_eq!(plain(JsonValue::new(r#""a\n""#)), "a\n");
    }

    #[test]
    fn a_body_that_has_to_be_an_object_is_one() {
        assert!(object(" {\"a\":[1]} ").is_ok());
        for body in ["", "[]", "{", "{}{}", "1"] {
            assert!(object(body).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_body_is_passed_over(body in "[\\[\\]{}\":,a1 \n]{0,60}") {
            let items = read(&body).into_iter();
            let read: String = items.map(|item| item.trim_start_matches("text ").to_owned()).collect();
            let marks = |text: &str| text.chars().filter(|char| matches!(char, 'a' | '1' | ':')).count();
            prop_assert_eq!(marks(&read), marks(&body));
        }
    }
}
