//! What an agent says, as an event that every store can hold.
//!
//! Invariant: [`AgentEntry::into_event`] refuses nothing. An agent cannot fix an entry, and most send a refused one
//! again without limit or drop it, so whatever breaks a rule is kept as text, with the reason in `metadata.ingest`.

use std::borrow::Cow;

use domain::Uuid;
use domain::bytes::every;
use domain::event::{EventDraft, EventError, IdOrigin, LogEvent, SOURCE_BYTES_MAX, TEXT_BYTES_MAX};
use domain::event_input::{IdInput, LevelInput};
use domain::level::Level;
use domain::metadata::{Metadata, is_plain};
use domain::timestamp::Timestamp;

use super::members::{JsonText, Members};

/// The source of an entry that names none.
pub const UNKNOWN_SOURCE: &str = "unknown";
/// The message of an entry without any text.
const NO_MESSAGE: &str = "(no message)";
/// The level of an entry that states none, or one that is not known.
const DEFAULT_LEVEL: Level = Level::Info;
/// Maximum bytes of metadata to keep as text. Its quotation marks get escapes, and it must fit metadata again.
const METADATA_TEXT_BYTES_MAX: usize = 24 * 1024;
/// Maximum bytes of each text of an event that is too large for a record, in which a character may take six bytes.
const SMALL_TEXT_BYTES_MAX: usize = 64 * 1024;

/// An entry as a protocol has read it, unchecked.
#[derive(Clone, Debug, Default)]
pub struct AgentEntry<'a> {
    /// The application that wrote it.
    pub source: Option<Cow<'a, str>>,
    /// Its level. An unknown word is kept in the metadata, under `level`, or `levelWord` if that is taken.
    pub level: Option<LevelInput<'a>>,
    /// What happened.
    pub message: Cow<'a, str>,
    /// When.
    pub timestamp: Option<Timestamp>,
    /// Its id, if the agent or its protocol has one.
    pub event_id: Option<Uuid>,
    /// Stack trace of an exception.
    pub stack_trace: Option<Cow<'a, str>>,
    /// Its trace.
    pub trace_id: Option<[u8; 16]>,
    /// Its span.
    pub span_id: Option<[u8; 8]>,
    /// Further fields.
    pub metadata: Members,
    /// Why part of the entry could not be read, if so: the code of the rule.
    pub fault: Option<&'static str>,
}

/// An event, and whether part of it became text because it breaks a rule.
pub(super) struct Kept<'a> {
    pub event: LogEvent<'a>,
    pub as_text: bool,
}

