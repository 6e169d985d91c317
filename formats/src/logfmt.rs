//! Lines of pairs: `level=info msg="…" key=value` (logfmt, as logrus, slog, Prometheus and Grafana write it).
//!
//! A line is read so if it begins with a pair and one of the first pairs has the name of a level, a time or a message;
//! otherwise it is a sentence with an equals sign. A word without an equals sign is a name without a value.

use std::borrow::Cow;

use crate::draft::{self, Draft};
use crate::fields::Fields;
use crate::levels;
use crate::times::{self, Clock};

/// Most pairs that are read.
const PAIRS_MAX: usize = 512;

const LEVEL: [&str; 5] = ["level", "lvl", "severity", "loglevel", "log.level"];
const TIME: [&str; 6] = ["time", "ts", "t", "timestamp", "@timestamp", "datetime"];
const MESSAGE: [&str; 3] = ["msg", "message", "log"];
const SOURCE: [&str; 5] = ["service", "app", "source", "service.name", "service_name"];
const TRACE: [&str; 3] = ["trace_id", "traceid", "trace.id"];
const SPAN: [&str; 3] = ["span_id", "spanid", "span.id"];
const STACK_TRACE: [&str; 3] = ["stacktrace", "stack_trace", "stack"];

/// The draft of a line of pairs.
pub fn draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    if let Some(draft) = audit(line.trim()) {
        return Some(draft);
    }
    let pairs = pairs(line.trim())?;
    let is_known = |name: &str| [&LEVEL[..], &TIME[..], &MESSAGE[..]].iter().any(|names| is_one_of(names, name));
    let with_value = pairs.iter().filter(|(_, value)| value.is_some()).count();
    if with_value < 2 || !pairs.iter().any(|(name, value)| value.is_some() && is_known(name)) {
        return None;
    }
    let mut draft = Draft::default();
    let mut fields = Fields::default();
    for (name, value) in &pairs {
        let Some(value) = value else {
            fields.push_json(name, "true");
            continue;
        };
        if !take(&mut draft, name, value, clock) {
            fields.push_number_or_text(name, value);
        }
    }
    match fields.into_metadata() {
        Ok(metadata) => draft.metadata = metadata,
        Err(_) => draft = Draft { level: draft.level, time: draft.time, ..Draft::default() },
    }
    if draft.message.is_empty() {
        draft.set_message(line.trim());
    }
    Some(draft)
}

/// A record of the audit daemon of Linux: `type=LOGIN msg=audit(1705314600.123:7): …`, perhaps behind `node=`. Words
/// that are not pairs (`avc:  denied  { read } for`) may stand between the pairs; the message is the line.
fn audit(line: &str) -> Option<Draft> {
    if !line.starts_with("type=") && !line.starts_with("node=") {
        return None;
    }
    let (mut draft, mut fields) = (Draft::of_message(line), Fields::default());
    let mut rest = line;
    for number in 0..PAIRS_MAX {
        rest = rest.trim_start_matches(is_separator);
        let end = rest.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end)?;
        let pair = behind.strip_prefix('=').filter(|_| !name.is_empty()).and_then(value);
        let Some((value, behind)) = pair else {
            rest = rest.get(rest.find(is_separator).unwrap_or(rest.len())..)?;
            continue;
        };
        rest = behind;
        fields.push_number_or_text(name, &value);
        if let Some(stamp) = value.strip_prefix("audit(").filter(|_| name == "msg" && draft.time.is_none()) {
            draft.time = times::of_number(stamp.split(':').next()?);
        }
        // A node, a type, and the time.
        if number >= 2 && draft.time.is_none() {
            return None;
        }
    }
    draft.time?;
    draft.metadata = fields.into_metadata().ok().flatten();
    Some(draft)
}

/// Makes a pair a field of the event, if it is one. The first of each counts.
fn take(draft: &mut Draft, name: &str, value: &str, clock: Clock<'_>) -> bool {
    if is_one_of(&LEVEL, name) && draft.level.is_none() {
        draft.level = levels::of_value(value);
        return draft.level.is_some_and(|level| value.eq_ignore_ascii_case(level.name()) || value.len() < 8);
    }
    if is_one_of(&TIME, name) && draft.time.is_none() {
        draft.time = times::whole(value, clock);
        return draft.time.is_some();
    }
    if is_one_of(&MESSAGE, name) && draft.message.is_empty() && !value.trim().is_empty() {
        draft.set_message(value);
        return true;
    }
    if is_one_of(&SOURCE, name) && draft.source.is_none() {
        let is_service = draft::is_source(value) && !value.contains(':');
        draft.source = is_service.then(|| value.to_owned());
        return is_service;
    }
    if is_one_of(&TRACE, name) && draft.trace_id.is_none() {
        draft.trace_id = draft::hexadecimal(value, 32);
        return draft.trace_id.is_some();
    }
    if is_one_of(&SPAN, name) && draft.span_id.is_none() {
        draft.span_id = draft::hexadecimal(value, 16);
        return draft.span_id.is_some();
    }
    if is_one_of(&STACK_TRACE, name) && draft.stack_trace.is_none() && value.contains('\n') {
        draft.set_stack_trace(value);
        return true;
    }
    false
}

type Pair<'a> = (&'a str, Option<Cow<'a, str>>);

/// The pairs of a line that has nothing else.
fn pairs(line: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end)?;
        if name.is_empty() || pairs.len() >= PAIRS_MAX {
            return None;
        }
        let value = match behind.strip_prefix('=') {
            Some(behind) => {
                let (value, behind) = value(behind)?;
                rest = behind;
                Some(value)
            }
            // The line begins with a pair.
            None if pairs.is_empty() => return None,
            None => {
                rest = behind;
                None
            }
        };
        if !rest.is_empty() && !rest.starts_with(is_separator) {
            return None;
        }
        rest = rest.trim_start_matches(is_separator);
        pairs.push((name, value));
    }
    Some(pairs)
}

/// What stands between pairs; U+001D before those that the audit daemon adds.
fn is_separator(char: char) -> bool {
    matches!(char, ' ' | '\t' | ',' | '\u{1d}')
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b'@' | b'$')
}

/// A value, quoted or up to the next blank, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if let Some((inner, rest)) = text.strip_prefix('\'').and_then(|quoted| quoted.split_once('\''))
        && (rest.is_empty() || rest.starts_with(is_separator))
    {
        return Some((Cow::Borrowed(inner), rest));
    }
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', '\u{1d}']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        // `a, b=1`: the comma separates.
        let bare = value.strip_suffix(',').unwrap_or(value);
        return Some((Cow::Borrowed(bare), rest));
    };
    let mut is_escape = false;
    let end = quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escape;
        is_escape = byte == b'\\' && !is_escape;
        ends
    })?;
    let (inner, rest) = quoted.split_at_checked(end)?;
    Some((unescaped(inner), rest.get(1..)?))
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    // Go's quoted strings are those of JSON, but for rare escapes, which then stay as they are.
    match serde_json::from_str::<String>(&format!("\"{text}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Owned(text.replace("\\\"", "\"").replace("\\n", "\n").replace("\\t", "\t")),
    }
}
