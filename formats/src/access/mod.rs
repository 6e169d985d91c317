//! Access logs: the request and its outcome become fields, and the message is the line.
//!
//! Formats: common and combined (Apache httpd, nginx, Werkzeug), Envoy, HAProxy, Elastic Load Balancing, and any line
//! with a request in quotes and a status behind it. No level follows from a status.

mod parts;
pub mod w3c;

use self::parts::{Part, parts};
use crate::draft::Draft;
use crate::fields::Fields;
use crate::text;
use crate::times::{self, Clock};

/// Columns of Elastic Load Balancing (Application Load Balancer, access log entries), but for the request.
const LOAD_BALANCER: [&str; 29] = [
    "type",
    "",
    "elb",
    "client",
    "target",
    "request_processing_time",
    "target_processing_time",
    "response_processing_time",
    "elb_status_code",
    "target_status_code",
    "received_bytes",
    "sent_bytes",
    "",
    "user_agent",
    "ssl_cipher",
    "ssl_protocol",
    "target_group_arn",
    "trace",
    "domain_name",
    "chosen_cert_arn",
    "matched_rule_priority",
    "request_creation_time",
    "actions_executed",
    "redirect_url",
    "error_reason",
    "target_list",
    "target_status_code_list",
    "classification",
    "classification_reason",
];
const COMMON: [&str; 2] = ["referrer", "agent"];
const ENVOY: [&str; 10] = [
    "response_flags",
    "bytes_received",
    "bytes",
    "duration_ms",
    "upstream_ms",
    "forwarded_for",
    "agent",
    "request_id",
    "authority",
    "upstream_host",
];
const HAPROXY: [&str; 5] = ["client", "", "frontend", "backend", "timers"];

/// The draft of a line with a request.
pub fn draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    if !line.contains('"') {
        return None;
    }
    let parts = parts(line);
    let place = parts.iter().position(Part::is_request)?;
    let mut fields = Fields::default();
    let mut draft = Draft::default();
    let behind = parts.get(place + 1..).unwrap_or_default();
    let before = parts.get(..place).unwrap_or_default();
    let bracket_time = |part: &Part<'_>| part.in_brackets().and_then(|text| times::whole(text, clock));
    if let Some(time) = before.last().and_then(bracket_time).filter(|_| place >= 3 && is_status(behind)) {
        draft.time = Some(time);
        common(&mut fields, before, behind);
        parts.get(place)?.push_request(&mut fields);
    } else if let Some(time) = before.first().and_then(bracket_time).filter(|_| place == 1 && is_status(behind)) {
        draft.time = Some(time);
        parts.get(place)?.push_request(&mut fields);
        push_named(&mut fields, &["status"], behind);
        // The server of Django writes nothing else.
        let names: &[&str] = if behind.len() <= 2 { &["bytes"] } else { &ENVOY };
        push_named(&mut fields, names, behind.get(1..).unwrap_or_default());
    } else if place == 12 && is_status(parts.get(8..).unwrap_or_default()) {
        draft.time = times::whole(parts.get(1)?.text(), clock);
        draft.time?;
        parts.get(place)?.push_request(&mut fields);
        push_named(&mut fields, &LOAD_BALANCER, &parts);
    } else if let Some(time) =
        before.get(1).and_then(bracket_time).filter(|_| is_status(parts.get(5..).unwrap_or_default()))
    {
        draft.time = Some(time);
        push_named(&mut fields, &HAPROXY, &parts);
        push_named(&mut fields, &["status", "bytes"], parts.get(5..).unwrap_or_default());
        parts.get(place)?.push_request(&mut fields);
    } else if is_status(behind) {
        let head = text::head(line, clock);
        (draft.level, draft.time) = (head.level, head.time);
        parts.get(place)?.push_request(&mut fields);
        push_named(&mut fields, &["status"], behind);
    } else {
        return None;
    }
    draft.set_message(line.trim_end());
    draft.metadata = fields.into_metadata().ok().flatten();
    Some(draft)
}

fn is_status(parts: &[Part<'_>]) -> bool {
    parts.first().is_some_and(|part| {
        let status = part.text().as_bytes();
        matches!(status, [b'1'..=b'9', second, third] if second.is_ascii_digit() && third.is_ascii_digit())
    })
}

/// `[host] client identity user [time] "request" status bytes ["referrer" "agent"]`
fn common(fields: &mut Fields, before: &[Part<'_>], behind: &[Part<'_>]) {
    let from_end = |back: usize| before.len().checked_sub(back).and_then(|place| before.get(place));
    let named = [("virtual_host", from_end(5)), ("client", from_end(4)), ("user", from_end(2))];
    for (name, part) in named {
        push_part(fields, name, part);
    }
    push_named(fields, &["status", "bytes"], behind);
    // Texts behind other columns are something else, such as the identifier of the request.
    let quoted: Vec<_> = behind.iter().skip(2).take_while(|part| part.is_quoted()).copied().collect();
    push_named(fields, &COMMON, &quoted);
}

fn push_named(fields: &mut Fields, names: &[&str], parts: &[Part<'_>]) {
    for (name, part) in names.iter().zip(parts) {
        push_part(fields, name, Some(part));
    }
}

fn push_part(fields: &mut Fields, name: &str, part: Option<&Part<'_>>) {
    let value = part.map_or("-", Part::text);
    if !name.is_empty() && value != "-" && !value.is_empty() {
        fields.push_number_or_text(name, value);
    }
}
