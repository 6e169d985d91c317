//! What container tools put around a line: taken off before the line is read.
//!
//! * CRI (`TIME stdout F LINE`, containerd and CRI-O), Docker's json-file, the prefix of `docker compose logs`,
//!   `kubectl logs --prefix` and `--timestamps`. Wrappers may be nested.
//! * The time of the line itself counts first; that of the wrapper is for lines without one.

use std::borrow::Cow;

use domain::metadata::{JsonKind, JsonValue};
use domain::timestamp::Timestamp;

use crate::fields::Fields;
use crate::json;
use crate::levels;
use crate::times::{self, Clock};

/// Most wrappers around one line.
const NESTED_MAX: usize = 4;
/// Longest name of a container in a prefix.
const NAME_BYTES_MAX: usize = 128;
/// Members of an object that a program writes, not a runtime.
const OWN_NAMES: [&str; 4] = ["level", "severity", "msg", "message"];

/// A line without its wrappers.
#[derive(Debug, Default)]
pub struct Unwrapped<'a> {
    /// The line.
    pub text: Cow<'a, str>,
    /// The time of the innermost wrapper that has one.
    pub time: Option<Timestamp>,
    /// What the wrappers say: container, stream and others.
    pub fields: Fields<'static>,
    /// Lines of the same key follow each other; others are between them by chance. Empty without wrapper.
    pub key: String,
    /// Whether the rest of the line follows.
    pub is_partial: bool,
    /// Whether a wrapper tells apart whole and partial lines.
    pub marks_partial: bool,
    /// Whether `kubectl logs --timestamps` or `docker logs -t` put a time before the line.
    pub is_stamped: bool,
}

/// What is known of the lines, apart from their text.
pub struct Known<F, G> {
    /// Whether a text is a part of a stack trace.
    pub is_trace: F,
    /// Whether the line before it of the stream with this key has a time that `kubectl logs --timestamps` put there.
    pub is_stamped: G,
}

/// Takes off all wrappers.
pub fn unwrapped<'a>(
    text: Cow<'a, str>,
    clock: Clock<'_>,
    known: &Known<impl Fn(&str) -> bool, impl Fn(&str) -> bool>,
) -> Unwrapped<'a> {
    let mut unwrapped = Unwrapped { text, ..Unwrapped::default() };
    for _ in 0..NESTED_MAX {
        if !one(&mut unwrapped, clock, known) {
            break;
        }
    }
    unwrapped
}

fn one(
    line: &mut Unwrapped<'_>,
    clock: Clock<'_>,
    known: &Known<impl Fn(&str) -> bool, impl Fn(&str) -> bool>,
) -> bool {
    let first = line.text.as_bytes().first().copied().unwrap_or_default();
    match first {
        b'{' => docker(line, clock),
        b'[' => kubectl_prefix(line),
        b'0'..=b'9' => cri(line, clock) || kubectl_timestamp(line, clock, known) || compose(line),
        b'a'..=b'z' | b'A'..=b'Z' => compose(line),
        _ => false,
    }
}

/// Removes the first `count` bytes of the text.
fn drop_front(text: &mut Cow<'_, str>, count: usize) {
    match text {
        Cow::Borrowed(borrowed) => *borrowed = borrowed.get(count..).unwrap_or_default(),
        Cow::Owned(owned) => {
            owned.drain(..count.min(owned.len()));
        }
    }
}

/// `2024-01-15T10:30:00.123456789Z stderr F LINE`: P is continued, F is the end (Kubernetes, CRI logging).
fn cri(line: &mut Unwrapped<'_>, clock: Clock<'_>) -> bool {
    let Some((time, rest)) = line.text.split_once(' ') else { return false };
    let (stream, rest) = if let Some(rest) = rest.strip_prefix("stdout ") {
        ("stdout", rest)
    } else if let Some(rest) = rest.strip_prefix("stderr ") {
        ("stderr", rest)
    } else {
        return false;
    };
    // Tags are separated by colons; the first is P or F.
    let (tags, inner) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_partial = match tags.split(':').next() {
        Some("P") => true,
        Some("F") => false,
        _ => return false,
    };
    let Some(instant) = times::whole(time, clock) else { return false };
    let count = line.text.len() - inner.len();
    line.time = Some(instant);
    line.fields.push_text("stream", stream);
    line.key.push_str(stream);
    (line.is_partial, line.marks_partial) = (is_partial, true);
    drop_front(&mut line.text, count);
    true
}

