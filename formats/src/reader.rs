//! Reads the lines of one input.
//!
//! * Lines of different containers and streams (`docker compose logs`, CRI) are told apart: a line joins the event
//!   before it of its own stream. Events are passed on in the order of their first lines.
//! * At most [`STREAMS_MAX`] streams, [`EVENTS_MAX`] events and [`HELD_BYTES_MAX`] bytes are held; beyond that the
//!   oldest events are passed on as they are.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::metadata::UsualMember;
use domain::timestamp::Timestamp;

use crate::access::w3c;
use crate::ansi;
use crate::draft::{Draft, Event, Origin};
use crate::fields::Fields;
use crate::format::{Format, Options};
use crate::joining::shape::Shape;
use crate::joining::{Joined, Outcome};
use crate::json;
use crate::reading::{self, Kind, Reading};
use crate::sentence;
use crate::times::Clock;
use crate::wrapper::{self, Known, Unwrapped};
use crate::zone::Zone;

/// Most streams that are told apart at a time.
const STREAMS_MAX: usize = 64;
/// Most events that are held.
const EVENTS_MAX: usize = 256;
/// Most bytes of text that are held.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A trace is written at once: what begins one later than this after the line before it, by the times of the wrapper,
/// is an event of its own.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The member with the line, in what a container runtime puts around it.
const LOG: &str = "log";
/// Most bytes of a line that comes in parts.
const PARTIAL_BYTES_MAX: usize = 1024 * 1024;

/// Reads the lines of one input: a file, a pipe, a stream.
#[derive(Debug)]
pub struct Reader<O: Origin> {
    options: Arc<Options>,
    /// Events in the order of their first lines; the first has the number `first`.
    held: VecDeque<Held<O>>,
    first: u64,
    held_bytes: usize,
    /// In the order in which they came.
    streams: Vec<Stream<O>>,
    is_first_line: bool,
    now: Timestamp,
}

/// A place in the order of events.
#[derive(Debug)]
struct Held<O> {
    /// The event. There is none while parts of its first line are missing, or if that line joins another event.
    content: Option<Content<O>>,
    /// Whether lines, or parts of its first line, may still come.
    is_open: bool,
    bytes: usize,
}

/// An event that is held.
#[derive(Debug)]
struct Content<O> {
    event: Joined,
    origin: O,
    fields: Fields<'static>,
    wrapper_time: Option<Timestamp>,
    /// The time of the wrapper of the last line.
    last_time: Option<Timestamp>,
}

/// A line without its wrappers.
struct Line<'a, O> {
    text: &'a str,
    time: Option<Timestamp>,
    fields: Fields<'static>,
    origin: O,
    /// The place that its first part has taken.
    place: Option<u64>,
}

/// What is known of the lines of one stream.
#[derive(Debug)]
struct Stream<O> {
    key: String,
    /// The number of the event that the next line may join.
    open: Option<u64>,
    partial: Option<Partial<O>>,
    /// Whether the last line had a time that `kubectl logs --timestamps` put there.
    is_stamped: bool,
    /// The columns that the last directive named.
    columns: Option<Arc<[String]>>,
}

/// The beginning of a line whose rest is to come.
#[derive(Debug)]
struct Partial<O> {
    text: String,
    time: Option<Timestamp>,
    fields: Fields<'static>,
    origin: O,
    /// The number of the place in the order of events that it has taken.
    place: u64,
}

