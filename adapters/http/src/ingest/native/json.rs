//! Events in JSON bodies, parsed in place.
//!
//! The fast path ([`crate::ingest::native::event_reader`]) walks the body once and hands each event on as it borrows it.
//! An element that it cannot take, the careful path takes again ([`crate::ingest::native::diagnose`]), so that a bad event
//! has its own error and its neighbours are accepted. Whether a body is JSON at all, and where it is not, `serde_json`
//! says: a body that the fast path cannot walk to its end begins anew with that.
//!
//! Invariants:
//! * What the fast path takes, the careful path would take too, as the same event.
//! * Beside the body and what an [`Intake`] keeps, parsing takes memory within a constant bound, whatever the body says.
//!   Nothing is collected past the limit that refuses it.

use std::fmt;
use std::marker::PhantomData;

use application::ingest::{Intake, Outcome, TooManyEvents};
use application::json_reader::JsonReader;
use domain::event::EventDraft;
use serde::de::{self, Deserialize, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, de::Read};

use crate::ingest::native::diagnose::examine;
use crate::ingest::native::event_reader::read_event;
use crate::ingest::native::reply::{ACCEPTED, JSON, batch_accepted, event_accepted};
use crate::ingest::protocol::{DecodeError, Protocol, Success};

/// Deepest nesting of a body, for each level of which serde_json notes a byte; that of an event has a lower limit, with an
/// error of its own.
pub const NESTING_MAX: usize = 256 * 1024;

/// One event, as a JSON object.
pub struct SingleEvent;

impl Protocol for SingleEvent {
    fn media_types(&self) -> &'static [&'static str] {
        &[JSON]
    }

    fn success(&self) -> Success {
        ACCEPTED
    }

    fn decode(&self, body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        take_event(body, intake)
    }

    fn render(&self, outcome: &Outcome) -> Vec<u8> {
        event_accepted(outcome)
    }
}

/// Events as a JSON array.
pub struct BatchArray;

impl Protocol for BatchArray {
    fn media_types(&self) -> &'static [&'static str] {
        &[JSON]
    }

    fn success(&self) -> Success {
        ACCEPTED
    }

    fn decode(&self, body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        take_events(body, intake)
    }

    fn render(&self, outcome: &Outcome) -> Vec<u8> {
        batch_accepted(outcome)
    }
}

/// Takes in the one event of a body.
///
/// # Errors
/// The body is not JSON.
pub fn take_event(body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
    intake.reserve(body.len());
    if let Some(draft) = read(&mut JsonReader::new(""), body) {
        return Ok(intake.add(draft)?);
    }
    let element = raw(body).map_err(|error| undecodable(&error))?;
    Ok(take_element(element, intake)?)
}

/// Takes in the events of a JSON array.
///
/// # Errors
/// The body is not a JSON array, or has too many events: nothing of it may be delivered. What follows the first event too
/// many is not looked at, be it JSON or not.
pub fn take_events(body: &[u8], intake: &mut Intake<'_>) -> Result<(), DecodeError> {
    // Before the parser looks: its error would repeat a string that stands here instead.
    if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'[') {
        let detail = "a batch is a JSON array, nothing was accepted: send a single event to /api/logs, and JSON lines as \
             application/x-ndjson";
        return Err(DecodeError::Malformed(detail.to_owned()));
    }
    intake.reserve(body.len());
    if let Ok(json) = std::str::from_utf8(body) {
        if walk(json, intake)? {
            return Ok(());
        }
        intake.restart();
    }
    check_nesting(body).map_err(|error| undecodable(&error))?;
    match take_elements(Deserializer::from_slice(body), |element| take_element(element, intake)) {
        Ok(()) => Ok(()),
        Err(Stopped::Full(error)) => Err(error.into()),
        Err(Stopped::Broken(error)) => Err(undecodable(&error)),
    }
}

/// Reads an event that has nothing wrong and nothing unusual. The UTF-8 is checked first and at once, which is cheaper
/// than string by string.
pub(super) fn read<'a>(reader: &mut JsonReader<'a>, json: &'a [u8]) -> Option<EventDraft<'a>> {
    reader.restart(std::str::from_utf8(json).ok()?);
    reader.skip_space();
    let draft = read_event(reader)?;
    reader.end()?;
    Some(draft)
}