impl<'a> AgentEntry<'a> {
    /// The same entry, independent of its input.
    #[must_use]
    pub fn into_owned(self) -> AgentEntry<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        AgentEntry {
            source: self.source.map(owned),
            level: self.level.map(|level| match level {
                LevelInput::Text(text) => LevelInput::Text(owned(text)),
                LevelInput::Parsed(level) => LevelInput::Parsed(level),
            }),
            message: owned(self.message),
            timestamp: self.timestamp,
            event_id: self.event_id,
            stack_trace: self.stack_trace.map(owned),
            trace_id: self.trace_id,
            span_id: self.span_id,
            metadata: self.metadata,
            fault: self.fault,
        }
    }

    /// The event, of a source that [`source`] made. Calls `other_id` only if the entry has no id.
    ///
    /// # Errors
    /// Never: every rule is met before it is checked. The type says so to the caller that has to handle it.
    pub(super) fn into_event(
        mut self,
        source: Cow<'a, str>,
        protocol: &str,
        received_at: Timestamp,
        other_id: impl FnOnce() -> (Uuid, IdOrigin),
    ) -> Result<Kept<'a>, EventError> {
        let mut faults: Vec<&'static str> = self.fault.into_iter().collect();
        let level = self.level.as_ref().map(|level| (level.parse(), level));
        let level = match level {
            Some((Some(level), _)) => level,
            Some((None, LevelInput::Text(word))) => {
                let level = level_of(word);
                let name = if self.metadata.has("level") { "levelWord" } else { "level" };
                self.metadata.text(name, word);
                level
            }
            Some((None, LevelInput::Parsed(level))) => *level,
            None => DEFAULT_LEVEL,
        };
        let mut message = without_nul(self.message);
        let mut stack_trace = self.stack_trace.map(without_nul);
        for text in std::iter::once(&mut message).chain(&mut stack_trace) {
            if cut(text, TEXT_BYTES_MAX) {
                faults.push("text_length");
            }
        }
        let (metadata, as_text) = metadata(protocol, self.metadata, faults);
        if message.is_empty() {
            message = Cow::Borrowed(NO_MESSAGE);
        }
        let draft = EventDraft {
            source: Some(source),
            level: Some(LevelInput::Parsed(level)),
            message: Some(message),
            timestamp: None,
            // A nil UUID is what broken clients send.
            event_id: self.event_id.filter(|id| !id.is_nil()).map(|id| IdInput::Bytes(id.into_bytes())),
            stack_trace,
            trace_id: self.trace_id.map(IdInput::Bytes),
            span_id: self.span_id.map(IdInput::Bytes),
            metadata: None,
            unknown: Vec::new(),
        };
        let mut event = draft.validate(received_at, other_id)?;
        event.timestamp = self.timestamp.unwrap_or(received_at);
        event.metadata = metadata;
        Ok(Kept { event, as_text })
    }
}

/// The text of bytes. What is not UTF-8 becomes U+FFFD: an agent could not fix it.
#[must_use]
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // Faster than to look for what has to be replaced, and nearly all texts are valid.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The same event with so little text that it fits into a record.
pub(super) fn shortened<'a>(mut event: LogEvent<'a>, protocol: &str) -> LogEvent<'a> {
    cut(&mut event.message, SMALL_TEXT_BYTES_MAX);
    if let Some(stack_trace) = &mut event.stack_trace {
        cut(stack_trace, SMALL_TEXT_BYTES_MAX);
    }
    let json = event.metadata.as_ref().map_or("", Metadata::as_json).to_owned();
    event.metadata = as_text(protocol, &["record_too_large"], &json);
    event
}

/// The metadata, and whether anything of the entry breaks a rule.
fn metadata(protocol: &str, mut members: Members, mut faults: Vec<&'static str>) -> (Option<Metadata<'static>>, bool) {
    let complete = (!faults.is_empty()).then(|| members.clone());
    if !faults.is_empty() {
        members.value("ingest", |json| write_faults(json, protocol, &faults, None));
    }
    let (is_cut, is_metadata) = (members.is_cut(), members.is_metadata());
    let Some(json) = members.into_json() else { return (None, false) };
    if is_metadata {
        return (Some(Metadata::from_checked(Cow::Owned(json))), false);
    }
    let checked = match Metadata::parse(&json) {
        _ if is_cut => Err("metadata_size"),
        Ok(metadata) if metadata.as_json().len() == json.len() => Ok(None),
        Ok(metadata) => Ok(Some(metadata.into_owned())),
        Err(error) => Err(EventError::from(error).code()),
    };
    match checked {
        // What was written is compact already.
        Ok(None) => (Some(Metadata::from_checked(Cow::Owned(json))), !faults.is_empty()),
        Ok(compact) => (compact, !faults.is_empty()),
        Err(code) => {
            faults.push(code);
            let json = complete.and_then(Members::into_json).unwrap_or(json);
            (as_text(protocol, &faults, &json), true)
        }
    }
}

/// Metadata that says what is wrong with the metadata `json`, and has it as text.
fn as_text(protocol: &str, faults: &[&str], json: &str) -> Option<Metadata<'static>> {
    let mut members = Members::default();
    let text = json.get(..json.floor_char_boundary(METADATA_TEXT_BYTES_MAX)).unwrap_or_default();
    members.value("ingest", |written| write_faults(written, protocol, faults, Some(text)));
    let json = members.into_json()?;
    Metadata::parse(&json).ok().map(Metadata::into_owned)
}