/// `{"log":"LINE\n","stream":"stderr","time":"…"}`. Docker splits long lines: only the last part has a line feed.
fn docker(line: &mut Unwrapped<'_>, clock: Clock<'_>) -> bool {
    if !line.text.contains("\"log\"") {
        return false;
    }
    let Some(object) = json::object(&line.text) else { return false };
    let (mut log, mut stream, mut time) = (None, None, None);
    let mut others = Fields::default();
    let mut is_docker = true;
    for (name, value) in JsonValue::new(&object).members() {
        let text = (value.kind() == JsonKind::Text).then(|| value.plain());
        match (name.as_ref(), text) {
            ("log", Some(text)) => log = Some(text.into_owned()),
            ("stream", Some(text)) if text == "stdout" || text == "stderr" => stream = Some(text.into_owned()),
            ("time", Some(text)) => time = times::whole(&text, clock),
            ("date" | "@timestamp", _) => {
                is_docker = false;
                time = json::time(value, clock).or(time);
            }
            // An object with a level or a message of its own is none of a runtime.
            (own, _) if OWN_NAMES.iter().any(|name| own.eq_ignore_ascii_case(name)) => return false,
            (other, _) => {
                is_docker &= other == "attrs";
                others.push_json(&name, value.json());
            }
        }
    }
    // Fluent Bit and Fluentd add what they know of the container.
    let is_wrapper = stream.is_some()
        || ["kubernetes", "docker", "container_name", "container_id"].iter().any(|name| others.has(name));
    let (Some(mut log), true) = (log, is_wrapper) else { return false };
    let stream = stream.unwrap_or_default();
    let ends = log.ends_with('\n');
    log.truncate(log.trim_end_matches(['\r', '\n']).len());
    line.time = time.or(line.time);
    if !stream.is_empty() {
        line.fields.push_text("stream", &stream);
    }
    line.fields.append(others);
    line.key.push_str(&stream);
    (line.is_partial, line.marks_partial) = (is_docker && !ends, is_docker && !stream.is_empty());
    line.text = Cow::Owned(log);
    true
}

/// `web-1  | LINE`
fn compose(line: &mut Unwrapped<'_>) -> bool {
    let bytes = line.text.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let name_end = bytes.iter().take(NAME_BYTES_MAX).take_while(|byte| is_name(byte)).count();
    let blanks = bytes.iter().skip(name_end).take(NAME_BYTES_MAX).take_while(|byte| **byte == b' ').count();
    let bar = name_end + blanks;
    let (Some(b'|'), Some(b' ') | None) = (bytes.get(bar), bytes.get(bar + 1)) else { return false };
    let Some(name) = line.text.get(..name_end) else { return false };
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if blanks == 0 || name.len() < 2 || !has_letter || levels::named_in_place(name).is_some() {
        return false;
    }
    line.fields.push_text("container", name);
    line.key.push_str(name);
    let count = (bar + 2).min(line.text.len());
    drop_front(&mut line.text, count);
    true
}

/// `[pod/web-0/app] LINE`
fn kubectl_prefix(line: &mut Unwrapped<'_>) -> bool {
    let Some((place, rest)) = line.text.strip_prefix("[pod/").and_then(|rest| rest.split_once("] ")) else {
        return false;
    };
    let Some((pod, container)) = place.split_once('/').filter(|_| place.len() <= 2 * NAME_BYTES_MAX) else {
        return false;
    };
    if place.contains(char::is_whitespace) {
        return false;
    }
    line.fields.push_text("pod", pod);
    line.fields.push_text("container", container);
    line.key.push_str(place);
    let count = line.text.len() - rest.len();
    drop_front(&mut line.text, count);
    true
}

/// `2024-01-15T10:30:00.123456789Z LINE`, if the line is empty or has a form of its own, or the line before it was such
/// a line: a text may as well be one with its own time in nanoseconds.
fn kubectl_timestamp(
    line: &mut Unwrapped<'_>,
    clock: Clock<'_>,
    known: &Known<impl Fn(&str) -> bool, impl Fn(&str) -> bool>,
) -> bool {
    if line.is_stamped {
        return false;
    }
    let (time, inner) = line.text.split_once(' ').unwrap_or((&line.text, ""));
    let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if !time.get(10..).is_some_and(|rest| rest.starts_with('T')) || !(7..=9).contains(&digits) {
        return false;
    }
    let has_form = match inner.as_bytes() {
        [b'{', ..] => inner.trim_end().ends_with(['}', '{', '[', ',']),
        [b'I' | b'W' | b'E' | b'F', b'0' | b'1', digit, ..] => digit.is_ascii_digit(),
        [b' ' | b'\t', ..] => true,
        [] => line.text.ends_with(' '),
        _ => times::at(inner, 0, clock).is_some() || is_pair(inner) || (known.is_trace)(inner),
    };
    let has_form = has_form || (known.is_stamped)(&line.key);
    let Some(instant) = times::whole(time, clock).filter(|_| has_form) else { return false };
    let count = line.text.len() - inner.len();
    line.time = Some(instant);
    line.is_stamped = true;
    drop_front(&mut line.text, count);
    true
}

fn is_pair(text: &str) -> bool {
    ["time=", "ts=", "level=", "t=", "timestamp="].iter().any(|begin| text.starts_with(begin))
}
