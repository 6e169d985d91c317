//! Lines that are JSON objects.
//!
//! * A member that becomes a field of the event is taken out; all others become metadata, with their numbers digit for
//!   digit. A level or a time that says more than the event keeps stays in the metadata as well.
//! * An object that an event cannot have as metadata (too large, too deep) is text: the message is the line, and its
//!   level and time are used.
//! * A name that an object has twice gets a number, half of a surrogate pair becomes U+FFFD, and a number that no store
//!   can hold becomes text.

mod members;
mod opentelemetry;
mod part;
mod repair;
mod roles;
mod template;
mod usual;
mod values;

pub use self::members::place;
pub use self::part::{Nesting, level_and_time_of_part};
pub use self::values::time;

use std::borrow::Cow;

use domain::metadata::{JsonKind, JsonValue, Metadata, MetadataError, UsualMember};

use self::members::Members;
use self::roles::Role;
use crate::ansi;
use crate::draft::Draft;
use crate::times::Clock;

/// The draft of a line that is a JSON object.
pub fn draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    usual::draft(line, clock).or_else(|| any_draft(line, clock))
}

/// The draft of an object whose members are known.
pub fn draft_of_members(object: &str, members: &[UsualMember<'_>], clock: Clock<'_>) -> Option<Draft> {
    usual::of_members(object, members, clock).or_else(|| any_draft(object, clock))
}

/// The same, however unusual the object is.
pub fn any_draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    let object = object(line)?;
    let object = opentelemetry::record(&object).map_or(object, Cow::Owned);
    Some(members_draft(&object, line, clock))
}

/// The object that the line is, with every fault repaired that would keep it out of an event. It may still be too large
/// or too deep.
pub fn object(line: &str) -> Option<Cow<'_, str>> {
    let line = line.trim_ascii();
    if !line.starts_with('{') || !line.ends_with('}') {
        return None;
    }
    match Metadata::parse(line) {
        Ok(_) | Err(MetadataError::Size) => Some(Cow::Borrowed(line)),
        Err(MetadataError::Syntax | MetadataError::NotObject) => None,
        Err(_) => repair::repaired(line),
    }
}

fn members_draft(object: &str, line: &str, clock: Clock<'_>) -> Draft {
    let mut members = Members::new(object);
    let mut draft = Draft { level: members.level(), time: members.time(clock), ..Draft::default() };
    let message = members.take_text(Role::Message).or_else(|| template::render(&members));
    let message = message.or_else(|| members.text_of_error());
    let message = message.as_deref().map(ansi::removed).filter(|message| !message.trim().is_empty());
    draft.set_message(message.as_deref().unwrap_or(line.trim()));
    draft.source = members.source().or_else(|| members.place());
    if let Some(stack_trace) = members.stack_trace() {
        draft.set_stack_trace(&stack_trace);
    }
    (draft.trace_id, draft.span_id) = members.trace();
    draft.event_id = members.event_id();
    match members.into_fields().into_metadata() {
        Ok(metadata) => draft.metadata = metadata,
        // As text, nothing is lost.
        Err(_) => {
            draft = Draft { level: draft.level, time: draft.time, ..Draft::of_message(line.trim()) };
        }
    }
    draft
}

/// The text of a member.
pub fn text_of<'a>(value: JsonValue<'a>) -> Option<Cow<'a, str>> {
    (value.kind() == JsonKind::Text).then(|| value.plain())
}