fn write_faults(json: &mut JsonText, protocol: &str, faults: &[&str], text: Option<&str>) {
    json.push("{\"protocol\":");
    json.push_text(protocol);
    json.push(",\"reason\":");
    json.push_text(&faults.join(", "));
    if let Some(text) = text {
        json.push(",\"text\":");
        json.push_text(text);
    }
    json.push("}");
}

/// The level that a word of an agent or a library means: names of syslog and of common libraries, their first letters,
/// and the numbers of pino and bunyan.
#[must_use]
pub fn level_of(word: &str) -> Level {
    const WORDS: [(&[&str], Level); 6] = [
        (&["verbose", "finest", "finer", "silly", "10", "t"], Level::Trace),
        (&["dbg", "fine", "20", "d"], Level::Debug),
        (&["information", "informational", "notice", "log", "http", "30", "i"], Level::Info),
        (&["wrn", "40", "w"], Level::Warn),
        (&["err", "severe", "failure", "50", "e"], Level::Error),
        (&["crit", "panic", "emerg", "dpanic", "60", "f", "c"], Level::Fatal),
    ];
    let word = word.trim();
    if let Ok(level) = Level::parse(word) {
        return level;
    }
    let known = WORDS.iter().find(|(words, _)| words.iter().any(|known| word.eq_ignore_ascii_case(known)));
    known.map_or(DEFAULT_LEVEL, |(_, level)| *level)
}

/// A source within the rules: without control characters, and not too long.
pub(super) fn source(given: Option<Cow<'_, str>>) -> Cow<'_, str> {
    let mut source = given.unwrap_or_default();
    // Before anything else: all entries of a request may share a text that is as long as its body.
    cut(&mut source, SOURCE_BYTES_MAX);
    // Nearly all are.
    if every(source.as_bytes(), |byte| byte.is_ascii_graphic()) && !source.is_empty() {
        return source;
    }
    if source.trim().is_empty() {
        return Cow::Borrowed(UNKNOWN_SOURCE);
    }
    if source.chars().any(char::is_control) {
        source = Cow::Owned(source.replace(char::is_control, "_"));
    }
    source
}

fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    // Most texts are plain, and that is seen faster.
    if is_plain(text.as_bytes()) || !text.contains('\0') {
        return text;
    }
    Cow::Owned(text.replace('\0', "\u{fffd}"))
}

/// Cuts a text to a number of bytes, and says whether it was longer.
fn cut(text: &mut Cow<'_, str>, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let end = text.floor_char_boundary(bytes_max);
    match text {
        Cow::Borrowed(text) => *text = text.get(..end).unwrap_or_default(),
        Cow::Owned(text) => text.truncate(end),
    }
    true
}

#[cfg(test)]
mod tests {
    use domain::metadata::METADATA_BYTES_MAX;
    use domain::record::Records;
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    fn kept(mut entry: AgentEntry<'_>) -> (LogEvent<'_>, bool) {
        let id = || (Uuid::from_u128(7), IdOrigin::Generated);
        let source = source(entry.source.take());
        let kept = entry.into_event(source, "loki", Timestamp::MIN, id).expect("every entry is kept");
        (kept.event, kept.as_text)
    }

    fn metadata_of(entry: AgentEntry<'_>) -> Option<String> {
        kept(entry).0.metadata.map(|metadata| metadata.as_json().to_owned())
    }

    #[test]
    fn an_entry_without_anything_is_an_event() {
        let (event, as_text) = kept(AgentEntry::default());
        assert_eq!((&*event.source, event.level, &*event.message), ("unknown", Level::Info, "(no message)"));
        assert_eq!((event.metadata, as_text), (None, false));
    }

