//! The bulk request of Elasticsearch and OpenSearch, and what their clients ask before they send one
//! (elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk).
//!
//! Only what adds a document is carried out: `index` and `create` add one, `update` and `delete` are refused by item. A
//! document is an event: [`crate::ingest::agents::fields`] says which of its members are fields.
//!
//! Clients read answers in three ways, so that an answer is compact, has `took`, `errors` and `items` in this order,
//! one key for each item, and as many items as there were actions.

mod actions;
pub mod probes;

use application::codec::write_text;
use application::ingest::{AgentEntry, AgentIntake, AgentStop, Members, Outcome, RefusalReason, line};
use domain::Uuid;
use domain::metadata::{UsualMember, UsualReader};
use domain::resend_id::Stream;
use poem::http::StatusCode;
use poem::{Request, Response};

use self::actions::{Action, Kind, Lines};
use crate::error::ApiError;
use crate::ingest::agents::fields::document_of;
use crate::ingest::agents::protocol::{AgentAnswer, AgentProtocol, body_text, error_answer};
use crate::ingest::protocol::DecodeError;

const JSON: &str = "application/json";
/// Clients of Elasticsearch refuse a server without it.
pub const PRODUCT: (&str, &str) = ("x-elastic-product", "Elasticsearch");
/// Most bytes that [`answer`] adds to what was noted about an action.
const STATUS_BYTES_MAX: usize = 128;
/// Longest `_id` (elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-id-field), in bytes.
const ID_BYTES_MAX: usize = 512;
/// Longest name of an index, in bytes.
const INDEX_BYTES_MAX: usize = 255;

/// `_bulk`.
pub struct Bulk;

impl AgentProtocol for Bulk {
    fn name(&self) -> &'static str {
        "bulk"
    }

    fn decode(&self, request: &Request, body: &[u8], intake: &mut AgentIntake<'_>) -> Result<Vec<u8>, DecodeError> {
        let body = body_text(body);
        let index = index_of_path(request.uri().path());
        let mut note = Vec::new();
        let (mut lines, mut reader) = (Lines::new(&body), UsualReader::default());
        while let Some(action) = lines.action()? {
            let before = note.len();
            match action.kind {
                Kind::Index | Kind::Create => {
                    let (text, members) = lines.document(&mut reader)?;
                    let id = add(&action, index, (text, members), intake)?;
                    write_item(&mut note, &action, index, Some(id));
                }
                Kind::Update => {
                    lines.document(&mut reader)?;
                    write_item(&mut note, &action, index, None);
                }
                Kind::Delete => write_item(&mut note, &action, index, None),
            }
            intake.note(note.len() - before + STATUS_BYTES_MAX)?;
        }
        if note.is_empty() {
            return Err(DecodeError::Malformed("the request has no actions".to_owned()));
        }
        Ok(note)
    }

    fn answer(&self, _request: &Request, outcome: &Outcome, note: Vec<u8>) -> AgentAnswer {
        AgentAnswer { status: StatusCode::OK, media_type: Some(JSON), body: answer(outcome, &note) }
    }

    fn error(&self, _request: &Request, error: ApiError) -> Response {
        // Several clients lose a request that gets 429, and all send again after 503.
        let status = |status: StatusCode| match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => StatusCode::SERVICE_UNAVAILABLE,
            status => status,
        };
        error_answer(error, JSON, status, |described, status| {
            let kind = match status.as_u16() {
                503 => "es_rejected_execution_exception",
                500.. => "exception",
                401 | 403 => "security_exception",
                _ => "illegal_argument_exception",
            };
            let error = serde_json::json!({ "type": kind, "reason": described.detail });
            serde_json::json!({ "error": error, "status": status.as_u16() }).to_string().into_bytes()
        })
    }

    fn header(&self) -> Option<(&'static str, &'static str)> {
        Some(PRODUCT)
    }
}

/// The index that a path names: the default of its actions.
fn index_of_path(path: &str) -> &str {
    let first = path.split('/').find(|segment| !segment.is_empty()).unwrap_or_default();
    if first == "_bulk" { "" } else { first }
}