impl<O: Origin> Reader<O> {
    /// A reader that holds no event.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            held: VecDeque::new(),
            first: 0,
            held_bytes: 0,
            streams: Vec::new(),
            is_first_line: true,
            now: Timestamp::MIN,
        }
    }

    /// Reads one line, without its line feed, of any bytes. `now` decides the year of times without one. Events that
    /// are complete are passed to `complete`, in the order of their first lines.
    pub fn line(&mut self, line: &[u8], origin: O, now: Timestamp, complete: &mut impl FnMut(Event<O>)) {
        self.now = now;
        let text = text_of(line, std::mem::take(&mut self.is_first_line));
        let options = Arc::clone(&self.options);
        let clock = Clock { zone: &options.zone, now };
        let is_stamped = |key: &str| self.streams.iter().any(|stream| stream.is_stamped && stream.key == key);
        let line = wrapper::unwrapped(text, clock, &Known { is_trace, is_stamped });
        // The wrapper knows the year.
        let clock = Clock { zone: &options.zone, now: line.time.unwrap_or(now) };
        let stream = self.stream(&line.key, complete);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.is_stamped = line.is_stamped;
        }
        let Some((line, origin, place)) = self.whole_line(stream, line, origin) else { return };
        // A terminal within a container writes colours and CR LF.
        let text = ansi::removed(line.text.trim_end_matches('\r'));
        if text.trim().is_empty() {
            self.empty_line(stream);
            self.give_up(place);
        } else {
            self.text_line(stream, Line { text: &text, time: line.time, fields: line.fields, origin, place }, clock);
        }
        self.pass_on(complete);
    }

    /// Passes on every event that is held, because the input ended or no line came for a while.
    pub fn flush(&mut self, complete: &mut impl FnMut(Event<O>)) {
        let options = Arc::clone(&self.options);
        let clock = Clock { zone: &options.zone, now: self.now };
        for stream in 0..self.streams.len() {
            if let Some(partial) = self.streams.get_mut(stream).and_then(|stream| stream.partial.take()) {
                let Partial { text, time, fields, origin, place } = partial;
                let text = ansi::removed(text.trim_end_matches('\r'));
                if !text.trim().is_empty() {
                    self.text_line(stream, Line { text: &text, time, fields, origin, place: Some(place) }, clock);
                }
            }
        }
        while let Some(held) = self.pop() {
            held.content.into_iter().for_each(|content| complete(content.into_event(clock)));
        }
        self.streams.iter_mut().for_each(|stream| stream.open = None);
    }

    /// Whether an event is held, because further lines may join it.
    #[must_use]
    pub fn holds_events(&self) -> bool {
        !self.held.is_empty() || self.streams.iter().any(|stream| stream.partial.is_some())
    }

    /// The place of the stream with this key. Beyond [`STREAMS_MAX`] streams, everything is passed on and all are
    /// forgotten.
    fn stream(&mut self, key: &str, complete: &mut impl FnMut(Event<O>)) -> usize {
        if let Some(place) = self.streams.iter().position(|stream| stream.key == key) {
            return place;
        }
        if self.streams.len() >= STREAMS_MAX {
            self.flush(complete);
            self.streams.clear();
        }
        self.streams.push(Stream { key: key.to_owned(), open: None, partial: None, is_stamped: false, columns: None });
        self.streams.len() - 1
    }

    /// Joins the parts of a line; `None` until its last part has come.
    fn whole_line<'a>(
        &mut self,
        stream: usize,
        line: Unwrapped<'a>,
        origin: O,
    ) -> Option<(Unwrapped<'a>, O, Option<u64>)> {
        if !line.marks_partial {
            return Some((line, origin, None));
        }
        let before = self.streams.get_mut(stream)?.partial.take();
        if before.is_none() && !line.is_partial {
            return Some((line, origin, None));
        }
        let mut whole = match before {
            Some(mut before) => {
                before.text.push_str(&line.text);
                before.origin.extend(origin);
                before
            }
            None => {
                let place = self.take_place();
                Partial { text: line.text.into_owned(), time: line.time, fields: line.fields, origin, place }
            }
        };
        if line.is_partial && whole.text.len() < PARTIAL_BYTES_MAX {
            self.streams.get_mut(stream)?.partial = Some(whole);
            return None;
        }
        let text = Cow::Owned(std::mem::take(&mut whole.text));
        let line = Unwrapped { text, time: whole.time, fields: whole.fields, ..Unwrapped::default() };
        Some((line, whole.origin, Some(whole.place)))
    }

    /// The number of a new place at the end of the order of events.
    fn take_place(&mut self) -> u64 {
        self.held.push_back(Held { content: None, is_open: true, bytes: 0 });
        self.first + (self.held.len() as u64) - 1
    }

    /// No event takes this place.
    fn give_up(&mut self, place: Option<u64>) {
        if let Some(held) = place.and_then(|place| self.at_place(place)) {
            held.is_open = false;
        }
    }

    fn at_place(&mut self, place: u64) -> Option<&mut Held<O>> {
        self.held.get_mut(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    fn empty_line(&mut self, stream: usize) {
        if let Some(content) = self.open_event(stream) {
            content.event.empty_line();
        }
    }

    /// A line with text: it joins the event before it of its stream, or begins one.
    fn text_line(&mut self, stream: usize, line: Line<'_, O>, clock: Clock<'_>) {
        let options = Arc::clone(&self.options);
        let columns = self.streams.get(stream).and_then(|stream| stream.columns.clone());
        let read = |text: &str| {
            with_columns(text, columns.as_deref(), clock).unwrap_or_else(|| reading::read(text, &options, clock))
        };
        let is_late = |before: Option<Timestamp>| {
            before.zip(line.time).is_some_and(|(before, time)| time.since(before) > AT_ONCE) && begins_trace(line.text)
        };
        let mut reading = None;
        if self.options.join
            && let Some(content) = self.open_event(stream)
            && !is_late(content.last_time)
        {
            match content.event.add(line.text, clock, || read(line.text)) {
                Outcome::Joined => {
                    content.origin.extend(line.origin);
                    content.last_time = line.time;
                    self.give_up(line.place);
                    self.grown(stream);
                    return;
                }
                Outcome::Apart(read) => reading = read.map(|reading| *reading),
            }
        }
        let reading = reading.unwrap_or_else(|| read(line.text));
        if let Some(columns) = w3c::columns(line.text)
            && let Some(stream) = self.streams.get_mut(stream)
        {
            stream.columns = Some(columns.into());
        }
        self.begin(stream, Joined::begin(line.text, reading), line);
    }

    /// Holds a new event, and closes the one before it of its stream.
    fn begin(&mut self, stream: usize, event: Joined, line: Line<'_, O>) {
        if let Some(before) = self.streams.get(stream).and_then(|stream| stream.open) {
            self.give_up(Some(before));
        }
        let is_open = self.options.join && !event.is_closed();
        let bytes = event.bytes();
        self.held_bytes += bytes;
        let (fields, origin) = (line.fields, line.origin);
        let content = Content { event, origin, fields, wrapper_time: line.time, last_time: line.time };
        // The place is gone if too much was held.
        let place = line.place.filter(|place| *place >= self.first).unwrap_or_else(|| self.take_place());
        if let Some(held) = self.at_place(place) {
            *held = Held { content: Some(content), is_open, bytes };
        }
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.open = is_open.then_some(place);
        }
    }

    /// A line joined the open event of the stream.
    fn grown(&mut self, stream: usize) {
        let Some(place) = self.streams.get(stream).and_then(|stream| stream.open) else { return };
        let Some(held) = self.at_place(place) else { return };
        let Some(content) = &held.content else { return };
        let bytes = content.event.bytes();
        let grown = bytes.saturating_sub(held.bytes);
        held.is_open &= !content.event.is_closed();
        held.bytes = held.bytes.max(bytes);
        self.held_bytes += grown;
    }

    fn open_event(&mut self, stream: usize) -> Option<&mut Content<O>> {
        let place = self.streams.get(stream)?.open?;
        self.at_place(place).filter(|held| held.is_open)?.content.as_mut()
    }

    /// Passes on the oldest events, as long as they are complete or too much is held.
    fn pass_on(&mut self, complete: &mut impl FnMut(Event<O>)) {
        let options = Arc::clone(&self.options);
        let clock = Clock { zone: &options.zone, now: self.now };
        while self.held.front().is_some_and(|held| !held.is_open)
            || self.held.len() > EVENTS_MAX
            || (self.held_bytes > HELD_BYTES_MAX && self.held.len() > 1)
        {
            let Some(held) = self.pop() else { break };
            held.content.into_iter().for_each(|content| complete(content.into_event(clock)));
        }
    }

    fn pop(&mut self) -> Option<Held<O>> {
        let held = self.held.pop_front()?;
        self.first += 1;
        self.held_bytes = self.held_bytes.saturating_sub(held.bytes);
        Some(held)
    }
}