/// Takes the elements of an array, and returns whether that is all of the text. If not, the intake must restart.
fn walk(json: &str, intake: &mut Intake<'_>) -> Result<bool, TooManyEvents> {
    let mut reader = JsonReader::new(json);
    reader.skip_space();
    let Some(mut more) = reader.begins_array() else { return Ok(false) };
    // Looked at once, and only if an element needs the careful path.
    let mut fits_nesting = None;
    while more {
        let from = reader.position();
        if let Some(draft) = read_event(&mut reader) {
            intake.add(draft)?;
        } else {
            if !*fits_nesting.get_or_insert_with(|| check_nesting(json.as_bytes()).is_ok()) {
                return Ok(false);
            }
            let Some(element) = json.get(from..).and_then(first_element) else { return Ok(false) };
            take_element(element, intake)?;
            reader.go_to(from + element.get().len());
        }
        match reader.continues_array() {
            Some(continues) => more = continues,
            None => return Ok(false),
        }
    }
    Ok(reader.end().is_some())
}

/// The element that a text begins with, if it is JSON.
fn first_element(json: &str) -> Option<&RawValue> {
    Deserializer::from_str(json).into_iter().next()?.ok()
}

/// Reads the extent of a value.
pub(super) fn raw(json: &[u8]) -> Result<&RawValue, serde_json::Error> {
    check_nesting(json)?;
    serde_json::from_slice(json)
}

pub(super) fn take_element(element: &RawValue, intake: &mut Intake<'_>) -> Result<(), TooManyEvents> {
    match examine(element) {
        Ok(draft) => intake.add(draft),
        Err(reason) => intake.refuse(reason),
    }
}

fn undecodable(error: &serde_json::Error) -> DecodeError {
    let detail = if error.is_eof() && error.column() == 0 {
        "the body is empty, nothing was accepted".to_owned()
    } else {
        format!("the body cannot be read, nothing was accepted: {error}")
    };
    DecodeError::Malformed(detail)
}

/// How many brackets and braces open, in strings too: the nesting is at most this deep.
fn opening_brackets(json: &[u8]) -> usize {
    // In pieces whose count fits into a byte, so that many bytes are compared at once.
    let opening = |piece: &[u8]| piece.iter().fold(0, |opening: u8, byte| opening + u8::from(byte | 0x20 == b'{'));
    json.chunks(usize::from(u8::MAX)).map(|piece| usize::from(opening(piece))).sum()
}

/// Refuses JSON that is nested more than [`NESTING_MAX`] deep.
///
/// # Errors
/// It is; whether it is JSON otherwise is not looked at.
pub fn check_nesting(json: &[u8]) -> Result<(), serde_json::Error> {
    if json.len() <= NESTING_MAX || opening_brackets(json) <= NESTING_MAX {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(de::Error::custom(format_args!("it is nested more than {NESTING_MAX} deep")));
        }
    }
    Ok(())
}

/// Why not all elements of an array were taken.
enum Stopped {
    /// The body is not a JSON array, or an element is no `T`.
    Broken(serde_json::Error),
    /// There are more events than a request may have.
    Full(TooManyEvents),
}

/// Hands the elements of an array to `take`, one by one, until it takes no more.
fn take_elements<'de, T: Deserialize<'de>>(
    mut json: Deserializer<impl Read<'de>>,
    take: impl FnMut(T) -> Result<(), TooManyEvents>,
) -> Result<(), Stopped> {
    let mut full = None;
    let parsed = json.deserialize_seq(Elements { take, full: &mut full, element: PhantomData });
    match full {
        Some(error) => Err(Stopped::Full(error)),
        None => parsed.and_then(|()| json.end()).map_err(Stopped::Broken),
    }
}

struct Elements<'f, T, F> {
    take: F,
    full: &'f mut Option<TooManyEvents>,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), TooManyEvents>> Visitor<'de> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            if let Err(error) = (self.take)(element) {
                *self.full = Some(error);
                return Err(de::Error::custom(error));
            }
        }
        Ok(())
    }
}