/// Takes a document in, and returns the id of its event.
fn add(
    action: &Action<'_>,
    default_index: &str,
    (text, members): (&str, Option<&[UsualMember<'_>]>),
    intake: &mut AgentIntake<'_>,
) -> Result<Uuid, AgentStop> {
    let index = cut(action.index.as_deref().unwrap_or(default_index), INDEX_BYTES_MAX);
    let now = intake.received_at();
    let mut entry = document_of(text, members, now)
        .unwrap_or_else(|| AgentEntry { fault: Some("document_invalid"), ..line(text, now) });
    if let Some(id) = action.id.as_deref().filter(|id| !id.is_empty()) {
        let named = || Stream::new(&[b"bulk", b"", index.as_bytes()]).named(id.as_bytes());
        entry.event_id = Some(Uuid::try_parse(id).ok().filter(|id| !id.is_nil()).unwrap_or_else(named));
    }
    let mut metadata = Members::default();
    if !index.is_empty() {
        metadata.text("_index", index);
    }
    metadata.all_or_within("document", std::mem::take(&mut entry.metadata));
    entry.metadata = metadata;
    intake.add(entry, None)
}

/// Writes what the answer says about an action, without its status: a line that begins with `+` if the action added an
/// event, and else with `-`. JSON strings have no line breaks.
fn write_item(note: &mut Vec<u8>, action: &Action<'_>, default_index: &str, added: Option<Uuid>) {
    let index = cut(action.index.as_deref().unwrap_or(default_index), INDEX_BYTES_MAX);
    let mut buffer = Uuid::encode_buffer();
    let id: &str = match (&action.id, added) {
        (Some(id), _) => cut(id, ID_BYTES_MAX),
        (None, Some(id)) => id.hyphenated().encode_lower(&mut buffer),
        (None, None) => "",
    };
    note.push(if added.is_some() { b'+' } else { b'-' });
    note.extend_from_slice(b"{\"");
    note.extend_from_slice(action.kind.name().as_bytes());
    note.extend_from_slice(b"\":{\"_index\":");
    write_text(index, note);
    note.extend_from_slice(b",\"_id\":");
    write_text(id, note);
    note.push(b'\n');
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// The answer to a request, from what was noted about each of its actions.
fn answer(outcome: &Outcome, note: &[u8]) -> Vec<u8> {
    const CREATED: &[u8] = b",\"status\":201}}";
    const NOT_SUPPORTED: &[u8] = concat!(
        r#","status":400,"error":{"type":"illegal_argument_exception","#,
        r#""reason":"only index and create are supported"}}}"#
    )
    .as_bytes();
    const REJECTED: &[u8] = concat!(
        r#","status":400,"error":{"type":"document_parsing_exception","#,
        r#""reason":"the bus permanently rejects this event"}}}"#
    )
    .as_bytes();
    let mut items = Vec::with_capacity(note.len() + note.len() / 2);
    let (mut errors, mut event) = (false, 0_usize);
    let mut refused = outcome.refusals.iter().peekable();
    for line in note.split(|byte| *byte == b'\n') {
        let Some((kind, item)) = line.split_first() else { continue };
        let forbidden;
        let status = if *kind == b'-' {
            NOT_SUPPORTED
        } else {
            let refusal = refused.next_if(|refusal| refusal.index == event);
            event += 1;
            match refusal.map(|refusal| &refusal.reason) {
                None => CREATED,
                Some(reason) if reason.is_forbidden() => {
                    forbidden = forbidden_item(reason);
                    forbidden.as_slice()
                }
                Some(_) => REJECTED,
            }
        };
        errors |= status != CREATED;
        if !items.is_empty() {
            items.push(b',');
        }
        items.extend_from_slice(item);
        items.extend_from_slice(status);
    }
    let mut answer = format!("{{\"took\":1,\"errors\":{errors},\"items\":[").into_bytes();
    answer.append(&mut items);
    answer.extend_from_slice(b"]}");
    answer
}

/// The end of the item of an event whose source the key may not write.
fn forbidden_item(reason: &RefusalReason) -> Vec<u8> {
    let error = serde_json::json!({ "type": "security_exception", "reason": reason.to_string() });
    format!(r#","status":403,"error":{error}}}}}"#).into_bytes()
}

#[cfg(test)]
mod tests;