impl<O> Content<O> {
    fn into_event(self, clock: Clock<'_>) -> Event<O> {
        let mut draft = self.event.into_draft(clock);
        draft.time = draft.time.or(self.wrapper_time);
        draft.source = draft.source.or_else(|| json::place(|| self.fields.members()));
        draft.metadata = self.fields.add_to(draft.metadata);
        Event { draft, origin: self.origin }
    }
}

/// Reads one line alone: nothing joins. For protocols that carry lines.
#[must_use]
pub fn draft(line: &str, options: &Options, now: Timestamp) -> Draft {
    let clock = Clock { zone: &options.zone, now };
    let sentence = if matches!(options.format, Format::Auto) { sentence::draft(line, clock) } else { None };
    sentence.unwrap_or_else(|| any_draft(line.as_bytes(), options, now))
}

/// The draft of a line, whatever it is.
pub fn any_draft(line: &[u8], options: &Options, now: Timestamp) -> Draft {
    let clock = Clock { zone: &options.zone, now };
    let known = Known { is_trace, is_stamped: |_: &str| false };
    let line = wrapper::unwrapped(text_of(line, true), clock, &known);
    let clock = Clock { zone: &options.zone, now: line.time.unwrap_or(now) };
    let text = ansi::removed(line.text.trim_end_matches('\r'));
    let reading = if text.trim().is_empty() {
        let draft = Draft { message: " ".to_owned(), ..Draft::default() };
        Reading { draft, kind: Kind::Structured, has_time: false }
    } else {
        reading::read(&text, options, clock)
    };
    let mut draft = Joined::begin(&text, reading).into_draft(clock);
    draft.time = draft.time.or(line.time);
    draft.source = draft.source.or_else(|| json::place(|| line.fields.members()));
    draft.metadata = line.fields.add_to(draft.metadata);
    draft
}