    #[test]
    fn a_source_is_made_to_fit() {
        for (given, expected) in [
            (" ", "unknown".to_owned()),
            ("a\tb", "a_b".to_owned()),
            (&*"é".repeat(200), "é".repeat(127)),
            (&*format!("{}x", " ".repeat(300)), "unknown".to_owned()),
        ] {
            assert_eq!(kept(AgentEntry { source: Some(given.into()), ..AgentEntry::default() }).0.source, expected);
        }
    }

    #[test]
    fn words_of_libraries_are_levels_and_the_word_is_kept_unless_it_is_a_name_of_one() {
        for (word, level, metadata) in [
            ("Warning", Level::Warn, None),
            ("err", Level::Error, Some(r#"{"level":"err"}"#)),
            ("50", Level::Error, Some(r#"{"level":"50"}"#)),
            ("notice", Level::Info, Some(r#"{"level":"notice"}"#)),
            ("LOUD", Level::Info, Some(r#"{"level":"LOUD"}"#)),
        ] {
            let entry = AgentEntry { level: Some(word.into()), ..AgentEntry::default() };
            assert_eq!(kept(entry.clone()).0.level, level, "{word}");
            assert_eq!(metadata_of(entry).as_deref(), metadata, "{word}");
        }
    }

    #[test]
    fn metadata_that_breaks_a_rule_is_kept_as_text_with_the_reason() {
        let nested = format!("{}1{}", "[".repeat(20), "]".repeat(20));
        for (json, code) in
            [("1e999", "metadata_number"), (r#""\ud800""#, "lone_surrogate"), (nested.as_str(), "metadata_depth")]
        {
            let mut metadata = Members::default();
            metadata.json("a", json);
            let written = metadata_of(AgentEntry { metadata, ..AgentEntry::default() }).expect("metadata");
            let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
            assert_eq!((&read["ingest"]["protocol"], &read["ingest"]["reason"]), (&"loki".into(), &code.into()));
            assert_eq!(read["ingest"]["text"], format!("{{\"a\":{json}}}"));
        }
    }

    #[test]
    fn metadata_and_texts_that_are_too_long_are_cut() {
        let mut metadata = Members::default();
        metadata.text("a", &"\"".repeat(METADATA_BYTES_MAX));
        let message = Cow::Owned("é".repeat(TEXT_BYTES_MAX));
        let (event, as_text) = kept(AgentEntry { metadata, message, ..AgentEntry::default() });
        assert!(as_text && event.message.len() == TEXT_BYTES_MAX);
        let metadata = event.metadata.expect("metadata");
        assert!(metadata.as_json().contains("text_length, metadata_size"), "{}", metadata.as_json());
    }

    #[test]
    fn a_fault_joins_the_metadata() {
        let mut metadata = Members::default();
        metadata.text("a", "b");
        let entry = AgentEntry { metadata, fault: Some("line_invalid"), ..AgentEntry::default() };
        let expected = r#"{"a":"b","ingest":{"protocol":"loki","reason":"line_invalid"}}"#;
        assert_eq!(metadata_of(entry).as_deref(), Some(expected));
    }

    proptest! {
        #[test]
        fn every_entry_is_an_event_that_fits_into_a_record(
            source in ".{0,300}",
            level in ".{0,5}",
            message in ".{0,50}",
            repeat in 1_usize..20_000,
            names in prop::collection::vec((".{0,3}", ".{0,10}"), 0..4),
            micros in Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros(),
        ) {
            let mut metadata = Members::default();
            names.iter().for_each(|(name, value)| metadata.text(name, value));
            let timestamp = Timestamp::from_unix_micros(micros).ok();
            let entry = AgentEntry {
                source: Some(source.into()),
                level: Some(level.into()),
                message: message.repeat(repeat).into(),
                stack_trace: Some("\u{1}".repeat(TEXT_BYTES_MAX).into()),
                timestamp,
                metadata,
                ..AgentEntry::default()
            };
            let (event, _) = kept(entry);
            prop_assert_eq!(Some(event.timestamp), timestamp);
            let mut records = Records::default();
            prop_assert!(codec::encode(&shortened(event, "loki"), &mut records).is_ok());
        }
    }
}