/// Reads a text that is a JSON object, which may span lines, as [`draft`] does with the default options; `None` if it
/// is something else. `members` are those of the object, if it is a usual one.
#[must_use]
pub fn object(text: &str, members: Option<&[UsualMember<'_>]>, now: Timestamp) -> Option<Draft> {
    // A container runtime may have put it around a line.
    let may_be_wrapper = match members {
        Some(members) => members.iter().any(|(name, _)| *name == LOG),
        None => text.contains("\"log\""),
    };
    if may_be_wrapper {
        return json::object(text).map(|_| draft(text, &Options::default(), now));
    }
    let clock = Clock { zone: &Zone::UTC, now };
    match members {
        Some(members) => json::draft_of_members(text, members, clock),
        None => json::any_draft(text, clock),
    }
}

/// The text of a line. Bytes that are not UTF-8 become U+FFFD. NULs at its ends are a hole of the file, as a
/// truncated or a torn file has it, and no text; a byte order mark at the beginning of the input is none either.
fn text_of(line: &[u8], is_first: bool) -> Cow<'_, str> {
    let is_nul = |byte: &&u8| **byte == 0;
    let from = line.iter().take_while(is_nul).count();
    let line = line.get(from..).unwrap_or_default();
    let to = line.len() - line.iter().rev().take_while(is_nul).count();
    let line = line.get(..to).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    // Faster than to look for what has to be replaced, and nearly all lines are valid.
    match std::str::from_utf8(line) {
        Ok(text) => ansi::removed(text),
        Err(_) => Cow::Owned(ansi::removed(&String::from_utf8_lossy(line)).into_owned()),
    }
}

fn is_trace(text: &str) -> bool {
    !matches!(Shape::of(text), Shape::Other | Shape::GoFunction | Shape::Class)
}

fn begins_trace(text: &str) -> bool {
    matches!(Shape::of(text), Shape::Crash(_) | Shape::Exception { .. })
}

fn with_columns(text: &str, columns: Option<&[String]>, clock: Clock<'_>) -> Option<Reading> {
    let draft = w3c::draft(text, columns?, clock)?;
    Some(Reading { has_time: draft.time.is_some(), draft, kind: Kind::Headed })
}
